"""Which nodes of an ONNX graph an operator of a compiled model came from, as far as its name tells.

The compiler keeps a node's name (`<OpType>_<k>` for the k-th that has none), joins the names of what it fuses
(`Conv_0Relu_1`), adds a prefix or a suffix of its own, and calls what it inserts `trans_<OpType>_<n>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

__all__ = ["INSERTED", "NodeNames", "named", "names_of"]

INSERTED: Final = re.compile(r"^(?:.*/)?trans_([A-Za-z]\w*?)_\d+$")
"""The name of an operator that the compiler inserted, with its type."""

LONGEST: Final = 1024
"""Characters of a name that are looked at: a fused one has some hundred."""


def names_of(nodes: Iterable[onnx.NodeProto]) -> dict[str, str]:
    """The nodes of a graph by the names that the compiler's parser gives them, with their op_types."""
    found: dict[str, str] = {}
    for name, node in named(nodes):
        found.setdefault(name, node.op_type)
    return found


def named(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yields the nodes of a graph, each with the name that the compiler's parser gives it."""
    unnamed = 0
    for node in nodes:
        yield node.name or f"{node.op_type}_{unnamed}", node
        unnamed += not node.name


class NodeNames:
    """Finds the names of nodes in the names of operators.

    Args:
        nodes: The nodes' names with their op_types.
    """

    def __init__(self, nodes: Mapping[str, str]) -> None:
        self._nodes = {name: op_type for name, op_type in nodes.items() if name}
        self._lengths = sorted({len(name) for name in self._nodes}, reverse=True)

    def inside(self, name: str) -> tuple[str, ...]:
        """The nodes whose names a name is made of, from left to right; else those that are in it as whole words.

        Where several fit, the longest does. None where none is.
        """
        if name in self._nodes:
            return (name,)
        name = name[:LONGEST]
        joined = self._joined(name)
        if joined:
            return tuple(dict.fromkeys(joined))
        found: dict[str, None] = {}
        at = 0
        while at < len(name):
            length = self._at(name, at)
            if length:
                found[name[at : at + length]] = None
            at += length or 1
        return tuple(found)

    def _joined(self, name: str) -> list[str] | None:
        """The names that make up all of a name, with nothing between them; None where there are none."""
        ways: dict[int, int] = {
            len(name): 0
        }  # from a place that the rest can be made up from, the length of the next name
        for at in reversed(range(len(name))):
            fits = (n for n in self._lengths if at + n in ways and name[at : at + n] in self._nodes)
            length = next(fits, 0)
            if length:
                ways[at] = length
        found, at = list[str](), 0
        while at in ways and at < len(name):
            found.append(name[at : at + ways[at]])
            at += ways[at]
        return found or None

    def _at(self, name: str, at: int) -> int:
        """The length of the longest node's name that stands here as a whole; 0 for none."""
        for length in self._lengths:
            end = at + length
            if end <= len(name) and name[at:end] in self._nodes and not (_cut(name, at) or _cut(name, end)):
                return length
        return 0


def _cut(name: str, at: int) -> bool:
    """Whether a word or a number would be cut here: Conv_1 is not in Conv_12, nor Relu in PRelu or Relu6."""
    if not 0 < at < len(name):
        return False
    before, after = name[at - 1], name[at]
    if before.isalpha() and after == "_" and name[at + 1 : at + 2].isdigit():
        return True  # Conv is not in Conv_12, which was a node's name
    if before.isdigit() or after.isdigit():
        # Names that end with their number are joined without anything between: Conv_0Relu_1.
        return (before.isdigit() and after.isdigit()) or (before.isalpha() and after.isdigit())
    return before.isalpha() and after.isalpha()

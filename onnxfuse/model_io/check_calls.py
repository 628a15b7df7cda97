"""Whether the functions of a model can be written out: no call leads back, and what comes out is a graph of some size.

Runtimes, shape inference and the checker all write functions out where they are called, so a few lines that call each
other twice would be more nodes than memory holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import onnx

from onnxfuse.errors import ModelError

__all__ = ["check_calls"]

MOST_NODES: Final = 10_000_000
DEEPEST: Final = 100
"""As deep as protobuf lets messages be in one another."""

Key = tuple[str, str, str]


class _Extent(NamedTuple):
    """What nodes are when all that they call is written out: their number, and how deep bodies and calls are nested."""

    nodes: int
    depth: int


def check_calls(model: onnx.ModelProto) -> None:
    """Checks the calls of functions.

    Raises:
        ModelError: A function calls itself, through others or bodies either; or written out the model has more than ten
            million nodes, or calls more than 100 deep.
    """
    if not model.functions:
        return
    calls = {
        (function.domain, function.name, function.overload): list(_nodes(function.node)) for function in model.functions
    }
    extents: dict[Key, _Extent] = {}
    for start, first in calls.items():
        path = {start: iter(first)} if start not in extents else {}
        while path:
            # The function being looked through is the last; each was called by the one before it.
            current, left = next(reversed(path.items()))
            called = next((key for key, _ in left if key in calls and key not in extents), None)
            if called is None:
                extents[current] = _extent(calls[current], extents, f"function {current[0]}.{current[1]}")
                del path[current]
            elif called in path:
                raise ModelError(f"function {called[0]}.{called[1]} calls itself")
            else:
                path[called] = iter(calls[called])
    _extent(_nodes(model.graph.node), extents, "the graph")


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[Key, int]]:
    """Yields what each node calls, were it a function, and how many bodies are around it."""
    stack = [(nodes, 0)]
    while stack:
        inner, depth = stack.pop()
        for node in inner:
            yield (node.domain, node.op_type, node.overload), depth
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append((attribute.g.node, depth + 1))
                stack.extend((graph.node, depth + 1) for graph in attribute.graphs)


def _extent(nodes: Iterable[tuple[Key, int]], extents: dict[Key, _Extent], where: str) -> _Extent:
    count = deepest = 0
    for key, depth in nodes:
        called = extents.get(key, _Extent(1, 0))
        count += called.nodes
        deepest = max(deepest, depth + called.depth + 1)
        if count > MOST_NODES:
            raise ModelError(f"{where}: with its functions written out it has more than {MOST_NODES} nodes")
        if deepest > DEEPEST:
            raise ModelError(f"{where}: its calls of functions and its bodies are nested more than {DEEPEST} deep")
    return _Extent(count, deepest)

"""What became of the names of a model that onnxfuse rewrote, and files and options that speak of its nodes.

A pass may give a node's name to another one: `Softmax_1` between two Transposes has a transposed output. So an output is
followed by its value, from the model as it was to the model as it is, and never by the name of its node alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.op_names import named
from onnxfuse.drivers.shape_grammar import (
    GrammarError,
    OutNode,
    OutputType,
    out_nodes_text,
    output_type_text,
    parse_out_nodes,
    parse_output_type,
)
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import open_model

if TYPE_CHECKING:
    import onnx

__all__ = ["GoneError", "Outputs", "Renames", "renamed_options"]

SCHEMA: Final = 1


class GoneError(Exception):
    """What a name stood for is not in the model any more, or it is not known what stands for it."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model's nodes, by the names that atc gives to nodes.

    Attributes:
        values: For each node of the main graph, the names of the values that it makes.
        places: For each such value, its node and which of its outputs it is.
        names: The names of the model's outputs.
    """

    values: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[str, int]]
    names: tuple[str, ...]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Outputs:
        """Returns those of a graph. A node without a name gets one as atc does it: `<op_type>_<k>`."""
        values = {name: tuple(node.output) for name, node in named(graph.node)}
        places = {value: (name, index) for name, made in values.items() for index, value in enumerate(made) if value}
        return cls(values, places, tuple(value.name for value in graph.output))


@dataclass(frozen=True)
class Renames:
    """What a run of `onnxfuse apply` did to names.

    Attributes:
        values: Values of the main graph that are gone, each with the value that holds its content now, or None.
        nodes: Nodes that are gone, each with the nodes that stand for it now.
        origins: Nodes that came in, each with the nodes of the model as it was that it stands for.
        original: The outputs of the nodes of the model as it was; None where it cannot be read.
    """

    values: Mapping[str, str | None] = field(default_factory=dict)
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    original: Outputs | None = None

    @classmethod
    def read(cls, path: Path) -> Renames:
        """Reads what `onnxfuse apply --json` printed, and the model that it was about, if that is still there.

        Raises:
            UsageError: It cannot be read, or is something else.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise UsageError(f"{path}: is no JSON: {error}") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("passes"), list):
            raise UsageError(f"{path}: is no report: what `onnxfuse apply --json` prints is expected")
        try:
            return cls.of(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: is no report that is whole: {type(error).__name__}: {error}") from error

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Renames:
        """Returns the names of a report."""
        steps = [step for item in report["passes"] for step in item["applied"]]
        values: dict[str, str | None] = {}
        nodes: dict[str, tuple[str, ...]] = {}
        for step in reversed(steps):
            if not step["at"]["scope"]:
                now = {old: None if new is None else values.get(new, new) for old, new in step["values"].items()}
                values.update(now)
            stands = {old: _each_once(nodes.get(name, (name,)) for name in new) for old, new in step["nodes"].items()}
            nodes.update(stands)
        path = report.get("input")
        original = _outputs(Path(path), report["before"]["ops"]) if path else None
        return cls(values, nodes, _origins(step["nodes"] for step in steps), original)

    def output(self, node: str, index: int, now: Outputs) -> tuple[str, int]:
        """Returns the node and index at which an output is now.

        Args:
            node: The name of its node in the model as it was.
            index: Which of its outputs.
            now: The model as it is.

        Raises:
            GoneError: It is not there, or it cannot be told where it is.
        """
        if self.original is None:
            if node not in self.nodes and node in now.values:
                return node, index
            became = f": {', '.join(self.nodes[node])} stands for it" if self.nodes.get(node) else ""
            raise GoneError(f"a pass replaced {node}{became}, and the model as it was is not there to tell its outputs")
        if node not in self.original.values:
            if node in now.values:  # a name of today
                return node, index
            raise GoneError(f"neither the model as it was nor the model as it is has a node {node}")
        if index >= len(self.original.values[node]):
            raise GoneError(f"{node} had no output {index} in the model as it was")
        old = self.original.values[node][index]
        value = self.values.get(old, old)
        if value is None or value not in now.places:
            became = ", ".join(self.nodes.get(node, ()))
            raise GoneError(
                f"nothing computes output {index} of {node} any more" + (f": {became} stands for it" if became else "")
            )
        return now.places[value]

    def lines_of_nodes(self, lines: Iterable[str]) -> list[str]:
        """Returns the lines of a `keep_dtype` file with the nodes of today; `OpType::Name` and others stay."""
        found: list[str] = []
        for line in lines:
            name = line.strip()
            found += self.nodes.get(name, (line,))
        return found


def _each_once(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _origins(steps: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    """Returns what each node that came in stands for, from what stands for each node that went, step by step."""
    found: dict[str, tuple[str, ...]] = {}
    for step in steps:
        stands: dict[str, list[str]] = {}
        for old, new in step.items():
            for name in new:
                stands.setdefault(name, []).extend(found.get(old, (old,)))
        found = {name: olds for name, olds in found.items() if name not in step}
        found |= {name: _each_once([tuple(olds)]) for name, olds in stands.items()}
    return found


def renamed_options(
    options: AtcOptions, renames: Renames, now: Outputs, keep_dtype_to: Path
) -> tuple[AtcOptions, list[Finding]]:
    """Returns options that speak of the model as it is, where they spoke of the model as it was.

    Args:
        options: What is given: `out_nodes`, `output_type` and the file of `keep_dtype` name nodes.
        renames: What became of names.
        now: The model as it is.
        keep_dtype_to: Where a file for `keep_dtype` goes, if the one that is given has other names.
    """
    found: list[Finding] = []
    mapped = options
    try:
        outputs = parse_out_nodes(options.out_nodes) if options.out_nodes else ()
        types = parse_output_type(options.output_type) if options.output_type else ""
    except GrammarError:
        return options, []  # which is a problem of the options by themselves
    if any(node.index is not None for node in outputs):
        places = [_place(renames, node.name, node.index or 0, now, found) for node in outputs]
        mapped = replace(mapped, out_nodes=out_nodes_text(OutNode(*place) for place in places))
    if not isinstance(types, str):
        placed = [(_place(renames, entry.name, entry.index, now, found), entry.element) for entry in types]
        text = output_type_text(OutputType(*place, element) for place, element in placed)
        mapped = replace(mapped, output_type=text)
    if options.keep_dtype:
        mapped = _with_keep_dtype(mapped, renames, keep_dtype_to, found)
    return mapped, list(dict.fromkeys(found))


def _place(renames: Renames, name: str, index: int, now: Outputs, found: list[Finding]) -> tuple[str, int]:
    try:
        place = renames.output(name, index, now)
    except GoneError as gone:
        cure = "name an output that is still there, or leave the node out with --except when the passes run"
        found.append(Finding(Severity.ERROR, "out-nodes", str(gone), cure, (f"{name}:{index}",), "E11017"))
        return name, index
    if place != (name, index):
        message = f"{name}:{index} is {place[0]}:{place[1]} now, and is asked for by that name"
        found.append(Finding(Severity.NOTE, "out-nodes", message, "", ()))
    return place


def _with_keep_dtype(options: AtcOptions, renames: Renames, to: Path, found: list[Finding]) -> AtcOptions:
    given = options.keep_dtype or ""
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
    except OSError:
        return options  # which `problems_of` tells
    except ValueError as error:
        cure = "give a text file of node names"
        message = f"the file cannot be read: {error}"
        found.append(Finding(Severity.ERROR, "keep-dtype", message, cure, ("--keep_dtype",)))
        return options
    mapped = renames.lines_of_nodes(lines)
    if mapped == lines:
        return options
    to.write_text("".join(f"{line}\n" for line in mapped), encoding="utf-8")
    message = f"{given} names nodes that are gone: {to} has those that stand for them, and is handed on"
    found.append(Finding(Severity.NOTE, "keep-dtype", message, ""))
    return replace(options, keep_dtype=str(to))


def _outputs(path: Path, before: Mapping[str, int]) -> Outputs | None:
    """Reads the model as it was, if it is still there: who rewrites in place has another one under that name."""
    from onnxfuse.report.facts import facts_of

    if not path.is_file():
        return None
    try:
        opened = open_model(path)
        return Outputs.of(opened.as_source().proto.graph) if facts_of(opened).ops == before else None
    except ModelError:
        return None

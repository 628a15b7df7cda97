"""What became of the names of a model that onnxfuse rewrote.

A pass may give a node's name to another one: `Softmax_1` between two Transposes has a transposed output. So an output is
followed by its value, from the model as it was to the model as it is, and never by the name of its node alone.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.drivers.op_names import named
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import Opened, open_model

if TYPE_CHECKING:
    import onnx

__all__ = ["GoneError", "Outputs", "Renames"]

SCHEMA: Final = 1


class GoneError(Exception):
    """What a name stood for is not in the model any more, or it is not known what stands for it.

    Attributes:
        cure: What to do.
    """

    def __init__(self, message: str, cure: str = "name an output that is still there, or apply with --except") -> None:
        super().__init__(message)
        self.cure = cure


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

    def near(self, name: str) -> str:
        """Returns the name of the node that is meant by one that does not exist, as far as that can be told; else none."""
        return next(iter(difflib.get_close_matches(name, self.values, n=1)), "")


@dataclass(frozen=True)
class Renames:
    """What a run of `onnxfuse apply` did to names.

    Attributes:
        values: Values of the main graph that are gone, each with the value that holds its content now, or None.
        nodes: Nodes that are gone, each with the nodes that stand for it now.
        origins: Nodes that came in, each with the nodes of the model as it was that it stands for.
        original: The outputs of the nodes of the model as it was; None where it cannot be read.
        missing: Why it cannot: where it was looked for, and what was found there.
    """

    values: Mapping[str, str | None] = field(default_factory=dict)
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    original: Outputs | None = None
    missing: str = "the report does not say where it was"

    @classmethod
    def read(cls, path: Path, model: Opened) -> Renames:
        """Reads what `onnxfuse apply --json` printed, and the model that it was about, if that is still there.

        Args:
            path: The report.
            model: The model as it is, which has to be the one that the report speaks of.

        Raises:
            UsageError: It cannot be read, is something else, or is about another model.
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
            found = cls.of(data, folder=path.parent)
            other = _other(data, model)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: is no report that is whole: {type(error).__name__}: {error}") from error
        if other:
            raise UsageError(f"{path}: is the report of another model than {model.path or 'this'}: {other}")
        return found

    @classmethod
    def of(cls, report: Mapping[str, Any], folder: Path = Path()) -> Renames:
        """Returns the names of a report.

        Args:
            report: What it says.
            folder: Where it lies: the model is looked for from there too.
        """
        steps = [step for item in report["passes"] for step in item["applied"]]
        values: dict[str, str | None] = {}
        nodes: dict[str, tuple[str, ...]] = {}
        for step in reversed(steps):
            if not step["at"]["scope"]:
                now = {old: None if new is None else values.get(new, new) for old, new in step["values"].items()}
                values.update(now)
            stands = {old: _each_once(nodes.get(name, (name,)) for name in new) for old, new in step["nodes"].items()}
            nodes.update(stands)
        found = cls(values, nodes, _origins(step["nodes"] for step in steps))
        return found._with_original(report, folder) if report.get("input") else found

    def _with_original(self, report: Mapping[str, Any], folder: Path) -> Renames:
        given = Path(report["input"])
        missing = []
        for path in dict.fromkeys((given, folder / given, folder / given.name)):
            if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises for too long a name
                missing.append(f"{path} is not there")
                continue
            original = _outputs(path, report["before"]["ops"])
            if original is not None:
                return replace(self, original=original)
            missing.append(f"{path} is another one")
        return replace(self, missing=", ".join(missing))

    def output(self, node: str, index: int, now: Outputs) -> tuple[str, int]:
        """Returns the node and index at which an output is now.

        Args:
            node: The name of its node in the model as it was.
            index: Which of its outputs.
            now: The model as it is.

        Raises:
            GoneError: It is not there, or it cannot be told where it is.
        """
        if self.original is None and node in self.nodes:
            became = f": {', '.join(self.nodes[node])} stands for it" if self.nodes[node] else ""
            raise GoneError(
                f"a pass replaced {node}{became}, and the model as it was, which would tell its outputs, is not found "
                f"({self.missing})",
                "run it where that model is, or name an output of today",
            )
        if self.original is None or node not in self.original.values:
            if node in now.values:  # a name of today
                return node, index
            near = now.near(node) or (self.original.near(node) if self.original is not None else "")
            raise GoneError(
                f"there is no node {node}, in the model as it is or as it was",
                f"is {near} meant?" if near else "name a node of one of them",
            )
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

    def nodes_now(self, node: str, now: Outputs) -> tuple[str, ...] | None:
        """Returns the nodes of today that stand for a node, as atc calls them; None where there never was one.

        Args:
            node: The name of a node of the main graph of the model as it was, or as it is.
            now: The model as it is.
        """
        was = self.original.values if self.original is not None else {}
        made = [value for value in was.get(node, ()) if value]
        # A report calls a node without a name by its first output.
        label = next((name for name in (node, *made[:1]) if name in self.nodes), None)
        if label is not None:
            unnamed = {name for name in self.nodes[label] if name in now.places and name not in now.values}
            return _each_once((now.places[name][0] if name in unnamed else name,) for name in self.nodes[label])
        kept = [now.places[value][0] for value in made if value in now.places]
        if kept or node in now.values:
            return (kept[0] if kept else node,)
        return () if node in was else None


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


def _outputs(path: Path, before: Mapping[str, int]) -> Outputs | None:
    """Reads the model as it was, where it is that: who rewrites in place has another one under that name."""
    from onnxfuse.report.facts import facts_of

    try:
        opened = open_model(path)
        return Outputs.of(opened.as_source().proto.graph) if facts_of(opened).ops == before else None
    except ModelError:
        return None


def _other(report: Mapping[str, Any], model: Opened) -> str:
    """Says how the model that a report tells of differs from one; nothing where it may be that one."""
    from onnxfuse.report.facts import facts_of

    said, has = report["after"]["ops"], facts_of(model).ops
    for name in sorted({*said, *has}):
        if said.get(name, 0) != has.get(name, 0):
            return f"that had {said.get(name, 0)} of {name}, and this has {has.get(name, 0)}"
    verdict = report["verification"]["model"] or {}
    names = {value.name for value in model.as_source().proto.graph.output}
    lacking = sorted({output["name"] for output in verdict.get("outputs", ())} - names)
    return f"that had an output {lacking[0]}, and this has none" if lacking else ""

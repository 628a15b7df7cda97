"""Where the time goes: msprof's operators by type, which nodes they came from, and which pass rewrites these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.drivers.op_names import INSERTED, NodeNames, names_of
from onnxfuse.drivers.op_summary import Op, OpSummary

if TYPE_CHECKING:
    import onnx

__all__ = ["Profile", "ProfiledOp", "TypeTime", "passes_by_node", "profile"]

LAYOUT: Final = frozenset({"TransData", "transdata"})
OWN: Final = LAYOUT | {"AtomicAddrClean"}
"""What is no node's: the compiler inserts it, whatever it calls it."""
MOVES: Final = frozenset({"TransData", "TransposeD", "Transpose", "ConfusionTransposeD", "Reformat"})
"""What, where the compiler inserted it, only changes the layout."""


@dataclass(frozen=True)
class ProfiledOp:
    """One operator, and where it came from.

    Attributes:
        op: The operator.
        nodes: The nodes of the graph that its name tells of.
        inserted: Whether the compiler put it in: its name says so, or its type is never a node's.
        between: For one that was put in, the nodes that ran just before and after it.
        passes: The passes that would rewrite one of its nodes, or of what it stands between.
        was: The nodes that its nodes stand for, in the model as it was before onnxfuse rewrote it.
    """

    op: Op
    nodes: tuple[str, ...] = ()
    inserted: bool = False
    between: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    was: tuple[str, ...] = ()

    @property
    def is_layout(self) -> bool:
        """Whether it only converts a layout."""
        return self.op.type in LAYOUT or (self.inserted and self.op.type in MOVES)


@dataclass(frozen=True)
class TypeTime:
    """The operators of one type.

    Attributes:
        type: The type.
        count: How many there are.
        time: us of one run of all of them.
        share: Of the whole run, from 0 to 1.
        op_types: The op_types of their nodes; of what the compiler inserted, none.
        passes: The passes that would rewrite some of them, with the us of those.
    """

    type: str
    count: int
    time: float
    share: float
    op_types: tuple[str, ...]
    passes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """Where the time of a run goes.

    Attributes:
        total: us of one run.
        layout: us that convert layouts.
        casts: us of Casts that the compiler inserted.
        types: The types, the slowest first.
        ops: The operators, the slowest first.
        passes: By pass, the us of what it would rewrite, conversions beside that included.
        unmapped: us of operators whose names tell of no node; 0 where there is no model.
        notes: What was left out of the file.
    """

    total: float
    layout: float
    casts: float
    types: tuple[TypeTime, ...]
    ops: tuple[ProfiledOp, ...]
    passes: Mapping[str, float]
    unmapped: float
    notes: tuple[str, ...] = ()

    def to_dict(self, top: int) -> dict[str, Any]:
        """Returns it for JSON, with the `top` slowest operators."""
        return {
            "total_us": self.total,
            "layout_us": self.layout,
            "inserted_cast_us": self.casts,
            "unmapped_us": self.unmapped,
            "types": [
                {"type": t.type, "count": t.count, "time_us": t.time, "share": t.share, "op_types": list(t.op_types),
                 "passes_us": dict(t.passes)}
                for t in self.types
            ],
            "ops": [
                {"name": p.op.name, "type": p.op.type, "time_us": p.op.time, "runs": p.op.runs, "shapes": p.op.shapes,
                 "formats": p.op.formats, "nodes": list(p.nodes), "inserted": p.inserted, "between": list(p.between),
                 "passes": list(p.passes), "was": list(p.was)}
                for p in self.ops[:top]
            ],
            "passes_us": dict(self.passes),
            "notes": list(self.notes),
        }  # fmt: skip


def profile(
    summary: OpSummary,
    nodes: Sequence[onnx.NodeProto] = (),
    passes: Mapping[str, Sequence[str]] | None = None,
    notes: Sequence[str] = (),
    origins: Mapping[str, Sequence[str]] | None = None,
) -> Profile:
    """Says where the time goes.

    Args:
        summary: The operators.
        nodes: Those of the graph that was compiled; empty where it is not at hand.
        passes: By the name of a node, the passes that would rewrite it (`passes_by_node`).
        notes: What else is to be told.
        origins: By the name of a node, those of the model as it was that it stands for (`Renames.origins`).
    """
    known = names_of(nodes)
    ops = _attributed(summary.ops, known, passes or {}, origins or {})
    total = summary.total
    by_type: dict[str, list[ProfiledOp]] = {}
    for one in ops:
        by_type.setdefault(one.op.type, []).append(one)
    types = [_type(kind, found, total, known) for kind, found in by_type.items()]
    return Profile(
        total=total,
        layout=_sum(one for one in ops if one.is_layout),
        casts=_sum(one for one in ops if one.inserted and one.op.type == "Cast"),
        types=tuple(sorted(types, key=lambda entry: (-entry.time, entry.type))),
        ops=tuple(sorted(ops, key=lambda one: (-one.op.time, one.op.name))),
        passes=_by_pass(ops),
        unmapped=_sum(one for one in ops if known and not one.nodes and not one.inserted),
        notes=(*summary.notes, *notes),
    )


def _sum(ops: Iterable[ProfiledOp]) -> float:
    return float(sum(one.op.time for one in ops))


def _by_pass(ops: Sequence[ProfiledOp]) -> dict[str, float]:
    times: dict[str, float] = {}
    for one in ops:
        for name in one.passes:
            times[name] = times.get(name, 0.0) + one.op.time
    return dict(sorted(times.items(), key=lambda item: (-item[1], item[0])))


def _type(kind: str, ops: Sequence[ProfiledOp], total: float, known: Mapping[str, str]) -> TypeTime:
    time = _sum(ops)
    op_types = dict.fromkeys(known[node] for one in ops for node in one.nodes)
    return TypeTime(kind, len(ops), time, time / total if total else 0.0, tuple(op_types), _by_pass(ops))


def _attributed(
    ops: Sequence[Op],
    known: Mapping[str, str],
    passes: Mapping[str, Sequence[str]],
    origins: Mapping[str, Sequence[str]],
) -> list[ProfiledOp]:
    """The operators with their nodes; what was inserted goes to the nodes that ran before and after it."""
    finder = NodeNames(known)
    inserted = [INSERTED.match(op.name) is not None or op.type in OWN for op in ops]
    nodes = [() if put_in else finder.inside(op.name) for op, put_in in zip(ops, inserted, strict=True)]
    before = _nearest(nodes)
    after = _nearest(nodes[::-1])[::-1]
    found = []
    for index, op in enumerate(ops):
        beside = tuple(dict.fromkeys((*before[index][-1:], *after[index][:1]))) if inserted[index] else ()
        helping = dict.fromkeys(name for node in (*nodes[index], *beside) for name in passes.get(node, ()))
        was = tuple(dict.fromkeys(name for node in nodes[index] for name in origins.get(node, (node,))))
        told = () if was == nodes[index] else was  # who stands for itself alone needs no word
        found.append(ProfiledOp(op, nodes[index], inserted[index], beside, tuple(helping), told))
    return found


def _nearest(nodes: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """For each operator, the nodes of the last one before it that has some."""
    last: tuple[str, ...] = ()
    found = []
    for own in nodes:
        found.append(last)
        last = own or last
    return found


def passes_by_node(model: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Asks every pass what it would rewrite in a model, without verifying it; nothing is written.

    Returns:
        By the name of a node, the passes; and a sentence for each pass that broke. Passes that need options, and other
        tools, are not asked.
    """
    from onnxfuse.errors import PassError, UsageError
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline import registry
    from onnxfuse.pipeline.manager import PassManager, VerifyLevel
    from onnxfuse.pipeline.pipeline import Pipeline, has_required_options

    found: dict[str, list[str]] = {}
    notes: list[str] = []
    for name in registry.origins():
        if name in registry.TOOLS:
            continue
        try:
            if has_required_options(registry.pass_class(name)):
                continue
            report = PassManager(Pipeline.parse(name), verify=VerifyLevel.OFF).run(open_model(model))
        except (UsageError, PassError) as error:
            notes.append(f"the pass {name} was not asked: {error}")
            continue
        for outcome in report.applied:
            for node, _ in outcome.removed:
                if node and name not in found.setdefault(node, []):
                    found[node].append(name)
    return found, notes

"""merge-transposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class MergeTransposes(RewritePass):
    """Merge two consecutive Transposes into one, or into none where they cancel."""

    name: ClassVar[str] = "merge-transposes"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Transpose"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Transpose")
        if first is None:
            return None
        if facts.is_graph_output(first.outputs[0]):
            facts.decline("the first Transpose is a graph output", at=first)
        if facts.only_user(first.outputs[0]) is not node:
            facts.decline("the first Transpose has another use", at=first)
        before, after = _perm(first, facts), _perm(node, facts)
        if before is None or after is None:
            facts.decline("the rank is not known")
        merged = [before[axis] for axis in after]
        return facts.region(first, node, data=facts.input(first, 0), perm=merged)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        perm: list[int] = match["perm"]
        if perm == sorted(perm):
            return [match["data"]]
        return [build.op("Transpose", match["data"], perm=perm)]


def _perm(node: ir.Node, facts: Facts) -> list[int] | None:
    perm = facts.attribute(node, "perm")
    if perm is not None:
        return list(perm)
    data = facts.input(node, 0)
    rank = facts.rank(data) if data is not None else None
    return None if rank is None else list(range(rank - 1, -1, -1))

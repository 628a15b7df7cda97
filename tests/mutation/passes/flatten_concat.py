"""flatten-concat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class FlattenConcat(RewritePass):
    """Put the operands of a Concat into the Concat that reads it, where both are of one axis."""

    name: ClassVar[str] = "flatten-concat"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Concat"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        axis = _axis(node, facts)
        for index, value in enumerate(node.inputs):
            inner = facts.producer(value, "Concat")
            if inner is None:
                continue
            if facts.only_user(inner.outputs[0]) is not node:
                facts.decline("the inner Concat has another use", at=inner)
            if axis is None or _axis(inner, facts) != axis:
                facts.decline("the Concats are not known to be of one axis", at=inner)
            operands = [*node.inputs[:index], *inner.inputs, *node.inputs[index + 1 :]]
            return facts.region(inner, node, operands=operands, axis=axis)
        return None

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Concat", *match["operands"], axis=match["axis"])]


def _axis(node: ir.Node, facts: Facts) -> int | None:
    axis: int = facts.attribute(node, "axis")
    if axis >= 0:
        return axis
    ranks = [rank for value in node.inputs if value is not None and (rank := facts.rank(value)) is not None]
    return axis + ranks[0] if ranks else None

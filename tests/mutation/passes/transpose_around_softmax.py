"""transpose-around-softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class TransposeAroundSoftmax(RewritePass):
    """Compute a Softmax of another axis on the last one, between two Transposes."""

    name: ClassVar[str] = "transpose-around-softmax"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Softmax"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        if facts.opset(node) < 13:
            facts.decline("below opset 13 a Softmax flattens its input")
        data = facts.input(node, 0)
        rank = facts.rank(data) if data is not None else None
        if rank is None or rank < 2:
            facts.decline("the rank is not known, or too small")
        axis = facts.attribute(node, "axis", -1)
        axis = axis + rank if axis < 0 else axis
        if axis == rank - 1:
            return None
        return facts.region(node, data=data, axis=axis, rank=rank)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        axis, rank = match["axis"], match["rank"]
        perm = list(range(rank))
        perm[axis], perm[rank - 1] = perm[rank - 1], perm[axis]
        turned = build.op("Transpose", match["data"], perm=perm)
        return [build.op("Transpose", build.op("Softmax", turned, axis=-1), perm=perm)]

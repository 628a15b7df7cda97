"""matmul-add-to-gemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class MatmulAddToGemm(RewritePass):
    """Turn MatMul and Add into Gemm."""

    name: ClassVar[str] = "matmul-add-to-gemm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Add"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        left, right = facts.input(node, 0), facts.input(node, 1)
        product, bias = facts.producer(left, "MatMul"), right
        if product is None:
            product, bias = facts.producer(right, "MatMul"), left
        if product is None or bias is None:
            return None
        a, b = facts.input(product, 0), facts.input(product, 1)
        if a is None or b is None or facts.rank(a) != 2 or facts.rank(b) != 2:
            facts.decline("an operand of the MatMul is not of rank 2", at=product)
        dtype = facts.dtype(a)
        if dtype is None or dtype.is_integer():
            facts.decline("Gemm is asked for floats only")
        if facts.opset(node) < 11:
            facts.decline("below opset 11 Gemm must have C in full")
        if facts.only_user(product.outputs[0]) is not node:
            facts.decline("the product has another use", at=product)
        shape, columns = facts.shape(bias), facts.shape(b)
        if shape is None or columns is None or len(shape) > 2:
            facts.decline("the shape of the bias is not known, or has too many dims")
        if not isinstance(columns[1], int) or (shape and shape[-1] not in (1, columns[1])):
            facts.decline("the bias does not broadcast to the columns")
        if len(shape) == 2 and shape[0] != 1:
            facts.decline("the bias has rows of its own")
        return facts.region(product, node, a=a, b=b, bias=bias)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Gemm", match["a"], match["b"], match["bias"])]

"""A replacement that onnxruntime refuses is no replacement, whatever the reference evaluator makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx
import onnx_ir as ir

import onnxfuse
from onnxfuse import Builder, Facts, Match, Numerics, RewritePass


@dataclass(frozen=True)
class MatMulAddToGemm(RewritePass):
    """Wrong: Gemm takes matrices only."""

    name: ClassVar[str] = "matmul-add-to-gemm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Add"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        product = facts.producer(facts.input(node, 0), "MatMul")
        if product is None:
            return None
        return facts.region(product, node, a=product.inputs[0], b=product.inputs[1], c=node.inputs[1])

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Gemm", match["a"], match["b"], match["c"])]


def test_a_gemm_of_rank_three_is_rejected_on_its_region() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3, 6] x, float[6, 4] w, float[4] c) => (float[2, 3, 4] y) { m = MatMul(x, w) y = Add(m, c) }""")
    result = onnxfuse.apply(model, MatMulAddToGemm(), verify="region")
    assert not result.report.applied
    assert "onnxruntime takes the original and refuses the replacement" in result.report.rejected[0].reason


def test_a_gemm_of_matrices_is_applied() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[3, 6] x, float[6, 4] w, float[4] c) => (float[3, 4] y) { m = MatMul(x, w) y = Add(m, c) }""")
    result = onnxfuse.apply(model, MatMulAddToGemm(), verify="region")
    assert [outcome.grade for outcome in result.report.applied] == ["value-tested"]


def test_without_a_version_of_the_operators_nothing_is_rewritten() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[3, 6] x, float[6, 4] w, float[4] c) => (float[3, 4] y) { m = MatMul(x, w) y = Add(m, c) }""")
    model.opset_import[0].version = 0
    (declined,) = onnxfuse.apply(model, MatMulAddToGemm(), verify="region").report.declined
    assert "which operators these are is not said" in declined.reason

"""What the verification of regions accepts and refuses where a pass hands back another model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse import Facts, ModelPass, Numerics
from onnxfuse.report.records import PassReport


@dataclass(frozen=True)
class Becomes(ModelPass):
    """Hands back a model that was made elsewhere."""

    made: onnx.ModelProto = field(repr=False)
    name: ClassVar[str] = "becomes"
    numerics: ClassVar[Any] = Numerics.ROUNDING

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        return ir.from_proto(self.made)


def read(text: str, *, opset: int = 17) -> onnx.ModelProto:
    """Returns a model of text, its nodes named."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "f": 1]> {text}')
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"n{number}"
    return model


def outcome(before: onnx.ModelProto, after: onnx.ModelProto) -> PassReport:
    """Returns what becomes of the pass that makes the one of the other; the regions alone decide."""
    (report,) = onnxfuse.apply(before, Becomes(after), verify="region").report.passes
    assert len(report.applied) + len(report.rejected) >= 1
    return report


LOOPS = """g (int64 n, bool c, float[2, 3] a, float[2, 3] b) => (float[2, 3] o, float[2, 3] p, float[2, 3] q, float[2, 3] r) {
    o, p = Loop(n, c, a, b) <body = one (int64 i, bool ci, float[2, 3] a1, float[2, 3] b1)
        => (bool co, float[2, 3] %s, float[2, 3] %s) { co = Identity(ci) %s }>
    q, r = Loop(n, c, b, a) <body = two (int64 j, bool cj, float[2, 3] a2, float[2, 3] b2)
        => (bool cp, float[2, 3] %s, float[2, 3] %s) { cp = Identity(cj) %s }>
}"""


def test_outputs_that_are_inputs_are_told_apart_by_what_they_replace() -> None:
    parts = [f"t{k} = Concat<axis = 0>(a{k}, b{k}) s{k}, u{k} = Split<axis = 0>(t{k})" for k in (1, 2)]
    before = read(LOOPS % ("s1", "u1", parts[0], "s2", "u2", parts[1]))
    right = read(LOOPS % ("a1", "b1", "", "a2", "b2", ""))
    swapped = read(LOOPS % ("a1", "b1", "", "b2", "a2", ""))
    assert len(outcome(before, right).applied) == 2
    assert not outcome(before, swapped).applied


AROUND = """g (float[2, 3] x) => (float[2, 3] y) <float[1] one = {%s}> {
    n = Neg(x) e = Exp(n) p = Add(e, one) s = Reciprocal(p) v = Neg(s) %s
}"""


def test_a_region_around_a_node_that_stays_is_compared() -> None:
    stays = "w = Relu(v) y = Add(s, w)"
    before = read(f"g (float[2, 3] x) => (float[2, 3] y) {{ s = Sigmoid(x) v = Neg(s) {stays} }}")
    assert outcome(before, read(AROUND % ("1", stays))).applied
    (wrong,) = outcome(before, read(AROUND % ("1.5", stays))).rejected
    assert "differs at" in wrong.reason


def test_a_shape_that_the_region_itself_gives_is_known_where_it_is_static() -> None:
    stays = "w = Shape(v) y = Reshape(s, w)"
    before = read(f"g (float[2, 3] x) => (float[2, 3] y) {{ s = Sigmoid(x) v = Neg(s) {stays} }}")
    assert outcome(before, read(AROUND % ("1", stays))).applied
    assert outcome(before, read(AROUND % ("1.5", stays))).rejected


IMAGES = """g (float[N, 3, 300, %d] x) => (float[M, 3, 300, %d] y) <int64[1] s = {0}, int64[1] e = {%d}, int64[1] a = {0}> {
    %s
}"""
GATED = "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(%s) y = Mul(%s, h)"


@pytest.mark.parametrize(("width", "end", "reason"), [(300, 4, "differs at"), (30000, 4, "too large to run on")])
def test_an_end_that_comes_to_bear_beyond_the_sizes_of_large_images(width: int, end: int, reason: str) -> None:
    before = read(IMAGES % (width, width, end, "t = Slice(x, s, e, a) y = HardSwish(t)"))
    (wrong,) = outcome(before, read(IMAGES % (width, width, end, GATED % ("x", "x")))).rejected
    assert reason in wrong.reason


def test_large_images_are_affordable() -> None:
    before = read(IMAGES % (300, 300, 4, "t = Slice(x, s, e, a) y = HardSwish(t)"))
    assert outcome(before, read(IMAGES % (300, 300, 4, "t = Slice(x, s, e, a) " + GATED % ("t", "t")))).applied

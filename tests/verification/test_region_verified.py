"""What the verification of regions accepts and refuses where a pass hands back another model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxfuse
from onnxfuse.report.records import PassReport
from onnxfuse.verification import region_values
from tests.pipeline.edited import Edited


def read(text: str, *, opset: int = 17) -> onnx.ModelProto:
    """Returns a model of text, its nodes named."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "f": 1]> {text}')
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"n{number}"
    return model


def outcome(before: onnx.ModelProto, after: onnx.ModelProto) -> PassReport:
    """Returns what becomes of the pass that makes the one of the other; the regions alone decide."""
    (report,) = onnxfuse.apply(before, Edited(lambda _: after), verify="region").report.passes
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


@pytest.mark.parametrize("most", [1 << 26, 1 << 20])
def test_an_end_that_comes_to_bear_beyond_the_sizes_of_large_images(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_values, "MOST", most)
    before = read(IMAGES % (300, 300, 4, "t = Slice(x, s, e, a) y = HardSwish(t)"))
    for right in (True, False):
        after = read(IMAGES % (300, 300, 4, "t = Slice(x, s, e, a) " * right + GATED % (("x", "x"), ("t", "t"))[right]))
        report = outcome(before, after)
        texts = [applied.evidence for applied in report.applied] + [refused.reason for refused in report.rejected]
        if most == 1 << 20 and not right:
            assert "too large to run on" in texts[0]
        else:
            assert (len(report.applied) == 1) == right


def table(op: str, weight: np.ndarray, ids: int) -> onnx.ModelProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    inputs = ["w", "x"] if op == "Gather" else ["x", "w"]
    after = "Tanh" if op == "Gather" else "Not"
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, inputs, ["t"], name="a"), onnx.helper.make_node(after, ["t"], ["y"], name="b")],
        "g",
        [onnx.helper.make_tensor_value_info("x", ids, ["N", 1])],
        [onnx.helper.make_tensor_value_info("y", 1 if op == "Gather" else 9, None)],
        [onnx.helper.make_tensor("w", kind, weight.shape, weight.ravel().tolist())],
    )
    return onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 19)])


ROWS = np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
NUMBERS = np.arange(1200) * 7919


@pytest.mark.parametrize(
    ("op", "weight", "at", "other", "ids"),
    [
        ("Gather", ROWS, 12_345, -ROWS[12_345], 7),
        ("Equal", NUMBERS, 777, NUMBERS[777] + 1, 7),
        ("Equal", np.array(["a", "b"], object), 1, "zebra", 8),
    ],
    ids=["embedding", "integers", "strings"],
)
def test_a_constant_that_no_draw_reads_is_not_verified(op: str, weight: Any, at: int, other: Any, ids: int) -> None:
    changed = weight.copy()
    changed[at] = other
    report = outcome(table(op, weight, ids), table(op, changed, ids))
    texts = [applied.evidence for applied in report.applied] + [refused.reason for refused in report.rejected]
    assert "not verified: a constant changes" in texts[0]


def test_a_constant_that_is_rounded_otherwise_is_compared() -> None:
    rounded = ROWS.copy()
    rounded[3] = np.nextafter(rounded[3], np.float32(9))
    assert "not verified" not in outcome(table("Gather", ROWS, 7), table("Gather", rounded, 7)).applied[0].evidence


def test_in_a_function_what_depends_on_the_type_is_not_verified() -> None:
    text = """g (int64[2] x) => (int64[2] y) { y = f.cast(x) }
        <domain: "f", opset_import: ["": 17]> cast (x) => (y) { %s }"""
    before = read(text % "a = Cast<to = 1>(x) y = Cast<to = 7>(a)")
    report = outcome(before, read(text % "y = Cast<to = 7>(x)"))
    texts = [applied.evidence for applied in report.applied] + [refused.reason for refused in report.rejected]
    assert "not verified: what Cast does depends on a type" in texts[0]

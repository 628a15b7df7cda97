"""convert-opset: what it declines, what is wrong usage, and what the converter itself refuses."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

import onnxfuse
from onnxfuse.testing import check_declines
from tests.passes.converting import model_at
from tests.passes.running import parse
from tests.passes.softmaxes import alone

# ---------------------------------------------------------------------------------------------------- the target


def test_only_upwards() -> None:
    model = model_at(17, "(float[N] x) => (float[N] y) { y = Relu(x) }")
    check_declines(model, "convert-opset{to=13}", "the model is already at opset 17")


def test_older_than_what_a_runtime_is_held_to() -> None:
    model = model_at(6, "(float[N] x) => (float[N] y) { y = Relu(x) }")
    check_declines(model, "convert-opset{to=13}", "the model is at opset 6")


@pytest.mark.parametrize("to", ["0", "6", "1000"])
def test_opset_that_does_not_exist_is_wrong_usage(to: str) -> None:
    with pytest.raises(onnxfuse.UsageError, match=rf"convert-opset\{{to={to}\}}: an opset from 7 to \d+ is expected"):
        onnxfuse.Pipeline.parse(f"convert-opset{{to={to}}}")


def test_opset_is_asked_for() -> None:
    with pytest.raises(onnxfuse.UsageError, match="needs the option to"):
        onnxfuse.Pipeline.parse("convert-opset")


def test_opset_that_onnxruntime_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("opset 15 is under development")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    model = model_at(13, "(float[N] x) => (float[N] y) { y = Relu(x) }")
    check_declines(model, "convert-opset{to=15}", "does not load opset 15: the result could not be verified")


def test_model_without_an_operator_of_onnx() -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Look", ["x"], ["y"], domain="com.example")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        ),
        opset_imports=[helper.make_opsetid("com.example", 3)],
        ir_version=8,
    )
    check_declines(model, "convert-opset{to=13}", "no operator of ONNX's default domain")


def test_converter_that_fails_is_told() -> None:
    model = model_at(7, "(float[1, 2, 3, 3] x, float[2] v) => (float[1, 2, 3, 3] y) { y = ThereIsNone(x, v) }")
    result = onnxfuse.apply(onnx.parser.parse_model(model), "convert-opset{to=13}")

    assert not result.report.modified
    (rejected,) = result.report.rejected
    assert "onnx's version converter cannot convert to opset 13" in rejected.reason
    assert "ThereIsNone" in rejected.reason


# ---------------------------------------------------------------------------------------------------- operators


@pytest.mark.parametrize(
    ("shape", "axis", "reason"),
    [
        (("N", "C", "H", "W"), 1, "Softmax over several dims, of which one may be 0"),
        (("N", 3), 0, "Softmax over several dims, of which one may be 0"),
        ((3, "N", 4, 2), 2, "Softmax over several dims, of which one may be 0"),
        (None, 1, "Softmax: whether axis 1 is the last one is not known: the rank is not"),
    ],
)
def test_softmax_that_is_declined(shape: tuple[int | str, ...] | None, axis: int, reason: str) -> None:
    model = alone(shape, axis=axis, opset=11)
    check_declines(model, "convert-opset{to=13}", reason)
    assert onnxfuse.apply(model, "convert-opset{to=12}", verify="structure").report.modified


def test_hardmax_over_several_axes() -> None:
    model = model_at(11, "(float[2, 3, 4] x) => (float[2, 3, 4] y) { y = Hardmax<axis = 1>(x) }")
    check_declines(model, "convert-opset{to=13}", "Hardmax over several dims does not exist since opset 13")


def test_resize_of_opset_10_that_drops_elements_at_other_than_whole_steps() -> None:
    model = model_at(
        10,
        """(float[1, 1, 8, 8] x) => (float[A, B, C, D] y) <float[4] s = {1, 1, 0.6, 0.7}>
        { y = Resize<mode = "nearest">(x, s) }""",
    )
    check_declines(model, "convert-opset{to=13}", "drops elements at other than whole steps")


SCAN = """(float[1, 3] s, float[1, 4, 3] x) => (float[A, B] f, float[A, B, C] y) {
    f, y = Scan<num_scan_inputs = 1, body = b (float[3] a, float[3] n) => (float[3] c, float[3] d) {
        c = Add(a, n) d = Identity(c) }>("", s, x) }"""


def test_scan_over_a_batch_is_declined() -> None:
    check_declines(onnx.parser.parse_model(model_at(8, SCAN)), "convert-opset{to=13}", "Scan below opset 9")


# ---------------------------------------------------------------------------------------------------- models


DECLINED = {
    "local functions": (
        """<ir_version: 8, opset_import: ["" : 11, "local" : 1]> g (float[N] x) => (float[N] y) { y = local.F(x) }
        <domain: "local", opset_import: ["" : 11]> F (a) => (b) { b = Relu(a) }""",
        13,
        "the model has local functions, which onnx's version converter drops",
    ),
    "a mask that is read": (
        model_at(9, "(float[N] x) => (float[N] y, float[N] mask) { y, mask = Dropout(x) }"),
        13,
        "the mask of Dropout, a float below opset 10, is read",
    ),
    "batch statistics": (
        model_at(
            9,
            """(float[N, 2] x, float[2] s, float[2] b, float[2] m, float[2] v) => (float[N, 2] y)
            { y, mean, var, saved_mean, saved_var = BatchNormalization(x, s, b, m, v) }""",
        ),
        15,
        "BatchNormalization in training is not converted",
    ),
    "scales by group": (
        model_at(
            18,
            "(float[N, 4, 3] x, float[2] s, float[2] b) => (float[N, 4, 3] y) { y = GroupNormalization<num_groups = 2>(x, s, b) }",
        ),
        21,
        "GroupNormalization below opset 21 has a scale for each group",
    ),
    "bodies of custom operators": (
        """<ir_version: 8, opset_import: ["" : 11, "com.example" : 1]> g (float[N] x) => (float[N] y) {
            y = com.example.Twice<body = b (float[N] a) => (float[N] c) { c = Relu(a) }>(x) }""",
        13,
        "onnx's version converter leaves the bodies of Twice as they are",
    ),
}


@pytest.mark.parametrize("case", DECLINED)
def test_declined(case: str) -> None:
    text, to, reason = DECLINED[case]
    check_declines(onnx.parser.parse_model(text), f"convert-opset{{to={to}}}", reason)


def test_sparse_initializers_are_declined() -> None:
    model = parse(model_at(11, "(float[3] x) => (float[3] y) <float[3] w = {0, 1, 0}> { y = Add(x, w) }"))
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("", TensorProto.INT64, [1], [1])
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    check_declines(model, "convert-opset{to=13}", "sparse initializers are not converted")

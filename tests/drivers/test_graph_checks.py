"""What is found in a graph before it is handed to atc."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.drivers.findings import Finding, Severity
from tests.drivers.small_graphs import PLAIN, found, only, parsed, with_constant


@pytest.mark.parametrize("cann", ["", "5.0.2", "5.1.RC1", "6.3", "7.0", "8.0.0", "9.1"])
def test_nothing_is_wrong(cann: str) -> None:
    assert not found(parsed(PLAIN), cann=cann)


# ---- bodies


def branched(then: str, *, main: str = "", opset: int = 11) -> onnx.ModelProto:
    body = (
        f"{main} [if] y = If(b) <then_branch = g () => (float[1, 4, H, W] t) {{ {then} }}, "
        "else_branch = h () => (float[1, 4, H, W] e) { [else] e = Identity(x) }>"
    )
    inputs = "float[1, 4, 128, 128] x, bool b, float[4, 4, 1, 1] w, int64[8] p"
    return parsed(body, inputs=inputs, outputs="float[1, 4, H, W] y", opset=opset)


@pytest.mark.parametrize(
    ("then", "check", "at"),
    [
        (
            "[a] q = QuantizeLinear(x, w) [b] t = DequantizeLinear(q, w)",
            "operators",
            ("QuantizeLinear", "DequantizeLinear"),
        ),
        ("[a] q = my.Thing(x) [b] t = Relu(q)", "operators", ("my::Thing",)),
        ("[a] q = Upsample(x) [b] t = GridSample(q, w)", "operators", ("GridSample: 11, 16 to 18",)),
        ("[a] t = AveragePool <kernel_shape = [16, 16]> (x)", "slow-operators", ("a",)),
        ("[a] a = Conv(x, w) [c] c = Pad(a, p) [d] t = Conv(c, w)", "slow-operators", ("c",)),
        ("[a] a = Relu(x) [a] t = Relu(a)", "names", ("a",)),
        ("[a] a = Cast <to = 11> (x) [c] t = Cast <to = 1> (a)", "float64", ("a",)),
    ],
)
def test_what_stands_in_a_body(then: str, check: str, at: tuple[str, ...]) -> None:
    (finding,) = found(branched(then, opset=12))
    assert (finding.check, finding.at) == (check, at)


def test_a_loop_in_a_branch() -> None:
    loop = (
        "[loop] t = Loop(, b, x) <body = l (int64 i, bool c, float[1, 4, 128, 128] v) => (bool o, float[1, 4, 128, 128] r) "
        "{ [o] o = Identity(c) [r] r = AveragePool <kernel_shape = [16, 16]> (v) }>"
    )
    assert [(item.check, item.at) for item in found(branched(loop))] == [
        ("operators", ("Loop",)),
        ("slow-operators", ("r",)),
    ]


def test_outputs_are_of_the_main_graph() -> None:
    finding = only(branched("[a] t = Relu(x)"), "out-nodes", out_nodes="a:0")
    assert (finding.severity, finding.code) == (Severity.ERROR, "E11017")
    assert "name that node" in finding.cure
    assert not found(branched("[a] t = Relu(x)"), out_nodes="if:0")


# ---- names


def test_names() -> None:
    model = parsed("[one] a = Relu(x) [one] b = Relu(a) c = Relu(b) [d] y = Relu(c)")
    model.graph.node[3].name = "odd: name"
    errors, warnings, notes = (
        [item for item in found(model) if item.check == "names" and item.severity is severity] for severity in Severity
    )
    assert [(item.at, item.code) for item in errors] == [(("one",), "E13009")]
    assert [item.at for item in warnings] == [("odd: name",)]
    assert notes[0].message.startswith("1 of 4 nodes have no name")


def test_names_that_are_taken() -> None:
    """Inputs are nodes to the converter, and a node without a name gets one before they are compared."""
    assert only(parsed("[x] y = Relu(x)"), "names").at == ("x",)
    model = parsed("[Relu_0] a = Abs(x) y = Relu(a)")
    error, note = (item for item in found(model) if item.check == "names")
    assert (error.at, error.code, note.severity) == (("Relu_0",), "E13009", Severity.NOTE)
    assert not found(with_constant(np.ones(4, np.float32), "[c] y = Add(x, c)"))


def test_bodies_may_have_the_same_names() -> None:
    assert not found(branched("[else] a = Relu(x) [main] t = Relu(a)", main="[main] m = Relu(x)"))


# ---- inputs


DYNAMIC = "float[N, 4] x"


def test_dynamic_dims() -> None:
    model = parsed(PLAIN, inputs=DYNAMIC)
    finding = only(model, "dynamic-dims")
    assert (finding.severity, finding.at) == (Severity.WARNING, ("x.0",))
    finding = only(model, "dynamic-dims", cann="5.1")
    assert (finding.severity, finding.code) == (Severity.ERROR, "E10011")
    assert "--batch-size" in finding.cure
    assert not found(model, input_shape="x:8,4", cann="5.1")
    assert not found(model, input_shape="8,4", cann="5.1")
    for cann in ("", "5.1"):
        assert not found(model, input_shape="x:-1,4", dynamic_batch_size="1,2", cann=cann)
        assert not found(model, input_shape_range="x:[1~8,4]", cann=cann)
    assert only(model, "dynamic-dims", input_shape="x:-1,4").at == ("x.0",)


def test_dims_of_an_input_that_options_do_not_speak_of() -> None:
    model = parsed("[one] y = Add(x, z)", inputs="float[1, 4] x, float[N, 4] z", outputs="float[N, 4] y")
    finding = only(model, "dynamic-dims", input_shape="x:1,4", cann="5.1")
    assert (finding.severity, finding.at, finding.code) == (Severity.ERROR, ("z.0",), "E10011")
    assert not found(model, input_shape="x:1,4;z:2,4", cann="5.1")


def test_a_shape_that_only_options_give() -> None:
    model = parsed(PLAIN)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert "--input_shape=x:" in only(model, "input-shape").message
    assert not found(model, input_shape="x:1,4")
    assert only(model, "dynamic-dims", input_shape="x:-1,4").at == ("x.0",)


def test_other_options_than_one_that_cannot_be_read() -> None:
    assert only(parsed(PLAIN), "input-fp16", input_shape="x:a", input_fp16_nodes="z").code == "E10016"


# ---- AIPP

AIPP = "aipp_op { aipp_mode: static # of one size\n mean_chn_0: 1.5, var_reci_chn_0: -3e-2; }"


@pytest.mark.parametrize(
    "text",
    [
        AIPP,
        AIPP + AIPP,
        "aipp_op: <aipp_mode: dynamic>, aipp_op { aipp_mode: static related_input_rank: 0 };",
        'aipp_op { aipp_mode: static related_input_name: "a # b" }',
    ],
)
def test_a_file_for_aipp(tmp_path: Path, text: str) -> None:
    (tmp_path / "aipp.cfg").write_text(text)
    assert not found(parsed(PLAIN), insert_op_conf=str(tmp_path / "aipp.cfg"))
    finding = only(parsed(PLAIN), "aipp", insert_op_conf=str(tmp_path / "aipp.cfg"), input_fp16_nodes=" x ")
    assert (finding.severity, finding.code) == (Severity.ERROR, "E10034")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "there is no aipp_op"),
        (b"hello", "'hello' stands where aipp_op is expected"),
        (b"aipp_op", "aipp_op is not followed by {"),
        (b"aipp_op: x", "aipp_op is not followed by {"),
        (b"aipp_op { aipp_mode: static", "} is missing"),
        (b"aipp_op { aipp_mode static }", "'aipp_mode static }' is no field and value"),
        (b"aipp_op { aipp_mode: }", "'aipp_mode : }' is no field and value"),
        (b"aipp_op { }", "aipp_mode is missing"),
        (b"aipp_op { aipp_mode: moving }", "aipp_mode is moving"),
        (b"aipp_op { aipp_mode: static related_input_rank: 1 }", "related_input_rank is 1, and the model has 1 inputs"),
        (b"aipp_op { aipp_mode: static related_input_rank: -1 }", "related_input_rank is -1, and"),
        (b"\xff", "it is no text in UTF-8"),
    ],
)
def test_no_file_for_aipp(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "aipp.cfg").write_bytes(text)
    finding = only(parsed(PLAIN), "aipp", insert_op_conf=str(tmp_path / "aipp.cfg"))
    assert (finding.severity, finding.code) == (Severity.ERROR, "E10052")
    assert finding.message.startswith(f"{tmp_path / 'aipp.cfg'}: {why}")


# ---- shapes against the model's


@pytest.mark.parametrize(
    ("shape", "severity", "code"),
    [
        ("z:1,4", Severity.ERROR, "E10016"),
        ("one:1,4", Severity.ERROR, "E10017"),
        ("x:1,4,1", Severity.ERROR, "E10049"),
        ("x:1,5", Severity.WARNING, "E10050"),
    ],
)
def test_input_shapes(shape: str, severity: Severity, code: str) -> None:
    finding = only(parsed(PLAIN), "input-shape", input_shape=shape)
    assert (finding.severity, finding.code) == (severity, code)


NO_CODE = "no code"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"input_shape": "x:-1,4", "dynamic_batch_size": "1,2"}, "E10050"),
        ({"input_shape": "x:2~4,4"}, "E10050"),
        ({"input_shape": "x:1~1,4"}, None),
        ({"input_shape": "x:$bs,4"}, None),
        ({"input_shape_range": "x:[1~8,4]"}, "E10050"),
        ({"input_shape_range": "[1,5]"}, "E10050"),
        ({"input_shape_range": "[1,4]"}, None),
        ({"input_shape_range": "[1,4],[2]"}, NO_CODE),
        ({"input_shape_range": "x:[1,4,1]"}, "E10049"),
        ({"input_shape_range": "z:[1,4]"}, "E10016"),
        ({"input_shape_range": "one:[1,4]"}, "E10017"),
        ({"input_fp16_nodes": "x"}, None),
        ({"input_fp16_nodes": "x;"}, None),
        ({"input_fp16_nodes": "nope"}, "E10016"),
        ({"input_fp16_nodes": "x;one"}, "E10017"),
        ({"input_fp16_nodes": "x,one"}, "E10016"),
    ],
)
def test_inputs_and_the_graph(given: dict[str, str], code: str | None) -> None:
    items = [item for item in found(parsed(PLAIN), **given) if item.check in ("input-shape", "input-fp16")]
    option = "--" + next(iter(given))
    assert [(item.code or NO_CODE, item.at) for item in items] == ([] if code is None else [(code, (option,))])
    for item in items:
        assert item.severity is (Severity.WARNING if code == "E10050" else Severity.ERROR)


def test_a_range_on_an_axis_without_a_size() -> None:
    assert not found(parsed(PLAIN, inputs=DYNAMIC), input_shape_range="x:[1~8,4]")
    assert not found(parsed(PLAIN, inputs=DYNAMIC), input_shape="x:1~8,4")


def test_a_model_without_inputs() -> None:
    model = parsed("[one] y = Constant <value = float[1, 4] {1, 2, 3, 4}> ()", inputs="")
    assert only(model, "input-shape").code == "E16001"


# ---- outputs


@pytest.mark.parametrize(
    ("out_nodes", "code", "says"),
    [
        ("one:0", None, ""),
        ("y", None, ""),
        ("z", "E10016", "they are y"),
        ("one", "E10016", "write one:0"),
        ("on:0", "E11017", "is one meant?"),
        ("something:0", "E11017", "--report says what became of it"),
        ("one:1", "E10003", "give another index"),
    ],
)
def test_out_nodes(out_nodes: str, code: str | None, says: str) -> None:
    if code is None:
        assert not found(parsed(PLAIN), out_nodes=out_nodes)
        return
    finding = only(parsed(PLAIN), "out-nodes", out_nodes=out_nodes)
    assert (finding.severity, finding.code) == (Severity.ERROR, code)
    assert says in finding.cure


# ---- findings


def test_a_finding_as_text() -> None:
    finding = Finding(Severity.ERROR, "names", "what", "cure", tuple("abcde"), "E1")
    assert str(finding) == "error: names: what (at a, b, c and 2 more); cure [E1]"
    assert str(Finding(Severity.NOTE, "names", "what", "")) == "note: names: what"
    assert finding.to_dict()["at"] == list("abcde")

"""What is found in a graph before it is handed to atc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

from onnxfuse import UsageError
from onnxfuse.drivers.atc import AtcOptions
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.graph_checks import check_graph
from onnxfuse.pipeline import registry
from onnxfuse.pipeline.pipeline import Pipeline


def parsed(
    body: str, *, inputs: str = "float[1, 4] x", outputs: str = "float[1, 4] y", opset: int = 11
) -> onnx.ModelProto:
    """A small model from the text of its nodes."""
    text = f'<ir_version: 8, opset_import: ["": {opset}]> example ({inputs}) => ({outputs}) {{ {body} }}'
    return onnx.parser.parse_model(text)


def found(model: onnx.ModelProto, *, cann: str = "", **options: Any) -> list[Finding]:
    return list(check_graph(model, AtcOptions(soc_version="Ascend310", **options), cann=cann))


def only(model: onnx.ModelProto, check: str, *, cann: str = "", **options: Any) -> Finding:
    """The one finding of a check, and there is no error beside it."""
    (finding,) = [item for item in found(model, cann=cann, **options) if item.check == check]
    return finding


PLAIN = "[one] y = Relu(x)"


@pytest.mark.parametrize("cann", ["", "5.0.2", "5.1.RC1", "6.3", "7.0", "8.0.0", "9.1"])
def test_nothing_is_wrong(cann: str) -> None:
    assert not found(parsed(PLAIN), cann=cann)


@pytest.mark.parametrize(
    ("cann", "opset", "severity", "cure"),
    [
        ("5.1", 9, Severity.WARNING, "convert-opset{to=11}"),
        ("5.1", 13, Severity.WARNING, "opset 11"),
        ("5.1", 14, Severity.ERROR, "opset 11"),
        ("5.1", 7, Severity.ERROR, "convert-opset{to=11}"),
        ("5.1", 6, Severity.ERROR, "export it with opset 11"),
        ("7.0", 15, Severity.WARNING, "opset 13"),
        ("7.0", 16, Severity.ERROR, "opset 13"),
        ("8.0.0", 16, Severity.WARNING, "opset 15"),
        ("8.0.0", 19, Severity.ERROR, "opset 15"),
        ("", 18, None, ""),
        ("", 19, Severity.ERROR, "opset 18"),
        ("", 9, Severity.WARNING, "convert-opset{to=11}"),
    ],
)
def test_opsets(cann: str, opset: int, severity: Severity | None, cure: str) -> None:
    model = parsed(PLAIN, opset=opset)
    if severity is None:
        assert not found(model, cann=cann)
        return
    finding = only(model, "opset", cann=cann)
    assert (finding.severity, finding.code) == (severity, "E16002")
    assert cure in finding.cure
    assert f"opset {opset}" in finding.message
    if "convert-opset{" in finding.cure:  # a pass that is there, written as one
        Pipeline.parse(finding.cure.split("'")[1])


def test_several_domains() -> None:
    model = parsed(PLAIN)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    finding = only(model, "opset")
    assert (finding.severity, finding.code, finding.at) == (Severity.ERROR, "E16005", ("ai.onnx", "ai.onnx.ml"))
    for node in model.graph.node:
        node.domain = "ai.onnx"
    assert not found(model)


@pytest.mark.parametrize("cann", ["4.0", "five", "5x", "-5", "²"])
def test_what_is_no_version(cann: str) -> None:
    with pytest.raises(UsageError, match="no version of CANN"):
        found(parsed(PLAIN), cann=cann)


def test_operators() -> None:
    model = parsed("[one] a = Gelu(x) [two] y = Relu(a)", opset=20)
    finding = only(model, "operators")
    assert (finding.severity, finding.at) == (Severity.WARNING, ("Gelu",))
    model = parsed("[one] a = Relu(x) [two] y = my.own.Thing(a)")
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    assert only(model, "operators").at == ("my.own::Thing",)


@pytest.mark.parametrize(
    ("operator", "opset", "others"),
    [
        ("ReduceL2", 18, "8 to 17"),
        ("ReduceL2", 17, None),
        ("GridSample", 12, "11, 16 to 18"),
        ("GridSample", 16, None),
        ("GreaterOrEqual", 11, "8, 12 to 18"),
        ("GreaterOrEqual", 12, None),
        ("Scatter", 13, "9 to 11"),
        ("Mish", 17, "18"),
        ("LayerNormalization", 17, None),
        ("Relu", 9, None),
    ],
)
@pytest.mark.parametrize("cann", ["", "5.1", "8.0"])
def test_operators_at_some_opsets_only(operator: str, opset: int, others: str | None, cann: str) -> None:
    model = parsed(f"[one] y = {operator}(x)", opset=opset)
    items = [item for item in found(model, cann=cann) if item.check == "operators"]
    assert [(item.severity, item.at, item.code) for item in items] == (
        [] if others is None else [(Severity.WARNING, (f"{operator}: {others}",), "E16002")]
    )


def test_functions() -> None:
    model = parsed("[one] a = my.Thing(x) [two] y = Relu(a)")
    model.opset_import.append(helper.make_opsetid("my", 1))
    body = onnx.parser.parse_function('<opset_import: ["": 11], domain: "my"> Thing (x) => (y) { y = RNN(x) }')
    model.functions.append(body)
    items = [item for item in found(model) if item.check == "operators"]
    assert [(item.severity, item.at) for item in items] == [
        (Severity.WARNING, ("my::Thing",)),
        (Severity.WARNING, ("RNN",)),
    ]
    assert "onnx.inliner" in items[0].cure


def test_constants_without_a_tensor() -> None:
    """The converter's parser of a Constant looks for `value` alone."""
    model = parsed(
        "[k] k = Constant <value_float = 1.0> () [l] l = Constant <value = float {1}> () [one] y = Sum(x, k, l)"
    )
    finding = only(model, "operators")
    assert (finding.severity, finding.at, finding.code) == (Severity.WARNING, ("k",), None)


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
    assert not found(model, input_shape="x:-1,4", dynamic_batch_size="1,2", cann="5.1")
    assert not found(model, input_shape_range="x:[1~8,4]", cann="5.1")
    assert only(model, "dynamic-dims", input_shape="x:-1,4").at == ("x.0",)


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


# ---- values


def with_constant(array: np.ndarray, body: str, **kinds: Any) -> onnx.ModelProto:
    model = parsed(body, **kinds)
    model.graph.initializer.append(from_array(array, "c"))
    return model


@pytest.mark.parametrize("number", [65505.0, -1e9, 1e38, float("inf"), float("-inf"), float("nan")])
def test_float16(number: float) -> None:
    model = with_constant(
        np.array([1, number], np.float32), "[one] a = Add(x, c) [two] y = Relu(a)", inputs="float[2] x"
    )
    finding = only(model, "float16")
    assert (finding.severity, finding.at) == (Severity.WARNING, ("c",))
    assert "±60000" in finding.cure
    assert only(model, "float16", precision_mode="allow_mix_precision").at == ("c",)
    assert "give --precision_mode_v2 origin" in only(model, "float16", precision_mode_v2="fp16").cure
    for mode in ("force_fp32", "must_keep_origin_dtype", "allow_fp32_to_fp16"):
        assert not found(model, precision_mode=mode)
    assert not found(model, precision_mode_v2="origin")


def test_float16_of_what_fits() -> None:
    assert not found(with_constant(np.array([65504, -65504], np.float32), "[one] y = Add(x, c)", inputs="float[2] x"))
    # a bound beyond all numbers is none
    clip = "[one] y = Clip(x, , c)"
    assert not found(with_constant(np.array(3e38, np.float32), clip))


@pytest.mark.parametrize(
    "made",
    [
        "Constant <value = float[1] {-1000000000.0}> ()",
        "Constant <value_float = -1000000000.0> ()",
        "Constant <value_floats = [1.0, -1000000000.0]> ()",
        "ConstantOfShape <value = float[1] {-1000000000.0}> (s)",
    ],
)
def test_float16_however_it_is_written(made: str) -> None:
    model = parsed(f"[s] s = Shape(x) [k] k = {made} [one] y = Add(x, k)", inputs="float[1, 2] x")
    assert only(model, "float16").at == ("k",)


def test_what_no_node_uses_is_not_computed_with() -> None:
    model = with_constant(np.array([1e9], np.float32), PLAIN)
    model.graph.initializer.extend([from_array(np.ones(1), "d"), from_array(np.array([2**40]), "i")])
    assert not found(model)
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1]))
    assert only(model, "float16").at == ("c",)


def test_float16_in_a_constant_node_of_a_branch() -> None:
    model = parsed(
        "[one] y = If(b) <then_branch = g () => (float[1, 4] t) "
        "{ [deep] k = Constant <value = float[1] {-1000000000.0}> () [in] t = Add(x, k) }, "
        "else_branch = h () => (float[1, 4] e) { [id] e = Identity(x) }>",
        inputs="float[1, 4] x, bool b",
    )
    assert only(model, "float16").at == ("k",)


def test_float64() -> None:
    model = with_constant(
        np.ones(4), "[up] a = Cast <to = 11> (x) [one] b = Add(a, c) [down] y = Cast <to = 1> (b)", inputs="float[4] x"
    )
    finding = only(model, "float64")
    assert (finding.severity, finding.at) == (Severity.WARNING, ("c", "up"))
    assert only(parsed(PLAIN, inputs="double[4] x", outputs="double[4] y"), "float64").at == ("x", "y")


@pytest.mark.parametrize(
    "made",
    [
        "ConstantOfShape <value = double[1] {1}> (s)",
        "RandomNormal <dtype = 11, shape = [1, 4]> ()",
        "RandomUniformLike <dtype = 11> (x)",
        "EyeLike <dtype = 11> (x)",
        "HannWindow <output_datatype = 11> (n)",
    ],
)
def test_float64_wherever_it_comes_from(made: str) -> None:
    model = parsed(
        f"[s] s = Shape(x) [d] d = {made} [c] y = Cast <to = 1> (d)", inputs="float[1, 4] x, int64 n", opset=17
    )
    assert only(model, "float64").at == ("d",)
    for attribute in model.graph.node[1].attribute:
        if attribute.HasField("i"):
            attribute.i = TensorProto.FLOAT
        elif attribute.HasField("t"):
            attribute.t.CopyFrom(from_array(np.ones(1, np.float32)))
    assert not [item for item in found(model) if item.check == "float64"]


def test_int64_constants() -> None:
    body = "[one] y = Add(x, c)"
    kinds = {"inputs": "int64[1] x", "outputs": "int32[1] y"}
    assert only(with_constant(np.array([2**31]), body, **kinds), "int64").at == ("c",)
    assert only(with_constant(np.array([-(2**31) - 1]), body, **kinds), "int64").at == ("c",)
    for number in (2**31 - 1, -(2**31)):
        assert not found(with_constant(np.array([number]), body, **kinds))
    # an end beyond all sizes
    cut = "[zero] s = Constant <value = int64[1] {0}> () [one] y = Slice(x, s, c)"
    assert not found(with_constant(np.array([2**63 - 1]), cut))


def indices(body: str, *, made: str = "v, i = TopK(x, k)") -> list[tuple[str, ...]]:
    """Where indices meet int64, in a model that makes them."""
    model = parsed(f"[made] {made} {body}", inputs="float[2, 4] x, int64[1] k, int64[1] c, int32[1] w")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    items = [item for item in found(model) if item.code == "E89999"]
    assert all((item.severity, item.check) == (Severity.WARNING, "int64") for item in items)
    return [item.at for item in items]


@pytest.mark.parametrize(
    "body",
    [
        "[at] y = Add(i, c)",
        "[n] n = Constant <value_int = 1> () [at] y = Equal(n, i)",
        "[u] u = Unsqueeze <axes = [0]> (i) [at] y = Add(u, c)",
        "[s] s = Shape(x) [g] g = Gather(s, c) [at] y = Mul(i, g)",
        "[a] a = Transpose(i) [b] b = Reshape(a, c) [d] d = Slice(b, c, c) [e] e = Tile(d, c) [at] y = Less(e, c)",
        "[a] a = Concat <axis = 0> (i, i) [b] b = Expand(a, c) [d] d = Flatten(b) [at] y = Concat <axis = 0> (c, d)",
        "[l] l = Less(i, i) [at] y = Where(l, i, c)",
        "[a] a = Cast <to = 7> (x) [at] y = Max(i, a)",
        "[a] a = Add(i, i) [at] y = Mod(a, c)",
        "[p] p, q = Split(i) [g] g = Gather(q, c) [at] y = Sub(c, g)",
    ],
)
def test_indices_that_become_int32_meet_int64(body: str) -> None:
    assert indices(body) == [("at",)]
    assert indices(body, made="i = ArgMax(x)") == [("at",)]
    assert indices(body, made="i = ArgMin(x)") == [("at",)]


@pytest.mark.parametrize(
    "body",
    [
        "[one] y = Sub(i, i)",
        "[u] u = Unsqueeze <axes = [0]> (i) [b] b = Cast <to = 6> (u) [one] y = Add(b, w)",
        "[b] b = Cast <to = 7> (i) [one] y = Add(b, c)",
        "[g] g = Gather(c, i) [one] y = Add(g, c)",
        "[r] r = Reshape(x, i) [s] s = Shape(r) [one] y = Add(s, c)",
        "[e] e = Equal(i, i) [n] n = Not(e) [one] y = Where(n, c, c)",
    ],
)
def test_indices_that_become_int32_and_meet_no_int64(body: str) -> None:
    assert not indices(body)


def test_an_exponent_may_be_of_another_type() -> None:
    body = "[made] v, i = TopK(x, k) [a] a = Relu(x) [one] y = Pow(i, a)"
    model = parsed(body, inputs="float[2, 4] x, int64[1] k", outputs="int32[2, 4] y")
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [2, 4]))
    assert not found(model)


def test_values_of_top_k_are_no_indices() -> None:
    model = parsed("[top] v, i = TopK(x, k) [one] y = Add(v, x)", inputs="float[2, 4] x, int64[1] k")
    assert not found(model)


def test_bounds_that_are_moved_are_bounds() -> None:
    body = "[u] e = Unsqueeze <axes = [0]> (c) [o] o = Constant <value = int64[1] {0}> () [one] y = Slice(x, o, e)"
    assert not found(with_constant(np.array(2**63 - 1), body))
    body += " [two] z = Add(e, e)"
    model = with_constant(np.array(2**63 - 1), body, outputs="float[1, 4] y, int32[1] z")
    assert only(model, "int64").at == ("c",)


def test_int64_outputs() -> None:
    finding = only(parsed("[one] y = Shape(x)", outputs="int64[2] y"), "int64")
    assert (finding.severity, finding.at) == (Severity.NOTE, ("y",))


def test_a_model_without_its_weights() -> None:
    model = parsed("[one] y = MatMul(x, w)")
    model.graph.initializer.append(TensorProto(name="w", dims=[4, 4], data_type=1, doc_string="stripped"))
    finding = only(model, "weights")
    assert (finding.severity, finding.at) == (Severity.ERROR, ("w",))
    assert "onnxfuse fill" in finding.cure


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    model = with_constant(np.full((4, 4), 1e6, np.float32), "[one] y = MatMul(x, c)")
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    (finding,) = check_graph(tmp_path / "m.onnx", AtcOptions())
    assert finding.check == "float16"


# ---- what is slow


def test_large_pools() -> None:
    def pool(attributes: str) -> onnx.ModelProto:
        return parsed(
            f"[one] y = AveragePool <{attributes}> (x)", inputs="float[1, 4, 128, 128] x", outputs="float[1, 4, H, W] y"
        )

    for attributes in ("kernel_shape = [16, 16]", "kernel_shape = [2, 2], strides = [64, 1]"):
        finding = only(pool(attributes), "slow-operators")
        assert (finding.severity, finding.at, finding.code) == (Severity.WARNING, ("one",), "W11001")
    assert not found(pool("kernel_shape = [15, 17], strides = [63, 63]"))


SPACE = "float[1, 16, 8, 8] x, float[16, 16, 1, 1] w, int64[8] p, int64[4] s"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ("[a] a = Conv(x, w) [b] b = Relu(a) [c] c = Pad(b, p) [d] y = Conv(c, w)", ("c",)),
        (
            "[a] a = Conv(x, w) [b] b = Reshape(a, s) [c] c = Transpose(b) [d] d = Relu(c) [e] y = Conv(d, w)",
            ("b", "c"),
        ),
        # nothing before it, nothing behind it, another layout between, not on the data
        ("[c] c = Pad(x, p) [d] y = Conv(c, w)", ()),
        ("[a] a = Conv(x, w) [c] y = Pad(a, p)", ()),
        ("[a] a = Conv(x, w) [m] m = MatMul(a, a) [c] c = Transpose(m) [d] y = Conv(c, w)", ()),
        ("[a] a = Conv(x, w) [h] h = Shape(a) [i] i = Gather(h, s) [r] r = Reshape(x, i) [d] y = Conv(r, w)", ()),
        ("[a] a = Conv(x, w) [r] r = Reshape(w, s) [d] y = Conv(a, r)", ()),
    ],
)
def test_layouts(body: str, at: tuple[str, ...]) -> None:
    model = parsed(body, inputs=SPACE, outputs="float[N, C, H, W] y")
    assert [item.at for item in found(model) if "layout" in item.message] == ([at] if at else [])


def test_what_passes_would_change() -> None:
    model = parsed(
        "[s] s = Constant <value = int64[1] {1}> () [e] e = Constant <value = int64[1] {9}> () "
        "[one] a = Slice(x, s, e) [two] y = Slice(a, s, e)",
        inputs="float[16] x",
        outputs="float[7] y",
    )
    before = model.SerializeToString()
    finding = only(model, "slow-operators")
    assert (finding.severity, finding.at) == (Severity.NOTE, ("two",))
    assert finding.message == "merge-sliced would apply 1 time: Merge consecutive Slice nodes into one"
    assert model.SerializeToString() == before
    assert "merge-sliced" in registry.origins()


def test_places_are_in_the_order_of_the_graph() -> None:
    pair = "[a{0}] a{0} = Slice({1}, s, e) [b{0}] b{0} = Slice(a{0}, s, e) "
    body = "".join(pair.format(number, "x") for number in range(3))
    model = parsed(
        "[s] s = Constant <value = int64[1] {1}> () [e] e = Constant <value = int64[1] {9}> () "
        f"{body} [sum] y = Sum(b0, b1, b2)",
        inputs="float[16] x",
        outputs="float[7] y",
    )
    assert only(model, "slow-operators").at == ("b0", "b1", "b2")


def test_all_passes_that_are_named_are_there() -> None:
    assert {"convert-opset", "merge-sliced"} <= set(registry.origins())
    assert "ascend" in registry.presets()


# ---- findings


def test_a_finding_as_text() -> None:
    finding = Finding(Severity.ERROR, "names", "what", "cure", tuple("abcde"), "E1")
    assert str(finding) == "error: names: what (at a, b, c and 2 more); cure [E1]"
    assert str(Finding(Severity.NOTE, "names", "what", "")) == "note: names: what"
    assert finding.to_dict()["at"] == list("abcde")

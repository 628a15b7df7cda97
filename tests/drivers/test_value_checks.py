"""Numbers and types of numbers that a device has not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

from onnxfuse.drivers.atc import AtcOptions
from onnxfuse.drivers.checks.graph import check_graph
from onnxfuse.drivers.findings import Severity
from tests.drivers.small_graphs import PLAIN, found, only, parsed, with_constant


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

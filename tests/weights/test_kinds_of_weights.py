"""Which tensors are weights, and what is drawn for them: by who reads them, and behind what."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxfuse
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.testing import STRIPPED, fill, strip
from onnxfuse.verification.tensors import lacks_data

HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1, "f" : 1]>'

IN_A_BRANCH = (
    "c = Constant <value = bool {1}> () y = If (c) <then_branch = t () => (float[a] p) { p = MatMul(x, w) }, "
    "else_branch = e () => (float[a] q) { q = Identity(x) }>"
)


def model_of(text: str, *initializers: onnx.TensorProto) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"{HEAD} {text}")
    model.graph.initializer.extend(initializers)
    return model


def weight(name: str, *dims: int, kind: int = TensorProto.FLOAT) -> onnx.TensorProto:
    """A tensor of what no draw gives."""
    return helper.make_tensor(name, kind, dims, [3] * math.prod(dims))


def again(model: onnx.ModelProto, name: str = "w") -> Any:
    """What a tensor is after strip and fill; None where it was kept."""
    stripped = strip(model)
    (tensor,) = [item for item in stripped.graph.initializer if item.name == name]
    if not lacks_data(tensor):
        return None
    assert tensor.doc_string == STRIPPED
    (tensor,) = [item for item in fill(stripped).graph.initializer if item.name == name]
    return numpy_helper.to_array(tensor)


def assert_normal(array: np.ndarray, deviation: float) -> None:
    wide = array.astype(np.float64)
    assert abs(wide.std() / deviation - 1) < 0.15
    assert abs(wide.mean()) < 0.15 * deviation


@pytest.mark.parametrize(
    ("body", "dims", "fan_in"),
    [
        ("y = Conv(x, w)", (32, 8, 3, 3), 72),
        ("y = ConvTranspose <strides = [2, 2]> (x, w)", (8, 32, 4, 4), 32),
        ("y = Gemm(x, w)", (100, 30), 100),
        ("y = Gemm <transB = 1> (x, w)", (100, 30), 30),
        ("y = Gemm(w, x)", (100, 30), 30),
        ("y = MatMul(x, w)", (4, 100, 30), 100),
        ("y = MatMul(w, x)", (4, 100, 30), 30),
        ("y = MatMul(x, w)", (900,), 900),
        ('y = Einsum <equation = "bi,oi->bo"> (x, w)', (30, 100), 100),
        ('y = Einsum <equation = "...i,hid->...hd"> (x, w)', (4, 50, 10), 50),
        ("y = LSTM <hidden_size = 16> (x, w, r)", (1, 64, 40), 40),
        ("a = Identity(w) t = Transpose <perm = [1, 0]> (a) y = MatMul(x, t)", (30, 100), 100),
        ("n = Constant <value = int64[2] {100, -1}> () t = Reshape(w, n) y = MatMul(x, t)", (10, 10, 30), 100),
        ("t = Cast <to = 1> (w) y = MatMul(x, t)", (100, 30), 100),
        ("q = QuantizeLinear(w, s) t = DequantizeLinear(q, s) y = MatMul(x, t)", (100, 30), 100),
        ("k = Constant <value = float {0.1}> () t = Mul(w, k) y = Conv(x, t)", (32, 8, 3, 3), 72),
        ("y = f.linear(x, w)", (100, 30), 100),
        (IN_A_BRANCH, (100, 30), 100),
    ],
)  # fmt: skip
def test_what_is_multiplied_and_summed_has_a_variance_of_one_by_the_fan_in(
    body: str, dims: tuple[int, ...], fan_in: int
) -> None:
    scale = helper.make_tensor("s", TensorProto.FLOAT, (), [0.1])
    recurrent = weight("r", 1, 64, 16)
    model = model_of(f"g (float[a] x) => (float[b] y) {{ {body} }}", weight("w", *dims), scale, recurrent)
    function = '<opset_import: ["" : 21], domain: "f"> linear (a, b) => (c) { d = Identity(b) c = MatMul(a, d) }'
    model.functions.append(onnx.parser.parse_function(function))
    assert_normal(again(model), math.sqrt(1 / fan_in))


@pytest.mark.parametrize(
    ("body", "low", "high"),
    [
        ("y = BatchNormalization(x, w, b, b, b)", 0.7, 1.3),
        ("y = BatchNormalization(x, b, b, b, w)", 0.5, 1.5),
        ("y = LayerNormalization(x, w)", 0.7, 1.3),
        ("y = GroupNormalization <num_groups = 4> (x, w, b)", 0.7, 1.3),
        ("y = InstanceNormalization(x, w, b)", 0.7, 1.3),
        ("d = Div(x, b) i = Identity(w) y = Mul(d, i)", 0.7, 1.3),
        ("e = Constant <value = float {0.1}> () v = Add(w, e) r = Sqrt(v) y = Div(x, r)", 0.5, 1.5),
    ],
)
def test_gains_and_variances_are_positive(body: str, low: float, high: float) -> None:
    model = model_of(f"g (float[a] x) => (float[b] y) {{ {body} }}", weight("w", 100), weight("b", 100))
    array = again(model)
    assert low <= array.min() < array.max() <= high


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1"])
def test_floats_of_every_type(kind: str) -> None:
    tensor = weight("w", 40, 31, kind=TensorProto.DataType.Value(kind))
    array = again(model_of("g (float[a] x) => (float[b] y) { t = Cast <to = 1> (w) y = Gather(t, x) }", tensor))
    assert array.shape == (40, 31)
    assert_normal(array, 1)


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT4", "UINT4"])
def test_quantized_weights_come_out_at_the_scale_of_others(kind: str) -> None:
    """One scale for each of 100 channels, which are taken out as well."""
    number = TensorProto.DataType.Value(kind)
    middle = 0 if kind.startswith("INT") else 128 if kind == "UINT8" else 8
    zero = helper.make_tensor("z", number, (100,), [middle] * 100)
    body = "t = DequantizeLinear <axis = 0> (w, s, z) y = Gemm <transB = 1> (x, t)"
    model = model_of(f"g (float[a] x) => (float[b] y) {{ {body} }}", weight("w", 100, 50, kind=number))
    model.graph.initializer.extend([weight("s", 100), zero])
    assert again(model, "z") is None
    numbers, scale = again(model).astype(np.float64) - middle, again(model, "s").astype(np.float64)
    assert 0.7 < (numbers * scale[:, None]).std() / math.sqrt(1 / 50) < 1.4
    assert len(np.unique(numbers)) > 10


@pytest.mark.parametrize(
    ("body", "kind", "taken"),
    [
        ("y = QLinearConv(x, s, z, w, s, z, s, z)", "INT8", True),
        ("y = MatMulInteger(x, w)", "UINT8", True),
        ("i = Identity(w) t = Transpose(i) y = ConvInteger(x, t)", "INT8", True),
        ("g_ = Gather(w, x) y = DequantizeLinear(g_, s)", "INT8", True),
        ("f_ = Cast <to = 1> (w) m = Mul(f_, s) y = MatMul(x, m)", "INT8", True),
        ("y = com.microsoft.MatMulNBits <K = 64, N = 8, bits = 4, block_size = 32> (x, w, s)", "UINT8", True),
        ("y = DequantizeLinear(w, s) u = Gather(x, w)", "INT8", False),  # one use of two is an index
        ("c = Cast <to = 7> (w) y = Gather(x, c)", "INT8", False),
        ("y = Gather(x, w)", "INT64", False),
        ("g_ = Gather(w, x) y = Reshape(x, g_)", "INT64", False),
        ("f_ = Cast <to = 1> (w) y = MatMul(x, f_)", "INT64", False),
        ("y = MatMul(x, w)", "INT64", False),
        ("y = ReverseSequence(x, w)", "INT64", False),
        ("y = Identity(w)", "INT8", False),  # an output
        ("y = other.Op(x, w)", "INT8", False),
        ("y = Where(w, x, x)", "BOOL", False),
        ("y = Resize(x, w, w)", "FLOAT", False),
        ("c = Cast <to = 7> (w) y = Gather(x, c)", "FLOAT", False),
    ],
)  # fmt: skip
def test_what_says_how_to_compute_is_kept(body: str, kind: str, taken: bool) -> None:
    tensor = weight("w", 10, 10, kind=TensorProto.DataType.Value(kind))
    small = [weight("s", 1), helper.make_tensor("z", TensorProto.INT8, (), [0])]
    assert (again(model_of(f"g (float[a] x) => (float[b] y) {{ {body} }}", tensor, *small)) is not None) == taken


def test_weights_of_bodies_functions_constants_lists_and_sparse_ones() -> None:
    values = ", ".join(["3.0"] * 70)
    text = (
        "g (float[70] x, bool c) => (float[70] y, float[70] z, float[70] o) {"
        f" a = Constant <value_floats = [{values}]> () b = Constant <value = float[70] {{ {values} }}> ()"
        f" k = Mul(a, b) y = If (c) <then_branch = t () => (float[70] p) <float[70] w = {{ {values} }}> {{ p = Mul(x, w) }},"
        f" else_branch = e () => (float[70] q) {{ q = Identity(k) }}> z = f.bias(x) o = Add(x, s) }}"
    )
    model = model_of(text)
    constant = f"d = Constant <value = float[70] {{ {values} }}> ()"
    function = f'<opset_import: ["" : 21], domain: "f"> bias (a) => (c) {{ {constant} c = Add(a, d) }}'
    model.functions.append(onnx.parser.parse_function(function))
    sparse = model.graph.sparse_initializer.add(dims=[70])
    sparse.values.CopyFrom(helper.make_tensor("s", TensorProto.FLOAT, [66], [3.0] * 66))
    sparse.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [66], range(66)))

    stripped = strip(model)
    assert stripped.SerializeToString().count(STRIPPED.encode()) == 5
    assert len(stripped.SerializeToString()) < len(model.SerializeToString()) / 2
    filled = fill(stripped)
    assert STRIPPED.encode() not in filled.SerializeToString()
    assert filled.graph.sparse_initializer[0].indices == sparse.indices
    bias = numpy_helper.to_array(filled.functions[0].node[0].attribute[0].t)
    assert_normal(bias, 0.05)
    gain = numpy_helper.to_array(filled.graph.node[3].attribute[0].g.initializer[0])
    assert 0.7 <= gain.min() < gain.max() < 1.3


def test_initializers_below_ir_4_and_defaults_of_inputs() -> None:
    for version in (3, 8):
        model = model_of("g (float[70] x, float[70] w) => (float[70] y) { y = Mul(x, w) }", weight("w", 70))
        model.ir_version = version
        assert again(model) is not None
        assert strip(model).graph.input == model.graph.input


def external(tmp_path: Path) -> Path:
    """A model whose weight and whose long index lie in a data file."""
    index = helper.make_tensor("i", TensorProto.INT64, (500,), [1] * 500)
    body = "t = Gather(w, i) y = MatMul(x, t)"
    model = model_of(f"g (float[a] x) => (float[b] y) {{ {body} }}", weight("w", 500, 10), index)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    return tmp_path / "m.onnx"


def test_external_data_is_not_needed_afterwards(tmp_path: Path) -> None:
    path = external(tmp_path)
    for stripped in (strip(path), strip(ir.load(path))):
        onnxfuse.save(stripped, tmp_path / "s.onnx")
        loaded = onnx.load(tmp_path / "s.onnx", load_external_data=False)
        assert b"m.data" not in loaded.SerializeToString()
        assert numpy_helper.to_array(loaded.graph.initializer[1]).tolist() == [1] * 500
        assert lacks_data(loaded.graph.initializer[0])


def test_every_kind_of_model(tmp_path: Path) -> None:
    model = model_of("g (float[a] x) => (float[b] y) { y = MatMul(x, w) }", weight("w", 100, 100))
    onnx.save(model, tmp_path / "m.onnx")
    wanted = fill(strip(model)).graph.initializer[0].raw_data
    for given in (tmp_path / "m.onnx", model.SerializeToString(), ir.from_proto(model)):
        stripped = strip(given)
        onnxfuse.save(stripped, tmp_path / "s.onnx")
        assert lacks_data(onnx.load(tmp_path / "s.onnx").graph.initializer[0])
        onnxfuse.save(fill(stripped), tmp_path / "f.onnx")
        assert onnx.load(tmp_path / "f.onnx").graph.initializer[0].raw_data == wanted


def test_the_seed_in_the_model() -> None:
    model = model_of("g (float[a] x) => (float[b] y) { y = MatMul(x, w) }", weight("w", 100, 100))
    with_seed = strip(model, seed=7)
    assert [(item.key, item.value) for item in with_seed.metadata_props] == [("onnxfuse.seed", "7")]
    filled = fill(with_seed)
    assert not filled.metadata_props
    assert filled == fill(strip(model), seed=7) != fill(strip(model))
    assert fill(with_seed, seed=0) == fill(strip(model))
    with_seed.metadata_props[0].value = "seven"
    with pytest.raises(ModelError, match="onnxfuse.seed is 'seven'"):
        fill(with_seed)


def test_what_cannot_be_drawn_and_wrong_numbers() -> None:
    index = TensorProto(name="i", data_type=TensorProto.INT64, dims=[70], doc_string=STRIPPED)
    model = model_of("g (float[a] x) => (float[b] y) { y = Gather(x, i) }", index)
    with pytest.raises(ModelError, match=r"tensor 'i' \(int64\) has no data, and by its use it is no weight"):
        fill(model)
    with pytest.raises(UsageError, match="from 1 on, not 0"):
        strip(model, min_elements=0)
    for call in (strip, fill):
        with pytest.raises(UsageError, match="seed is a number from 0 on, not -1"):
            call(model, seed=-1)

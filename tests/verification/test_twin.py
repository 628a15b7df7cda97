"""Twins in float64 against onnxruntime, and against what onnx says that every operator gives."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnxfuse.verification.disturb import Noise
from onnxfuse.verification.element_types import format_of, is_float
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationTimeoutError
from onnxfuse.verification.twin import Twin
from onnxfuse.verification.twin_kernel import UnsupportedError
from tests.gauntlet.runner import CASES

quick = settings(max_examples=40, deadline=None)


def leaves(values: Iterable[Any]) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from leaves(value)
        elif value is not None:
            yield np.asarray(value)


def parse(text: str, opset: int = 21) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "f" : 1]>\n{text}')


def one_node(op: str, arrays: Sequence[np.ndarray | None], opset: int = 17, outputs: int = 1, **attributes: Any) -> Any:
    """A model of one node, and what to feed it."""
    names = [f"x{index}" if array is not None else "" for index, array in enumerate(arrays)]
    node = onnx.helper.make_node(op, names, [f"y{index}" for index in range(outputs)], **attributes)
    feeds = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    graph = onnx.helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in node.output])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8), feeds


def run(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    """What onnxruntime gives; an example that it refuses is no example."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        results: list[Any] = session.run(None, dict(feeds))
    except Exception as error:  # onnxruntime raises classes of its own
        assume(not type(error).__module__.startswith("onnxruntime"))
        raise
    return results


def off(got: Any, wanted: Any) -> float:
    """How far a twin is from a result, in unit roundoffs of its largest value; infinite where NaN and such differ."""
    got, wanted = list(leaves([got])), list(leaves([wanted]))
    assert [x.shape for x in got] == [y.shape for y in wanted]
    worst = 0.0
    for x, y in zip(got, wanted, strict=True):
        if y.dtype == object or not is_float(y.dtype):
            assert x.tolist() == y.tolist()
            continue
        assert x.dtype == np.float64
        wide = y.astype(np.float64)
        finite = np.isfinite(wide)
        if not np.array_equal(np.where(finite, 0, wide), np.where(np.isfinite(x), 0, x), equal_nan=True):
            return float("inf")
        u = format_of(y.dtype).u
        scale = np.abs(wide[finite]).max(initial=1e-6)
        worst = max(worst, float(np.abs(x[finite] - wide[finite]).max(initial=0.0) / (u * scale)))
    return worst


def check(op: str, arrays: Sequence[np.ndarray | None], *, limit: float = 64, **options: Any) -> None:
    model, feeds = one_node(op, arrays, **options)
    wanted = run(model, feeds)
    assert off(Twin(EvalModel(model)).run(feeds), wanted) <= limit


def normal(shape: Sequence[int], seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(tuple(shape))).astype(dtype)


# ---- every operator

# Those of no domain of ours are not listed; these have no twin, and models with them are judged without one.
NO_TWIN = {
    *("Bernoulli", "BitCast", "Cast", "CastLike", "DequantizeLinear", "Dropout", "QuantizeLinear", "SequenceMap"),
    *("BatchNormalization", "RandomUniformLike", "Scan"),
    "ImageDecoder",  # the reference needs Pillow, which is no requirement of ours
}
ROUNDED = {  # Their expected results are stated with four digits.
    "test_averagepool_2d_ceil_last_window_starts_on_pad",
    *("test_roialign_aligned_false", "test_roialign_aligned_true"),
}
OTHERWISE = {
    # It says 0 of a scale that onnxruntime takes from the sizes.
    "test_resize_downsample_scales_linear_align_corners",
    # Ties of a division in float32.
    *("test_dynamicquantizelinear", "test_dynamicquantizelinear_expanded"),
}


def test_every_operator_as_onnx_says() -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    agreeing, without, wrong = 0, set(), []
    for case in cases:
        model = case.model
        if model is None or case.name in OTHERWISE or any(entry.domain for entry in model.opset_import):
            continue
        for inputs, outputs in case.data_sets or ():
            names = [value.name for value in model.graph.input]
            feeds = {name: _plain(value) for name, value in zip(names, inputs, strict=False)}
            try:
                got = Twin(EvalModel(model)).run(feeds)
            except UnsupportedError as error:
                without.add((model.graph.node[-1].op_type, str(error)))
                continue
            wanted = [_plain(value) for value in outputs]
            try:
                distance = off(got, wanted)
            except AssertionError as error:
                wrong.append((case.name, str(error).splitlines()[0]))
                continue
            agreeing += 1
            limit = 5000 if case.name in ROUNDED else 200
            if distance > limit:
                wrong.append((case.name, str(distance)))
    assert not wrong, "\n".join(map(str, wrong))
    assert agreeing > 1600
    assert {op for op, _ in without} <= NO_TWIN, without


def _plain(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


# ---- the gauntlet


# What float32 or float16 rounds away, or cannot hold, is what these are about; and casts that onnxruntime merges.
ABOUT_ROUNDING = {"argmax_monotone_saturates", "cast_f64_i64_i8", "cf_fp16", "cf_reassociate_add", "log_of_softmax"}


def test_the_gauntlets_models_as_onnxruntime_runs_them() -> None:
    agreeing, without, wrong = 0, [], []
    for name, case in CASES.items():
        model = onnx.load_from_string(case.data)
        if case.oracle != "ort" or name in ABOUT_ROUNDING:
            continue
        for feeds in case.feeds:
            try:
                got = Twin(EvalModel(model)).run(feeds)
            except UnsupportedError as error:
                without.append(f"{name}: {error}")
                continue
            wanted = run(model, feeds)
            try:
                distance = off(got, wanted)
            except AssertionError as error:
                wrong.append((name, str(error).splitlines()[0]))
                continue
            if distance > 256:
                wrong.append((name, str(distance)))
            agreeing += 1
    assert not wrong, "\n".join(map(str, wrong))
    assert agreeing > 300
    assert len(without) < 60, without


# ---- windows


@st.composite
def windows(draw: st.DrawFn, *, transposed: bool = False) -> dict[str, Any]:
    """Sizes and attributes of a Conv, a ConvTranspose or a pool over one or two axes."""
    rank = draw(st.integers(1, 2))
    kernel = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    found: dict[str, Any] = {"kernel_shape": kernel, "auto_pad": auto}
    # With longer strides the same padding would be negative, and every runtime has its own idea of that.
    found["strides"] = [draw(st.integers(1, k if auto.startswith("SAME") else 3)) for k in kernel]
    if auto == "NOTSET" or transposed:
        found["dilations"] = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    if auto == "NOTSET":
        found["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    return {"spatial": draw(st.lists(st.integers(4, 7), min_size=rank, max_size=rank)), "attributes": found}


@quick
@given(windows(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.booleans())
def test_conv(window: dict[str, Any], groups: int, channels: int, filters: int, biased: bool) -> None:
    attributes = window["attributes"]
    x = normal((2, groups * channels, *window["spatial"]))
    w = normal((groups * filters, channels, *attributes["kernel_shape"]), 1)
    arrays = [x, w] + ([normal((groups * filters,), 2)] if biased else [])
    check("Conv", arrays, group=groups, **attributes)


@quick
@given(windows(transposed=True), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.booleans(), st.data())
def test_conv_transpose(
    window: dict[str, Any], groups: int, channels: int, filters: int, biased: bool, data: st.DataObject
) -> None:
    attributes = window["attributes"]
    x = normal((2, groups * channels, *window["spatial"]))
    w = normal((groups * channels, filters, *attributes["kernel_shape"]), 1)
    arrays = [x, w] + ([normal((groups * filters,), 2)] if biased else [])
    if data.draw(st.booleans()):
        attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in attributes["strides"]]
    elif attributes["auto_pad"] == "NOTSET" and data.draw(st.booleans()):
        attributes.pop("pads")
        full = [
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(
                window["spatial"],
                attributes["strides"],
                attributes["kernel_shape"],
                attributes["dilations"],
                strict=True,
            )
        ]
        attributes["output_shape"] = [max(f - data.draw(st.integers(0, 2)), 1) for f in full]
    check("ConvTranspose", arrays, group=groups, **attributes)


@quick
@given(windows(), st.booleans(), st.booleans(), st.sampled_from([11, 19, 22]))
def test_average_pool(window: dict[str, Any], ceil: bool, padded: bool, opset: int) -> None:
    attributes = window["attributes"]
    if opset < 19:
        attributes.pop("dilations", None)
    x = normal((2, 3, *window["spatial"]))
    check("AveragePool", [x], opset=opset, ceil_mode=int(ceil), count_include_pad=int(padded), **attributes)


@quick
@given(windows(), st.booleans(), st.sampled_from([np.float32, np.float64, np.int8, np.uint8]))
def test_max_pool(window: dict[str, Any], ceil: bool, dtype: type) -> None:
    x: np.ndarray = (normal((2, 3, *window["spatial"])) * 30).clip(0 if dtype is np.uint8 else -99, 99).astype(dtype)
    check("MaxPool", [x], opset=12, ceil_mode=int(ceil), **window["attributes"])


# ---- others


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("opset", [11, 13])
def test_along_an_axis_that_meant_all_from_there_on(op: str, opset: int) -> None:
    for axis in (None, 0, 1, 2, -1, -2):
        attributes = {} if axis is None else {"axis": axis}
        check(op, [normal((2, 3, 4))], opset=opset, **attributes)


@quick
@given(
    st.sampled_from(["nearest", "linear"]),
    st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
    st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    st.lists(st.integers(1, 9), min_size=2, max_size=2),
    st.booleans(),
)
def test_resize(mode: str, transform: str, nearest: str, sizes: list[int], by_scales: bool) -> None:
    x = normal((1, 2, 4, 5))
    scales = np.array([1, 1, *(size / n for size, n in zip(sizes, (4, 5), strict=True))], np.float32)
    given_sizes = np.array([1, 2, *sizes], np.int64)
    arrays = [x, None, scales] if by_scales else [x, None, None, given_sizes]
    check(
        "Resize",
        arrays,
        opset=13,
        mode=mode,
        coordinate_transformation_mode=transform,
        nearest_mode=nearest,
        limit=1e4 if mode == "linear" else 0,
    )


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantization_along_an_axis(op: str, axis: int, dtype: type) -> None:
    scale = np.abs(normal(((3, 4, 5)[axis],), 1)) + np.float32(0.05)
    zero: np.ndarray = (normal(scale.shape, 2) * 9).clip(0 if dtype is np.uint8 else -20, 20).astype(dtype)
    x = normal((3, 4, 5)) * 5
    check(op, [x if op == "QuantizeLinear" else x.clip(0, 99).astype(dtype), scale, zero], opset=13, axis=axis)


BODIES = {
    "a loop that carries and stacks": (
        """g (float[3] x, int64 n) => (float[3] y, float[K, 3] s) {
            y, s = Loop (n, , x) <body = b (int64 i, bool c, float[3] v) => (bool o, float[3] u, float[3] r) {
                o = Identity(c) f = Cast<to = 1>(i) a = Add(v, f) u = Tanh(a) r = Mul(u, x) }>
        }""",
        {"x": normal((3,)), "n": np.array(5)},
    ),
    "a loop that ends by itself": (
        """g (float[1] x) => (float[1] y) <float[1] l = {40}, int64 n = {1000}, bool t = {1}> {
            y = Loop (n, t, x) <body = b (int64 i, bool c, float[1] v) => (bool o, float[1] u) {
                u = Add(v, v) m = Less(u, l) o = Squeeze(m) }>
        }""",
        {"x": np.array([1.5], np.float32)},
    ),
    "a scan, one input backward": (
        """g (float[3] s, float[4, 3] x, float[3, 4] z) => (float[3] y, float[3, 4] r) {
            y, r = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
                scan_output_axes = [1], scan_output_directions = [1],
                body = b (float[3] v, float[3] p, float[3] q) => (float[3] u, float[3] o) {
                    a = Mul(v, p) u = Add(a, q) o = Neg(u) }> (s, x, z)
        }""",
        {"s": normal((3,)), "x": normal((4, 3), 1), "z": normal((3, 4), 2)},
    ),
    "a function with defaults, within an If": (
        """g (float[3] x, bool c) => (float[3] y) {
            y = If (c) <then_branch = t () => (float[3] a) { a = f.scaled<rate = 3.0>(x) },
                        else_branch = e () => (float[3] b) { h = f.scaled(x) b = f.twice(h) }>
        }
        <domain: "f", opset_import: ["" : 21]>
        scaled <rate: float = 0.75> (a) => (b) { h = Constant<value_float: float = @rate>() b = Mul(a, h) }
        <domain: "f", opset_import: ["" : 21, "f" : 1]>
        twice (a) => (b) { h = f.scaled(a) b = Add(h, h) }""",
        {"x": normal((3,)), "c": np.array(False)},
    ),
    "a sequence": (
        """g (float[6] x) => (seq(float[K]) y) { z = Constant<value_int = 2>() y = SplitToSequence(x, z) }""",
        {"x": normal((6,))},
    ),
}


@pytest.mark.parametrize(("text", "feeds"), BODIES.values(), ids=BODIES)
def test_bodies_and_functions(text: str, feeds: dict[str, np.ndarray]) -> None:
    model = parse(text)
    assert off(Twin(EvalModel(model)).run(feeds), run(model, feeds)) < 64


def test_a_function_of_the_standard_has_the_defaults_of_the_operator() -> None:
    check("MeanVarianceNormalization", [normal((2, 3, 4, 4))], opset=13, limit=200)
    check("Gelu", [normal((3, 4))], opset=20)
    check("Mish", [normal((3, 4))], opset=18)


@quick
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.integers(0, 99))
def test_a_cast_rounds_and_nothing_else_does(dtype: type, seed: int) -> None:
    number = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = parse(f"g (double[50] x) => (double[50] y) {{ c = Cast<to = {number}>(x) y = Cast<to = 11>(c) }}")
    x = normal((50,), seed, np.float64)
    (y,) = Twin(EvalModel(model)).run({"x": x})
    assert np.array_equal(y, x.astype(dtype).astype(np.float64))
    sums = parse("g (float16[50] x) => (float16[50] y) { a = Mul(x, x) y = Sub(a, x) }")
    half = x.astype(np.float16)
    (y,) = Twin(EvalModel(sums)).run({"x": half})
    wide = half.astype(np.float64)
    assert np.array_equal(y, wide * wide - wide)


def test_what_has_no_twin_is_told() -> None:
    with pytest.raises(UnsupportedError, match="mine::Op has no twin"):
        Twin(
            EvalModel(
                onnx.parser.parse_model(
                    '<ir_version: 8, opset_import: ["mine" : 1]> g (float[1] x) => (float[1] y) { y = mine.Op(x) }'
                )
            )
        )
    with pytest.raises(UnsupportedError, match="RandomNormal is random"):
        Twin(EvalModel(parse("g () => (float[1] y) { y = RandomNormal<shape = [1]>() }")))
    endless = parse(
        """g (float[1] x) => (float[1] y) <int64 n = {9223372036854775807}, bool c = {1}> {
            y = Loop (n, c, x) <body = b (int64 i, bool k, float[1] v) => (bool o, float[1] u) {
                o = Identity(k) u = Abs(v) }>
        }"""
    )
    with pytest.raises(EvaluationTimeoutError):
        Twin(EvalModel(endless)).run({"x": np.ones(1, np.float32)}, deadline=time.monotonic() + 0.05)


def test_noise_is_of_the_size_of_rounding_and_spares_what_is_exact() -> None:
    model = parse(
        "g (float[4000] x) => (float[4000] y, float[4000] z, float[1, 4000] m) "
        "<float[1] one = {1}, int64[2] s = {1, 4000}> { y = Mul(x, one) z = Relu(x) m = Reshape(x, s) }"
    )
    twin, x = Twin(EvalModel(model)), np.abs(normal((4000,))) + 1
    exact = twin.run({"x": x})
    noisy = twin.run({"x": x}, Noise(np.random.default_rng(0), inputs=False))
    assert np.array_equal(exact[1], noisy[1])
    assert np.array_equal(exact[2], noisy[2])
    # The constant's noise is one number for all, the result's is one for each.
    spread = float(np.std((noisy[0] - exact[0]) / exact[0])) / 2.0**-24
    assert 0.9 < spread < 1.1
    moved = twin.run({"x": x}, Noise(np.random.default_rng(0), times=32))
    assert 28 < float(np.std((moved[1] - exact[1]) / exact[1])) / 2.0**-24 < 36

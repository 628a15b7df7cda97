from __future__ import annotations

import time
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError, Evaluator
from onnxfuse.verification.memory import intermediate_bytes, measured_bytes
from tests.imports import loaded_after
from tests.verification.texts import HEADER, parse

LOOP = """g (int64 n, bool c, float[50,50] x) => (float[50,50] y) {
    y = Loop (n, c, x) <body = b (int64 i, bool k, float[50,50] v) => (bool o, float[50,50] w) {
        o = Identity(k) w = MatMul(v, v)
    }>
}"""


def header_of(name: str, array: np.ndarray) -> onnx.TensorProto:
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.TensorProto(name=name, dims=array.shape, data_type=elem_type)


def test_module_brings_neither_onnx_nor_onnxruntime() -> None:
    assert not loaded_after("import onnxfuse.verification.evaluate")


def test_exposed_intermediates_keep_onnxruntime_from_collapsing_casts() -> None:
    model = parse("g (double[N] x) => (int8[N] y) { i = Cast<to = 7>(x) y = Cast<to = 3>(i) }")
    x = np.array([3.0, 300.0, 4294967301.0, -4294967297.0])
    right = x.astype(np.int64).astype(np.int8)
    assert np.array_equal(Evaluator(model).run({"x": x})[0], right)
    assert not np.array_equal(Evaluator(model, expose=False).run({"x": x})[0], right)


def test_only_the_models_own_outputs_come_back_in_their_order() -> None:
    evaluator = Evaluator(parse("g (float[2] x) => (float[2] z, float[2] y) { t = Neg(x) y = Neg(t) z = Add(t, x) }"))
    assert (evaluator.input_names, evaluator.output_names, evaluator.backend) == (["x"], ["z", "y"], "onnxruntime")
    z, y = evaluator.run({"x": np.array([1, 2], np.float32)})
    assert z.tolist() == [0, 0]
    assert y.tolist() == [1, 2]


@pytest.mark.parametrize("prefer", [None, "reference"])
def test_weights_are_fed_and_the_callers_model_stays_as_it_was(prefer: str | None) -> None:
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "unused": np.array([1], np.float32)}
    model = parse("g (float[N,3] x) => (float[N,4] y, float[3,4] w) { y = MatMul(x, w) }")
    model.graph.initializer.append(header_of("w", weights["w"]))
    before = model.SerializeToString()
    evaluator = Evaluator(model, weights=weights, prefer=prefer)  # type: ignore[arg-type]
    assert evaluator.input_names == ["x"]
    y, w = evaluator.run({"x": np.ones((2, 3), np.float32)})
    assert y.tolist() == [[12, 15, 18, 21]] * 2
    assert np.array_equal(w, weights["w"])
    assert model.SerializeToString() == before


def test_weights_are_not_copied(tmp_path: Path) -> None:
    array = np.lib.format.open_memmap(tmp_path / "w.npy", mode="w+", dtype=np.float32, shape=(4,))
    array[:] = 1
    model = parse("g (float[4] x) => (float[4] y) { y = Add(x, w) }")
    model.graph.initializer.append(header_of("w", array))
    evaluator = Evaluator(model, weights={"w": array})
    array[:] = 5
    assert evaluator.run({"x": np.zeros(4, np.float32)})[0].tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("prefer", [None, "reference"])
def test_weights_captured_by_a_body_are_found(prefer: str | None) -> None:
    weight = np.array([1, 2], np.float32)
    model = parse(
        """g (bool c, float[2] x) => (float[2] y) {
            y = If (c) <then_branch = t () => (float[2] a) { a = Add(x, w) },
                        else_branch = e () => (float[2] b) { b = Identity(x) }>
        }"""
    )
    model.graph.initializer.append(header_of("w", weight))
    evaluator = Evaluator(model, weights={"w": weight}, prefer=prefer)  # type: ignore[arg-type]
    assert evaluator.run({"c": np.array(True), "x": np.array([1, 1], np.float32)})[0].tolist() == [2, 3]


@pytest.mark.parametrize(("ir_version", "inputs"), [(3, ["x"]), (8, ["x", "w"])])
def test_initializers_that_are_inputs_have_a_default_from_ir_4_on(ir_version: int, inputs: list[str]) -> None:
    header = f'<ir_version: {ir_version}, opset_import: ["" : 10]>\n'
    model = parse("g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", header)
    weight = np.array([10, 20], np.float32)
    for light in (True, False):
        del model.graph.initializer[:]
        model.graph.initializer.append(header_of("w", weight) if light else onnx.numpy_helper.from_array(weight, "w"))
        evaluator = Evaluator(model, weights={"w": weight} if light else None)
        assert evaluator.input_names == inputs
        assert evaluator.run({"x": np.array([1, 1], np.float32)})[0].tolist() == [11, 21]
        if ir_version >= 4:
            replaced = evaluator.run({"x": np.array([1, 1], np.float32), "w": np.array([0, 0], np.float32)})
            assert replaced[0].tolist() == [1, 1]


def test_bfloat16_goes_in_through_weights_and_out() -> None:
    weight = np.array([0.5, -2, 1e30], ml_dtypes.bfloat16)
    model = parse(
        """g (bfloat16[N] x) => (bfloat16[N] y) {
            a = Cast<to = 1>(x) b = Cast<to = 1>(w) s = Add(a, b) y = Cast<to = 16>(s)
        }"""
    )
    model.graph.initializer.append(header_of("w", weight))
    evaluator = Evaluator(model, weights={"w": weight})
    assert evaluator.backend == "onnxruntime"
    (y,) = evaluator.run({"x": np.array([1, 2, 1e30], ml_dtypes.bfloat16)})
    assert y.dtype == ml_dtypes.bfloat16
    assert y.tolist() == np.array([1.5, 0, 2e30], np.float32).astype(ml_dtypes.bfloat16).tolist()
    y[0] = 0  # the result is the caller's


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "bfloat16"])
@pytest.mark.parametrize("shape", [(3,), (), (0, 2)])
def test_types_without_numpy_go_through_unchanged(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.full(shape, 1.5).astype(getattr(ml_dtypes, dtype))
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", elem_type, shape)],
        [onnx.helper.make_tensor_value_info("y", elem_type, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    evaluator = Evaluator(model)
    assert evaluator.backend == "onnxruntime"
    (y,) = evaluator.run({"x": array})
    assert y.dtype == array.dtype
    assert y.shape == shape
    assert np.array_equal(y.view(f"u{y.dtype.itemsize}"), array.view(f"u{y.dtype.itemsize}"))


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4])
def test_four_bits_are_packed_and_unpacked(dtype: type) -> None:
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    name = np.dtype(dtype).name
    model = parse(f"g (float[N] x, float s, {name} z) => ({name}[N] y) {{ y = QuantizeLinear(x, s, z) }}")
    evaluator = Evaluator(model)
    assert evaluator.backend == "onnxruntime"
    x = np.array([1, -3, 7], np.float32) if elem_type == onnx.TensorProto.INT4 else np.array([1, 15, 6], np.float32)
    (y,) = evaluator.run({"x": x, "s": np.float32(1), "z": np.array(0, dtype)})
    assert y.dtype == dtype
    assert y.tolist() == x.tolist()


def test_sequences_optionals_and_strings() -> None:
    model = parse(
        """g (seq(float[2]) s, optional(float[2]) o, string[1] t) => (seq(float[2]) r, bool h, string[1] u) {
            e = SequenceAt(s, zero) r = SequenceInsert(s, e) h = OptionalHasElement(o) u = Identity(t)
        }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "zero"))
    evaluator = Evaluator(model)
    feeds = {"s": [np.array([1, 2], np.float32)], "o": None, "t": np.array(["é"], object)}
    r, h, u = evaluator.run(feeds)
    assert [item.tolist() for item in r] == [[1, 2], [1, 2]]
    assert not h
    assert u.tolist() == ["é"]
    assert evaluator.run({**feeds, "o": np.array([1, 2], np.float32)})[1]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('<ir_version: 10, opset_import: ["" : 28]>\n', "Opset 28 is under development"),
        ('<ir_version: 14, opset_import: ["" : 21]>\n', "Unsupported model IR version: 14"),
    ],
)
def test_what_onnxruntime_does_not_load_the_reference_evaluator_runs(header: str, reason: str) -> None:
    evaluator = Evaluator(parse("g (float[2] x) => (float[2] y) { y = Add(x, x) }", header))
    assert evaluator.backend == "reference"
    assert reason in (evaluator.why_not_onnxruntime or "")
    assert evaluator.run({"x": np.array([1, 2], np.float32)})[0].tolist() == [2, 4]


def test_a_model_that_nobody_loads_gives_both_reasons_in_one_line() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = mine.Op(x) }", HEADER.replace('"f"', '"mine"'))
    with pytest.raises(EvaluationError) as caught:
        Evaluator(model)
    message = str(caught.value)
    assert "onnxruntime cannot load the model: Fatal error: mine:Op(-1) is not a registered function/op" in message
    assert "reference cannot load the model: Node type 'Op' from domain 'mine' is unknown" in message
    assert "\n" not in message


def test_a_failing_run_gives_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    for prefer in (None, "reference"):
        evaluator = Evaluator(parse("g (float[N] x, float[M] z) => (float[K] y) { y = Add(x, z) }"), prefer=prefer)
        with pytest.raises(EvaluationError) as caught:
            evaluator.run({"x": np.zeros(2, np.float32), "z": np.zeros(3, np.float32)})
        assert "\n" not in str(caught.value)
        assert "ONNXRuntimeError" not in str(caught.value)
    with pytest.raises(EvaluationError, match="z"):
        Evaluator(parse("g (float[N] x, float[M] z) => (float[K] y) { y = Add(x, z) }")).run(
            {"x": np.array([1], np.float32)}
        )
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_onnxruntime_warns_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    # An initializer that nothing uses, and one that is an input: onnxruntime has a warning for each.
    model = parse("g (float[2] x, float[2] w) => (float[3] y) { y = Add(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "w"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "unused"))
    assert Evaluator(model).run({"x": np.array([0, 0], np.float32)})[0].tolist() == [1, 2]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize("prefer", [None, "reference"])
def test_a_run_that_takes_too_long_is_stopped_and_the_next_one_works(prefer: str | None) -> None:
    evaluator = Evaluator(parse(LOOP), prefer=prefer)  # type: ignore[arg-type]
    feeds = {"n": np.array(10**9), "c": np.array(True), "x": np.zeros((50, 50), np.float32)}
    started = time.monotonic()
    with pytest.raises(EvaluationTimeoutError, match="longer"):
        evaluator.run(feeds, timeout_s=0.1)
    assert time.monotonic() - started < 30
    assert evaluator.run({**feeds, "n": np.array(2)}, timeout_s=60)[0].shape == (50, 50)
    with pytest.raises(EvaluationTimeoutError, match="no time is left"):
        evaluator.run(feeds, timeout_s=0)


def test_repeated_node_names_and_unnamed_split_parts_do_no_harm() -> None:
    model = parse(
        """g (bool c, float[4] x) => (float[2] y) {
            a, q = Split<axis = 0, num_outputs = 2>(x)
            y = If (c) <then_branch = t () => (float[2] u) { v = Neg(a) u = Neg(v) },
                        else_branch = e () => (float[2] w) { w = Identity(a) }>
        }"""
    )
    model.graph.node[0].output[1] = ""
    for node in [*model.graph.node, *model.graph.node[1].attribute[0].g.node]:
        node.name = "same"
    evaluator = Evaluator(model)
    assert evaluator.backend == "onnxruntime"
    assert evaluator.run({"c": np.array(True), "x": np.array([1, 2, 3, 4], np.float32)})[0].tolist() == [1, 2]


def test_a_wrong_value_info_does_no_harm() -> None:
    model = parse("g (float[N] x) => (float[M] y) { t = Concat<axis = 0>(x, x) y = Neg(t) }")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, [7]))
    assert Evaluator(model).run({"x": np.array([1], np.float32)})[0].tolist() == [-1, -1]


def test_a_session_adds_little_to_onnxruntimes_own() -> None:
    import onnxruntime

    model = parse("g (float[3] x) => (float[3] y) { t = Add(x, x) y = Mul(t, x) }")
    serialized = model.SerializeToString()

    def fastest(make: object) -> float:
        times = []
        for _ in range(50):
            start = time.perf_counter()
            make()  # type: ignore[operator]
            times.append(time.perf_counter() - start)
        return min(times)

    own = fastest(lambda: onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"]))
    assert fastest(lambda: Evaluator(model)) < own + 1e-3


def test_sizes_of_intermediates_follow_from_the_shapes_of_inputs() -> None:
    model = parse(
        "g (float[N,3] x) => (float[N,4] y) { m = MatMul(x, w) t = Transpose(m) d = Cast<to = 11>(t) y = Neg(m) }"
    )
    model.graph.initializer.append(header_of("w", np.zeros((3, 4), np.float32)))
    assert intermediate_bytes(model, {"x": (5, 3)}) == (5 * 4 * 4 * 3 + 5 * 4 * 8, 0)
    size, unknown = intermediate_bytes(model, {})
    assert (size, unknown) == (0, 4)


def test_sizes_that_depend_on_values_are_measured_and_bodies_do_not_count() -> None:
    model = parse(
        """g (int64 n, bool c, float[10] x) => (float[10] y) {
            i = NonZero(x)
            y = Loop (n, c, x) <body = b (int64 k, bool p, float[10] v) => (bool o, float[10] w) {
                o = Identity(p) w = Add(v, v)
            }>
        }"""
    )
    feeds = {"n": np.array(100), "c": np.array(True), "x": np.array([1, 1, 1] + [0] * 7, np.float32)}
    assert intermediate_bytes(model, {"x": (10,)}) == (0, 2)
    assert measured_bytes(model, feeds) == 3 * 8 + 40
    with pytest.raises(EvaluationError):
        measured_bytes(model, {})

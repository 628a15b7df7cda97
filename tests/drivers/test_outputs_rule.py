"""What of a device's results float16 explains, and what nobody can tell from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxfuse.cli.main import main
from onnxfuse.drivers.outputs.files import RawFloats, dtype_named
from onnxfuse.drivers.outputs.folders import compare
from onnxfuse.drivers.outputs.rule import Noise, U, judge
from tests.drivers.rounding import in_float16
from tests.drivers.test_device_outputs import folders, put, status
from tests.profile import EXAMPLES

Change = Callable[[np.ndarray], np.ndarray]

FLOATS: Final = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=12), elements=st.floats(-1e3, 1e3, width=32)
)


def weights(model: onnx.ModelProto, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    for name, shape in shapes.items():
        array = (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def detector() -> onnx.ModelProto:
    """Boxes up to 640 beside scores up to 1, in one output."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3, 10, 10] x) => (float[1, 85, 10, 10] y) <float[1, 85, 1, 1] size> {
      c = Conv(x, w)
      s = Sigmoid(c)
      y = Mul(s, size)
    }""")
    size = np.ones((1, 85, 1, 1), np.float32)
    size[:, :4] = 640
    model.graph.initializer.append(onnx.numpy_helper.from_array(size, "size"))
    return weights(model, w=(85, 3, 1, 1))


def segmenter() -> onnx.ModelProto:
    """Classes as floats, which noise moves in steps."""
    return weights(
        onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3, 32, 32] x) => (float[1, 1, 32, 32] y) {
      c = Conv<pads = [1, 1, 1, 1]>(x, w)
      i = ArgMax<axis = 1>(c)
      y = Cast<to = 1>(i)
    }"""),
        w=(21, 3, 3, 3),
    )


def chain() -> onnx.ModelProto:
    """Eight layers without a bias: of zeros they make zeros."""
    layers = "\n".join(f"m{k} = MatMul(r{k}, w{k})\nr{k + 1} = Relu(m{k})" for k in range(7))
    return weights(
        onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 128] x) => (float[1, 128] y) {{
      r0 = Identity(x)
      {layers}
      y = MatMul(r7, w7)
    }}"""),
        **{f"w{k}": (128, 128) for k in range(8)},
    )


def ran(
    folder: Path, model: onnx.ModelProto, change: Change = np.asarray, *, blank: int = 0, exact: bool = False
) -> tuple[str, ...]:
    """Has a device in float16 (or one that is exact) run a model over four samples.

    Returns:
        The words of the command that judges it.
    """
    onnx.save(model, folder / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        (model if exact else in_float16(model)).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(2)
    for k in range(4):
        x = rng.standard_normal(shape).astype(np.float32) * (k >= blank)
        put(folder / "data", f"s{k}.bin", x)
        put(folder / "out", f"s{k}_1.bin", as_written(change(session.run(None, {"x": x})[0])))
    (folder / "list.info").write_text("".join(f"{k} data/s{k}.bin\n" for k in range(4)))
    return (str(folder / "out"), str(folder / "m.onnx"), "--input-data", str(folder / "list.info"))


def as_written(result: np.ndarray) -> np.ndarray:
    return result.astype(np.int32 if result.dtype.kind == "i" else np.float32)


def run(*words: str) -> int:
    return main(["verify", "--outputs", *words])


def without_scores(y: np.ndarray) -> np.ndarray:
    found = y.copy()
    found[:, 4:] = 0
    return found


def shuffled_scores(y: np.ndarray) -> np.ndarray:
    found = y.copy()
    found[:, 4:] = np.random.default_rng(0).permutation(y[:, 4:].reshape(-1)).reshape(y[:, 4:].shape)
    return found


@pytest.mark.parametrize("make", [detector, segmenter, chain])
def test_rounding_after_every_operator_is_within(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[], onnx.ModelProto]
) -> None:
    assert run(*ran(tmp_path, make())) == 0
    told = capfd.readouterr().err
    assert "as measured, at most:" in told
    assert told.splitlines()[-1] == "equivalent"


@pytest.mark.parametrize("change", [without_scores, shuffled_scores])
def test_large_values_do_not_excuse_small_ones(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Change
) -> None:
    words = ran(tmp_path, detector(), change)
    assert run(*words) == 1
    assert "times what is allowed" in capfd.readouterr().err
    (tmp_path / "other").mkdir()
    right = ran(tmp_path / "other", detector())
    assert run(right[0], words[0]) == 5
    told = capfd.readouterr().err
    assert "values are less than a hundredth of the largest beside them" in told
    assert "compare with the model, or give --atol" in told
    assert run(right[0], right[0]) == 0


@pytest.mark.parametrize(
    "change", [np.zeros_like, np.negative, lambda y: np.random.default_rng(0).permutation(y.reshape(-1))]
)
def test_steps_excuse_no_more_than_some_values(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Change
) -> None:
    assert run(*ran(tmp_path, segmenter(), change)) == 1
    assert "different: output y, sample s0: " in capfd.readouterr().err


def test_what_noise_makes_anything_of_cannot_be_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 200] x) => (float[1, 200] y) <float k = {10000.0}> {
      a = Mul(x, k)
      y = Sin(a)
    }""")
    assert run(*ran(tmp_path, model, lambda y: np.random.default_rng(0).permutation(y.reshape(-1)))) == 5
    told = capfd.readouterr().err
    assert "output y of 4 samples (s0, for one): rounding to float16 moves the model's own result by as much" in told


def test_noise_is_measured_anew_where_the_first_samples_are_blank(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*ran(tmp_path, chain(), blank=2)) == 0
    assert run(*ran(tmp_path, chain(), lambda y: y + 0.3 * np.abs(y).max(), blank=2)) == 1
    told = capfd.readouterr().err
    assert "y             4          2          2" in told


def labels() -> onnx.ModelProto:
    """Classes as integers."""
    model = segmenter()
    del model.graph.node[2]
    model.graph.node[1].output[0] = "y"
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return model


def test_a_class_that_rounding_decides_may_be_another(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def some_wrong(share: float) -> Change:
        def change(y: np.ndarray) -> np.ndarray:
            wrong = np.random.default_rng(3).random(y.shape) < share
            return np.where(wrong, (y + 1) % 21, y)

        return change

    assert run(*ran(tmp_path, labels())) == 0
    assert run(*ran(tmp_path, labels(), some_wrong(0.3))) == 1
    told = capfd.readouterr().err
    assert "of 1024 values differ, " in told
    assert "rounding explains " in told


def test_blank_first_samples_excuse_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """There noise moves nothing: it is measured on a sample that it moves."""
    model = detector()
    model.graph.node[1].op_type = "Relu"
    assert run(*ran(tmp_path, model, blank=2)) == 0
    assert run(*ran(tmp_path, model, shuffled_scores, blank=2)) == 1
    assert "y             4          2          2" in capfd.readouterr().err


def test_what_cannot_be_measured_is_not_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The number of values that are not 0 is another with each noise: none is of the results' shape."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 400] x) => (float[n] y) <float k = {2000.0}> {
      a = Mul(x, k)
      s = Sin(a)
      r = Round(s)
      b = Cast<to = 9>(r)
      f = Squeeze(b)
      c = Compress(s, f)
      y = Abs(c)
    }""")
    assert run(*ran(tmp_path, model, lambda y: y + 0.006, exact=True)) == 5
    assert (
        "what float16 does to it could not be measured, so whether it is right cannot be told" in capfd.readouterr().err
    )


# ------------------------------------------------------------------ types of raw files


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_floats_are_taken_for_floats(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x = (scale * rng.standard_normal(2000)).astype(np.float32)
    for values in (x, np.abs(x), np.maximum(x, 0), np.round(x), x.astype(np.float16).astype(np.float32), np.zeros(9)):
        found = RawFloats()
        found.take(values)
        assert found.other_type() == ""


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.sampled_from(["int32", "int64", "float16"]))
def test_what_is_no_float_is_not(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(4000) if kind == "float16" else rng.integers(1, 100, 4000)
    found = RawFloats()
    found.take(np.frombuffer(values.astype(kind).tobytes(), np.float32))
    assert found.other_type() == ("float16" if kind == "float16" else "int32 or int64")


def test_types_nobody_gave_are_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ids, others = np.array([850, 636, -511, 269], np.int32), np.array([1, 2, -3, 4], np.int32)
    a, b = folders(tmp_path, ids, others)
    scores = np.linspace(0, 1, 50, dtype=np.float32)
    for folder in (a, b):
        put(folder, "s_2.bin", scores)
    assert run(str(a), str(b)) == 5
    assert "output 0 in " in (told := capfd.readouterr().err)
    assert "are they int32 or int64? say so with --dtype 0=int32" in told
    assert run(str(a), str(b), "--dtype", "0=int32", "--dtype", "float32") == 1
    assert "4 of 4 values differ, 850 and 1 at 0: rounding does not change these values" in capfd.readouterr().err
    assert run(str(a), str(a), "--dtype", "0=int32") == 0
    assert run(str(a), str(b), "--dtype", "5=int32") == 2
    assert "a type is given for '5', which is no output; there are 0, 1" in capfd.readouterr().err


def test_a_type_of_one_output_of_a_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ran(tmp_path, detector())
    assert run(*words, "--dtype", "y=float32") == 0
    assert run(*words, "--dtype", "y=float16") == 1
    assert "8500 elements and 17000" in capfd.readouterr().err
    assert run(*words, "--dtype", "z=float16") == 2
    assert run(*words, "--dtype", "float32,float16") == 2
    assert "--dtype takes one type where B is a model" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "why"),
    [([], "has no value on either side"), ([np.nan, np.nan], "has no finite value on either side")],
)
def test_nothing_is_not_the_same(tmp_path: Path, values: list[float], why: str) -> None:
    a, b = folders(tmp_path, np.array(values, np.float32), np.array(values, np.float32))
    found = compare(a, b, dtypes={None: (dtype_named("float32"), dtype_named("float32"))})
    assert (status(found), found.not_run) == ("not-run", (f"output 0 of sample s {why}",))
    for folder in (a, b):
        put(folder, "t_1.bin", np.ones(3, np.float32))
    assert status(compare(a, b)) == "not-run"


def test_few_small_values_count(tmp_path: Path) -> None:
    """Keypoints beside a score, and three boxes with a score each: wrong scores are not waved through."""
    rng = np.random.default_rng(0)
    points = np.concatenate([640 * rng.random((1000, 34)), rng.random((1000, 1))], axis=1).astype(np.float32)
    shuffled = points.copy()
    shuffled[:, 34] = rng.permutation(points[:, 34])
    assert status(compare(*folders(tmp_path / "points", points, shuffled))) == "not-run"
    assert status(compare(*folders(tmp_path / "same", points, points * np.float32(1.001)))) == "equivalent"
    boxes = np.array([[10, 20, 200, 300, 0.95]] * 3, np.float32)
    other = boxes.copy()
    other[:, 4] = 0.05
    assert status(compare(*folders(tmp_path / "boxes", boxes, other))) == "not-run"


def test_halves_of_few_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(20):
        scores = rng.standard_normal(10).astype(np.float16)
        put(tmp_path / "a", f"s{k}_1.bin", scores)
        scores[::2] = rng.standard_normal(5)
        put(tmp_path / "b", f"s{k}_1.bin", scores)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert status(found) == "not-run"
    assert "are they float16?" in found.not_run[0]


def test_texts_of_whole_numbers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a text writes as 3000 may be a float, of which 3002 is the next in float16."""
    a, b = folders(tmp_path, np.array([3000, 5]), np.array([3002, 5]), name="s_1.txt")
    assert run(str(a), str(b)) == 5
    assert "differs if it is of integers: say which with --dtype 0=float32 or 0=int64" in capfd.readouterr().err
    assert run(str(a), str(b), "--dtype", "0=float32") == 0
    assert run(str(a), str(b), "--dtype", "0=int64") == 1
    put(b, "s_1.txt", np.array([9000, 5]))
    assert run(str(a), str(b)) == 1


@pytest.mark.parametrize("array", [np.array(["a", "b"]), np.array([b"x"]), np.array([1 + 2j]), np.zeros(2, "i4,f4")])
def test_arrays_that_cannot_be_compared(tmp_path: Path, array: np.ndarray) -> None:
    found = compare(*folders(tmp_path, array, array, name="s_1.npy"))
    assert status(found) == "not-run"
    assert "which cannot be compared: floats, integers or booleans can" in found.not_run[0]


def test_a_missing_first_output_is_not_another_one(tmp_path: Path) -> None:
    x, y = (np.random.default_rng(k).standard_normal(5).astype(np.float32) for k in (0, 1))
    for name, array in (("s_0.bin", x), ("s_1.bin", y)):
        put(tmp_path / "whole", name, array)
    put(tmp_path / "part", "s_1.bin", y)
    found = compare(tmp_path / "whole", tmp_path / "part")
    assert status(found) == "not-run"
    assert (
        "part: which output is which cannot be told: they are numbered from 1 on, or number 0 is miss"
        in found.not_run[0]
    )


def test_samples_whose_names_look_like_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One ends as msame's files do, and one is another's name cut at its point."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3] x) => (float[1, 3] y) { y = Abs(x) }""")
    onnx.save(model, tmp_path / "m.onnx")
    names = ("img_output", "img", "a.1", "a")
    for k, name in enumerate(names):
        put(tmp_path / "data", f"{name}.bin", np.full((1, 3), -k - 1, np.float32))
        put(tmp_path / "out", f"{name}_1.bin", np.full((1, 3), k + 1, np.float32))
    (tmp_path / "list.info").write_text("".join(f"{k} data/{name}.bin\n" for k, name in enumerate(names)))
    words = (str(tmp_path / "out"), str(tmp_path / "m.onnx"), "--input-data", str(tmp_path / "list.info"))
    assert run(*words) == 0
    (tmp_path / "out" / "a.1_1.bin").unlink()
    assert run(*words) == 5
    assert "sample a.1 (data/a.1.bin) has no outputs" in capfd.readouterr().err


# ------------------------------------------------------------------ the rule


@EXAMPLES
@given(FLOATS, st.integers(0, 2**32 - 1))
def test_more_noise_excuses_no_less(x: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noises = [Noise.of(x, (x * (1 + 2 * U * rng.standard_normal(x.shape))).astype(np.float32)) for _ in range(2)]
    one, two = noises
    if one is None or two is None:
        assert not x.any()
        return
    assert np.all((one | two).at(x.astype(np.float64)) >= one.at(x.astype(np.float64)))
    assert ((one | two).whole, (one | two).rms) == ((two | one).whole, (two | one).rms)
    y = x.astype(np.float16).astype(np.float32)
    assert not judge(x, y, noise=one).why
    far = x + np.float32(20 * (8 * one.whole + 16 * U) * np.abs(x).max() + 1)
    assert judge(x, far, noise=one).why
    with TemporaryDirectory() as name:
        assert status(compare(*folders(Path(name), x.reshape(-1), y.reshape(-1)))) in ("equivalent", "not-run")


@EXAMPLES
@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3)),
    st.floats(1e-4, 0.1),
    st.integers(0, 29),
    st.booleans(),
)
def test_the_rule_is_what_the_page_says(x: np.ndarray, whole: float, place: int, measured: bool) -> None:
    """Just within, and just beyond: 8 times the noise, or 16 u, of the largest, with 16 u of each and 4 eta."""
    at = place % x.size
    noise = Noise(x.shape, 1.0, whole, 1e6, {}) if measured else None
    largest = float(np.abs(x).max())
    allowed = (8 * whole if measured else 2.0**-7) * largest + 2.0**-7 * abs(float(x[at])) + 4 * 2.0**-24
    for factor, within in ((0.999, True), (1.001, False)):
        y = x.copy()
        y[at] += factor * allowed
        assert (not judge(x, y, noise=noise).why) == within


@EXAMPLES
@given(hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-1e3, 1e3)), st.floats(1e-3, 0.1))
def test_the_rule_of_all_is_what_the_page_says(x: np.ndarray, rms: float) -> None:
    """4 times the noise of all, root mean square, beside what each may have of its own."""
    noise = Noise(x.shape, 1.0, 1e6, rms, {})
    own = float(np.sqrt(np.mean((2.0**-7 * np.abs(x) + 4 * 2.0**-24) ** 2)))
    allowed = 4 * rms * float(np.abs(x).max()) + own
    assert not judge(x, x + 0.999 * allowed, noise=noise).why
    assert judge(x, x + 1.001 * allowed, noise=noise).why


@EXAMPLES
@given(st.integers(1, 200), st.floats(0, 0.2), st.data())
def test_the_rule_of_integers_is_what_the_page_says(size: int, changed: float, data: st.DataObject) -> None:
    x = np.arange(size)
    count = data.draw(st.integers(0, size))
    y = np.where(np.arange(size) < count, x + 1, x)
    found = judge(x, y, noise=Noise(x.shape, changed, 0.0, 0.0, {}))
    assert bool(found.why) == (count > 4 * changed * size)
    assert bool(found.untold) == (0 < count <= 4 * changed * size and 8 * changed >= 1)


def test_the_model_runs_with_the_users_operators(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ran(tmp_path, detector())
    (tmp_path / "ops.so").write_text("no library")
    assert run(*words, "--custom-op-library", str(tmp_path / "ops.so")) == 2
    assert "ops.so" in capfd.readouterr().err

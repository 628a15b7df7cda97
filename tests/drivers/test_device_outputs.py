from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxfuse.cli.main import main
from onnxfuse.drivers.info_files import Sample, write
from onnxfuse.drivers.onnxruntime import OnnxRuntime
from onnxfuse.drivers.outputs.files import dtype_named, find
from onnxfuse.drivers.outputs.folders import Dtypes, compare
from onnxfuse.drivers.outputs.verdict import OutputsVerdict
from onnxfuse.errors import UsageError
from onnxfuse.verification.judgement import Tolerance
from tests.profile import EXAMPLES

F16: Final = np.dtype(np.float16)
F32: Final = np.dtype(np.float32)
RNG: Final = np.random.default_rng(0)


def put(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    if file.suffix == ".txt":
        file.write_text(" ".join(f"{value:g}" for value in array.reshape(-1).tolist()) + "\n")
    elif file.suffix == ".npy":
        np.save(file, array)
    else:
        file.write_bytes(array.tobytes())
    return file


def folders(root: Path, x: np.ndarray, y: np.ndarray, *, name: str = "s_1.bin") -> tuple[Path, Path]:
    put(root / "a", name, x)
    put(root / "b", name, y)
    return root / "a", root / "b"


def status(found: OutputsVerdict) -> str:
    return str(found.status)


# ------------------------------------------------------------------ two folders


@EXAMPLES
@given(hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32)), st.sampled_from(["bin", "npy"]))
def test_the_same_bits_are_equal_whatever_they_are(array: np.ndarray, kind: str) -> None:
    with TemporaryDirectory() as name:
        found = compare(*folders(Path(name), array, array, name=f"s_0.{kind}"), dtypes={None: (F32, F32)})
        (result,) = found.outputs
        if np.isfinite(array).any():
            assert (status(found), result.equal, result.error, result.ratio) == ("equivalent", 1, 0, 0)
        else:
            assert (status(found), result.samples) == ("not-run", 0)


@EXAMPLES
@given(hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)))
def test_rounding_to_float16_is_within_and_ten_times_the_allowed_is_not(array: np.ndarray) -> None:
    rounded = array.astype(np.float16).astype(np.float32)
    far = array.copy()
    far[0] += np.float32(20 * 2.0**-7 * max(1e-2, float(np.abs(array).max())))
    with TemporaryDirectory() as name:
        assert status(compare(*folders(Path(name), array, rounded))) == "equivalent"
        found = compare(*folders(Path(name), array, far))
        assert status(found) == "different"
        assert found.outputs[0].ratio > 1
        assert (found.outputs[0].why or "").startswith("sample s: 1 of ")


@EXAMPLES
@given(hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)))
def test_text_and_raw_files_of_one_result_agree(array: np.ndarray) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        put(root / "a", "s_1.bin", array)
        put(root / "b", "s_output_0.txt", array)
        found = compare(root / "a", root / "b")
        assert status(found) == "equivalent"
        assert f"{root / 'a'}: numbers its outputs from 1; here they count from 0" in found.notes


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        ([1, np.nan], [1, 2], "NaN and infinities must be at the same positions"),
        ([1, np.inf], [1, -np.inf], "NaN and infinities must be at the same positions"),
        ([1, 65504], [1, np.inf], "1 of 2 values differ, 65504.0 and inf at 1: NaN and infinities"),
        ([1, 2, 3], [1, 2], "sample s: 3 elements and 2"),
        ([0, 0], [0, 1], "times what is allowed"),
    ],
)
def test_what_no_tolerance_covers(tmp_path: Path, x: list[float], y: list[float], why: str) -> None:
    found = compare(*folders(tmp_path, np.array(x, np.float32), np.array(y, np.float32)))
    assert status(found) == "different"
    assert why in (found.outputs[0].why or "")
    json.dumps(found.to_dict(), allow_nan=False)


def test_nan_at_the_same_positions_agrees(tmp_path: Path) -> None:
    x = np.array([np.nan, np.inf, 1], np.float32)
    y = np.array([np.nan, np.inf, 1.001], np.float32)
    assert status(compare(*folders(tmp_path, x, y))) == "equivalent"


def test_integers_and_tolerances_of_ones_own(tmp_path: Path) -> None:
    x = np.arange(1000, 1010, dtype=np.int32)
    a, b = folders(tmp_path, x, x + (np.arange(10) == 4).astype(np.int32))
    types: Dtypes = {None: (dtype_named("int32"), dtype_named("int32"))}
    found = compare(a, b, dtypes=types)
    assert status(found) == "different"
    assert "1004 and 1005 at 4: rounding does not change these values" in (found.outputs[0].why or "")
    assert status(compare(a, b, dtypes=types, tolerances={"0": Tolerance(atol=1)})) == "equivalent"
    assert status(compare(a, b, dtypes=types, tolerances={None: Tolerance(rtol=1e-6)})) == "different"
    with pytest.raises(UsageError, match="'7', which is no output; there are 0"):
        compare(a, b, tolerances={"7": Tolerance()})


def test_large_integers_are_compared_as_what_they_are(tmp_path: Path) -> None:
    x = np.array([2**60, 5], np.int64)
    a, b = folders(tmp_path, x, x + np.array([1, 0]))
    int32, int64 = dtype_named("int32"), dtype_named("int64")
    found = compare(a, b, dtypes={"0": (int64, int64)})
    assert "1152921504606846976 and 1152921504606846977 at 0" in (found.outputs[0].why or "")
    put(b, "s_1.bin", np.array([1, 5], np.int32))
    put(a, "s_1.bin", np.array([1, 5], np.int64))
    assert status(compare(a, b, dtypes={None: (int64, int32)})) == "equivalent"


def test_types_of_two_sides(tmp_path: Path) -> None:
    x = RNG.standard_normal(50).astype(np.float32)
    a, b = folders(tmp_path, x, x.astype(np.float16))
    unsaid = compare(a, b)
    assert status(unsaid) == "not-run"
    assert unsaid.not_run[0] == (
        "output 0 of sample s has 50 elements and 25: if they are of different types, say so with --dtype 0=float32,float16"
    )
    types: Dtypes = {None: (F32, F16)}
    assert status(compare(a, b, dtypes=types)) == "equivalent"
    odd = tmp_path / "b" / "s_1.bin"
    odd.write_bytes(odd.read_bytes()[:-1])
    found = compare(a, b, dtypes=types)
    assert (status(found), found.not_run) == (
        "not-run",
        (f"{odd}: has 99 bytes, which is no number of float16 elements",),
    )


def test_missing_and_extra_files_are_told(tmp_path: Path) -> None:
    x = RNG.standard_normal(8).astype(np.float32)
    for sample in "pqr":
        for k in (1, 2):
            put(tmp_path / "a", f"{sample}_{k}.bin", x)
            put(tmp_path / "b", f"{sample}_{k}.bin", x)
    (tmp_path / "a" / "q_2.bin").unlink()
    for k in (1, 2):
        (tmp_path / "b" / f"p_{k}.bin").unlink()
    put(tmp_path / "b", "extra_1.bin", x)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert status(found) == "not-run"
    assert found.not_run == (
        f"sample extra is in {tmp_path / 'b'} only",
        f"sample p is in {tmp_path / 'a'} only",
        f"output 1 of sample q is in {tmp_path / 'b'} only",
    )
    assert [result.samples for result in found.outputs] == [2, 1]
    put(tmp_path / "b", "r_1.bin", x + 1)
    assert status(compare(tmp_path / "a", tmp_path / "b")) == "different"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("s_1.txt", b"1,5 2,5", "has '1,5' where a number is expected: a number with a comma"),
        ("s_1.txt", b"1 2 three", "has 'three' where a number is expected"),
        ("s_1.txt", b"\xff\xfe\x00", "is no text"),
        ("s_1.txt", "\uff11 \uff12".encode(), "is no text"),
        ("s_1.npy", b"hello", "is no array of numpy"),
        ("s_1.npy", b"", "is no array of numpy"),
        ("s_1.bin", b"123", "has 3 bytes, which is no number of float32 elements"),
    ],
)
def test_files_that_hold_no_results(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    put(tmp_path / "a", "s_1.bin", np.ones(2, np.float32))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_bytes(data)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert status(found) == "not-run"
    (sentence,) = found.not_run
    assert sentence.startswith(f"{tmp_path / 'b' / name}: {why}")
    assert "\n" not in sentence


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    put(tmp_path / "a", "s_1.bin", np.ones(2, np.float32))
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "s_1.npy", np.array([{}], object), allow_pickle=True)
    assert "is no array of numpy" in compare(tmp_path / "a", tmp_path / "b").not_run[0]


def test_folders_that_hold_none(tmp_path: Path) -> None:
    put(tmp_path / "result" / "dumpOutput_device0", "s_1.bin", np.ones(2, np.float32))
    with pytest.raises(
        UsageError, match="result: holds no outputs: .* are expected; dumpOutput_device0 in it has some"
    ):
        find(tmp_path / "result")
    with pytest.raises(UsageError, match="none: is no folder of outputs: No such file"):
        find(tmp_path / "none")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ILSVRC2012_val_00000001.bin").write_bytes(bytes(8))
    with pytest.raises(UsageError, match="data: holds no outputs"):
        find(tmp_path / "data")
    put(tmp_path / "twice", "s_1.bin", np.ones(2))
    put(tmp_path / "twice", "s_1.txt", np.ones(2))
    with pytest.raises(UsageError, match="s_1.bin and s_1.txt are the same output of a sample"):
        find(tmp_path / "twice")


def test_names_of_samples_may_have_underscores(tmp_path: Path) -> None:
    for name in ("a_b_1.bin", "a_b_2.bin", "c_1_1.bin"):
        put(tmp_path, name, np.ones(1))
    found = find(tmp_path)
    assert {sample: sorted(files) for sample, files in found.files.items()} == {"a_b": [0, 1], "c_1": [0]}
    assert found.first == 1


# ------------------------------------------------------------------ against the model


def network(folder: Path, *, batch: str = "1") -> Path:
    """A small network with weights of its own and an output of integers."""
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[{batch}, 3, 8, 8] image) => (float[{batch}, 10] scores, int64[{batch}] best) {{
      x = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(image, w)
      r = Relu(x)
      p = GlobalAveragePool(r)
      f = Flatten(p)
      scores = Gemm<transB = 1>(f, v)
      best = ArgMax<axis = 1, keepdims = 0>(scores)
    }}"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(1)
    for name, shape in (("w", (16, 3, 3, 3)), ("v", (10, 16))):
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = folder / "m.onnx"
    onnx.save(model, path)
    return path


def dataset(folder: Path, count: int = 3) -> tuple[Path, dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    found = {f"s{k}": rng.standard_normal((1, 3, 8, 8)).astype(np.float32) for k in range(count)}
    for name, array in found.items():
        put(folder / "data", f"{name}.bin", array)
    write(folder / "list.info", [Sample((f"data/{name}.bin",), (8, 8)) for name in found])
    return folder / "list.info", found


def device(
    folder: Path,
    model: Path,
    data: Mapping[str, np.ndarray],
    change: Callable[[np.ndarray], np.ndarray],
    first: int = 1,
) -> Path:
    """What a device that computes in float16 writes: weights and input rounded to it."""
    proto = onnx.load(model)
    for tensor in proto.graph.initializer:
        rounded = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, array in data.items():
        scores, best = session.run(None, {"image": array.astype(np.float16).astype(np.float32)})
        put(folder, f"{name}_{first}.bin", change(scores))
        put(folder, f"{name}_{first + 1}.bin", best.astype(np.int32))
    return folder


def run(*argv: Any) -> int:
    return main(["verify", "--outputs", *map(str, argv)])


def test_a_device_in_float16_agrees_with_its_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = network(tmp_path)
    info, data = dataset(tmp_path)
    out = device(tmp_path / "out", model, data, lambda scores: scores.astype(np.float16))
    assert run(out, model, "--input-data", info, "--json") == 0
    captured = capfd.readouterr()
    found = json.loads(captured.out)
    assert found["status"] == "equivalent"
    scores, best = found["outputs"]
    assert (scores["name"], scores["samples"], scores["different"]) == ("scores", 3, 0)
    assert 0 < scores["of_allowed"] < 1
    assert scores["least_cosine"] > 0.9999
    assert (best["name"], best["bit_equal"] + best["samples"], best["different"]) == ("best", 3, 0)
    assert captured.err.splitlines()[0].startswith("output  samples  bit-equal  different  largest error")
    assert captured.err.splitlines()[-1] == "equivalent"
    assert (
        "note: tolerance of float16 on a device: 2^-7 |x|, and of the largest |x|, as measured, at most:"
        in captured.err
    )


@pytest.mark.parametrize("batch", ["2", "3", "8"])
def test_a_model_of_a_fixed_batch_takes_samples_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], batch: str
) -> None:
    info, data = dataset(tmp_path)
    out = device(tmp_path / "out", network(tmp_path, batch="N"), data, lambda scores: scores)
    model = network(tmp_path, batch=batch)
    assert run(out, model, "--input-data", info, "--json") == 0
    scores, best = json.loads(capfd.readouterr().out)["outputs"]
    assert (scores["samples"], scores["different"], best["samples"], best["different"]) == (3, 0, 3, 0)
    put(out, "s2_1.bin", np.ones((1, 10), np.float32))
    (out / "s1_1.bin").unlink()
    assert run(out, model, "--input-data", info) == 1
    told = capfd.readouterr().err
    assert "different: output scores, sample s2: " in told
    assert "output scores of sample s1 is not in" in told


@pytest.mark.parametrize("batch", ["1", "2", "N"])
def test_what_onnxruntime_writes_is_what_the_model_gives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], batch: str
) -> None:
    model = network(tmp_path, batch=batch)
    info, _ = dataset(tmp_path)
    with OnnxRuntime().compile(model) as compiled:
        inferred = compiled.infer(info, tmp_path)
    assert run(inferred.folder, model, "--input-data", info, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert [output["samples"] for output in found["outputs"]] == [3, 3]
    assert [output["bit_equal"] for output in found["outputs"]][1] == 3
    assert found["outputs"][0]["of_allowed"] < 1e-3


def test_an_error_of_five_percent_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = network(tmp_path)
    info, data = dataset(tmp_path)
    wrong = device(tmp_path / "out", model, data, lambda scores: scores + np.float32(0.05) * np.abs(scores).max())
    assert run(wrong, model, "--input-data", info) == 1
    assert "different: output scores, sample s0: " in capfd.readouterr().err
    assert run(wrong, model, "--input-data", info, "--rtol", "1", "--atol", "1") == 0
    assert run(wrong, model, "--input-data", info, "--atol", "scores=10") == 0


def test_what_is_missing_or_short_or_extra_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = network(tmp_path, batch="N")
    info, data = dataset(tmp_path)
    out = device(tmp_path / "out", model, data, lambda scores: scores, first=0)
    (out / "s0_0.bin").unlink()
    (out / "s1_0.bin").write_bytes(b"12345")
    for k in (0, 1):
        (out / f"s2_{k}.bin").rename(out / f"t_{k}.bin")
    put(out, "s1_2.bin", np.ones(1))
    assert run(out, model, "--input-data", info, "--dim", "N=1") == 5
    told = capfd.readouterr().err
    assert f"not compared: output scores of sample s0 is not in {out}" in told
    assert "s1_0.bin: has 5 bytes, and 10 elements of float32 take 40, or half of it in float16" in told
    assert "not compared: output 2 of sample s1 is none of the model's" in told
    assert f"not compared: sample s2 (data/s2.bin) has no outputs in {out}" in told
    assert f"not compared: sample t is in {out}, and not in {info}" in told
    assert told.splitlines()[-1] == "could not decide"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "outputs are compared with a model on one .info list: give it as --input-data"),
        (("--input-data", "data"), "on one .info list"),
        (("--input-data", "list.info", "--atol", "y=1"), "'y', which is no output; there are scores, best"),
        (("--input-data", "list.info", "--dtype", "float12"), "there is no type float12"),
        (("--input-data", "list.info", "--dtype", "int8,int8,int8"), "TYPE or TYPE,TYPE is expected"),
        (("--input-data", "short.info"), "short.info, line 1: short.bin has 4 bytes"),
        (("--input-data", "out.info"), "out.info, line 1: ../x.bin is outside of the folder"),
        (("--input-data", "jpg.info"), "jpg.info, line 1: x.jpg is a picture"),
        (("--input-data", "none.info"), "none.info: no such file"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = network(tmp_path)
    _, data = dataset(tmp_path)
    out = device(tmp_path / "out", model, data, lambda scores: scores)
    put(tmp_path, "short.bin", np.ones(1, np.float32))
    put(tmp_path, "x.jpg", np.ones(1))
    for name, line in (("short", "short.bin 8 8"), ("out", "../x.bin 8 8"), ("jpg", "x.jpg 8 8")):
        (tmp_path / f"{name}.info").write_text(f"0 {line}\n")
    assert run(out, model, *options) == 2
    told = capfd.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_two_folders_from_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = RNG.standard_normal(50).astype(np.float32)
    a, b = folders(tmp_path, x, x.astype(np.float16))
    assert run(a, b, "--dtype", "float32,float16") == 0
    assert "note: tolerance of float16 on a device: |x - y| <= 2^-7 (|x| + max |x|)" in capfd.readouterr().err
    put(b, "s_1.bin", (x + 1).astype(np.float16))
    assert run(a, b, "--dtype", "float32,float16", "--json") == 1
    assert json.loads(capfd.readouterr().out)["status"] == "different"
    put(b, "t_1.bin", x)
    (b / "s_1.bin").unlink()
    assert run(a, b) == 5
    for arguments, message in (
        ((a / "s_1.bin", b), "s_1.bin: is no folder: A is the folder of outputs"),
        ((a, tmp_path / "none"), "none: no such file or folder"),
        ((a, b, "--input-data", a), "two folders of outputs need none"),
    ):
        capfd.readouterr()
        assert run(*arguments) == 2
        assert message in capfd.readouterr().err
    assert main(["verify", str(a), str(b), "--dtype", "float16"]) == 2

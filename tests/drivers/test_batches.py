"""Samples become batches, and batches samples again, by one rule: what `bench` writes, `verify` finds to be the model's."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.cli.main import main
from onnxfuse.drivers.batches import Batches
from onnxfuse.drivers.onnxruntime import OnnxRuntime, OnnxRuntimeModel, Stages
from onnxfuse.errors import UsageError
from onnxfuse.verification.info_list import read_list
from onnxfuse.verification.inputs import Binding, InputSpec
from tests.drivers.tools import raw_dataset
from tests.profile import EXAMPLES

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
ROWS = "g (float[2, 3, 4, 6] x) => (float[{rows}, 6] y) <int64[2] to = {{-1, 6}}> {{ y = Reshape(x, to) }}"
SCALED = "g (float[N, 3] x, float s) => (float[N, 3] y) { y = Mul(x, s) }"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(text: str) -> Path:
    onnx.save(onnx.parser.parse_model(f"{HEAD} {text}"), "m.onnx")
    return Path("m.onnx")


def bench(dataset: Path, *more: str) -> int:
    return main(["bench", "m.onnx", "--dataset", str(dataset), "--output", "out", *more])


def verify(dataset: Path) -> int:
    return main(["verify", "--outputs", "out/result/dumpOutput_device0", "m.onnx", "--input-data", str(dataset)])


@EXAMPLES
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_what_is_put_together_comes_apart_again(count: int, size: int, rows: int, tail: int) -> None:
    rng = np.random.default_rng([count, size, rows, tail])
    arrays = rng.normal(size=(count, 1, rows, tail + 1)).astype(np.float32)
    spec = InputSpec("x", "tensor", onnx.TensorProto.FLOAT, ("N", rows, tail + 1))
    declared = [onnx.helper.make_tensor_value_info("y", 1, dims) for dims in ((None, tail + 1), None)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, array in enumerate(arrays):
            array.tofile(folder / f"{number}.bin")
        (folder / "d.info").write_text("".join(f"{n} {n}.bin\n" for n in range(count)))
        batches = Batches.of(read_list(folder / "d.info"), [spec], declared, size=size, binding=Binding({}))
        found = []
        for run in batches.runs():
            x = batches.feeds([batches.read(group) for group in run])["x"]
            assert x.shape == (size, rows, tail + 1)
            found += batches.split(run, [x.reshape(-1, tail + 1), x])
    assert batches.count == count
    for array, (flat, whole) in zip(arrays, found, strict=True):
        assert np.array_equal(flat, array[0])
        assert np.array_equal(whole, array)


def test_an_output_over_the_whole_batch_is_nobodys(capfd: pytest.CaptureFixture[str]) -> None:
    dataset = raw_dataset(Path("data"), 4)
    save(
        "g (float[N, 3, 4, 6] x) => (float[4] y) <float[4] k = {1, 2, 3, 4}> "
        "{ s = ReduceSum<keepdims = 0>(x) z = Mul(s, k) y = Add(z, k) }"
    )
    assert bench(dataset, "--batch-size", "2") == 4
    assert (
        "m.onnx: output y, which is [4], has no axis of 2 samples: whose is what cannot be told"
        in capfd.readouterr().err
    )
    assert not Path("out").exists()
    assert bench(dataset, "--batch-size", "1") == 0
    assert {file.stat().st_size for file in Path("out").rglob("*.bin")} == {16}


@pytest.mark.parametrize("rows", ["P", "24"])
@pytest.mark.parametrize("count", [4, 3])
def test_several_rows_are_one_samples(rows: str, count: int) -> None:
    dataset = raw_dataset(Path("data"), count)
    save(ROWS.format(rows=rows))
    assert bench(dataset) == 0
    for n in range(count):
        assert Path(f"out/result/dumpOutput_device0/s{n}_1.bin").read_bytes() == Path(f"data/s{n}.bin").read_bytes()
    assert verify(dataset) == 0
    np.zeros(72, np.float32).tofile("out/result/dumpOutput_device0/s1_1.bin")
    assert verify(dataset) == 1


def test_rows_that_are_no_multiple_of_the_batch_are_nobodys(capfd: pytest.CaptureFixture[str]) -> None:
    dataset = raw_dataset(Path("data"), 2)
    save("g (float[2, 3, 4, 6] x) => (float[P, 16] y) <int64[2] to = {-1, 16}> { y = Reshape(x, to) }")
    assert bench(dataset) == 4
    assert "m.onnx: output y, which is [9, 16], has no axis of 2 samples" in capfd.readouterr().err


def test_pictures_are_not_run(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.jpg").write_bytes(bytes(288))
    Path("d.info").write_text("0 a.jpg 6 4\n")
    save(ROWS.format(rows="P"))
    assert bench(Path("d.info")) == 2
    assert "line 1: a.jpg is a picture, and how the device scales it is not known here" in capfd.readouterr().err


def test_an_input_that_has_another_first_axis_comes_whole() -> None:
    Path("data").mkdir()
    np.ones((2, 3), np.float32).tofile("data/x.bin")
    np.arange(12, dtype=np.float32).tofile("data/z.bin")
    dataset = Path("data/d.info")
    dataset.write_text("0 x.bin\n0 z.bin\n")
    save("g (float[2, 3] x, float[4, 3] z) => (float[2, 4] y) { t = Transpose<perm = [1, 0]>(z) y = MatMul(x, t) }")
    assert bench(dataset) == 0
    assert np.fromfile("out/result/dumpOutput_device0/x_1.bin", np.float32).tolist() == [3, 12, 21, 30] * 2
    assert verify(dataset) == 0


def test_files_of_a_whole_batch(capfd: pytest.CaptureFixture[str]) -> None:
    Path("data").mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        rng.normal(size=(2, 3, 4, 6)).astype(np.float32).tofile(f"data/{name}.bin")
    dataset = Path("data/d.info")
    dataset.write_text("0 a.bin\n1 b.bin\n")
    save(ROWS.format(rows="P"))
    with OnnxRuntime().compile(Path("m.onnx")) as model:
        found = model.infer(dataset, Path("out"))
    assert found.performance.samples == pytest.approx(4)
    for name in "ab":
        assert Path(f"out/result/dumpOutput_device0/{name}_1.bin").read_bytes() == Path(f"data/{name}.bin").read_bytes()
    assert verify(dataset) == 0
    np.zeros(100, np.float32).tofile("data/b.bin")
    assert bench(dataset, "--output", "again") == 2
    assert "line 2: b.bin has 400 bytes, and input x, [2,3,4,6] of float32, takes 576" in capfd.readouterr().err


@pytest.mark.parametrize("values", [(3, 3), (3, 4)])
def test_an_input_without_an_axis_is_fed_once(values: tuple[int, int]) -> None:
    Path("data").mkdir()
    for n, value in enumerate(values):
        np.full(3, n + 1, np.float32).tofile(f"data/x{n}.bin")
        np.float32(value).tofile(f"data/s{n}.bin")
    dataset = Path("data/d.info")
    dataset.write_text("0 x0.bin\n0 s0.bin\n1 x1.bin\n1 s1.bin\n")
    save(SCALED)
    with OnnxRuntime(batch_size=2).compile(Path("m.onnx")) as model:
        if values[0] != values[1]:
            with pytest.raises(
                UsageError, match="input s has no axis of samples, and .* different values .* batch of 1"
            ):
                model.infer(dataset, Path("out"))
            return
        model.infer(dataset, Path("out"))
    for n in range(2):
        assert (np.fromfile(f"out/result/dumpOutput_device0/x{n}_1.bin", np.float32) == 3 * (n + 1)).all()
    assert verify(dataset) == 0
    save(SCALED.replace("N", "2"))
    assert verify(dataset) == 0


# ---------------------------------------------------------------------------- figures


def test_a_batch_that_is_not_full_counts_as_one() -> None:
    now = iter([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 6.0, 6.0, 8.0, 10.0])
    clock = Stages(lambda: next(now))
    for name in ("data read", "preprocess", "infer", "post"):
        with clock.stage(name):
            pass
    clock.device, clock.runs = 4.0, 1
    found = clock.record(2, 16)
    assert (found.throughput, found.batch_latency, found.sample_latency) == (4.0, 4000.0, 250.0)
    assert [(stage.name, stage.rate, stage.latency) for stage in found.stages] == [
        ("e2e", 0.2, 10000.0),
        ("data read", 2.0, 500.0),
        ("preprocess", 16.0, 62.5),
        ("infer", 16 / 6, 250.0),
        ("post", 1 / 6, 2000.0),
    ]


@pytest.mark.parametrize(("count", "batch"), [(1, 16), (5, 2), (4, 1)])
def test_the_throughput_is_that_of_the_runs_alone(count: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = raw_dataset(Path("data"), count)
    save("g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y) { y = Relu(x) }")
    asked: list[float] = []
    ask = OnnxRuntimeModel._ask

    def asking(model: OnnxRuntimeModel, name: str, *more: Any) -> Any:
        answer = ask(model, name, *more)
        if name == "run":
            asked.append(answer[0])
        return answer

    monkeypatch.setattr(OnnxRuntimeModel, "_ask", asking)
    with OnnxRuntime(batch_size=batch).compile(Path("m.onnx")) as model:
        found = model.infer(dataset, Path("out")).performance
    assert len(asked) == math.ceil(count / batch)
    assert found.batch_latency == pytest.approx(1000 * sum(asked) / len(asked))
    assert found.throughput == pytest.approx(batch * len(asked) / sum(asked))
    assert found.samples == pytest.approx(count)

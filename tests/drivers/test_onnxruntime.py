"""onnxruntime in the place of a device: what it measures, what it writes, and what a model may do to it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxfuse.drivers._timed_session import _Timed
from onnxfuse.drivers.onnxruntime import OnnxRuntime, provider_of
from onnxfuse.drivers.summaries import read
from onnxfuse.errors import ModelError, ToolError, UsageError
from onnxfuse.verification.worker import Worker
from tests.drivers.processes import is_running
from tests.drivers.tools import raw_dataset

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
TWO = "x0 = Flatten(x) m = ReduceMean<axes = [1]>(x0) n = Neg(m) y = Add(m, n)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(text: str, name: str = "m.onnx") -> Path:
    onnx.save(onnx.parser.parse_model(f"{HEAD} {text}"), name)
    return Path(name)


def relu(dims: str = "N, 8", dtype: str = "float") -> Path:
    kind = f"{dtype}[{dims}]" if dims else dtype
    return save(f"g ({kind} x) => ({kind} y) {{ y = Relu(x) }}")


# ---------------------------------------------------------------------------- measuring


def test_what_is_measured_is_written_as_benchmark_does_and_reads_back(folder: Path) -> None:
    with OnnxRuntime(summaries=Path("out"), batch_size=3, threads=1).compile(relu()) as model:
        found = model.measure(7)
    assert found.spread is not None
    assert (found.spread.count, found.batch, found.problems) == (7, 3, ())
    (file,) = (folder / "out").rglob("*.*")
    assert file.relative_to(folder) == Path("out/result/PureInfer_perf_of_m_in_device_0.txt")
    again = read(file)
    assert (again.throughput, again.batch, again.problems) == (found.throughput, 3, ())
    assert again.spread == found.spread
    assert math.isclose(found.sample_latency or 0, found.spread.mean / 3 if found.spread.mean else 0)


@pytest.mark.parametrize(
    ("dims", "options", "shape"),
    [
        ("2, 8", {}, "float32[2,8]"),
        ("N, 8", {}, "float32[1,8]"),
        ("N, 8", {"batch_size": 5}, "float32[5,8]"),
        ("N, M", {"batch_size": 5, "dims": {"M": 3}}, "float32[5,3]"),
        ("N, M", {"dims": {"x.1": 4, "N": 2}}, "float32[2,4]"),
        ("", {}, "float32[]"),
    ],
)
def test_the_sizes_of_inputs(dims: str, options: dict[str, Any], shape: str) -> None:
    with OnnxRuntime(**options).compile(relu(dims)) as model:
        assert model.inputs == {"x": shape}
        first = shape.partition("[")[2].partition("]")[0].partition(",")[0]
        assert model.batch == int(first or 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3}, "dim x.0 is 2 in the model, so it cannot be bound to 3"),
        ({"dims": {"K": 3}}, "no input has a dim 'K'"),
        ({"batch_size": 2, "dims": {"x.0": 3}}, "both as 3 and as 2"),
    ],
)
def test_sizes_that_the_model_does_not_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OnnxRuntime(**options).compile(relu("2, 8"))


def test_a_batch_where_no_input_has_an_axis() -> None:
    with pytest.raises(UsageError, match="first axis of the first input, and there is none"):
        OnnxRuntime(batch_size=2).compile(relu(""))


def test_indices_stay_in_their_range() -> None:
    model = save(
        "g (int64[N, 4] ids) => (float[N, 4, 2] y) <float[3, 2] table = {1, 2, 3, 4, 5, 6}> { y = Gather(table, ids) }"
    )
    with OnnxRuntime().compile(model) as compiled:
        assert compiled.measure(2).batch == 1


def test_sizes_at_which_it_runs_are_found() -> None:
    model = save("g (float[N, 3] x) => (float[2, 6] y) <int64[2] to = {2, 6}> { y = Reshape(x, to) }")
    with OnnxRuntime().compile(model) as compiled:
        assert compiled.batch == 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "double", "int8", "bool", "string"])
def test_every_kind_of_element(dtype: str) -> None:
    body = "y = Identity(x)"
    model = save(f"g ({dtype}[N, 4] x) => ({dtype}[N, 4] y) {{ {body} }}")
    with OnnxRuntime().compile(model) as compiled:
        assert compiled.measure(2).throughput


def test_own_inputs(folder: Path) -> None:
    np.savez(folder / "own.npz", x=np.ones((6, 8), np.float32))
    with OnnxRuntime(data=Path("own.npz")).compile(relu()) as model:
        assert (model.inputs, model.batch) == ({"x": "float32[6,8]"}, 6)
    np.savez(folder / "own.npz", z=np.ones((6, 8), np.float32))
    with pytest.raises(UsageError, match="nothing for input x"):
        OnnxRuntime(data=Path("own.npz")).compile(relu())


def test_a_model_without_inputs() -> None:
    with OnnxRuntime().compile(save("g () => (float[2] y) <float[2] c = {1, 2}> { y = Neg(c) }")) as model:
        assert model.measure(3).throughput


@pytest.mark.parametrize(("optimize", "level"), [(True, "ORT_ENABLE_ALL"), (False, "ORT_DISABLE_ALL")])
def test_onnxruntime_optimizes_unless_told_not_to(optimize: bool, level: str) -> None:
    timed = _Timed()
    timed.load(str(relu()), optimize, 2, "CPUExecutionProvider", None)
    options = timed._session.get_session_options()
    assert (options.graph_optimization_level.name, options.intra_op_num_threads) == (level, 2)


def test_a_rank_that_is_not_declared() -> None:
    with pytest.raises(UsageError, match="input x has no declared rank"):
        OnnxRuntime().compile(save("g (float[] x) => (float[] y) { y = Relu(x) }"))


def test_providers_by_either_name() -> None:
    assert provider_of("cpu") == provider_of("CPUExecutionProvider") == "CPUExecutionProvider"
    with pytest.raises(UsageError, match="has no execution provider Ascend; there are"):
        provider_of("Ascend")


# ---------------------------------------------------------------------------- models that do not run


def test_a_stripped_model_is_told_where_weights_come_from() -> None:
    from onnxfuse.weights import strip

    model = onnx.parser.parse_model(f"{HEAD} g (float[N, 64] x) => (float[N, 64] y) {{ y = MatMul(x, w) }}")
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(strip(model), "m.onnx")
    with pytest.raises(UsageError, match=r"m\.onnx: the model carries no weights \(w, for one\): onnxfuse fill gives"):
        OnnxRuntime().compile(Path("m.onnx"))


def test_external_data_is_read_where_it_lies(folder: Path) -> None:
    model = onnx.parser.parse_model(f"{HEAD} g (float[N, 64] x) => (float[N, 64] y) {{ y = MatMul(x, w) }}")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "w"))
    (folder / "deep").mkdir()
    onnx.save(model, "deep/m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with OnnxRuntime().compile(Path("deep/m.onnx")) as compiled:
        assert compiled.measure(1).throughput
    assert sorted(path.name for path in folder.rglob("*")) == ["deep", "m.onnx", "w.bin"]


def test_a_custom_op_is_a_tools_failure() -> None:
    text = '<ir_version: 8, opset_import: ["": 17, "my": 1]> g (float[N] x) => (float[N] y) { y = my.Op(x) }'
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    with pytest.raises(ToolError, match=r"m\.onnx: onnxruntime: .*my:Op\(-1\) is not a registered"):
        OnnxRuntime().compile(Path("m.onnx"))


def test_no_model() -> None:
    Path("m.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError):
        OnnxRuntime().compile(Path("m.onnx"))


def test_a_model_that_runs_at_no_size() -> None:
    model = save("g (float[N, 3] x) => (float[7, 77] y) <int64[2] to = {7, 77}> { y = Reshape(x, to) }")
    with pytest.raises(ToolError, match="does not run it on drawn inputs: .*: give sizes with --dim"):
        OnnxRuntime().compile(model)


def test_a_model_that_ends_the_process_is_an_error() -> None:
    # onnxruntime divides the least integer by -1.
    model = save(
        "g (int32[1] x) => (int32[1] y) <int32[1] least = {-2147483648}, int32[1] minus = {-1}, int32[1] zero = {0}>"
        "{ h = Mul(x, zero) a = Add(h, least) b = Add(h, minus) y = Div(a, b) }"
    )
    with pytest.raises(ToolError, match="onnxruntime: the process that ran the model died of SIGFPE"):
        OnnxRuntime(optimize=False).compile(model)


def endless() -> Path:
    text = """<ir_version: 8, opset_import: ["": 17]>
        g (float[N] x) => (float[N] y) <int64 most = {9000000000000000000}, bool yes = {1}> {
            y = Loop (most, yes, x) <body = b (int64 i, bool c, float[N] h) => (bool d, float[N] k) {
                d = Identity(c) k = Neg(h)
            }>
        }"""
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    return Path("m.onnx")


def test_a_model_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []
    stop = Worker.stop

    def stopping(worker: Worker) -> None:
        stopped.extend([worker._process.pid] if worker._process is not None else [])
        stop(worker)

    monkeypatch.setattr(Worker, "stop", stopping)
    with pytest.raises(ToolError, match="took longer than 1 s"):
        OnnxRuntime(timeout=1).compile(endless())
    (number,) = stopped
    assert not is_running(number)


def test_nothing_runs_once_it_is_closed() -> None:
    with OnnxRuntime().compile(relu()) as model:
        process = model._session._process
        assert process is not None
        assert is_running(process.pid)
    assert not is_running(process.pid)


# ---------------------------------------------------------------------------- datasets


@pytest.mark.parametrize(("count", "batch"), [(5, 1), (5, 2), (3, 4)])
def test_a_dataset_gives_what_onnxruntime_gives(count: int, batch: int) -> None:
    dataset = raw_dataset(Path("data"), count)
    model = save("g (float[N, 3, 4, 6] x) => (float[N, 72] y, float[N, 3, 4, 6] z) { y = Flatten(x) z = Relu(x) }")
    with OnnxRuntime(batch_size=batch).compile(model) as compiled:
        found = compiled.infer(dataset, Path("out"))
    assert found.folder == Path("out/result/dumpOutput_device0")
    assert list(found.samples) == [f"s{n}" for n in range(count)]
    session = ort.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    for stem, files in found.samples.items():
        x = np.fromfile(Path("data", f"{stem}.bin"), np.float32).reshape(1, 3, 4, 6)
        assert [file.name for file in files] == [f"{stem}_1.bin", f"{stem}_2.bin"]
        for file, expected in zip(files, session.run(None, {"x": x}), strict=True):
            assert file.read_bytes() == expected.tobytes()
    assert len(list(found.folder.iterdir())) == 2 * count
    again = read(Path(f"out/result/perf_vision_batchsize_{batch}_device_0.txt"), samples=count)
    assert (again.problems, again.batch) == ((), batch)
    assert again.throughput == found.performance.throughput


def test_several_inputs() -> None:
    dataset = raw_dataset(Path("data"), 3, inputs=2)
    model = save(
        "g (float[2, 3, 4, 6] a, float[2, 7] b) => (float[2, 1] y) "
        "{ f = Flatten(a) s = ReduceSum(f, one) t = ReduceSum(b, one) y = Add(s, t) }"
    )
    proto = onnx.load(model)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    onnx.save(proto, model)
    with OnnxRuntime().compile(model) as compiled:
        found = compiled.infer(dataset, Path("out"))
    for stem, (file,) in found.samples.items():
        both = [np.fromfile(Path("data", name), np.float32) for name in (f"{stem}.bin", f"{stem}_in1.bin")]
        np.testing.assert_allclose(
            np.fromfile(file, np.float32), sum(each.sum() for each in both), rtol=1e-4, atol=1e-4
        )


def test_a_dataset_that_does_not_fit() -> None:
    dataset = raw_dataset(Path("data"), 2)
    (Path("data") / "s1.bin").write_bytes(bytes(100))
    with (
        OnnxRuntime().compile(save("g (float[N, 3, 4, 6] x) => (float[N, 72] y) { y = Flatten(x) }")) as model,
        pytest.raises(UsageError, match=r"line 2: .*s1\.bin has 100 bytes"),
    ):
        model.infer(dataset, Path("out"))
    assert not Path("out").exists()


def test_an_output_without_an_axis_of_samples() -> None:
    dataset = raw_dataset(Path("data"), 2)
    model = save("g (float[N, 3, 4, 6] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }")
    with (
        OnnxRuntime(batch_size=2).compile(model) as compiled,
        pytest.raises(ToolError, match=r"m\.onnx: output y, which is \[\], has no axis of 2 samples"),
    ):
        compiled.infer(dataset, Path("out"))


def test_bfloat16_has_no_raw_file() -> None:
    dataset = raw_dataset(Path("data"), 1)
    np.zeros((3, 4, 6), ml_dtypes.bfloat16).tofile("data/s0.bin")
    model = save("g (bfloat16[N, 3, 4, 6] x) => (bfloat16[N, 3, 4, 6] y) { y = Identity(x) }")
    with OnnxRuntime().compile(model) as compiled, pytest.raises(ToolError, match="no raw file can hold"):
        compiled.infer(dataset, Path("out"))

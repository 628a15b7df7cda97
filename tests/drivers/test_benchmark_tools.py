"""`benchmark` and `ais_bench`, against programs that keep their rules: what they say is read, and not believed unseen."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from onnxfuse.drivers.ais_bench import AisBench
from onnxfuse.drivers.benchmark import Benchmark
from onnxfuse.drivers.device import Device
from onnxfuse.drivers.performance import Card
from onnxfuse.errors import ToolError, UsageError
from tests.drivers.processes import is_running, wait_for
from tests.drivers.tools import FAKES, Tools, om, raw_dataset

BOTH = ("benchmark", "ais_bench")
HOSTILE = "a b;touch pwned;$(touch pwned)`touch pwned`'\"\n*,-x=1 [c].om"


# ---------------------------------------------------------------------------- measuring


@pytest.mark.parametrize("style", ["colon", "equals", "bare", "wide"])
def test_what_benchmark_measures_in_every_punctuation(tools: Tools, style: str) -> None:
    card = Card.of("Atlas 300I")
    backend = tools.backend("benchmark", device={"batch_size": 4, "card": card}, FAKE_STYLE=style)
    with backend.compile(om(Path("m.om"), batch=4, ms=8)) as model:
        found = model.measure(10)
    assert found.sample_latency == pytest.approx(2, rel=0.01)
    assert found.throughput == pytest.approx(500, rel=0.01)
    assert found.card_throughput == pytest.approx(2000, rel=0.01)
    assert found.spread is not None
    assert (found.batch, found.spread.count, found.problems) == (4, 10, ())
    (words,) = tools.record
    path = Path("m.om").absolute()
    assert words == [f"-om_path={path}", "-device_id=0", "-batch_size=4", "-round=10"]


@pytest.mark.parametrize("style", ["early", "v0.0.2"])
def test_what_ais_bench_measures(tools: Tools, style: str) -> None:
    backend = tools.backend("ais_bench", device={"batch_size": 4}, FAKE_STYLE=style)
    with backend.compile(om(Path("m.om"), batch=4, ms=8)) as model:
        found = model.measure(10)
    assert found.sample_latency == pytest.approx(2, rel=0.01)
    assert found.throughput == pytest.approx(500, rel=0.01)
    assert found.problems == ()


def test_reports_are_kept_where_that_is_wanted(tools: Tools) -> None:
    for name in BOTH:
        backend = tools.backend(name, device={"summaries": Path("kept")})
        with backend.compile(om(Path("m.om"))) as model:
            model.measure(2)
    assert sorted(path.name for path in Path("kept/result").glob("*.*")) == [
        "PureInfer_perf_of_m_in_device_0.txt",
        "m_summary.json",
    ]


def test_without_a_folder_nothing_is_left(tools: Tools) -> None:
    for name in BOTH:
        with tools.backend(name).compile(om(Path("m.om"))) as model:
            model.measure(2)
    assert [path.name for path in Path().iterdir()] == ["m.om"]


# ---------------------------------------------------------------------------- datasets


def marks(dataset: Path, count: int, inputs: int) -> list[int]:
    """What the stand-in makes of each sample."""
    folder = dataset.parent
    found = []
    for n in range(count):
        names = [f"s{n}.bin" if k == 0 else f"s{n}_in{k}.bin" for k in range(inputs)]
        found.append(zlib.crc32(b"".join((folder / name).read_bytes() for name in names)) % 1000)
    return found


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("count", "batch", "inputs", "outputs"), [(5, 2, 1, 2), (12, 1, 2, 1), (3, 4, 2, 3)])
def test_a_dataset_gives_an_output_for_each_sample(
    tools: Tools, name: str, count: int, batch: int, inputs: int, outputs: int
) -> None:
    dataset = raw_dataset(Path("my data, all"), count, inputs=inputs)
    backend = tools.backend(name, device={"batch_size": batch})
    with backend.compile(om(Path("m.om"), batch=batch, ms=6, inputs=inputs, outputs=outputs)) as model:
        found = model.infer(dataset, Path("out put"))
    first = {"benchmark": 1, "ais_bench": 0}[name]
    assert found.first == first
    assert found.folder == Path("out put/result/dumpOutput_device0")
    assert list(found.samples) == [f"s{n}" for n in range(count)]
    for n, mark in enumerate(marks(dataset, count, inputs)):
        files = found.samples[f"s{n}"]
        assert [file.name for file in files] == [f"s{n}_{first + k}.bin" for k in range(outputs)]
        for file in files:
            array = np.fromfile(file, np.float32)
            assert array.size in (5, 4)
            assert (array == mark).all()
    assert found.performance.throughput == pytest.approx(1000 * batch / 6, rel=0.02)
    assert found.performance.problems == ()
    assert len(found.notes) == 1


@pytest.mark.parametrize("labels", ["new", "old"])
def test_labels_of_both_generations(tools: Tools, labels: str) -> None:
    dataset = raw_dataset(Path("data"), 4)
    with tools.backend("benchmark", FAKE_LABELS=labels).compile(om(Path("m.om"), ms=4)) as model:
        found = model.infer(dataset, Path("out"))
    assert [stage.name for stage in found.performance.stages] == ["e2e", "data read", "preprocess", "infer", "post"]
    assert found.performance.samples == pytest.approx(4)
    assert found.performance.throughput == 250


@pytest.mark.parametrize("name", BOTH)
def test_a_sample_outside_of_the_dataset_starts_nothing(tools: Tools, name: str) -> None:
    dataset = raw_dataset(Path("data"), 2)
    Path("secret.bin").write_bytes(bytes(288))
    dataset.write_text("0 ../secret.bin 6 4\n")
    with tools.backend(name).compile(om(Path("m.om"))) as model, pytest.raises(UsageError, match="line 1"):
        model.infer(dataset, Path("out"))
    assert tools.record == []


@pytest.mark.parametrize("name", BOTH)
def test_samples_of_one_name_start_nothing(tools: Tools, name: str) -> None:
    dataset = raw_dataset(Path("data"), 1)
    (Path("data") / "more").mkdir()
    (Path("data") / "more" / "s0.bin").write_bytes((Path("data") / "s0.bin").read_bytes())
    dataset.write_text("0 ./s0.bin 6 4\n1 ./more/s0.bin 6 4\n")
    with (
        tools.backend(name).compile(om(Path("m.om"))) as model,
        pytest.raises(UsageError, match="two samples are named"),
    ):
        model.infer(dataset, Path("out"))
    assert tools.record == []


@pytest.mark.parametrize("name", BOTH)
def test_samples_of_different_numbers_of_files_start_nothing(tools: Tools, name: str) -> None:
    dataset = raw_dataset(Path("data"), 2, inputs=2)
    dataset.write_text("".join(dataset.read_text().splitlines(keepends=True)[:3]))
    with (
        tools.backend(name).compile(om(Path("m.om"), inputs=2)) as model,
        pytest.raises(UsageError, match="s1 has 1 files, and s0 has 2: one for each input is expected"),
    ):
        model.infer(dataset, Path("out"))
    assert tools.record == []


@pytest.mark.parametrize("size", ["", " 4 6"])
def test_benchmark_takes_one_width_and_height(tools: Tools, size: str) -> None:
    dataset = raw_dataset(Path("data"), 2)
    dataset.write_text(f"0 ./s0.bin 6 4\n1 ./s1.bin{size}\n")
    with (
        tools.backend("benchmark").compile(om(Path("m.om"))) as model,
        pytest.raises(UsageError, match=r"s1\.bin: has not the width and height of \./s0\.bin in the list"),
    ):
        model.infer(dataset, Path("out"))
    assert tools.record == []


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("missing", "outputs of the sample s2"),
        ("short", "outputs of different sizes, 20 and 16 bytes"),
        ("empty", "of 0 bytes"),
        ("silent", "summary|wrote no"),
        ("killed", "was ended by SIGKILL"),
        ("error", "execute inference failed"),
        ("exit-1", "ended with exit code 1"),
    ],
)
def test_outputs_are_not_believed_unseen(tools: Tools, name: str, manner: str, message: str) -> None:
    dataset = raw_dataset(Path("data"), 4)
    # The files of the third sample: as benchmark names them, and as ais_bench does those that it is given.
    last = "s2_1" if name == "benchmark" else "00000002_0"
    backend = tools.backend(name, FAKE_MANNER=manner, FAKE_LAST=last)
    with backend.compile(om(Path("m.om"))) as model, pytest.raises(ToolError, match=message):
        model.infer(dataset, Path("out"))
    assert not Path("out").exists()


# ---------------------------------------------------------------------------- failures


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("silent", "its figures cannot be read: the report: holds no summary that is known"),
        ("error", "ended with exit code 0 on m.om: execute inference failed, error code is 507011"),
        ("exit-1", "ended with exit code 1 on m.om, and did not say why$"),
        ("killed", "was ended by SIGKILL on m.om, and did not say why$"),
    ],
)
def test_a_run_that_fails(tools: Tools, name: str, manner: str, message: str) -> None:
    with (
        tools.backend(name, FAKE_MANNER=manner).compile(om(Path("m.om"))) as model,
        pytest.raises(ToolError, match=message) as caught,
    ):
        model.measure(3)
    assert "\n" not in str(caught.value)
    if manner == "killed":
        wait_for(lambda: not any(map(is_running, tools.processes)))


@pytest.mark.parametrize("name", BOTH)
def test_a_run_that_hangs_is_ended_with_what_it_started(tools: Tools, name: str) -> None:
    backend = tools.backend(name, FAKE_MANNER="hang", device={"timeout": 2})  # set_env.sh has that long, too
    with pytest.raises(ToolError, match="took longer than 2 s"), backend.compile(om(Path("m.om"))) as model:
        model.measure(3)
    wait_for(lambda: not any(map(is_running, tools.processes)))  # a signal to a child is sent, and acts a little later


@pytest.mark.parametrize("name", BOTH)
def test_ctrl_c_leaves_nothing_running(tools: Tools, name: str) -> None:
    model, script = om(Path("m.om")), tools.set_env(FAKE_MANNER="hang")
    words = [
        sys.executable,
        "-m",
        "onnxfuse.cli.main",
        "bench",
        str(model),
        "--backend",
        name,
        "--set-env",
        str(script),
        "--batch-size",
        "1",
    ]
    words += ["--tool", str(FAKES / "benchmark.x86_64")] if name == "benchmark" else []
    environment = {**os.environ, "PYTHONPATH": str(FAKES.parent.parent)}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: (tools.folder / "pids").exists())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "onnxfuse: interrupted\n")
    wait_for(lambda: not any(map(is_running, tools.processes)))


@pytest.mark.parametrize("name", BOTH)
def test_a_device_that_is_not_there(tools: Tools, name: str) -> None:
    backend = tools.backend(name, device={"number": 3})
    with backend.compile(om(Path("m.om"))) as model, pytest.raises(ToolError, match=r"open device 3 failed \(is there"):
        model.measure(1)


@pytest.mark.parametrize("name", BOTH)
def test_a_corrupt_model(tools: Tools, name: str) -> None:
    Path("m.om").write_bytes(b"no model")
    with (
        tools.backend(name).compile(Path("m.om")) as model,
        pytest.raises(ToolError, match=r"load model from file failed, .* \(the .om is missing or corrupt"),
    ):
        model.measure(1)


def test_another_batch_than_the_model_has(tools: Tools) -> None:
    backend = tools.backend("benchmark", device={"batch_size": 2})
    with (
        backend.compile(om(Path("m.om"))) as model,
        pytest.raises(ToolError, match="batch_size 2 is not that of the model"),
    ):
        model.measure(1)


def test_a_part_of_a_tensor_for_ais_bench(tools: Tools) -> None:
    dataset = raw_dataset(Path("data"), 1)
    (Path("data") / "s0.bin").write_bytes(bytes(200))
    with (
        tools.backend("ais_bench").compile(om(Path("m.om"))) as model,
        pytest.raises(ToolError, match=r"tensorsize: 288 filesize: 200 not match \(a raw file has another size"),
    ):
        model.infer(dataset, Path("out"))


@pytest.mark.parametrize("name", BOTH)
def test_what_is_no_compiled_model(tools: Tools, name: str) -> None:
    with pytest.raises(UsageError, match=r"m\.onnx: .* make an \.om of it with onnxfuse atc"):
        tools.backend(name).compile(Path("m.onnx"))
    with pytest.raises(UsageError, match=r"none\.om: no such file"):
        tools.backend(name).compile(Path("none.om"))


def test_a_tool_that_is_not_there(tools: Tools) -> None:
    model = om(Path("m.om"))
    with pytest.raises(ToolError, match="nonsense cannot be run: No such file or directory"):
        Benchmark(device=Device(batch_size=1), tool=Path("./nonsense")).compile(model).measure(1)


def test_a_tool_that_may_not_be_run(tools: Tools) -> None:
    model, program = om(Path("m.om")), Path("benchmark.x86_64")
    program.write_bytes((FAKES / "benchmark.x86_64").read_bytes())
    program.chmod(stat.S_IRUSR)
    if not os.access(program, os.X_OK):
        with pytest.raises(ToolError, match="may not be run: chmod u"):
            Benchmark(tool=Path("./benchmark.x86_64")).compile(model)


def test_a_python_without_ais_bench(tools: Tools) -> None:
    backend = AisBench(command=(sys.executable, "-I", "-m", "ais_bench"))
    with pytest.raises(ToolError, match=r"No module named ais_bench \(pip install its two wheels"):
        backend.compile(om(Path("m.om"))).measure(1)


@pytest.mark.parametrize("name", BOTH)
def test_hostile_names_reach_the_tools_as_they_are(tools: Tools, name: str) -> None:
    model = om(Path(HOSTILE))
    dataset = raw_dataset(Path("; touch pwned; $(touch pwned)\n'\""), 3)
    with tools.backend(name).compile(model) as compiled:
        compiled.measure(2)
        found = compiled.infer(dataset, Path("-o `touch pwned`"))
    for words in tools.record:
        path = str(model.absolute())
        assert (f"-om_path={path}" in words) if name == "benchmark" else words[words.index("--model") + 1] == path
    assert all(file.is_file() for files in found.samples.values() for file in files)
    assert not list(tools.folder.parent.rglob("pwned"))


def test_numbers_out_of_their_range() -> None:
    for number, batch in ((256, 1), (-1, 1), (0, 0)):
        with pytest.raises(UsageError):
            Device(number=number, batch_size=batch)

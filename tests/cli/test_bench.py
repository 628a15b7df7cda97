"""`onnxfuse bench`: a table on stderr, JSON on stdout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import COMMAND, Cli, environment
from tests.cli.models import save
from tests.drivers.processes import is_running, wait_for
from tests.drivers.test_onnxruntime import endless
from tests.drivers.tools import FAKES, Tools, om, raw_dataset


def test_two_models(cli: Cli, relu: Path, folder: Path) -> None:
    done = cli("bench", relu, save("neg", folder), "--turns", "6", "--rounds", "3", "--threads", "1", "--json")
    assert done.code == 0
    data = done.json
    assert (data["backend"], data["turns"], data["notes"]) == ("onnxruntime", 6, [])
    first, second = data["models"]
    assert first["ratio"] is None
    ratios = second["ratio"]["ratios"]
    assert len(ratios) == 6
    for ratio, mine, its in zip(ratios, second["latencies_ms"], first["latencies_ms"], strict=True):
        assert ratio == pytest.approx(mine / its)
    assert second["ratio"]["interval"] == [min(ratios), max(ratios)]
    assert second["ratio"]["confidence"] == 1 - 2 / 2**6
    lines = done.err.splitlines()
    assert lines[0].split("  ")[0] == "model"
    assert lines[1].startswith(str(relu))
    assert (
        lines[3]
        == "onnxruntime, CPUExecutionProvider, 1 thread, its own optimizations on; 6 turns of 3 runs, after a warm-up"
    )
    assert lines[-2] == "inputs: x float32[1,8]"
    assert len(lines) == 7


def test_one_model_has_no_ratio(cli: Cli, relu: Path) -> None:
    done = cli("bench", relu, "--turns", "1", "--rounds", "1", "--no-optimize", "--batch-size", "3")
    assert (done.code, done.out) == (0, "")
    lines = done.err.splitlines()
    assert len(lines) == 4
    assert "ratio" not in lines[0]
    assert lines[3] == "inputs: x float32[3,8]"
    assert lines[1].split()[1] == "3"
    assert lines[2].endswith("a thread for each core, its own optimizations off; 1 turn of 1 run, after a warm-up")


def test_models_that_take_other_inputs_are_told(cli: Cli, relu: Path, pair: Path) -> None:
    done = cli("bench", relu, pair, "--turns", "1", "--dim", "N=2")
    assert done.code == 0
    assert f"note: {relu} ran on x float32[2,8], and {pair} on x float32[2,8,16,16]" in done.err.splitlines()


def test_an_empty_input_is_not_measured(cli: Cli, relu: Path) -> None:
    assert cli("bench", relu, "--dim", "N=0").error == (
        f"{relu}: input x would be float32[0,8], which holds nothing: give it other sizes"
    )


def test_five_turns_show_nothing(cli: Cli, relu: Path) -> None:
    done = cli("bench", relu, relu, "--turns", "5")
    assert done.err.splitlines()[-1].endswith("is shown (5 turns or fewer cannot show one)")


def test_summaries_are_kept(cli: Cli, relu: Path) -> None:
    assert cli("bench", relu, "--turns", "1", "--summaries", "kept").code == 0
    assert [path.name for path in Path("kept/result").iterdir()] == [f"PureInfer_perf_of_{relu.stem}_in_device_0.txt"]
    twice = cli("bench", relu, f"other/{relu.name}", "--summaries", "kept")
    assert twice.error == f"--summaries: two models are named {relu.stem}, and so would be their summaries"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--turns", "0"], "--turns is a whole number from 1 on, not 0"),
        (["--rounds", "-1"], "--rounds is a whole number from 1 on, not -1"),
        (["--batch-size", "0"], "--batch-size is a whole number from 1 on, not 0"),
        (["--seconds", "nan"], "--seconds is a number of seconds above 0, and not above 31536000 (a year), not nan"),
        (["--timeout", "0"], "--timeout is a number of seconds above 0, and"),
        (["--timeout", "1e300"], "--timeout is a number of seconds above 0, and"),
        (["--threads", "99999999999999999999"], "--threads is a whole number up to 1024, not 99999999999999999999"),
        (["--seconds", "1", "--turns", "1"], "--turns and --seconds exclude each other: which of them ends it?"),
        (["--device", "1"], "--device has no effect with --backend onnxruntime"),
        (["--backend", "benchmark", "--threads", "1"], "--threads has no effect with --backend benchmark"),
        (["--soc", "Ascend310"], "--soc has no effect with --backend onnxruntime"),
        (["--backend", "ais_bench", "--no-optimize"], "--optimize has no effect with --backend ais_bench"),
        (["--provider", "x"], "the installed onnxruntime has no execution provider x; there are"),
        (["--input-data", "none"], "--input-data none: no such file"),
        (["--dim", "K=1"], "no input has a dim 'K'; there are: N, x.0, x.1"),
        (["--backend", "benchmark", "--card", "x"], "x: how many devices that card has is not known"),
        (["--backend", "benchmark", "--set-env", "none"], "none: no such file"),
        (["--output", "x"], "--output has no effect without --dataset"),
        (["--dataset", "x.info", "--turns", "2"], "--turns has no effect with --dataset"),
        (["--dataset", "x.info", "other.onnx"], "unexpected argument other.onnx"),
        (["--dataset", "x.info"], "input data x.info: cannot be read as text"),
    ],
)
def test_mistakes(cli: Cli, relu: Path, words: list[str], message: str) -> None:
    assert cli("bench", relu, *words).error.startswith(message)


def test_a_dataset(cli: Cli, folder: Path) -> None:
    model = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y) { y = Abs(x) }'
    onnx.save(onnx.parser.parse_model(model), "m.onnx")
    done = cli(
        "bench", "m.onnx", "--dataset", raw_dataset(folder / "data", 3), "--batch-size", "2", "--output", "o", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["outputs"] == {f"s{n}": [f"s{n}_1.bin"] for n in range(3)}
    assert done.err.startswith("3 samples, outputs in o/result/dumpOutput_device0; onnxruntime, ")
    for n in range(3):
        given, got = Path(f"data/s{n}.bin"), Path(f"o/result/dumpOutput_device0/s{n}_1.bin")
        assert (np.fromfile(got, np.float32) == abs(np.fromfile(given, np.float32))).all()
    assert cli("bench", "m.onnx", "m.onnx", "--dataset", "data/data.info").error.startswith("--dataset takes one model")


def test_a_path_that_is_not_utf_8(cli: Cli, relu: Path) -> None:
    name = os.fsdecode(b"\xff.onnx")
    relu.rename(name)
    assert cli("bench", name).error.endswith("takes no path that is not UTF-8: give the file another name")


def test_ctrl_c_ends_a_model_that_never_does(tmp_path: Path) -> None:
    endless()
    process = subprocess.Popen(
        [*COMMAND, "bench", "m.onnx"], env=environment(), stderr=subprocess.PIPE, start_new_session=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: any(map(is_busy, children.read_text().split())))
    (child,) = map(int, children.read_text().split())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"onnxfuse: interrupted\n")
    wait_for(lambda: not is_running(child))


def is_busy(number: str) -> bool:
    """Whether a process has used so much time that it is past its start."""
    return sum(map(int, Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[11:13])) > 100


def test_a_stripped_model(cli: Cli, folder: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[8, 8], doc_string="stripped")
    model = onnx.load(save("relu", folder))
    model.graph.initializer.append(tensor)
    model.graph.node[0].CopyFrom(onnx.helper.make_node("MatMul", ["x", "w"], ["y"]))
    onnx.save(model, "stripped.onnx")
    assert cli("bench", "stripped.onnx").error.endswith(
        "the model carries no weights (w, for one): onnxfuse fill gives it random ones"
    )


def test_a_model_that_does_not_run_is_a_tools_failure(cli: Cli, folder: Path) -> None:
    done = cli("bench", save("custom", folder), "--json")
    assert done.code == 4
    assert done.json["error"]["type"] == "ToolError"
    assert len(done.err.splitlines()) == 1


# ---------------------------------------------------------------------------- devices


@pytest.mark.parametrize("name", ["benchmark", "ais_bench"])
def test_on_a_device_the_tool_is_started_in_turns(cli: Cli, tmp_path: Path, name: str) -> None:
    tools = Tools(tmp_path)
    fast, slow = om(Path("fast.om"), batch=2, ms=4), om(Path("slow.om"), batch=2, ms=5)
    program = FAKES / "benchmark.x86_64" if name == "benchmark" else Path(sys.executable)
    words: list[str | Path] = ["--backend", name, "--set-env", tools.set_env(), "--batch-size", "2", "--turns", "2"]
    words += ["--card", "Atlas 300I", "--rounds", "10", "--tool", program, "--json"]
    done = cli("bench", slow, fast, *words)
    assert done.code == 0, done.err
    called = ["fast" if any("fast.om" in word for word in start) else "slow" for start in tools.record]
    assert called == ["slow", "fast", "slow", "fast", "fast", "slow"]
    first, second = done.json["models"]
    assert second["ratio"]["median"] == pytest.approx(0.8)
    assert first["card_throughput"] == pytest.approx(4 * 1000 / 2.5, rel=0.01)
    assert first["batch"] == 2
    assert "per card" in done.err.splitlines()[0]


@pytest.mark.parametrize("name", ["benchmark", "ais_bench"])
@pytest.mark.parametrize("tool", ["./tool", "tool", "tools/../tool"])
def test_a_tool_is_found_from_the_folder_where_the_user_is(cli: Cli, tmp_path: Path, name: str, tool: str) -> None:
    Path("tools").mkdir()
    program = FAKES / "benchmark.x86_64" if name == "benchmark" else sys.executable
    Path("tool").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    Path("tool").chmod(0o755)
    words: list[str | Path] = ["--backend", name, "--set-env", Tools(tmp_path).set_env(), "--batch-size", "1"]
    done = cli("bench", om(Path("m.om")), *words, "--turns", "1", "--tool", tool)
    assert done.code == 0, done.err


def test_on_a_device_onnx_files_are_compiled_first(cli: Cli, relu: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "opp").mkdir()
    script = Tools(tmp_path).set_env(ASCEND_OPP_PATH=str(tmp_path / "opp"), PATH=f"{FAKES}:{os.environ['PATH']}")
    words: list[str | Path] = ["--backend", "benchmark", "--set-env", script, "--tool", FAKES / "benchmark.x86_64"]
    words += ["--soc", "Ascend310", "--dim", "N=4", "--turns", "1", "--summaries", "kept", "--json"]
    done = cli("bench", relu, save("neg", folder), *words)
    assert done.code == 0, done.err
    assert [each["batch"] for each in done.json["models"]] == [4, 4]
    assert sorted(path.name for path in Path("kept/result").iterdir()) == [
        "PureInfer_perf_of_neg_bs4_in_device_0.txt",
        "PureInfer_perf_of_relu_bs4_in_device_0.txt",
    ]


def test_a_device_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    words: list[str | Path] = [
        "--backend",
        "benchmark",
        "--set-env",
        Tools(tmp_path).set_env(),
        "--tool",
        FAKES / "benchmark.x86_64",
        "--batch-size",
        "1",
    ]
    done = cli("bench", om(Path("m.om")), *words, "--device", "2")
    assert done.code == 4
    (line,) = done.err.splitlines()
    assert line.startswith(
        "onnxfuse: error: benchmark.x86_64 ended with exit code 1 on m.om: acl open device 2 failed (is"
    )


def test_the_batch_of_an_om(cli: Cli, tmp_path: Path) -> None:
    tools = Tools(tmp_path)
    model, dataset = om(Path("m.om"), batch=4, ms=8), raw_dataset(Path("data"), 5)
    words: list[str | Path] = ["--backend", "ais_bench", "--set-env", tools.set_env(), "--json"]
    done = cli("bench", model, *words, "--turns", "1")
    assert done.code == 0, done.err
    assert done.json["models"][0]["batch"] == 4
    assert done.json["models"][0]["sample_latency_ms"] == pytest.approx(2, rel=0.02)
    done = cli("bench", model, om(Path("n.om"), batch=2), *words, "--turns", "1")
    assert done.json["notes"] == ["m.om ran batches of 4, and n.om of 2"]
    words[3] = tools.set_env(FAKE_STYLE="times")
    done = cli("bench", model, *words)
    assert (done.code, len(done.err.splitlines())) == (4, 1)
    assert done.err.startswith("onnxfuse: error: m.om: ais_bench: a run takes 8.")
    assert done.err.endswith("so there are no figures of one: give --batch-size\n")
    done = cli("bench", model, *words, "--dataset", dataset, "--output", "out")
    assert done.code == 0, done.err
    assert done.json["performance"]["throughput"] is None
    assert done.err.splitlines()[1].endswith("so there are no figures of one: give --batch-size")
    done = cli("bench", model, "--backend", "benchmark")
    assert done.error.endswith("has to be said to benchmark: give --batch-size")


def test_a_card_over_a_dataset(cli: Cli, tmp_path: Path) -> None:
    model, dataset = om(Path("m.om"), batch=4, ms=8), raw_dataset(Path("data"), 5)
    words: list[str | Path] = ["--backend", "ais_bench", "--set-env", Tools(tmp_path).set_env(), "--dataset", dataset]
    done = cli("bench", model, *words, "--output", "out", "--card", "Atlas 300I", "--json")
    assert done.code == 0, done.err
    rate = done.json["performance"]["throughput"]
    assert done.json["performance"]["card_throughput"] == pytest.approx(4 * rate)
    line = done.err.splitlines()[1]
    assert line.endswith(f" ms per sample, {rate:.4g} samples/s, {4 * rate:.4g} of the card (Atlas 300I)"), line
    assert "card" not in cli("bench", model, *words, "--output", "other").err.splitlines()[1]


def test_a_folder_of_outputs_that_is_not_new_is_told_before_anything_is_done(cli: Cli, folder: Path) -> None:
    (folder / "out" / "result").mkdir(parents=True)
    (folder / "out" / "result" / "mine").write_text("mine")
    done = cli("bench", "none.onnx", "--dataset", "none.info", "--output", "out")
    assert done.error.startswith("out/result: is there already, and is not written over or added to: remove it, or")
    assert (folder / "out" / "result" / "mine").read_text() == "mine"

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.errors import OnnxfuseError
from onnxfuse.verification import worker as worker_module
from onnxfuse.verification.channel import Channel
from onnxfuse.verification.evaluate import (
    EvaluationCrashError,
    EvaluationError,
    EvaluationMemoryError,
    EvaluationTimeoutError,
    Evaluator,
)
from onnxfuse.verification.memory import measured_bytes
from onnxfuse.verification.worker import Worker
from tests.drivers.processes import is_gone, wait_for
from tests.verification.texts import HEADER, parse

ADD = "g (float[N] x) => (float[N] z) { t = Neg(x) z = Sub(t, x) }"
DIV = "g (int64[N] x, int64[N] y) => (int64[N] z) { z = Div(x, y) }"
LEAST = {"x": np.array([-(2**63)]), "y": np.array([-1])}
ENDLESS = """g (bool c, float[50,50] x) => (float[50,50] y) {
    y = Loop (, c, x) <body = b (int64 i, bool k, float[50,50] v) => (bool o, float[50,50] w) {
        o = Identity(k) w = MatMul(v, v)
    }>
}"""
X = {"x": np.array([1, 2], np.float32)}


def isolated(text: str, **options: object) -> Evaluator:
    return Evaluator(parse(text), isolated=True, **options)  # type: ignore[arg-type]


def pid_of(worker: Worker) -> int:
    assert worker._process is not None
    return worker._process.pid


# ---- what a model does to its process


def test_a_crash_is_an_error_and_the_next_run_works() -> None:
    division, addition = isolated(DIV), isolated(ADD)
    with pytest.raises(EvaluationCrashError, match="died of SIGFPE"):
        division.run(LEAST)
    assert addition.run(X)[0].tolist() == [-2, -4]
    assert division.run({"x": np.array([6]), "y": np.array([3])})[0].tolist() == [2]


def test_an_endless_loop_is_stopped_and_its_process_goes_on(worker: Worker) -> None:
    evaluator = isolated(ENDLESS)
    with pytest.raises(EvaluationTimeoutError):
        evaluator.run({"c": np.array(True), "x": np.zeros((50, 50), np.float32)}, timeout_s=0.2)
    assert isolated(ADD).run(X)[0].tolist() == [-2, -4]
    assert worker.starts == 1


def test_what_does_not_hear_that_the_time_is_up_is_ended(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = isolated(ADD)
    evaluator.run(X)
    monkeypatch.setattr(worker_module, "GRACE_S", 0.1)
    os.kill(pid_of(worker), signal.SIGSTOP)
    with pytest.raises(EvaluationTimeoutError, match=r"longer than 0\.1 s"):
        evaluator.run(X, timeout_s=0.1)
    assert evaluator.run(X)[0].tolist() == [-2, -4]
    assert worker.starts == 2


@pytest.mark.parametrize("prefer", ["onnxruntime", "reference"])
@pytest.mark.parametrize("shape", [[1 << 42], [1 << 60], [1 << 31, 1 << 31]])
def test_a_size_beyond_memory_is_an_error_of_its_own(shape: list[int], prefer: str) -> None:
    evaluator = isolated("g (int64[N] s) => (float[M] y) { y = ConstantOfShape(s) }", prefer=prefer)
    with pytest.raises(EvaluationMemoryError):
        evaluator.run({"s": np.array(shape)})


def test_a_size_beyond_memory_is_refused_where_the_kernel_would_promise_it(worker: Worker) -> None:
    evaluator = isolated("g (int64[N] s) => (float[M] y) { y = ConstantOfShape(s) }")
    available = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) << 10
    with pytest.raises(EvaluationMemoryError, match="Failed to allocate memory for requested buffer"):
        evaluator.run({"s": np.array([int(0.95 * available) // 4])})
    assert worker.starts == 1


def test_a_killed_worker_is_a_crash_and_is_started_again(worker: Worker) -> None:
    evaluator = isolated(ENDLESS)
    threading.Timer(0.3, lambda: os.kill(pid_of(worker), signal.SIGKILL)).start()
    with pytest.raises(EvaluationCrashError, match="died of SIGKILL"):
        evaluator.run({"c": np.array(True), "x": np.zeros((50, 50), np.float32)})
    assert isolated(ADD).run(X)[0].tolist() == [-2, -4]
    assert worker.starts == 2


def test_a_worker_that_died_between_two_runs_is_no_crash(worker: Worker) -> None:
    evaluator = isolated(ADD)
    os.kill(pid_of(worker), signal.SIGKILL)
    assert worker._process is not None
    worker._process.wait()
    assert evaluator.run(X)[0].tolist() == [-2, -4]
    assert (worker.starts, worker.sessions) == (2, 2)


def test_what_runtimes_print_reaches_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    evaluator = isolated("g (int64[N] s) => (float[M] y) { y = ConstantOfShape(s) }")
    with pytest.raises(EvaluationMemoryError):  # for which onnxruntime has a line on its standard error
        evaluator.run({"s": np.array([1 << 60])})
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_errors_of_a_runtime_come_through_in_one_line() -> None:
    with pytest.raises(EvaluationError, match="onnxruntime cannot load the model: .*; reference cannot load") as caught:
        isolated("g (float[2] x) => (float[2] y) { y = NoSuch(x) }")
    assert "\n" not in str(caught.value)


# ---- results, as in this process


@pytest.mark.parametrize("prefer", ["onnxruntime", "reference"])
def test_intermediates_can_be_fetched(prefer: str) -> None:
    for alone in (True, False):
        evaluator = Evaluator(parse(ADD), isolated=alone, prefer=prefer)  # type: ignore[arg-type]
        assert [x.tolist() for x in evaluator.run(X, fetch=["z", "t"])] == [[-2, -4], [-1, -2]]
        with pytest.raises(EvaluationError, match="nothing"):
            evaluator.run(X, fetch=["nothing"])


@pytest.mark.parametrize("size", [0, 1, 3, 100, 1 << 17])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_, np.float16, ml_dtypes.bfloat16, object])
def test_arrays_of_every_kind_come_through_as_they_are(dtype: type, size: int) -> None:
    array = np.arange(size).astype(str).astype(object) if dtype is object else (np.arange(size) % 100).astype(dtype)
    elem_type = onnx.TensorProto.STRING if dtype is object else onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    model = parse("g (float[N] x) => (float[N] y) { y = Identity(x) }")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = elem_type
    (y,) = Evaluator(model, isolated=True).run({"x": array})
    assert (y.dtype, y.shape) == (array.dtype, array.shape)
    assert y.tolist() == array.tolist()
    y[:1] = y[:1]  # the result is the caller's to change


def test_sequences_optionals_and_strings_come_through() -> None:
    evaluator = isolated(
        """g (seq(float[2]) s, optional(float[2]) o, string[1] t) => (seq(float[2]) r, bool h, string[1] u) {
            e = SequenceAt(s, zero) r = SequenceInsert(s, e) h = OptionalHasElement(o) u = Identity(t)
        }""".replace("{", "<int64 zero = {0}> {", 1)
    )
    feeds = {"s": [np.array([1, 2], np.float32)], "o": None, "t": np.array(["é"], object)}
    r, h, u = evaluator.run(feeds)
    assert [item.tolist() for item in r] == [[1, 2], [1, 2]]
    assert not h
    assert u.tolist() == ["é"]


def test_sizes_are_measured_in_the_worker(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    feeds = {"x": np.array([1, 0, 1], np.float32)}
    assert measured_bytes(parse("g (float[3] x) => (int64[1,M] y) { y = NonZero(x) }"), feeds) == 16
    with pytest.raises(EvaluationCrashError):
        measured_bytes(parse(DIV), LEAST)
    assert worker.starts == 1
    assert not list(tmp_path.glob("onnxfuse-*"))


# ---- which models run where


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (ADD, True),
        (DIV, False),
        ("g (float[N] x, float[N] y) => (float[N] z) { z = Div(x, y) }", True),
        ("g (float[N] x) => (float[M] y) <int64[2] p = {1, 1}> { y = Pad(x, p) }", True),
        ("g (float[N] x) => (float[M] y) <int64[2] p = {1, 1099511627776}> { y = Pad(x, p) }", False),
        ("g (float[N] x, int64[2] p) => (float[M] y) { y = Pad(x, p) }", False),
        ("g (float[N] x, int64[1] p = {2}) => (float[M] y) { y = Tile(x, p) }", False),
        ("g (float[N] x) => (float[M] y) { p = Constant<value = int64[1] {2}>() y = Tile(x, p) }", True),
        ("g (float[4] x) => (float[M] y, float[K] z) { y, z = Split<axis = 0, num_outputs = 2>(x) }", True),
        ("g (float[4] x) => (float[M] y, float[K] z) { y, z = Split<axis = 0, num_outputs = 1>(x) }", False),
        ("g (float[1,1,N] x, float[1,1,3] w) => (float[1,1,M] y) { y = Conv<pads = [3, 3]>(x, w) }", True),
        ("g (float[1,1,N] x) => (float[1,1,M] y) { y = MaxPool<kernel_shape = [2], pads = [1000000, 1]>(x) }", False),
        ("g (float[2,0,3] x) => (float[2,3] y) { y = ReduceMean<keepdims = 0>(x, axes) }", True),
        ("g (float[N,M] x, int64[K,L] i) => (float[A] y) { y = GatherND<batch_dims = -1>(x, i) }", False),
        (ENDLESS, False),
        ("g (float[N] x) => (float[N] y) { y = NoSuch(x) }", False),
    ],
)
def test_only_what_is_known_to_do_no_harm_runs_in_this_process(text: str, safe: bool, worker: Worker) -> None:
    with contextlib.suppress(EvaluationError):  # neither runtime has to load it
        Evaluator(parse(text))
    assert worker.starts == (not safe)


# ---- the life of the worker


def script(text: str, cwd: Path, *, start_new_session: bool = False) -> subprocess.Popen[str]:
    path = cwd / "script.py"
    header = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
    path.write_text(header + textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


STARTED = f"""
import os, onnx.parser, numpy as np
from onnxfuse.verification.evaluate import Evaluator
from onnxfuse.verification.worker import shared_worker
model = onnx.parser.parse_model({HEADER + ADD!r})
evaluator = Evaluator(model, isolated=True)
print(shared_worker()._process.pid, flush=True)
"""


def test_a_script_without_a_guard_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('code from the current folder ran')", encoding="utf-8")
    run = script(
        "sys.path.remove(sys.path[1])" + STARTED + "print(evaluator.run({'x': np.ones(1, np.float32)}))", tmp_path
    )
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    pid, result = out.splitlines()
    assert "-2." in result
    wait_for(partial(is_gone, int(pid)))


def test_the_current_folder_may_be_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    run = script(f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})" + STARTED, tmp_path)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    wait_for(partial(is_gone, int(out)))


def test_it_ends_with_its_parent_whatever_it_does(tmp_path: Path) -> None:
    run = script(
        STARTED
        + f"""
endless = Evaluator(onnx.parser.parse_model({HEADER + ENDLESS!r}), isolated=True)
print("running", flush=True)
endless.run({{"c": np.array(True), "x": np.zeros((50, 50), np.float32)}})
""",
        tmp_path,
    )
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    assert run.stdout.readline() == "running\n"
    time.sleep(0.2)
    run.kill()
    run.communicate()
    wait_for(partial(is_gone, pid))


def test_ctrl_c_ends_the_run_and_the_worker_serves_on(tmp_path: Path) -> None:
    run = script(
        STARTED
        + f"""
endless = Evaluator(onnx.parser.parse_model({HEADER + ENDLESS!r}), isolated=True)
print("running", flush=True)
try:
    endless.run({{"c": np.array(True), "x": np.zeros((50, 50), np.float32)}})
except KeyboardInterrupt:
    print(evaluator.run({{"x": np.ones(1, np.float32)}}), flush=True)
""",
        tmp_path,
        start_new_session=True,
    )
    assert run.stdout is not None
    run.stdout.readline()
    assert run.stdout.readline() == "running\n"
    time.sleep(0.2)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    assert "-2." in out


def test_after_a_fork_each_process_has_a_worker_of_its_own(tmp_path: Path) -> None:
    run = script(
        STARTED
        + """
sys.stdout.flush()
child = os.fork()
for _ in range(20):
    assert evaluator.run({"x": np.full(1, child != 0, np.float32)})[0] == [-2.0 * (child != 0)]
print(shared_worker()._process.pid, flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
    evaluator.run({"x": np.ones(1, np.float32)})
    assert shared_worker().starts == 1
""",
        tmp_path,
    )
    out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    assert len(set(out.split())) == 2
    for pid in out.split():
        wait_for(partial(is_gone, int(pid)))


def test_a_process_that_cannot_be_started_is_an_error_in_one_line(worker: Worker, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(OnnxfuseError, match="the process for running models cannot be started: .*No such file"):
        isolated(ADD)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(OnnxfuseError, match=r"the process for running models \(.*false\) ended with code 1"):
        isolated(ADD)
    monkeypatch.undo()
    assert isolated(ADD).run(X)[0].tolist() == [-2, -4]


def test_a_message_holds_nothing_that_does_something() -> None:
    ours, its = (Channel(end) for end in socket.socketpair())
    arrays = [np.array(["a", "b"], object), np.ones(2, ml_dtypes.bfloat16), np.float32(1), np.array(["a"]), 1j]
    its.send(tuple(arrays))
    assert [str(x) for x in ours.receive()[0]] == [str(x) for x in arrays]
    for harmful in (os.system, ml_dtypes.finfo, np.load, subprocess.Popen):
        its.send((harmful,))
        with pytest.raises(pickle.UnpicklingError, match="has no place in a message"):
            ours.receive()
    ours.close()
    its.close()

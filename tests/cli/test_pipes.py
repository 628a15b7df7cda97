"""Whoever reads the output may go early: what was found out keeps its exit code, and what was not is a failure."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import pytest

from tests.cli.conftest import COMMAND, environment
from tests.drivers.fake_tools import FAKES, calls, left_over, save_model, set_up

ATC: Final = ("atc", "m.onnx", "--soc", "Ascend310P3", "--batch-size", "1")
GONE: Final = 128 + signal.SIGPIPE
NEG: Final = '<ir_version: 8, opset_import: ["": 13]> g (float[2] x) => (float[2] y) { y = Neg(x) }'

Stream = int | IO[bytes]


def unread(words: Sequence[str | Path], *streams: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a command some of whose streams are pipes that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    ends: dict[str, Stream] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ends |= dict.fromkeys(streams, write)
    try:
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            env=environment(),
            stdout=ends["stdout"],
            stderr=ends["stderr"],
            check=False,
            timeout=120,
        )
    finally:
        os.close(write)
    for said in (done.stdout, done.stderr):
        assert b"Traceback" not in (said or b"")
        assert b"Broken pipe" not in (said or b"")
    return done


@pytest.fixture
def tools(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model for atc, and its stand-in."""
    set_up(monkeypatch, tmp_path)
    save_model(Path("m.onnx"))
    return folder


@pytest.mark.parametrize("streams", [["stdout"], ["stdout", "stderr"]])
def test_an_answer_that_nobody_reads_keeps_its_exit_code(relu: Path, streams: list[str]) -> None:
    save_model(Path("neg.onnx"), NEG)
    save_model(Path("abs.onnx"), NEG.replace("Neg", "Abs"))
    assert unread(["verify", "neg.onnx", "abs.onnx", "--json"], *streams).returncode == 1
    assert unread(["verify", "neg.onnx", "neg.onnx", "--json"], *streams).returncode == 0
    assert unread(["apply", relu, "-o", "out.onnx", "--json"], *streams).returncode == 0
    assert Path("out.onnx").read_bytes() == relu.read_bytes()
    assert unread(["apply", "none.onnx", "-o", "other.onnx", "--json"], *streams).returncode == 2
    assert unread(["passes", "--json"], *streams).returncode == 0


def test_a_failure_of_a_tool_that_nobody_reads(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MANNER", "fail:E40021")
    assert unread([*ATC, "--json"], "stdout").returncode == 4


def test_a_model_that_nobody_takes_is_not_written(relu: Path) -> None:
    done = unread(["apply", relu, "-o", "-"], "stdout")
    assert done.returncode == GONE
    assert b"wrote" not in done.stderr


def test_what_nobody_follows_is_not_begun(tools: Path) -> None:
    assert unread(ATC, "stderr").returncode == GONE
    assert not calls(tools.parent)
    assert sorted(path.name for path in tools.iterdir()) == ["m.onnx"]


def test_who_follows_a_log_and_goes(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`onnxfuse atc ... --show-log 2>&1 | head -1`."""
    (tools.parent / "bin").mkdir()
    atc = tools.parent / "bin" / "atc"
    atc.write_text(f'#!/bin/sh\nwhile [ ! -e ../go ]; do sleep 0.05; done\nexec {FAKES}/atc "$@"\n')
    atc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{atc.parent}:{os.environ['PATH']}")
    with subprocess.Popen(
        [*COMMAND, *ATC, "--show-log"], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith(b"atc ")
        running.stderr.close()
        (tools.parent / "go").touch()
        assert running.wait(timeout=60) == GONE
    assert not left_over(tools)

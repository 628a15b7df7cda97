"""`onnxfuse aoe`, against a stand-in for the program."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.drivers.fake_tools import calls, left_over

pytestmark = pytest.mark.usefixtures("tools")


def test_aoe(cli: Cli, tools: Path, folder: Path) -> None:
    Path("bank").mkdir()
    done = cli("aoe", "m.onnx", "--job-type", "2", "--batch-size", "1", "--bank", "bank", "--", "--device=1")
    assert done.code == 0, done.err
    (call,) = calls(tools)
    words = call["argv"][1:]
    assert words[0] == "--job_type=2"
    assert words[-1] == "--device=1"
    assert not any("soc_version" in word for word in words)
    assert call["environment"]["TUNE_BANK_PATH"] == str(folder / "bank")
    assert (folder / "bank" / "tuned.json").is_file()
    assert (folder / "m_bs1.om").is_file()


def test_aoe_without_running(cli: Cli, tools: Path, folder: Path) -> None:
    Path("a bank").mkdir()
    done = cli("aoe", "m.onnx", "--job_type=1", "--batch-size", "1", "--bank", "a bank", "--dry-run")
    assert shlex.split(done.out) == [
        *(f"TUNE_BANK_PATH={folder / 'a bank'}", "aoe", "--job_type=1", "--model=m.onnx", "--framework=5"),
        *("--output=m_bs1", "--input_format=NCHW", "--input_shape=image:1,3,8,8"),
    ]
    assert not calls(tools)


@pytest.mark.parametrize("manner", ["no-om", "empty-om", "exit-1", "silent", "killed", "fail:E40021"])
def test_aoe_that_fails(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    done = cli("aoe", "m.onnx", "--job-type", "1", "--batch-size", "1")
    assert done.code == 4
    assert done.err.splitlines()[-1].startswith("onnxfuse: error: aoe ")
    assert not left_over(folder)


def test_aoe_and_mistakes(cli: Cli) -> None:
    assert "--job-type" in cli("aoe", "m.onnx").error
    assert (
        "--bank no: a folder that can be written to is expected"
        in cli("aoe", "m.onnx", "--job-type=1", "--bank=no", "--batch-size=1").error
    )
    assert "unknown option --soc" in cli("aoe", "m.onnx", "--job-type=1", "--soc=Ascend310").error

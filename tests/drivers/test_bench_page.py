"""What docs/drivers.md shows of measuring, does that."""

from __future__ import annotations

import os
import platform
import shlex
from pathlib import Path

import onnx
import pytest

from onnxfuse.cli.main import main
from tests.drivers.test_page import blocks
from tests.drivers.tools import FAKES, Tools, om, raw_dataset

MODEL = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y) { y = Relu(x) }'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("model", "out"):
        onnx.save(onnx.parser.parse_model(MODEL), f"{name}.onnx")
    raw_dataset(tmp_path, 2).rename("dataset.info")
    return tmp_path


def words_of(line: str) -> list[str]:
    """A command of the page, of few turns."""
    words = shlex.split(line)[1:]
    if "--seconds" in words:
        words[words.index("--seconds") + 1] = "0.1"
        return words
    return [*words, "--turns", "1"]


def test_with_onnxruntime(capfd: pytest.CaptureFixture[str]) -> None:
    for line in blocks("sh", "Time")[0].splitlines():
        assert main(words_of(line)) == 0
    assert capfd.readouterr().err.count("model.onnx") > 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the page names the tool of x86_64")
def test_on_a_device(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "opp").mkdir()
    Tools(folder).set_env(ASCEND_OPP_PATH=str(folder / "opp"), PATH=f"{FAKES}:{os.environ['PATH']}")
    Path("benchmark.x86_64").symlink_to(FAKES / "benchmark.x86_64")
    for line in blocks("sh", "Time")[1].splitlines():
        for name in ("model", "out"):
            om(Path(f"{name}.om"), batch=16 if "16" in line.split() else 1)
        assert main(words_of(line)) == 0, capfd.readouterr().err
    assert "per card" in capfd.readouterr().err


def test_over_a_dataset() -> None:
    (line,) = blocks("sh", "Time")[2].splitlines()
    assert main(shlex.split(line)[1:]) == 0
    assert sorted(path.name for path in Path("after/result/dumpOutput_device0").iterdir()) == ["s0_1.bin", "s1_1.bin"]


def test_from_python(capfd: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python", "Time")
    exec(code, {"__name__": "page"})
    lines = capfd.readouterr().out.splitlines()
    assert float(lines[0]) > 0
    assert lines[1].split()[:2] == ["result/dumpOutput_device0", "2"]
    assert sorted(path.name for path in Path("result/dumpOutput_device0").iterdir()) == ["s0_1.bin", "s1_1.bin"]

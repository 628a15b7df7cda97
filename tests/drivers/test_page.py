"""What docs/drivers.md shows, does that."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from onnxfuse import drivers
from onnxfuse.cli.main import main
from onnxfuse.drivers.info_files import check, read
from onnxfuse.verification.inputs import InputSpec
from tests.drivers.fake_tools import calls, save_model, set_up
from tests.drivers.test_device_outputs import dataset, device, network
from tests.drivers.test_profile import summary
from tests.drivers.test_summaries import DATASET

DRIVERS: Final = Path(drivers.__file__).parent
PAGE: Final = (Path(__file__).parent.parent.parent / "docs" / "drivers.md").read_text(encoding="utf-8")


def blocks(language: str, heading: str) -> list[str]:
    (section,) = (part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(f"{heading}\n"))
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = network(tmp_path).rename("model.onnx")
    info, data = dataset(tmp_path)
    info.rename("dataset.info")
    for name in ("before", "after"):
        device(tmp_path / name / "dumpOutput_device0", model, data, lambda scores: scores.astype(np.float32))
        for file in (tmp_path / name / "dumpOutput_device0").glob("*_2.bin"):
            file.unlink()
    summary(tmp_path)
    return tmp_path


def test_the_commands(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    commands = [
        shlex.split(line)
        for heading in ("Results", "Profiles")
        for block in blocks("sh", heading)
        for line in block.splitlines()
    ]
    assert [command[:2] for command in commands] == [
        ["onnxfuse", name] for name in ("verify", "verify", "profile", "profile", "profile")
    ]
    assert main(["apply", "model.onnx", "-o", "out.onnx", "-p", "ascend", "--json"]) == 0
    Path("report.json").write_text(capfd.readouterr().out)
    # The integers of the second output are taken out above: two folders have one type for all raw files.
    assert [main(command[1:]) for command in commands] == [0, 5, 0, 0, 0]
    told = capfd.readouterr().err
    assert told.count("\nequivalent\n") == 1
    assert "after/dumpOutput_device0: which output is which cannot be told" in told


def test_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    set_up(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    save_model(Path("model.onnx"))
    Path("bank").mkdir()
    Path("keep.txt").write_text("first\n")
    Path("set_env.sh").write_text("export FROM_SCRIPT=1\n")
    (commands,) = blocks("sh", "Compiling")
    for line in commands.splitlines():
        words, _, target = line.partition(" > ")
        capfd.readouterr()
        assert main(shlex.split(words)[1:]) == 0
        if target:
            Path(target).write_text(capfd.readouterr().out)
    assert [Path(call["argv"][0]).name for call in calls(tmp_path)] == ["atc", "atc", "atc", "atc", "aoe"]
    (code,) = blocks("python", "Compiling")
    exec(code, {"__name__": "page"})
    assert capfd.readouterr().out.startswith("model_bs1.om ")


def test_every_check_is_on_the_page() -> None:
    files = (*(DRIVERS / "checks").glob("*.py"), DRIVERS / "atc" / "renamed.py")
    source = "".join(file.read_text() for file in files)
    named = set(re.findall(r'Severity\.[A-Z]+,\s*"([a-z0-9-]+)"', source)) | {"dynamic-dims", "input-fp16"}
    assert len(named) == 17
    for name in named:
        assert f"`{name}`" in PAGE


def test_the_record(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "result").mkdir()
    for batch, post in ((1, 45), (16, 45 / 16)):
        text = DATASET.replace("11.25", f"{post}")
        (folder / "result" / f"perf_vision_batchsize_{batch}_device_0.txt").write_text(text)
    (code,) = blocks("python", "Figures")
    exec(code, {"__name__": "page"})
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["batch", "1", "60.0", "16.666666666666668", "240.0"]
    assert lines[1].split()[:5] == ["batch", "16", "60.0", "16.666666666666668", "240.0"]
    assert "batch 1 and batch 16 have the same" in lines[2]


def test_the_lists(tmp_path: Path) -> None:
    (block,) = blocks("", "Datasets")
    lines = [" ".join(re.split(r"\s{2,}", line)[0].split()) for line in block.splitlines()]
    (tmp_path / "data").mkdir()
    for name in ("a.bin", "a.jpg", "a_ids.bin", "a_mask.bin"):
        (tmp_path / "data" / name).write_bytes(bytes(4 * 224 * 224))
    for form, files in ((lines[:1], 1), (lines[1:2], 1), (lines[2:], 2)):
        (tmp_path / "list.info").write_text("\n".join(form))
        (sample,) = read(tmp_path / "list.info")
        assert len(sample.files) == files
    (tmp_path / "list.info").write_text(lines[0])
    check(read(tmp_path / "list.info"), [InputSpec("x", "tensor", 1, (1, 1, 224, 224))])

"""What docs/adapters.md shows is so."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import onnx
import pytest

from onnxfuse import Pipeline
from onnxfuse.cli.main import main
from tests.adapters.models import model, ops
from tests.examples.commands import ROOT, commands_of

PAGE = ROOT / "docs" / "adapters.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a `model.onnx`; commands are looked for beside the interpreter, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    onnx.save(model(), "model.onnx")
    return tmp_path


def test_the_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("onnxsim", "onnxslim", "onnx_graphsurgeon"):
        pytest.importorskip(name)
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    namespace: dict[str, object] = {"__name__": "page"}
    exec(compile(program, "adapters.md", "exec"), namespace)
    assert ops(namespace["model"]) == ["Slice", "Relu"]
    said = capsys.readouterr().out
    assert "rejected:" not in said
    assert "gs:<fold>" in said


def test_the_commands_do_as_they_are_told() -> None:
    refused, trusted = (shlex.split(command)[1:] for command in commands_of(PAGE))
    Path("passes.txt").write_text("merge-sliced\nir:onnx_ir.passes.common.IdentityEliminationPass  # it runs code\n")
    assert main(refused) == 2
    assert not Path("out.onnx").exists()
    assert main(trusted) == 0
    assert ops(onnx.load("out.onnx")) == ["Add", "Slice", "Relu"]


def test_what_it_names_is_read() -> None:
    texts = re.findall(r"`(exec:'[^`]*)`", PAGE.read_text())
    assert len(texts) >= 2
    for text in texts:
        assert Pipeline.parse(text.replace("tool", "cp")).members

"""The stand-ins for Ascend's programs, set up for a test."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import onnx
import onnx.parser
import pytest

__all__ = ["FAKES", "MODEL", "calls", "left_over", "save_model", "set_up"]

FAKES: Final = Path(__file__).parent.parent / "fakes"

MODEL: Final = """
<ir_version: 8, opset_import: ["": 11]>
example (float[N, 3, 8, 8] image) => (float[N, 3, 8, 8] out) {
    [first] a = Relu(image)
    [second] b = Sigmoid(a)
    [last] out = Add(a, b)
}
"""


def save_model(path: Path, text: str = MODEL) -> Path:
    """Writes a model that is given as ONNX text."""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def set_up(monkeypatch: pytest.MonkeyPatch, folder: Path, *, manner: str = "") -> None:
    """Puts the stand-ins on PATH, and tells them how to behave and where to record how they are called."""
    (folder / "opp").mkdir(exist_ok=True)
    path = [str(FAKES), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("ASCEND_OPP_PATH", str(folder / "opp"))
    monkeypatch.setenv("FAKE_RECORD", str(folder / "calls"))
    monkeypatch.setenv("FAKE_PIDS", str(folder / "pids"))
    monkeypatch.setenv("FAKE_MANNER", manner)


def calls(folder: Path) -> list[dict[str, Any]]:
    """How they were called, in order."""
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def left_over(folder: Path) -> list[str]:
    """What a failed run must not leave: compiled models, and folders for them."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".onnxfuse-") or path.suffix == ".om"]

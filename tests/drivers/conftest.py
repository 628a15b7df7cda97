"""The stand-ins for the benchmark tools, in a folder of their own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.drivers.tools import Tools


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """The tools; the current folder is empty, and temporary folders are made in `tmp_path / "temporary"`."""
    for name in ("work", "tools", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return Tools(tmp_path / "tools")

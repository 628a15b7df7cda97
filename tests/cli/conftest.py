"""Running the command line in this process, which is fast, and as a process of its own, which is real."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from onnxfuse.cli.main import main
from onnxfuse.pipeline import registry
from tests.cli.models import save, save_package
from tests.drivers.fake_tools import save_model, set_up

ROOT: Final = Path(__file__).parent.parent.parent
COMMAND: Final = (sys.executable, "-m", "onnxfuse.cli.main")


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        """What it printed on stdout."""
        return self.data.decode()

    @property
    def json(self) -> Any:
        """The JSON on stdout, which must be strict: no NaN."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.data, parse_constant=refuse)

    @property
    def error(self) -> str:
        """The one line on stderr of a user's mistake."""
        assert self.code == 2, (self.code, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("onnxfuse: error: ")
        return lines[0].removeprefix("onnxfuse: error: ")


class Cli(Protocol):
    """Runs the command line."""

    def __call__(self, *argv: str | Path) -> Outcome:
        """Runs it with these arguments."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty at first: whatever is written by mistake is seen."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def tools(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the stand-ins for atc and aoe record; the current one has a model."""
    set_up(monkeypatch, tmp_path)
    save_model(Path("m.onnx"))
    return tmp_path


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """Runs `onnxfuse` in this process."""

    def run(*argv: str | Path) -> Outcome:
        capfdbinary.readouterr()
        code = main([str(text) for text in argv])
        out, err = capfdbinary.readouterr()
        assert b"\x1b" not in err
        return Outcome(code, out, err.decode())

    return run


@pytest.fixture
def process() -> Cli:
    """Runs `onnxfuse` as a process."""

    def run(*argv: str | Path) -> Outcome:
        return run_process([*COMMAND, *map(str, argv)])

    return run


def environment(*paths: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that finds this checkout, and `paths`, before anything else."""
    path = os.pathsep.join(map(str, (ROOT, *paths)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error", **(more or {})}


def run_process(argv: Sequence[str], *paths: Path, cwd: Path | None = None) -> Outcome:
    """Runs a process with this checkout, and `paths`, on Python's path."""
    done = subprocess.run(argv, env=environment(*paths), cwd=cwd, capture_output=True, check=False, timeout=60)
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


def replay(folder: Path, *, process: bool = False) -> Outcome:
    """Runs the one command that a reproducer's README has, in its folder: here, or as a process of its own."""
    lines = (folder / "README.txt").read_text(encoding="utf-8").splitlines()
    (command,) = (line for line in lines if line.startswith("    onnxfuse "))
    argv = shlex.split(command)[1:]
    if process:
        return run_process([*COMMAND, *argv], cwd=folder)
    out, err = StringIO(), StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    return Outcome(code, out.getvalue().encode(), err.getvalue())


@pytest.fixture
def pair(folder: Path) -> Path:
    """A model in which two Slices merge."""
    return save("pair", folder)


@pytest.fixture
def relu(folder: Path) -> Path:
    """A model for which the catalogue has nothing."""
    return save("relu", folder)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a distribution that ships passes of every bad manner."""
    (tmp_path / "site").mkdir()
    return save_package(tmp_path / "site")


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That distribution, installed as far as this process is concerned."""

    def forget() -> None:
        registry._shipped_by_others.cache_clear()
        registry.pass_class.cache_clear()
        sys.modules.pop("badmanners", None)

    monkeypatch.syspath_prepend(package)
    forget()
    yield package
    monkeypatch.undo()
    forget()

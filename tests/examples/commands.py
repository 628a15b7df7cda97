"""The commands in the READMEs' code blocks, and running them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

__all__ = ["ROOT", "commands_of", "console_of", "make_prints", "need", "normalized", "run", "run_fill"]

ROOT: Final = Path(__file__).parent.parent.parent
SHELL: Final = ("sh", "bash", "shell", "console", "")
BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def blocks(path: Path) -> list[tuple[str, list[str]]]:
    """Returns the code blocks that are for a shell, each with its language and lines."""
    found = BLOCK.findall(path.read_text())
    return [(language, text.splitlines()) for language, text in found if language in SHELL]


def commands_of(path: Path) -> list[str]:
    """Returns the commands of a README, without their comments."""
    commands: list[str] = []
    for language, lines in blocks(path):
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        commands += [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]
    return commands


def console_of(path: Path, command: str) -> list[str]:
    """Returns what a README shows as the output of a command."""
    for language, lines in blocks(path):
        if language == "console" and lines[0] == f"$ {command}":
            return lines[1:]
    raise AssertionError(f"{path} has no session of {command}")


def normalized(lines: list[str]) -> list[str]:
    """Returns lines without times, and without the widths that depend on them."""
    return [" ".join(re.sub(r"\d+\.\d\d s", "TIME", line).split()) for line in lines]


def need(program_or_module: str, present: bool) -> None:
    """Skips the test where something is missing; in CI nothing is."""
    if present:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program_or_module} is missing, and in CI it must be there")
    pytest.skip(f"{program_or_module} is not installed")


def run(argv: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a Python program with this checkout on its path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def run_fill(readme: Path, output: str, cwd: Path) -> None:
    """Runs the command of a README that writes the graph `output` with weights, below `cwd`."""
    (command,) = [line for line in commands_of(readme) if " fill " in line and line.endswith(output)]
    assert "mkdir -p build" in commands_of(readme)
    (cwd / "build").mkdir(exist_ok=True)
    (cwd / "examples").symlink_to(ROOT / "examples")
    program, *argv = command.split()
    assert program == "onnxfuse"
    done = run(["-m", "onnxfuse.cli.main", *argv], cwd)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (cwd / "examples").unlink()


def make_prints(target: str) -> list[str]:
    """Returns the commands that `make target` would run, from nothing."""
    make = shutil.which("make")
    need("make", make is not None)
    assert make is not None
    argv = [make, "--always-make", "--just-print", target, "VENV=venv"]
    # These tests may be run by make: what it hands to the makes below it would change what is printed.
    environment = {name: text for name, text in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()

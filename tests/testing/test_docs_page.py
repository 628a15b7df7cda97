"""Every command and every piece of code in docs/testing.md does what the page says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.examples.commands import ROOT, commands_of

PAGE = ROOT / "docs" / "testing.md"
HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
ONE_SLICE = f"{HEAD} g (float[8] x) => (float[y_] y) <int64[1] a = {{2}}, int64[1] b = {{6}}> {{ y = Slice(x, a, b) }}"
TWO_SLICES = (
    f"{HEAD} g (float[8] x) => (float[y_] y) <int64[1] a = {{1}}, int64[1] b = {{5}}, int64[1] c = {{6}}> "
    "{ s = Slice(x, a, c) y = Slice(s, a, b) }"
)
OTHER = ONE_SLICE.replace("{2}", "{1}").replace("{6}", "{5}")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def write(path: Path, text: str) -> None:
    onnx.save(onnx.parser.parse_model(text), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two equivalent models, and with commands called as a user calls them."""
    write(tmp_path / "model.onnx", TWO_SLICES)
    write(tmp_path / "out.onnx", ONE_SLICE)
    (tmp_path / "bin").mkdir()
    for name, module in (("onnxfuse", "onnxfuse.cli.main"), ("pytest", "pytest"), ("python", "")):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {f"-m {module} " if module else ""}"$@"\n')
        script.chmod(0o755)
    return tmp_path


def shell(command: str, folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "onnxfuse.testing.pytest_plugin"}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False, **more
    )


def readme_pass() -> str:
    text = (ROOT / "README.md").read_text()
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "RemoveDoubleNeg" in block
    ]
    return str(code).partition("model, report = apply")[0].replace(", apply", "")


def test_no_command_is_untested() -> None:
    assert commands_of(PAGE) == [
        "pytest --onnxfuse-reproducers reproducers",
        "onnxfuse apply --check model.onnx",
        "onnxfuse strip model.onnx -o graph.onnx",
        "onnxfuse fill graph.onnx -o again.onnx",
    ]
    assert len(blocks("python")) == 3
    assert len(blocks("yaml")) == 3


def test_the_first_lines_and_pytest_with_reproducers(folder: Path) -> None:
    code = blocks("python")[0].replace("\nassert", "\ndef test_it():\n    assert")
    (folder / "test_models.py").write_text(code)
    (command, *_) = commands_of(PAGE)

    assert shell(command, folder).returncode == 0
    assert not (folder / "reproducers").exists()
    write(folder / "out.onnx", OTHER)
    failed = shell(command, folder)
    assert failed.returncode == 1
    for line in blocks("text")[0].split("..."):
        assert line.strip().removeprefix(")").strip() in failed.stdout.replace("E       ", "").replace("E   ", "")
    (reproducer,) = (folder / "reproducers").iterdir()
    assert "onnxfuse" in (reproducer / "README.txt").read_text()


def test_the_step_in_ci(folder: Path) -> None:
    steps = re.findall(r"- run: (.*)", blocks("yaml")[0])
    assert steps[:2] == ["pip install onnxfuse", "python make_model.py"]
    assert shell(steps[2], folder).returncode == 0
    assert '"equivalent"' in (folder / "verdict.json").read_text()
    write(folder / "out.onnx", OTHER)
    assert shell(steps[2], folder).returncode == 1
    assert '"different"' in (folder / "verdict.json").read_text()


def hook_entry() -> str:
    (entry,) = re.findall(r"^  entry: (.*)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), flags=re.MULTILINE)
    return str(entry)


def test_the_hook_is_the_one_that_the_page_names() -> None:
    (name,) = re.findall(r"^- id: (.*)$", (ROOT / ".pre-commit-hooks.yaml").read_text(), flags=re.MULTILINE)
    assert f"- id: {name}" in blocks("yaml")[1]


@pytest.mark.parametrize("which", ["file", "page"])
def test_the_hook_fails_where_one_of_the_models_would_change(folder: Path, which: str) -> None:
    (other,) = re.findall(r"`entry: (sh .*)`", PAGE.read_text())
    entry = hook_entry() if which == "file" else other
    assert shell(f"{entry} out.onnx", folder).returncode == 0
    assert shell(f"{entry} out.onnx model.onnx out.onnx", folder).returncode == 1
    assert shell(f"{entry} missing.onnx out.onnx", folder).returncode == 1


def test_the_check_and_the_local_hook(folder: Path) -> None:
    check = commands_of(PAGE)[1]
    assert shell(check, folder).returncode == 1
    (entry,) = re.findall(r"entry: (.*)", blocks("yaml")[2])
    assert shell(entry, folder).returncode == 0
    write(folder / "out.onnx", OTHER)
    assert shell(entry, folder).returncode == 1


def test_the_tests_of_a_pass_and_of_random_models(folder: Path) -> None:
    (folder / "remove_double_neg.py").write_text(readme_pass())
    for number, code in enumerate(blocks("python")[1:]):
        (folder / f"test_{number}.py").write_text(code)
    done = shell("pytest -q", folder)
    assert "4 passed" in done.stdout, done.stdout


def test_strip_and_fill(folder: Path) -> None:
    for command in commands_of(PAGE)[2:]:
        assert shell(command, folder).returncode == 0
    assert (folder / "again.onnx").exists()

"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import onnx

import onnxfuse

ROOT = Path(onnxfuse.__file__).parent.parent
HEADER = """
import onnx
from onnxfuse.testing import assert_equivalent
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y)'
ABS = onnx.parser.parse_model(HEAD + "{ y = Abs(x) }")
RELU = onnx.parser.parse_model(HEAD + "{ y = Relu(x) }")
TWICE = onnx.parser.parse_model(HEAD + "{ a = Abs(x) y = Abs(a) }")
"""


def run_pytest(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a test file with the plugin, wherever onnxfuse is installed."""
    (folder / "test_it.py").write_text(HEADER + textwrap.dedent(test))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugin = ("-p", "onnxfuse.testing.pytest_plugin")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_failure_shows_the_verdict_and_no_frame_of_ours(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "def test_it():\n    assert_equivalent(ABS, TWICE)\n    assert_equivalent(ABS, RELU)\n")

    assert done.returncode == 1
    assert ">       assert_equivalent(ABS, RELU)\n" in done.stdout
    assert "E       onnxfuse.testing.equivalence.NotEquivalentError: the models are different\n" in done.stdout
    assert "y: different: value" in done.stdout
    assert "equivalence.py:" not in done.stdout
    assert "verdict = verify(" not in done.stdout
    assert "reproducer" not in done.stdout


def test_reproducers_are_stored_and_named_in_the_report(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
        import pytest

        def test_it():
            assert_equivalent(ABS, RELU)

        def test_a_group():
            try:
                assert_equivalent(ABS, RELU)
            except AssertionError as error:
                raise ExceptionGroup("several", [ValueError("another"), error])

        def test_a_cause():
            try:
                assert_equivalent(RELU, ABS)
            except AssertionError as error:
                raise ValueError("as I feared") from error

        def test_that_passes():
            with pytest.raises(AssertionError):
                assert_equivalent(ABS, RELU)

        def test_something_else():
            assert False
        """,
        "--onnxfuse-reproducers",
        "wrong",
    )

    assert "4 failed, 1 passed" in done.stdout
    assert done.stdout.count("reproducer: wrong/onnxfuse-reproducer-") == 3
    folders = sorted((tmp_path / "wrong").iterdir())
    assert len(folders) == 2  # the pair that failed twice is one
    for folder in folders:
        ops = [onnx.load(folder / name).graph.node[0].op_type for name in ("before.onnx", "after.onnx")]
        assert sorted(ops) == ["Abs", "Relu"]
        assert json.loads((folder / "report.json").read_text())
        command = [sys.executable, "-m", "onnxfuse.cli.main", "verify", "before.onnx", "after.onnx"]
        shown = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
        assert shown.returncode == 1


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = run_pytest(tmp_path, "def test_it():\n    assert_equivalent(ABS, RELU)\n", "--onnxfuse-reproducers", "taken")
    assert done.returncode == 1
    assert "no reproducer could be written: " in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_pytest_starts_without_anything_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\n"
        "HEAVY = {'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'hypothesis'}\n"
        "def test_it():\n    assert not HEAVY & set(sys.modules)\n"
        "def test_that_the_plugin_is_there(pytestconfig):\n"
        "    assert pytestconfig.getoption('--onnxfuse-reproducers') is None\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "onnxfuse.testing.pytest_plugin"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_entry_point() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"onnxfuse": "onnxfuse.testing.pytest_plugin"}

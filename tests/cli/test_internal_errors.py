"""Exit code 3: what broke is told with its traceback, nothing is written, and a reproducer shows it again."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.cli.conftest import COMMAND, Cli, Outcome, run_process
from tests.cli.models import weighted


def reproducer() -> Path:
    """The folder that was written."""
    (folder,) = Path().glob("onnxfuse-reproducer-*")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.txt",
        "error.txt",
        "model.onnx",
        "report.json",
    ]
    return folder


def report(folder: Path) -> Any:
    """What is in it, for programs."""
    found = json.loads((folder / "report.json").read_text())
    # The same stands in the README, on a line of its own.
    assert f"    {found['command']}" in (folder / "README.txt").read_text().splitlines()
    return found


def reproduce(folder: Path, package: Path) -> Outcome:
    """Runs the reproducer's command in its folder."""
    name, *argv = shlex.split(report(folder)["command"])
    assert name == "onnxfuse"
    return run_process([*COMMAND, *argv], package, cwd=folder)


def test_a_pass_of_another_package_raises(relu: Path, package: Path, folder: Path) -> None:
    argv = ["apply", str(relu), "-o", "out.onnx", "-p", "raise-on-relu,merge-sliced"]
    done = run_process([*COMMAND, *argv], package)
    assert done.code == 3
    assert done.out == ""
    lines = done.err.splitlines()
    assert "failed: raise-on-relu at relu: ValueError: no Relu, please" in lines
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "nothing was written: a pass failed"
    written = reproducer()
    assert lines[-2] == (
        f"please report this to badmanners, with {written}/: the model without its weights, the command and the error"
    )
    assert sorted(folder.iterdir()) == [folder / written, relu]
    assert "ValueError: no Relu, please" in (written / "error.txt").read_text()
    versions = report(written)["versions"]
    assert versions["badmanners"] == "1.2"
    assert set(versions) >= {"onnxfuse", "onnx", "onnx-ir", "onnxruntime", "numpy"}
    assert report(written)["error"] == "ValueError: no Relu, please"
    again = reproduce(written, package)
    assert again.code == 3
    assert "failed: raise-on-relu at relu: ValueError: no Relu, please" in again.err.splitlines()


@pytest.mark.parametrize("external", [False, True])
def test_a_reproducer_has_no_weights(cli: Cli, folder: Path, installed: Path, external: bool) -> None:
    weights = weighted(folder / "w.onnx", external=external)
    assert cli("apply", "w.onnx", "--in-place", "-p", "raise-on-relu").code == 3
    written = reproducer()
    model = (written / "model.onnx").read_bytes()
    assert len(model) < 1000
    assert weights[:64] not in model
    assert reproduce(written, installed).code == 3


@pytest.mark.usefixtures("installed")
def test_weights_in_a_constant_stay_at_home_too(cli: Cli, relu: Path) -> None:
    model = onnx.load(relu)
    tensor = onnx.helper.make_tensor("c", onnx.TensorProto.FLOAT, [70], [1.25] * 70)
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["c"], value=tensor))
    onnx.save(model, relu)
    assert cli("apply", relu, "--dry-run", "-p", "raise-on-relu").code == 3
    (constant, _) = onnx.load(reproducer() / "model.onnx").graph.node
    assert constant.attribute[0].t.dims == [70]
    assert not constant.attribute[0].t.float_data


@pytest.mark.usefixtures("installed")
def test_the_command_has_every_option_that_matters(cli: Cli, relu: Path) -> None:
    pipeline = 'raise-on-relu,merge-sliced,name-relu{to="-1 or so"}'
    argv = ["-p", pipeline, "--skip", "merge-sliced", "--dim", "N=3", "--verify", "region"]
    assert cli("apply", relu, "-o", "out.onnx", "--strict", *argv).code == 3
    assert shlex.split(report(reproducer())["command"]) == [
        "onnxfuse",
        "apply",
        "model.onnx",
        f"--passes={pipeline}",
        "--skip=merge-sliced",
        "--verify=region",
        "--dim=N=3",
        "--dry-run",
    ]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("option", [["--check"], ["--dry-run"], ["--in-place"]])
def test_a_failure_is_no_answer(cli: Cli, relu: Path, option: list[str]) -> None:
    done = cli("apply", relu, "-p", "raise-on-relu", *option)
    assert done.code == 3
    assert done.err.splitlines()[-1] == "nothing was written: a pass failed"


@pytest.mark.usefixtures("installed")
def test_json_of_a_failure(cli: Cli, relu: Path) -> None:
    done = cli("apply", relu, "--dry-run", "-p", "raise-on-relu", "--json")
    assert done.code == 3
    (failed,) = done.json["passes"][0]["failed"]
    assert failed["at"] == {"node": "relu", "op_type": "Relu", "scope": []}
    assert failed["error"] == "ValueError: no Relu, please"
    assert failed["traceback"].startswith("Traceback (most recent call last):")
    assert done.json["output"] is None


def test_a_pass_without_an_end(cli: Cli, relu: Path, installed: Path) -> None:
    done = cli("apply", relu, "-o", "out.onnx", "-p", "keep-relu", "--verify", "off", "--json")
    assert done.code == 3
    assert done.json["error"]["type"] == "PassError"
    assert done.json["error"]["message"].startswith("keep-relu reaches no fixpoint")
    assert done.err.splitlines()[-1].startswith("onnxfuse: error: keep-relu reaches no fixpoint")
    assert not Path("out.onnx").exists()
    assert reproduce(reproducer(), installed).code == 3


@pytest.mark.parametrize("command", ["verify", "diff", "inspect"])
def test_an_internal_error_is_no_answer_of_another_command(
    cli: Cli, relu: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("onnxfuse.verification.model.check_models", broken)
    monkeypatch.setattr("onnxfuse.pipeline.manager.facts_of", broken)
    monkeypatch.setattr("onnxfuse.report.diff.facts_of", broken)
    models = [relu] if command == "inspect" else [relu, relu]
    done = cli(command, *models, "--json")
    # Exit code 1 would read as: they differ.
    assert done.code == 3
    assert "RuntimeError: a bug of ours" in done.err
    assert done.err.splitlines()[-1] == "onnxfuse: error: internal error: RuntimeError: a bug of ours"
    assert done.json["error"] == {
        "type": "InternalError",
        "message": "internal error: RuntimeError: a bug of ours",
        "exit_code": 3,
    }
    (written,) = Path().glob("onnxfuse-reproducer-*")
    names = ["model.onnx"] if command == "inspect" else ["a.onnx", "b.onnx"]
    assert sorted(path.name for path in written.glob("*.onnx")) == names
    assert report(written)["command"] == " ".join(["onnxfuse", command, *names])


@pytest.mark.usefixtures("installed")
def test_the_error_is_told_even_where_no_reproducer_can_be_written(
    cli: Cli, relu: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = cli("apply", relu, "--dry-run", "-p", "raise-on-relu")
    assert done.code == 3
    assert "failed: raise-on-relu at relu: ValueError: no Relu, please" in done.err
    assert (
        "please report this to badmanners; no reproducer could be written: UsageError: .: no reproducer can be"
        in done.err
    )
    assert "there: No space left on device" in done.err
    assert list(folder.iterdir()) == [relu]

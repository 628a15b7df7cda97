"""Commands as members of a pipeline."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.numpy_helper import to_array

import onnxfuse
from onnxfuse import Pipeline, UsageError
from onnxfuse.adapters import ExecPass
from onnxfuse.pipeline.bisect import Answer, bisect
from tests.adapters.models import model, ops, serialized, weighted
from tests.adapters.tools import tool
from tests.drivers.processes import is_gone, wait_for
from tests.gauntlet.runner import CASES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a folder for what is temporary: it must be empty afterwards."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def left(folder: Path) -> list[str]:
    """What is left of what was temporary."""
    return [path.name for path in (folder / "temporary").iterdir() if path.name.startswith("onnxfuse-exec-")]


def test_a_command(folder: Path) -> None:
    result = onnxfuse.apply(model(), [ExecPass(tool(folder, "without_identity")), "merge-sliced"])
    assert "Identity" not in ops(result.model)
    assert len(result.report.applied) == 1
    assert {node.name: node.doc_string for node in result.model.graph.node}["cut"] == "doc of cut"
    assert not left(folder)


def test_a_command_that_changes_nothing(folder: Path) -> None:
    data = model().SerializeToString()
    assert onnxfuse.apply(data, ExecPass(tool(folder, "copy"))).model == data


def test_a_wrong_command_is_rejected(folder: Path) -> None:
    data = model().SerializeToString()
    result = onnxfuse.apply(data, ExecPass(tool(folder, "wrong")))
    assert result.model == data
    assert "different" in result.report.rejected[0].reason


PYTHON = Path(sys.executable).name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("exits", f"{PYTHON} ended with exit code 3: the weights are too heavy"),
        ("exits_quietly", f"{PYTHON} ended with exit code 3"),
        ("segfaults", f"{PYTHON} was ended by SIGSEGV"),
        ("aborts", f"{PYTHON} was ended by SIGABRT"),
        ("writes_nothing", f"{PYTHON} wrote nothing to {{out}}"),
        ("writes_elsewhere", f"{PYTHON} wrote nothing to {{out}}"),
        ("writes_an_empty_file", f"{PYTHON} wrote no model that can be read: the file is empty"),
        ("writes_a_folder", f"{PYTHON} wrote no model that can be read: is a folder: name the model's file"),
    ],
)
def test_a_command_that_fails(folder: Path, name: str, says: str) -> None:
    data = model().SerializeToString()
    result = onnxfuse.apply(data, [ExecPass(tool(folder, name)), "merge-sliced"])
    assert [rejected.reason for rejected in result.report.rejected] == [says]
    assert result.model == data
    assert not left(folder)


@pytest.mark.parametrize("name", ["writes_garbage", "writes_half"])
def test_a_command_that_writes_what_is_no_model(folder: Path, name: str) -> None:
    (rejected,) = onnxfuse.apply(model(), ExecPass(tool(folder, name))).report.rejected
    assert rejected.reason.startswith(f"{PYTHON} wrote no model that can be read: ")
    assert str(folder) not in rejected.reason


def test_a_command_that_hangs(folder: Path) -> None:
    (rejected,) = onnxfuse.apply(model(), ExecPass(tool(folder, "hangs"), timeout=1.5)).report.rejected
    assert rejected.reason == f"{PYTHON} took longer than 1.5 s, and was ended"
    assert not left(folder)


@pytest.mark.parametrize("name", ["prints_much", "asks", "leaves_a_child"])
def test_manners_that_do_no_harm(folder: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert not onnxfuse.apply(model(), ExecPass(tool(folder, name))).report.rejected
    assert capfd.readouterr() == ("", "")


def test_what_it_prints_goes_to_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="onnxfuse"):
        onnxfuse.apply(model(), ExecPass(tool(folder, "without_identity")))
    assert any("removed the identities" in record.getMessage() for record in caplog.records)


def test_a_program_that_went_away(folder: Path) -> None:
    program = folder / "tool"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    pass_ = ExecPass(f"{program} {{in}} {{out}}")
    program.unlink()
    (rejected,) = onnxfuse.apply(model(), pass_).report.rejected
    assert rejected.reason == "tool cannot be run: No such file or directory"


# ---- files


def test_external_data_beside_what_it_writes(folder: Path) -> None:
    proto = weighted()
    made, report = onnxfuse.apply(onnxfuse.load(proto), ExecPass(tool(folder, "with_external_data")))
    assert not report.rejected
    assert not left(folder)
    onnxfuse.save(made, folder / "made.onnx")
    arrays = {tensor.name: to_array(tensor) for tensor in onnx.load(folder / "made.onnx").graph.initializer}
    for tensor in proto.graph.initializer:
        assert np.array_equal(arrays[tensor.name], to_array(tensor))


def test_a_data_file_is_mapped_once(folder: Path) -> None:
    given = onnxfuse.load(weighted())
    made = ExecPass(tool(folder, "with_external_data")).change(given, onnxfuse.Facts(given))
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/out/weights" in line]
    assert len(lines) == 1
    assert len(made.graph.initializers) == 2


def test_external_data_of_what_it_reads(folder: Path) -> None:
    (folder / "given").mkdir()
    path = folder / "given" / "model.onnx"
    onnx.save_model(weighted(), path, save_as_external_data=True, location="weights")
    made, report = onnxfuse.apply(path, ExecPass(tool(folder, "without_identity")))
    assert not report.rejected
    assert ops(made) == ["MatMul", "MatMul"]
    onnxfuse.save(made, folder / "given" / "made.onnx")
    assert onnxfuse.verify(path, folder / "given" / "made.onnx").equivalent


# ---- as text


@pytest.mark.parametrize(
    ("text", "command", "timeout"),
    [
        ("exec:'cp {in} {out}'", "cp {in} {out}", None),
        ('exec:"cp {in} {out}"{timeout=2.5}', "cp {in} {out}", 2.5),
        (r'exec:"cp \"{in}\" {out}"', 'cp "{in}" {out}', None),
        ("exec:'cp --from={in} --to={out}' { timeout = 3 }", "cp --from={in} --to={out}", 3),
    ],
)
def test_text_is_read_and_written(text: str, command: str, timeout: float | None) -> None:
    pipeline = Pipeline.parse(f"remove-pad,{text},merge-sliced")
    assert pipeline.members[1] == ExecPass(command, timeout)
    assert Pipeline.parse(str(pipeline)) == pipeline


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_command_is_written_and_read(argument: str) -> None:
    command = f"cp {{in}} {{out}} {shlex.quote(argument)}"
    pipeline = Pipeline(ExecPass(command, 5))
    assert Pipeline.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exec:'cp {out}'", "{in} must stand where the path of the model that the command reads goes"),
        ("exec:'cp {in}'", "{out} must stand where the path of the model that the command writes goes"),
        ("exec:'no-such-tool {in} {out}'", "there is no command no-such-tool"),
        ("exec:'cp {in} {out} \"'", "cannot be split into words: No closing quotation"),
        ("exec:''", "a command is expected"),
        ("exec:'cp {in} {out}'{timeout=0}", "timeout is a number of seconds above 0, not 0"),
        ("exec:'cp {in} {out}'{shell=1}", "exec has no option 'shell': it has timeout"),
    ],
)
def test_what_is_no_command(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(text)
    assert str(raised.value).endswith(says)


# ---- Ctrl-C, and what else ends a run from outside


@pytest.mark.parametrize(("number", "says"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")])
def test_all_that_it_started_is_ended(folder: Path, number: signal.Signals, says: str) -> None:
    onnx.save(model(), folder / "in.onnx")
    command = f"exec:{shlex.quote(tool(folder, 'hangs_with_a_child'))}"
    words = [sys.executable, "-m", "onnxfuse.cli.main", "apply", "in.onnx", "-o", "out.onnx", "-p", command]
    root = str(Path(onnxfuse.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(folder / "temporary")}
    running = subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (folder / "pids").exists() and len((folder / "pids").read_text().split()) == 3)
        one, other, temporary = (folder / "pids").read_text().split()
        assert Path(temporary).is_dir()
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 128 + number
    assert said.splitlines()[-1] == f"onnxfuse: {says}"
    assert not Path(temporary).exists()
    assert not left(folder)
    assert not (folder / "out.onnx").exists()
    for process in (one, other):
        wait_for(partial(is_gone, int(process)))


# ---- onnxslim


SLIM = Path(sys.executable).parent / "onnxslim"
installed = pytest.mark.skipif(not SLIM.exists(), reason="no onnxslim")


@installed
def test_what_onnxslim_does_wrong_is_rolled_back_and_found() -> None:
    data = CASES["conv_mul_width"].data
    command = f'exec:"{SLIM} {{in}} {{out}}"'
    result = onnxfuse.apply(data, command)
    assert result.model == data
    assert len(result.report.rejected) == 1
    found = bisect(data, f"merge-sliced,{command},remove-pad")
    assert found.answer is Answer.BAD
    assert [str(pass_) for pass_ in found.passes] == [command]


@installed
def test_onnxslim() -> None:
    proto = model()
    result = onnxfuse.apply(proto, f"exec:'{SLIM} {{in}} {{out}}'")
    assert ops(result.model) == ["Slice", "Relu"]
    assert serialized(proto) == serialized(model())
    assert result.report.passes[0].name == f'exec:"{SLIM} {{in}} {{out}}"'

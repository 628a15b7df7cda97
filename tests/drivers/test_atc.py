"""Running atc, against a stand-in that behaves as documented, well and badly."""

from __future__ import annotations

import dataclasses
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onnxfuse import ToolError, UsageError
from onnxfuse.drivers.atc import AtcOptions, CompileError, run
from onnxfuse.drivers.error_codes import ERROR_CODES
from tests.drivers.fake_tools import calls, left_over, save_model, set_up
from tests.drivers.processes import is_gone, wait_for


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model in it; the records of the stand-ins lie elsewhere."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    set_up(monkeypatch, tmp_path)
    save_model(Path("m.onnx"))
    return tmp_path / "work"


def options(**more: Any) -> AtcOptions:
    return AtcOptions.from_model("m.onnx", soc_version="Ascend310P3", batch_size=4, **more)


def test_a_run(folder: Path) -> None:
    lines: list[str] = []
    made = run(options(), on_line=lines.append)
    assert made.om == Path("m_bs4.om")
    assert b'"image": [4, 3, 8, 8]' in made.om.read_bytes()
    assert made.size == len(made.om.read_bytes())
    assert made.warnings == ()
    assert lines[0] == "ATC start working now, please wait for a moment."
    assert made.log.read_text().splitlines() == lines
    assert {path.name for path in folder.iterdir()} == {
        *("m.onnx", "m_bs4.om", "m_bs4.atc.log", "fusion_result.json", "kernel_meta")
    }


def test_the_command(folder: Path) -> None:
    given = options(output_type="FP16")
    run(given)
    (call,) = calls(folder.parent)
    words = given.argv()
    at = words.index("--output=m_bs4")
    # only where it writes to is another place, beside the target, under the same name
    assert re.fullmatch(r"--output=\.onnxfuse-\w+/m_bs4", call["argv"][1:][at - 1])
    assert [*call["argv"][1:at], *call["argv"][at + 1 :]] == [*words[1:at], *words[at + 1 :]]
    assert call["folder"] == str(folder)


def test_an_om_for_a_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MANNER", "host")
    assert run(options()).om == Path("m_bs4_linux_x86_64.om")
    assert left_over(folder) == ["m_bs4_linux_x86_64.om"]


@pytest.mark.parametrize(
    ("manner", "new", "old"),
    [("", "m_bs4.om", "m_bs4_linux_x86_64.om"), ("host", "m_bs4_linux_x86_64.om", "m_bs4.om")],
)
def test_what_may_be_taken_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, manner: str, new: str, old: str
) -> None:
    """Another release, or a model with parts for the host, has the other name: both lie there, and one is stale."""
    monkeypatch.setenv("FAKE_MANNER", manner)
    Path(old).write_bytes(b"old")
    made = run(options())
    assert made.om == Path(new)
    (warning,) = made.warnings
    assert warning.startswith(f"{old} is of an earlier run, and {new} of this one")
    assert Path(old).read_bytes() == b"old"
    assert not run(options(output="another")).warnings


def test_weights_beside_the_om(folder: Path) -> None:
    (folder / "weight").mkdir()
    (folder / "weight" / "other").write_text("stays")
    run(options(external_weight=1))
    assert (folder / "weight" / "m_bs4").read_bytes() == b"weights"
    assert (folder / "weight" / "other").read_text() == "stays"


def test_the_om_appears_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where moving breaks off, there is no model without its weights."""
    moved: list[str] = []
    replace = Path.replace

    def record(path: Path, target: Path) -> Path:
        moved.append(str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", record)
    for name in ("a", "z"):
        made = run(options(external_weight=1, output=name))
        assert moved == [f"weight/{name}", str(made.om)]
        moved.clear()


def test_what_is_in_the_way_of_weights(folder: Path) -> None:
    (folder / "weight").write_text("mine")
    (folder / "m_bs4.om").write_bytes(b"old")
    with pytest.raises(CompileError, match="weight is in the way of weight/m_bs4, which belongs to the compiled model"):
        run(options(external_weight=1))
    assert (folder / "weight").read_text() == "mine"
    assert (folder / "m_bs4.om").read_bytes() == b"old"
    (folder / "weight").unlink()
    (folder / "weight" / "m_bs4").mkdir(parents=True)
    with pytest.raises(CompileError, match="weight/m_bs4 is a folder"):
        run(options(external_weight=1))


def test_warnings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MANNER", "warnings")
    (warning,) = run(options()).warnings
    assert "W11001" in warning
    assert warning.endswith(" (at AveragePool_1, AveragePool_2)")
    assert "slow" in warning


def test_an_om_that_is_replaced(folder: Path) -> None:
    (folder / "m_bs4.om").write_bytes(b"old")
    assert run(options()).om.read_bytes() != b"old"


@pytest.mark.parametrize(
    ("manner", "says"),
    [
        ("no-marker", "atc ended with exit code 0, but did not print that it succeeded"),
        ("no-om", "atc ended with exit code 0, but wrote no .om that is not empty"),
        ("empty-om", "atc ended with exit code 0, but wrote no .om that is not empty"),
        ("exit-1", "atc ended with exit code 1, though it said that all is well"),
        ("silent", "atc ended with exit code 255: ATC start working now, please wait for a moment."),
        ("killed", "atc was ended by SIGKILL (by the system, where memory ran out)"),
        ("fail:E40021", "atc ended with exit code 255: E40021: Failed to compile Op [AvgPool_12]."),
        ("fail:E19999", "atc ended with exit code 255: E19999: Inner Error!"),
        ("fail:E16002", "atc ended with exit code 255: E16002: No parser is registered"),
    ],
)
def test_a_run_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch, manner: str, says: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    (folder / "m_bs4.om").write_bytes(b"old")
    with pytest.raises(CompileError) as raised:
        run(options())
    text = str(raised.value)
    assert text.startswith(says), text
    assert text.endswith("its log is m_bs4.atc.log")
    assert "\n" not in text
    code = manner.partition(":")[2]
    assert raised.value.codes == ((code,) if code else ())
    if code:  # once in the line, and once with its meaning
        assert text.count(code) >= 2
    assert left_over(folder) == ["m_bs4.om"]
    assert (folder / "m_bs4.om").read_bytes() == b"old"
    assert Path("m_bs4.atc.log").read_text().startswith("ATC start working now")


def test_every_code_is_explained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder.parent / "atc"
    program.write_text(
        '#!/bin/sh\necho "ATC run failed, Please check the detail log"\necho "$CODE: of [x]"\nexit 255\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder.parent}:/bin")
    given = options()
    for code, known in ERROR_CODES.items():
        monkeypatch.setenv("CODE", code)
        with pytest.raises(CompileError) as raised:
            run(given)
        if code.startswith("E"):
            assert raised.value.codes == (code,)
            assert f"{code}: of [x]; {known}; its log is" in str(raised.value)
    assert not left_over(folder)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"input_shape": "picture:4,3,8,8"}, "E10016"),
        ({"input_shape": "first:4,3,8,8"}, "E10017"),
        ({"input_shape": "image=4,3,8,8"}, "E10002"),
        ({"input_shape": "image:4,3,0,8"}, "E10011"),
        ({"input_shape": "image:4,3,8"}, "E10049"),
        ({"input_shape": "image:-1,3,8,8", "dynamic_batch_size": "1"}, "E10035"),
        ({"input_shape": "image:-1,3,8,8", "dynamic_batch_size": ",".join(map(str, range(1, 102)))}, "E10036"),
        ({"input_shape": "image:-1,3,8,8", "dynamic_batch_size": "1,0"}, "E10038"),
        ({"input_shape": "image:-1,3,8,8", "dynamic_batch_size": "2,2"}, "E10039"),
        ({"input_shape": "image:4,3,8,8", "dynamic_batch_size": "1,2"}, "E10031"),
        ({"input_shape": "image:4,3,-1,8", "dynamic_batch_size": "1,2"}, "E10018"),
        ({"input_shape": "image:4,3,-1,8", "dynamic_image_size": "8,8;9,9"}, "E10019"),
        ({"input_shape": "image:4,3,8,8", "dynamic_image_size": "8,8;9,9"}, "E10040"),
        ({"input_shape": "image:-1,3,8,8", "input_format": "ND", "dynamic_dims": "1,2;3,4"}, "E10045"),
        ({"dynamic_batch_size": "1,2", "dynamic_dims": "1;2"}, "E10009"),
        ({"out_nodes": "nothing:0"}, "E11017"),
        ({"out_nodes": "last:1"}, "E10003"),
        ({"log": "verbose"}, "E10010"),
        ({"framework": 1}, "E10007"),
        ({"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}, "E10056"),
        ({"insert_op_conf": "aipp.cfg"}, "E10410"),
        ({"model": "no.onnx"}, "E10410"),
        ({"model": "a b.onnx"}, "E10001"),
        ({"soc_version": ""}, "E10054"),
    ],
)
def test_what_atc_refuses(folder: Path, more: dict[str, Any], code: str) -> None:
    with pytest.raises(CompileError) as raised:
        run(dataclasses.replace(options(), **more))
    assert raised.value.codes == (code,)
    assert not left_over(folder)


def test_an_option_that_this_release_has_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ERA", "5")
    with pytest.raises(CompileError, match="unknown command line flag 'precision_mode_v2'"):
        run(options(precision_mode_v2="fp16"))


def test_an_environment_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "ASCEND_OPP_PATH": "/nonsense"}
    with pytest.raises(CompileError) as raised:
        run(options(), environment=environment)
    assert raised.value.codes == ("E40001",)
    monkeypatch.setenv("ASCEND_OPP_PATH", "/nonsense")
    run(options(), environment={**os.environ, "ASCEND_OPP_PATH": str(folder)})


def test_no_atc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(CompileError) as raised:
        run(options())
    assert str(raised.value) == "there is no atc on PATH: give the toolkit's set_env.sh with --set-env"
    assert raised.value.log is None
    assert isinstance(raised.value, ToolError)
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


def test_no_path(folder: Path) -> None:
    """That of this process is not looked along for a program that would not be found there."""
    environment = {key: value for key, value in os.environ.items() if key != "PATH"}
    with pytest.raises(CompileError) as raised:
        run(options(), environment=environment)
    assert str(raised.value) == ("atc cannot be found: its environment has no PATH; see whether a set_env.sh unsets it")
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (300 * "a", "File name too long"),
        ("full", r"full\.om is a folder"),
        ("host", r"host_linux_aarch64\.om is a folder"),
        ("logged", r"logged\.atc\.log is a folder"),
        ("no/m", "the folder no does not exist"),
        ("there/", "names no file"),
        ("there", "names no file"),
        ("", "names no file"),
        (".", "names no file"),
    ],
)
def test_no_place_for_it(folder: Path, output: str, says: str) -> None:
    for name in ("there", "full.om", "host_linux_aarch64.om", "logged.atc.log"):
        Path(name).mkdir()
    with pytest.raises(UsageError, match=says):
        run(options(output=output))
    assert not calls(folder.parent)


# ---- nothing is left


@pytest.mark.parametrize("manner", ["hang", "killed"])
def test_nobody_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    pids = folder.parent / "pids"

    def over(line: str) -> None:
        if manner == "hang":
            wait_for(pids.exists)

    with pytest.raises(CompileError, match=r"took longer than 3 s, and was ended|was ended by SIGKILL"):
        run(options(), timeout=3, on_line=over)
    assert not left_over(folder)
    for number in pids.read_text().split():
        wait_for(partial(is_gone, int(number)))

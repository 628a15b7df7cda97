"""`onnxfuse atc --report`: options that name nodes of the model as it was."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import pytest

from onnxfuse.model_io.staging import Staging
from tests.cli.conftest import Cli
from tests.drivers.fake_tools import calls, save_model

pytestmark = pytest.mark.usefixtures("tools")

SOC: Final = ("--soc", "Ascend310P3")
CHAIN: Final = """
<ir_version: 8, opset_import: ["": 11]>
example (float[1, 16] x) => (float[1, 6] y)
<int64[1] one = {1}, int64[1] far = {100}, int64[1] axis = {1}, int64[1] eight = {8}> {
    [cut] a = Slice(x, one, far, axis)
    [cut_again] b = Slice(a, one, eight, axis)
    [act] c = Relu(b)
    [last] y = Slice(c, one, far, axis)
}
"""


def test_a_dry_run_writes_nothing(cli: Cli, tools: Path) -> None:
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\nact\n")
    there = sorted(tools.iterdir())
    given = ("atc", "out.onnx", *SOC, "--keep_dtype=keep.txt", "--report", "report.json")
    done = cli(*given, "--dry-run")
    assert (done.code, sorted(tools.iterdir())) == (0, there)
    assert "--keep_dtype=out.keep_dtype.txt" in done.out
    assert "note: a run writes out.keep_dtype.txt: cut_again, act\n" in done.err
    for words in (("--cann", "4"), ("--out_nodes=no:0",)):  # nor does what is refused
        assert cli(*given, *words).code == 2
        assert sorted(tools.iterdir()) == there
    assert cli(*given, "-o", "no/x").code == 2


def test_nothing_is_written_for_a_program_that_is_not_there(
    cli: Cli, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\n")
    there = sorted(tools.iterdir())
    monkeypatch.setenv("PATH", "/nowhere")
    done = cli("atc", "out.onnx", *SOC, "--keep_dtype=keep.txt", "--report", "report.json")
    assert (done.code, sorted(tools.iterdir())) == (4, there)


@pytest.fixture
def kept(cli: Cli, tools: Path) -> tuple[str, ...]:
    """What compiles a model whose nodes the file that is given calls by names of before."""
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\n")
    return ("atc", "out.onnx", *SOC, "--report=report.json")


def test_files_of_a_wish_that_cannot_be_written(
    cli: Cli, tools: Path, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Staging) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out.keep_dtype.txt")

    monkeypatch.setattr(Staging, "commit", full)
    there = sorted(tools.iterdir())
    done = cli(*kept, "--keep_dtype=keep.txt")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "onnxfuse: error: out.keep_dtype.txt: cannot be written: No space left on device"
    )
    assert not calls(tools)
    assert sorted(tools.iterdir()) == there


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_file_of_the_user_stays(cli: Cli, tools: Path, kept: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Whether it is the one that is given, or another of that name."""
    for given in ("out.keep_dtype.txt", "keep.txt"):
        Path("out.keep_dtype.txt").write_text("cut\n")
        done = cli(*kept, f"--keep_dtype={given}", *more)
        assert done.code == 2
        (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
        assert line.startswith("error: keep-dtype: out.keep_dtype.txt, where ")
        assert Path("out.keep_dtype.txt").read_text() == "cut\n"
    assert not calls(tools)


def test_a_run_after_a_run_takes_its_file(cli: Cli, tools: Path, kept: tuple[str, ...]) -> None:
    for _ in range(2):
        assert cli(*kept, "--keep_dtype=keep.txt").code == 0
    assert Path("out.keep_dtype.txt").read_text() == "cut_again\n"
    assert len(calls(tools)) == 2
    Path("keep.txt").write_text("cut\nact\n")
    assert cli(*kept, "--keep_dtype=keep.txt").code == 2
    assert cli(*kept, "--keep_dtype=keep.txt", "-o", "other").code == 0
    assert Path("other.keep_dtype.txt").read_text() == "cut_again\nact\n"


@pytest.mark.parametrize("manner", ["fail:E40021", "no-om", "killed"])
def test_a_failed_run_takes_its_file_along(
    cli: Cli, tools: Path, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    assert cli(*kept, "--keep_dtype=keep.txt").code == 4
    assert not Path("out.keep_dtype.txt").exists()
    Path("out.keep_dtype.txt").write_text("cut_again\n")  # which was there before
    assert cli(*kept, "--keep_dtype=keep.txt").code == 4
    assert Path("out.keep_dtype.txt").read_text() == "cut_again\n"


def test_ctrl_c_takes_its_file_along(
    cli: Cli, tools: Path, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        assert Path("out.keep_dtype.txt").read_text() == "cut_again\n"
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxfuse.drivers.atc.run", interrupted)
    there = sorted(tools.iterdir())
    assert cli(*kept, "--keep_dtype=keep.txt").code == 130
    assert sorted(tools.iterdir()) == there


def test_the_report_of_another_model(cli: Cli, tools: Path) -> None:
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    done = cli("atc", "m.onnx", *SOC, "--report", "report.json")
    assert done.code == 2
    assert "report.json: is the report of another model than m.onnx: " in done.err


def test_names_of_before(cli: Cli, tools: Path) -> None:
    """merge-sliced took a node away, and the options still name it."""
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\nact\n")
    missing = cli("atc", "out.onnx", *SOC, "--keep_dtype=no.txt", "--report", "report.json")
    assert missing.code == 2
    assert missing.err.count("no.txt") == missing.err.count("E10410") == 1
    given = ("atc", "out.onnx", *SOC, "--keep_dtype=keep.txt")
    done = cli(*given, "--out_nodes=cut_again:0", "--report", "report.json")
    assert done.code == 0, done.err
    (call,) = calls(tools)
    assert "--out_nodes=cut_again:0" in call["argv"]
    assert "--keep_dtype=out.keep_dtype.txt" in call["argv"]
    assert Path("out.keep_dtype.txt").read_text() == "cut_again\nact\n"
    done = cli(*given, "--out_nodes=cut:0", "--report", "report.json")
    assert done.code == 2
    assert "nothing computes output 0 of cut any more: cut_again stands for it" in done.err
    assert done.err.count("error:") == 2  # that, and that nothing was run
    done = cli(*given, "--out_nodes=cut:0")
    assert done.code == 2
    assert "the model has no node cut" in done.err

"""`onnxfuse atc` and `onnxfuse aoe`, against stand-ins for the programs."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

from onnxfuse.model_io.staging import Staging
from tests.cli.conftest import Cli
from tests.drivers.fake_tools import FAKES, calls, left_over, save_model, set_up

SOC: Final = ("--soc", "Ascend310P3")


@pytest.fixture(autouse=True)
def atc(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the stand-ins record; the current one has a model."""
    set_up(monkeypatch, tmp_path)
    save_model(Path("m.onnx"))
    return tmp_path


def test_a_run(cli: Cli, folder: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "4")
    assert done.code == 0, done.err
    assert done.out == ""
    command, header, row = done.err.splitlines()
    assert command == (
        "atc --model=m.onnx --framework=5 --output=m_bs4 --soc_version=Ascend310P3 --input_format=NCHW "
        "--input_shape=image:4,3,8,8"
    )
    assert header.split() == ["batch", "atc", "model", "size", "time", "log"]
    assert row.split()[:3] == ["4", "done", "m_bs4.om"]
    assert row.split()[-1] == "m_bs4.atc.log"
    assert (folder / "m_bs4.om").is_file()


def test_a_dry_run(cli: Cli, atc: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1,16", "--dry-run", "-o", "out put.om", "--no-check")
    assert done.code == 0
    one, other = (shlex.split(line) for line in done.out.splitlines())
    assert "--output=out put_bs1" in one
    assert "--output=out put_bs16" in other
    assert "--input_shape=image:16,3,8,8" in other
    assert not calls(atc)
    rows = cli("atc", "m.onnx", *SOC, "--batch-size", "1,16", "--dry-run", "-o", "o", "--json").json["runs"]
    assert [(row["batch_size"], row["status"]) for row in rows] == [(1, "dry-run"), (16, "dry-run")]
    assert rows[0]["command"][0] == "atc"


def test_a_dry_run_where_there_is_no_atc(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--dry-run")
    assert (done.code, done.out.split()[0]) == (0, "atc")
    assert done.err == "note: there is no atc on PATH: give the toolkit's set_env.sh with --set-env\n"
    Path("set_env.sh").write_text("touch ran\n")
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--dry-run", "--set-env", "set_env.sh")
    assert (done.code, done.err, Path("ran").exists()) == (0, "", False)


def test_several_batch_sizes(cli: Cli, atc: Path, folder: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1, 4,16", "--json")
    assert done.code == 0
    assert [(row["batch_size"], row["om"]) for row in done.json["runs"]] == [
        *((1, "m_bs1.om"), (4, "m_bs4.om"), (16, "m_bs16.om"))
    ]
    assert len(calls(atc)) == 3
    for row in done.json["runs"]:
        assert row["bytes"] == (folder / row["om"]).stat().st_size
        assert (folder / row["log"]).is_file()


def test_one_of_several_fails(cli: Cli, atc: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MANNER", "fail-batch:4")
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1,4,16", "--json")
    assert done.code == 4
    assert [row["status"] for row in done.json["runs"]] == ["done", "failed", "not-run"]
    assert done.json["runs"][1]["codes"] == ["E40021"]
    assert done.json["error"]["exit_code"] == 4
    assert "E40021" in done.json["error"]["message"]
    assert done.err.splitlines()[-1] == f"onnxfuse: error: {done.json['error']['message']}"
    assert left_over(folder) == ["m_bs1.om"]
    assert len(calls(atc)) == 2


@pytest.mark.parametrize("manner", ["no-marker", "no-om", "empty-om", "exit-1", "silent", "killed", "fail:E19999"])
def test_a_failure(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1")
    assert done.code == 4
    assert done.err.splitlines()[-1].startswith("onnxfuse: error: atc ")
    assert done.err.splitlines()[-1].endswith("; its log is m_bs1.atc.log")
    assert not left_over(folder)


def test_warnings_are_explained(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MANNER", "warnings")
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1")
    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("warning: W11001")


def test_its_lines_are_shown(cli: Cli) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--show-log")
    assert "ATC run success, welcome to the next use." in done.err.splitlines()


# ---- options


def test_options_are_handed_on(cli: Cli, atc: Path) -> None:
    Path("keep.txt").write_text("first\n")
    done = cli(
        *("atc", "m.onnx", "--soc_version=Ascend310", "--batch-size=1", "--log", "error", "--output-type=FP16"),
        *("--keep_dtype", "keep.txt", "--out_nodes=last:0"),
    )
    assert done.code == 0, done.err
    (call,) = calls(atc)
    words = {*call["argv"]}
    assert {"--log=error", "--output_type=FP16", "--keep_dtype=keep.txt", "--out_nodes=last:0"} <= words
    assert "--soc_version=Ascend310" in words


def test_options_that_nobody_knows(cli: Cli, atc: Path) -> None:
    assert "unknown option --brand_new=1" in cli("atc", "m.onnx", *SOC, "--brand_new=1").error
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--", "--brand_new=1", "--x", "a b")
    assert done.code == 4
    assert "unknown command line flag 'brand_new'" in done.err
    assert calls(atc)[0]["argv"][-3:] == ["--brand_new=1", "--x", "a b"]


def test_a_symbolic_dim(cli: Cli, atc: Path) -> None:
    save_model(
        Path("d.onnx"),
        '<ir_version: 8, opset_import: ["": 11]> g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { [one] y = Relu(x) }',
    )
    done = cli("atc", "d.onnx", *SOC, "--batch-size", "2", "--dim", "H=8", "--dim", "W=9", "--dry-run")
    assert "--input_shape=x:2,3,8,9" in done.out


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--batch-size", "0"), "--batch-size 0: sizes above 0 are expected"),
        (("--batch-size", "1,,2"), "sizes above 0 are expected"),
        (("--batch-size", "99999999999"), "sizes above 0 are expected"),
        (("--batch-size", "1", "--input_shape", "image:1,3,8,8"), "exclude each other"),
        (("--timeout", "0"), "--timeout is a number of seconds above 0"),
        (("--cann", "new"), "new is no version of CANN"),
        (("--report", "no.json"), "no.json: cannot be read"),
        (("--set-env", "no.sh"), "no.sh: no such file"),
        (("-o", "no/m"), "the folder no does not exist"),
        (("-o", "folder/", "--no-check"), "names no file"),
        (("--report", "report.json", "--keep_dtype", "keep.txt", "-o", "no/m"), "the folder no does not exist"),
    ],
)
def test_mistakes(cli: Cli, atc: Path, words: tuple[str, ...], says: str, dry: tuple[str, ...]) -> None:
    """What the run itself refuses, --dry-run does not approve."""
    Path("folder").mkdir()
    Path("keep.txt").write_text("gone\n")
    step = {"at": {"scope": ""}, "values": {}, "nodes": {"gone": ["first"]}}
    after = {"ops": {"Add": 1, "Relu": 1, "Sigmoid": 1}}
    report = {"schema": 1, "passes": [{"applied": [step]}], "after": after, "verification": {"model": None}}
    Path("report.json").write_text(json.dumps(report))
    given = words if "--batch-size" in words else ("--batch-size", "1", *words)
    done = cli("atc", "m.onnx", *SOC, *given, *dry)
    assert (done.code, done.out) == (2, "")
    assert says in done.err.splitlines()[-1]
    assert not calls(atc)


def test_no_chip(cli: Cli) -> None:
    assert "--soc" in cli("atc", "m.onnx").error


def test_no_model(cli: Cli) -> None:
    assert "no.onnx" in cli("atc", "no.onnx", *SOC).error


def test_no_atc(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--json")
    assert done.code == 4
    assert done.json["error"]["message"] == "there is no atc on PATH: give the toolkit's set_env.sh with --set-env"
    assert done.json["runs"][0]["log"] is None


# ---- checks


def test_an_error_stops_the_run(cli: Cli, atc: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--out_nodes", "lst:0", "--log", "loud", "--json")
    assert done.code == 2
    assert {item["code"] for item in done.json["findings"]} == {"E11017", "E10010"}
    assert done.json["error"]["message"] == "atc was not run: 2 errors above (--no-check runs it all the same)"
    assert any("is last meant?" in line for line in done.err.splitlines())
    assert not calls(atc)
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--out_nodes", "lst:0", "--no-check")
    assert done.code == 4
    assert "E11017" in done.err


def test_dynamic_dims(cli: Cli) -> None:
    done = cli("atc", "m.onnx", *SOC, "--dry-run")
    assert done.code == 0
    assert done.err.startswith("warning: dynamic-dims: ")
    done = cli("atc", "m.onnx", *SOC, "--dry-run", "--cann", "5.1")
    assert done.code == 2
    assert "[E10011]" in done.err
    assert len(done.err.splitlines()) == 2


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


def test_a_dry_run_writes_nothing(cli: Cli, atc: Path) -> None:
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\nact\n")
    there = sorted(atc.iterdir())
    given = ("atc", "out.onnx", *SOC, "--keep_dtype=keep.txt", "--report", "report.json")
    done = cli(*given, "--dry-run")
    assert (done.code, sorted(atc.iterdir())) == (0, there)
    assert "--keep_dtype=out.keep_dtype.txt" in done.out
    assert "note: a run writes out.keep_dtype.txt: cut_again, act\n" in done.err
    for words in (("--cann", "4"), ("--out_nodes=no:0",)):  # nor does what is refused
        assert cli(*given, *words).code == 2
        assert sorted(atc.iterdir()) == there
    assert cli(*given, "-o", "no/x").code == 2


def test_nothing_is_written_for_a_program_that_is_not_there(
    cli: Cli, atc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\n")
    there = sorted(atc.iterdir())
    monkeypatch.setenv("PATH", "/nowhere")
    done = cli("atc", "out.onnx", *SOC, "--keep_dtype=keep.txt", "--report", "report.json")
    assert (done.code, sorted(atc.iterdir())) == (4, there)


@pytest.fixture
def kept(cli: Cli, atc: Path) -> tuple[str, ...]:
    """What compiles a model whose nodes the file that is given calls by names of before."""
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    Path("keep.txt").write_text("cut\n")
    return ("atc", "out.onnx", *SOC, "--report=report.json")


def test_files_of_a_wish_that_cannot_be_written(
    cli: Cli, atc: Path, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Staging) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out.keep_dtype.txt")

    monkeypatch.setattr(Staging, "commit", full)
    there = sorted(atc.iterdir())
    done = cli(*kept, "--keep_dtype=keep.txt")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "onnxfuse: error: out.keep_dtype.txt: cannot be written: No space left on device"
    )
    assert not calls(atc)
    assert sorted(atc.iterdir()) == there


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_file_of_the_user_stays(cli: Cli, atc: Path, kept: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Whether it is the one that is given, or another of that name."""
    for given in ("out.keep_dtype.txt", "keep.txt"):
        Path("out.keep_dtype.txt").write_text("cut\n")
        done = cli(*kept, f"--keep_dtype={given}", *more)
        assert done.code == 2
        (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
        assert line.startswith("error: keep-dtype: out.keep_dtype.txt, where ")
        assert Path("out.keep_dtype.txt").read_text() == "cut\n"
    assert not calls(atc)


def test_a_run_after_a_run_takes_its_file(cli: Cli, atc: Path, kept: tuple[str, ...]) -> None:
    for _ in range(2):
        assert cli(*kept, "--keep_dtype=keep.txt").code == 0
    assert Path("out.keep_dtype.txt").read_text() == "cut_again\n"
    assert len(calls(atc)) == 2
    Path("keep.txt").write_text("cut\nact\n")
    assert cli(*kept, "--keep_dtype=keep.txt").code == 2
    assert cli(*kept, "--keep_dtype=keep.txt", "-o", "other").code == 0
    assert Path("other.keep_dtype.txt").read_text() == "cut_again\nact\n"


@pytest.mark.parametrize("manner", ["fail:E40021", "no-om", "killed"])
def test_a_failed_run_takes_its_file_along(
    cli: Cli, atc: Path, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    assert cli(*kept, "--keep_dtype=keep.txt").code == 4
    assert not Path("out.keep_dtype.txt").exists()
    Path("out.keep_dtype.txt").write_text("cut_again\n")  # which was there before
    assert cli(*kept, "--keep_dtype=keep.txt").code == 4
    assert Path("out.keep_dtype.txt").read_text() == "cut_again\n"


def test_ctrl_c_takes_its_file_along(
    cli: Cli, atc: Path, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        assert Path("out.keep_dtype.txt").read_text() == "cut_again\n"
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxfuse.drivers.atc.run", interrupted)
    there = sorted(atc.iterdir())
    assert cli(*kept, "--keep_dtype=keep.txt").code == 130
    assert sorted(atc.iterdir()) == there


def test_the_report_of_another_model(cli: Cli, atc: Path) -> None:
    save_model(Path("m.onnx"), CHAIN)
    Path("report.json").write_text(cli("apply", "m.onnx", "-o", "out.onnx", "-p", "merge-sliced", "--json").out)
    done = cli("atc", "m.onnx", *SOC, "--report", "report.json")
    assert done.code == 2
    assert "report.json: is the report of another model than m.onnx: " in done.err


def test_names_of_before(cli: Cli, atc: Path) -> None:
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
    (call,) = calls(atc)
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


# ---- hostile text


HOSTILE: Final = ["a b", "a;touch hacked", "$(touch hacked)", "`touch hacked`", "'\"", "a\nb", "a&b|c>d", "-x", "ö*?~"]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_name_holds(cli: Cli, atc: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", "any-text")
    (folder / text).mkdir()
    model = save_model(folder / text / f"{text}.onnx")
    script = folder / text / "set_env.sh"
    script.write_text(f"export PATH={FAKES}:$PATH\n")
    given = ("atc", model, f"--soc={text}", "--batch-size=1", f"--debug_dir={text}", "--no-check", "--set-env", script)
    done = cli(*given)
    assert done.code == 0, done.err
    (call,) = calls(atc)
    assert {f"--model={model}", f"--soc_version={text}", f"--debug_dir={text}"} <= {*call["argv"]}
    (output,) = (word for word in call["argv"] if word.startswith("--output="))
    assert Path(output.removeprefix("--output=")).name == f"{text}_bs1"
    assert sorted(path.name for path in (folder / text).iterdir()) == sorted(
        [f"{text}.onnx", f"{text}_bs1.om", f"{text}_bs1.atc.log", "set_env.sh"]
    )
    assert not list(folder.rglob("hacked"))
    # What --dry-run prints is taken by a shell for the same words.
    printed = cli(*given, "--dry-run").out
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {printed}"], capture_output=True, check=True).stdout
    assert words.split(b"\0")[:2] == [b"atc", f"--model={model}".encode()]


def test_the_environment_of_a_script(cli: Cli, atc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", path.replace(str(FAKES), "/nonsense"))
    monkeypatch.delenv("ASCEND_OPP_PATH")
    Path("set_env.sh").write_text(
        f'echo "not for stdout"\nexport PATH={shlex.quote(str(FAKES))}:$PATH\nexport ASCEND_OPP_PATH={atc / "opp"}\n'
    )
    assert cli("atc", "m.onnx", *SOC, "--batch-size=1").code == 4
    done = cli("atc", "m.onnx", *SOC, "--batch-size=1", "--set-env", "set_env.sh")
    assert done.code == 0, done.err
    assert done.out == ""
    assert calls(atc)[0]["environment"]["ASCEND_OPP_PATH"] == str(atc / "opp")
    Path("set_env.sh").write_text("echo the toolkit is broken >&2\nreturn 5\n")
    done = cli("atc", "m.onnx", *SOC, "--batch-size=1", "--set-env", "set_env.sh")
    assert done.code == 4
    assert done.err.splitlines() == ["onnxfuse: error: source set_env.sh ended with exit code 5: the toolkit is broken"]


# ---- aoe


def test_aoe(cli: Cli, atc: Path, folder: Path) -> None:
    Path("bank").mkdir()
    done = cli("aoe", "m.onnx", "--job-type", "2", "--batch-size", "1", "--bank", "bank", "--", "--device=1")
    assert done.code == 0, done.err
    (call,) = calls(atc)
    words = call["argv"][1:]
    assert words[0] == "--job_type=2"
    assert words[-1] == "--device=1"
    assert not any("soc_version" in word for word in words)
    assert call["environment"]["TUNE_BANK_PATH"] == str(folder / "bank")
    assert (folder / "bank" / "tuned.json").is_file()
    assert (folder / "m_bs1.om").is_file()


def test_aoe_without_running(cli: Cli, atc: Path, folder: Path) -> None:
    Path("a bank").mkdir()
    done = cli("aoe", "m.onnx", "--job_type=1", "--batch-size", "1", "--bank", "a bank", "--dry-run")
    assert shlex.split(done.out) == [
        *(f"TUNE_BANK_PATH={folder / 'a bank'}", "aoe", "--job_type=1", "--model=m.onnx", "--framework=5"),
        *("--output=m_bs1", "--input_format=NCHW", "--input_shape=image:1,3,8,8"),
    ]
    assert not calls(atc)


@pytest.mark.parametrize("manner", ["no-om", "empty-om", "exit-1", "silent", "killed", "fail:E40021"])
def test_aoe_that_fails(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, manner: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", manner)
    done = cli("aoe", "m.onnx", "--job-type", "1", "--batch-size", "1")
    assert done.code == 4
    assert done.err.splitlines()[-1].startswith("onnxfuse: error: aoe ")
    assert not left_over(folder)


def test_aoe_and_mistakes(cli: Cli) -> None:
    assert "--job-type" in cli("aoe", "m.onnx").error
    assert (
        "--bank no: a folder that can be written to is expected"
        in cli("aoe", "m.onnx", "--job-type=1", "--bank=no", "--batch-size=1").error
    )
    assert "unknown option --soc" in cli("aoe", "m.onnx", "--job-type=1", "--soc=Ascend310").error


def test_help_names_what_is_handed_on(process: Cli) -> None:
    text = " ".join(process("atc", "--help").out.split())
    for name in ("input_shape", "precision_mode_v2", "keep_dtype"):
        assert name in text

"""`onnxfuse atc`, against a stand-in for the program."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import Cli
from tests.drivers.fake_tools import FAKES, calls, left_over, save_model

pytestmark = pytest.mark.usefixtures("tools")

SOC: Final = ("--soc", "Ascend310P3")


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


def test_a_dry_run(cli: Cli, tools: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1,16", "--dry-run", "-o", "out put.om", "--no-check")
    assert done.code == 0
    one, other = (shlex.split(line) for line in done.out.splitlines())
    assert "--output=out put_bs1" in one
    assert "--output=out put_bs16" in other
    assert "--input_shape=image:16,3,8,8" in other
    assert not calls(tools)
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


def test_several_batch_sizes(cli: Cli, tools: Path, folder: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1, 4,16", "--json")
    assert done.code == 0
    assert [(row["batch_size"], row["om"]) for row in done.json["runs"]] == [
        *((1, "m_bs1.om"), (4, "m_bs4.om"), (16, "m_bs16.om"))
    ]
    assert len(calls(tools)) == 3
    for row in done.json["runs"]:
        assert row["bytes"] == (folder / row["om"]).stat().st_size
        assert (folder / row["log"]).is_file()


def test_one_of_several_fails(cli: Cli, tools: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MANNER", "fail-batch:4")
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1,4,16", "--json")
    assert done.code == 4
    assert [row["status"] for row in done.json["runs"]] == ["done", "failed", "not-run"]
    assert done.json["runs"][1]["codes"] == ["E40021"]
    assert done.json["error"]["exit_code"] == 4
    assert "E40021" in done.json["error"]["message"]
    assert done.err.splitlines()[-1] == f"onnxfuse: error: {done.json['error']['message']}"
    assert left_over(folder) == ["m_bs1.om"]
    assert len(calls(tools)) == 2


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


def test_options_are_handed_on(cli: Cli, tools: Path) -> None:
    Path("keep.txt").write_text("first\n")
    done = cli(
        *("atc", "m.onnx", "--soc_version=Ascend310", "--batch-size=1", "--log", "error", "--output-type=FP16"),
        *("--keep_dtype", "keep.txt", "--out_nodes=last:0"),
    )
    assert done.code == 0, done.err
    (call,) = calls(tools)
    words = {*call["argv"]}
    assert {"--log=error", "--output_type=FP16", "--keep_dtype=keep.txt", "--out_nodes=last:0"} <= words
    assert "--soc_version=Ascend310" in words


def test_options_that_nobody_knows(cli: Cli, tools: Path) -> None:
    assert "unknown option --brand_new=1" in cli("atc", "m.onnx", *SOC, "--brand_new=1").error
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--", "--brand_new=1", "--x", "a b")
    assert done.code == 4
    assert "unknown command line flag 'brand_new'" in done.err
    assert calls(tools)[0]["argv"][-3:] == ["--brand_new=1", "--x", "a b"]


def test_a_symbolic_dim(cli: Cli, tools: Path) -> None:
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
def test_mistakes(cli: Cli, tools: Path, words: tuple[str, ...], says: str, dry: tuple[str, ...]) -> None:
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
    assert not calls(tools)


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


def test_an_error_stops_the_run(cli: Cli, tools: Path) -> None:
    done = cli("atc", "m.onnx", *SOC, "--batch-size", "1", "--out_nodes", "lst:0", "--log", "loud", "--json")
    assert done.code == 2
    assert {item["code"] for item in done.json["findings"]} == {"E11017", "E10010"}
    assert done.json["error"]["message"] == "atc was not run: 2 errors above (--no-check runs it all the same)"
    assert any("is last meant?" in line for line in done.err.splitlines())
    assert not calls(tools)
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


# ---- hostile text


HOSTILE: Final = ["a b", "a;touch hacked", "$(touch hacked)", "`touch hacked`", "'\"", "a\nb", "a&b|c>d", "-x", "ö*?~"]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_name_holds(cli: Cli, tools: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FAKE_MANNER", "any-text")
    (folder / text).mkdir()
    model = save_model(folder / text / f"{text}.onnx")
    script = folder / text / "set_env.sh"
    script.write_text(f"export PATH={FAKES}:$PATH\n")
    given = ("atc", model, f"--soc={text}", "--batch-size=1", f"--debug_dir={text}", "--no-check", "--set-env", script)
    done = cli(*given)
    assert done.code == 0, done.err
    (call,) = calls(tools)
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


def test_the_environment_of_a_script(cli: Cli, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", path.replace(str(FAKES), "/nonsense"))
    monkeypatch.delenv("ASCEND_OPP_PATH")
    Path("set_env.sh").write_text(
        f'echo "not for stdout"\nexport PATH={shlex.quote(str(FAKES))}:$PATH\nexport ASCEND_OPP_PATH={tools / "opp"}\n'
    )
    assert cli("atc", "m.onnx", *SOC, "--batch-size=1").code == 4
    done = cli("atc", "m.onnx", *SOC, "--batch-size=1", "--set-env", "set_env.sh")
    assert done.code == 0, done.err
    assert done.out == ""
    assert calls(tools)[0]["environment"]["ASCEND_OPP_PATH"] == str(tools / "opp")
    Path("set_env.sh").write_text("echo the toolkit is broken >&2\nreturn 5\n")
    done = cli("atc", "m.onnx", *SOC, "--batch-size=1", "--set-env", "set_env.sh")
    assert done.code == 4
    assert done.err.splitlines() == ["onnxfuse: error: source set_env.sh ended with exit code 5: the toolkit is broken"]


def test_help_names_what_is_handed_on(process: Cli) -> None:
    text = " ".join(process("atc", "--help").out.split())
    for name in ("input_shape", "precision_mode_v2", "keep_dtype"):
        assert name in text

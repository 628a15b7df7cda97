"""A user's mistake: exit code 2, one clear line on stderr, nothing on stdout, nothing written, no traceback."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import COMMAND, Cli, environment
from tests.cli.models import save

ONE_MODEL = (["apply", "{}", "-o", "out.onnx"], ["inspect", "{}"])
TWO_MODELS = (["verify", "{}", "good.onnx"], ["verify", "good.onnx", "{}"], ["diff", "{}", "good.onnx"])


def unreadable(folder: Path) -> dict[str, str]:
    """Files that are no models, each with what must be said of it."""
    good = save("pair", folder).rename("good.onnx").read_bytes()
    (folder / "folder").mkdir()
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("This is no model.\n")
    (folder / "cut").write_bytes(good[: len(good) // 2])
    (folder / "noise").write_bytes(bytes(range(255, 55, -1)))
    (folder / "dangling").symlink_to("nowhere")
    newer = onnx.ModelProto.FromString(good)
    newer.ir_version = 99
    (folder / "newer").write_bytes(newer.SerializeToString())
    tensor = onnx.TensorProto(name="t", dims=[1], data_type=1, raw_data=b"abcd")
    (folder / "tensor").write_bytes(tensor.SerializeToString())
    return {
        "missing": "No such file",
        "dangling": "No such file",
        "folder": "folder",
        "empty": "empty",
        "text": "corrupt",
        "cut": "corrupt",
        "noise": "corrupt",
        "newer": "IR version 99 is newer than the installed onnx",
        "tensor": "not an ONNX model",
    }


NAMES = ("missing", "dangling", "folder", "empty", "text", "cut", "noise", "newer", "tensor")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argv", [*ONE_MODEL, *TWO_MODELS], ids=" ".join)
def test_a_model_that_cannot_be_read(cli: Cli, folder: Path, name: str, argv: list[str]) -> None:
    expected = unreadable(folder)[name]
    before = sorted(folder.iterdir())
    done = cli(*[word.format(name) for word in argv])
    assert done.data == b""
    assert done.error.startswith(f"{name}: ")
    assert expected in done.error
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("", "-o needs the name of a file, or - for stdout"),
        ("folder", "folder: is a folder; name a file in it"),
        ("folder/", "folder/: is a folder; name a file in it"),
        (".", ".: is a folder; name a file in it"),
        ("no/out.onnx", "no/out.onnx: the folder no does not exist"),
        ("/dev/null", "/dev/null: is no ordinary file (-o - writes to stdout, --dry-run writes nothing)"),
    ],
)
def test_a_place_that_cannot_be_written(cli: Cli, pair: Path, folder: Path, target: str, error: str) -> None:
    (folder / "folder").mkdir()
    assert cli("apply", pair, "-o", target).error == error
    # A dry run is told as well.
    assert cli("apply", pair, "-o", target, "--dry-run").error == error
    assert list((folder / "folder").iterdir()) == []


def test_a_folder_that_may_not_be_written(cli: Cli, pair: Path, folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    # Whom permissions do not stop (root) has no file system that does: /proc takes no files from anyone.
    target = "locked/out.onnx" if not os.access(locked, os.W_OK) else "/proc/out.onnx"
    error = cli("apply", pair, "-o", target).error
    assert error.startswith(f"{target}: ")
    assert "cannot be written" in error
    locked.chmod(0o700)
    assert list(locked.iterdir()) == []


def test_a_disk_that_is_full(pair: Path, folder: Path) -> None:
    (folder / "out.onnx").write_bytes(b"what was here before")
    done = subprocess.run(
        [*COMMAND, "apply", str(pair), "-o", "out.onnx", "-p", "merge-sliced"],
        env=environment(),
        capture_output=True,
        check=False,
        # No file grows over 100 bytes, as on a disk that is full.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == ["onnxfuse: error: out.onnx: cannot be written: File too large"]
    assert (folder / "out.onnx").read_bytes() == b"what was here before"
    assert sorted(path.name for path in folder.iterdir()) == ["out.onnx", "pair.onnx"]


WHERE = "where to? give -o OUT, or --in-place to write over IN (--dry-run and --check write nothing)"


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ([], "the following arguments are required: COMMAND (onnxfuse --help says more)"),
        (["apply"], "the following arguments are required: IN (onnxfuse apply --help says more)"),
        (["verify", "pair.onnx"], "the following arguments are required: B (onnxfuse verify --help says more)"),
        (["diff", "pair.onnx"], "the following arguments are required: B (onnxfuse diff --help says more)"),
        (["inspect"], "the following arguments are required: MODEL (onnxfuse inspect --help says more)"),
        (["apply", "pair.onnx"], WHERE),
        (["apply", "pair.onnx", "--no-in-place"], WHERE),
        (["apply", "pair.onnx", "-o", "out.onnx", "--in-place"], "-o and --in-place exclude each other"),
        (["apply", "pair.onnx", "-o", "-", "--json"], "-o - and --json both want stdout: give -o a file"),
        (
            ["apply", "pair.onnx", "out.onnx"],
            "unexpected argument out.onnx: the output is given with -o (onnxfuse apply --help says more)",
        ),
        (["diff", "pair.onnx", "pair.onnx", "more"], "unexpected argument more (onnxfuse diff --help says more)"),
        (
            ["apply", "pair.onnx", "--dryrun"],
            "unknown option --dryrun: did you mean --dry-run? (onnxfuse apply --help says more)",
        ),
        (
            ["apply", "pair.onnx", "--verfy=off"],
            "unknown option --verfy=off: did you mean --verify? (onnxfuse apply --help says more)",
        ),
        (["aply", "pair.onnx"], "there is no command aply: did you mean apply? (onnxfuse --help says more)"),
        (["verify", "a", "b", "--zzz"], "unknown option --zzz (onnxfuse verify --help says more)"),
        (
            ["apply", "pair.onnx", "--verif", "off"],
            "unknown option --verif: did you mean --verify? (onnxfuse apply --help says more)",
        ),
        (
            ["apply", "pair.onnx", "--dry-run", "--verify-budget", "0"],
            "--verify-budget is a number of seconds above 0, not 0",
        ),
        (
            ["apply", "pair.onnx", "--dry-run", "--verify-budget", "-1"],
            "--verify-budget is a number of seconds above 0, not -1",
        ),
        (
            ["apply", "pair.onnx", "--dry-run", "--verify-budget", "nan"],
            "--verify-budget is a number of seconds above 0, not nan",
        ),
        (
            ["verify", "pair.onnx", "pair.onnx", "--verify-budget", "inf"],
            "--verify-budget is a number of seconds above 0, not inf",
        ),
        (["verify", "pair.onnx", "pair.onnx", "--seed", "-1"], "--seed is a whole number from 0 on, not -1"),
        (
            ["passes", "merge-slice"],
            "there is no pass 'merge-slice': did you mean merge-sliced? (onnxfuse passes lists them)",
        ),
    ],
)
def test_a_wrong_command_line(cli: Cli, pair: Path, folder: Path, argv: list[str], error: str) -> None:
    assert cli(*argv).error == error
    assert list(folder.iterdir()) == [pair]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["zzz"], ["there is no command zzz; there are", "apply", "verify", "diff", "passes", "inspect"]),
        (["apply", "pair.onnx", "--dry-run", "--verify", "regio"], ["--verify", "regio", "structure", "region"]),
        (["apply", "pair.onnx", "--dry-run", "--verify-budget", "x"], ["--verify-budget", "x"]),
        (["verify", "pair.onnx", "pair.onnx", "--seed", "x"], ["--seed", "x"]),
        (["apply", "pair.onnx", "-o"], ["-o", "expected one argument"]),
    ],
)
def test_a_wrong_choice(cli: Cli, pair: Path, argv: list[str], words: list[str]) -> None:
    del pair
    error = cli(*argv).error
    assert [word for word in words if word not in error] == []


def test_control_characters_of_a_name_do_not_act_on_the_terminal(cli: Cli, folder: Path) -> None:
    model = onnx.load(save("shared", folder))
    model.graph.node[1].name = "red\x1b[31m\r"
    onnx.save(model, "evil.onnx")
    done = cli("apply", "evil.onnx", "--dry-run", "--why")
    assert r"merge-sliced declined at red\x1b[31m\x0d: the first Slice has another use" in done.err


def test_a_name_that_stdout_cannot_print_is_escaped(folder: Path) -> None:
    model = onnx.load(save("relu", folder))
    model.graph.input[0].name = model.graph.node[0].input[0] = "图像"
    onnx.save(model, "named.onnx")
    more = {"PYTHONIOENCODING": "ascii"}
    text, json = (
        subprocess.run(
            [*COMMAND, "inspect", "named.onnx", *option],
            env=environment(more=more),
            capture_output=True,
            check=True,
        ).stdout
        for option in ([], ["--json"])
    )
    assert rb"input   \u56fe\u50cf  float [N, 8]" in text
    assert rb'"name": "\u56fe\u50cf"' in json


def test_an_option_that_is_misspelled_is_named_and_not_what_is_missing_without_it(cli: Cli, folder: Path) -> None:
    save("neg", folder)
    assert cli("atc", "neg.onnx", "--socc", "X").error.startswith("unknown option --socc: did you mean --soc?")
    assert cli("aoe", "neg.onnx", "--job-typ=1").error.startswith(
        "unknown option --job-typ=1: did you mean --job-type?"
    )
    assert "required: --soc" in cli("atc", "neg.onnx", "--batch-size", "1").error

"""`onnxfuse apply`: what it writes, what it says, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.models import ops, weighted

# ---- where the model goes


def test_writes_the_rewritten_model(cli: Cli, pair: Path) -> None:
    before = pair.read_bytes()
    done = cli("apply", pair, "-o", "out.onnx")
    assert done.code == 0
    assert done.out == ""
    assert ops(Path("out.onnx")) == ["Slice"]
    assert pair.read_bytes() == before
    size = Path("out.onnx").stat().st_size
    assert done.err.splitlines()[-1] == f"wrote out.onnx ({size} bytes)"


def test_says_what_it_did(cli: Cli, pair: Path) -> None:
    lines = cli("apply", pair, "-o", "out.onnx", "-p", "merge-sliced").err.splitlines()
    assert lines[0].split() == ["pass", "applied", "declined", "rejected", "largest", "error", "grade", "time"]
    assert lines[1].split()[:6] == ["merge-sliced", "1", "0", "0", "0", "exact-for-all-shapes"]
    assert lines[2:5] == ["", "nodes 2 -> 1", "  Slice 2 -> 1"]
    assert lines[5].startswith("verified: 1 region (1 session, ")
    assert "; the whole model: equivalent (1 input set compared, onnxruntime, " in lines[5]
    assert lines[6] == "  y: equivalent (all bits equal)"


def test_writes_to_stdout_only_when_told(cli: Cli, pair: Path, folder: Path) -> None:
    cli("apply", pair, "-o", "out.onnx")
    done = cli("apply", pair, "-o", "-")
    assert done.code == 0
    assert done.data == Path("out.onnx").read_bytes()
    assert done.err.splitlines()[-1] == "wrote the model to stdout"
    assert sorted(path.name for path in folder.iterdir()) == ["out.onnx", "pair.onnx"]


def test_stdout_of_an_unchanged_model_is_the_input(cli: Cli, relu: Path) -> None:
    assert cli("apply", relu, "-o", "-").data == relu.read_bytes()


def test_weights_go_to_stdout_as_they_are(cli: Cli, folder: Path) -> None:
    weights = weighted(folder / "w.onnx")
    done = cli("apply", "w.onnx", "-o", "-")
    assert done.data == Path("w.onnx").read_bytes()
    assert weights in done.data


def test_external_data_of_a_model_on_stdout_is_pointed_to(cli: Cli, folder: Path) -> None:
    weighted(folder / "w.onnx", external=True)
    done = cli("apply", "w.onnx", "-o", "-")
    assert done.code == 0
    assert "note: the model refers by name to external data, which is in ./" in done.err.splitlines()


def test_in_place(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "--in-place")
    assert done.code == 0
    assert ops(pair) == ["Slice"]
    assert f"wrote {pair}" in done.err


def test_in_place_leaves_a_model_without_a_match_alone(cli: Cli, relu: Path) -> None:
    os.utime(relu, ns=(1, 1))
    done = cli("apply", relu, "--in-place", "--json")
    assert done.code == 0
    assert relu.stat().st_mtime_ns == 1
    assert done.json["output"] is None
    assert done.err.splitlines()[-1] == f"{relu} is left as it was"


def test_an_unchanged_model_is_copied_byte_for_byte(cli: Cli, relu: Path) -> None:
    done = cli("apply", relu, "-o", "out.onnx")
    assert done.code == 0
    assert Path("out.onnx").read_bytes() == relu.read_bytes()
    assert "nothing matched: the model is unchanged" in done.err
    assert "verified: nothing to verify" in done.err
    assert "  merge-sliced did not run: the model has no Slice" in done.err.splitlines()


@pytest.mark.parametrize("where", [[], ["-o", "out.onnx"], ["--in-place"], ["-o", "-"]])
def test_a_dry_run_writes_nothing(cli: Cli, pair: Path, folder: Path, where: list[str]) -> None:
    before = pair.read_bytes()
    done = cli("apply", pair, "--dry-run", *where)
    assert (done.code, done.data) == (0, b"")
    assert "nodes 2 -> 1" in done.err
    assert done.err.splitlines()[-1] == "nothing was written (--dry-run)"
    assert pair.read_bytes() == before
    assert list(folder.iterdir()) == [pair]


@pytest.mark.parametrize("where", [[], ["-o", "out.onnx"], ["--in-place"], ["--dry-run"]])
def test_check_asks_only_whether_anything_would_change(
    cli: Cli, pair: Path, relu: Path, folder: Path, where: list[str]
) -> None:
    done = cli("apply", pair, "--check", *where)
    assert (done.code, done.err.splitlines()[-1]) == (1, "would change")
    done = cli("apply", relu, "--check", *where)
    assert (done.code, done.err.splitlines()[-1]) == (0, "would not change")
    assert sorted(folder.iterdir()) == [pair, relu]
    assert ops(pair) == ["Slice", "Slice"]


def test_the_negative_form_of_a_switch_wins_when_it_comes_last(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--check", "--no-check", "--dry-run", "--no-dry-run")
    assert done.code == 0
    assert Path("out.onnx").exists()


def test_what_was_written_gives_nothing_more_to_do(cli: Cli, pair: Path) -> None:
    cli("apply", pair, "-o", "out.onnx")
    assert cli("apply", "out.onnx", "--check").code == 0


# ---- the input is never written over by mistake


def spellings(pair: Path) -> dict[str, str]:
    folder = pair.parent
    (folder / "link.onnx").symlink_to("pair.onnx")
    (folder / "hard.onnx").hardlink_to(pair)
    (folder / "here").symlink_to(".")
    return {
        "same": "pair.onnx",
        "dot": "./pair.onnx",
        "absolute": str(pair),
        "up": f"../{folder.name}/pair.onnx",
        "symlink": "link.onnx",
        "hard link": "hard.onnx",
        "linked folder": "here/pair.onnx",
    }


@pytest.mark.parametrize("spelling", ["same", "dot", "absolute", "up", "symlink", "hard link", "linked folder"])
def test_the_input_is_recognized(cli: Cli, pair: Path, spelling: str) -> None:
    before, target = pair.read_bytes(), spellings(pair)[spelling]
    assert cli("apply", "pair.onnx", "-o", target).error == f"{target} is the input: give --in-place to write over it"
    assert cli("apply", target, "-o", "pair.onnx").error == "pair.onnx is the input: give --in-place to write over it"
    assert pair.read_bytes() == before


# ---- as JSON


def test_json_is_all_there_is_on_stdout(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--json")
    report = done.json
    assert report["schema"] == 1
    assert report["input"] == str(pair)
    assert report["output"] == {"path": "out.onnx", "bytes": Path("out.onnx").stat().st_size, "notes": []}
    assert report["pipeline"] == "merge-sliced,remove-pad"
    assert (report["before"], report["after"]) == (
        {"nodes": 2, "ops": {"Slice": 2}},
        {"nodes": 1, "ops": {"Slice": 1}},
    )
    (applied,) = report["passes"][0]["applied"]
    assert [item["node"] for item in applied["removed"]] == ["rows_cut", "columns_cut"]
    assert applied["at"]["node"] == "columns_cut"
    assert report["renamed_values"] == {"cropped": None}
    assert report["verification"]["model"]["status"] == "equivalent"
    assert "wrote out.onnx" in done.err


def test_json_of_a_dry_run(cli: Cli, pair: Path) -> None:
    report = cli("apply", pair, "--dry-run", "--json").json
    assert report["modified"] is True
    assert report["output"] is None


def test_json_of_a_mistake(cli: Cli) -> None:
    done = cli("apply", "no.onnx", "--dry-run", "--json")
    assert done.code == 2
    message = "no.onnx: cannot be read: No such file or directory"
    assert done.json == {"schema": 1, "error": {"type": "ModelError", "message": message, "exit_code": 2}}
    assert done.err == f"onnxfuse: error: {message}\n"


def test_json_of_a_wrong_command_line(cli: Cli) -> None:
    done = cli("apply", "no.onnx", "--json", "--nonsense")
    assert done.json["error"]["type"] == "UsageError"
    assert done.json["error"]["exit_code"] == done.code == 2

"""`onnxfuse apply`: which passes run, and why not more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.models import ops, save

# ---- which passes run


def test_skip(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "--dry-run", "--skip", "merge-sliced", "--json")
    assert [item["pass"] for item in done.json["passes"]] == ["remove-pad"]
    assert done.json["pipeline"] == "remove-pad"
    assert not done.json["modified"]


def test_skipping_every_pass_is_said(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "-p", "merge-sliced", "--skip", "merge-sliced")
    assert done.code == 0
    assert done.err.splitlines()[0] == "no pass ran: the pipeline is empty"
    assert Path("out.onnx").read_bytes() == pair.read_bytes()


def test_skip_repeats_and_wants_passes_of_the_pipeline(cli: Cli, pair: Path) -> None:
    assert cli("apply", pair, "--check", "--skip", "merge-sliced", "--skip", "remove-pad").code == 0
    done = cli("apply", pair, "--check", "-p", "merge-sliced", "--skip", "remove-pad")
    assert done.error == "'remove-pad' cannot be skipped: the pipeline merge-sliced does not have it"


@pytest.mark.parametrize("node", ["rows_cut", "columns_cut"])
def test_except_leaves_a_node_out(cli: Cli, pair: Path, node: str) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--except", node, "--why")
    assert done.code == 0
    assert Path("out.onnx").read_bytes() == pair.read_bytes()
    assert "declined 1: the node is left out by --except" in done.err


def test_except_wants_a_node_that_is_there(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "--dry-run", "--except", "row_cut")
    assert done.error == "--except row_cut: the model has no node of this name: did you mean rows_cut?"


def test_except_takes_a_name_that_begins_with_a_dash(cli: Cli, pair: Path) -> None:
    assert cli("apply", pair, "--dry-run", "--except", "-x").error == "--except -x: the model has no node of this name"


def test_except_says_so_where_the_node_has_no_name(cli: Cli, folder: Path) -> None:
    error = cli("apply", save("unnamed", folder), "--dry-run", "--except", "y").error
    assert error == "--except y: the node that computes y has no name, so it cannot be left out"


@pytest.mark.parametrize(
    ("pipeline", "error"),
    [
        ("merge-slice", "there is no pass 'merge-slice': did you mean merge-sliced? (onnxfuse passes lists them)"),
        ("zzz", "there is no pass 'zzz' (onnxfuse passes lists them)"),
        ("", "the pipeline is empty: name at least one pass or preset"),
        (
            "merge-sliced,,x",
            "the pipeline 'merge-sliced,,x' cannot be read at character 14: the name of a pass is expected",
        ),
        ("merge-sliced{a=1}", "merge-sliced has no option 'a': it has none"),
        ("default{a=1}", "the preset default takes no options"),
    ],
)
def test_a_pipeline_that_cannot_be_read(cli: Cli, pair: Path, pipeline: str, error: str) -> None:
    assert cli("apply", pair, "--dry-run", "-p", pipeline).error == error


# ---- why


def test_why_lists_every_declined_candidate(cli: Cli, folder: Path) -> None:
    done = cli("apply", save("shared", folder), "--dry-run", "--why")
    assert "declined 1: the first Slice has another use" in done.err.splitlines()
    assert "merge-sliced declined at columns_cut: the first Slice has another use (rows_cut)" in done.err.splitlines()
    assert [line for line in done.err.splitlines() if "did not run" in line] == [
        "  remove-pad did not run: the model has no Pad"
    ]


def test_why_of_one_pass(cli: Cli, folder: Path) -> None:
    shared = save("shared", folder)
    done = cli("apply", shared, "--dry-run", "--why", "merge-sliced")
    assert "merge-sliced declined at columns_cut: the first Slice has another use (rows_cut)" in done.err.splitlines()
    assert "remove-pad did not run: the model has no Pad" not in done.err.splitlines()


def test_why_where_nothing_was_declined(cli: Cli, pair: Path) -> None:
    assert "no candidate was declined" in cli("apply", pair, "--dry-run", "--why").err.splitlines()
    done = cli("apply", pair, "--dry-run", "--why", "merge-sliced")
    assert "merge-sliced declined no candidate" in done.err.splitlines()


def test_why_of_a_pass_that_does_not_run_is_a_mistake(cli: Cli, pair: Path) -> None:
    error = cli("apply", pair, "--dry-run", "--why", "merge-slices").error
    assert error == "there is no pass 'merge-slices': did you mean merge-sliced? (onnxfuse passes lists them)"
    error = cli("apply", pair, "--dry-run", "-p", "merge-sliced", "--why", "remove-pad").error
    assert error == "--why remove-pad: the pipeline merge-sliced does not have this pass"
    error = cli("apply", pair, "--dry-run", "--why", "minimal").error
    assert error == "--why minimal: that is a preset; name one of its passes: remove-pad"
    error = cli("apply", pair, "--dry-run", "--skip", "remove-pad", "--why", "remove-pad").error
    assert error == "--why remove-pad: the pipeline merge-sliced does not have this pass"


def test_the_commonest_reasons_are_in_the_report(cli: Cli, folder: Path) -> None:
    lines = cli("apply", save("pads", folder), "--dry-run").err.splitlines()
    assert [line for line in lines if line.startswith("declined")] == [
        "declined 3: the pads are not all zero: [0, 0, 0, 1]",
        "declined 2: the pads are not all zero: [0, 0, 0, 2]",
        "declined 1: the pads are not all zero: [0, 0, 0, 4]",
        "declined 1: for 1 other reason (--why lists every candidate)",
    ]


# ---- a limit


def test_a_limit_stops_after_so_many_rewrites(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--limit", "0", "--json")
    assert done.code == 0
    assert done.json["notes"] == ["the limit of 0 rewrites was reached: no candidate after that was asked"]
    assert Path("out.onnx").read_bytes() == pair.read_bytes()
    done = cli("apply", pair, "-o", "out.onnx", "--limit", "1")
    assert "note: the limit of 1 rewrite was reached: no candidate after that was asked" in done.err.splitlines()
    assert ops(Path("out.onnx")) == ["Slice"]
    assert "the limit" not in cli("apply", pair, "-o", "out.onnx", "--limit", "2").err


def test_a_limit_below_0_is_a_mistake(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--limit=-1")
    assert done.error == "--limit is a number of rewrites from 0 on, not -1"

"""`onnxfuse apply`: what it writes, what it says, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxfuse.verification.region import Evidence, RegionVerifier
from tests.cli.conftest import Cli
from tests.cli.models import save, weighted


def ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


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
    assert "remove-pad did not run: the model has no Pad" in done.err.splitlines()


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


# ---- how much is verified


@pytest.mark.parametrize(
    ("level", "grade", "verified"),
    [
        ("off", "not-run", "verified: not-run (--verify off)"),
        (
            "structure",
            "not-run",
            "verified: the structure of 1 rewrite; what it computes: not-run (--verify structure)",
        ),
        ("region", "exact-for-all-shapes", "; the whole model: not-run (--verify region)"),
        ("model", "exact-for-all-shapes", "; the whole model: equivalent (1 input set compared, onnxruntime, "),
    ],
)
def test_levels(cli: Cli, pair: Path, level: str, grade: str, verified: str) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--verify", level, "--json")
    assert done.code == 0
    assert verified in done.err
    (merged, _) = done.json["passes"]
    assert [item["grade"] for item in merged["applied"]] == [grade]
    assert merged["sessions"] == (1 if level in ("region", "model") else 0)
    assert done.json["verification"]["level"] == level
    assert (done.json["verification"]["model"] is not None) == (level == "model")
    assert ops(Path("out.onnx")) == ["Slice"]


def test_a_model_that_cannot_be_run_is_written_and_said_to_be_not_run(cli: Cli, folder: Path) -> None:
    done = cli("apply", save("custom", folder), "-o", "out.onnx", "--json")
    assert done.code == 0
    assert ops(Path("out.onnx")) == ["Mine", "Slice"]
    assert "; the whole model: not-run (0 input sets compared" in done.err
    assert "my.domain" in done.err
    assert "Mine" in done.err
    assert done.err.splitlines()[-1].startswith("wrote out.onnx")
    verdict = done.json["verification"]["model"]
    assert verdict["status"] == "not-run"
    assert len(verdict["not_run"]) == 1


def test_what_the_budget_cuts_is_not_run(cli: Cli, pair: Path) -> None:
    done = cli("apply", pair, "-o", "out.onnx", "--verify-budget", "1e-9")
    assert done.code == 0
    assert "; the whole model: not-run (0 input sets compared" in done.err
    assert "within the budget of 1e-09 s" in done.err
    assert Path("out.onnx").exists()


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a wrong rewrite past the check of its region."""
    monkeypatch.setattr(RegionVerifier, "check", lambda _self, _region: Evidence("value-tested", "trusted", 0.0))


@pytest.mark.usefixtures("installed", "trusting")
@pytest.mark.parametrize("where", [["-o", "out.onnx"], ["--in-place"], ["-o", "-"], ["--check"], ["--dry-run"]])
def test_a_model_that_gives_other_results_is_not_written(cli: Cli, relu: Path, folder: Path, where: list[str]) -> None:
    before = relu.read_bytes()
    done = cli("apply", relu, "-p", "relu-to-neg", *where)
    assert (done.code, done.data) == (1, b"")
    assert "; the whole model: different (1 input set compared, onnxruntime, " in done.err
    assert "  y: different: value: " in done.err
    assert done.err.splitlines()[-1] == (
        "nothing was written: the rewritten model gives other results than the original"
    )
    assert relu.read_bytes() == before
    assert list(folder.iterdir()) == [relu]


@pytest.mark.usefixtures("installed")
def test_a_rejected_rewrite_leaves_the_model_as_it_was(cli: Cli, relu: Path) -> None:
    done = cli("apply", relu, "-o", "out.onnx", "-p", "relu-to-neg", "--json")
    assert done.code == 0
    assert Path("out.onnx").read_bytes() == relu.read_bytes()
    assert "nothing was rewritten: the model is unchanged" in done.err
    rejected = [line for line in done.err.splitlines() if line.startswith("rejected: ")]
    assert len(rejected) == 1
    assert rejected[0].startswith("rejected: relu-to-neg at relu: the replacement differs at ")
    (item,) = done.json["passes"][0]["rejected"]
    assert item["at"] == {"node": "relu", "op_type": "Relu", "scope": []}
    # What shows it is at hand: the inputs, in the text too.
    (values,) = item["evidence"]["inputs"].values()
    assert values[0] < 0 or len(values) > 1
    assert f": {values[0]:.6g}, {values[1]:.6g}, " in done.err


@pytest.mark.usefixtures("installed")
def test_strict_refuses_a_rejected_rewrite(cli: Cli, relu: Path, pair: Path) -> None:
    done = cli("apply", relu, "-o", "out.onnx", "-p", "relu-to-neg", "--strict")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "nothing was written: verification rejected a rewrite (--strict)"
    assert not Path("out.onnx").exists()
    assert cli("apply", pair, "-o", "out.onnx", "--strict").code == 0


# ---- on which inputs


def with_minus_one(folder: Path) -> Path:
    """A model that runs at batch 5 only, and whose batch is called "-1", as exporters like to write it."""
    path = save("five", folder)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "-1"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("option", [["--dim", "-1=5"], ["--dim=-1=5"], ["--dim", "x.0=5"]])
def test_a_dim_is_bound_for_testing_and_never_written(cli: Cli, folder: Path, option: list[str]) -> None:
    path = with_minus_one(folder)
    done = cli("apply", path, "-o", "free.onnx")
    assert "; the whole model: not-run" in done.err
    assert "with its symbolic dims (-1) at any size tried from 1 to 64" in done.err
    done = cli("apply", path, "-o", "bound.onnx", *option)
    assert done.code == 0
    assert "; the whole model: equivalent (1 input set compared" in done.err
    assert Path("bound.onnx").read_bytes() == Path("free.onnx").read_bytes()
    assert onnx.load("bound.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "-1"


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("N", "--dim N: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4"),
        ("N=", "--dim N=: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4"),
        ("=4", "--dim =4: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4"),
        ("N=x", "--dim N=x: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4"),
        ("N=-4", "--dim N=-4: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4"),
        ("N=4.0", "--dim N=4.0: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4"),
        ("x.1=4", "dim x.1 is 8 in the model, so it cannot be bound to 4"),
    ],
)
def test_a_dim_that_cannot_be_bound(cli: Cli, pair: Path, option: str, error: str) -> None:
    assert cli("apply", pair, "--dry-run", "--dim", option).error == error


def test_a_dim_is_given_once(cli: Cli, pair: Path) -> None:
    assert cli("apply", pair, "--dry-run", "--dim", "N=4", "--dim", "N=4").code == 0
    error = cli("apply", pair, "--dry-run", "--dim", "N=4", "--dim", "N=5").error
    assert error == "--dim N is given both as 4 and as 5"


def test_a_dim_must_be_there_even_if_nothing_is_rewritten(cli: Cli, relu: Path) -> None:
    assert cli("apply", relu, "--dry-run", "--dim", "batch=4").error.startswith(
        "no input has a dim 'batch'; there are: N"
    )


def test_input_data_is_what_the_models_are_compared_on(cli: Cli, folder: Path) -> None:
    five = save("five", folder)
    np.savez("one.npz", x=np.ones((5, 8, 16, 16), np.float32))
    np.savez("two.npz", x=np.zeros((5, 8, 16, 16), np.float32))
    done = cli("apply", five, "--dry-run", "--input-data", "one.npz", "--input-data", "two.npz")
    assert done.code == 0
    assert "; the whole model: equivalent (2 input sets compared" in done.err


def test_input_data_that_cannot_be_read(cli: Cli, pair: Path, folder: Path) -> None:
    np.savez("objects.npz", x=np.array([{}], dtype=object))
    np.save("array.npy", np.zeros(3))
    np.savez("good.npz", x=np.zeros((1, 8, 16, 16), np.float32))
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("hello")
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:200])
    (folder / "folder.npz").mkdir()
    for name in ("objects.npz", "array.npy", "empty.npz", "text.npz", "cut.npz"):
        error = cli("apply", pair, "--dry-run", "--input-data", name).error
        assert error == f"input data {name}: is no .npz archive of plain arrays"
    error = cli("apply", pair, "--dry-run", "--input-data", "folder.npz").error
    assert error == "input data folder.npz: holds neither .npz files nor folders with one .npy for each input"
    assert cli("apply", pair, "--dry-run", "--input-data", "no.npz").error == "--input-data no.npz: no such file"


def test_input_data_of_another_model(cli: Cli, pair: Path) -> None:
    np.savez("other.npz", image=np.zeros((1, 8, 16, 16), np.float32))
    error = cli("apply", pair, "-o", "out.onnx", "--input-data", "other.npz").error
    assert error == "input set 0 has nothing for input x; the inputs are: x"
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize("level", ["off", "structure", "region"])
def test_an_option_without_effect_is_said(cli: Cli, pair: Path, level: str) -> None:
    np.savez("one.npz", x=np.ones((5, 8, 16, 16), np.float32))
    done = cli(
        "apply", pair, "--dry-run", "--verify", level, "--dim=N=2", "--input-data", "one.npz", "--verify-budget", "3"
    )
    assert done.code == 0
    assert done.err.splitlines()[:3] == [
        f"note: {option} has no effect: --verify {level} leaves out the whole-model check"
        for option in ("--dim", "--input-data", "--verify-budget")
    ]
    assert "no effect" not in cli("apply", pair, "--dry-run", "--verify", level).err


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

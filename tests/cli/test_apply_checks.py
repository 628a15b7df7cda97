"""`onnxfuse apply`: how much is verified, on which inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxfuse.verification.region import Evidence, RegionVerifier
from tests.cli.conftest import Cli
from tests.cli.models import ops, save

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

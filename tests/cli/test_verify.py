"""`onnxfuse verify`: 0 equivalent, 1 different, 5 could not decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Cli
from tests.cli.models import save


@pytest.fixture
def merged(cli: Cli, pair: Path) -> Path:
    """The model `pair`, rewritten."""
    cli("apply", pair, "-o", "merged.onnx", "--verify", "off")
    return Path("merged.onnx")


def test_equivalent(cli: Cli, pair: Path, merged: Path) -> None:
    done = cli("verify", pair, merged, "--json")
    assert done.code == 0
    verdict = done.json
    assert verdict["schema"] == 1
    assert (verdict["a"], verdict["b"]) == (str(pair), str(merged))
    assert verdict["status"] == "equivalent"
    assert verdict["backend"] == "onnxruntime"
    assert verdict["draws"] > 3
    lines = done.err.splitlines()
    assert lines[0].startswith(f"equivalent ({verdict['draws']} input sets compared, onnxruntime, ")
    assert lines[1:] == ["  y: equivalent (all bits equal)"]
    (output,) = verdict["outputs"]
    assert (output["basis"], output["max_abs"], output["max_ulp"]) == ("bits", 0, 0)
    assert (verdict["layers"], "inputs" in verdict) == ([], False)


def test_without_json_stdout_is_empty(cli: Cli, pair: Path, merged: Path) -> None:
    assert cli("verify", pair, merged).out == ""


def test_identical(cli: Cli, pair: Path) -> None:
    done = cli("verify", pair, pair)
    assert done.code == 0
    assert "  note: the files are identical" in done.err.splitlines()


def test_different(cli: Cli, relu: Path, folder: Path) -> None:
    done = cli("verify", relu, save("neg", folder), "--json")
    assert done.code == 1
    # All normal ones are compared before it is asked whether a difference may be rounding.
    assert done.err.startswith("different (3 input sets compared, onnxruntime, ")
    (output,) = done.json["outputs"]
    assert output["status"] == "different"
    assert output["why"].startswith("value: 16 of 16 float32 values differ, 0.0 and ")
    assert output["max_abs"] > 1
    assert output["needed"] > 0.5
    assert output["draw"] == "normal 0 at N=2"
    (layer,) = done.json["layers"]
    assert (layer["name"], layer["op_type"], layer["diverges"]) == ("y", "Relu", True)
    assert "  first diverging value: y (Relu)" in done.err.splitlines()


def test_what_is_computed_identically_needs_no_run(cli: Cli, relu: Path, folder: Path) -> None:
    done = cli("verify", relu, save("unnamed", folder), "--json")
    assert done.code == 0
    assert done.err.startswith("equivalent (0 input sets compared, ")
    assert "  y: equivalent (computed identically)" in done.err.splitlines()
    assert [output["basis"] for output in done.json["outputs"]] == ["structure"]


def test_another_interface(cli: Cli, relu: Path, pair: Path) -> None:
    done = cli("verify", relu, pair)
    assert done.code == 1
    assert "  interface: input x has rank 4, it had 2" in done.err.splitlines()


def test_what_could_not_be_run(cli: Cli, folder: Path) -> None:
    custom = save("custom", folder)
    assert cli("apply", custom, "-o", "other.onnx").code == 0
    done = cli("verify", custom, "other.onnx", "--json")
    assert done.code == 5
    assert done.err.startswith("not-run (0 input sets compared, ")
    assert done.json["status"] == "not-run"
    assert len(done.json["not_run"]) == 1


def test_a_budget_that_is_too_small(cli: Cli, pair: Path, merged: Path) -> None:
    done = cli("verify", pair, merged, "--verify-budget", "1e-9")
    assert done.code == 5
    assert "within the budget of 1e-09 s" in done.err


def test_a_budget_that_is_never_used_up(cli: Cli, pair: Path, merged: Path) -> None:
    done = cli("verify", pair, merged, "--verify-budget", "1e300")
    assert done.code == 0
    assert done.err.startswith("equivalent (")


def test_dims(cli: Cli, relu: Path, folder: Path) -> None:
    neg = save("neg", folder)
    for option in ("N=7", "x.0=7"):
        assert cli("verify", relu, neg, "--dim", option, "--json").json["outputs"][0]["draw"] == "normal 0 at N=7"
    assert cli("verify", relu, neg, "--dim", "M=7").error.startswith("no input has a dim 'M'; there are: N")


def test_input_data(cli: Cli, relu: Path, folder: Path) -> None:
    neg = save("neg", folder)
    np.savez("zero.npz", x=np.zeros((1, 8), np.float32))
    np.savez("one.npz", x=np.ones((1, 8), np.float32))
    # Relu gives +0 where Neg gives -0: other bits, which a sum may call rounding; ones leave no doubt.
    done = cli("verify", relu, neg, "--input-data", "one.npz", "--json")
    assert done.code == 1
    assert done.json["outputs"][0]["draw"] == "data 0"
    assert cli("verify", relu, relu, "--input-data", "zero.npz").code == 0


def test_the_seed_draws_other_inputs(cli: Cli, relu: Path, folder: Path) -> None:
    neg = save("neg", folder)
    first, again, other = (cli("verify", relu, neg, "--seed", s, "--json").json["outputs"] for s in ("0", "0", "1"))
    assert first == again
    assert first[0]["max_abs"] != other[0]["max_abs"]


def test_models_with_another_order_of_outputs(cli: Cli, folder: Path) -> None:
    shared = save("shared", folder)
    model = onnx.load(shared)
    model.graph.output.reverse()
    onnx.save(model, "reversed.onnx")
    done = cli("verify", shared, "reversed.onnx")
    assert done.code == 1
    assert "outputs are in another order" in done.err


def test_families_are_selected(cli: Cli, relu: Path, folder: Path) -> None:
    done = cli("verify", relu, save("neg", folder), "--families", "ladder,ties", "--json")
    assert done.json["outputs"][0]["draw"].startswith("ladder ")


def test_an_unknown_family_is_one_line(cli: Cli, relu: Path, folder: Path) -> None:
    done = cli("verify", relu, save("neg", folder), "--families", "normal,laddr")
    assert done.code == 2
    assert "no family of inputs is named 'laddr': did you mean ladder?" in done.err
    assert done.err.count("\n") == 1


def test_input_data_of_a_list(cli: Cli, relu: Path, folder: Path) -> None:
    neg = save("neg", folder)
    np.ones((1, 8), np.float32).tofile("one.bin")
    Path("some.info").write_text("0 one.bin\n", encoding="utf-8")
    done = cli("verify", relu, neg, "--input-data", "some.info", "--json")
    assert done.json["outputs"][0]["draw"] == "data 0"
    Path("bad.info").write_text("0 /etc/hostname\n", encoding="utf-8")
    refused = cli("verify", relu, neg, "--input-data", "bad.info")
    assert refused.code == 2
    assert refused.error == "input data bad.info, line 1: /etc/hostname is outside of the folder of the list"


def test_what_has_no_effect_on_folders_of_outputs(cli: Cli) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "s_0.bin").write_bytes(bytes(8))
    words = ["verify", "--outputs", "a", "b"]
    plain = cli(*words)
    more = ["--dim", "N=4", "--seed", "0", "--custom-op-library", "none.so"]
    done = cli(*words, *more)
    notes = [f"note: {option} has no effect with two folders of outputs: no model is run\n" for option in more[::2]]
    assert (done.code, done.err) == (plain.code, "".join(notes) + plain.err)

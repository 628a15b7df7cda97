"""The export of NASNet-A-Large: the graph that is committed, and a checkpoint that is loaded strictly."""

from __future__ import annotations

import importlib.util
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.examples.commands import ROOT, commands_of, need, run

FOLDER = ROOT / "examples" / "nasnetlarge"
EXPORT = FOLDER / "export.py"
STRIPPED = FOLDER / "nasnetlarge.onnx"
CHECKPOINT = "nasnetalarge-a1897284.pth"

# A checkpoint of the port's form, with weights of our own.
MAKE_CHECKPOINT = f"""
import runpy, sys, torch
export = runpy.run_path(sys.argv[1])
state = export["random_state"](export["_MODEL"]["NASNetALarge"](), seed=7)
torch.save(state, "{CHECKPOINT}")
"""


@pytest.fixture(autouse=True)
def torch() -> None:
    """The export needs torch."""
    need("torch", importlib.util.find_spec("torch") is not None)


def histogram(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def test_an_export_with_a_checkpoint(tmp_path: Path) -> None:
    """One export: it takes a while, and 3 GB."""
    done = run(["-c", MAKE_CHECKPOINT, str(EXPORT)], tmp_path)
    assert done.returncode == 0, done.stderr
    (command,) = [line for line in commands_of(FOLDER / "README.md") if "--checkpoint" in line]
    python, script, *argv = command.split()
    assert (python, ROOT / script, argv[-1]) == ("python", EXPORT, CHECKPOINT)
    done = run([str(ROOT / script), *argv], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    fresh, committed = tmp_path / "nasnetlarge.onnx", STRIPPED
    assert histogram(fresh) == histogram(committed)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "nasnetlarge.onnx"]

    new, old = onnx.load(fresh), onnx.load(committed)
    assert (new.graph.input, new.graph.output, new.opset_import) == (
        old.graph.input,
        old.graph.output,
        old.opset_import,
    )
    assert [dim.dim_param for dim in new.graph.input[0].type.tensor_type.shape.dim] == ["-1", "", "", ""]
    shapes = [Counter(tuple(tensor.dims) for tensor in model.graph.initializer) for model in (new, old)]
    assert shapes[0] == shapes[1]

    # The weights are those of the checkpoint: the last layer's are in the graph as they were in it.
    import torch

    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    weights = {tensor.name: tensor for tensor in new.graph.initializer}
    for name in ("last_linear.weight", "last_linear.bias"):
        assert weights[name].raw_data == state[name].numpy().tobytes()


@pytest.fixture
def export() -> dict[str, Any]:
    """What export.py defines."""
    return runpy.run_path(str(EXPORT))


def test_a_checkpoint_is_loaded_strictly(tmp_path: Path, export: dict[str, Any]) -> None:
    import torch

    model = torch.nn.Linear(3, 2)
    state = model.state_dict()
    fits = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    torch.save(fits, tmp_path / "fits.pth")
    export["load_checkpoint"](model, tmp_path / "fits.pth")
    assert torch.equal(state["weight"], torch.ones(2, 3))
    wrong: dict[str, tuple[object, str]] = {
        "missing": ({"weight": fits["weight"]}, "1 missing, first bias"),
        "more": ({**fits, "scale": torch.ones(1)}, "1 unexpected, first scale"),
        "shape": ({**fits, "bias": torch.zeros(3)}, "1 of another shape, first bias [3] instead of [2]"),
        "list": ([1, 2], "not a state dict, which maps names to tensors"),
        "code": (print, "not a saved state dict"),
    }
    for name, (content, reason) in wrong.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with pytest.raises(export["ExportError"], match=r"^(checkpoint|cannot read checkpoint) ") as raised:
            export["load_checkpoint"](model, path)
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(export["ExportError"], match="not a saved state dict"):
        export["load_checkpoint"](model, tmp_path / "text.pth")


def test_random_weights_are_seeded(export: dict[str, Any]) -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    first, again, other = (export["random_state"](model, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert first.keys() == model.state_dict().keys()
    assert 0.7 <= float(first["1.running_var"].min()) <= float(first["1.running_var"].max()) <= 1.3


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["out.onnx", "--opset", "8"], "opset 8 is not supported: choose 9 to 20"),
        (["no/out.onnx"], "cannot write no/out.onnx: no such directory: no"),
        (["."], "cannot write .: it is a directory"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    export: dict[str, Any],
    argv: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export["main"](argv) == 2
    assert capsys.readouterr().err == f"export.py: error: {error}\n"
    assert list(tmp_path.iterdir()) == []

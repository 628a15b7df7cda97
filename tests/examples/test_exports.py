"""The exports of DeepMAR and LV-ViT-S are the graphs that are committed, and a checkpoint's weights are in them."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.examples.commands import ROOT, commands_of, need
from tests.examples.graphs import assert_same_graph

# For each command of a README the graph that it must write, and tensors of the checkpoint that are in that as they were.
EXPORTS = {
    "python examples/deepmar/export.py deepmar.onnx": ("deepmar", ()),
    "python examples/deepmar/export.py deepmar_oldpad.onnx --checkpoint checkpoint.pth.tar --old-pad": (
        "deepmar_oldpad",
        ("classifier.weight", "classifier.bias"),
    ),
    "python examples/lvvit_s/export.py lvvit_s.onnx --checkpoint lvvit_s-26M-224-83.3.pth.tar": (
        "lvvit_s",
        ("cls_token", "head.weight", "blocks.3.norm1.weight"),
    ),
    "python examples/lvvit_s/export.py lvvit_s_opset11.onnx --opset 11": ("lvvit_s_opset11", ()),
}


def save_checkpoint(export: dict[str, Any], path: Path) -> Any:
    """Weights of our own, as training on several devices saves them."""
    import torch

    model, _ = export["NETWORK"].build()
    state = export["EXPORTING"]["random_state"](model, seed=7)
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return state


@pytest.mark.parametrize("command", EXPORTS)
def test_the_export_is_what_is_committed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    need("torch", importlib.util.find_spec("torch") is not None)
    _, script, *argv = command.split()
    stem, kept = EXPORTS[command]
    folder = (ROOT / script).parent
    assert command in commands_of(folder / "README.md")
    export = runpy.run_path(str(ROOT / script))
    monkeypatch.chdir(tmp_path)
    state = save_checkpoint(export, Path(argv[2])) if "--checkpoint" in argv else {}
    files = {path.name for path in tmp_path.iterdir()}
    assert export["EXPORTING"]["main"](export["NETWORK"], argv) == 0
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == files | {f"{stem}.onnx"}

    fresh = onnx.load(f"{stem}.onnx")
    assert_same_graph(fresh, onnx.load(folder / f"{stem}.onnx"))
    assert [dim.dim_param for dim in fresh.graph.input[0].type.tensor_type.shape.dim] == ["-1", "", "", ""]
    weights = {tensor.name: tensor for tensor in fresh.graph.initializer}
    for name in kept:
        assert weights[name].raw_data == state[name].numpy().tobytes()

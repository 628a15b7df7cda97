"""The exports of DeepMAR and LV-ViT-S are the graphs that are committed, and a checkpoint's weights are in them."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.examples.commands import ROOT, commands_of, need
from tests.examples.graphs import assert_same_graph, results

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


def weights_of(export: dict[str, Any], argv: list[str]) -> Any:
    """The network with the weights that it is exported with; a checkpoint is written as training on devices does."""
    import torch

    model, _ = export["NETWORK"].build()
    trained = "--checkpoint" in argv
    state = export["EXPORTING"]["random_state"](model, seed=7 if trained else 0)
    if trained:
        content = {"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}
        torch.save(content, argv[argv.index("--checkpoint") + 1])
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize("command", EXPORTS)
def test_the_export_is_what_is_committed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a checkpoint it also computes what the network does, at another batch than the one it was traced with."""
    need("torch", importlib.util.find_spec("torch") is not None)
    import torch

    _, script, *argv = command.split()
    stem, kept = EXPORTS[command]
    folder = (ROOT / script).parent
    assert command in commands_of(folder / "README.md")
    export = runpy.run_path(str(ROOT / script))
    monkeypatch.chdir(tmp_path)
    model = weights_of(export, argv)
    files = {path.name for path in tmp_path.iterdir()}
    assert export["EXPORTING"]["main"](export["NETWORK"], argv) == 0
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == files | {f"{stem}.onnx"}

    fresh = onnx.load(f"{stem}.onnx")
    assert_same_graph(fresh, onnx.load(folder / f"{stem}.onnx"))
    assert [dim.dim_param for dim in fresh.graph.input[0].type.tensor_type.shape.dim] == ["-1", "", "", ""]
    weights = {tensor.name: tensor for tensor in fresh.graph.initializer}
    for name in kept:
        assert weights[name].raw_data == model.state_dict()[name].numpy().tobytes()

    if not kept:
        return
    images = np.random.default_rng(3).normal(size=(2, 3, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    (found,) = results(f"{stem}.onnx", images)
    assert expected.std(axis=0).mean() > 1e-2
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())

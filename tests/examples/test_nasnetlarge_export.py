"""The export of NASNet-A-Large: the graph that is committed, with the weights of a checkpoint."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx

from tests.examples.commands import ROOT, commands_of, need, run
from tests.examples.graphs import assert_same_graph

FOLDER = ROOT / "examples" / "nasnetlarge"
EXPORT = FOLDER / "export.py"
STRIPPED = FOLDER / "nasnetlarge.onnx"
CHECKPOINT = "nasnetalarge-a1897284.pth"

# A checkpoint of the port's form, with weights of our own.
MAKE_CHECKPOINT = f"""
import runpy, sys, torch
export = runpy.run_path(sys.argv[1])
model, _ = export["NETWORK"].build()
torch.save(export["EXPORTING"]["random_state"](model, seed=7), "{CHECKPOINT}")
"""


def test_an_export_with_a_checkpoint(tmp_path: Path) -> None:
    """One export, in a process of its own: it takes a while, and 3 GB."""
    need("torch", importlib.util.find_spec("torch") is not None)
    done = run(["-c", MAKE_CHECKPOINT, str(EXPORT)], tmp_path)
    assert done.returncode == 0, done.stderr
    (command,) = [line for line in commands_of(FOLDER / "README.md") if "--checkpoint" in line]
    python, script, *argv = command.split()
    assert (python, ROOT / script, argv[-1]) == ("python", EXPORT, CHECKPOINT)
    done = run([str(ROOT / script), *argv], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "nasnetlarge.onnx"]
    fresh = onnx.load(tmp_path / "nasnetlarge.onnx")
    assert_same_graph(fresh, onnx.load(STRIPPED))
    assert [dim.dim_param for dim in fresh.graph.input[0].type.tensor_type.shape.dim] == ["-1", "", "", ""]

    # The weights are those of the checkpoint: the last layer's are in the graph as they were in it.
    import torch

    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    weights = {tensor.name: tensor for tensor in fresh.graph.initializer}
    for name in ("last_linear.weight", "last_linear.bias"):
        assert weights[name].raw_data == state[name].numpy().tobytes()

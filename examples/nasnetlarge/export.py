"""Export NASNet-A-Large to ONNX: ``python export.py OUT.onnx [--checkpoint FILE.pth] [--opset 11] [--seed 0]``.

The TorchScript exporter is used, at opset 11, with the batch left symbolic: the graph that Ascend's guide for this
model starts from. Needs torch and onnx.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

try:
    import onnx  # noqa: F401 - torch needs it to write the file, and would say so only at the end
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    sys.exit(f"export.py: error: {missing}; the export needs: pip install torch onnx")

__all__ = ["ExportError", "export"]

# By path, under a name of its own: every example has a model.py, and this file may be run or imported from anywhere.
_MODEL = runpy.run_path(str(Path(__file__).with_name("model.py")), run_name="nasnetlarge_model")

INPUT_NAME, OUTPUT_NAME = "image", "class"
# The guide writes the batch as "-1", which ONNX takes for the name of a symbolic dim.
BATCH_NAME = "-1"
OPSETS = range(9, 21)


class ExportError(Exception):
    """A mistake of the caller that one line explains."""


def export(
    path: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    opset: int = 11,
    seed: int = 0,
) -> None:
    """Write the network as ONNX: ``image`` ``[-1, 3, 331, 331]`` to ``class`` ``[-1, 1001]``, ``-1`` being a symbol.

    The file appears once it is complete; one that was there before stays until then.

    Args:
        path: The ONNX file to write.
        checkpoint: A state dict saved by ``torch.save``, with the names of the public port. None draws random weights.
        opset: The ONNX opset.
        seed: Of the random weights; any integer.

    Raises:
        ExportError: The checkpoint is missing, not readable or does not fit, the opset is out of range, or the file
            cannot be written.
    """
    if opset not in OPSETS:
        raise ExportError(f"opset {opset} is not supported: choose {OPSETS[0]} to {OPSETS[-1]}")
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"cannot write {path}: it is a directory")
    if not path.parent.is_dir():
        raise ExportError(f"cannot write {path}: no such directory: {path.parent}")
    model: nn.Module = _MODEL["NASNetALarge"]()
    if checkpoint is None:
        model.load_state_dict(random_state(model, seed))
    else:
        load_checkpoint(model, Path(checkpoint))
    model.eval()
    image = torch.zeros(1, 3, _MODEL["INPUT_SIZE"], _MODEL["INPUT_SIZE"])
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder, warnings.catch_warnings():
            # That this exporter is the older one is known; what is not folded are the eight pad computations.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="Constant folding - Only steps=1 can be constant folded")
            unfinished = Path(folder, path.name)
            torch.onnx.export(
                model,
                (image,),
                str(unfinished),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes={INPUT_NAME: {0: BATCH_NAME}, OUTPUT_NAME: {0: BATCH_NAME}},
                opset_version=opset,
                do_constant_folding=True,
                dynamo=False,
            )
            unfinished.replace(path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error


def random_state(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw weights that keep activations at an ordinary scale.

    torch's own initial values would not do: the exporter merges equal initializers, and those of fresh batch
    normalizations are all equal, so that the graph would not be a trained model's.

    Args:
        model: Gives names and shapes; it is left as it is.
        seed: Of a generator of its own: torch's global one is not touched.

    Returns:
        A state dict for ``model``.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    state: dict[str, Tensor] = {}
    for name, old in model.state_dict().items():
        new = torch.empty_like(old)
        if not old.is_floating_point():
            new = old
        elif old.dim() > 1:
            new.normal_(0, old[0].numel() ** -0.5, generator=generator)
        elif name.endswith((".weight", ".running_var")):
            new.uniform_(0.7, 1.3, generator=generator)
        else:
            new.normal_(0, 0.1, generator=generator)
        state[name] = new
    return state


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a state dict into ``model``, strictly; nothing in the file is executed.

    Args:
        model: The network to fill.
        path: A file that ``torch.save`` wrote.

    Raises:
        ExportError: The file is missing, not readable, not a state dict, or does not fit.
    """
    if not path.is_file():
        raise ExportError(f"no such checkpoint: {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Any exception: what torch raises on a file that it did not write is not documented (KeyError, EOFError, ...).
        reason = error.strerror if isinstance(error, OSError) else f"not a saved state dict ({type(error).__name__})"
        raise ExportError(f"cannot read checkpoint {path}: {reason}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ExportError(f"cannot read checkpoint {path}: not a state dict, which maps names to tensors")
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ExportError(f"checkpoint {path} does not fit: {misfit(model.state_dict(), state)}") from error


def misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say in one line how two state dicts differ: for each kind of difference the count and the first case."""
    shapes = [
        f"{name} {list(found[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    kinds = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": shapes,
    }
    return "; ".join(f"{len(names)} {kind}, first {names[0]}" for kind, names in kinds.items() if names)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 a mistake of the caller."""
    parser = argparse.ArgumentParser(prog="export.py", description="Export NASNet-A-Large to ONNX.")
    parser.add_argument("output", metavar="OUT.onnx", help="the file to write")
    parser.add_argument(
        "--checkpoint", metavar="FILE.pth", help="state dict of the public port (default: random weights)"
    )
    parser.add_argument("--opset", type=int, default=11, help="ONNX opset (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        export(args.output, checkpoint=args.checkpoint, opset=args.opset, seed=args.seed)
    except ExportError as error:
        print(f"export.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the export scripts of the examples share: a network in plain torch, with random or trained weights, as ONNX.

Not a program: each ``export.py`` runs this file by its path, says which network is its own, and hands over the command
line. torch and onnx are imported once something is exported.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

__all__ = ["Edit", "ExportError", "Network", "export", "load_checkpoint", "main", "random_state"]

OPSETS = range(9, 21)
# The guides write the batch as "-1", which ONNX takes for the name of a symbolic dim.
BATCH_NAME = "-1"
# What torch.nn.DataParallel puts before every name.
PARALLEL_PREFIX = "module."


class ExportError(Exception):
    """A mistake of the caller that one line explains."""


@dataclass(frozen=True)
class Edit:
    """A change of the exported graph, made where its option is given.

    Attributes:
        option: As it is written, ``--old-pad``.
        help: What the option does, for ``--help``.
        opsets: Those at which it can be made.
        change: Edits the model in place.
    """

    option: str
    help: str
    opsets: range
    change: Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Network:
    """What is exported, and how.

    Attributes:
        title: Its name in sentences.
        definition: The ``model.py``; it defines ``INPUT_SIZE``, the height and width of an image.
        class_name: The class in it, which is built without arguments.
        input_name: The graph's input, images ``[-1, 3, INPUT_SIZE, INPUT_SIZE]``.
        output_name: The graph's output.
        opset: The ONNX opset, unless the caller chooses another.
        checkpoint: Whose checkpoint fits, for ``--help``.
        edits: What can be done to the graph once it is exported.
    """

    title: str
    definition: Path
    class_name: str
    input_name: str
    output_name: str
    opset: int
    checkpoint: str
    edits: tuple[Edit, ...] = ()

    def build(self) -> tuple[nn.Module, int]:
        """Returns the network, with the weights that torch gives it, and ``INPUT_SIZE``."""
        # By path, under a name of its own: every example has a model.py.
        definition = runpy.run_path(str(self.definition), run_name=self.class_name)
        return definition[self.class_name](), definition["INPUT_SIZE"]


def export(
    network: Network,
    path: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    opset: int | None = None,
    seed: int = 0,
    edits: Sequence[Edit] = (),
) -> None:
    """Write a network as ONNX, with torch's TorchScript exporter, the batch being a symbol.

    The file appears once it is complete; one that was there before stays until then.

    Args:
        network: What to export.
        path: The ONNX file to write.
        checkpoint: A file of ``torch.save``, see `load_checkpoint`. None draws random weights.
        opset: The ONNX opset. None takes the network's own.
        seed: Of the random weights; any integer.
        edits: Of the exported graph, from ``network.edits``.

    Raises:
        ExportError: The checkpoint is missing, not readable or does not fit, the opset is out of range, or the file
            cannot be written.
    """
    opset = network.opset if opset is None else opset
    if opset not in OPSETS:
        raise ExportError(f"opset {opset} is not supported: choose {OPSETS[0]} to {OPSETS[-1]}")
    for edit in edits:
        if opset not in edit.opsets:
            raise ExportError(f"{edit.option} is not for opset {opset}: choose {edit.opsets[0]} to {edit.opsets[-1]}")
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"cannot write {path}: it is a directory")
    if not path.parent.is_dir():
        raise ExportError(f"cannot write {path}: no such directory: {path.parent}")
    model, size = network.build()
    if checkpoint is None:
        model.load_state_dict(random_state(model, seed))
    else:
        load_checkpoint(model, Path(checkpoint))
    model.eval()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            unfinished = Path(folder, path.name)
            trace(network, model, size, opset, unfinished)
            make_edits(unfinished, edits)
            unfinished.replace(path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error


def trace(network: Network, model: nn.Module, size: int, opset: int, path: Path) -> None:
    """Have torch write the graph."""
    import torch

    with warnings.catch_warnings():
        # That this exporter is the older one is known; what is not folded are the pad computations of NASNet.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding - Only steps=1 can be constant folded")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, size, size),),
            str(path),
            input_names=[network.input_name],
            output_names=[network.output_name],
            dynamic_axes={network.input_name: {0: BATCH_NAME}, network.output_name: {0: BATCH_NAME}},
            opset_version=opset,
            do_constant_folding=True,
            dynamo=False,
        )


def make_edits(path: Path, edits: Sequence[Edit]) -> None:
    """Edit the exported graph, where there is anything to edit."""
    if not edits:
        return
    import onnx

    graph = onnx.load(path)
    for edit in edits:
        edit.change(graph)
    onnx.save(graph, path)


def random_state(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw weights that keep activations at an ordinary scale.

    torch's own initial values would not do: the exporter merges equal initializers, and those of fresh normalizations
    are all equal, so that the graph would not be a trained model's.

    Args:
        model: Gives names and shapes; it is left as it is.
        seed: Of a generator of its own: torch's global one is not touched.

    Returns:
        A state dict for ``model``.
    """
    import torch

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
        path: A file that ``torch.save`` wrote: the state dict itself, or what training keeps of it, see `state_in`.

    Raises:
        ExportError: The file is missing, not readable, has no state dict, or does not fit.
    """
    import torch

    if not path.is_file():
        raise ExportError(f"no such checkpoint: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Any exception: what torch raises on a file that it did not write is not documented (KeyError, EOFError, ...).
        reason = error.strerror if isinstance(error, OSError) else f"not a saved state dict ({type(error).__name__})"
        raise ExportError(f"cannot read checkpoint {path}: {reason}") from error
    state = state_in(content)
    if state is None:
        raise ExportError(f"cannot read checkpoint {path}: not a state dict, which maps names to tensors")
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ExportError(f"checkpoint {path} does not fit: {misfit(model.state_dict(), state)}") from error


def state_in(content: Any) -> dict[str, Tensor] | None:
    """Find the state dict in a checkpoint.

    Args:
        content: What ``torch.load`` returned: a state dict; or a mapping that has it as ``state_dict``, or as the first
            of the list ``state_dicts`` (the next is the optimizer's). The names may all begin with ``module.``.

    Returns:
        The state dict, without that prefix; None where there is none.
    """
    from torch import Tensor

    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    elif isinstance(content, Mapping) and isinstance(content.get("state_dicts"), list | tuple):
        content = next(iter(content["state_dicts"]), None)
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        return None
    prefix = PARALLEL_PREFIX if all(name.startswith(PARALLEL_PREFIX) for name in content) else ""
    return {name.removeprefix(prefix): value for name, value in content.items()}


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


def main(network: Network, argv: list[str] | None = None) -> int:
    """Run an export's command line; returns the exit code: 0 done, 2 a mistake of the caller, or no torch."""
    parser = argparse.ArgumentParser(prog="export.py", description=f"Export {network.title} to ONNX.")
    parser.add_argument("output", metavar="OUT.onnx", help="the file to write")
    parser.add_argument(
        "--checkpoint", metavar="FILE.pth", help=f"state dict of {network.checkpoint} (default: random weights)"
    )
    parser.add_argument("--opset", type=int, default=network.opset, help="ONNX opset (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights (default: %(default)s)")
    for edit in network.edits:
        parser.add_argument(edit.option, dest="edits", action="append_const", const=edit, help=edit.help)
    args = parser.parse_args(argv)
    try:
        # First: torch needs onnx to write the file, and would say so only at the end.
        import onnx  # noqa: F401
        import torch  # noqa: F401

        export(
            network,
            args.output,
            checkpoint=args.checkpoint,
            opset=args.opset,
            seed=args.seed,
            edits=getattr(args, "edits", None) or (),
        )
    except ModuleNotFoundError as missing:
        print(f"export.py: error: {missing}; the export needs: pip install torch onnx", file=sys.stderr)
        return 2
    except ExportError as error:
        print(f"export.py: error: {error}", file=sys.stderr)
        return 2
    return 0

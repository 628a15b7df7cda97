"""`onnxfuse strip`: a model without its weights, to be shared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.cli import options, output

if TYPE_CHECKING:
    from onnxfuse.weights.stripping import Stripped

__all__ = ["add_parser"]

SHOWN: Final = 5


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "strip",
        help="take the weights out of a model, so that its graph can be shared",
        description="Takes the weights out of a model. Names, shapes, metadata and doc strings stay, and so do small "
        "tensors and integers that may be indices, shapes or axes. What lost its data has the doc string `stripped`: "
        "onnx.load reads it, onnxfuse works on it, the ONNX checker and runtimes refuse it until onnxfuse fill has "
        "given it random weights. The weights are not read, and data files are not needed afterwards.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="IN", type=Path, help="the model to read")
    output.add_output(parser)
    parser.add_argument(
        "--min-elements",
        metavar="N",
        type=int,
        default=64,
        help="keep tensors of fewer elements: epsilons, bounds, scales of sizes (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="the seed that onnxfuse fill takes for this model; one that is not 0 is kept in its metadata, as "
        "onnxfuse.seed (default: %(default)s)",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    target = output.target_of(arguments)
    assert target is not None  # noqa: S101 - something is written
    from onnxfuse.model_io import open_model
    from onnxfuse.model_io.emitted import emit_source
    from onnxfuse.model_io.external import external_tensors, reference
    from onnxfuse.weights.stripping import strip_source

    source = open_model(arguments.model).source
    assert source is not None  # noqa: S101 - it is a path
    done = strip_source(source, min_elements=arguments.min_elements, seed=arguments.seed)
    unchanged = done.source is source and target == source.path
    saved = None if unchanged else output.save(emit_source(done.source), done.source, target)
    for line in (*_lines(done), *output.saved_lines(saved, target)):
        options.answer(line)
    if done.source is not source and target == source.path:
        for location in sorted({reference(tensor).location for tensor in external_tensors(source.proto)}):
            options.answer(f"note: {location} is as it was, and the model refers to it no more")
    if arguments.json:
        options.print_json(
            {
                "input": str(arguments.model),
                "output": output.saved_dict(saved),
                "stripped": {"tensors": done.taken, "bytes": done.taken_bytes},
                "kept": {"tensors": list(done.kept), "bytes": done.kept_bytes},
            }
        )
    return 0


def _lines(done: Stripped) -> list[str]:
    lines = [
        f"stripped {done.taken} tensors ({options.size_text(done.taken_bytes)})"
        if done.taken
        else "nothing to strip: the model has no weights of that size"
    ]
    if done.kept:
        names = ", ".join(done.kept[:SHOWN]) + (", ..." if len(done.kept) > SHOWN else "")
        size = options.size_text(done.kept_bytes)
        lines.append(f"kept {len(done.kept)} that may be indices, shapes or axes ({size}): {names}")
    return lines

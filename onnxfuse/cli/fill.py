"""`onnxfuse fill`: seeded random weights for a model without any."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxfuse.cli import options, output

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "fill",
        help="give a stripped model seeded random weights",
        description="Gives every tensor without data seeded random weights at which the values of a network stay "
        "ordinary: fan-in scaled normals, positive variances, gains near 1. The same name, shape, use and seed give the "
        "same weights, whatever else is in the model. What has its data keeps it.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="IN", type=Path, help="the model to read")
    output.add_output(parser)
    parser.add_argument(
        "--seed", metavar="N", type=int, help="of the weights (default: the one in the model's metadata, else 0)"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    target = output.target_of(arguments)
    assert target is not None  # noqa: S101 - something is written
    from onnxfuse.model_io import open_model
    from onnxfuse.model_io.emitted import emit_source
    from onnxfuse.weights.filling import fill_source

    source = open_model(arguments.model).source
    assert source is not None  # noqa: S101 - it is a path
    done = fill_source(source, seed=arguments.seed)
    in_place = target == source.path and not done.given
    saved = None if in_place else output.save(emit_source(done.source), source, target)
    size = options.size_text(done.given_bytes)
    options.answer(
        f"filled {done.given} tensors ({size}) with random weights of seed {done.seed}"
        if done.given
        else "nothing to fill: every tensor has its data"
    )
    for line in output.saved_lines(saved, target):
        options.answer(line)
    if arguments.json:
        filled = {"tensors": done.given, "bytes": done.given_bytes, "seed": done.seed}
        options.print_json({"input": str(arguments.model), "output": output.saved_dict(saved), "filled": filled})
    return 0

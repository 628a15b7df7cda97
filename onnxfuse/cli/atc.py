"""`onnxfuse atc`: compile a model for an Ascend chip."""

from __future__ import annotations

import argparse
from typing import Any

from onnxfuse.cli import compiling
from onnxfuse.drivers.atc.options import AtcOptions

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "atc",
        help="compile a model for an Ascend chip with atc",
        description="Compiles a model with atc, after a look at its options and at the graph. Shapes and names of inputs "
        "are filled in from the model. Where it fails, its error codes are explained, and no part of a model is left.",
        epilog=compiling.epilog("atc"),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--soc",
        "--soc_version",
        metavar="NAME",
        required=True,
        help="the chip: Ascend310, Ascend310P3...; Ascend and the name that npu-smi info shows",
    )
    compiling.add_options(parser, "atc")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from onnxfuse.drivers import atc

    compiler = compiling.Compiler(name="atc", soc=arguments.soc, argv=AtcOptions.argv, run=atc.run)
    return compiling.run(arguments, compiler)

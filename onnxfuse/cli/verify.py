"""`onnxfuse verify`: are two models equivalent?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxfuse.cli import options

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "verify",
        help="say whether two models are equivalent",
        description="Compares two models, whatever made them: interfaces, then results on drawn inputs, bit for bit. "
        "Exit code 0: equivalent; 1: different; 5: nothing differs, but something could not be decided.",
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", type=Path, help="the original")
    parser.add_argument("b", metavar="B", type=Path, help="the model that should do the same")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn inputs (default: %(default)s)")
    parser.add_argument(
        "--verify-budget", metavar="SECONDS", type=float, help="stop after this time; what is left is not-run"
    )
    options.add_input_options(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    options.quiet_libraries()
    from onnxfuse.pipeline.manager import verify
    from onnxfuse.verification.verdict import Status

    verdict = verify(
        arguments.a,
        arguments.b,
        dims=options.dims_of(arguments),
        input_data=options.input_data_of(arguments),
        seed=arguments.seed,
        budget=arguments.verify_budget,
        progress=options.progress_bar(arguments),
    )
    options.say(verdict.explain())
    if arguments.json:
        options.print_json(verdict.to_dict())
    return {Status.EQUIVALENT: 0, Status.DIFFERENT: 1, Status.NOT_RUN: 5}[verdict.status]

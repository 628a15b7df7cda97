"""`onnxfuse verify`: are two models equivalent?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxfuse.cli import options
from onnxfuse.errors import UsageError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "verify",
        help="say whether two models are equivalent",
        description="Compares two models, whatever made them: interfaces, what both compute identically, then results on drawn "
        "inputs. What differs in bits is told to be rounding or not by running the original in float64 with rounding noise. "
        "Exit code 0: equivalent; 1: different; 5: nothing differs, but something could not be decided.",
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", type=Path, help="the original")
    parser.add_argument("b", metavar="B", type=Path, help="the model that should do the same")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawn inputs (default: %(default)s)")
    options.add_families(parser)
    options.add_tolerances(parser)
    options.add_budget(parser, "stop after this time; what is left is listed as not-run (default: no limit)")
    options.add_input_options(parser)
    options.add_progress(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    if arguments.seed < 0:
        raise UsageError(f"--seed is a whole number from 0 on, not {arguments.seed}")
    budget, dims, data = options.budget_of(arguments), options.dims_of(arguments), options.input_data_of(arguments)
    if data is not None and arguments.families is not None:
        options.say("note: --families has no effect: --input-data gives the inputs")
    options.quiet_libraries()
    from onnxfuse.pipeline.manager import verify
    from onnxfuse.verification.verdict import Status

    with options.progress_bar(arguments) as progress:
        verdict = verify(
            arguments.a,
            arguments.b,
            dims=dims,
            input_data=data,
            seed=arguments.seed,
            families=arguments.families,
            rtol=options.tolerances_of(arguments.rtol, "--rtol"),
            atol=options.tolerances_of(arguments.atol, "--atol"),
            custom_op_library=options.custom_op_library_of(arguments),
            budget=budget,
            progress=progress,
        )
    options.say(verdict.explain())
    if arguments.json:
        options.print_json({"a": str(arguments.a), "b": str(arguments.b), **verdict.to_dict()})
    return {Status.EQUIVALENT: 0, Status.DIFFERENT: 1, Status.NOT_RUN: 5}[verdict.status]

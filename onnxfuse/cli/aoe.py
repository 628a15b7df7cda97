"""`onnxfuse aoe`: tune a model on the chip that is attached."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from onnxfuse.cli import compiling
from onnxfuse.errors import UsageError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "aoe",
        help="tune a model on the attached Ascend chip with aoe",
        description="Tunes a model with aoe on the chip that is attached, and compiles it: first the subgraphs, then, in "
        "another run, the operators.",
        epilog=compiling.epilog("aoe"),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--job-type",
        "--job_type",
        metavar="N",
        type=int,
        choices=(1, 2),
        required=True,
        help="1 tunes subgraphs, 2 operators",
    )
    parser.add_argument("--bank", metavar="DIR", type=Path, help="where what it learns goes: TUNE_BANK_PATH")
    compiling.add_options(parser, "aoe")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from onnxfuse.drivers import aoe

    bank: Path | None = arguments.bank
    if bank is not None and not (bank.is_dir() and os.access(bank, os.R_OK | os.W_OK | os.X_OK)):
        raise UsageError(f"--bank {bank}: a folder that can be written to is expected")
    variables = {} if bank is None else {"TUNE_BANK_PATH": str(bank.resolve())}
    job = aoe.JobType(arguments.job_type)
    compiler = compiling.Compiler(
        name="aoe", soc=None, argv=partial(aoe.aoe_argv, job=job), run=partial(aoe.run, job=job), variables=variables
    )
    return compiling.run(arguments, compiler)

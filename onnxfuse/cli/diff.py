"""`onnxfuse diff`: what changed from one model to the other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from onnxfuse.cli import options

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "diff",
        help="show what changed from one model to another",
        description="Shows what changed from A to B: interface, ops, nodes, initializers. Exit code 1 if anything did.",
        allow_abbrev=False,
    )
    parser.add_argument("a", metavar="A", type=Path, help="the model before")
    parser.add_argument("b", metavar="B", type=Path, help="the model after")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    options.quiet_libraries()
    from onnxfuse.model_io import open_model
    from onnxfuse.report.diff import compare

    found = compare(open_model(arguments.a), open_model(arguments.b))
    if arguments.json:
        options.print_json({"a": str(arguments.a), "b": str(arguments.b), **found.to_dict()})
    else:
        options.show(str(found))
    return 1 if found else 0

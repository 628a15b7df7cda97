"""Options that several subcommands share, and what is printed where."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from onnxfuse.pipeline.manager import Progress

__all__ = [
    "add_input_options",
    "add_json",
    "dims_of",
    "input_data_of",
    "print_json",
    "progress_bar",
    "quiet_libraries",
    "say",
]


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument(
        "--json", action=argparse.BooleanOptionalAction, default=False, help="print the result as JSON on stdout"
    )


def add_input_options(parser: argparse._ActionsContainer) -> None:
    """Adds what says on which inputs models are compared."""
    parser.add_argument(
        "--dim",
        metavar="NAME=N",
        action="append",
        default=[],
        help="size of a symbolic dim for testing, by name or as INPUT.AXIS=N; never written into the model (repeats; "
        "a dim named -1: --dim=-1=4)",
    )
    parser.add_argument(
        "--input-data",
        metavar="FILE.npz",
        type=Path,
        action="append",
        default=[],
        help="compare on these inputs instead of drawn ones: one array for each input, by name (repeats)",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show a progress bar, where stderr is a terminal",
    )


def dims_of(arguments: argparse.Namespace) -> dict[str, int]:
    """Reads `--dim`.

    Raises:
        UsageError: One is not NAME=N.
    """
    dims = {}
    for text in arguments.dim:
        name, equals, size = text.rpartition("=")
        if not equals or not name or not size.isdecimal():
            raise UsageError(f"--dim {text}: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4")
        dims[name] = int(size)
    return dims


def input_data_of(arguments: argparse.Namespace) -> list[Mapping[str, np.ndarray]] | None:
    """Reads `--input-data`.

    Raises:
        UsageError: A file is not there, or no `.npz`.
    """
    if not arguments.input_data:
        return None
    import zipfile

    import numpy as np

    sets: list[Mapping[str, np.ndarray]] = []
    for path in arguments.input_data:
        try:
            with np.load(path, allow_pickle=False) as archive:
                sets.append({name: archive[name] for name in archive.files})
        except FileNotFoundError as error:
            raise UsageError(f"--input-data {path}: no such file") from error
        except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise UsageError(f"--input-data {path}: is no .npz archive of plain arrays") from error
    return sets


def say(text: str) -> None:
    """Prints a message for the user, on stderr."""
    print(text, file=sys.stderr)


def print_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """Prints JSON on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def quiet_libraries() -> None:
    """Keeps the log messages of libraries off the terminal: what matters of them is in the report."""
    for name in ("onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def progress_bar(arguments: argparse.Namespace) -> Progress | None:
    """Returns what shows progress on stderr, or None where nothing is to be shown."""
    if not arguments.progress or not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    bar: tqdm[Any] | None = None

    def show(what: str, done: int, total: int) -> None:
        nonlocal bar
        if bar is not None and (bar.desc != f"{what}: " or bar.total != total):
            bar.close()
            bar = None
        if bar is None:
            bar = tqdm(total=total, desc=what, leave=False, file=sys.stderr)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()
            bar = None

    return show

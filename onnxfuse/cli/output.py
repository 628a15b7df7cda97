"""Where a model goes: the options that say so, what would stop it, and the lines that tell what was written."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.cli import options
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.model_io.emitted import Emitted
    from onnxfuse.model_io.files import Saved
    from onnxfuse.model_io.source import Source

__all__ = ["add_output", "save", "saved_dict", "saved_lines", "target_of"]


def add_output(parser: argparse._ActionsContainer) -> None:
    """Adds `-o` and `--in-place`."""
    parser.add_argument("-o", "--output", metavar="OUT", help="the model to write; - for stdout")
    parser.add_argument(
        "--in-place", action=argparse.BooleanOptionalAction, default=False, help="write over IN instead"
    )


def target_of(arguments: argparse.Namespace, *, writes: bool = True, otherwise: str = "") -> Path | str | None:
    """Returns where the model goes: a path, or `-`; None where nothing is to be written.

    Args:
        arguments: The command line, with the input as `model`.
        writes: Whether anything is to be written.
        otherwise: What else could be given instead, for the message.

    Raises:
        UsageError: It cannot be written there, or it is not said where.
    """
    source: Path = arguments.model
    if arguments.in_place and arguments.output is not None:
        raise UsageError("-o and --in-place exclude each other")
    if arguments.in_place:
        return source if writes else None
    if arguments.output is None:
        if writes:
            raise UsageError(f"where to? give -o OUT, or --in-place to write over IN{otherwise}")
        return None
    if arguments.output == "-":
        _check_stdout(arguments)
        return "-" if writes else None
    target = Path(arguments.output)
    _check_file(target, source, arguments.output, otherwise)
    return target if writes else None


def _check_stdout(arguments: argparse.Namespace) -> None:
    if arguments.json:
        raise UsageError("-o - and --json both want stdout: give -o a file")
    if sys.stdout.isatty():
        raise UsageError("-o - writes the model to stdout, which is a terminal: redirect it to a file or a pipe")


def _check_file(target: Path, source: Path, given: str, otherwise: str) -> None:
    """Finds now what would stop the model from being written after minutes of work."""
    if not given:
        raise UsageError("-o needs the name of a file, or - for stdout")
    if target.is_dir():
        raise UsageError(f"{given}: is a folder; name a file in it")
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{given} is the input: give --in-place to write over it")
    if target.exists() and not target.is_file():
        dry = ", --dry-run writes nothing" if otherwise else ""
        raise UsageError(f"{given}: is no ordinary file (-o - writes to stdout{dry})")
    if not target.parent.is_dir():
        raise UsageError(f"{given}: the folder {target.parent} does not exist")
    if not os.access(os.path.realpath(target.parent), os.W_OK):
        raise UsageError(f"{given}: the folder {target.parent} cannot be written to")


def save(emitted: Emitted, source: Source, target: Path | str) -> Saved | None:
    """Writes a model; to stdout where `target` is `-`, and then there is nothing to tell of a file."""
    from onnxfuse.model_io.files import external_tensors, write

    if target != "-":
        return write(emitted, Path(target), source=source)
    if source.path is not None and any(external_tensors(source.proto)):
        options.say(f"note: the model refers by name to external data, which is in {source.path.parent}/")
    for piece in emitted.pieces():
        sys.stdout.buffer.write(piece if isinstance(piece, bytes) else piece.view())
    sys.stdout.buffer.flush()  # a model that nobody took is not written
    return None


def saved_lines(saved: Saved | None, target: Path | str) -> Iterator[str]:
    """Yields what was written where."""
    if saved is not None:
        yield f"wrote {saved.path} ({options.size_text(saved.size)})"
        yield from (f"note: {note}" for note in saved.notes)
    elif target == "-":
        yield "wrote the model to stdout"
    else:
        yield f"{target} is left as it was"


def saved_dict(saved: Saved | None) -> dict[str, Any] | None:
    """Returns what was written, for JSON."""
    return None if saved is None else {"path": str(saved.path), "bytes": saved.size, "notes": list(saved.notes)}

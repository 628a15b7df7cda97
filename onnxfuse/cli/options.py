"""Options that several subcommands share, and what is printed where."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.pipeline.manager import Progress
    from onnxfuse.pipeline.pipeline import Member, Pipeline

__all__ = [
    "add_budget",
    "add_custom_op_library",
    "add_dim",
    "add_families",
    "add_input_options",
    "add_json",
    "add_passes",
    "add_progress",
    "add_tolerances",
    "answer",
    "budget_of",
    "custom_op_library_of",
    "dims_of",
    "flush",
    "input_data_of",
    "make_safe",
    "pass_names",
    "pipeline_of",
    "print_json",
    "progress_bar",
    "quiet_libraries",
    "say",
    "show",
    "size_text",
    "stdout_is_stderr",
    "tolerances_of",
    "write_nowhere",
]

# A name in a model may hold anything; on a terminal, an escape sequence would act, and a mark of direction turn a line
# around.
CONTROLS: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"},
    **{code: f"\\u{code:04x}" for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))},
}


def add_json(parser: argparse._ActionsContainer) -> None:
    """Adds `--json`."""
    parser.add_argument(
        "--json", action=argparse.BooleanOptionalAction, default=False, help="print the result as JSON on stdout"
    )


def add_passes(parser: argparse._ActionsContainer) -> None:
    """Adds the options that say which passes run, and where."""
    parser.add_argument(
        "-p",
        "--passes",
        metavar="PIPELINE",
        default="default",
        help="passes and presets, separated by commas: merge-sliced,remove-pad (else: the preset %(default)s); also "
        "onnxsim, gs:module.function, ir:module.Pass and exec:'tool {in} {out}'; @FILE reads them from a file",
    )
    parser.add_argument(
        "--trust",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="let a pipeline from a file have gs:, ir: and exec:, which run code",
    )
    parser.add_argument("--skip", metavar="PASS", action="append", default=[], help="leave a pass out (repeats)")
    parser.add_argument(
        "--except",
        dest="exclude",
        metavar="NODE",
        action="append",
        default=[],
        help="let no rewrite touch the node of this name (repeats)",
    )


def pipeline_of(arguments: argparse.Namespace) -> Pipeline:
    """Reads `--passes` and `--skip`; from here on, `passes` is the text itself where it was read from a file.

    Raises:
        UsageError: It is no pipeline, or the file cannot be read, or has what only `--trust` lets it have.
    """
    from onnxfuse.pipeline.pipeline import Pipeline

    given: str = arguments.passes
    with stdout_is_stderr():  # whatever a module prints that is imported here
        if not given.startswith("@"):
            pipeline = Pipeline.parse(given, folder=Path())
        else:
            try:
                text = Path(given[1:]).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else None
                raise UsageError(f"--passes {given}: the file cannot be read: {reason or error}") from error
            try:
                pipeline = Pipeline.parse(text, trusted=arguments.trust, folder=Path())
            except UsageError as error:
                raise UsageError(f"{given[1:]}: {error}") from error
            arguments.passes = str(pipeline)
    return pipeline.without(arguments.skip)


@contextmanager
def stdout_is_stderr() -> Iterator[None]:
    """Sends what other people's code prints to stderr: stdout is for what was asked for."""
    with redirect_stdout(sys.stderr):
        yield


def add_input_options(parser: argparse._ActionsContainer) -> None:
    """Adds what says on which inputs models are compared."""
    add_dim(parser)
    parser.add_argument(
        "--input-data",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="compare on these inputs instead of drawn ones: an .npz with one array for each input, a folder of such "
        "files or of folders with one NAME.npy for each input, or an .info list of raw files (repeats)",
    )
    add_custom_op_library(parser, "; without it they are left out: what they read is compared")


def add_dim(parser: argparse._ActionsContainer) -> None:
    """Adds `--dim`."""
    parser.add_argument(
        "--dim",
        metavar="NAME=N",
        action="append",
        default=[],
        help="size of a symbolic dim for testing, by name or as INPUT.AXIS=N; never written into the model (repeats)",
    )


def add_custom_op_library(parser: argparse._ActionsContainer, otherwise: str = "") -> None:
    """Adds `--custom-op-library`; `otherwise` goes on with what happens without it."""
    parser.add_argument(
        "--custom-op-library",
        metavar="LIB.so",
        type=Path,
        help=f"a shared library that registers custom operators with onnxruntime{otherwise}",
    )


def add_families(parser: argparse._ActionsContainer) -> None:
    """Adds `--families`."""
    parser.add_argument(
        "--families",
        metavar="NAME,...",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        help="draw only these families of inputs: normal, ladder (where types end or round), constants (the model's "
        "own and beside them), unique (a number for every element), ties, special (NaN, infinities, -0), wide, small, "
        "offset, bindings (more sizes of the symbolic dims); default: all",
    )


def add_tolerances(parser: argparse._ActionsContainer) -> None:
    """Adds `--rtol` and `--atol`."""
    for name, what in (("rtol", "relative to the original"), ("atol", "in the units of the output")):
        parser.add_argument(
            f"--{name}",
            metavar="[OUTPUT=]X",
            action="append",
            default=[],
            help=f"a tolerance of your own instead of the rounding rule, {what}; for one output or for all (repeats)",
        )


def tolerances_of(given: Iterable[str], option: str) -> dict[str | None, float]:
    """Reads `--rtol` or `--atol`: a number for each output that is named, under None the one for all others.

    Raises:
        UsageError: One is no number from 0 on.
    """
    found: dict[str | None, float] = {}
    for text in given:
        output, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UsageError(f"{option} {text}: X or OUTPUT=X is expected, X a number from 0 on")
        found[output or None] = value
    return found


def add_budget(parser: argparse._ActionsContainer, what: str, *, default: float | None = None) -> None:
    """Adds `--verify-budget`."""
    parser.add_argument("--verify-budget", metavar="SECONDS", type=float, default=default, help=what)


def add_progress(parser: argparse._ActionsContainer) -> None:
    """Adds `--progress`."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show a progress bar, where stderr is a terminal",
    )


def custom_op_library_of(arguments: argparse.Namespace) -> str | None:
    """Reads `--custom-op-library`.

    Raises:
        UsageError: There is no such file.
    """
    path: Path | None = arguments.custom_op_library
    if path is not None and not path.is_file():
        raise UsageError(f"--custom-op-library {path}: no such file")
    return None if path is None else str(path.resolve())


def budget_of(arguments: argparse.Namespace) -> float | None:
    """Reads `--verify-budget`.

    Raises:
        UsageError: It is no time.
    """
    budget: float | None = arguments.verify_budget
    if budget is not None and not 0 < budget < math.inf:
        raise UsageError(f"--verify-budget is a number of seconds above 0, not {budget:g}")
    # Timers take no more than some centuries.
    return budget if budget is None else min(budget, 1e9)


def dims_of(arguments: argparse.Namespace) -> dict[str, int]:
    """Reads `--dim`.

    Raises:
        UsageError: One is not NAME=N, or two contradict each other.
    """
    dims: dict[str, int] = {}
    for text in arguments.dim:
        name, equals, size = text.rpartition("=")
        if not equals or not name or not (size.isascii() and size.isdecimal()):
            raise UsageError(f"--dim {text}: NAME=N is expected, N a size: --dim batch=4 or --dim image.0=4")
        if dims.setdefault(name, int(size)) != int(size):
            raise UsageError(f"--dim {name} is given both as {dims[name]} and as {int(size)}")
    return dims


def input_data_of(arguments: argparse.Namespace) -> list[Path] | None:
    """Reads `--input-data`.

    Raises:
        UsageError: There is no such file.
    """
    for path in arguments.input_data:
        if not path.exists():
            raise UsageError(f"--input-data {path}: no such file")
    return arguments.input_data or None


def pass_names(members: Iterable[Member]) -> list[str]:
    """Returns the names of the passes of a pipeline, in order, each once."""
    from onnxfuse.pipeline.pipeline import Repeat

    names: dict[str, None] = {}
    for member in members:
        names.update(dict.fromkeys(pass_names(member.members) if isinstance(member, Repeat) else [member.name]))
    return list(names)


def make_safe(stream: TextIO) -> None:
    """Makes a stream whose encoding lacks a character print an escape for it, as stderr does."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Prints a message for the user, on stderr, on the way to an answer: where nobody reads it, the run ends."""
    print(text.translate(CONTROLS), file=sys.stderr)


def answer(text: str) -> None:
    """Prints the answer, on stderr: its exit code is there also where nobody reads it."""
    with _unless_unread(sys.stderr):
        say(text)


def show(text: str) -> None:
    """Prints what was asked for, on stdout; read or not, as `answer`."""
    with _unless_unread(sys.stdout):
        print(text.translate(CONTROLS))


def flush() -> None:
    """Has what was printed on stdout written now; read or not, as `answer`."""
    with _unless_unread(sys.stdout):
        sys.stdout.flush()


@contextmanager
def _unless_unread(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        write_nowhere(stream)


def write_nowhere(stream: TextIO) -> None:
    """Keeps Python from failing once more on a stream that nobody reads, when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_json(data: Mapping[str, Any]) -> None:
    """Prints JSON on stdout, with the version of its schema; read or not, as `answer`."""
    from onnxfuse.report.records import SCHEMA

    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    text = json.dumps({"schema": SCHEMA, **data}, indent=2, ensure_ascii=encoding != "utf8", allow_nan=False)
    with _unless_unread(sys.stdout):
        print(text)


def size_text(size: int) -> str:
    """Returns a size for reading: `355.0 MB`, `12.3 kB`, `230 bytes`."""
    if size >= 10**5:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 10**3 else f"{size} bytes"


def quiet_libraries() -> None:
    """Keeps the log messages of libraries off the terminal: what matters of them is in the report."""
    for name in ("onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def progress_bar(arguments: argparse.Namespace) -> Iterator[Progress | None]:
    """Yields what shows progress on stderr, or None where nothing is to be shown; the bar is gone at the end."""
    if not arguments.progress or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    bar: tqdm[Any] | None = None

    def advance(what: str, done: int, total: int) -> None:
        nonlocal bar
        if bar is not None and (bar.total != total or bar.n > done):
            bar.close()
            bar = None
        if bar is None:
            bar = tqdm(total=total, desc=what.translate(CONTROLS), leave=False, file=sys.stderr)
        bar.set_description(what.translate(CONTROLS), refresh=False)
        bar.update(done - bar.n)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()

"""`onnxfuse apply`: run passes, verify, save, report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.cli import options
from onnxfuse.errors import OnnxfuseError, PassError, UsageError

if TYPE_CHECKING:
    from onnxfuse.model_io import Opened
    from onnxfuse.model_io.files import Saved
    from onnxfuse.report.records import Report

__all__ = ["add_parser"]

LEVELS = ("off", "structure", "region", "model")


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "apply",
        help="run passes over a model, verify, save, report",
        description="Runs passes over a model. Each rewrite is compared with what it replaces before it is put in.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="IN", type=Path, help="the model to read")
    choosing = parser.add_argument_group("choosing")
    choosing.add_argument(
        "-p",
        "--passes",
        metavar="PIPELINE",
        default="default",
        help="passes and presets, separated by commas: merge-sliced,remove-pad (default: %(default)s)",
    )
    choosing.add_argument("--skip", metavar="PASS", action="append", default=[], help="leave a pass out (repeats)")
    choosing.add_argument(
        "--except",
        dest="exclude",
        metavar="NODE",
        action="append",
        default=[],
        help="let no rewrite touch the node of this name (repeats)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="OUT", help="the model to write; - for stdout")
    output.add_argument(
        "--in-place", action=argparse.BooleanOptionalAction, default=False, help="write over IN instead"
    )
    output.add_argument(
        "--dry-run", action=argparse.BooleanOptionalAction, default=False, help="do all but write the model"
    )
    output.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write nothing; exit with 1 if the model would change",
    )
    verifying = parser.add_argument_group("verifying")
    verifying.add_argument(
        "--verify",
        choices=LEVELS,
        default="model",
        help="how much is verified; each level includes those before it (default: %(default)s)",
    )
    verifying.add_argument(
        "--verify-budget",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="time for the whole-model check; what it cuts is listed as not-run (default: %(default)g)",
    )
    verifying.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="exit with 1, and write nothing, if verification rejected a rewrite",
    )
    options.add_input_options(verifying)
    watching = parser.add_argument_group("watching")
    watching.add_argument(
        "--why", metavar="PASS", nargs="?", const="", help="list every declined candidate, of all passes or of one"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    writes = not (arguments.dry_run or arguments.check)
    target = _target(arguments) if writes else None
    options.quiet_libraries()
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline.manager import PassManager, VerifyLevel
    from onnxfuse.pipeline.pipeline import Pipeline

    if arguments.verify_budget <= 0:
        raise UsageError(f"--verify-budget is a number of seconds above 0, not {arguments.verify_budget:g}")
    pipeline = Pipeline.parse(arguments.passes).without(arguments.skip)
    manager = PassManager(
        pipeline,
        verify=VerifyLevel(arguments.verify),
        exclude=arguments.exclude,
        dims=options.dims_of(arguments),
        input_data=options.input_data_of(arguments),
        budget=arguments.verify_budget,
        progress=options.progress_bar(arguments),
    )
    opened = open_model(arguments.model)
    try:
        report = manager.run(opened)
    except OnnxfuseError as error:
        if error.exit_code == PassError.exit_code:
            _reproduce(opened, arguments, str(pipeline), error)
        raise
    except Exception as error:
        _reproduce(opened, arguments, str(pipeline), error)
        raise PassError(f"internal error: {type(error).__name__}: {error}") from error
    code = _code(report, arguments)
    saved = _save(opened, report, target) if target is not None and code == 0 else None
    _show(report, arguments, saved, code)
    if report.failed:
        _reproduce(opened, arguments, str(pipeline), report.failed[0].traceback)
        return PassError.exit_code
    return code


def _target(arguments: argparse.Namespace) -> Path | str:
    """Returns where the model goes: a path, or `-`."""
    source: Path = arguments.model
    if arguments.in_place:
        if arguments.output is not None:
            raise UsageError("-o and --in-place exclude each other")
        return source
    if arguments.output is None:
        raise UsageError("where to? give -o OUT, or --in-place to write over IN (--dry-run and --check write nothing)")
    if arguments.output == "-":
        if arguments.json:
            raise UsageError("-o - and --json both want stdout: give -o a file")
        if sys.stdout.isatty():
            raise UsageError("-o - writes the model to stdout, which is a terminal: redirect it to a file or a pipe")
        return "-"
    target = Path(arguments.output)
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target} is the input: give --in-place to write over it")
    if not target.parent.is_dir():
        raise UsageError(f"{target}: the folder {target.parent} does not exist")
    return target


def _code(report: Report, arguments: argparse.Namespace) -> int:
    from onnxfuse.verification.verdict import Status

    if report.failed:
        return PassError.exit_code
    if report.verdict is not None and report.verdict.status is Status.DIFFERENT:
        return 1
    if arguments.strict and report.rejected:
        return 1
    return 1 if arguments.check and report.modified else 0


def _save(opened: Opened, report: Report, target: Path | str) -> Saved | None:
    from onnxfuse.model_io.emit import emit, emit_source
    from onnxfuse.model_io.files import write

    assert opened.source is not None  # noqa: S101 - the command line reads files
    emitted = emit(opened.working_model()) if report.modified else emit_source(opened.source)
    if target == "-":
        sys.stdout.buffer.write(emitted.data())
        return None
    return write(emitted, Path(target), source=opened.source)


def _show(report: Report, arguments: argparse.Namespace, saved: Saved | None, code: int) -> None:
    from onnxfuse.report.json import report_dict
    from onnxfuse.report.text import report_text, why_text

    options.say(report_text(report))
    if arguments.why is not None:
        options.say(why_text(report, arguments.why))
    if saved is not None:
        options.say(f"wrote {saved.path} ({saved.size / 1e6:.1f} MB)")
        for note in saved.notes:
            options.say(f"note: {note}")
    elif arguments.check:
        options.say("would change" if report.modified else "would not change")
    elif code:
        options.say("nothing was written")
    if arguments.json:
        written = None if saved is None else {"path": str(saved.path), "bytes": saved.size, "notes": list(saved.notes)}
        options.print_json({**report_dict(report), "input": str(arguments.model), "output": written})


def _reproduce(opened: Opened, arguments: argparse.Namespace, pipeline: str, error: Exception | str) -> None:
    """Writes what is needed to see an internal error again: the model without its weights, and the command."""
    import hashlib
    import traceback

    assert opened.source is not None  # noqa: S101 - the command line reads files
    text = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    folder = Path(f"onnxfuse-reproducer-{hashlib.sha256(opened.source.light + pipeline.encode()).hexdigest()[:8]}")
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(opened.source.light)
    (folder / "error.txt").write_text(text)
    command = f"onnxfuse apply model.onnx --dry-run --verify {arguments.verify} -p '{pipeline}'"
    (folder / "command.txt").write_text(f"{command}\n\n{_versions()}\n")
    options.say(text.rstrip())
    options.say(f"a reproducer without weights is in {folder}/; please report it")


def _versions() -> str:
    from importlib.metadata import version

    return "\n".join(f"{name} {version(name)}" for name in ("onnxfuse", "onnx", "onnx-ir", "onnxruntime", "numpy"))

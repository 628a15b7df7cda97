"""`onnxfuse apply`: run passes, verify, save, report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.cli import options, output, reproducer
from onnxfuse.cli.parsing import nearest
from onnxfuse.errors import PassError, UsageError

if TYPE_CHECKING:
    from onnxfuse.model_io import Opened
    from onnxfuse.model_io.files import Saved
    from onnxfuse.pipeline.pipeline import Pipeline
    from onnxfuse.pipeline.reproduce import Rejections
    from onnxfuse.report.records import Report

__all__ = ["add_parser", "check_dims", "check_excluded"]

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
    options.add_passes(choosing)
    choosing.add_argument(
        "--limit", metavar="N", type=int, help="stop after N rewrites: the first ones, the same for every larger N"
    )
    _add_output(parser.add_argument_group("output"))
    _add_verifying(parser.add_argument_group("verifying"))
    watching = parser.add_argument_group("watching")
    watching.add_argument(
        "--why", metavar="PASS", nargs="?", const="", help="list every declined candidate, of all passes or of one"
    )
    options.add_progress(watching)
    options.add_json(watching)
    parser.set_defaults(run=run)


def _add_output(group: argparse._ActionsContainer) -> None:
    output.add_output(group)
    group.add_argument(
        "--dry-run", action=argparse.BooleanOptionalAction, default=False, help="do all but write the model"
    )
    group.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write nothing; exit with 1 if the model would change",
    )


def _add_verifying(verifying: argparse._ActionsContainer) -> None:
    verifying.add_argument(
        "--verify",
        choices=LEVELS,
        default="model",
        help="how much is verified; each level includes those before it (default: %(default)s)",
    )
    options.add_budget(
        verifying,
        "time for the whole-model check; what it cuts is listed as not-run (default: %(default)g)",
        default=60.0,
    )
    verifying.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="exit with 1, and write nothing, if verification rejected a rewrite",
    )
    options.add_input_options(verifying)
    reproducer.add_options(
        verifying,
        "for each rewrite that verification rejects, and for a difference that the whole-model check finds, write a "
        "folder to DIR that shows it: both models, inputs, and the command",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    target = _target(arguments)
    if arguments.limit is not None and arguments.limit < 0:
        raise UsageError(f"--limit is a number of rewrites from 0 on, not {arguments.limit}")
    budget, dims, data = options.budget_of(arguments), options.dims_of(arguments), options.input_data_of(arguments)
    _note_without_effect(arguments)
    options.quiet_libraries()
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline.manager import DEFAULT_BUDGET, PassManager, VerifyLevel

    reproducer.check(arguments)
    pipeline = options.pipeline_of(arguments)
    _check_why(arguments.why, pipeline)
    opened = open_model(arguments.model)
    check_excluded(opened, arguments.exclude)
    check_dims(opened, dims)
    rejections = _rejections(arguments, pipeline)
    with options.progress_bar(arguments) as progress:
        manager = PassManager(
            pipeline,
            verify=VerifyLevel(arguments.verify),
            exclude=arguments.exclude,
            dims=dims,
            input_data=data,
            budget=DEFAULT_BUDGET if budget is None else budget,
            progress=progress,
            limit=arguments.limit,
            admit=rejections.admit if rejections is not None else None,
            on_pass=rejections.on_pass if rejections is not None else None,
            custom_op_library=options.custom_op_library_of(arguments),
        )
        with options.stdout_is_stderr():
            report = manager.run(opened)
    code, why = _answer(report, arguments)
    saved = _save(opened, report, target) if target is not None and not why else None
    _show(report, arguments)
    if report.failed:
        _reproduce(report, arguments)
    written = _write_reproducers(rejections, report, arguments, opened)
    _say_what_was_written(arguments, report, target, saved, why)
    if arguments.json:
        _print_json(report, arguments, saved, written)
    return code


# ---- before the run


def _target(arguments: argparse.Namespace) -> Path | str | None:
    """Returns where the model goes: a path, or `-`, or None where nothing is to be written."""
    writes = not (arguments.dry_run or arguments.check)
    return output.target_of(arguments, writes=writes, otherwise=" (--dry-run and --check write nothing)")


def _note_without_effect(arguments: argparse.Namespace) -> None:
    if arguments.verify == "model":
        return
    given = {
        "--dim": arguments.dim,
        "--input-data": arguments.input_data,
        "--verify-budget": arguments.verify_budget != arguments.parser.get_default("verify_budget"),
    }
    for option in (option for option, value in given.items() if value):
        options.say(f"note: {option} has no effect: --verify {arguments.verify} leaves out the whole-model check")


def _check_why(name: str | None, pipeline: Pipeline) -> None:
    """Refuses to explain a pass that does not run: an empty answer would read as `nothing was declined`."""
    if not name:
        return
    from onnxfuse.pipeline import registry

    if name in registry.presets():
        raise UsageError(f"--why {name}: that is a preset; name one of its passes: {registry.presets()[name]}")
    if name.partition(":")[0] not in {*registry.origins(), *registry.PREFIXES}:
        raise registry.unknown(name)
    if name not in pipeline.names():
        raise UsageError(f"--why {name}: the pipeline {str(pipeline) or '(empty)'} does not have this pass")


def check_excluded(opened: Opened, names: list[str]) -> None:
    """Refuses the name of a node that is not there: the node that was meant would be rewritten."""
    if not names:
        return
    from onnxfuse.report.diff import nodes_of

    known: dict[str, None] = {}
    unnamed: set[str] = set()
    for node in nodes_of(opened.as_source().proto):
        known[node.name] = None
        unnamed.update(() if node.name else node.output)
    for name in names:
        if name in unnamed and name not in known:
            raise UsageError(f"--except {name}: the node that computes {name} has no name, so it cannot be left out")
        if not name or name not in known:
            raise UsageError(f"--except {name}: the model has no node of this name{nearest(name, filter(None, known))}")


def check_dims(opened: Opened, dims: dict[str, int]) -> None:
    """Finds a dim that is not there now, and not only if something is rewritten."""
    if not dims:
        return
    from onnxfuse.verification.inputs import bind, free_inputs

    bind(free_inputs(opened.as_source().proto, roles=False), user=dims, sizes=(1,))


# ---- after it


def _answer(report: Report, arguments: argparse.Namespace) -> tuple[int, str]:
    """Returns the exit code, and why the model must not be written; empty if it may."""
    from onnxfuse.verification.verdict import Status

    if report.failed:
        return PassError.exit_code, "a pass failed"
    if report.verdict is not None and report.verdict.status is Status.DIFFERENT:
        return 1, "the rewritten model gives other results than the original"
    if arguments.strict and report.rejected:
        return 1, "verification rejected a rewrite (--strict)"
    return (1 if arguments.check and report.modified else 0), ""


def _save(opened: Opened, report: Report, target: Path | str) -> Saved | None:
    source = opened.as_source()
    if target == source.path and not report.modified:
        return None  # in place, and nothing to change
    return output.save(opened.emitted(changed=report.modified), source, target)


def _show(report: Report, arguments: argparse.Namespace) -> None:
    from onnxfuse.report.text import report_text, why_text

    options.answer(report_text(report))
    if arguments.why is not None:
        options.answer(why_text(report, arguments.why))


def _reproduce(report: Report, arguments: argparse.Namespace) -> None:
    from onnxfuse.pipeline import registry

    broken = next(item for item in report.passes if item.failed)
    error = broken.failed[0].traceback.rstrip()
    options.answer(error)
    options.answer(
        reproducer.write(arguments, error, to=registry.origins().get(broken.name.partition("{")[0], broken.name))
    )


def _rejections(arguments: argparse.Namespace, pipeline: Pipeline) -> Rejections | None:
    if arguments.reproducer is None:
        return None
    from onnxfuse.pipeline.reproduce import Rejections

    return Rejections(pipeline)


def _write_reproducers(
    rejections: Rejections | None, report: Report, arguments: argparse.Namespace, opened: Opened
) -> list[Path]:
    """Writes those that were asked for; returns their folders, each once."""
    from onnxfuse.verification.verdict import Status

    if rejections is None:
        return []
    for why in rejections.lost:
        options.say(f"note: {why}")
    folders = [reproducer.of_difference(arguments, difference) for difference in rejections.differences()]
    if report.verdict is not None and report.verdict.status is Status.DIFFERENT:
        folders.append(reproducer.of_verdict(arguments, opened, rejections.pipeline, report.verdict))
    return list(dict.fromkeys(folders))


def _say_what_was_written(
    arguments: argparse.Namespace, report: Report, target: Path | str | None, saved: Saved | None, why: str
) -> None:
    for line in _written_lines(arguments, report, target, saved, why):
        options.answer(line)


def _written_lines(
    arguments: argparse.Namespace, report: Report, target: Path | str | None, saved: Saved | None, why: str
) -> Iterator[str]:
    if why:
        yield f"nothing was written: {why}"
    elif target is not None:
        yield from output.saved_lines(saved, target)
    elif arguments.check:
        yield "would change" if report.modified else "would not change"
    else:
        yield "nothing was written (--dry-run)"


def _print_json(report: Report, arguments: argparse.Namespace, saved: Saved | None, written: list[Path]) -> None:
    from onnxfuse.report.json import report_dict

    data = {**report_dict(report), "input": str(arguments.model), "output": output.saved_dict(saved)}
    options.print_json({**data, "reproducers": list(map(str, written))})

"""Reproducers from the command line: of internal errors, always; of differences, where they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.cli import options

if TYPE_CHECKING:
    from onnxfuse.model_io import Opened
    from onnxfuse.pipeline.pipeline import Pipeline
    from onnxfuse.verification.reproducer import Difference
    from onnxfuse.verification.verdict import Verdict

__all__ = ["add_options", "check", "of_difference", "of_verdict", "write"]

MODELS: Final = ("model", "a", "b")
# What of a command line has a part in the error, by its name in the parsed arguments.
OPTIONS: Final = {
    "passes": "--passes",
    "skip": "--skip",
    "exclude": "--except",
    "limit": "--limit",
    "verify": "--verify",
    "dim": "--dim",
    "seed": "--seed",
}


def add_options(parser: argparse._ActionsContainer, what: str, *, default: Path | None = None) -> None:
    """Adds `--reproducer` and `--with-weights`."""
    parser.add_argument("--reproducer", metavar="DIR", type=Path, default=default, help=what)
    parser.add_argument(
        "--with-weights",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="keep the model's weights in reproducers (else: random ones, or none)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Finds now what would stop a reproducer from being written after minutes of work.

    Raises:
        UsageError: Nothing can be written there.
    """
    if arguments.reproducer is None:
        if arguments.with_weights:
            options.say("note: --with-weights has no effect without --reproducer")
    else:
        from onnxfuse.verification.reproducer import check_folder

        check_folder(arguments.reproducer)


def of_difference(arguments: argparse.Namespace, difference: Difference) -> Path:
    """Writes a reproducer of a difference to the folder that was asked for, and says where it is.

    Raises:
        UsageError: It cannot be written.
    """
    from onnxfuse.verification.reproducer import write_reproducer

    folder = write_reproducer(
        arguments.reproducer, difference, with_weights=arguments.with_weights, distributions=_shippers()
    )
    options.answer(f"reproducer: {folder}/: {difference.what}")
    return folder


def of_verdict(arguments: argparse.Namespace, opened: Opened, pipeline: Pipeline, verdict: Verdict) -> Path:
    """Writes a reproducer of what the whole-model check found: of the culprit, where one is found.

    Raises:
        UsageError: It cannot be written.
    """
    from onnxfuse.pipeline.bisect import Answer, bisect, verify_judge
    from onnxfuse.pipeline.evaluable import evaluable_before, evaluable_of
    from onnxfuse.pipeline.reproduce import difference_of
    from onnxfuse.verification.reproducer import Difference, first_difference

    data: list[Any] | None = [verdict.inputs] if verdict.inputs else options.input_data_of(arguments)
    found = bisect(
        arguments.model,
        pipeline,
        judge=verify_judge(dims=options.dims_of(arguments), input_data=data),
        verify="region",
        exclude=arguments.exclude,
        limit=arguments.limit,
        progress=lambda text: options.say(f"tried {text}"),
    )
    if found.answer is Answer.BAD:
        return of_difference(arguments, difference_of(found, arguments.model))
    before, after = evaluable_before(opened), evaluable_of(opened.working_model(), opened)
    what = f"{pipeline} gives other results: {first_difference(verdict)}"
    facts = {"pipeline": str(pipeline), "culprit": found.why}
    return of_difference(arguments, Difference(before, after, what, verdict.inputs or {}, facts))


def write(arguments: argparse.Namespace, error: str, *, to: str = "onnxfuse") -> str:
    """Writes `./onnxfuse-reproducer-<hash>/` for an internal error.

    Args:
        arguments: The command line that failed.
        error: The traceback.
        to: The package to report it to.

    Returns:
        A sentence that says where it is, or why there is none.
    """
    paths = {role: path for role in MODELS if isinstance(path := getattr(arguments, role, None), Path)}
    if not paths:
        return f"please report this to {to}"
    try:
        from onnxfuse.model_io.source import Source
        from onnxfuse.verification.eval_model import EvalModel
        from onnxfuse.verification.reproducer import write_error

        models = {f"{role}.onnx": EvalModel(Source.from_path(path).proto) for role, path in paths.items()}
        folder = write_error(Path(), models, _command(arguments, list(models)), error, distributions=_shippers())
    except Exception as problem:  # noqa: BLE001 - the error itself must be told, whatever is wrong here
        return f"please report this to {to}; no reproducer could be written: {type(problem).__name__}: {problem}"
    return f"please report this to {to}, with {folder}/: the model without its weights, the command and the error"


def _command(arguments: argparse.Namespace, models: Iterable[str]) -> str:
    from onnxfuse.report.text import command_text

    words = ["onnxfuse", arguments.command, *models]
    for name, option in OPTIONS.items():
        value = getattr(arguments, name, None)
        default = arguments.parser.get_default(name)
        if value is None or value == default:
            continue
        words += [f"{option}={item}" for item in (value if isinstance(value, list) else [value])]
    return command_text([*words, "--dry-run"] if arguments.command == "apply" else words)


def _shippers() -> list[str]:
    """Returns the packages that ship passes, beside this one."""
    from onnxfuse.pipeline import registry

    return sorted(set(registry.origins().values()) - {"onnxfuse"})

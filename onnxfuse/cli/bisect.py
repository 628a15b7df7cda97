"""`onnxfuse bisect`: which rewrite breaks the model?"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.cli import options, reproducer
from onnxfuse.cli.apply import check_dims, check_excluded
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.pipeline.bisect import Bisection, Judge
    from onnxfuse.report.records import Applied

__all__ = ["add_parser"]

LEVELS: Final = ("off", "structure", "region")
SKIP: Final = 125
"""As in `git bisect run`: the command cannot tell."""


def add_parser(commands: Any) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "bisect",
        help="find the rewrite that breaks a model",
        description="Runs a pipeline in parts to find the pass, and of it the rewrite, that breaks the model, and writes "
        "a reproducer: the region before and after, and inputs that show the difference. Exit code 1: a culprit was "
        "found; 0: the pipeline does no harm; 5: could not tell.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="IN", type=Path, help="the model to read")
    options.add_passes(parser)
    parser.add_argument(
        "--verify",
        choices=LEVELS,
        default="off",
        help="how much is verified as rewrites are applied (default: %(default)s, so that a wrong one gets in)",
    )
    judging = parser.add_argument_group("judging")
    judging.add_argument(
        "--check",
        metavar="CMD",
        help="a command that judges, instead of a comparison with IN: {model} in it is the file to judge, {original} is "
        "IN; exit code 0 is good, 125 cannot tell, any other bad. No shell runs it",
    )
    judging.add_argument("--seed", type=int, default=0, help="seed of the drawn inputs (default: %(default)s)")
    options.add_budget(judging, "time for each comparison; one that is cut short cannot tell (default: no limit)")
    options.add_input_options(judging)
    output = parser.add_argument_group("output")
    reproducer.add_options(output, "where the reproducer's folder goes (default: here)", default=Path())
    options.add_json(output)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the subcommand."""
    if arguments.seed < 0:
        raise UsageError(f"--seed is a whole number from 0 on, not {arguments.seed}")
    command = _command(arguments)
    options.quiet_libraries()
    reproducer.check(arguments)
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline.bisect import Answer, bisect

    pipeline = options.pipeline_of(arguments)
    opened = open_model(arguments.model)
    check_excluded(opened, arguments.exclude)
    check_dims(opened, options.dims_of(arguments))
    with _judge(arguments, command) as judge, options.stdout_is_stderr():
        found = bisect(
            arguments.model,
            pipeline,
            judge=judge,
            verify=arguments.verify,
            exclude=arguments.exclude,
            progress=lambda text: options.say(f"tried {text}"),
        )
    for line in _lines(found):
        options.answer(line)
    folder = _write(found, arguments) if found.answer is Answer.BAD else None
    if arguments.json:
        _print_json(found, arguments, folder)
    return {Answer.GOOD: 0, Answer.BAD: 1, Answer.UNKNOWN: 5}[found.answer]


# ---- judging


def _command(arguments: argparse.Namespace) -> list[str]:
    """Returns the words of `--check`; none where it is not given."""
    if arguments.check is None:
        return []
    try:
        words = shlex.split(arguments.check)
    except ValueError as error:
        raise UsageError(f"--check {arguments.check}: cannot be split into words: {error}") from error
    if not any("{model}" in word for word in words):
        raise UsageError(f"--check {arguments.check}: {{model}} must stand where the file to judge goes")
    given = {
        "--dim": arguments.dim,
        "--input-data": arguments.input_data,
        "--verify-budget": arguments.verify_budget,
        "--seed": arguments.seed,
        "--custom-op-library": arguments.custom_op_library,
    }
    for option in (option for option, value in given.items() if value):
        options.say(f"note: {option} has no effect: the command judges")
    return words


@contextmanager
def _judge(arguments: argparse.Namespace, command: list[str]) -> Iterator[Judge]:
    """Yields the judge; what it writes is gone afterwards."""
    from onnxfuse.pipeline.bisect import verify_judge

    if not command:
        yield verify_judge(
            dims=options.dims_of(arguments),
            input_data=options.input_data_of(arguments),
            seed=arguments.seed,
            custom_op_library=options.custom_op_library_of(arguments),
            budget=options.budget_of(arguments),
        )
        return
    with tempfile.TemporaryDirectory(prefix="onnxfuse-bisect-") as folder:
        yield _command_judge(command, arguments.model, Path(folder) / "model.onnx")


def _command_judge(command: list[str], original: Path, candidate: Path) -> Judge:
    from onnxfuse.model_io import save
    from onnxfuse.pipeline.bisect import Answer, Judgement

    paths = {"{model}": str(candidate), "{original}": str(original.absolute())}

    def judge(_original: Any, result: Any) -> Judgement:
        save(result, candidate)
        words = [functools.reduce(lambda word, path: word.replace(*path), paths.items(), word) for word in command]
        sys.stderr.flush()
        code = _exit_code(words)
        why = f"--check ended with exit code {code}" if code >= 0 else f"--check was ended by signal {-code}"
        if code == 0:
            return Judgement(Answer.GOOD)
        return Judgement(Answer.UNKNOWN if code == SKIP else Answer.BAD, why)

    return judge


def _exit_code(words: list[str]) -> int:
    """Runs a command to its end; whatever it prints goes to stderr: stdout is for --json.

    Raises:
        UsageError: It cannot be run.
    """
    try:
        running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=2)
    except OSError as error:
        raise UsageError(f"--check {words[0]}: cannot be run: {error.strerror or error}") from error
    try:
        return running.wait()
    finally:
        if running.poll() is None:  # Ctrl-C
            running.kill()
            running.wait()


# ---- telling


def _lines(found: Bisection) -> Iterator[str]:
    from onnxfuse.pipeline.bisect import Answer

    if found.answer is Answer.GOOD:
        yield f"nothing to find: {found.why}"
        return
    if found.answer is Answer.UNKNOWN:
        yield f"could not tell: {found.why}"
        yield from (f"  pass: {pass_}" for pass_ in found.passes)
        yield from (f"  rewrite {_text(rewrite)}" for rewrite in found.rewrites)
        return
    yield f"culprit pass: {found.passes[0]}"
    yield from (f"culprit rewrite: {_text(rewrite)}" for rewrite in found.rewrites)
    if found.partner is not None:
        yield f"it does no harm without rewrite {_text(found.partner)}"
    yield f"first difference: {found.why}"


def _text(rewrite: Applied) -> str:
    removed, added = (
        ", ".join(f"{name} ({op_type})" for name, op_type in nodes) or "nothing"
        for nodes in (rewrite.removed, rewrite.added)
    )
    return f"{rewrite.index} at {rewrite.at}: {removed} -> {added}"


def _write(found: Bisection, arguments: argparse.Namespace) -> Path:
    from onnxfuse.pipeline.reproduce import difference_of
    from onnxfuse.report.text import command_text

    folder = reproducer.of_difference(arguments, difference_of(found, arguments.model))
    options.answer(f"shown by: {command_text(['cd', str(folder)])} && {_shown_by(folder)}")
    return folder


def _shown_by(folder: Path) -> str:
    command: str = json.loads((folder / "report.json").read_text(encoding="utf-8"))["command"]
    return command


def _print_json(found: Bisection, arguments: argparse.Namespace, folder: Path | None) -> None:
    from onnxfuse.report.json import applied_dict

    trials = [
        {"passes": one.passes, "rewrites": one.rewrites, "answer": one.judgement.answer, "why": one.judgement.why}
        for one in found.trials
    ]
    options.print_json(
        {
            "input": str(arguments.model),
            "pipeline": found.pipeline,
            "answer": found.answer,
            "why": found.why,
            "passes": [str(pass_) for pass_ in found.passes],
            "rewrites": [applied_dict(rewrite) for rewrite in found.rewrites],
            "partner": applied_dict(found.partner) if found.partner is not None else None,
            "trials": trials,
            "reproducer": str(folder) if folder is not None else None,
            "command": _shown_by(folder) if folder is not None else None,
        }
    )

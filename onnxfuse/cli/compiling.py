"""What `onnxfuse atc` and `onnxfuse aoe` share: options that are handed on, checks before a run, and what is told after it."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.cli import options
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.values import option_name
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers._compiling import Compiled
    from onnxfuse.drivers.findings import Finding

__all__ = ["Compiler", "add_options", "epilog", "run"]

# Options that are not handed on, and what to do instead.
OURS: Final = {
    "model": "give it as MODEL",
    "framework": "leave it out, it is always 5, for ONNX",
    "output": "give it as -o",
    "soc_version": "give it as --soc (aoe takes the chip that is attached)",
    "job_type": "give it as --job-type",
    "weight": "leave it out, an ONNX model carries its weights",
    **dict.fromkeys(
        ("mode", "om", "json", "dump_mode", "singleop", "model_path"),
        "onnxfuse compiles ONNX models, run the program itself for anything else",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """One of the two programs.

    Attributes:
        name: What it is called.
        soc: The chip that it compiles for; None for the one that is attached.
        argv: Returns its command as words.
        run: Runs it with options: the driver's `run`.
        variables: What is added to its environment.
    """

    name: str
    soc: str | None
    argv: Callable[[AtcOptions], list[str]]
    run: Callable[..., Compiled]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One run of a compiler: its options, the command, the batch size where one was asked for, and what it is to read."""

    options: AtcOptions
    words: tuple[str, ...]
    batch_size: int | None
    files: Mapping[Path, str]


def add_options(parser: argparse.ArgumentParser, program: str) -> None:
    """Adds all but what only one of the two has."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="the ONNX model to compile")
    what = parser.add_argument_group("what is compiled")
    what.add_argument(
        "-o", "--output", metavar="PATH", help="the compiled model, without .om (default: beside MODEL, by its name)"
    )
    what.add_argument(
        "--batch-size",
        metavar="N,...",
        help="the size of a symbolic first axis; several make several runs, and files ending with _bs<N>",
    )
    what.add_argument(
        "--dim",
        metavar="NAME=N",
        action="append",
        default=[],
        help="the size of another symbolic dim, by name, in the compiled model (repeats)",
    )
    what.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="what onnxfuse apply --json printed: --out_nodes, --output_type and --keep_dtype may name nodes of the "
        "model as it was before that",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--set-env", metavar="FILE", type=Path, help="a set_env.sh whose environment the program gets")
    how.add_argument("--cann", metavar="VERSION", default="", help="the version of CANN, for the checks: 5.1 or 8.0")
    how.add_argument("--timeout", metavar="SECONDS", type=float, help=f"end {program} after this time")
    how.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look at the options and the graph first, and stop at an error (default: yes)",
    )
    how.add_argument(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="print the commands on stdout, and run nothing",
    )
    how.add_argument(
        "--show-log",
        action=argparse.BooleanOptionalAction,
        default=False,
        help=f"copy what {program} prints to stderr too; it goes to <output>.{program}.log in any case",
    )
    options.add_json(how)
    for name in _handed_on():
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spellings, dest=f"atc_{name}", metavar="VALUE", help=argparse.SUPPRESS)


def epilog(program: str) -> str:
    """Returns what the help says of options that are handed on."""
    names = ", ".join(_handed_on())
    return (
        f"Options of {program} are handed on, as --name=VALUE or --name VALUE: {names}. Others go behind --, as they "
        "stand there; none of them may say again what is said before."
    )


def _handed_on() -> list[str]:
    return [name for name in AtcOptions.table() if name not in OURS]


def run(arguments: argparse.Namespace, compiler: Compiler) -> int:
    """Runs the subcommand, once it is known which program, and how."""
    options.quiet_libraries()
    jobs, notes = _jobs_of(arguments, compiler)
    found = _check(arguments, compiler, jobs, notes)
    if _refused(arguments, found, compiler.name):
        return UsageError.exit_code
    if arguments.dry_run:
        return _print_commands(arguments, compiler, jobs, found)
    return _run_jobs(arguments, compiler, jobs, found)


# ---- before a run


def _jobs_of(arguments: argparse.Namespace, compiler: Compiler) -> tuple[list[Job], list[Finding]]:
    """Returns the runs that are asked for, and what was found to be wrong with them."""
    from onnxfuse.drivers._compiling import target_of
    from onnxfuse.drivers._process import check_script
    from onnxfuse.drivers.atc.renamed import renamed_options
    from onnxfuse.drivers.renames import Outputs, Renames
    from onnxfuse.model_io import open_model

    if arguments.set_env is not None:
        check_script(arguments.set_env)
    if arguments.timeout is not None and not 0 < arguments.timeout < math.inf:
        raise UsageError(f"--timeout is a number of seconds above 0, not {arguments.timeout:g}")
    given = {name: getattr(arguments, f"atc_{name}") for name in _handed_on()}
    given = {name: value for name, value in given.items() if value is not None}
    sizes = _sizes(arguments.batch_size)
    if arguments.batch_size is not None and {"input_shape", "input_shape_range"} & set(given):
        raise UsageError("--batch-size and --input_shape exclude each other: the shape says the batch")
    opened = open_model(arguments.model)
    renames = Renames.read(arguments.report, opened) if arguments.report is not None else None
    now = Outputs.of(opened.as_source().proto.graph)
    dims = options.dims_of(arguments)
    found: list[Finding] = []
    jobs = []
    for size in sizes:
        output = arguments.output
        if output is not None and len(sizes) > 1:
            output = f"{output.removesuffix('.om')}_bs{size}"
        made = AtcOptions.from_model(
            arguments.model, soc_version=compiler.soc, batch_size=size, output=output, dims=dims, **given
        )
        made = _with_more(made, arguments.handed_on)
        target_of(made.output, compiler.name)
        renamed = renamed_options(made, renames, now, Path(f"{made.output}.keep_dtype.txt"))
        found += renamed.findings
        jobs.append(Job(renamed.options, tuple(compiler.argv(renamed.options)), size, renamed.files))
    return jobs, list(dict.fromkeys(found))


def _with_more(made: AtcOptions, words: Sequence[str]) -> AtcOptions:
    """Returns options with the words that stand behind `--`.

    Raises:
        UsageError: One says again what is said already: the program would take the last, unseen by what checks and runs it.
    """
    more = AtcOptions.from_words(words)
    for head in (*(f"--{name}" for name in more.given()), *(group[0].partition("=")[0] for group in more.other)):
        name = option_name(head)
        # Newer programs take an option by its first letters too, and aoe some by the first.
        short = bool(name) and name not in AtcOptions.table()
        for said in (*OURS, *made.given()):
            if said == name or (short and said.startswith(name)):
                what = head if said == name else f"{head} (which may be taken for --{said})"
                raise UsageError(
                    f"{what} cannot stand behind --: {OURS.get(said, 'it is set already, give it before --')}"
                )
    return AtcOptions.from_words([*made.argv()[1:], *words])


def _sizes(text: str | None) -> list[int | None]:
    if text is None:
        return [None]
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise UsageError(f"--batch-size {text}: sizes above 0 are expected, separated by commas: 1,4,16")
    return list(dict.fromkeys(int(part) for part in parts))


def _check(
    arguments: argparse.Namespace, compiler: Compiler, jobs: Sequence[Job], notes: Sequence[Finding]
) -> list[Finding]:
    """Returns `notes`, with what is wrong with the options, and what the graph will meet; each once."""
    from onnxfuse.drivers.checks.graph import check_graph
    from onnxfuse.drivers.checks.options import problems_of

    found = [*notes]
    for job in jobs:
        without = ("--soc_version",) if compiler.soc is None else ()
        found += problems_of(job.options, arguments.cann, without=without, written=job.files)
    told = {(finding.check, finding.at) for finding in notes if finding.at}
    graph = check_graph(arguments.model, jobs[0].options, cann=arguments.cann)
    found += (finding for finding in graph if (finding.check, finding.at) not in told)
    return list(dict.fromkeys(found))


def _refused(arguments: argparse.Namespace, found: Sequence[Finding], program: str) -> bool:
    """Says what was found; returns whether that stops the run, and says so."""
    from onnxfuse.drivers.findings import Severity

    for finding in found:
        options.say(str(finding))
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if not errors or not arguments.check:
        return False
    text = f"{program} was not run: {errors} error{'s' * (errors != 1)} above (--no-check runs it all the same)"
    options.answer(f"onnxfuse: error: {text}")
    if arguments.json:
        error = {"type": "UsageError", "message": text, "exit_code": UsageError.exit_code}
        options.print_json({"error": error, "findings": [finding.to_dict() for finding in found]})
    return True


# ---- the runs


def _run_jobs(arguments: argparse.Namespace, compiler: Compiler, jobs: Sequence[Job], found: Sequence[Finding]) -> int:
    """Runs one job after the other, up to the first that fails, and tells of them."""
    from onnxfuse.drivers._compiling import CompileError
    from onnxfuse.drivers._process import sourced
    from onnxfuse.report.text import command_text

    environment = {
        **(os.environ if arguments.set_env is None else sourced(arguments.set_env, timeout=arguments.timeout)),
        **compiler.variables,
    }
    rows: list[dict[str, Any]] = []
    error: CompileError | None = None
    for job in jobs:
        row: dict[str, Any] = {"batch_size": job.batch_size, "command": list(job.words), "status": "not-run"}
        rows.append(row)
        if error is None:
            options.say(command_text(job.words))
            try:
                row |= _row(_run(arguments, compiler, job, environment))
            except CompileError as failed:
                error = failed
                log = None if failed.log is None else str(failed.log)
                row |= {"status": "failed", "log": log, "codes": list(failed.codes)}
    _tell(rows, compiler.name)
    if error is not None:
        options.answer(f"onnxfuse: error: {error}")
    if arguments.json:
        data: dict[str, Any] = {"runs": rows, "findings": [finding.to_dict() for finding in found]}
        if error is not None:
            data["error"] = {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
        options.print_json(data)
    return 0 if error is None else error.exit_code


def _print_commands(
    arguments: argparse.Namespace, compiler: Compiler, jobs: Sequence[Job], found: Sequence[Finding]
) -> int:
    from onnxfuse.drivers._compiling import CompileError, check_program
    from onnxfuse.report.text import command_text

    if arguments.set_env is None:  # else only a run tells
        try:
            check_program(compiler.name, os.environ)
        except CompileError as error:  # no reason to stop: the commands may be for another machine
            options.say(f"note: {error}")
    for job in jobs:
        for path, text in job.files.items():
            options.say(f"note: a run writes {path}: {', '.join(text.splitlines())}")
    if arguments.json:
        rows = [{"batch_size": job.batch_size, "command": list(job.words), "status": "dry-run"} for job in jobs]
        options.print_json({"runs": rows, "findings": [finding.to_dict() for finding in found]})
    else:
        for job in jobs:
            settings = [f"{name}={command_text([value])}" for name, value in compiler.variables.items()]
            options.show(" ".join([*settings, command_text(job.words)]))
    return 0


def _run(arguments: argparse.Namespace, compiler: Compiler, job: Job, environment: Mapping[str, str]) -> Compiled:
    from onnxfuse.drivers._compiling import check_program

    check_program(compiler.name, environment)
    _write(job.files)
    on_line = options.say if arguments.show_log else None
    try:
        return compiler.run(job.options, environment=environment, timeout=arguments.timeout, on_line=on_line)
    except BaseException:  # Ctrl-C too
        for path in job.files:  # none of which was there before
            path.unlink(missing_ok=True)
        raise


def _write(files: Mapping[Path, str]) -> None:
    from onnxfuse.model_io.staging import Staging

    try:
        with Staging() as staging:
            for path, text in files.items():
                with staging.file(path) as file:
                    file.write(text.encode())
            staging.commit()
    except OSError as error:
        where = error.filename2 or error.filename
        raise UsageError(f"{where}: cannot be written: {error.strerror or error}") from error


def _row(made: Compiled) -> dict[str, Any]:
    return {
        "status": "done",
        "om": str(made.om),
        "bytes": made.size,
        "seconds": round(made.seconds, 3),
        "log": str(made.log),
        "warnings": list(made.warnings),
    }


def _tell(rows: Sequence[Mapping[str, Any]], program: str) -> None:
    from onnxfuse.report.text import table

    cells = [
        (
            "-" if row["batch_size"] is None else str(row["batch_size"]),
            row["status"],
            row.get("om", "-"),
            options.size_text(row["bytes"]) if "bytes" in row else "-",
            f"{row['seconds']:.1f} s" if "seconds" in row else "-",
            row.get("log") or "-",
        )
        for row in rows
    ]
    for line in table(("batch", program, "model", "size", "time", "log"), cells, right=(0, 3, 4)):
        options.answer(line)
    for warning in dict.fromkeys(warning for row in rows for warning in row.get("warnings", ())):
        options.answer(f"warning: {warning}")

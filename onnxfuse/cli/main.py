"""`onnxfuse`: finds the subcommand, runs it, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence

from onnxfuse import __version__
from onnxfuse.cli import (
    aoe,
    apply,
    atc,
    bench,
    bisect,
    diff,
    fill,
    inspect,
    options,
    passes,
    profile,
    reproducer,
    signals,
    strip,
    verify,
)
from onnxfuse.cli.parsing import Parser
from onnxfuse.errors import ModelError, OnnxfuseError, PassError

__all__ = ["main"]

DESCRIPTION = """\
Rewrites ONNX graphs, verifies each rewrite as it is applied, and says why each did or did not happen.
"""

EPILOG = """\
exit codes:
  0    done, also where there was nothing to change
  1    the answer is no: not equivalent; would change (--check); a rejected rewrite (--strict);
       bisect found a culprit; the whole-model check found a difference, and nothing was written
  2    wrong usage, or a model that cannot be read
  3    an internal error; a reproducer is written
  4    an external tool failed
  5    verify or bisect could not decide
  130  interrupted; 143 ended by SIGTERM, 129 by SIGHUP; 141 whoever read the output went before there was an answer

examples:
  onnxfuse apply model.onnx -o out.onnx
  onnxfuse apply model.onnx -o out.onnx -p merge-sliced,remove-pad --why
  onnxfuse verify model.onnx out.onnx
  onnxfuse bisect model.onnx -p merge-sliced,remove-pad
  onnxfuse strip model.onnx -o graph.onnx
  onnxfuse bench model.onnx out.onnx
  onnxfuse atc model.onnx --soc Ascend310P3 --batch-size 1,16 --dry-run
"""


def parser() -> Parser:
    """Returns the whole command line."""
    top = Parser(
        prog="onnxfuse",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"onnxfuse {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for module in (apply, verify, bisect, diff, passes, inspect, strip, fill, atc, aoe, bench, profile):
        module.add_parser(commands)
    for name, command in commands.choices.items():
        command.set_defaults(command=name, parser=command)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    options.make_safe(sys.stdout)
    try:
        with signals.raised():
            return _run(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt as ended:
        return _end(ended)
    except BrokenPipeError:  # before there was an answer, whoever read what is told has gone: head, for one
        for stream in (sys.stdout, sys.stderr):
            options.write_nowhere(stream)
        return 128 + signal.SIGPIPE


def _run(argv: Sequence[str]) -> int:
    arguments = argparse.Namespace(json="--json" in argv)
    try:
        arguments = parser().read(argv)
        code = int(arguments.run(arguments))
        options.flush()
    except BrokenPipeError:
        raise
    except OnnxfuseError as error:
        if error.exit_code == PassError.exit_code:
            _reproduce(arguments, error)
        return _fail(arguments, error, error.exit_code)
    except MemoryError:
        # A model's doing, and no fault: nothing is written but this.
        return _fail(arguments, ModelError("there is not enough memory for this"), ModelError.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever it is, its exit code must not read as an answer
        _reproduce(arguments, error)
        return _fail(arguments, error, PassError.exit_code)
    return code


def _end(ended: KeyboardInterrupt) -> int:
    """Says which signal it was, and returns what a shell would for a program that it ended."""
    number = signals.which(ended)
    try:
        options.say("onnxfuse: interrupted" if number is signal.SIGINT else f"onnxfuse: ended by {number.name}")
    except OSError:  # with SIGHUP, the terminal is what has gone
        options.write_nowhere(sys.stderr)
    return 128 + number


def _reproduce(arguments: argparse.Namespace, error: Exception) -> None:
    options.answer("".join(traceback.format_exception(error)).rstrip())
    options.answer(reproducer.write(arguments, "".join(traceback.format_exception(error))))


def _fail(arguments: argparse.Namespace, error: Exception, code: int) -> int:
    """Says what went wrong, on stdout too where JSON is expected there."""
    known = isinstance(error, OnnxfuseError)
    text = str(error) if known else f"internal error: {type(error).__name__}: {error}"
    options.answer(f"onnxfuse: error: {text}")
    if arguments.json:
        kind = type(error).__name__ if known else "InternalError"
        options.print_json({"error": {"type": kind, "message": text, "exit_code": code}})
        options.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())

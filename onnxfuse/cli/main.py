"""`onnxfuse`: finds the subcommand, runs it, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from onnxfuse import __version__
from onnxfuse.cli import apply, diff, inspect, passes, verify
from onnxfuse.errors import OnnxfuseError

__all__ = ["main"]

DESCRIPTION = """\
Rewrites ONNX graphs, verifies each rewrite as it is applied, and says why each did or did not happen.
"""

EPILOG = """\
exit codes:
  0    done, also where there was nothing to change
  1    the answer is no: not equivalent; would change (--check); a rejected rewrite (--strict)
  2    wrong usage, or a model that cannot be read
  3    an internal error; a reproducer is written
  4    an external tool failed
  5    verify could not decide
  130  interrupted

examples:
  onnxfuse apply model.onnx -o out.onnx
  onnxfuse apply model.onnx -o out.onnx -p merge-sliced,remove-pad --why
  onnxfuse verify model.onnx out.onnx
"""


def parser() -> argparse.ArgumentParser:
    """Returns the whole command line."""
    top = argparse.ArgumentParser(
        prog="onnxfuse",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"onnxfuse {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (apply, verify, diff, passes, inspect):
        module.add_parser(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except OnnxfuseError as error:
        print(f"onnxfuse: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("onnxfuse: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (head, for one); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.run`: measures, prints tables, and says whether onnxfuse reaches its bars."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import external_data, file_to_file, in_process, plot, scaling, verification, whole_models
from benchmarks.measure import ROOT, clear_progress
from benchmarks.peers import version
from benchmarks.results import Group, as_json, as_text

__all__ = ["main"]

SCHEMA: Final = 1

GROUPS: Final[Mapping[str, Callable[[argparse.Namespace], Group]]] = {
    "in-process": lambda arguments: in_process.run(arguments.workdir, arguments.runs),
    "file-to-file": lambda arguments: file_to_file.run(arguments.workdir, arguments.runs),
    "scaling": lambda arguments: scaling.run(arguments.runs),
    "external-data": lambda arguments: external_data.run(arguments.workdir, arguments.runs, real=arguments.real),
    "verification": lambda _: verification.run(),
    "whole-models": lambda arguments: whole_models.run(arguments.model or (), arguments.workdir),
}

DISTRIBUTIONS: Final = (
    *("onnx", "onnx-ir", "onnxruntime", "onnxsim", "onnxslim", "numpy", "protobuf", "polygraphy", "z3-solver"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 1 where a bar is missed."""
    arguments = _parser().parse_args(argv)
    arguments.workdir = arguments.workdir.resolve()
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    problem = plot.problem() if arguments.plot is not None else ""
    if problem:
        print(f"benchmarks: error: {problem}", file=sys.stderr)
        return 2
    about = _about(arguments.runs)
    print(_line(about), end="\n\n", flush=True)
    groups = []
    for name in dict.fromkeys(arguments.only or GROUPS):
        group = GROUPS[name](arguments)
        clear_progress()
        print(as_text(group), end="\n\n", flush=True)
        groups.append(group)
        if arguments.json is not None:  # after every group: the last one may be interrupted
            result = about | {"groups": [as_json(each) for each in groups]}
            arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.plot is not None:
        plot.draw(groups, arguments.plot)
    return int(any(bar.status == "fail" for group in groups for bar in group.bars))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measures onnxfuse beside its peers. Exits with 1 where onnxfuse misses a bar.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=tuple(GROUPS), help=f"one of {', '.join(GROUPS)} (repeats)"
    )
    parser.add_argument(
        "--runs", metavar="N", type=_positive, default=7, help="runs of each case (default: %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was measured")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw it: .svg or .png; needs matplotlib")
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        type=Path,
        default=ROOT / "build" / "benchmarks",
        help="where models are kept and written (default: build/benchmarks)",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        action="append",
        type=Path,
        help="whole-models: a model to measure with (repeats)",
    )
    parser.add_argument(
        "--real",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="external-data: also with 3 GiB of numbers on the disk instead of a sparse file",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _about(runs: int) -> dict[str, Any]:
    import onnxfuse

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "schema": SCHEMA,
        "runs": runs,
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(memory / 2**30),
            "system": platform.system(),
            "architecture": platform.machine(),
        },
        "versions": {"onnxfuse": onnxfuse.__version__, "python": platform.python_version()}
        | {name: version(name) for name in DISTRIBUTIONS},
    }


def _line(about: Mapping[str, Any]) -> str:
    machine = about["machine"]
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in about["versions"].items())
    system = f"{machine['system']} {machine['architecture']}"
    return f"{machine['cores']} cores, {machine['memory_gib']} GiB, {system}; {versions}"


if __name__ == "__main__":
    sys.exit(main())

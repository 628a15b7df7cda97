"""Whether options of atc are right as they are: looked at before a run, where no shell and no reader fills anything in."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.rules import wrong_signs
from onnxfuse.drivers.atc.shape_grammar import GrammarError, InputShape, parse_input_shape, parse_shape_range
from onnxfuse.drivers.atc.values import Kind, has_placeholder
from onnxfuse.drivers.atc.words import Release
from onnxfuse.drivers.findings import Finding, Severity

__all__ = ["problems_of"]

# Options that name inputs, which are looked for in the graph whatever they are called.
_SHAPES: Final = {"input_shape": parse_input_shape, "input_shape_range": parse_shape_range}


def problems_of(
    options: AtcOptions, cann: str = "", *, without: Collection[str] = (), written: Collection[Path] = ()
) -> tuple[Finding, ...]:
    """Returns what is wrong with options themselves. One that nobody here knows may be of a newer release, and is right.

    Args:
        options: The options.
        cann: The version of CANN, as far as it is known.
        without: Options that may be missing.
        written: Files that will be there.
    """
    problems = list(options.problems(Release.of(cann)))
    more = []
    for name in options.placeholders():
        value = getattr(options, name)
        if _names_a_file(options, name):
            problems.append(wrong_signs(name, value))
        elif name not in _SHAPES or _lacks_sizes(_SHAPES[name], value):
            message = f"--{name}: something is yet to be filled in, and no shell does: {value}"
            more.append(Finding(Severity.ERROR, "placeholder", message, "write what is meant"))
    for name, path in options.given().items():
        if (
            not path
            or options.table()[name].kind is not Kind.FILE
            or has_placeholder(path)
            or Path(str(path)) in written
        ):
            continue
        if not _is_file(str(path)):
            message = f"--{name}: {path} is no file that can be read"
            more.append(Finding(Severity.ERROR, "file", message, "give the path of one", code="E10410"))
    found = (
        Finding(Severity.ERROR, problem.rule, f"{problem.subject}: {problem.message}", "", code=problem.code)
        for problem in problems
        if problem.rule != "unknown-option" and problem.subject not in without
    )
    return (*found, *more)


def _is_file(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113  # Path.is_file raises for too long a name


def _names_a_file(options: AtcOptions, name: str) -> bool:
    """Says whether what looks like something to be filled in is the name of a file that is there: `{1}.onnx`."""
    if not options.table()[name].is_path:
        return False
    file = options.model if name == "output" else getattr(options, name)  # the .om is named by the model
    return has_placeholder(file) and os.path.lexists(str(file))


def _lacks_sizes(read: Callable[[str], Sequence[InputShape]], shape: str) -> bool:
    """Says whether sizes are yet to be filled in; an input may be called `{x}`, and the graph tells whether one is."""
    try:
        return any(isinstance(dim, str) for each in read(shape) for dim in each.dims)
    except GrammarError:
        return False  # which is a problem by itself

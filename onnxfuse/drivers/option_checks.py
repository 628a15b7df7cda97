"""Whether options of atc are right as they are: looked at before a run, where no shell and no reader fills anything in."""

from __future__ import annotations

import os
from collections.abc import Collection

from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.atc_rules import wrong_signs
from onnxfuse.drivers.atc_values import Kind, Release, has_placeholder
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.shape_grammar import GrammarError, parse_input_shape

__all__ = ["problems_of"]


def problems_of(options: AtcOptions, cann: str = "", *, without: Collection[str] = ()) -> tuple[Finding, ...]:
    """Returns what is wrong with options themselves. One that nobody here knows may be of a newer release, and is right.

    Args:
        options: The options.
        cann: The version of CANN, as far as it is known.
        without: Options that may be missing.
    """
    problems = list(options.problems(Release.of(cann) if cann else None))
    empty = []
    for name in options.placeholders():
        value = getattr(options, name)
        if _names_a_file(options, name):
            problems.append(wrong_signs(name, value))
        elif name != "input_shape" or _lacks_sizes(value):
            message = f"--{name}: something is yet to be filled in, and no shell does: {value}"
            empty.append(Finding(Severity.ERROR, "placeholder", message, "write what is meant"))
    found = (
        Finding(Severity.ERROR, problem.rule, f"{problem.subject}: {problem.message}", "", code=problem.code)
        for problem in problems
        if problem.rule != "unknown-option" and problem.subject not in without
    )
    return (*found, *empty)


def _names_a_file(options: AtcOptions, name: str) -> bool:
    """Says whether what looks like something to be filled in is the name of a file that is there: `{1}.onnx`."""
    if options.table()[name].kind is not Kind.PATH:
        return False
    file = options.model if name == "output" else getattr(options, name)  # the .om is named by the model
    return has_placeholder(file) and os.path.lexists(str(file))


def _lacks_sizes(shape: str) -> bool:
    """Says whether sizes are yet to be filled in; an input may be called `{x}`, and the graph tells whether one is."""
    try:
        return any(isinstance(dim, str) for each in parse_input_shape(shape) for dim in each.dims)
    except GrammarError:
        return False  # which is a problem by itself

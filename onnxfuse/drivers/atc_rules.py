"""The rules of atc's options, which people learn from its error codes."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from onnxfuse.drivers.atc_values import Framework, Mode, Release, Value, has_placeholder, text_of
from onnxfuse.drivers.command_line import SHELL_SYNTAX, Problem

if TYPE_CHECKING:
    from onnxfuse.drivers.atc_options import AtcOptions

__all__ = ["broken_rules"]


def broken_rules(options: AtcOptions, release: Release | None) -> tuple[Problem, ...]:
    """Returns the rules that these options break."""
    return (*_words(options), *_values(options, release), *_missing(options))


def _words(options: AtcOptions) -> Iterator[Problem]:
    """Yields what is no option."""
    from onnxfuse.drivers.atc_options import option_table

    table = option_table()
    for group in options.other:
        head = group[0].partition("=")[0]
        name = head.lstrip("-").replace("-", "_")
        if not head.startswith("-") or not name:
            message = "a stray word: atc takes options only; quote the value it belongs to, or leave it out"
            yield Problem(head, SHELL_SYNTAX, None, message)
        elif name in ("h", "help"):
            yield Problem(head, "no-conversion", None, "atc shows its help and converts nothing: leave it out")
        elif name in table:
            yield Problem(f"--{name}", "missing-value", None, "has no value: write --name=value")
        else:
            close = get_close_matches(name, table, 1)
            hint = f": did you mean --{close[0]}?" if close else ": leave it out"
            yield Problem(head, "unknown-option", None, f"atc knows no such option{hint}")


def _values(options: AtcOptions, release: Release | None) -> Iterator[Problem]:
    """Yields what a single option may not be."""
    from onnxfuse.drivers.atc_options import option_table

    for name, value in options.given().items():
        of = option_table()[name]
        if release is not None and release not in of.releases:
            yield Problem(f"--{name}", "release", None, f"CANN {release} does not have it: leave it out")
        if value == "":
            message = "has no value: write --name=value, without a blank between"
            yield Problem(f"--{name}", SHELL_SYNTAX, "E10004", message)
        elif of.allowed and not has_placeholder(value) and text_of(value) not in of.allowed:
            message = f"cannot be {text_of(value)!r}: one of {', '.join(of.allowed)}"
            yield Problem(f"--{name}", "value", of.code, message)


def _missing(options: AtcOptions) -> Iterator[Problem]:
    if options.mode not in (None, Mode.CONVERT):
        return
    for name, code, example in (
        ("model", "E10054", "the ONNX file"),
        ("framework", "E10007", "5 for ONNX"),
        ("output", "E10054", "the .om file's path, without .om"),
        ("soc_version", "E10054", "the chip, as npu-smi info names it: Ascend310P3"),
    ):
        value: Value | None = getattr(options, name)
        if value is None:
            yield Problem(f"--{name}", "missing-option", code, f"is required: {example}")
    if options.framework not in (None, Framework.ONNX) and not has_placeholder(options.framework):
        known = isinstance(options.framework, Framework)
        yield Problem(
            "--framework",
            "framework",
            None if known else "E10007",
            f"is {options.framework}: 5 says that the model is ONNX",
        )

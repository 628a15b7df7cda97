"""Command lines of public guides, as they stand there: each is read, and most come out word by word."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Final

import pytest

from onnxfuse.drivers.atc.options import AtcOptions

LINES: Final = (Path(__file__).parent / "atc_lines.txt").read_text(encoding="utf-8").splitlines()

# What is wrong with a line, by its number: the rule and what it is about.
WRONG: Final = {
    2: ("shell-syntax", "{batch size}"),
    4: ("unknown-option", "--device"),
    5: ("shell-syntax", "#"),
    26: ("unknown-option", "--op_precision"),
    29: ("shell-syntax", ">"),
    30: ("shell-syntax", "{batch size}"),
    80: ("missing-option", "--soc_version"),
    84: ("shell-syntax", "--"),
    86: ("missing-option", "--soc_version"),
    88: ("shell-syntax", "--model"),
    125: ("unknown-option", "--out_node"),
    141: ("missing-option", "--output"),
    142: ("missing-option", "--soc_version"),
    148: ("shell-syntax", ">"),
    163: ("shell-syntax", "${chip\\_name\\}"),
    166: ("shell-syntax", "\\{"),
    171: ("shell-syntax", "{batch size}"),
    183: ("shell-syntax", "{batch size}"),
    201: ("quoted-placeholder", "${batch_size}"),
    204: ("shell-syntax", "--model"),
    219: ("shell-syntax", ">"),
    249: ("shell-syntax", "{batch size}"),
    252: ("shell-syntax", ">"),
}

# What atc would not take of lines that are well formed: brackets belong to --input_shape_range, and a blank is no digit.
REFUSED: Final = {
    49: {("--input_shape", "E10002")},
    73: {("--dynamic_dims", "E10001")},
    85: {("--dynamic_dims", "E10001")},
    104: {("--input_shape", "E10002")},
    107: {("--input_shape", "E10002"), ("--log", None)},
    116: {("--input_shape", "E10002"), ("--log", None)},
    197: {("--input_shape", "E10002"), ("--log", None)},
}


def shell_syntax(options: AtcOptions) -> list[str]:
    return [problem.subject for problem in options.problems() if problem.rule == "shell-syntax"]


@pytest.mark.parametrize("number", range(1, len(LINES) + 1))
def test_a_line_comes_out_word_by_word_or_has_a_problem(number: int) -> None:
    line = LINES[number - 1]
    options = AtcOptions.parse(line)
    if not shell_syntax(options):
        assert options.argv() == shlex.split(line)
    assert options.argv()[0] == "atc"
    assert AtcOptions.parse(shlex.join(options.argv())) == options
    if number not in WRONG:
        assert {(problem.subject, problem.code) for problem in options.problems()} == REFUSED.get(number, set())
    else:
        assert WRONG[number] in [(problem.rule, problem.subject) for problem in options.problems()]


@pytest.mark.parametrize("number", [number for number in range(1, len(LINES) + 1) if number not in WRONG])
def test_one_value_of_a_line_is_changed_and_nothing_else(number: int) -> None:
    options = AtcOptions.parse(LINES[number - 1])
    before, after = options.argv(), dataclasses.replace(options, soc_version="Ascend910B4").argv()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][1].endswith("Ascend910B4")

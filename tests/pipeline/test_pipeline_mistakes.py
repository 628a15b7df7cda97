"""Text that is no pipeline: where it is wrong, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from onnxfuse import Pipeline, UsageError
from onnxfuse.pipeline import registry
from tests.pipeline.optioned import Plain


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_empty_text(text: str) -> None:
    with pytest.raises(UsageError, match=r"^the pipeline is empty: name at least one pass or preset$"):
        Pipeline.parse(text)


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        (",", 1, "the name of a pass is expected"),
        ("merge-sliced,", 14, "the name of a pass is expected"),
        ("merge-sliced,,remove-pad", 14, "the name of a pass is expected"),
        ("merge-sliced remove-pad", 14, "a comma or the end is expected"),
        ("merge-sliced)", 13, "a comma or the end is expected"),
        ("merge-sliced}", 13, "a comma or the end is expected"),
        ("-x", 1, "the name of a pass is expected"),
        ("repeat", 7, "repeat is followed by its passes in parentheses"),
        ("repeat{max-rounds=2}", 21, "repeat is followed by its passes in parentheses"),
        ("repeat()", 8, "the name of a pass is expected"),
        ("repeat(remove-pad", 18, "a closing parenthesis is expected"),
        ("remove-pad{", 12, "the name of an option is expected"),
        ("remove-pad{a", 13, "the option a needs a value: a=..."),
        ("remove-pad{a=", 14, "the option a needs a value"),
        ("remove-pad{a=}", 14, "the option a needs a value"),
        ("remove-pad{a=1", 15, "a comma or a closing brace is expected"),
        ("remove-pad{a=1 b=2}", 16, "a comma or a closing brace is expected"),
        ("remove-pad{a=1,}", 16, "the name of an option is expected"),
        ("remove-pad{a=1,a=2}", 18, "the option a is given twice"),
        ('remove-pad{a="1}', 17, "the quotation mark is not closed"),
        ("remove-pad{a='1\"}", 18, "the quotation mark is not closed"),
    ],
)
def test_syntax_error_names_the_place(text: str, at: int, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(text)

    assert str(raised.value) == f"the pipeline {text!r} cannot be read at character {at}: {what}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("merge-slice", "merge-sliced"),
        ("merge_sliced", "merge-sliced"),
        ("Remove-Pad", "remove-pad"),
        ("defualt", "default"),
        ("zzzzzz", None),
    ],
)
def test_unknown_pass(name: str, near: str | None) -> None:
    hint = f": did you mean {near}?" if near else ""
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(f"remove-pad,{name}")

    assert str(raised.value) == f"there is no pass {name!r}{hint} (onnxfuse passes lists them)"


@pytest.mark.usefixtures("more_passes")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("remove-pad{mode=edge}", "remove-pad has no option 'mode': it has none"),
        (
            "fancy{depth=1}",
            "fancy has no option 'depth': it has count, deep, sharp-edges, label, ratio, limit, title, speed",
        ),
        (
            "fancy{hidden=1}",
            "fancy has no option 'hidden': it has count, deep, sharp-edges, label, ratio, limit, title, speed",
        ),
        ("fancy{count=many}", "fancy{count} is an int, not 'many'"),
        ("fancy{count=1.5}", "fancy{count} is an int, not '1.5'"),
        ("fancy{limit=many}", "fancy{limit} is an int, not 'many'"),
        ("fancy{deep=maybe}", "fancy{deep} is true or false, not 'maybe'"),
        ("fancy{ratio=half}", "fancy{ratio} is a float, not 'half'"),
        ("fancy{speed=fast}", "fancy{speed} is one of slow, very-fast, not 'fast'"),
        ("repeat{rounds=2}(plain)", "repeat has no option 'rounds': it has max-rounds"),
        ("repeat{max-rounds=0}(plain)", "repeat: max-rounds is at least 1, not 0"),
        ("repeat{max-rounds=x}(plain)", "repeat{max-rounds} is an int, not 'x'"),
        ("default{a=1}", "the preset default takes no options"),
    ],
)  # fmt: skip
def test_wrong_options(text: str, error: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(text)

    assert str(raised.value) == error


@pytest.mark.usefixtures("more_passes")
def test_option_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=r"^strict.*'?to'?") as raised:
        Pipeline.parse("strict{dim=N}")

    assert "__init__" not in str(raised.value)
    assert "positional" not in str(raised.value)


def test_what_a_pass_says_of_its_options_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Picky(Plain):
        name: ClassVar[str] = "picky"
        count: int = 1

        def __post_init__(self) -> None:
            if self.count < 1:
                raise ValueError("count is at least 1")

    monkeypatch.setattr(registry, "pass_class", lambda _: Picky)
    with pytest.raises(UsageError, match=r"^picky: count is at least 1$"):
        Pipeline.parse("picky{count=0}")

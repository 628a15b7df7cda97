"""What a value of an option of atc can be: a word, a number, a switch, a path or a text, and how each is read and written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from onnxfuse.drivers.atc.words import Number, Release, Word

__all__ = [
    "Kind",
    "Option",
    "Value",
    "has_placeholder",
    "option",
    "option_name",
    "text_of",
    "typed",
]

Value = str | int | bool

# What a shell or a reader of a guide fills in: $1, ${bs}, $(pwd), {chip_name}.
_PLACEHOLDER: Final = re.compile(r"\$[A-Za-z0-9_{(@*#?]|\{[^{}]*\}")
_TRUE: Final = frozenset(("1", "t", "true", "y", "yes"))
_FALSE: Final = frozenset(("0", "f", "false", "n", "no"))


class Kind(StrEnum):
    """How a value is read."""

    TEXT = "text"
    PATH = "path"
    FILE = "path of a file that is read"
    NUMBER = "number"
    SWITCH = "0 or 1"
    FLAG = "true or false"


@dataclass(frozen=True)
class Option:
    """What is known of an option.

    Attributes:
        kind: How its value is read.
        choices: Its vocabulary, where it has one.
        allowed: The texts that are allowed; empty where any is.
        pattern: What a text matches as a whole; empty where any does.
        example: Texts that match.
        releases: The generations of CANN that have it.
        code: The vendor's error code for a value that is not allowed.
    """

    kind: Kind
    choices: type[Word | Number] | None
    allowed: tuple[str, ...]
    pattern: str
    example: str
    releases: frozenset[Release]
    code: str

    @property
    def is_path(self) -> bool:
        """Whether its value is a path."""
        return self.kind in (Kind.PATH, Kind.FILE)


def option(
    kind: type[Word | Number] | Kind = Kind.TEXT,
    *,
    allowed: str = "",
    like: tuple[str, str] = ("", ""),
    only: Release | None = None,
    code: str | None = None,
) -> Any:
    """Returns the field of an option, None by default.

    Args:
        kind: How its value is read, or its vocabulary.
        allowed: The texts that are allowed, where its kind does not tell.
        like: A pattern that its text matches as a whole, and examples.
        only: The one generation of CANN that has it.
        code: The vendor's error code for a value that is not allowed, where its kind does not tell.
    """
    choices = None
    texts = tuple(allowed.split())
    if not isinstance(kind, Kind):
        choices, texts = kind, tuple(str(choice.value) for choice in kind)
        kind = Kind.NUMBER if issubclass(kind, int) else Kind.TEXT
    elif kind is Kind.SWITCH:
        texts = ("0", "1")
    elif kind is Kind.FLAG:
        texts = ("true", "false")
    code = code or {Kind.SWITCH: "E10006", Kind.FLAG: "E10005"}.get(kind, "E10001")
    releases = frozenset(Release) if only is None else frozenset((only,))
    return field(default=None, metadata={"option": Option(kind, choices, texts, *like, releases, code)})


def option_name(word: str) -> str:
    """Returns the name of the option that a word begins, as atc reads it: `out_nodes` for `--out-nodes=x`; empty for none."""
    head = word.partition("=")[0]
    return head.lstrip("-").replace("-", "_") if head.startswith("-") else ""


def typed(of: Option, value: Value | os.PathLike[str] | None) -> Value | None:
    """Returns a value as what it says: a member of its vocabulary, a number, a truth; what says none of it stays text.

    Raises:
        TypeError: It is neither text nor number nor truth, nor the path of an option that takes one.
    """
    if value is None:
        return None
    if of.is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str | int):
        raise TypeError(f"a value of an option of atc is a text, a number or a truth, not {type(value).__name__}")
    if of.kind is Kind.FLAG:
        word = str(value).lower()
        return True if word in _TRUE else False if word in _FALSE else str(value)
    found: Value = text_of(value)
    if of.kind in (Kind.NUMBER, Kind.SWITCH):
        text = str(int(value)) if isinstance(value, bool) else str(value)
        found = int(text) if re.fullmatch("[0-9]{1,18}", text) else text
    if of.choices is not None and str(found) in of.allowed:
        member: Value = of.choices(found)  # type: ignore[arg-type]  # a text for a Word, a number for a Number
        return member
    return found


def text_of(value: Value) -> str:
    """Returns a value as atc reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def has_placeholder(value: object) -> bool:
    """Says whether something is yet to be filled in: `$1`, `${bs}`, `{chip_name}`."""
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None

"""The text of summaries, in one alphabet, and the numbers in it.

What people keep of a tool's output went through terminals and documents: full-width commas and colons, no space behind
a colon, a colon or an equals sign. Here all of that reads the same.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from onnxfuse.drivers.performance import LEAST, MOST
from onnxfuse.errors import UsageError

__all__ = ["NUMBER", "Lines", "number", "pairs"]

NUMBER: Final = r"([-+]?(?:\d[\d.,]*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan(?:\(\w*\))?|inf(?:inity)?))"
"""What stands where a number is expected, whether it is one or not: `number` tells."""

LONGEST_LINE: Final = 2000
ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
PREFIX: Final = re.compile(r"^(?:\[[^\]]{1,40}\]\s*){0,3}")
# In front of "ms", "samples/s" and "%" no unit follows: a comma at the end belongs to the sentence.
_TRAILING: Final = ",."
_PAIR: Final = re.compile(
    rf"\b(min|max|mean|median|percentile)\b\s*(?:\(\s*([\d.]+)\s*%\s*\))?\s*[:=]\s*{NUMBER}", re.IGNORECASE
)
_PERCENT: Final = re.compile(r"\s*ms\s+at\s+([\d.]+)\s*%", re.IGNORECASE)


class Lines:
    """The lines of a text.

    Args:
        text: The text.
        name: What to call it in messages: the file.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        plain = unicodedata.normalize("NFKC", ESCAPES.sub("", text)).replace("、", ",")
        # No line of a summary is long; what is, is no summary.
        self.all = [line[:LONGEST_LINE] for line in plain.splitlines()]

    def find(self, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
        """Yields every match, with where it stands for messages."""
        for place, line in enumerate(self.all, start=1):
            for match in pattern.finditer(line):
                yield f"{self.name}, line {place}", match

    def has(self, pattern: re.Pattern[str]) -> bool:
        """Whether any line matches."""
        return any(pattern.search(line) for line in self.all)


def number(text: str, what: str, *, zero: bool = False) -> float:
    """Reads a number as C++ and Python write it.

    Args:
        text: The number.
        what: Where it stands and what it is, for the message.
        zero: Whether it may be 0.

    Raises:
        UsageError: It is none, or not one that a measurement can give: NaN, a negative one, one of the size of 1e300.
    """
    text = text.rstrip(_TRAILING)
    if "," in text:
        raise UsageError(f"{what} is {text[:40]}: a number with a comma; write a point, as the tool does")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (LEAST <= value <= MOST or (value == 0 and zero)):
        raise UsageError(f"{what} is {text[:40]}, which no measurement gives")
    return value


def pairs(line: str, where: str) -> dict[str, float]:
    """Reads the statistics of a line: `mean = 1.5 ms, percentile(99%) = 2 ms`, or `percentile: 2 ms at 99%`.

    Args:
        line: The line.
        where: Where it stands, for messages.

    Returns:
        Numbers by `min`, `max`, `mean`, `median` and `percentile N`.

    Raises:
        UsageError: A number is none.
    """
    found: dict[str, float] = {}
    for match in _PAIR.finditer(line):
        name, percent, text = match[1].lower(), match[2], match[3]
        if name == "percentile":
            behind = _PERCENT.match(line, match.end())
            percent = percent or (behind[1] if behind else "99")
            name = f"percentile {number(percent, f'{where}: the percent of a percentile'):g}"
        found[name] = number(text, f"{where}: the {name}", zero=True)
    return found

"""Pairs of models with the truth about each, through onnxfuse and through what its peers have."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnx

from benchmarks.checkers import CHECKERS, COMMAND_LINE, ONNXFUSE, Answer, Checker
from benchmarks.isolation import Child, ChildError, ChildRaisedError
from benchmarks.measure import progress
from benchmarks.results import Bar, Column, Group

__all__ = ["run"]

LIMIT_S: Final = 120.0
COMMAND_LINE_EVERY: Final = 10

COLUMNS: Final = (
    Column("set", "set"),
    Column("case", "checker"),
    Column("caught", "caught", "count"),
    Column("missed", "missed", "count"),
    Column("unsaid_different", "different, could not say", "count"),
    Column("passed", "passed", "count"),
    Column("false_alarms", "false alarms", "count"),
    Column("unsaid_equivalent", "equivalent, could not say", "count"),
    Column("died", "died or hung", "count"),
    Column("time", "s in all", "seconds"),
    Column("median", "median s", "seconds"),
)

REASONS: Final = {"io": "interface", "shape": "shape", "value": "value", "random": "random"}
"""How a reason of `pairs.json` begins in the words of a verdict."""


@dataclass(frozen=True)
class Given:
    """One pair.

    Attributes:
        name: Of the pair.
        a: The original, serialized.
        b: The other.
        right: Whether they are equivalent.
        why: What differs, where that is stated.
        small: The effect is below what rounding may do: it is not held against a checker that passes it.
    """

    name: str
    a: bytes = field(repr=False)
    b: bytes = field(repr=False)
    right: bool
    why: str = ""
    small: bool = False


@dataclass
class Count:
    """What one checker made of a set of pairs.

    Attributes:
        answers: For each pair, what was said, or the reason that nothing was.
        seconds: For each pair.
    """

    answers: list[tuple[Given, Answer]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    died: int = 0

    def of(self, says: str, *, right: bool) -> list[tuple[Given, Answer]]:
        """Returns the pairs of which the truth is `right` and that were told so."""
        return [(given, answer) for given, answer in self.answers if given.right is right and answer.says == says]


def run() -> Group:
    """Measures; a checker that is not installed has a row that says so."""
    sets = {"rewrites by published tools": _rewrites(), "re-saved models": _copies(), "float rewrites": _floats()}
    rows: list[dict[str, Any]] = []
    bars: list[Bar] = []
    for name, given in sets.items():
        for checker in CHECKERS:
            count = None if checker.problem else _count(checker, given)
            rows.append(_row(name, checker, count))
            if checker is ONNXFUSE and count is not None:
                bars += _bars(name, count)
        if name == next(iter(sets)):
            some = given[::COMMAND_LINE_EVERY]
            rows.append(_row(f"every {COMMAND_LINE_EVERY}th of them", COMMAND_LINE, _count(COMMAND_LINE, some)))
    return Group(
        "verification",
        "Pairs of models of which it is known whether they are equivalent. Each checker runs in a process of its own; a "
        f"pair that takes more than {LIMIT_S:g} s, or ends the process, counts as one on which it could not say.",
        COLUMNS,
        tuple(rows),
        tuple(bars),
    )


def _rewrites() -> list[Given]:
    from tests.gauntlet.runner import CASES, PAIRS

    return [Given(pair.other, CASES[pair.case].data, pair.data, pair.truth == "equivalent", pair.why) for pair in PAIRS]


def _copies() -> list[Given]:
    from tests.gauntlet.runner import CASES

    def saved(data: bytes) -> bytes:
        buffer = io.BytesIO()
        onnx.save(onnx.load_from_string(data), buffer)
        return buffer.getvalue()

    return [Given(name, case.data, saved(case.data), True) for name, case in CASES.items()]


def _floats() -> list[Given]:
    from tests.verification.float_pairs import PAIRS

    def made() -> Iterator[Given]:
        for pair in PAIRS:
            a, b = (model.SerializeToString() for model in pair.build())
            yield Given(pair.name, a, b, pair.right, small=pair.below_resolution)

    return list(made())


def _count(checker: Checker, pairs: Sequence[Given]) -> Count:
    count = Count()
    with Child(limit_s=LIMIT_S) as child:
        for number, given in enumerate(pairs, start=1):
            progress(f"{number} of {len(pairs)}: {checker.name}")
            started = time.perf_counter()
            try:
                answer = Answer(*child.call(checker.check, given.a, given.b))
            except ChildError as error:
                answer = Answer("open", str(error))
                count.died += not isinstance(error, ChildRaisedError)
            count.seconds.append(time.perf_counter() - started)
            count.answers.append((given, answer))
    return count


def _row(set_: str, checker: Checker, count: Count | None) -> dict[str, Any]:
    if count is None:
        return {"set": set_, "case": checker.name, "note": checker.problem}
    cells = {
        "caught": count.of("different", right=False),
        "missed": count.of("equivalent", right=False),
        "unsaid_different": count.of("open", right=False),
        "passed": count.of("equivalent", right=True),
        "false_alarms": count.of("different", right=True),
        "unsaid_equivalent": count.of("open", right=True),
    }
    wrong = {
        key: {given.name: answer.why for given, answer in found}
        for key, found in cells.items()
        if key not in ("caught", "passed") and found
    }
    return {
        "set": set_,
        "case": checker.name,
        **{key: len(found) for key, found in cells.items()},
        "died": count.died,
        "time": sum(count.seconds),
        "median": statistics.median(count.seconds),
        "names": wrong,
    }


def _bars(name: str, count: Count) -> list[Bar]:
    said = [(given, answer) for given, answer in count.answers if not given.small]
    told = [given.right == (answer.says == "equivalent") and answer.says != "open" for given, answer in said]
    bars = [Bar(f"{name}: pairs that onnxfuse does not tell right", len(told) - sum(told), 0, "count")]
    reasons = [
        answer.why.startswith(REASONS[given.why]) for given, answer in said if given.why and answer.says == "different"
    ]
    if reasons:
        bars.append(Bar(f"{name}: told different for another reason", len(reasons) - sum(reasons), 0, "count"))
    return bars

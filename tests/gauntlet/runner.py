"""Scores a rewriter on the gauntlet's cases.

A case is a legal model with a trap in it: a pattern that almost matches though a precondition fails, or that matches in
an unusual form. `cases.json` states its inputs, its oracle and how outputs are compared; `ideal` states how few nodes
of some op types a perfect rewriter would leave. `pairs.json` lists rewrites by published tools with the truth about
each: they test this runner, which must call every different pair different and no equivalent pair different.

    python -m tests.gauntlet.runner -p default
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import onnx

from tests.gauntlet.feeds import Feed, feed_of
from tests.gauntlet.isolation import Child, ChildDiedError
from tests.gauntlet.judge import Outcome, Property, Verdict, judge_random, judge_structure, judge_values, op_counts
from tests.gauntlet.oracle import Oracle, Outputs, Tolerance, run

__all__ = ["CASES", "PAIRS", "Case", "Pair", "Runner", "Score", "Transform", "table"]

_HERE = Path(__file__).resolve().parent

Transform = Callable[[bytes], bytes]
"""A rewriter: a serialized model in, a serialized model out."""

_PROPERTIES: Mapping[str, Property] = {
    "dropout_runtime_mode": lambda _, sets: bool(
        (sets[0]["y"] == 1).all() and 20 < np.count_nonzero(sets[1]["y"] == 0) < 180
    ),
    "rnd_loop": lambda runs, _: len(np.unique(runs[0]["s"])) == 5,
    "rnd_multinomial": lambda runs, _: all(not np.array_equal(runs[0][name], runs[1][name]) for name in "yz"),
    "rnd_seeds": lambda runs, _: not np.allclose(runs[0]["y"], 0),
}
"""What holds for the outputs of each case that is random by itself."""


@dataclass(frozen=True)
class Case:
    """One model of the gauntlet.

    Attributes:
        name: Also the model's file name.
        category: What it is about, such as `slice`.
        severity: How bad a failure is: `value` (wrong results), `strict_fp` (only NaN, infinity or signed zero),
            `policy` (the interface), `hostile` (the model's own metadata lies).
        trap: What a rewriter may get wrong.
        oracle: What evaluates it.
        tolerance: How outputs are compared.
        specs: Of each input set, the spec of every input.
        ideal: The most nodes of an op type that a perfect rewriter leaves; empty where nothing is to be reached.
    """

    name: str
    category: str
    severity: str
    trap: str
    oracle: Oracle
    tolerance: Tolerance
    specs: Sequence[Mapping[str, Mapping[str, Any]]] = field(repr=False)
    ideal: Mapping[str, int] = field(default_factory=dict)

    @functools.cached_property
    def data(self) -> bytes:
        """The serialized model."""
        return (_HERE / "models" / f"{self.name}.onnx").read_bytes()

    @property
    def feeds(self) -> list[Feed]:
        """The input sets."""
        return [feed_of(specs) for specs in self.specs]


@dataclass(frozen=True)
class Pair:
    """A published tool's rewrite of a case, and whether it is right.

    Attributes:
        case: Name of the case.
        other: Name of the rewritten model's file.
        truth: `equivalent` or `different`.
        why: What differs: value, shape, io or random.
        detail: The difference in words.
    """

    case: str
    other: str
    truth: str
    why: str
    detail: str

    @property
    def data(self) -> bytes:
        """The serialized rewritten model."""
        return (_HERE / "pairs" / self.other).read_bytes()


@dataclass(frozen=True)
class Score:
    """What a rewriter made of a case.

    Attributes:
        case: The case.
        result: The serialized rewritten model; None where the rewriter raised.
        verdict: What is to be said of it.
        rewritten: Whether the number of nodes of any op type changed.
        ideal_reached: Whether the result is equivalent and as small as can be; None where the case names no ideal.
    """

    case: Case
    result: bytes | None
    verdict: Verdict
    rewritten: bool
    ideal_reached: bool | None


def _tolerance(stored: Literal["bits", "exact"] | list[float]) -> Tolerance:
    return (stored[0], stored[1]) if isinstance(stored, list) else stored


def _load_cases() -> dict[str, Case]:
    rows = json.loads((_HERE / "cases.json").read_text(encoding="utf-8"))
    return {
        row["name"]: Case(
            **{name: row[name] for name in ("name", "category", "severity", "trap")},
            oracle=Oracle(row["oracle"]),
            tolerance=_tolerance(row["tolerance"]),
            specs=row["feeds"],
            ideal=row.get("ideal", {}),
        )
        for row in rows
    }


CASES: Mapping[str, Case] = _load_cases()
PAIRS: Sequence[Pair] = [Pair(**row) for row in json.loads((_HERE / "pairs.json").read_text(encoding="utf-8"))]


class Runner:
    """Judges rewritten cases in a child process that keeps the originals' outputs."""

    def __init__(self) -> None:
        """Starts nothing yet: the child starts at the first call."""
        self._child = Child()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the child process."""
        self._child.__exit__(kind, error, at)

    def judge(self, case: Case, result: bytes, *, exact: bool = False, declared_shapes: bool = True) -> Verdict:
        """Gives the verdict on a rewritten model.

        Args:
            case: The case that it was made from.
            result: The serialized rewritten model.
            exact: Hold outputs to bit equality, whatever the case's own tolerance.
            declared_shapes: Whether the declared shapes of inputs and outputs belong to the interface.
        """
        if result == case.data:
            return Verdict(Outcome.EQUIVALENT, "identical")
        try:
            return self._child.call(_judge, case.name, result, exact=exact, declared_shapes=declared_shapes)
        except ChildDiedError as error:
            return Verdict(Outcome.INVALID, "runtime-died", str(error))

    def score(self, case: Case, transform: Transform, *, exact: bool = False, declared_shapes: bool = True) -> Score:
        """Runs a rewriter on a case and judges what it made, as `judge` does."""
        try:
            result = transform(case.data)
        except Exception as error:
            verdict = Verdict(Outcome.CRASH, "exception", f"{type(error).__name__}: {error}")
            return Score(case, None, verdict, rewritten=False, ideal_reached=False if case.ideal else None)
        verdict = self.judge(case, result, exact=exact, declared_shapes=declared_shapes)
        counts = {} if verdict.kind == "unloadable" else op_counts(onnx.load_from_string(result))
        small = all(counts.get(op_type, 0) <= most for op_type, most in case.ideal.items())
        return Score(
            case,
            result,
            verdict,
            rewritten=counts != op_counts(onnx.load_from_string(case.data)),
            ideal_reached=small and verdict.outcome is Outcome.EQUIVALENT if case.ideal else None,
        )


@functools.cache
def _expected(name: str) -> list[Outputs]:
    case = CASES[name]
    return run(onnx.load_from_string(case.data), case.feeds, case.oracle)


def _judge(name: str, result: bytes, *, exact: bool, declared_shapes: bool) -> Verdict:
    case = CASES[name]
    try:
        model = onnx.load_from_string(result)
    except Exception as error:
        return Verdict(Outcome.INVALID, "unloadable", str(error))
    original = onnx.load_from_string(case.data)
    if verdict := judge_structure(original, model, declared_shapes=declared_shapes):
        return verdict
    if name in _PROPERTIES:
        return judge_random(model, case.feeds, _PROPERTIES[name], oracle=case.oracle)
    tolerance: Tolerance = "bits" if exact else case.tolerance
    return judge_values(model, _expected(name), case.feeds, oracle=case.oracle, tolerance=tolerance)


def table(scores: Iterable[Score]) -> str:
    """Counts scores in one line a figure."""
    scores = list(scores)
    outcomes = Counter(score.verdict.outcome for score in scores)
    ideals = [score.ideal_reached for score in scores if score.ideal_reached is not None]
    rows = [("cases", str(len(scores)))]
    rows += [(outcome, str(outcomes[outcome])) for outcome in Outcome]
    rows += [
        ("rewritten", str(sum(score.rewritten for score in scores))),
        ("ideals reached", f"{sum(ideals)} of {len(ideals)}"),
    ]
    return "\n".join(f"{name:16}{figure}" for name, figure in rows)


def _transform(data: bytes, passes: str, call: str | None) -> bytes:
    if call is None:
        import onnxfuse

        result: bytes = onnxfuse.apply(data, passes).model
        return result
    module, _, function = call.partition(":")
    rewritten = getattr(importlib.import_module(module), function)(onnx.load_from_string(data))
    model: onnx.ModelProto = rewritten[0] if isinstance(rewritten, tuple) else rewritten
    return model.SerializeToString()


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gauntlet.runner", description="Score a pipeline.")
    parser.add_argument("-p", "--passes", default="default", help="the pipeline (default: %(default)s)")
    parser.add_argument(
        "--call",
        metavar="MODULE:FUNCTION",
        help="score another tool instead: a function from ModelProto to ModelProto, or to a tuple that begins with one",
    )
    parser.add_argument("--category", help="only the cases of this category")
    parser.add_argument("--exact", action="store_true", help="hold outputs to bit equality")
    options = parser.parse_args(arguments)
    rewriter = Child()

    def transform(data: bytes) -> bytes:
        # In a child of its own: a tool that dies on a model is a finding, and must not share code with the judge.
        return rewriter.call(_transform, data, options.passes, options.call)

    scores = []
    with Runner() as runner, rewriter:
        for case in CASES.values():
            if options.category in (None, case.category):
                scores.append(runner.score(case, transform, exact=options.exact, declared_shapes=not options.call))
                if scores[-1].verdict.outcome is not Outcome.EQUIVALENT:
                    print(f"{case.name} [{case.severity}]: {scores[-1].verdict}", file=sys.stderr)
    print(table(scores))
    return int(any(score.verdict.outcome is not Outcome.EQUIVALENT for score in scores))


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))

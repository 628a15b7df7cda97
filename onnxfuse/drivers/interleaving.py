"""Measuring several models in turns, so that what slows the machine down for a while falls on all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Final

from onnxfuse.drivers.backend import Progress, Runnable
from onnxfuse.drivers.performance import LEAST, Performance
from onnxfuse.errors import ToolError, UsageError

__all__ = ["Measured", "Ratio", "measure", "ratio_of"]

TURN_MS: Final = 50.0
MOST_ROUNDS: Final = 1000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Ratio:
    """How the time of one model compares with that of another.

    Attributes:
        value: The median of the ratios of each turn.
        low: Where the interval around it begins.
        high: Where it ends: what the true median is between, with `confidence`.
        confidence: Of the interval: at least 0.95, or all that so few turns give.
        ratios: One for each turn.
    """

    value: float
    low: float
    high: float
    confidence: float
    ratios: tuple[float, ...]

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 1, and enough turns stand behind it."""
        return self.confidence >= CONFIDENCE and not self.low <= 1 <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        return {
            "median": self.value,
            "interval": [self.low, self.high],
            "confidence": self.confidence,
            "ratios": list(self.ratios),
        }


@dataclass(frozen=True)
class Measured:
    """A model, and what its turns gave.

    Attributes:
        runnable: The model.
        performances: One for each turn.
        ratio: Its time by that of the first model; None of the first itself.
    """

    runnable: Runnable
    performances: tuple[Performance, ...]
    ratio: Ratio | None = None

    @property
    def batch(self) -> int | None:
        """Samples in one run; None where the tool tells only how many they are on average."""
        return self.performances[0].batch

    @property
    def latencies(self) -> tuple[float, ...]:
        """Ms for one sample, one for each turn."""
        return tuple(map(sample_ms, self.performances))

    @property
    def latency(self) -> float:
        """Ms for one sample: the median over the turns."""
        return median(self.latencies)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which half of the turns lie, in ms for one sample."""
        if len(self.latencies) == 1:
            return self.latency, self.latency
        low, _, high = quantiles(self.latencies, n=4, method="inclusive")
        return low, high

    @property
    def throughput(self) -> float:
        """Samples a second of one device, by the median."""
        return 1000 / self.latency

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        card = self.performances[0].card
        return {
            "model": str(self.runnable.model),
            "batch": self.batch,
            "inputs": dict(self.runnable.inputs),
            "sample_latency_ms": self.latency,
            "quartiles_ms": list(self.quartiles),
            "latencies_ms": list(self.latencies),
            "throughput": self.throughput,
            "card": card.name,
            "devices_per_card": card.devices,
            "card_throughput": self.throughput * card.devices,
            "ratio": None if self.ratio is None else self.ratio.to_dict(),
            "problems": list(dict.fromkeys(text for each in self.performances for text in each.problems)),
        }


def measure(
    models: Sequence[Runnable],
    *,
    rounds: int | None,
    turns: int,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> list[Measured]:
    """Measures models in turns: A B, B A, A B, ...

    A turn is as many runs of each model as `rounds` says. The order is turned round each time, so that a machine that
    grows slower or faster does so for all alike. A first turn of each warms up, and does not count.

    Args:
        models: One or several; the first is what the others are compared with.
        rounds: Runs in a turn; None for as many as take the fastest model a twentieth of a second.
        turns: How many turns.
        seconds: After so many seconds no further pair of turns begins; `turns` does not count then.
        progress: Told of every turn.

    Returns:
        What was measured of each model, in order.

    Raises:
        ToolError: A tool fails.
        UsageError: There is nothing to measure.
    """
    if not models or turns < 1 or (rounds is not None and rounds < 1):
        raise UsageError("it takes one model or more, and one turn and round or more, to measure something")
    warm = [_turn(model, rounds or 1, progress, 0, turns) for model in models]
    if rounds is None:
        rounds = min(MOST_ROUNDS, max(1, math.ceil(TURN_MS / min(map(_batch_ms, warm)))))
    found: list[list[Performance]] = [[] for _ in models]
    started, done = time.monotonic(), 0
    while True:
        passed = time.monotonic() - started
        if (seconds is None and done == turns) or (seconds is not None and passed >= seconds and done and not done % 2):
            break
        shown = (done, turns) if seconds is None else (min(int(passed), int(seconds)), max(1, int(seconds)))
        order = range(len(models)) if done % 2 == 0 else reversed(range(len(models)))
        for index in order:
            found[index].append(_turn(models[index], rounds, progress, *shown))
        done += 1
    first = Measured(models[0], tuple(found[0]))
    others = [Measured(model, tuple(each)) for model, each in zip(models[1:], found[1:], strict=True)]
    return [first, *(_compared(other, first) for other in others)]


def ratio_of(ratios: Sequence[float]) -> Ratio:
    """The median of ratios, and an interval for it that assumes nothing of how they are distributed.

    The true median lies below the k-th smallest of n with the probability that a coin tossed n times shows fewer than k
    heads; k is the largest with which both ends together stay below 0.05.
    """
    ordered, count = sorted(ratios), len(ratios)
    # From the middle outwards, in whole numbers, which have no largest: of so many ways to toss, so many lie inside.
    ways, cut = 2**count, (count - 1) // 2
    heads = math.comb(count, cut + 1)  # ways to toss cut + 1 of them
    inside = 0 if count % 2 else heads
    while inside / ways < CONFIDENCE and cut:
        heads = heads * (cut + 1) // (count - cut)
        inside, cut = inside + 2 * heads, cut - 1
    return Ratio(median(ordered), ordered[cut], ordered[count - 1 - cut], inside / ways, tuple(ratios))


def sample_ms(performance: Performance) -> float:
    """Ms for one sample: by the median of the runs where the tool tells of each, else by its mean.

    Raises:
        ToolError: The record does not say.
    """
    spread, batch = performance.spread, performance.batch
    if spread is not None and spread.median is not None and batch is not None:
        if spread.median < LEAST:
            raise ToolError(
                f"{performance.form}: the median of the runs is {spread.median:g} ms, which no measurement gives"
            )
        return spread.median / batch
    if performance.sample_latency is None:
        raise ToolError(f"{performance.form}: {performance.without_batch}")
    return performance.sample_latency


def _turn(model: Runnable, rounds: int, progress: Progress | None, done: int, total: int) -> Performance:
    if progress is not None:
        progress(model.model.name, done, total)
    performance = model.measure(rounds)
    try:
        sample_ms(performance)
    except ToolError as error:
        raise ToolError(f"{model.model}: {error}") from error
    return performance


def _batch_ms(performance: Performance) -> float:
    return sample_ms(performance) * (performance.batch or 1)


def _compared(other: Measured, first: Measured) -> Measured:
    pairs = zip(other.latencies, first.latencies, strict=True)
    return Measured(other.runnable, other.performances, ratio_of([mine / its for mine, its in pairs]))

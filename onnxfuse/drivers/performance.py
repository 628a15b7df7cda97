"""How fast a model ran: one record, whatever tool said so and in whatever words.

A tool measures one device. What a card gives is that figure times the devices on it, and that factor is stated with it:
an Atlas 300I carries four Ascend310 chips, and `benchmark` runs on one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from statistics import fmean, median
from typing import Any, Final, Literal

from onnxfuse.errors import UsageError

__all__ = ["CARDS", "LEAST", "MOST", "ONE_DEVICE", "Card", "Form", "Performance", "Spread", "Stage", "cross_check"]

# Figures are printed with six digits, and averages of ratios are not ratios of averages: 0.1 to 2 % are usual.
PRINTED: Final = 1e-4
NEAR: Final = 0.05
STAGES_NEAR: Final = 0.10

LEAST: Final = 1e-9
MOST: Final = 1e15
"""Between these lies whatever a tool can measure, in ms or in samples a second."""

Statistic = Literal["min", "max", "mean", "median"]


class Form(StrEnum):
    """Where a record comes from."""

    PURE = "benchmark, pure inference"
    DATASET = "benchmark, dataset"
    AIS_BENCH = "ais_bench"
    AIS_BENCH_JSON = "ais_bench, summary.json"
    AIS_BENCH_DEVICES = "ais_bench, several devices"
    MSAME = "msame"
    TRTEXEC_7 = "trtexec 7"
    TRTEXEC_8 = "trtexec 8"


@dataclass(frozen=True)
class Card:
    """What carries the devices.

    Attributes:
        name: As the vendor calls it, or `one device` where nothing is known of it.
        devices: How many devices are on it: the factor from one device to the card.
    """

    name: str
    devices: int

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise UsageError(f"a card has 1 device or more, not {self.devices}")

    @classmethod
    def of(cls, name: str) -> Card:
        """The card of a name: that of a product (`Atlas 300I`), or of a chip as `--soc_version` has it (`Ascend310P3`).

        Raises:
            UsageError: It is not known how many devices that is.
        """
        wanted = name.casefold().replace(" ", "").removeprefix("atlas").removeprefix("ascend")
        for card in CARDS:
            if card.name.casefold().replace(" ", "").removeprefix("atlas") == wanted:
                return card
        if wanted == "310":
            return CARDS[0]
        if wanted.startswith(("310p", "710", "310b", "910")):
            return cls(f"Ascend{wanted.upper()}, one on a card", 1)
        known = ", ".join(card.name for card in CARDS)
        raise UsageError(f"{name}: how many devices that card has is not known; there are {known}, and chips' names")

    def __str__(self) -> str:
        return f"{self.name} x {self.devices}"


ONE_DEVICE: Final = Card("one device", 1)
CARDS: Final = (Card("Atlas 300I", 4), Card("Atlas 300I Pro", 1), Card("Atlas 300V Pro", 1), Card("Atlas 300I Duo", 2))
"""Devices per card, from the vendor's product pages."""


@dataclass(frozen=True)
class Spread:
    """Times of one batch over the runs that were measured, in ms; None where a tool does not tell.

    Attributes:
        mean: The average.
        min: The shortest.
        max: The longest.
        median: The middle one.
        percentiles: Percent and time, in the tool's order.
        count: How many runs.
    """

    mean: float | None = None
    min: float | None = None
    max: float | None = None
    median: float | None = None
    percentiles: tuple[tuple[float, float], ...] = ()
    count: int | None = None

    @classmethod
    def of(cls, times: Sequence[float]) -> Spread:
        """The spread of these times, one or more, in ms; the percentile is the 99th, between the two nearest times."""
        ordered = sorted(times)
        place = 0.99 * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        top = below + (above - below) * (place - math.floor(place))
        return cls(fmean(ordered), ordered[0], ordered[-1], median(ordered), ((99.0, top),), len(ordered))

    @classmethod
    def named(cls, values: Mapping[str, float]) -> Spread:
        """The spread of times in ms by the names that tools give them: `min`, `percentile 99`, `count`."""
        percentiles = [
            (float(key.partition(" ")[2]), ms) for key, ms in values.items() if key.startswith("percentile ")
        ]
        return cls(
            mean=values.get("mean"),
            min=values.get("min"),
            max=values.get("max"),
            median=values.get("median"),
            percentiles=tuple(percentiles),
            count=int(values["count"]) if "count" in values else None,
        )

    def problems(self) -> Iterator[str]:
        """Yields what is out of order: a mean above the maximum, say."""
        named = [("minimum", self.min), ("mean", self.mean), ("maximum", self.max)]
        middle = [("median", self.median), *((f"percentile {q:g} %", ms) for q, ms in sorted(self.percentiles))]
        for chain in (named, [named[0], *middle, named[2]]):
            there = [(name, ms) for name, ms in chain if ms is not None]
            for (low, x), (high, y) in combinations(there, 2):
                if x > y * (1 + PRINTED) and (low, high) != ("minimum", "maximum"):
                    yield f"the {low} ({x:g} ms) is above the {high} ({y:g} ms)"
        if self.min is not None and self.max is not None and self.min > self.max * (1 + PRINTED):
            yield f"the minimum ({self.min:g} ms) is above the maximum ({self.max:g} ms)"

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        percentiles = {f"{q:g}": ms for q, ms in self.percentiles}
        plain = {name: getattr(self, name) for name in ("mean", "min", "max", "median", "count")}
        return {**plain, "percentiles": percentiles}


@dataclass(frozen=True)
class Stage:
    """One step around the inference, as a tool printed it.

    Attributes:
        name: `e2e`, `data read`, `preprocess`, `infer` and `post` of benchmark; `H2D` and `D2H` of ais_bench.
        rate: Samples a second; of `post` batches a second. None where not told.
        latency: In ms: all of the run for `e2e`, one batch for `post`, `H2D` and `D2H`, one sample for the others.
    """

    name: str
    rate: float | None
    latency: float | None


@dataclass(frozen=True, kw_only=True)
class Performance:
    """How fast a model ran.

    Attributes:
        form: Where the figures come from.
        throughput: Samples a second of one device; None where the batch is not known and the tool counts batches.
        formula: How that was computed from what the tool printed.
        sample_latency: ms of a device for one sample; None where the throughput is.
        batch_latency: ms of a device for one batch; None where the batch is not known and the tool counts samples.
        batch: Samples that one run takes; None where not known.
        batch_from: Who says so: `the caller`, `the file's name` or `the lines`; empty where nobody does.
        spread: Times of one batch over the runs, where told.
        stages: The steps around it, where told.
        card: The devices on a card.
        problems: What contradicts itself in the text, a sentence each.
    """

    form: Form
    throughput: float | None
    formula: str
    sample_latency: float | None = None
    batch_latency: float | None = None
    batch: int | None = None
    batch_from: str = ""
    spread: Spread | None = None
    stages: tuple[Stage, ...] = ()
    card: Card = ONE_DEVICE
    problems: tuple[str, ...] = ()

    @classmethod
    def of_rounds(cls, times: Sequence[float], batch: int) -> Performance:
        """The record of runs that were timed here, in the terms of benchmark's pure inference.

        Args:
            times: ms of each run of one batch, one or more, above 0.
            batch: Samples that a run takes.
        """
        if not times or not all(LEAST <= time <= MOST for time in times) or not 1 <= batch <= MOST:
            raise UsageError("a record needs a batch of 1 or more, and 1 time or more, each above 0")
        spread = Spread.of(times)
        mean = fmean(times)
        return cls(
            form=Form.PURE,
            throughput=1000 * batch / mean,
            formula="1000 * batch / mean of the rounds",
            sample_latency=mean / batch,
            batch_latency=mean,
            batch=batch,
            batch_from="the caller",
            spread=spread,
        )

    @property
    def card_throughput(self) -> float | None:
        """Samples a second of a card: those of one device times the devices on it (`card` says how many)."""
        return None if self.throughput is None else self.throughput * self.card.devices

    @property
    def without_batch(self) -> str:
        """Why there are no figures of one sample, where there are none."""
        run = "" if self.batch_latency is None else f"a run takes {self.batch_latency:.4g} ms, and "
        return f"{run}how many samples that is, is not told, so there are no figures of one: give --batch-size"

    @property
    def samples(self) -> float | None:
        """How many samples a dataset run took: `[e2e]` throughputRate * latency / 1000; None where not told."""
        for stage in self.stages:
            if stage.name == "e2e" and stage.rate is not None and stage.latency is not None:
                return stage.rate * stage.latency / 1000
        return None

    def throughput_by(self, statistic: Statistic) -> float | None:
        """Samples a second of one device by a statistic of the runs: 1000 * batch / it; None where either is not known, or it is 0.

        Guides divide by the mean in some places and by the median in others.
        """
        time = None if self.spread is None else getattr(self.spread, statistic)
        return None if not time or self.batch is None else 1000 * self.batch / time

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        return {
            "form": str(self.form),
            "throughput": self.throughput,
            "formula": self.formula,
            "sample_latency_ms": self.sample_latency,
            "batch_latency_ms": self.batch_latency,
            "batch": self.batch,
            "batch_from": self.batch_from or None,
            "spread_ms": None if self.spread is None else self.spread.to_dict(),
            "stages": [{"name": s.name, "rate": s.rate, "latency_ms": s.latency} for s in self.stages],
            "card": self.card.name,
            "devices_per_card": self.card.devices,
            "card_throughput": self.card_throughput,
            "problems": list(self.problems),
        }


def cross_check(records: Mapping[str, Performance]) -> list[str]:
    """Finds what several records of one model, at several batch sizes, say against each other.

    Args:
        records: The records, each by a name for the messages: a file's, say.

    Returns:
        A sentence for each contradiction; none is proof of which record is wrong.
    """
    found: list[str] = []
    for (name, one), (other, two) in combinations(records.items(), 2):
        same = _same_figures(one, two)
        if same:
            found.append(f"{name} and {other} have the same {', '.join(same)}: one was copied from the other")
        found += _same_time(name, one, other, two)
    counts = {name: record.samples for name, record in records.items() if record.samples is not None}
    if counts and max(counts.values()) > min(counts.values()) * (1 + NEAR):
        told = ", ".join(f"{name} {count:.0f}" for name, count in counts.items())
        found.append(f"the runs took different numbers of samples by their e2e lines: {told}")
    return found


def _same_figures(one: Performance, two: Performance) -> list[str]:
    """Measured figures that are equal to the last digit; one alone may be chance."""
    if one.form is not two.form:
        return []
    pairs = [(a, b) for a in one.stages for b in two.stages if a.name == b.name]
    same = [f"{a.name} latency" for a, b in pairs if a.latency is not None and a.latency == b.latency]
    same += [f"{a.name} throughput" for a, b in pairs if a.rate is not None and a.rate == b.rate]
    return same if len(same) > 1 else []


def _same_time(name: str, one: Performance, other: str, two: Performance) -> Iterator[str]:
    """A batch of several times the samples that takes no longer: the model's own batch is another."""
    for (low, a), (high, b) in (((name, one), (other, two)), ((other, two), (name, one))):
        if a.batch is None or b.batch is None or a.batch_latency is None or b.batch_latency is None:
            continue
        if b.batch >= 4 * a.batch and b.batch_latency <= a.batch_latency * (1 + NEAR):
            yield (
                f"{high} (batch {b.batch}) takes {b.batch_latency:g} ms a batch and {low} (batch {a.batch}) "
                f"{a.batch_latency:g} ms: the model seems to run the same batch in both"
            )

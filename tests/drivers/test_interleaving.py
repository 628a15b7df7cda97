"""Turns, their order, and what is made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.drivers.backend import Inferred, Progress
from onnxfuse.drivers.interleaving import Ratio, measure, ratio_of, sample_ms
from onnxfuse.drivers.performance import Form, Performance, Spread
from onnxfuse.errors import ToolError, UsageError
from tests.profile import EXAMPLES


@dataclass
class Scripted:
    """A model whose times are given: by the number of the run, of all models together."""

    name: str
    log: list[tuple[str, int]]
    time: Callable[[int], float]
    batch: int = 1
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        return Path(self.name)

    def measure(self, rounds: int) -> Performance:
        self.log.append((self.name, rounds))
        return Performance.of_rounds([self.time(len(self.log))] * rounds, self.batch)

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def scripted(*times: Callable[[int], float]) -> tuple[list[Scripted], list[tuple[str, int]]]:
    log: list[tuple[str, int]] = []
    return [Scripted(name, log, time) for name, time in zip("abc", times, strict=False)], log


def test_the_order_turns_round_after_a_warm_up() -> None:
    models, log = scripted(*[lambda n: 100.0] * 3)
    found = measure(models, rounds=2, turns=3)
    assert "".join(name for name, _ in log) == "abc" + "abc" + "cba" + "abc"
    assert {rounds for _, rounds in log} == {2}
    assert [len(each.performances) for each in found] == [3, 3, 3]


@EXAMPLES
@given(st.floats(-0.02, 0.02), st.floats(0.5, 2))
def test_a_steady_drift_cancels(drift: float, ratio: float) -> None:
    models, _ = scripted(lambda n: 10 * (1 + drift) ** n, lambda n: 10 * ratio * (1 + drift) ** n)
    found = measure(models, rounds=1, turns=20)[1].ratio
    assert found is not None
    assert math.isclose(math.sqrt(found.low * found.high), ratio, rel_tol=1e-6)
    assert math.isclose(found.value, ratio * (1 / (1 + drift) + 1 + drift) / 2, rel_tol=1e-6)


def test_one_slow_moment_of_the_machine_does_not_count() -> None:
    slow = range(10, 14)
    models, _ = scripted(lambda n: 50.0 if n in slow else 5.0, lambda n: 40.0 if n in slow else 4.0)
    found = measure(models, rounds=1, turns=20)[1].ratio
    assert found is not None
    assert (found.value, found.low, found.high, found.decided) == (0.8, 0.8, 0.8, True)


@pytest.mark.parametrize(("ms", "rounds"), [(0.001, 1000), (1.0, 50), (30.0, 2), (50.0, 1), (900.0, 1)])
def test_short_runs_are_repeated_within_a_turn(ms: float, rounds: int) -> None:
    models, log = scripted(lambda n: ms, lambda n: 2 * ms)
    measure(models, rounds=None, turns=1)
    assert log == [("a", 1), ("b", 1), ("a", rounds), ("b", rounds)]


def test_a_time_instead_of_a_number_of_turns() -> None:
    models, log = scripted(lambda n: 1.0, lambda n: 1.0)
    measure(models, rounds=1, turns=5, seconds=1e-9)
    assert "".join(name for name, _ in log) == "ab" + "abba"


def test_one_model_has_no_ratio() -> None:
    models, _ = scripted(lambda n: float(n))
    (found,) = measure(models, rounds=1, turns=5)
    assert found.ratio is None
    assert (found.latencies, found.latency, found.quartiles) == ((2, 3, 4, 5, 6), 4, (3, 5))
    assert found.throughput == 250
    assert found.to_dict()["ratio"] is None


def test_nothing_to_measure() -> None:
    models, _ = scripted(lambda n: 1.0)
    for turns, rounds in ((0, 1), (1, 0)):
        with pytest.raises(UsageError):
            measure(models, turns=turns, rounds=rounds)
    with pytest.raises(UsageError):
        measure([], rounds=1, turns=1)


def test_the_batch_divides_the_time() -> None:
    assert sample_ms(Performance.of_rounds([8, 10, 90], 2)) == 5
    told = Performance(form=Form.PURE, throughput=100, formula="", sample_latency=10)
    assert sample_ms(told) == 10
    none = Performance(form=Form.AIS_BENCH, throughput=100, formula="", batch=2, spread=Spread(mean=2, median=0))
    with pytest.raises(ToolError, match="the median of the runs is 0 ms, which no measurement gives"):
        sample_ms(none)
    assert none.throughput_by("median") is None
    with pytest.raises(ToolError, match="a run takes 3 ms, and .* give --batch-size"):
        sample_ms(Performance(form=Form.MSAME, throughput=None, formula="", batch_latency=3))


# ---------------------------------------------------------------------------- the interval


@EXAMPLES
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=60))
def test_the_interval_holds_the_median(ratios: list[float]) -> None:
    found = ratio_of(ratios)
    assert min(ratios) <= found.low <= found.value <= found.high <= max(ratios)
    assert found.ratios == tuple(ratios)
    assert (found.confidence >= 0.95) == (len(ratios) >= 6)
    assert ratio_of(sorted(ratios)) == Ratio(*astuple(found)[:4], tuple(sorted(ratios)))


@EXAMPLES
@given(st.integers(1, 5000))
def test_the_interval_of_any_number_of_turns(count: int) -> None:
    found = ratio_of([float(k) for k in reversed(range(count))])
    assert (found.confidence >= 0.95) == (count >= 6)
    assert found.low + found.high == count - 1
    # Half of the turns lie on each side, give or take a standard deviation of sqrt(count) / 2 about twice.
    assert found.high - found.low <= 2.2 * math.sqrt(count) + 1
    assert found.confidence < 0.99 or count < 10


def astuple(ratio: Ratio) -> tuple[float, float, float, float]:
    return ratio.value, ratio.low, ratio.high, ratio.confidence


@pytest.mark.parametrize("count", range(1, 13))
def test_the_confidence_is_that_of_all_ways_to_fall(count: int) -> None:
    # Each ratio lies below the true median or above it, with the same chance.
    found = ratio_of([float(k) for k in range(count)])
    low, high = int(found.low), int(found.high)
    inside = sum(low < sum(below) <= high for below in itertools.product((0, 1), repeat=count))
    assert math.isclose(found.confidence, inside / 2**count, abs_tol=1e-12)
    if count >= 6:
        tighter = sum(low + 1 < sum(below) <= high - 1 for below in itertools.product((0, 1), repeat=count))
        assert tighter / 2**count < 0.95


def test_what_is_decided() -> None:
    assert ratio_of([0.9] * 6).decided
    assert not ratio_of([0.9] * 5).decided
    assert not ratio_of([0.9] * 10 + [1.1] * 10).decided
    assert ratio_of([1.2] * 19 + [0.5]).decided

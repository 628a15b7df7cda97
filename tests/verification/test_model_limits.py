"""Limits of time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnxfuse.verification.evaluate import Evaluator
from onnxfuse.verification.input_sets import Feeds
from onnxfuse.verification.model import check_models
from onnxfuse.verification.pair import Pair
from onnxfuse.verification.verdict import Status
from tests.verification.whole_models import detour, full, pair, quick

NEVER = """g (float[2] x) => (float[K] y) <int64 n = {9223372036854775807}, bool c = {1}> {
    y = Loop (n, c, x) <body = b (int64 i, bool k, float[2] v) => (bool o, float[2] w) { o = Identity(k) w = Abs(v) }>
}"""


def stepping_clock(
    monkeypatch: pytest.MonkeyPatch, passed: Callable[[str, int], bool]
) -> Callable[[str, int, int], None]:
    """A clock that stands still, and what moves it on where `passed` says so of what is being done."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def progress(label: str, done: int, _total: int) -> None:
        clock[0] += 100.0 if passed(label, done) else 0.0

    return progress


def test_a_budget_that_is_used_up_is_not_a_pass() -> None:
    text = "g (float[N] x) => (float[K] y) { y = Relu(x) }"
    for families in ("quick", "full"):
        verdict = check_models(*pair(text, detour(text)), families=families, budget_s=0.0)
        assert verdict.status is Status.NOT_RUN
        assert "within the budget of 0 s" in verdict.not_run[0]
        assert verdict.draws == 0


def test_what_the_budget_cut_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "g (float[4] x) => (float[K] y) { y = Relu(x) }"
    progress = stepping_clock(monkeypatch, lambda _, done: done == 4)
    verdict = full(text, detour(text), budget_s=60.0, progress=progress)
    assert verdict.draws == 4
    assert verdict.not_run == ("38 of 42 input sets were not finished within the budget of 60 s (--verify-budget)",)
    assert verdict.outputs[0].status is Status.EQUIVALENT
    assert verdict.status is Status.NOT_RUN


TENTH_THRICE = "g (float[N, 8] x) => (float[N, 8] y) <float a = {0.1}, float b = {3}> { p = Mul(x, a) y = Mul(p, b) }"
THREE_TENTHS = "g (float[N, 8] x) => (float[N, 8] y) <float a = {0.3}> { y = Mul(x, a) }"


def test_rounding_that_the_budget_leaves_undecided_is_not_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = stepping_clock(monkeypatch, lambda label, _: label.startswith("rounding on ladder"))
    verdict = full(TENTH_THRICE, THREE_TENTHS, budget_s=60.0, progress=progress)
    assert verdict.status is Status.NOT_RUN, verdict.explain()
    why = "whether the difference is rounding was not decided within the budget of 60 s (--verify-budget)"
    assert verdict.outputs[0].why == why


def test_without_a_budget_rounding_is_decided_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []

    def passed(label: str, done: int) -> bool:
        told.append((label.split(" at ", maxsplit=1)[0], done))
        return label.startswith("rounding on")

    verdict = full(TENTH_THRICE, THREE_TENTHS, progress=stepping_clock(monkeypatch, passed))
    assert verdict.equivalent, verdict.explain()
    assert not any("rounding rule looked at" in note for note in verdict.notes)
    rounding = [(label, done) for label, done in told if label.startswith("rounding on")]
    assert rounding[0] == ("rounding on normal 0", 0)
    assert len(rounding) > 60
    families = {label.split()[2] for label, _ in rounding}
    assert {"normal", "ladder", "wide", "small", "offset", "constants"} <= families


def test_what_was_found_before_the_budget_was_used_up_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    before = "g (float[N, 8] x) => (float[N, 8] y) { y = Mul(x, x) }"
    after = before.replace("{ y = Mul(x, x)", "<float m = {300}> { a = Abs(x) c = Min(a, m) y = Mul(c, a)")
    seen: list[str] = []

    def passed(label: str, _: int) -> bool:
        seen.append(label)
        return label.startswith("rounding on ladder 2")

    verdict = full(
        before, after, budget_s=60.0, progress=stepping_clock(monkeypatch, passed), selected=["normal", "ladder"]
    )
    assert any(label.startswith("rounding on ladder 2") for label in seen)
    assert verdict.status is Status.DIFFERENT, verdict.explain()
    assert verdict.outputs[0].draw is not None
    assert verdict.outputs[0].draw.startswith("ladder")


def test_a_run_that_does_not_end_is_stopped_by_the_budget() -> None:
    verdict = quick(NEVER, detour(NEVER), budget_s=0.3)
    assert verdict.status is Status.NOT_RUN
    assert "within the budget of 0.3 s" in verdict.not_run[0]
    assert verdict.seconds < 30


def test_a_loop_that_does_not_end_is_stopped_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxfuse.verification.pair.LOOP_LIMIT_S", 0.05)
    verdict = quick(NEVER, detour(NEVER))
    assert verdict.status is Status.NOT_RUN
    assert "the first model does not run: the run took longer than 0.25 s" in verdict.not_run[0]
    runs: list[int] = []
    original = Pair.first

    def first(pair: Pair, feeds: Feeds) -> list[Any]:
        runs.append(len(feeds["x"]))
        return original(pair, feeds)

    monkeypatch.setattr(Pair, "first", first)
    text = NEVER.replace("float[2]", "float[N]")
    symbolic = full(text, detour(text))
    assert runs == [2, 1, 2]
    assert "with its symbolic dims (N) at any size tried from 1 to 2: the run took" in symbolic.not_run[0]
    ends = NEVER.replace("9223372036854775807", "3")
    second = quick(ends, NEVER)
    assert second.status is Status.NOT_RUN
    assert "the second model on normal 0: the run took longer than" in second.not_run[0]


def test_intermediates_that_do_not_fit_are_not_exposed_and_it_is_said() -> None:
    before = "g (double[4] x) => (int8[4] y) { i = Cast<to = 7>(x) y = Cast<to = 3>(i) }"
    after = "g (double[4] x) => (int8[4] y) { y = Cast<to = 3>(x) }"
    data = [{"x": np.array([5.0, 4294967301.0, 1.0, 2.0])}]
    assert quick(before, after, data=data).status is Status.DIFFERENT
    hidden = quick(before, after, data=data, memory_limit=35)
    assert hidden.equivalent
    (note,) = hidden.notes
    assert "intermediates are not exposed, so onnxruntime may rewrite across them" in note


def test_sizes_that_are_not_known_are_measured() -> None:
    text = "g (float[100] x) => (float[K] y) { i = NonZero(x) t = Transpose(i) y = GatherND(x, t) }"
    within = quick(text, detour(text), memory_limit=2 * 800 + 400)
    assert not any("not exposed" in note for note in within.notes)
    above = quick(text, detour(text), memory_limit=2 * 800 + 399)
    assert any("not exposed" in note for note in above.notes)
    assert above.equivalent


def test_quick_runs_each_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    real = Evaluator.run

    def counted(self: Evaluator, *args: Any, **options: Any) -> list[object]:
        runs.append(self)
        return real(self, *args, **options)

    monkeypatch.setattr(Evaluator, "run", counted)
    text = "g (float[N] x) => (float[K] y) { y = Relu(x) }"
    assert quick(text, detour(text)).draws == 1
    assert len(runs) == len(set(map(id, runs))) == 2

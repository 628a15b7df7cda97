"""Rewrites of small float models: correct ones pass, and wrong ones of small effect do not."""

from __future__ import annotations

import collections

import pytest

import onnxfuse
from tests.verification.float_pairs import CORRECT, PAIRS, WRONG, Pair
from tests.verification.float_pairs.truth import LEAST_WRONG, MOST_RIGHT, distance


def named(pairs: tuple[Pair, ...]) -> list[object]:
    return [pytest.param(pair, id=pair.name.replace(" ", "-")) for pair in pairs]


def test_there_are_enough_of_both_kinds() -> None:
    names = collections.Counter(pair.name for pair in PAIRS)

    assert set(names.values()) == {1}
    assert len(CORRECT) >= 60
    assert len([pair for pair in WRONG if not pair.below_resolution]) >= 45


@pytest.mark.parametrize("pair", named(CORRECT))
def test_a_right_rewrite_computes_the_same_in_float64(pair: Pair) -> None:
    assert distance(pair) < MOST_RIGHT


@pytest.mark.parametrize("pair", named(WRONG))
def test_a_wrong_rewrite_differs_in_float64(pair: Pair) -> None:
    assert distance(pair) > LEAST_WRONG


@pytest.mark.parametrize("pair", named(PAIRS))
def test_the_truth_is_told(pair: Pair) -> None:
    verdict = onnxfuse.verify(*pair.build())

    if pair.below_resolution:
        # Not held against the rule: but it has an answer.
        assert verdict.status in ("equivalent", "different")
    else:
        assert verdict.status == pair.truth, verdict.explain()


def test_a_pair_is_the_same_every_time() -> None:
    for pair in PAIRS[::10]:
        first, second = pair.build(), pair.build()
        assert [model.SerializeToString() for model in first] == [model.SerializeToString() for model in second]

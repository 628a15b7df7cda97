"""The arithmetic of Slices on one axis, against onnxruntime and numpy on every length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.passes._slices import AMBIGUOUS, CLAMPED, EVERYTHING, INEXPRESSIBLE, Part, compose
from onnxfuse.testing.oracle import open_session
from tests.passes.chains import MAX, MIN
from tests.profile import EXAMPLES

LENGTHS = range(41)

Select = Callable[[Sequence[Part], int], list[int]]

bounds = st.one_of(
    st.integers(-6, 6),
    st.integers(-45, 45),
    st.sampled_from([MAX, MIN, MIN + 1, MAX - 1, CLAMPED, -CLAMPED, CLAMPED - 1, -CLAMPED - 1, 10**12, -(10**12)]),
)
parts_of_any_step = st.builds(Part, bounds, bounds, st.sampled_from([-3, -2, -1, 1, 2, 3]))
parts_of_positive_step = st.builds(Part, bounds, bounds, st.integers(1, 4))


@pytest.fixture(scope="module")
def on_onnxruntime() -> Select:
    session = open_session(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]>'
            "slice (int64[N] x, int64[1] start, int64[1] end, int64[1] axis, int64[1] step) => (int64[M] y)"
            "{ y = Slice(x, start, end, axis, step) }"
        )
    )

    def select(parts: Sequence[Part], length: int) -> list[int]:
        data = np.arange(length)
        for part in parts:
            start, end, step = (np.array([number]) for number in part)
            feed = {"x": data, "start": start, "end": end, "axis": np.array([0]), "step": step}
            (data,) = session.run(["y"], feed)
        return list(data.tolist())

    return select


def on_numpy(parts: Sequence[Part], length: int) -> list[int]:
    data = np.arange(length)
    for part in parts:
        data = data[part.start : part.end : part.step]
    return list(data.tolist())


def check(parts: Sequence[Part], merged: Part, lengths: Sequence[int], onnxruntime: Select) -> None:
    for length in lengths:
        for select in (on_numpy, onnxruntime):
            assert select([merged], length) == select(parts, length), (merged, length, select.__name__)


@EXAMPLES
@given(parts=st.lists(parts_of_any_step, min_size=2, max_size=4), length=st.sampled_from(LENGTHS))
def test_known_length(on_onnxruntime: Select, parts: list[Part], length: int) -> None:
    merged = compose(parts, length=length, axis=0)

    if isinstance(merged, str):
        assert merged == AMBIGUOUS
        # Somewhere on the way the two part; the end of the chain may hide it.
        assert any(
            on_numpy(parts[:count], length) != on_onnxruntime(parts[:count], length)
            for count in range(1, len(parts) + 1)
        )
    else:
        check(parts, merged, [length], on_onnxruntime)


@EXAMPLES
@given(parts=st.lists(parts_of_any_step, min_size=2, max_size=4))
def test_every_length(on_onnxruntime: Select, parts: list[Part]) -> None:
    merged = compose(parts, length=None, axis=3)

    if isinstance(merged, str):
        too_large = "the bounds on axis 3 are too large to prove the merge for every length"
        assert merged in (AMBIGUOUS, INEXPRESSIBLE.format(axis=3), too_large)
    else:
        check(parts, merged, LENGTHS, on_onnxruntime)


@EXAMPLES
@given(parts=st.lists(parts_of_positive_step, min_size=1, max_size=4), length=st.sampled_from(LENGTHS))
def test_known_length_and_positive_steps_always_merge(on_onnxruntime: Select, parts: list[Part], length: int) -> None:
    merged = compose(parts, length=length, axis=0)

    assert not isinstance(merged, str)
    check(parts, merged, [length], on_onnxruntime)


@EXAMPLES
@given(part=parts_of_any_step, length=st.one_of(st.none(), st.sampled_from(LENGTHS)))
def test_one_part_alone_is_kept(on_onnxruntime: Select, part: Part, length: int | None) -> None:
    merged = compose([part], length=length, axis=0)

    assert not isinstance(merged, str)
    check([part], merged, LENGTHS if length is None else [length], on_onnxruntime)
    if length is None:
        assert merged in (part, EVERYTHING)


@EXAMPLES
@given(
    starts=st.lists(st.integers(0, 20), min_size=2, max_size=5),
    steps=st.lists(st.integers(1, 3), min_size=5, max_size=5),
)
def test_starts_and_steps_to_the_end_always_merge(on_onnxruntime: Select, starts: list[int], steps: list[int]) -> None:
    parts = [Part(start, MAX, step) for start, step in zip(starts, steps, strict=False)]
    merged = compose(parts, length=None, axis=0)

    assert not isinstance(merged, str)
    check(parts, merged, LENGTHS, on_onnxruntime)


@EXAMPLES
@given(starts=st.lists(st.integers(0, 20), min_size=2, max_size=4), ends=st.lists(st.integers(-20, -1), min_size=4))
def test_borders_cut_from_both_sides_always_merge(on_onnxruntime: Select, starts: list[int], ends: list[int]) -> None:
    parts = [Part(start, end, 1) for start, end in zip(starts, ends, strict=False)]
    merged = compose(parts, length=None, axis=0)

    assert merged == Part(sum(part.start for part in parts), sum(part.end for part in parts), 1)
    check(parts, merged, LENGTHS, on_onnxruntime)


@pytest.mark.parametrize(
    ("parts", "merged"),
    [
        ([(0, MAX, 1), (0, MAX, 1)], (0, MAX, 1)),
        ([(-CLAMPED, CLAMPED, 1), (MIN, MAX, 1)], (0, MAX, 1)),
        ([(1, MAX, 1), (2, MAX, 1)], (3, MAX, 1)),
        ([(0, -1, 1), (0, -1, 1)], (0, -2, 1)),
        ([(1, -1, 1), (1, -1, 1)], (2, -2, 1)),
        ([(-5, MAX, 1), (-3, MAX, 1)], (-3, MAX, 1)),
        ([(-3, MAX, 1), (-5, MAX, 1)], (-3, MAX, 1)),
        ([(0, 5, 1), (0, 3, 1)], (0, 3, 1)),
        ([(0, MAX, 2), (0, MAX, 3)], (0, MAX, 6)),
        ([(1, MAX, 2), (1, MAX, 2)], (3, MAX, 4)),
        ([(-1, MIN, -1), (-1, MIN, -1)], (0, MAX, 1)),
        ([(-1, MIN + 1, -1), (-1, -MAX, -1)], (0, MAX, 1)),
        ([(0, 4, 1), (7, MAX, 1)], (0, 0, 1)),
    ],
)
def test_merges_for_every_length(parts: list[tuple[int, int, int]], merged: tuple[int, int, int]) -> None:
    assert compose([Part(*part) for part in parts], length=None, axis=0) == merged


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([(-5, MAX, 1), (2, MAX, 1)], INEXPRESSIBLE),
        ([(0, 5, 1), (-2, MAX, 1)], INEXPRESSIBLE),
        ([(-1, MIN, -1), (1, MAX, 1)], INEXPRESSIBLE),  # x[-2::-1] starts before the first element where x has one
        ([(-3, MIN, -1), (0, MAX, 1)], AMBIGUOUS),
        ([(-1, MAX, -1), (0, MAX, 1)], AMBIGUOUS),  # numpy: nothing; onnxruntime: all but the first
        ([(-1, CLAMPED, -2), (0, MAX, 1)], AMBIGUOUS),
        (
            [(5000, MAX, 1), (5000, MAX, 1)],
            "the bounds on axis {axis} are too large to prove the merge for every length",
        ),
    ],
)
def test_says_why_nothing_merges_for_every_length(parts: list[tuple[int, int, int]], why: str) -> None:
    assert compose([Part(*part) for part in parts], length=None, axis=2) == why.format(axis=2)


def test_positions_of_a_reversed_chain_are_written_from_the_front() -> None:
    assert compose([Part(-1, MIN, -1), Part(1, 3, 1)], length=6, axis=0) == Part(4, 2, -1)
    assert compose([Part(-1, MIN, -1), Part(3, MAX, 2)], length=6, axis=0) == Part(2, MIN, -2)
    assert compose([Part(2, 5, 1), Part(1, 2, 1)], length=6, axis=0) == Part(3, 4, 1)

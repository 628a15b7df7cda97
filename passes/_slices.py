"""The arithmetic of Slice on one axis: what a chain of them selects, and which single one selects the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

__all__ = ["EVERYTHING", "Part", "compose"]

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
# A bound at or beyond this is "to the end" in every runtime: no dim is longer.
CLAMPED: Final = 2**31 - 1
# A chain whose constants ask for more lengths than this counts as too large to prove.
LONGEST_PROOF: Final = 1 << 13
# Lengths beyond the bound on which candidates are fitted, a multiple of the step where that is short enough.
WINDOW: Final = 24


class Part(NamedTuple):
    """What one Slice does to one axis, as ONNX has it: negative bounds count from the end, all bounds clamp."""

    start: int
    end: int
    step: int


EVERYTHING: Final = Part(0, INT64_MAX, 1)

AMBIGUOUS: Final = "numpy and onnxruntime read a bound outside the tensor with a negative step differently"
# onnxruntime takes these ends, with a negative step, for "to the front"; to numpy and the ONNX standard they are far
# behind the last element, and nothing is selected.
RUNTIME_FRONT: Final = (2**31 - 1, INT64_MAX)
INEXPRESSIBLE: Final = "no single Slice selects the same elements for every length of axis {axis}"


def compose(parts: Sequence[Part], *, length: int | None, axis: int) -> Part | str:
    """Returns the one part that selects what `parts` select in a row, or a sentence that says why there is none.

    Args:
        parts: The parts of a chain on one axis, the first applied first.
        length: The axis's length, or None where it can be any.
        axis: Its number, for the sentence.

    With a known length, ranges are composed and the result is read off. Without one, candidates are fitted on long
    axes and each is proved on every length from 0 to the bound that the constants imply, beyond which nothing new
    happens.
    """
    if len(parts) == 1 and length is None:
        return EVERYTHING if _selects_everything(parts[0]) else parts[0]
    if length is not None:
        selected = _select(parts, length)
        if selected is None:
            # One part is passed on as it stands: whichever way a runtime reads it, it reads the same as before.
            return parts[0] if len(parts) == 1 else AMBIGUOUS
        return _part_of(selected, length) if len(parts) > 1 or selected == range(length) else parts[0]
    reach = _reach(parts)
    if reach > LONGEST_PROOF:
        return f"the bounds on axis {axis} are too large to prove the merge for every length"
    for candidate in _candidates(parts, reach):
        bound = reach + _reach([candidate])
        if all(_agree(parts, candidate, n) for n in range(min(bound, 8), -1, -1)) and all(
            _agree(parts, candidate, n) for n in range(bound + 1)
        ):
            return EVERYTHING if _selects_everything(candidate) else candidate
    if any(_select(parts, n) is None for n in range(min(reach, 64))):
        return AMBIGUOUS
    return INEXPRESSIBLE.format(axis=axis)


def _selects_everything(part: Part) -> bool:
    # A start at or before the first element of any tensor, and an end at or after the last.
    return part.step == 1 and (part.start == 0 or part.start <= -CLAMPED) and part.end >= CLAMPED


def _indices(part: Part, length: int, *, in_runtime: bool) -> range:
    """Returns the positions that `part` selects of `length` elements.

    numpy and onnxruntime part ways with a negative step. Where it starts before the first element, numpy selects
    nothing; onnxruntime, as the text of the ONNX operator, clamps the start to the first element. And onnxruntime takes
    the greatest integers as an end for "to the front".
    """
    if part.step < 0 and in_runtime:
        if length and part.start + length < 0:
            part = part._replace(start=0)
        if part.end in RUNTIME_FRONT:
            part = part._replace(end=INT64_MIN)
    return range(length)[part.start : part.end : part.step]


def _select(parts: Sequence[Part], length: int) -> range | None:
    """Returns the positions that the whole chain selects; None where numpy and onnxruntime differ."""
    results = []
    for in_runtime in (False, True):
        selected = range(length)
        for part in parts:
            chosen = _indices(part, len(selected), in_runtime=in_runtime)
            selected = (
                selected[chosen.start : chosen.stop : chosen.step] if chosen.step > 0 else _backwards(selected, chosen)
            )
        results.append(selected)
    return results[0] if results[0] == results[1] else None


def _backwards(selected: range, chosen: range) -> range:
    if not chosen:
        return range(0)
    step = selected.step * chosen.step
    return range(selected[chosen[0]], selected[chosen[-1]] + (1 if step > 0 else -1), step)


def _agree(parts: Sequence[Part], candidate: Part, length: int) -> bool:
    selected = _select(parts, length)
    return selected is not None and _select([candidate], length) == selected


def _part_of(selected: range, length: int) -> Part:
    """Writes positions of an axis of a known length as one part."""
    if selected == range(length):
        return EVERYTHING
    if not selected:
        return Part(0, 0, 1)
    if len(selected) == 1:
        return Part(selected[0], selected[0] + 1, 1)
    if selected.step > 0:
        # To the end, where the end is reached: so it reads for whoever opens the model, and for any longer axis.
        reached = selected[-1] + selected.step >= length
        return Part(selected[0], INT64_MAX if reached else selected[-1] + 1, selected.step)
    end = selected[-1] - 1
    return Part(selected[0], end if end >= 0 else INT64_MIN, selected.step)


def _reach(parts: Sequence[Part]) -> int:
    """Returns the length from which on nothing new happens: the sum of |start| + |end| + |step| + 2, scaled."""
    total, scale = 0, 1
    for part in parts:
        near = sum(abs(bound) for bound in (part.start, part.end) if abs(bound) < CLAMPED)
        total += (near + abs(part.step) + 2) * scale
        scale *= abs(part.step)
    return total


def _candidates(parts: Sequence[Part], reach: int) -> Iterator[Part]:
    """Yields parts that could be the composition; each is yet to be proved."""
    yield EVERYTHING
    step = math.prod(part.step for part in parts)
    window = range(reach, reach + max(WINDOW, min(2 * abs(step), 4 * WINDOW)))
    sampled = [_select(parts, n) for n in window]
    selections = [(n, selected) for n, selected in zip(window, sampled, strict=True) if selected]
    if not selections:
        yield Part(0, 0, 1)
    starts = [*_fitted_starts(selections), *(part.start for part in parts)]
    ends = [*_fitted_ends(selections, step), *(part.end for part in parts), INT64_MAX, INT64_MIN]
    for start, end in itertools.product(dict.fromkeys(starts), dict.fromkeys(ends)):
        yield Part(start, end, step)


def _fitted_starts(selections: Sequence[tuple[int, range]]) -> Iterator[int]:
    from_front = {selected[0] for _, selected in selections}
    from_back = {selected[0] - n for n, selected in selections}
    if len(from_front) == 1:
        yield from from_front
    if len(from_back) == 1:
        yield from from_back


def _fitted_ends(selections: Sequence[tuple[int, range]], step: int) -> Iterator[int]:
    """Yields the ends that lie behind the last selected element, and not a whole step behind, on all lengths."""
    if not selections:
        return
    near, far = (1, step) if step > 0 else (step, -1)
    for offset in (0, 1):  # counted from the front, then from the back
        low = max(selected[-1] - offset * n + near for n, selected in selections)
        high = min(selected[-1] - offset * n + far for n, selected in selections)
        if low > high:
            continue
        if offset == 0:
            yield from (end for end in (low, high) if end >= 0)
            if low < 0:
                yield INT64_MIN
        else:
            yield from (end for end in (high, low) if end < 0)
            if high >= 0:
                yield INT64_MAX

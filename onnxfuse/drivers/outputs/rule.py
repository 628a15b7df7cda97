"""Which difference between two results float16 explains.

A device rounds to float16 (unit roundoff u = 2^-11) on the way, whatever the type of its results. Two results x and y of
one output agree where at each element |x - y| <= slack + 16 u |x| + 4 eta, eta being the smallest number of float16.

Of two devices slack is 16 u max|x|: the rule that `onnxfuse verify` has for models without a float64 twin. Against the
model itself it is measured, by noise of 2 u on its inputs and weights: 8 times the largest move in any slice of the output
that the element is in (so that boxes in pixels do not excuse scores), and as a whole x and y may be apart by 4 times the
root mean square of what the noise moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from onnxfuse.drivers.outputs.files import is_exact
from onnxfuse.verification.element_types import format_of, is_float
from onnxfuse.verification.judgement import Tolerance
from onnxfuse.verification.leaves import class_of

__all__ = ["Judged", "Noise", "U", "agreed_by_size_alone", "judge"]

U: Final = 2.0**-11
RELATIVE: Final = 16 * U
SLACK: Final = 16 * U
ETA: Final = format_of(np.dtype(np.float16)).smallest
TIMES: Final = 8
TIMES_RMS: Final = 4
SLICE: Final = 64
"""Elements below which the largest move in a slice is too much a matter of chance."""


@dataclass(frozen=True)
class Noise:
    """How far noise moves an output, relative to its largest |x|.

    Attributes:
        shape: Of the output, of one sample.
        whole: The largest move.
        rms: The root mean square of the moves.
        slices: By axis, the largest move in each slice across it; only where a slice has `SLICE` elements or more.
    """

    shape: tuple[int, ...]
    whole: float
    rms: float
    slices: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, still: np.ndarray, moved: np.ndarray) -> Self | None:
        """What one draw of noise did; None where the results are no floats of one shape, or all are 0."""
        if still.shape != moved.shape or not is_float(still.dtype) or not still.size:
            return None
        a, b = still.astype(np.float64), moved.astype(np.float64)
        both = np.isfinite(a) & np.isfinite(b)
        size = float(np.abs(a[both]).max(initial=0.0))
        if not size:
            return None
        with np.errstate(invalid="ignore"):
            apart = np.where(both, np.abs(a - b), 0.0) / size
        axes = (axis for axis, length in enumerate(a.shape) if length > 1 and a.size // length >= SLICE)
        return cls(a.shape, float(apart.max()), _rms(apart), {axis: _by_slice(apart, axis) for axis in axes})

    def __or__(self, other: Self) -> Self:
        """The larger of two, at each place."""
        slices = {}
        if self.shape == other.shape:
            slices = {axis: np.maximum(moves, other.slices[axis]) for axis, moves in self.slices.items()}
        return type(self)(self.shape, max(self.whole, other.whole), max(self.rms, other.rms), slices)

    def at(self, a: np.ndarray) -> np.ndarray:
        """How far it moves each element of a result, at most: the least of what the slices say."""
        found = np.full(a.shape, self.whole)
        if a.shape == self.shape:
            for axis, moves in self.slices.items():
                found = np.minimum(found, moves.reshape([-1 if k == axis else 1 for k in range(a.ndim)]))
        return found * _largest(a)


@dataclass(frozen=True)
class Judged:
    """How two results of one output compare.

    Attributes:
        equal: Whether all bits are equal.
        error: The largest |x - y|; NaN and infinities at other positions are no number.
        share: The largest share of what is allowed; above 1 is different.
        why: What differs; empty where nothing does.
        cosine: Of the angle between x and y; None where one is 0 or not finite.
        vacuous: Whether zeros would agree with x as well, though x and y differ by more than their own rounding.
    """

    equal: bool = False
    error: float = 0.0
    share: float = 0.0
    why: str = ""
    cosine: float | None = None
    vacuous: bool = False


def judge(x: np.ndarray, y: np.ndarray, *, own: Tolerance | None = None, noise: Noise | None = None) -> Judged:
    """Compares two results of one shape.

    Args:
        x: What is compared with.
        y: What should be the same.
        own: The user's tolerance, instead of the rule.
        noise: What float16 does to this output, where it was measured.
    """
    if x.dtype == y.dtype and x.tobytes() == y.tobytes():
        return Judged(equal=True)
    exact = own is None and is_exact(x.dtype) and is_exact(y.dtype)
    a, b = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        classes = class_of(a) != class_of(b)
        apart = np.where(np.isfinite(a) & np.isfinite(b), np.abs(a - b), 0.0)
        if exact:  # float64 does not hold every int64
            apart = np.where(x != y, np.maximum(apart, 1.0), 0.0)
        shares = _shares(apart, np.zeros(a.shape) if exact else _allowed(a, own, noise))
    error, share = (float(values.max(initial=0.0)) for values in (apart, shares))
    wrong = classes | (shares > 1)
    why = ""
    if wrong.any():
        at = int(np.argmax(classes if classes.any() else shares))
        what = (
            "NaN and infinities must be at the same positions"
            if classes.any()
            else _said(float(shares.flat[at]), exact=exact)
        )
        why = f"{int(np.count_nonzero(wrong))} of {x.size} values differ, {x.flat[at]!s} and {y.flat[at]!s} at {at}: {what}"
    elif noise is not None and own is None and not exact:
        whole = _whole_share(a, apart, noise)
        share = max(share, whole)
        if whole > 1:
            why = f"as a whole the values are apart by {whole:.3g} times what is allowed"
    return Judged(
        error=error,
        share=share,
        why=why,
        cosine=_cosine(a.reshape(-1), b.reshape(-1)),
        vacuous=not why and own is None and not exact and _is_vacuous(a, apart, noise),
    )


def agreed_by_size_alone(x: np.ndarray, y: np.ndarray) -> tuple[int, float, float]:
    """Looks at the values that only the largest of their result excuses: of two devices, zeros would do in their place.

    Returns:
        How many there are, the sum of the squares of their differences, and of themselves, relative to the largest.
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    size = _largest(a)
    with np.errstate(all="ignore"):
        small = (
            np.isfinite(a) & np.isfinite(b) & (np.abs(a) <= SLACK * size) & (np.maximum(np.abs(a), np.abs(b)) > 4 * ETA)
        )
        return (
            int(np.count_nonzero(small)),
            float(np.sum(((a - b)[small] / size) ** 2)),
            float(np.sum((a[small] / size) ** 2)),
        )  # fmt: skip


def _by_slice(apart: np.ndarray, axis: int) -> np.ndarray:
    """The largest move in each slice across an axis; that of all where most of a slice stays: steps are moved by chance."""
    others = tuple(k for k in range(apart.ndim) if k != axis)
    moved = np.count_nonzero(apart, axis=others) * 2 >= apart.size // apart.shape[axis]
    return np.asarray(np.where(moved, apart.max(axis=others), apart.max()))


def _allowed(a: np.ndarray, own: Tolerance | None, noise: Noise | None) -> np.ndarray:
    if own is not None:
        return np.asarray(own.atol + own.rtol * np.abs(a))
    slack = SLACK * _largest(a) if noise is None else TIMES * noise.at(a)
    return np.asarray(slack + _rounding(a))


def _rounding(a: np.ndarray) -> np.ndarray:
    """What the rounding of the result itself may do."""
    return np.asarray(RELATIVE * np.abs(a) + 4 * ETA)


def _whole_share(a: np.ndarray, apart: np.ndarray, noise: Noise) -> float:
    """The root mean square of the differences, by what is allowed of it."""
    finite = np.where(np.isfinite(a), a, 0.0)
    return _rms(apart) / (TIMES_RMS * noise.rms * _largest(a) + _rms(_rounding(finite)))


def _is_vacuous(a: np.ndarray, apart: np.ndarray, noise: Noise | None) -> bool:
    if noise is None or not np.any(apart > _rounding(np.where(np.isfinite(a), a, 0.0))):
        return False
    sizes = np.where(np.isfinite(a), np.abs(a), 0.0)
    return bool(np.all(sizes <= _allowed(a, None, noise), where=np.isfinite(a))) and _whole_share(a, sizes, noise) <= 1


def _shares(apart: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(apart > 0, apart / allowed, 0.0))


def _said(share: float, *, exact: bool) -> str:
    if exact:
        return "rounding does not change these values"
    return f"{share:.3g} times what is allowed" if math.isfinite(share) else "no difference is allowed"


def _largest(a: np.ndarray) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    sizes = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return min(1.0, float(a @ b) / sizes) if 0 < sizes < math.inf else None

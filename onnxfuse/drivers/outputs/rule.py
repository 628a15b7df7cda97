"""Which difference between two results float16 explains.

A device rounds to float16 (unit roundoff u = 2^-11) on the way, whatever the type of its results. Two results x and y of
one output agree where at each element |x - y| <= slack + 16 u |x| + 4 eta, eta being the smallest number of float16.

Of two devices slack is 16 u max|x|: the rule that `onnxfuse verify` has for models without a float64 twin. Against the
model itself it is measured, by noise of 2 u on its inputs and weights: 8 times the largest move in any slice of the output
that the element is in (so that boxes in pixels do not excuse scores), and as a whole x and y may be apart by 4 times the
root mean square of what the noise moves. Of integers and booleans, 4 times as many may differ as the noise changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from onnxfuse.drivers.outputs.files import is_exact
from onnxfuse.verification.element_types import format_of, is_float
from onnxfuse.verification.judgement import Tolerance
from onnxfuse.verification.leaves import class_of

__all__ = ["TIMES", "UNMEASURED", "Judged", "Noise", "U", "judge", "small_values"]

U: Final = 2.0**-11
RELATIVE: Final = 16 * U
SLACK: Final = 16 * U
ETA: Final = format_of(np.dtype(np.float16)).smallest
TIMES: Final = 8
TIMES_ALL: Final = 4
"""How much of its noise an element, and a result as a whole, may be off."""
SLICE: Final = 64
"""Elements below which the largest move in a slice is too much a matter of chance."""

UNMEASURED: Final = "what float16 does to it could not be measured"
AS_LARGE: Final = "rounding to float16 moves the model's own result by as much as it is large"
AS_MANY: Final = "rounding to float16 changes as many of the model's own values"


@dataclass(frozen=True)
class Noise:
    """What noise does to an output.

    Attributes:
        shape: Of the output, of one sample.
        changed: The share of the elements that it changes.
        whole: Of floats: the largest move, relative to the largest |x|.
        rms: The root mean square of the moves, likewise.
        slices: By axis, the largest move in each slice across it, likewise; only where a slice has `SLICE` elements or more.
    """

    shape: tuple[int, ...]
    changed: float
    whole: float
    rms: float
    slices: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, still: np.ndarray, moved: np.ndarray) -> Self | None:
        """What one draw of noise did; None where it gives another shape, or to floats that are all 0."""
        if still.shape != moved.shape or not still.size:
            return None
        changed = float(np.count_nonzero(still != moved)) / still.size
        if not is_float(still.dtype):
            return cls(still.shape, changed, 0.0, 0.0, {})
        a, b = still.astype(np.float64), moved.astype(np.float64)
        both = np.isfinite(a) & np.isfinite(b)
        size = float(np.abs(a[both]).max(initial=0.0))
        if not size:
            return None
        with np.errstate(invalid="ignore"):
            apart = np.where(both, np.abs(a - b), 0.0) / size
        axes = (axis for axis, length in enumerate(a.shape) if length > 1 and a.size // length >= SLICE)
        return cls(a.shape, changed, float(apart.max()), _rms(apart), {axis: _by_slice(apart, axis) for axis in axes})

    def __or__(self, other: Self) -> Self:
        """The larger of two of one shape, at each place."""
        return replace(
            self,
            changed=max(self.changed, other.changed),
            whole=max(self.whole, other.whole),
            rms=max(self.rms, other.rms),
            slices={axis: np.maximum(moves, other.slices[axis]) for axis, moves in self.slices.items()},
        )

    def at(self, a: np.ndarray) -> np.ndarray:
        """How far it moves each element of a result, at most: the least of what the slices say."""
        found = np.full(a.shape, self.whole)
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
        untold: Why nothing can be said though nothing differs; empty where it can.
        cosine: Of the angle between x and y; None where one is 0 or not finite.
    """

    equal: bool = False
    error: float = 0.0
    share: float = 0.0
    why: str = ""
    untold: str = ""
    cosine: float | None = None


def judge(
    x: np.ndarray,
    y: np.ndarray,
    *,
    own: Tolerance | None = None,
    noise: Noise | None = None,
    of_model: bool = False,
) -> Judged:
    """Compares two results of one shape.

    Args:
        x: What is compared with.
        y: What should be the same.
        own: The user's tolerance, instead of the rule.
        noise: What float16 does to this output, where it was measured on a result of this shape.
        of_model: Whether x is the model's: then what was not measured cannot be told.
    """
    if x.dtype == y.dtype and x.tobytes() == y.tobytes():
        return Judged(equal=True)
    if own is None and is_exact(x.dtype) and is_exact(y.dtype):
        return _integers(x, y, noise)
    a, b = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.where(np.isfinite(a) & np.isfinite(b), np.abs(a - b), 0.0)
        if own is not None:
            return _elements(x, y, apart, np.asarray(own.atol + own.rtol * np.abs(a)))
        if noise is None:
            found = _elements(x, y, apart, SLACK * _largest(a) + _rounding(a))
            unmeasured = of_model and not found.why and bool(np.any(apart > _rounding(a)))
            return replace(found, untold=UNMEASURED) if unmeasured else found
        return _measured(x, y, apart, noise)


def small_values(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Looks at the values that only the largest of their result excuses: of two devices, zeros would do in their place.

    Returns:
        How many there are, and how many of them are apart by more than half of the larger.
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        larger = np.maximum(np.abs(a), np.abs(b))
        small = np.isfinite(a) & np.isfinite(b) & (np.abs(a) <= SLACK * _largest(a)) & (larger > 4 * ETA)
        unlike = small & (2 * np.abs(a - b) > larger)
    return int(np.count_nonzero(small)), int(np.count_nonzero(unlike))


def _integers(x: np.ndarray, y: np.ndarray, noise: Noise | None) -> Judged:
    """Compares what rounding itself does not change; a class that it decides may be another."""
    differ = x != y
    count, allowed = int(np.count_nonzero(differ)), TIMES_ALL * x.size * (0.0 if noise is None else noise.changed)
    at = int(np.argmax(differ))
    found = Judged(
        # float64 does not hold every int64
        error=max(1.0, float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max())) if count else 0.0,
        share=(count / allowed if allowed else math.inf) if count else 0.0,
        cosine=_cosine(x.astype(np.float64), y.astype(np.float64)),
    )
    if count > allowed:
        rule = f"rounding explains {allowed:.3g} at most" if allowed else "rounding does not change these values"
        why = f"{count} of {x.size} values differ, {x.flat[at]!s} and {y.flat[at]!s} at {at}: {rule}"
        return replace(found, why=why)
    return replace(found, untold=AS_MANY) if count and 2 * allowed >= x.size else found


def _measured(x: np.ndarray, y: np.ndarray, apart: np.ndarray, noise: Noise) -> Judged:
    """Compares with the model, element by element and as a whole."""
    a = x.astype(np.float64)
    allowed = TIMES * noise.at(a) + _rounding(a)
    found = _elements(x, y, apart, allowed)
    if found.why:
        return found
    whole = _whole_share(a, apart, noise)
    found = replace(found, share=max(found.share, whole))
    if whole > 1:
        return replace(found, why=f"as a whole the values are apart by {whole:.3g} times what is allowed")
    sizes = np.where(np.isfinite(a), np.abs(a), 0.0)
    vacuous = bool(np.all(sizes <= allowed)) and _whole_share(a, sizes, noise) <= 1
    return replace(found, untold=AS_LARGE) if vacuous and np.any(apart > _rounding(a)) else found


def _elements(x: np.ndarray, y: np.ndarray, apart: np.ndarray, allowed: np.ndarray) -> Judged:
    a, b = x.astype(np.float64), y.astype(np.float64)
    classes = class_of(a) != class_of(b)
    shares = np.where(apart > 0, apart / allowed, 0.0)
    wrong = classes | (shares > 1)
    why = ""
    if wrong.any():
        at = int(np.argmax(classes if classes.any() else shares))
        share = float(shares.flat[at])
        what = f"{share:.3g} times what is allowed" if math.isfinite(share) else "no difference is allowed"
        if classes.any():
            what = "NaN and infinities must be at the same positions"
        why = f"{int(np.count_nonzero(wrong))} of {x.size} values differ, {x.flat[at]!s} and {y.flat[at]!s} at {at}: {what}"
    error, share = (float(values.max(initial=0.0)) for values in (apart, shares))
    return Judged(error=error, share=share, why=why, cosine=_cosine(a, b))


def _rounding(a: np.ndarray) -> np.ndarray:
    """What the rounding of the result itself may do."""
    return np.asarray(RELATIVE * np.where(np.isfinite(a), np.abs(a), 0.0) + 4 * ETA)


def _whole_share(a: np.ndarray, apart: np.ndarray, noise: Noise) -> float:
    """The root mean square of the differences, by what is allowed of it."""
    return _rms(apart) / (TIMES_ALL * noise.rms * _largest(a) + _rms(_rounding(a)))


def _by_slice(apart: np.ndarray, axis: int) -> np.ndarray:
    """The largest move in each slice across an axis; that of all where most of a slice stays: steps are moved by chance."""
    others = tuple(k for k in range(apart.ndim) if k != axis)
    moved = np.count_nonzero(apart, axis=others) * 2 >= apart.size // apart.shape[axis]
    return np.asarray(np.where(moved, apart.max(axis=others), apart.max()))


def _largest(a: np.ndarray) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = a.reshape(-1), b.reshape(-1)
    with np.errstate(all="ignore"):
        sizes = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        return min(1.0, float(a @ b) / sizes) if 0 < sizes < math.inf else None

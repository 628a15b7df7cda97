"""The tensors that two models and their twins give, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from onnxfuse.verification.element_types import FloatFormat, format_of, is_float

__all__ = ["Leaf", "changed", "class_of", "largest", "tensors_of"]

JUMP: Final = 2.0**17


@dataclass
class Leaf:
    """One tensor of an output, in both models' runs and in their twins; a sequence has several.

    Attributes:
        output: The number of the output.
        before: What the first model gives.
        after: What the second gives.
        twin: What the first model's twin gives; None where it has none.
        twin_after: What the second's gives.
        sigma: How much rounding noise moves the twin, by position; without a twin, how much jitter moves the run.
        unstable: Positions that hang on a threshold.
        moved: Positions where noise makes or ends a NaN or an infinity.
    """

    output: int
    before: np.ndarray
    after: np.ndarray
    twin: np.ndarray | None = None
    twin_after: np.ndarray | None = None
    sigma: np.ndarray | None = None
    unstable: np.ndarray | None = None
    moved: np.ndarray | None = None

    @cached_property
    def limits(self) -> FloatFormat:
        """The numbers of its float type."""
        return format_of(self.before.dtype)

    @property
    def unit(self) -> np.ndarray:
        """Sigma + tiny, by position."""
        tiny = 4 * self.limits.smallest + self.limits.u * np.abs(0.0 if self.twin is None else self.twin)
        return np.asarray((0.0 if self.sigma is None else self.sigma) + tiny)

    @property
    def hanging(self) -> np.ndarray:
        """The positions that hang on a threshold."""
        return np.zeros(self.before.shape, bool) if self.unstable is None else self.unstable

    @property
    def class_hanging(self) -> np.ndarray:
        """The positions where NaN and infinities come and go with noise."""
        return np.zeros(self.before.shape, bool) if self.moved is None else self.moved

    @property
    def hangs_where_it_differs(self) -> bool:
        """Whether the runs differ where the twin hangs on a threshold."""
        return bool((changed(self.before, self.after) & (self.hanging | self.class_hanging)).any())

    def shake(self, result: Any, times: float) -> None:
        """Takes a noisy run of the twin: what moves by more than the noise hangs on a threshold."""
        unstable, moved = self.hanging, self.class_hanging
        if (
            self.twin is None
            or (self.sigma is None and is_float(self.before.dtype))
            or np.shape(result) != self.twin.shape
        ):
            self.unstable, self.moved = (np.ones(self.before.shape, bool) for _ in range(2))
        elif not is_float(self.before.dtype):
            self.unstable = unstable | np.asarray(result != self.twin)
        else:
            classes = class_of(result) != class_of(self.twin)
            limit = 64 * times * np.maximum(_given(self.sigma), self.limits.smallest)
            self.moved = moved | classes
            self.unstable = unstable | classes | (np.abs(result - self.twin) > limit)

    def distrust_jumps(self) -> None:
        """Marks what noise moves by far more than rounding does, in a model in which rounding can cause steps."""
        size = float(np.max(np.abs(_given(self.twin)), where=np.isfinite(_given(self.twin)), initial=0.0))
        self.unstable = self.hanging | (_given(self.sigma) > JUMP * (self.limits.u * size + self.limits.smallest))

    def settle(self, exact: np.ndarray) -> None:
        """Takes positions behind which nothing is rounded for stable: noise there is none of theirs."""
        self.unstable, self.moved = self.hanging & ~exact, self.class_hanging & ~exact
        self.sigma = np.where(exact, 0.0, _given(self.sigma))


def _given(array: np.ndarray | None) -> np.ndarray:
    if array is None:
        raise ValueError("the twin has not run")  # the rule calls these after it did
    return array


def tensors_of(results: Sequence[Any]) -> list[Any]:
    """All tensors of results, those of sequences one by one; an empty optional is none; complex numbers are pairs."""
    found: list[Any] = []
    for result in results:
        if isinstance(result, list | tuple):
            found += tensors_of(result)
        elif result is not None:
            array = np.asarray(result)
            if array.dtype.kind == "c":
                part = np.dtype(f"f{array.dtype.itemsize // 2}")
                array = np.ascontiguousarray(array).view(part).reshape(*array.shape, 2)
            found.append(array)
    return found


def class_of(x: np.ndarray) -> np.ndarray:
    """0 finite, 1 NaN, 2 infinity, 3 minus infinity."""
    return np.asarray(np.isnan(x) * 1 + np.isposinf(x) * 2 + np.isneginf(x) * 3)


def changed(x: Any, y: Any) -> np.ndarray:
    """Where two arrays differ; everywhere if their shapes do. A NaN equals a NaN, and -0 equals 0."""
    if np.shape(x) != np.shape(y):
        return np.ones(np.shape(x), bool)
    x, y = np.asarray(x), np.asarray(y)
    if is_float(x.dtype):
        x, y = x.astype(np.float64), y.astype(np.float64)
        return np.asarray(~((x == y) | (np.isnan(x) & np.isnan(y))))
    return np.asarray(x != y)


def largest(ratios: np.ndarray, where: np.ndarray) -> float:
    """The largest of some numbers that is no NaN; 0 if there is none."""
    kept = ratios[where]
    return float(np.nanmax(kept)) if kept.size and not np.isnan(kept).all() else 0.0

"""What is decided of a difference: by a user's own tolerance, or by the rounding rule; and in which words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxfuse.verification.leaves import Leaf

__all__ = ["Judgement", "Tolerance", "excess", "in_words"]


@dataclass(frozen=True)
class Tolerance:
    """A user's own tolerance: |a - b| <= atol + rtol |a|, NaN and infinities at the same positions.

    On normal draws and the user's own data it decides alone. On the others, where values overflow, what exceeds it is
    left to the rounding rule.
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __str__(self) -> str:
        return f"within rtol {self.rtol:g} and atol {self.atol:g}, as asked for"

    def within(self, a: Any, b: Any) -> np.ndarray:
        """Where two float arrays of one shape differ by no more."""
        x, y = (np.asarray(value) for value in (a, b))
        wide = np.complex128 if x.dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):
            return np.isclose(y.astype(wide), x.astype(wide), rtol=self.rtol, atol=self.atol, equal_nan=True)


@dataclass
class Judgement:
    """What the rule says of one output.

    Attributes:
        why: What cannot be rounding, as a sentence; None where all may be.
        at: The position of that.
        draw: The input set of that.
        sigmas: The largest difference between the twins, in units of sigma + tiny; the limit is 8. 0 where one of the
            models has no twin.
        skipped: Positions that were not compared: they hang on values that a type cannot hold, or on a threshold.
        inaccurate: Where the second model is less accurate than the first, outside of normal draws; None: nowhere.
        undecided: Why nothing can be said; None where something is.
        kept_differs: Whether anything differs where it is compared.
        skipped_differs: An input set on which what overflows differs.
        compared: Positions of normal draws that were compared.
        left_out: Those that were not.
    """

    why: str | None = None
    at: tuple[int, ...] | None = None
    draw: str | None = None
    sigmas: float = 0.0
    skipped: int = 0
    inaccurate: str | None = None
    undecided: str | None = None
    kept_differs: bool = False
    skipped_differs: str | None = None
    compared: int = 0
    left_out: int = 0

    def fail(self, why: str, at: tuple[int, ...], draw: str) -> None:
        """Keeps the first difference that is no rounding."""
        if self.why is None:
            self.why, self.at, self.draw = why, at, draw


def in_words(wrong: np.ndarray, leaf: Leaf, why: str) -> tuple[str, tuple[int, ...]] | None:
    """A sentence on the positions of a leaf that are wrong, and the first of them; None where there is none."""
    if not wrong.any():
        return None
    at = tuple(int(index) for index in np.argwhere(wrong)[0])
    count = int(np.count_nonzero(wrong))
    values = f"{leaf.before[at]!s} and {leaf.after[at]!s} at {at}"
    return f"{count} of {wrong.size} {leaf.before.dtype} values differ, {values}: {why}", at


def excess(ratios: np.ndarray, wrong: np.ndarray, what: str, limit: float) -> str:
    """By how much the worst of some ratios to what rounding explains exceeds the limit, as part of a sentence."""
    if not wrong.any():
        return ""
    most = float(np.nan_to_num(ratios[wrong], nan=math.inf).max())
    return f"{what} {most:.3g} times what rounding explains, and the limit is {limit:.3g}"

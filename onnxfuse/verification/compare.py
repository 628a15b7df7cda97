"""Two results of a model, compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from onnxfuse.verification.element_types import is_inexact

__all__ = ["Difference", "compare_values"]


@dataclass(frozen=True)
class Difference:
    """How one result of a model differs from another's.

    Attributes:
        kind: `dtype`, `shape` or `value`.
        text: What differs, without the kind.
        at: Position of the difference that `text` speaks of; None where it is about the whole.
        is_float: A difference of values between two float results of one shape and dtype: only this can be rounding.
        nonfinite: NaN, or an infinity and its sign, is not at the same positions in both.
        max_abs: As in `OutputVerdict`; None where no pair of finite values differs.
        max_rel: As in `OutputVerdict`.
        max_ulp: As in `OutputVerdict`.
        needed: As in `OutputVerdict`.
        scale: Largest finite |a|; 0 where there is none.
    """

    kind: str
    text: str
    at: tuple[int, ...] | None = None
    is_float: bool = False
    nonfinite: bool = False
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    needed: float | None = None
    scale: float = 0.0


def compare_values(a: Any, b: Any) -> Difference | None:
    """Compares two results of a model, bit for bit.

    A NaN equals any NaN whatever its payload, and -0 differs from +0.

    Args:
        a: The first: an array, a sequence of results, or None (an empty optional).
        b: The second.

    Returns:
        None if they are equal, else the difference.
    """
    if a is None or b is None:
        text = "the optional is empty in one only"
        return None if a is None and b is None else Difference("value", text)
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        return _compare_sequences(a, b)
    a, b = np.asarray(a), np.asarray(b)
    strings = a.dtype.kind in "OUST" and b.dtype.kind in "OUST"
    if a.dtype != b.dtype and not strings:
        return Difference("dtype", f"{a.dtype} before, {b.dtype} after")
    if a.shape != b.shape:
        return Difference("shape", f"{list(a.shape)} before, {list(b.shape)} after")
    if is_inexact(a.dtype):
        return _compare_floats(a, b)
    different = np.asarray(a != b)
    if not different.any():
        return None
    at = tuple(int(index) for index in np.argwhere(different)[0])
    count = int(np.count_nonzero(different))
    kind = "string" if strings else a.dtype.name
    text = f"{count} of {a.size} {kind} values differ, {a[at]!s} and {b[at]!s} at {at}"
    return Difference("value", text, at)


def _compare_sequences(a: Any, b: Any) -> Difference | None:
    if not (isinstance(a, list | tuple) and isinstance(b, list | tuple)):
        return Difference("dtype", "a sequence in one only")
    if len(a) != len(b):
        return Difference("shape", f"a sequence of {len(a)} before, of {len(b)} after")
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        difference = compare_values(x, y)
        if difference is not None:
            values = {field.name: getattr(difference, field.name) for field in fields(difference)}
            values["text"] = f"in element {index} of the sequence: {difference.text}"
            values["at"] = (index, *(difference.at or ()))
            return Difference(**values)
    return None


def _compare_floats(a: np.ndarray, b: np.ndarray) -> Difference | None:
    """Compares two float arrays of one dtype and shape."""
    if a.dtype.kind == "c":
        part = np.dtype(f"f{a.dtype.itemsize // 2}")
        a, b = (np.ascontiguousarray(x).view(part).reshape(*x.shape, 2) for x in (a, b))
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    bits_a, bits_b = (np.asarray(x, order="C").view(unsigned) for x in (a, b))
    different = np.asarray(bits_a != bits_b)
    if not different.any():
        return None
    # From here on only the positions that differ are looked at: these are usually few, and the arrays may be large.
    where = np.nonzero(different.reshape(-1))[0]
    with np.errstate(all="ignore"):
        x, y = (v.reshape(-1)[where].astype(np.float64) for v in (a, b))
        both_nan = np.isnan(x) & np.isnan(y)
        if both_nan.all():
            return None
        where, x, y = where[~both_nan], x[~both_nan], y[~both_nan]
        ulp = _ulp_distance(bits_a.reshape(-1)[where], bits_b.reshape(-1)[where])
        return _float_difference(a, where, x, y, ulp)


def _float_difference(a: np.ndarray, where: np.ndarray, x: np.ndarray, y: np.ndarray, ulp: np.ndarray) -> Difference:
    """Describes differing floats: `x` and `y` (float64) at the flat positions `where` of `a`, no pair both NaN."""
    finite = np.isfinite(x) & np.isfinite(y)
    everything = a.astype(np.float64)
    magnitudes = np.abs(everything[np.isfinite(everything)])
    scale = float(magnitudes.max()) if magnitudes.size else 0.0
    delta = np.where(finite, np.abs(x - y), 0.0)
    relative = np.divide(delta, np.abs(x), where=finite & (x != 0), out=np.zeros_like(delta))
    nonfinite = not bool(finite.all())
    worst = int(np.argmin(finite)) if nonfinite else int(np.argmax(delta))
    at = tuple(int(index) for index in np.unravel_index(int(where[worst]), a.shape))
    count = f"{where.size} of {a.size} values differ"
    if nonfinite:
        text = f"{count}, {x[worst]!s} and {y[worst]!s} at {at}"
    elif delta[worst] == 0:
        text = f"{count}, in the sign of a zero at {at}"
    else:
        text = (
            f"{count}, by at most {delta[worst]:.3g} ({float(relative.max()):.3g} relative, {int(ulp.max())} ulp)"
            f" where |a| is at most {scale:.3g}, {x[worst]:.9g} and {y[worst]:.9g} at {at}"
        )
    return Difference(
        "value",
        text,
        at,
        is_float=True,
        nonfinite=nonfinite,
        max_abs=float(delta.max()) if finite.any() else None,
        max_rel=float(relative.max()) if finite.any() else None,
        max_ulp=int(ulp[finite].max()) if finite.any() else None,
        needed=float((delta / (1 + np.abs(np.where(finite, x, 0.0)))).max()) if finite.any() else None,
        scale=scale,
    )


def _ulp_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of two bit patterns of one sign-magnitude float type, counted in representable values."""
    sign = np.array(1 << (8 * a.dtype.itemsize - 1), a.dtype)

    def ordered(bits: np.ndarray) -> np.ndarray:
        return np.where(bits & sign, ~bits, bits | sign)

    x, y = ordered(a), ordered(b)
    # The order puts -0 and +0 side by side, one apart; unsigned subtraction of the smaller cannot overflow.
    distance: np.ndarray = np.where(x > y, x - y, y - x)
    return distance

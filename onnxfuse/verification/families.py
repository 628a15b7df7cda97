"""Families of values: one function each, for the inputs of which every value is legal.

More seeds of one family find next to nothing that one seed missed; another family does. Everything is made of integer
seeds and of operations that give the same bits on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from onnxfuse.verification.element_types import (
    exact_integers,
    finfo,
    integer_range,
    is_bool,
    is_integer,
    is_string,
)

__all__ = ["FAMILIES", "Draw", "constants_length", "digits", "fill", "ladder_length"]


@dataclass(frozen=True)
class Draw:
    """What one array is to be filled for.

    Attributes:
        dtype: The element type.
        count: How many elements.
        before: How many elements of other arrays one draw has filled before this one.
        total: How many elements one draw fills, all arrays together.
        index: The number of the draw within its family, from 0.
        rng: Random numbers of this array in this draw.
        constants: Numbers of the model: integers are `int`.
        coin: Random bits that are the same for this array in every draw.
    """

    dtype: np.dtype[Any]
    count: int
    before: int
    total: int
    index: int
    rng: np.random.Generator
    constants: tuple[float, ...] = ()
    coin: int = 0


def fill(family: str, draw: Draw) -> np.ndarray:
    """Fills one array.

    Args:
        family: A name in `FAMILIES`.
        draw: What for.

    Returns:
        A flat array of the element type.
    """
    if draw.dtype.kind == "c":
        values = np.empty(draw.count, draw.dtype)
        part = replace(draw, dtype=_part(draw.dtype))
        values.real = fill(family, part)
        values.imag = np.roll(values.real, 1) if family != "normal" else fill(family, part)
        return values
    if is_bool(draw.dtype) and draw.count == 1 and family != "unique":
        # A condition: each two draws have both values.
        return np.array([(draw.coin >> draw.index // 2 % 32 ^ draw.index) & 1], bool)
    with np.errstate(all="ignore"):
        return FAMILIES[family](draw).astype(draw.dtype, copy=False)


# ---- each is given no complex type, and returns what is cast to the element type


def normal(draw: Draw) -> np.ndarray:
    """Standard normal floats; integers from 0 to 3, of 8 and fewer bits any; random booleans; short strings."""
    if is_string(draw.dtype):
        return _strings(draw.rng.integers(0, 5, draw.count), "s")
    if is_bool(draw.dtype):
        return draw.rng.integers(0, 2, draw.count)
    if is_integer(draw.dtype):
        low, high = integer_range(draw.dtype)
        # What has 8 bits is a quantized number. What has more may, as far as it is not known, count something.
        return draw.rng.integers(low, high + 1, draw.count) if high < 256 else draw.rng.integers(0, 4, draw.count)
    return draw.rng.standard_normal(draw.count)


def ladder(draw: Draw) -> np.ndarray:
    """The values at which types end, round, overflow or turn special: the draws go on where the one before ended."""
    return _in_turn(_ladder(draw.dtype), draw)


def special(draw: Draw) -> np.ndarray:
    """In turn: some NaN and infinities among normal numbers; zeros, denormals and the largest; all of it mixed."""
    mode = draw.index % 3
    if is_string(draw.dtype):
        return draw.rng.choice(np.array([*_STRINGS, "x" * 300], object), draw.count)
    if is_bool(draw.dtype):
        return normal(draw)
    if is_integer(draw.dtype):
        low, high = integer_range(draw.dtype)
        ends = sorted({low, low + 1, 0, 1, high - 1, high, *((-1,) if low < 0 else ())})
        values = draw.rng.choice(_integers(ends), draw.count)
        return values if mode else np.where(draw.rng.integers(0, 4, draw.count) == 0, values, _integers([1])[0])
    limits = finfo(draw.dtype)
    least, largest = float(limits.smallest_subnormal), float(limits.max)
    signed = np.array([math.inf, 0.0, least, 3 * least, largest])
    values = draw.rng.choice(np.array([math.nan, *signed, *-signed]), draw.count)
    if mode == 1:
        values = draw.rng.choice(np.array([*signed[1:], *-signed[1:], 1.0, -1.0]), draw.count)
    if mode == 0:
        values = np.where(draw.rng.integers(0, 4, draw.count) == 0, values, draw.rng.standard_normal(draw.count))
    return values


def ties(draw: Draw) -> np.ndarray:
    """In turn: three mixtures of equal values, among them 0 and 1; all 0; all 1; all -2.5."""
    mode = draw.index % 6
    if is_string(draw.dtype):
        return _strings(draw.rng.integers(0, 2, draw.count) if mode < 3 else np.full(draw.count, mode), "s")
    if mode < 3:
        choices = ((0, 1), (0, 1), (-1, 0, 1, 2))[mode]
        values = draw.rng.choice(np.array(choices, np.float64), draw.count)
    else:
        values = np.full(draw.count, (0.0, 1.0, -2.5)[mode - 3])
    return _rounded(values, draw.dtype)


def unique(draw: Draw) -> np.ndarray:
    """Every element of all inputs has a number of its own: where its type has too few, one digit of it a draw."""
    base = exact_integers(draw.dtype)
    ids = np.arange(draw.before, draw.before + draw.count, dtype=np.int64)
    for _ in range(draw.index):
        ids //= base
    return _strings(ids % base, "") if is_string(draw.dtype) else ids % base


def wide(draw: Draw) -> np.ndarray:
    """Normal numbers of magnitudes from 1e-4 to 1e4."""
    if is_string(draw.dtype) or is_bool(draw.dtype):
        return normal(draw)
    # Powers of two, so that the product is exact everywhere.
    exponents = draw.rng.integers(-13, 14, draw.count)
    return _rounded(np.ldexp(draw.rng.standard_normal(draw.count), exponents), draw.dtype)


def small(draw: Draw) -> np.ndarray:
    """Normal numbers times 1e-3; of integers -1, 0 and 1."""
    if is_string(draw.dtype) or is_bool(draw.dtype):
        return normal(draw)
    if is_integer(draw.dtype):
        return _rounded(draw.rng.integers(-1, 2, draw.count).astype(np.float64), draw.dtype)
    return draw.rng.standard_normal(draw.count) * 1e-3


def offset(draw: Draw) -> np.ndarray:
    """In turn: normal numbers around 1000, and around -1000; around the middle of what small types have."""
    if is_string(draw.dtype) or is_bool(draw.dtype):
        return normal(draw)
    largest = integer_range(draw.dtype)[1] if is_integer(draw.dtype) else float(finfo(draw.dtype).max)
    middle = min(1000.0, largest / 2) * (-1 if draw.index % 2 else 1)
    return _rounded(draw.rng.standard_normal(draw.count) + middle, draw.dtype)


def constants(draw: Draw) -> np.ndarray:
    """The model's own constants, their neighbours, and the multiples at whose halves a quantization rounds."""
    values = _constant_values(draw.dtype, draw.constants)
    return _in_turn(values, draw) if len(values) else normal(draw)


FAMILIES: Final[Mapping[str, Callable[[Draw], np.ndarray]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (normal, ladder, constants, unique, ties, special, wide, small, offset)
    }
)
"""By name, in the order in which they are drawn."""


# ---- how many draws use a family up


@cache
def ladder_length(dtype: np.dtype[Any]) -> int:
    """The length of the ladder of a type."""
    return len(_ladder(_part(dtype)))


def constants_length(dtype: np.dtype[Any], numbers: tuple[float, ...]) -> int:
    """How many values a type can hold of those that constants give; 0 where the family means nothing to it."""
    return len(_constant_values(_part(dtype), numbers))


def digits(dtype: np.dtype[Any], total: int) -> int:
    """How many draws of `unique` tell `total` elements apart."""
    base, count = exact_integers(dtype), 1
    while base**count < total:
        count += 1
    return count


def _part(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


# ---- values


@cache
def _float_ladder() -> np.ndarray:
    """About 98 float64 values at which number formats end, round, overflow or turn special."""
    powers = [s * (2.0**b + d) for b, d, s in product((7, 8, 15, 16, 24, 31, 32, 53, 63), (-1, 0, 1), (1, -1))]
    both = [300, 0.5, 1, 1.5, 2.5, 3, 88.7, 200, 1e10, 1e30, 3.3e38, 1e-3, math.inf]
    once = [4294967301, 8388608.5, 0.0, -0.0, 2, 89, -104, 65504, 65520, 1e20, 1e300]
    tiny = [6e-8, 1e-10, 1e-20, 1e-38, 1e-40, -1e-45, math.nan]
    return np.array([*powers, *(s * v for v in both for s in (1, -1)), *once, *tiny])


@cache
def _integer_ladder(low: int, high: int) -> tuple[int, ...]:
    """The boundaries of integer types that are in a type's range, its own among them."""
    values = [0, 1, 2, 3, -1, -2, low, low + 1, high - 1, high]
    powers = product((7, 8, 15, 16, 24, 31, 32, 53, 63), (-1, 0, 1), (1, -1))
    values += [s * (1 << b) + d for b, d, s in powers]
    return tuple(dict.fromkeys(value for value in values if low <= value <= high))


_STRINGS: Final = ("", "a", "A", " ", "0", "-1", "1.5", "nan", "inf", "é", "日本", "a b")


def _ladder(dtype: np.dtype[Any]) -> np.ndarray:
    if is_string(dtype):
        return np.array(_STRINGS, object)
    if is_bool(dtype):
        return np.array([False, True, True, False, True])
    if is_integer(dtype):
        return _integers(_integer_ladder(*integer_range(dtype)))
    return _float_ladder()


_STEPS: Final = (-129, -128, -65, -33, -17, -9, -5, *range(-3, 3), 4, 8, 16, 32, 64, 127, 128, 254, 255)
"""k of (k + 1/2) c: where a value scaled by c rounds to the other side."""


@cache
def _constant_values(dtype: np.dtype[Any], numbers: tuple[float, ...]) -> np.ndarray:
    """What constants give for a type, without those that it cannot hold."""
    if is_string(dtype) or is_bool(dtype):
        return np.array([])
    whole = [number for number in numbers if isinstance(number, int)]
    real = [number for number in numbers if not isinstance(number, int)]
    if is_integer(dtype):
        low, high = integer_range(dtype)
        whole += [int(number) for number in real if math.isfinite(number) and number == int(number)]
        near = dict.fromkeys(number + step for number in whole for step in (0, -1, 1))
        return _integers([number for number in near if low <= number <= high])
    values: list[float] = [near for number in whole for near in (number, number - 1, number + 1, number + 0.5)]
    for number in real:
        values += [s * number * t for t in (1, 1 + 2e-7, 1 - 2e-7, 1 + 5e-4, 1 - 5e-4) for s in (1, -1)]
        values += [(k + 0.5) * number * t for k in _STEPS for t in (1, 1 + 5e-4, 1 - 5e-4)]
    return np.array(values)


def _in_turn(values: np.ndarray, draw: Draw) -> np.ndarray:
    """Goes on in `values` where the draw before ended; every pass through them is shifted by one more."""
    size = len(values)
    # A stride that shares no factor with the size is a permutation, the same on every machine.
    stride = next(step for step in range(size * 3 // 8 | 1, 2 * size + 1) if math.gcd(step, size) == 1)
    start = draw.index * draw.total + draw.before
    position = np.arange(start, start + draw.count)
    taken: np.ndarray = values[(position % size * stride + position // size) % size]
    return taken


def _strings(numbers: np.ndarray, prefix: str) -> np.ndarray:
    return np.array([f"{prefix}{number}" for number in numbers.tolist()], object)


def _integers(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.uint64 if max(values, default=0) >= 1 << 63 else np.int64)


def _rounded(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Floats for a type: of integers the nearest that it holds, of no sign where it has none."""
    if not is_integer(dtype):
        return values
    low, high = integer_range(dtype)
    whole = np.rint(values if low < 0 else np.abs(values))
    # The ends of 64 bits are no floats; nothing drawn here is that large.
    clipped: np.ndarray = np.clip(whole, max(low, -(1 << 53)), min(high, 1 << 53))
    return clipped.astype(np.int64)

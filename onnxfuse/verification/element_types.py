"""What the element types of ONNX can hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import ml_dtypes
import numpy as np

__all__ = [
    "FloatFormat",
    "bytes_of",
    "exact_integers",
    "finfo",
    "float_format",
    "format_of",
    "integer_range",
    "is_bool",
    "is_float",
    "is_inexact",
    "is_integer",
    "is_string",
    "numpy_dtype",
]

STRING: Final = 8


def numpy_dtype(elem_type: int) -> np.dtype[Any] | None:
    """The numpy type of an element type.

    Args:
        elem_type: The number of an element type in onnx.

    Returns:
        The type, of `ml_dtypes` where numpy has none; `object` for strings. None if onnx does not know the number.
    """
    import onnx

    if elem_type == STRING:
        return np.dtype(object)
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    except KeyError:
        return None


def bytes_of(array: np.ndarray) -> memoryview:
    """The elements of an array as bytes, in order; copied only where they do not lie so. Not for arrays of objects.

    The buffer of numpy itself is none for the types of `ml_dtypes`.
    """
    return np.asarray(array, order="C").reshape(-1).view(np.uint8).data


def is_string(dtype: np.dtype[Any]) -> bool:
    """Whether the elements are strings."""
    return dtype.kind in "OUS"


def is_bool(dtype: np.dtype[Any]) -> bool:
    """Whether the elements are booleans."""
    return dtype.kind == "b"


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether the elements are integers, those of fewer than 8 bits included."""
    return dtype.kind in "iu" or dtype.name.startswith(("int", "uint"))


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether the elements are real floating-point numbers, those of 16 and fewer bits included."""
    return not (is_string(dtype) or is_bool(dtype) or is_integer(dtype) or dtype.kind == "c")


def integer_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the largest value of an integer type."""
    signed = not dtype.name.startswith("u")
    bits = int(dtype.name.lstrip("uint")) - signed
    return (-(1 << bits) if signed else 0), (1 << bits) - 1


def finfo(dtype: np.dtype[Any]) -> Any:
    """The limits of a floating-point or complex type: `max`, `smallest_subnormal`, `eps`, `nmant`."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def is_inexact(dtype: np.dtype[Any]) -> bool:
    """Whether the elements are floating-point numbers, real or complex."""
    return is_float(dtype) or dtype.kind == "c"


def exact_integers(dtype: np.dtype[Any]) -> int:
    """How many integers from 0 on a type holds exactly and apart; strings hold any number of them."""
    if is_string(dtype):
        return 1 << 62
    if is_bool(dtype):
        return 2
    if is_integer(dtype):
        return min(integer_range(dtype)[1] + 1, 1 << 62)
    return 1 << (int(finfo(dtype).nmant) + 1)


@dataclass(frozen=True)
class FloatFormat:
    """A float type in numbers.

    Attributes:
        u: The unit roundoff: half the distance from 1 to the next number.
        largest: The largest finite number.
        smallest: The smallest positive one.
        extreme: Inputs beyond it are not what a network sees: results that hang on them are compared with care.
    """

    u: float
    largest: float
    smallest: float
    extreme: float


@cache
def format_of(dtype: np.dtype[Any]) -> FloatFormat:
    """The numbers of a real floating-point type."""
    info = finfo(dtype)
    largest = float(info.max)
    extreme = 2.0**4 if largest < 1e5 else 2.0**256 if largest > 1e300 else 2.0**32
    return FloatFormat(float(info.eps) / 2, largest, float(info.smallest_subnormal), extreme)


@cache
def float_format(elem_type: int) -> FloatFormat:
    """The same, by onnx's number for the type."""
    import onnx

    return format_of(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)))

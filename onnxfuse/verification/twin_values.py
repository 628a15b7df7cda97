"""The values of twins."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from onnxfuse.verification.twin_kernel import UnsupportedError

__all__ = ["Value", "float64", "is_float_type", "present"]

_FLOATS: Final = frozenset((1, 10, 11, 16, 17, 18, 19, 20, 23, 24))


class Value(NamedTuple):
    """A value of a twin: floats are float64; lists are sequences, None an empty optional; `type` is the model's own."""

    data: Any
    type: int


def is_float_type(elem_type: int) -> bool:
    """Whether onnx's number stands for a real floating-point type."""
    return elem_type in _FLOATS


def float64(data: Any) -> Any:
    """Floats as float64; lists item by item; anything else as it is."""
    if isinstance(data, list | tuple):
        return [float64(item) for item in data]
    if data is None:
        return None
    array = np.asarray(data)
    if array.dtype.kind == "f" or (array.dtype.kind == "V" and array.dtype.name.startswith(("bfloat", "float"))):
        return array.astype(np.float64, copy=False)
    if array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return array.astype(np.int8)
    if array.dtype.kind in "cV":
        raise UnsupportedError(f"values of type {array.dtype}")
    return array


def present(value: Value | None) -> Value:
    """The value of an input that an operator cannot do without; raises `UnsupportedError` where it is left out."""
    if value is None:
        raise UnsupportedError("an input that is left out")
    return value

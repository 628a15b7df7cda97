"""Operators in float64, for the twins of `onnxfuse.verification.twin`.

What is here is what `onnx.reference` computes wrongly, only in float32, or slowly; every other operator is its.
Formulas are those of the ONNX operator pages. Arrays of floats are float64 whatever their type in the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.verification.element_types import finfo
from onnxfuse.verification.twin_kernel import Attributes, Kernel, UnsupportedError
from onnxfuse.verification.twin_normalizations import NORMALIZATIONS
from onnxfuse.verification.twin_windows import WINDOWS

__all__ = ["KERNELS", "round_to"]


def round_to(array: np.ndarray, elem_type: int) -> np.ndarray:
    """Rounds float64 values to a float type, and returns them as float64.

    Args:
        array: float64, of any shape.
        elem_type: The type, as onnx's number.

    Returns:
        float64, of the same shape.
    """
    if elem_type == onnx.TensorProto.DOUBLE:
        return array
    with np.errstate(all="ignore"):
        return array.astype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).astype(np.float64)


# The 8-bit floats and the 4-bit one, as onnx's numbers: what is too large becomes their largest number.
_SATURATING: Final = frozenset((17, 18, 19, 20, 23))


def _cast(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    (x,) = inputs
    to = int(attributes["to"])
    if x.dtype == object or to == onnx.TensorProto.STRING:
        raise UnsupportedError("Cast of strings")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))
    if dtype.kind == "b":
        return np.asarray(x != 0)
    if dtype.kind in "iu":
        # By way of int64, as a machine does: a direct conversion of a negative float to an unsigned type is undefined.
        return np.asarray(x.astype(np.int64) if x.dtype.kind == "f" else x).astype(dtype)
    if dtype.kind == "c" or to == onnx.TensorProto.FLOAT8E8M0:
        raise UnsupportedError(f"Cast to {dtype}")
    if dtype.name.startswith(("int", "uint")):
        raise UnsupportedError(f"Cast to {dtype.name}")
    wide = x.astype(np.float64)
    if to in _SATURATING and attributes.get("saturate", 1):
        largest = float(finfo(dtype).max)
        wide = np.clip(wide, -largest, largest)
    return round_to(wide, to)


# ---- products


def _matmul(_attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    return np.asarray(np.matmul(inputs[0], inputs[1]))


def _gemm(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    a = inputs[0].T if attributes.get("transA") else inputs[0]
    b = inputs[1].T if attributes.get("transB") else inputs[1]
    product = float(attributes.get("alpha", 1.0)) * (a @ b) if a.dtype.kind == "f" else a @ b
    if len(inputs) > 2 and inputs[2] is not None:
        beta = float(attributes.get("beta", 1.0))
        product = product + (beta * inputs[2] if a.dtype.kind == "f" else inputs[2])
    return np.asarray(product)


def _einsum(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    equation = attributes["equation"]
    return np.asarray(np.einsum(equation.decode() if isinstance(equation, bytes) else equation, *inputs))


def _pow(_attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    base, exponent = inputs
    if base.dtype.kind == "f":
        return np.asarray(np.power(base, exponent.astype(np.float64)))
    return np.asarray(np.power(base.astype(np.float64), exponent)).astype(base.dtype)


# ---- quantization


def _per_axis(parameter: np.ndarray, x: np.ndarray, axis: int, attributes: Attributes) -> np.ndarray:
    if attributes.get("block_size"):
        raise UnsupportedError("blocked quantization")
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * x.ndim
    shape[axis % x.ndim] = -1
    return parameter.reshape(shape)


# The range of the types of fewer than 8 bits, by onnx's number.
_NARROW: Final = {21: (0, 15), 22: (-8, 7), 25: (0, 3), 26: (-2, 1)}


def _quantize(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, scale = inputs[:2]
    zero = inputs[2] if len(inputs) > 2 and inputs[2] is not None else None
    to = int(attributes.get("output_dtype", 0)) or onnx.TensorProto.UINT8
    narrow = _NARROW.get(to)
    dtype = np.dtype(np.int8 if narrow else onnx.helper.tensor_dtype_to_np_dtype(to))
    if dtype.kind not in "iu":
        raise UnsupportedError(f"QuantizeLinear to {dtype}")
    if zero is None:
        zero = np.zeros((), dtype)
    axis = int(attributes.get("axis", 1))
    low, high = narrow or (np.iinfo(dtype).min, np.iinfo(dtype).max)
    steps = np.rint(x / _per_axis(scale, x, axis, attributes)) + _per_axis(zero, x, axis, attributes).astype(np.float64)
    # What a NaN becomes is up to the machine; the same here on both sides.
    return np.asarray(np.nan_to_num(np.clip(steps, low, high), nan=0.0)).astype(dtype)


def _dequantize(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, scale = inputs[:2]
    axis = int(attributes.get("axis", 1))
    steps = x.astype(np.float64)
    if len(inputs) > 2 and inputs[2] is not None:
        steps = steps - _per_axis(inputs[2], x, axis, attributes).astype(np.float64)
    return np.asarray(steps * _per_axis(scale, x, axis, attributes))


# ---- others


def _one_hot(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    indices, depth, values = inputs
    size = int(np.asarray(depth).reshape(-1)[0])
    axis = int(attributes.get("axis", -1))
    whole = indices.astype(np.int64)
    wrapped = np.where(whole < 0, whole + size, whole)
    axis = axis + whole.ndim + 1 if axis < 0 else axis
    shape = [1] * (whole.ndim + 1)
    shape[axis] = size
    hot = np.expand_dims(wrapped, axis) == np.arange(size).reshape(shape)
    return np.asarray(np.where(hot, values[1], values[0]))


def _dropout(attributes: Attributes, inputs: Sequence[Any], opset: int) -> tuple[np.ndarray, np.ndarray]:
    trains = len(inputs) > 2 and inputs[2] is not None and bool(np.asarray(inputs[2]).any())
    if trains or (opset < 7 and not attributes.get("is_test")):
        raise UnsupportedError("Dropout in training mode")
    return inputs[0], np.ones(inputs[0].shape, bool)


def _scatter(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, indices, updates = inputs
    result = np.array(x)
    at = list(np.indices(indices.shape))
    at[int(attributes.get("axis", 0))] = indices.astype(np.int64)
    result[tuple(at)] = updates
    return result


def _range(_attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    start, limit, delta = (np.asarray(value).reshape(()) for value in inputs)
    count = max(math.ceil((float(limit) - float(start)) / float(delta)), 0)
    return np.asarray(start + np.arange(count) * delta).astype(start.dtype)


def _clip(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    x = inputs[0]
    low, high = (attributes.get("min"), attributes.get("max")) if opset < 11 else (*inputs[1:], None, None)[:2]
    result = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return np.asarray(result if high is None else np.minimum(result, np.asarray(high, x.dtype)))


KERNELS: Final[Mapping[str, Kernel]] = {
    **NORMALIZATIONS,
    **WINDOWS,
    "Cast": _cast,
    "Clip": _clip,
    "DequantizeLinear": _dequantize,
    "Dropout": _dropout,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "OneHot": _one_hot,
    "Pow": _pow,
    "QuantizeLinear": _quantize,
    "Range": _range,
    "Scatter": _scatter,
}

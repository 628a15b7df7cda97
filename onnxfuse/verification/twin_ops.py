"""Operators in float64, for the twins of `onnxfuse.verification.twin`.

What is here is what `onnx.reference` computes wrongly, only in float32, or slowly; every other operator is its.
Formulas are those of the ONNX operator pages. Arrays of floats are float64 whatever their type in the model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["KERNELS", "Kernel", "UnsupportedError", "batch_norm_scale", "round_to"]

Attributes = Mapping[str, Any]
Kernel = Callable[[Attributes, Sequence[Any], int], Any]
"""Called with a node's attributes, its inputs (None for one left out) and its opset; gives one output or a tuple."""


class UnsupportedError(Exception):
    """A node has no twin; the message says why."""


def round_to(array: np.ndarray, elem_type: int) -> np.ndarray:
    """Rounds float64 values to a float type, and returns them as float64.

    Args:
        array: float64, of any shape.
        elem_type: The type, as onnx's number.

    Returns:
        float64, of the same shape.
    """
    import onnx

    if elem_type == onnx.TensorProto.DOUBLE:
        return array
    with np.errstate(all="ignore"):
        return array.astype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).astype(np.float64)


# The 8-bit floats and the 4-bit one, as onnx's numbers: what is too large becomes their largest number.
_SATURATING: Final = frozenset((17, 18, 19, 20, 23))


def _cast(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    import onnx

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
        import ml_dtypes

        largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        wide = np.clip(wide, -largest, largest)
    return round_to(wide, to)


# ---- normalizations


def _flattened(op: Callable[[np.ndarray, int], np.ndarray]) -> Kernel:
    """An operator along one axis; below opset 13 it takes all axes from its axis on as one."""

    def kernel(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
        (x,) = inputs
        axis = int(attributes.get("axis", -1 if opset >= 13 else 1))
        if opset >= 13:
            return op(x, axis)
        axis = axis % x.ndim if axis < 0 else axis
        rows = math.prod(x.shape[:axis])
        return op(x.reshape(rows, math.prod(x.shape[axis:])), 1).reshape(x.shape)

    return kernel


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    if not x.size:
        return x
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis, keepdims=True))


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    if not x.size:
        return x
    shifted = x - x.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def _hardmax(x: np.ndarray, axis: int) -> np.ndarray:
    if not x.size:
        return x
    first = np.expand_dims(x.argmax(axis), axis)
    hard = np.zeros_like(x)
    np.put_along_axis(hard, first, 1.0, axis)
    hard[np.broadcast_to(np.isnan(x).any(axis, keepdims=True), x.shape)] = np.nan
    return hard


def batch_norm_scale(attributes: Attributes, inputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The factor, mean and bias of a BatchNormalization in inference, each of shape (C, 1, ...)."""
    x, scale, bias, mean, variance = (np.asarray(value) for value in inputs[:5])
    shape = (-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
    factor = scale / np.sqrt(variance + float(attributes.get("epsilon", 1e-5)))
    return factor.reshape(shape), mean.reshape(shape), bias.reshape(shape)


def _batch_normalization(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    if attributes.get("training_mode") or (opset < 7 and not attributes.get("is_test")):
        raise UnsupportedError("BatchNormalization in training mode")
    if attributes.get("spatial", 1) != 1:
        raise UnsupportedError("BatchNormalization that is not spatial")
    factor, mean, bias = batch_norm_scale(attributes, inputs)
    return np.asarray((inputs[0] - mean) * factor + bias)


def _normalized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt((centred * centred).mean(axes, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


def _layer_normalization(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> tuple[np.ndarray, ...]:
    x, scale, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    axes = tuple(range(int(attributes.get("axis", -1)) % x.ndim, x.ndim))
    normal, mean, inverse = _normalized(x, axes, float(attributes.get("epsilon", 1e-5)))
    return normal * scale + (0 if bias is None else bias), mean, inverse


def _rms_normalization(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, scale = inputs
    axes = tuple(range(int(attributes.get("axis", -1)) % x.ndim, x.ndim))
    mean_square = (x * x).mean(axes, keepdims=True)
    return np.asarray(x / np.sqrt(mean_square + float(attributes.get("epsilon", 1e-5))) * scale)


def _instance_normalization(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, scale, bias = inputs
    shape = (-1, *(1,) * (x.ndim - 2))
    normal, _, _ = _normalized(x, tuple(range(2, x.ndim)), float(attributes.get("epsilon", 1e-5)))
    return np.asarray(normal * scale.reshape(shape) + bias.reshape(shape))


def _group_normalization(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    x, scale, bias = inputs
    groups = int(attributes["num_groups"])
    grouped = x.reshape(x.shape[0], groups, -1)
    normal, _, _ = _normalized(grouped, (2,), float(attributes.get("epsilon", 1e-5)))
    if opset < 21:  # one scale a group
        scale, bias = (np.repeat(value, x.shape[1] // groups) for value in (scale, bias))
    shape = (-1, *(1,) * (x.ndim - 2))
    return np.asarray(normal.reshape(x.shape) * scale.reshape(shape) + bias.reshape(shape))


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


# ---- windows


def _window(
    attributes: Attributes, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, and the padding before and after of each spatial axis."""
    rank = len(kernel)
    strides = [int(s) for s in attributes.get("strides") or [1] * rank]
    dilations = [int(d) for d in attributes.get("dilations") or [1] * rank]
    auto = attributes.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            before.append(small if auto == "SAME_UPPER" else large)
            after.append(large if auto == "SAME_UPPER" else small)
        return strides, dilations, before, after
    pads = [int(p) for p in attributes.get("pads") or [0] * (2 * rank)] if auto != "VALID" else [0] * (2 * rank)
    return strides, dilations, pads[:rank], pads[rank:]


def _views(
    x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], out: Sequence[int]
) -> Any:
    """Yields (position in the kernel, the elements that meet it) for a padded x, whose last axes are spatial."""
    lead = (slice(None),) * (x.ndim - len(kernel))
    for at in itertools.product(*map(range, kernel)):
        spans = tuple(
            slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, s, n in zip(at, dilations, strides, out, strict=True)
        )
        yield at, x[(*lead, *spans)]


def _padded(x: np.ndarray, before: Sequence[int], after: Sequence[int], fill: float) -> np.ndarray:
    lead = [(0, 0)] * (x.ndim - len(before))
    return np.pad(x, [*lead, *zip(before, after, strict=True)], constant_values=fill)


def _conv(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, w = inputs[0], inputs[1]
    groups = int(attributes.get("group", 1))
    kernel = w.shape[2:]
    strides, dilations, before, after = _window(attributes, x.shape[2:], kernel)
    padded = _padded(x, before, after, 0.0)
    out = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    batch, channels, filters = x.shape[0], x.shape[1], w.shape[0]
    per_group = w.reshape(groups, filters // groups, channels // groups, *kernel)
    total = np.zeros((batch, groups, filters // groups, math.prod(out)))
    for at, view in _views(padded, kernel, strides, dilations, out):
        columns = view.reshape(batch, groups, channels // groups, -1)
        total += np.matmul(per_group[(slice(None), slice(None), slice(None), *at)], columns)
    result = total.reshape(batch, filters, *out)
    if len(inputs) > 2 and inputs[2] is not None:
        result = result + inputs[2].reshape(-1, *(1,) * len(kernel))
    return np.asarray(result)


def _conv_transpose(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, w = inputs[0], inputs[1]
    groups, kernel = int(attributes.get("group", 1)), w.shape[2:]
    rank = len(kernel)
    strides = [int(s) for s in attributes.get("strides") or [1] * rank]
    dilations = [int(d) for d in attributes.get("dilations") or [1] * rank]
    extra = [int(p) for p in attributes.get("output_padding") or [0] * rank]
    batch, channels = x.shape[:2]
    spatial = x.shape[2:]
    full = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(spatial, strides, kernel, dilations, extra, strict=True)
    ]
    filters = w.shape[1] * groups
    total = np.zeros((batch, filters, *full))
    per_group = w.reshape(groups, channels // groups, w.shape[1], *kernel)
    columns = x.reshape(batch, groups, channels // groups, -1)
    for at, view in _views(total, kernel, strides, dilations, spatial):
        weights = per_group[(slice(None), slice(None), slice(None), *at)].transpose(0, 2, 1)
        np.add(view, np.matmul(weights, columns).reshape(batch, filters, *spatial), out=view)
    before, sizes = _transposed_window(attributes, full, [n * s for n, s in zip(spatial, strides, strict=True)])
    total = _padded(total, [0] * rank, [max(b + n - f, 0) for b, n, f in zip(before, sizes, full, strict=True)], 0.0)
    cut = tuple(slice(b, b + n) for b, n in zip(before, sizes, strict=True))
    result = total[(slice(None), slice(None), *cut)]
    if len(inputs) > 2 and inputs[2] is not None:
        result = result + inputs[2].reshape(-1, *(1,) * rank)
    return np.asarray(result)


def _transposed_window(attributes: Attributes, full: Sequence[int], same: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where a ConvTranspose's output begins in the full result, and its sizes; `same` are those of auto_pad."""
    auto = attributes.get("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    wanted = attributes.get("output_shape")
    rank = len(full)
    if not wanted and auto in ("NOTSET", "VALID"):
        pads = [int(p) for p in attributes.get("pads") or [0] * (2 * rank)] if auto == "NOTSET" else [0] * (2 * rank)
        return pads[:rank], [f - pads[i] - pads[rank + i] for i, f in enumerate(full)]
    sizes = [int(n) for n in wanted[-rank:]] if wanted else list(same)
    totals = [max(f - n, 0) for f, n in zip(full, sizes, strict=True)]
    if not wanted:
        sizes = [f - total for f, total in zip(full, totals, strict=True)]
    return [total // 2 if auto == "SAME_UPPER" else total - total // 2 for total in totals], sizes


def _pool_sizes(
    attributes: Attributes, x: np.ndarray, opset: int
) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations, padding before, padding after (as far as windows reach), output sizes."""
    kernel = [int(k) for k in attributes["kernel_shape"]]
    strides, dilations, before, after = _window(attributes, x.shape[2:], kernel)
    ceil = bool(attributes.get("ceil_mode", 0)) and opset >= 10
    out, reach = [], []
    for n, k, s, d, b, a in zip(x.shape[2:], kernel, strides, dilations, before, after, strict=True):
        span = n + a + b - (k - 1) * d - 1
        count = (-(-span // s) if ceil else span // s) + 1
        if ceil and (count - 1) * s >= n + b:
            count -= 1  # the last window would start in the padding after
        out.append(count)
        reach.append(max((count - 1) * s + (k - 1) * d + 1 - n - b, a))
    return kernel, strides, dilations, before, reach, out


def _max_pool(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    (x,) = inputs
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    kernel, strides, dilations, before, after, out = _pool_sizes(attributes, x, opset)
    padded = _padded(x, before, after, lowest)
    best = np.full((*x.shape[:2], *out), lowest, x.dtype)
    for _, view in _views(padded, kernel, strides, dilations, out):
        np.maximum(best, view, out=best)
    return best


def _average_pool(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    (x,) = inputs
    kernel, strides, dilations, before, after, out = _pool_sizes(attributes, x, opset)
    _, _, _, given = _window(attributes, x.shape[2:], kernel)
    counted = np.ones((1, 1, *x.shape[2:]))
    if attributes.get("count_include_pad"):
        counted = _padded(counted, before, given, 1.0)
        weights = _padded(counted, [0] * len(kernel), [r - g for r, g in zip(after, given, strict=True)], 0.0)
    else:
        weights = _padded(counted, before, after, 0.0)
    total, count = np.zeros((*x.shape[:2], *out)), np.zeros((1, 1, *out))
    for _, view in _views(_padded(x, before, after, 0.0), kernel, strides, dilations, out):
        total += view
    for _, view in _views(weights, kernel, strides, dilations, out):
        count += view
    return total / count


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
    import onnx

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
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DequantizeLinear": _dequantize,
    "Dropout": _dropout,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GroupNormalization": _group_normalization,
    "Hardmax": _flattened(_hardmax),
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _flattened(_log_softmax),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "OneHot": _one_hot,
    "Pow": _pow,
    "QuantizeLinear": _quantize,
    "RMSNormalization": _rms_normalization,
    "Range": _range,
    "Scatter": _scatter,
    "Softmax": _flattened(_softmax),
}

"""What twins are disturbed with: the noise of rounding, and marks on what a type cannot hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from onnxfuse.analysis.ops import op_types
from onnxfuse.verification.element_types import float_format
from onnxfuse.verification.twin import Disturbance
from onnxfuse.verification.twin_graph import Node
from onnxfuse.verification.twin_kernel import UnsupportedError
from onnxfuse.verification.twin_normalizations import batch_norm_scale
from onnxfuse.verification.twin_ops import KERNELS, round_to
from onnxfuse.verification.twin_values import Value, is_float_type

__all__ = ["Inexact", "Marks", "Noise"]


class Noise(Disturbance):
    """Multiplies inputs, constants and rounded results by 1 + u N(0, 1), u of each tensor's own type.

    Gaussian and not plus or minus 1: signs cancel exactly, and then a right rewrite looks wrong.
    """

    def __init__(self, rng: np.random.Generator, *, times: float = 1.0, inputs: bool = True) -> None:
        """Takes the generator, a factor for u, and whether graph inputs are disturbed."""
        self._rng = rng
        self._times = times
        self._inputs = inputs

    def source(self, name: str, value: Value, *, constant: bool) -> Any:
        """As in `Disturbance`."""
        del name
        return self._noisy(value) if constant or self._inputs else value.data

    def result(self, node: Node, inputs: Sequence[Value | None], value: Value) -> Any:
        """As in `Disturbance`."""
        del inputs
        return self._noisy(value) if node.rounds and is_float_type(value.type) else value.data

    def _noisy(self, value: Value) -> np.ndarray:
        scale = self._times * float_format(value.type).u
        noise = self._rng.standard_normal(value.data.shape, dtype=np.float32)
        return np.asarray(value.data * (1.0 + scale * noise.astype(np.float64)))


# ---- marks

# 1/0 is an infinity in every type: no sign of a type that is too small.
_POLES: Final = frozenset(("Div", "Reciprocal", "Log", "Sqrt"))
# Sums of products: what overflows on the way is told by the same sum of absolute values.
_LINEAR: Final = op_types(
    """Add Sub Sum Mean MatMul Gemm Conv ConvTranspose Einsum ReduceSum ReduceMean AveragePool GlobalAveragePool
    CumSum"""
)
_MEANS: Final = op_types("Mean ReduceMean AveragePool GlobalAveragePool")
_SQUARES: Final = op_types(
    """LayerNormalization RMSNormalization GroupNormalization InstanceNormalization LpNormalization ReduceL2
    ReduceSumSquare LpPool GlobalLpPool"""
)
_SPREADS: Final = frozenset(("Resize", "Upsample", "GridSample"))


class Marks(Disturbance):
    """Replaces values that are out of range by NaN, or by random ones: what then changes hangs on them.

    Either what the inputs hold beyond `FloatFormat.extreme`, or (`overflows`) non-finite inputs and all that overflows
    the type of its tensor on the way. Even tries mark with NaN, odd ones with random values; where NaN reaches a result
    that cannot hold it, such as a comparison's, that changes from try to try.
    """

    def __init__(self, rng: np.random.Generator, number: int, *, overflows: bool) -> None:
        """Takes the generator, the number of the try, and what is marked."""
        self._rng = rng
        self._number = number
        self._overflows = overflows

    def source(self, name: str, value: Value, *, constant: bool) -> Any:
        """As in `Disturbance`."""
        del name
        if constant:
            return value.data  # an infinite constant is a mask
        out = ~np.isfinite(value.data)
        if not self._overflows:
            out |= np.abs(value.data) > float_format(value.type).extreme
        return self._marked(value.data, out)

    def result(self, node: Node, inputs: Sequence[Value | None], value: Value) -> Any:
        """As in `Disturbance`."""
        if not is_float_type(value.type):
            return self._unsettled(node, inputs, value.data)
        data = self._spread(node, inputs, value.data)
        if not self._overflows or (not node.rounds and node.op_type not in ("Cast", "CastLike")):
            return data
        return self._marked(data, _overflowing(node, inputs, value))

    def _marked(self, data: np.ndarray, out: np.ndarray) -> np.ndarray:
        if not out.any():
            return data
        other = np.nan if self._number % 2 == 0 else self._rng.standard_normal(data.shape)
        return np.where(out, other, data)

    def _unsettled(self, node: Node, inputs: Sequence[Value | None], data: Any) -> Any:
        """Integers and booleans that came from NaN marks, made to differ between tries."""
        if not isinstance(data, np.ndarray) or data.dtype.kind not in "iub":
            return data
        where = _nan_positions(node, inputs, data.shape)
        if where is None or not where.any():
            return data
        if data.dtype.kind == "b":
            return np.where(where, self._number % 4 == 0, data)
        if node.op_type in ("ArgMax", "ArgMin", "TopK", "NonZero", "Unique", "Shape", "Size"):
            # They must stay legal indices.
            highest = max(int(data.max()), 0) if data.size else 0
            other = self._rng.integers(0, highest + 1, data.shape)
        else:
            info = np.iinfo(data.dtype)
            other = self._rng.integers(max(info.min, -1000), min(info.max, 1000), data.shape, endpoint=True)
        return np.where(where, other, data).astype(data.dtype)

    def _spread(self, node: Node, inputs: Sequence[Value | None], data: np.ndarray) -> np.ndarray:
        """A NaN that goes into an interpolation reaches all of its image: which neighbours count is up to the kernel."""
        x = inputs[0] if inputs else None
        if node.op_type not in _SPREADS or x is None or data.ndim < 3:
            return data
        images = np.isnan(x.data).reshape(*x.data.shape[:2], -1).any(-1)
        if not images.any() or images.shape != data.shape[:2]:
            return data
        return np.where(images.reshape(*images.shape, *(1,) * (data.ndim - 2)), np.nan, data)


# One operation of IEEE 754 for each element: where its exact result is a number of its type, nothing was rounded.
_ELEMENTWISE: Final = op_types("Add Sub Mul Div Sqrt Reciprocal")


class Inexact(Marks):
    """Marks with NaN what is rounded: what no mark reaches is the same in every runtime."""

    def __init__(self, rng: np.random.Generator, number: int) -> None:
        """Takes the generator, and the number of the try: what cannot hold a NaN changes from try to try."""
        super().__init__(rng, 2 * number, overflows=False)

    def source(self, name: str, value: Value, *, constant: bool) -> Any:
        """As in `Disturbance`."""
        del name, constant
        return value.data

    def result(self, node: Node, inputs: Sequence[Value | None], value: Value) -> Any:
        """As in `Disturbance`."""
        data = super().result(node, inputs, value)
        if not node.rounds or not is_float_type(value.type):
            return data
        exact = round_to(data, value.type) == data if node.op_type in _ELEMENTWISE else np.zeros(data.shape, bool)
        return np.where(exact, data, np.nan)


def _nan_positions(node: Node, inputs: Sequence[Value | None], shape: tuple[int, ...]) -> np.ndarray | None:
    floats = [v.data for v in inputs if v is not None and is_float_type(v.type) and isinstance(v.data, np.ndarray)]
    if not floats or node.op_type in ("Shape", "Size"):
        return None
    if node.op_type in ("ArgMax", "ArgMin", "TopK"):
        x = floats[0]
        axis = int(node.attributes.get("axis", 0 if node.op_type != "TopK" else -1))
        found = np.asarray(np.isnan(x).any(axis, keepdims=True))
        if not node.attributes.get("keepdims", 1) and node.op_type != "TopK":
            found = np.squeeze(found, axis)
        return np.broadcast_to(found, shape)
    try:
        masks = [np.broadcast_to(np.isnan(x), shape) for x in floats]
    except ValueError:
        return np.full(shape, any(bool(np.isnan(x).any()) for x in floats))
    return np.asarray(np.logical_or.reduce(masks))


def _overflowing(node: Node, inputs: Sequence[Value | None], value: Value) -> np.ndarray:
    """The positions of a result that its type, or a sum on the way to it, cannot hold."""
    limits = float_format(value.type)
    data = value.data
    arrays = [v.data for v in inputs if v is not None and isinstance(v.data, np.ndarray) and v.data.dtype.kind == "f"]
    out = np.isfinite(data) & (np.abs(data) > limits.largest)
    if node.op_type not in _POLES:
        out |= ~np.isfinite(data) & _from_finite(arrays, data.shape)
    if node.op_type in _SQUARES and arrays:
        finite = np.abs(arrays[0][np.isfinite(arrays[0])])
        if finite.size and finite.max() > math.sqrt(limits.largest / (4 * max(arrays[0].size, 1))):
            out = np.ones_like(out)
    total = _absolute_sum(node, inputs, arrays, limits.largest)
    if total is not None and total.shape == out.shape:
        out |= (total > limits.largest) & (np.isfinite(total) | _from_finite(arrays, total.shape))
    return np.asarray(out)


def _from_finite(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Where all that a result comes from is finite: by position for elementwise operators."""
    try:
        masks = [np.broadcast_to(np.isfinite(x), shape) for x in arrays]
    except ValueError:
        return np.full(shape, all(bool(np.isfinite(x).all()) for x in arrays))
    return np.asarray(np.logical_and.reduce(masks)) if masks else np.ones(shape, bool)


def _averaged(node: Node, x: np.ndarray, mean: np.ndarray) -> int:
    """Of how many values each mean is."""
    if node.op_type == "AveragePool":
        return math.prod(node.attributes["kernel_shape"])
    return len(node.inputs) if node.op_type == "Mean" else x.size // max(mean.size, 1)


def _absolute_sum(
    node: Node, inputs: Sequence[Value | None], arrays: Sequence[np.ndarray], largest: float
) -> np.ndarray | None:
    """The operator on absolute values; None where it is not linear, or plainly far from the limit."""
    if node.op_type not in _LINEAR and node.op_type != "BatchNormalization":
        return None
    bound = 1.0
    for array in arrays:
        finite = np.abs(array[np.isfinite(array)])
        bound *= max(float(finite.max()) if finite.size else 0.0, 1.0) * max(array.size, 1)
    if bound < largest:
        return None
    if node.op_type == "BatchNormalization":
        factor, mean, bias = batch_norm_scale(node.attributes, [None if v is None else v.data for v in inputs])
        return np.asarray(np.abs(factor) * (np.abs(arrays[0]) + np.abs(mean)) + np.abs(bias))
    absolute: list[Any] = [
        np.abs(v.data)
        if v is not None and isinstance(v.data, np.ndarray) and v.data.dtype.kind == "f"
        else v and v.data
        for v in inputs
    ]
    if node.op_type in ("Add", "Sub"):
        return np.asarray(absolute[0] + absolute[1])
    attributes: Mapping[str, Any] = {
        name: abs(item) if name in ("alpha", "beta") else item for name, item in node.attributes.items()
    }
    kernel = KERNELS.get(node.op_type, node.kernel)
    if kernel is None:
        raise UnsupportedError(f"{node.op_type} has not run yet")
    result = kernel(attributes, absolute, node.opset)
    total = np.asarray(result[0] if isinstance(result, tuple) else result)
    # A mean is a sum first, and that is what overflows.
    return total * _averaged(node, arrays[0], total) if node.op_type in _MEANS else total

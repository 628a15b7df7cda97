"""Which values an operator takes of an input, where that can be said of each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from onnxfuse.verification.element_types import integer_range, is_integer
from onnxfuse.verification.operand_sizes import Dims
from onnxfuse.verification.roles import Role, Use

if TYPE_CHECKING:
    import onnx

__all__ = ["EXTREME", "Want", "attribute", "axis_size", "between"]

EXTREME: Final = frozenset(("ladder", "special", "ties", "constants"))
"""The families in which an index may be negative, a size 0, and a Slice end far outside."""


@dataclass(frozen=True)
class Want:
    """One array that is to be drawn.

    Attributes:
        dtype: Its element type.
        shape: Its shape.
        family: What the other inputs are drawn from.
        index: The number of the draw within its family.
        rng: Random numbers.
        sizes: The sizes of the model's values in this draw, by name.
        lengths: The lengths of its sequences in this draw, by name.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    family: str
    index: int
    rng: np.random.Generator
    sizes: Mapping[str, Dims]
    lengths: Mapping[str, int]

    @property
    def count(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def extreme(self) -> bool:
        """Whether what is legal but unusual is wanted too."""
        return self.family in EXTREME

    @property
    def signed(self) -> bool:
        """Whether its type has negative numbers."""
        return not is_integer(self.dtype) or integer_range(self.dtype)[0] < 0

    def dims(self, use: Use, slot: int = 0) -> Dims | None:
        """The sizes of an operand of the operator that elements reach."""
        return self.sizes.get(use.node.input[slot]) if slot < len(use.node.input) else None


Bounds = tuple[Any, Any]
"""The least and the greatest, numbers or arrays of the shape."""

# By kind: usually, and at most.
_FIXED: Final[Mapping[str, tuple[tuple[float, float], tuple[float, float]]]] = {
    "size": ((1, 4), (0, 4)),
    "depth": ((1, 6), (1, 8)),
    "repeats": ((1, 3), (0, 3)),
    "trips": ((1, 3), (0, 5)),
    "from": ((0, 2), (-2, 2)),
    "to": ((2, 6), (-1, 6)),
    "by": ((1, 2), (1, 3)),
    "frame": ((2, 3), (1, 4)),
    "divisor": ((1, 3), (1, 127)),
    "exponent": ((0, 3), (0, 4)),
    "one": ((1, 1), (1, 1)),
    "broadcast shape": ((1, 1), (1, 1)),
    "grid": ((1, 3), (1, 3)),
    "image": ((1, 1), (1, 1)),
    "scale": ((1, 2), (0.5, 2.5)),
    "scaled": ((1, 4), (1, 8)),
    "ratio": ((0.25, 0.25), (0, 0.75)),
    "bands": ((2, 8), (1, 8)),
    "window": ((16, 32), (8, 64)),
    "rate": ((8000, 16000), (8000, 16000)),
    "mask": ((0, 1), (0, 1)),
    "variance": ((0.25, 4), (0, 4)),
    "step size": ((0.0625, 0.5), (0.0625, 0.5)),
    "stride": ((1, 2), (1, 3)),
    "parts": ((1, 1), (1, 1)),
    "pad": ((0, 2), (0, 2)),
}
_REALS: Final = frozenset(("scale", "ratio", "variance", "step size"))
"""Drawn from all numbers between the bounds; the other kinds from the integers."""


def between(role: Role, want: Want) -> np.ndarray:
    """Values that all uses accept; those that the first accepts, where they contradict each other."""
    low: Any = -math.inf
    high: Any = math.inf
    for use in role.uses:
        bounds = _element_bounds(use, want)
        least, most = np.maximum(low, bounds[0]), np.minimum(high, bounds[1])
        if np.all(least <= most):
            low, high = least, most
    if np.any(np.isinf(low)) or np.any(np.isinf(high)):
        low, high = _element_bounds(role.uses[0], want)
        high = np.maximum(low, high)
    low, high = np.broadcast_to(low, want.shape), np.broadcast_to(high, want.shape)
    if role.kind in _REALS and not is_integer(want.dtype):
        # Multiples of 1/16, which every float type has.
        reals: np.ndarray = np.rint(16 * (low + (high - low) * want.rng.random(want.shape))) / 16
        return reals
    least, most = np.ceil(low).astype(np.int64), np.floor(high).astype(np.int64)
    drawn: np.ndarray = want.rng.integers(least, np.maximum(least, most) + 1, want.shape)
    return drawn


def _element_bounds(use: Use, want: Want) -> Bounds:
    """Bounds of the elements, from those of what the operator sees."""
    low, high = _bounds(use, want)
    if use.plain or use.kind == "mask":
        return low, high
    ends = [(np.asarray(end) - float(use.offset)) / float(use.scale) for end in (low, high)]
    return (ends[1], ends[0]) if use.scale < 0 else (ends[0], ends[1])


def _bounds(use: Use, want: Want) -> Bounds:
    """Bounds of what an operator sees."""
    limited = _LIMITS.get(use.kind)
    if limited is not None:
        return limited(use, want)
    usual, most = _FIXED.get(use.kind, ((0, 1), (0, 1)))
    return most if want.extreme and want.signed else (max(most[0], 0), most[1]) if want.extreme else usual


def axis_size(use: Use, want: Want) -> int | None:
    """The size of the axis that an operator's attribute chooses."""
    dims, axis = want.dims(use), attribute(use.node, "axis", 0)
    return dims[axis] if dims and -len(dims) <= axis < len(dims) else None


def _from_zero(size: int | None, want: Want, *, negative: bool = True) -> Bounds:
    """Positions in an axis: counted from its end too where that is legal and wanted."""
    if size is None:
        # Nearly every axis has two elements.
        return (-1, 0) if negative and want.extreme and want.signed else (0, 1)
    return (-size if negative and want.extreme and want.signed else 0), max(size - 1, 0)


def _index(use: Use, want: Want) -> Bounds:
    return _from_zero(axis_size(use, want), want)


def _index_tuple(use: Use, want: Want) -> Bounds:
    """Each element of the last axis is an index into another axis."""
    dims, first = want.dims(use), attribute(use.node, "batch_dims", 0)
    if not dims or None in dims:
        return _from_zero(None, want)
    sizes = [size for size in dims[first:] if size is not None]
    if not (use.whole and want.shape and want.shape[-1] <= len(sizes)):
        return _from_zero(min(sizes, default=1), want)
    high = np.array(sizes[: want.shape[-1]]) - 1
    return (-high - 1 if want.extreme and want.signed else np.zeros_like(high)), np.maximum(high, 0)


def _row(use: Use, want: Want) -> Bounds:
    """Positions from 0 on, in an axis that the operator fixes."""
    slot, axis = {
        "RoiAlign": (0, 0),
        "RotaryEmbedding": (1, 0),
        "ArrayFeatureExtractor": (0, -1),
        "NegativeLogLikelihoodLoss": (0, 1),
        "SoftmaxCrossEntropyLoss": (0, 1),
    }.get(use.node.op_type, (0, 0))
    dims = want.dims(use, slot)
    if use.node.op_type == "TensorScatter":
        update, axis = want.dims(use, 1), attribute(use.node, "axis", -2)
        room = [each[axis] for each in (dims, update) if each and -len(each) <= axis < len(each)]
        past, new = room if len(room) == 2 else (None, None)
        return 0, 0 if past is None or new is None else max(past - new, 0)
    if use.node.op_type == "MaxUnpool":
        known = [size for size in (dims or ()) if size is not None]
        return 0, max(math.prod(known) - 1, 0)
    size = dims[axis] if dims and len(dims) > axis else None
    return _from_zero(size, want, negative=False)


def _position(use: Use, want: Want) -> Bounds:
    """Positions in a sequence: of one that is no input, the first or the last."""
    length = want.lengths.get(use.node.input[0])
    if length is None:
        return _from_zero(1, want)
    low, high = _from_zero(length, want)
    return low, length if use.node.op_type == "SequenceInsert" else high


def _class(use: Use, want: Want) -> Bounds:
    del use
    return (-3, 5) if want.extreme and want.signed else (0, 3)


def _length(use: Use, want: Want) -> Bounds:
    slot, axis = (0, attribute(use.node, "time_axis", 0)) if use.node.op_type != "Attention" else (1, -2)
    dims = want.dims(use, slot)
    size = dims[axis] if dims and axis < len(dims) else None
    return 1, max(size or 1, 1)


def _largest(use: Use, want: Want) -> Bounds:
    dims, axis = want.dims(use), attribute(use.node, "axis", -1)
    size = dims[axis] if dims and -len(dims) <= axis < len(dims) else None
    return (0 if want.extreme or size == 0 else 1), 1 if size is None else size


def _shift(use: Use, want: Want) -> Bounds:
    del use
    return 0, max(want.dtype.itemsize * 8 - 1, 1)


def _axis(use: Use, want: Want) -> Bounds:
    dims = want.dims(use)
    return _from_zero(len(dims) if dims else 1, want)


_LIMITS: Final[Mapping[str, Callable[[Use, Want], Bounds]]] = {
    "index": _index,
    "target": _index,
    "index tuple": _index_tuple,
    "target tuple": _index_tuple,
    "row": _row,
    "position": _position,
    "class": _class,
    "length": _length,
    "largest": _largest,
    "shift": _shift,
    "axes": _axis,
    "bound": lambda _use, _want: (0, 2),
}


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node."""
    return next((each.i for each in node.attribute if each.name == name), default)

"""Legal values for inputs that have a role: decided by what the operators demand that its elements reach."""

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

__all__ = ["EXTREME", "Want", "role_values"]

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


def role_values(role: Role, want: Want) -> np.ndarray:
    """Draws legal values.

    Args:
        role: What they are used for.
        want: What is to be drawn.

    Returns:
        An array of the wanted type and shape.
    """
    for use in role.uses:
        build = _BUILDERS.get(use.kind)
        values = build(use, want) if build is not None and use.whole and use.plain else None
        if values is not None:
            break
    else:
        values = _between(role, want)
    if is_integer(want.dtype):
        low, high = integer_range(want.dtype)
        whole = np.ceil(values) if np.asarray(values).dtype.kind == "f" else values
        values = np.clip(np.asarray(whole, np.int64), low, min(high, (1 << 63) - 1))
    drawn: np.ndarray = np.asarray(values).astype(want.dtype)
    return drawn.reshape(want.shape)


# ---- values that are drawn one by one, between two bounds

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


def _between(role: Role, want: Want) -> np.ndarray:
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


def _limit(use: Use, want: Want) -> int | None:
    """The size of the axis that an operator's attribute chooses."""
    dims, axis = want.dims(use), _attribute(use.node, "axis", 0)
    return dims[axis] if dims and -len(dims) <= axis < len(dims) else None


def _from_zero(size: int | None, want: Want, *, negative: bool = True) -> Bounds:
    """Positions in an axis: counted from its end too where that is legal and wanted."""
    if size is None:
        # Nearly every axis has two elements.
        return (-1, 0) if negative and want.extreme and want.signed else (0, 1)
    return (-size if negative and want.extreme and want.signed else 0), max(size - 1, 0)


def _index(use: Use, want: Want) -> Bounds:
    return _from_zero(_limit(use, want), want)


def _index_tuple(use: Use, want: Want) -> Bounds:
    """Each element of the last axis is an index into another axis."""
    dims, first = want.dims(use), _attribute(use.node, "batch_dims", 0)
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
        update, axis = want.dims(use, 1), _attribute(use.node, "axis", -2)
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
    slot, axis = (0, _attribute(use.node, "time_axis", 0)) if use.node.op_type != "Attention" else (1, -2)
    dims = want.dims(use, slot)
    size = dims[axis] if dims and axis < len(dims) else None
    return 1, max(size or 1, 1)


def _largest(use: Use, want: Want) -> Bounds:
    dims, axis = want.dims(use), _attribute(use.node, "axis", -1)
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


# ---- values that belong together


def _axes(use: Use, want: Want) -> np.ndarray | None:
    """Axes that differ from each other; for a Squeeze those of size 1."""
    dims = want.dims(use)
    if dims is None:
        return np.arange(want.count)
    rank = len(dims) + (want.count if use.node.op_type == "Unsqueeze" else 0)
    choices = list(range(rank))
    if use.node.op_type == "Squeeze":
        choices = [axis for axis, size in enumerate(dims) if size == 1]
    elif use.node.op_type == "DFT":
        choices = list(range(rank - 1))  # the last one is that of the real and the imaginary part
    if len(choices) < want.count:
        return np.arange(want.count)
    axes = want.rng.permutation(choices)[: want.count]
    flipped = want.rng.integers(0, 2, want.count) if want.extreme and want.signed else 0
    return axes - rank * flipped


def _reshape(use: Use, want: Want) -> np.ndarray:
    """A random factorization of the number of elements, with -1 and 0 in some draws."""
    dims = want.dims(use) or ()
    zero_copies = not _attribute(use.node, "allowzero", 0)
    fixed, first = [*use.before, *use.after], len(use.before)
    places = [*range(first), *range(first + want.count, first + want.count + len(use.after))]
    if zero_copies:
        fixed = [dims[p] if n == 0 and p < len(dims) else n for n, p in zip(fixed, places, strict=True)]
    inferred = -1 in fixed
    known = [size for size in fixed if size is not None and size >= 0]
    ones = np.ones(want.count, np.int64)
    if not want.count:
        return ones
    if not use.whole or None in dims or want.dims(use) is None or len(known) + inferred < len(fixed):
        if not inferred:
            ones[want.index % want.count] = -1
        return ones
    total = math.prod(size for size in dims if size is not None)
    if total == 0:
        own = [first + place for place in range(want.count) if zero_copies or 0 not in known]
        holes = [p - first for p in own if not zero_copies or (p < len(dims) and dims[p] == 0)]
        if 0 not in known and holes:
            ones[holes[0]] = 0
        return ones
    if 0 in known or total % math.prod(known):
        return ones
    factors = _factors(total // math.prod(known), want.count + inferred, want.rng)[: want.count]
    form = want.index % 4
    target = factors.copy()
    if form % 2 and zero_copies:
        for place in range(want.count):
            if first + place < len(dims) and dims[first + place] == target[place]:
                target[place] = 0
    if form >= 2 and not inferred:
        target[want.rng.integers(0, want.count)] = -1
    return target


def _factors(number: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` numbers with a product, at random."""
    factors = np.ones(count, np.int64)
    divisor = 2
    while number > 1:
        divisor = divisor if divisor * divisor <= number else number
        while number % divisor == 0:
            factors[rng.integers(0, count)] *= divisor
            number //= divisor
        divisor += 1
    return factors


def _image(use: Use, want: Want) -> np.ndarray | None:
    """Sizes of an image with as many blocks of one pixel as there are columns."""
    dims = want.dims(use)
    return _factors(dims[-1], want.count, want.rng) if dims and dims[-1] else None


def _expand(use: Use, want: Want) -> np.ndarray:
    """Sizes that a shape can be broadcast with."""
    dims = want.dims(use)
    if dims is None:
        return np.ones(want.count, np.int64)
    rank = len(use.before) + want.count + len(use.after)
    places = [len(dims) - rank + len(use.before) + place for place in range(want.count)]
    sizes = [dims[place] if place >= 0 else 1 for place in places]
    largest = 1 if want.count > 6 else 3
    drawn = [
        want.rng.integers(1, largest + 1) if size == 1 else 1 if size is None else want.rng.choice([1, size])
        for size in sizes
    ]
    return np.array(drawn, np.int64)


def _split(use: Use, want: Want) -> np.ndarray:
    """Parts with the size of the axis as their sum; of some a size of 0."""
    size = _limit(use, want)
    if size is None:
        return np.ones(want.count, np.int64)
    if use.node.op_type == "SplitToSequence" and not want.shape:
        return np.array(want.rng.integers(1, max(size, 1) + 1))
    if want.extreme or size < want.count:
        cuts = np.sort(want.rng.integers(0, size + 1, max(want.count - 1, 0)))
    else:
        cuts = 1 + np.sort(want.rng.permutation(size - 1)[: want.count - 1])
    return np.diff(np.concatenate([[0], cuts, [size]]))[: want.count]


def _pads(use: Use, want: Want) -> np.ndarray:
    """Few pads; of a reflection less than an axis has, and in some draws less than none."""
    dims = [size for size in want.dims(use) or () if size is not None]
    least = min(dims, default=2)
    mode = next((a.s for a in use.node.attribute if a.name == "mode"), b"constant")
    high = 2 if mode == b"constant" else min(2, least if mode == b"wrap" else max(least - 1, 0))
    low = -1 if want.extreme and want.signed and least >= 3 else 0
    return want.rng.integers(low, high + 1, want.count)


def _ends(use: Use, want: Want) -> np.ndarray:
    """Where a Slice begins or ends: inside, at and behind both ends, and in some draws far outside."""
    dims = [size for size in want.dims(use) or () if size is not None]
    size = max(dims, default=3)
    if use.slot == 1 and use.node.op_type == "Slice":
        values = want.rng.integers(0, size // 2 + 1, want.count)
    else:
        values = want.rng.integers((size + 1) // 2, size + 2, want.count)
    if not want.extreme:
        return values
    far = [0, size, size + 1]
    if want.signed:
        far += [-1, -size, -size - 1]
    if use.node.op_type == "Slice" and is_integer(want.dtype):
        far += [integer_range(want.dtype)[1], integer_range(want.dtype)[0] if want.signed else 1]
    picked = want.rng.choice(np.array(far, np.int64), want.count)
    return np.where(want.rng.integers(0, 2, want.count) == 1, picked, values)


def _strides(use: Use, want: Want) -> np.ndarray:
    del use
    steps = [1, 2] if not want.extreme else [1, 2, 3, 100, *((-1, -2) if want.signed else ())]
    return want.rng.choice(np.array(steps, np.int64), want.count)


def _scales(use: Use, want: Want) -> np.ndarray:
    """Only the last two axes of an image are ever scaled by a runtime."""
    del use
    factor = (2.0, 1.5, 0.5, 1.0)[want.index % (4 if want.extreme else 2)]
    return np.where(np.arange(want.count) >= want.count - 2, factor, 1.0)


def _scaled(use: Use, want: Want) -> np.ndarray | None:
    """Sizes of an image: its own but for the last two axes."""
    dims = want.dims(use)
    if dims is None:
        return None
    axes = next((list(a.ints) for a in use.node.attribute if a.name == "axes"), list(range(len(dims))))
    own = [dims[axis] for axis in axes]
    if None in own or len(own) != want.count:
        return None
    sizes = np.array(own, np.int64)
    sizes[-2:] = np.maximum(sizes[-2:] * 2 - want.rng.integers(0, 3) * (sizes[-2:] // 2 + 1), 1)
    return sizes


_TRIPS: Final = (2, 3, 1, 0, 5)


def _trips(use: Use, want: Want) -> np.ndarray:
    del use
    start = len(want.family) if want.extreme else 0
    return np.full(want.count, _TRIPS[(want.index + start) % len(_TRIPS)])


def _grid(use: Use, want: Want) -> np.ndarray:
    """The batch of the matrices, and the sizes of an image."""
    dims = want.dims(use)
    sizes = want.rng.integers(1, 4, want.count)
    if dims and dims[0] is not None:
        sizes[:1] = dims[0]
    return sizes


def _targets(use: Use, want: Want) -> np.ndarray | None:
    """Indices into one axis that differ from each other along it: where they do not, any may win."""
    dims, axis = want.dims(use), _attribute(use.node, "axis", 0)
    size = _limit(use, want)
    if size is None or dims is None or len(dims) != len(want.shape) or want.count * size > 1 << 22:
        return None
    along = want.shape[axis]
    if along > size:
        return None
    rest = [length for place, length in enumerate(want.shape) if place != axis % len(want.shape)]
    order = np.argsort(want.rng.random((*rest, size)), axis=-1, kind="stable")[..., :along]
    return _from_the_end(np.moveaxis(order, -1, axis), size, want)


def _target_tuples(use: Use, want: Want) -> np.ndarray | None:
    """Tuples of indices that differ from each other."""
    dims = want.dims(use)
    if not want.shape or not dims or None in dims or want.shape[-1] > len(dims):
        return None
    sizes = [size for size in dims[: want.shape[-1]] if size is not None]
    rows, cells = math.prod(want.shape[:-1]), math.prod(sizes)
    if rows > cells or cells > 1 << 22:
        return None
    chosen = want.rng.permutation(cells)[:rows]
    if not sizes:
        return np.zeros(want.shape, np.int64)
    return _from_the_end(np.stack(np.unravel_index(chosen, sizes), axis=-1).reshape(want.shape), np.array(sizes), want)


def _from_the_end(values: np.ndarray, sizes: Any, want: Want) -> np.ndarray:
    """Counts some indices from the end, where that is wanted."""
    if not (want.extreme and want.signed):
        return values
    drawn: np.ndarray = values - sizes * want.rng.integers(0, 2, values.shape)
    return drawn


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


_BUILDERS: Final[Mapping[str, Callable[[Use, Want], np.ndarray | None]]] = {
    "axes": _axes,
    "target shape": _reshape,
    "broadcast shape": _expand,
    "image": _image,
    "parts": _split,
    "pad": _pads,
    "bound": _ends,
    "stride": _strides,
    "scale": _scales,
    "scaled": _scaled,
    "trips": _trips,
    "grid": _grid,
    "target": _targets,
    "target tuple": _target_tuples,
}

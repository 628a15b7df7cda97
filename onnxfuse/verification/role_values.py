"""Legal values for inputs that have a role: decided by what the operators demand that its elements reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from onnxfuse.verification.element_types import integer_range, is_integer
from onnxfuse.verification.role_bounds import Want, attribute, axis_size, between
from onnxfuse.verification.roles import Role, Use

__all__ = ["role_values"]


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
        values = between(role, want)
    if is_integer(want.dtype):
        low, high = integer_range(want.dtype)
        whole = np.ceil(values) if np.asarray(values).dtype.kind == "f" else values
        values = np.clip(np.asarray(whole, np.int64), low, min(high, (1 << 63) - 1))
    drawn: np.ndarray = np.asarray(values).astype(want.dtype)
    return drawn.reshape(want.shape)


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
    zero_copies = not attribute(use.node, "allowzero", 0)
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
        # What is left of a number with large factors only stays whole.
        divisor = divisor if divisor * divisor <= number and divisor < 1 << 16 else number
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
    size = axis_size(use, want)
    if size is None:
        return np.ones(want.count, np.int64)
    if use.node.op_type == "SplitToSequence" and not want.shape:
        return np.array(want.rng.integers(1, max(size, 1) + 1))
    if want.extreme or size < want.count or size > 1 << 22:
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


def _unpooled(use: Use, want: Want) -> np.ndarray | None:
    """The batch and the channels of what was pooled, and more than twice its image."""
    dims = want.dims(use)
    if dims is None or None in dims or len(dims) != want.count:
        return None
    sizes = np.array(dims, np.int64)
    sizes[2:] = 2 * sizes[2:] + want.rng.integers(0, 2, want.count - 2)
    return sizes


def _targets(use: Use, want: Want) -> np.ndarray | None:
    """Indices into one axis that differ from each other along it: where they do not, any may win."""
    dims, axis = want.dims(use), attribute(use.node, "axis", 0)
    size = axis_size(use, want)
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
    "unpooled": _unpooled,
    "target": _targets,
    "target tuple": _target_tuples,
}

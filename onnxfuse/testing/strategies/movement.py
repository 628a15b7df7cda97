"""Nodes that move elements: slices, pads, reshapes, transposes, gathers."""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto

from onnxfuse.testing.strategies.graph import UNKNOWN, Axis, Draft, Maker, Shape, Value, fixed
from onnxfuse.testing.strategies.kernels import types_of

__all__ = ["MOVEMENT", "pad", "slice_", "transpose"]

MAX: Final = 2**63 - 1
MIN: Final = -(2**63)


def changed(axis: Axis, size: int) -> Axis:
    """Returns a dim of another size: known always only if the old one was."""
    return Axis(size, None if axis.static else UNKNOWN)


def axis_of(g: Draft, rank: int, *, negative_since: int = 11) -> tuple[int, int]:
    """Draws an axis; returns it as it is written, and from 0."""
    axis = g.integer(0, rank - 1)
    return (axis - rank if g.opset >= negative_since and g.chance(30) else axis), axis


def some_axes(g: Draft, rank: int, least: int = 1) -> list[int]:
    """Draws different axes."""
    axes = [axis for axis in range(rank) if g.chance(50)]
    return axes if len(axes) >= least else list(range(rank))[:least]


def slice_(g: Draft, data: Value | None = None) -> Value:
    """A Slice, in the form of the opset; it mostly leaves something."""
    x = data or g.operand(types_of("Slice", g.opset), rank=(1, 5), empty=True)
    axes = some_axes(g, x.rank)
    shape = list(x.shape)
    starts, ends, steps = [], [], []
    for axis in axes:
        start, end, step = _bounds(g, x.shape[axis].size)
        size = len(range(*slice(start, end, step).indices(x.shape[axis].size)))
        if size == 0 and not g.chance(10):
            start, end, step, size = 0, MAX, 1, x.shape[axis].size
        shape[axis] = changed(x.shape[axis], size)
        starts.append(start)
        ends.append(MIN if end is None else end)
        steps.append(step)
    written = [axis - x.rank if g.opset >= 10 and g.chance(20) else axis for axis in axes]
    omitted = written == list(range(len(axes))) and g.chance(50)
    if g.opset < 10:
        return g.add(
            "Slice", [x], x.elem_type, tuple(shape), starts=starts, ends=ends, axes=None if omitted else written
        )
    index = g.choice([TensorProto.INT64, TensorProto.INT32])
    if index == TensorProto.INT32:
        starts, ends = ([max(min(n, 2**31 - 1), -(2**31)) for n in numbers] for numbers in (starts, ends))
    operands: list[Value | None] = [x, g.integers(starts, index), g.integers(ends, index)]
    operands.append(None if omitted else g.integers(written, index))
    operands.append(g.integers(steps, index) if any(step != 1 for step in steps) or g.chance(30) else None)
    return g.add("Slice", operands, x.elem_type, tuple(shape))


def _bounds(g: Draft, size: int) -> tuple[int, int | None, int]:
    if g.opset >= 10 and g.chance(15):
        # Where a bound lies before the first element, numpy and onnxruntime read it differently.
        return g.choice([-1, size - 1]), g.choice([None, 0]), g.choice([-1, -2])
    end = g.choice([MAX, size, -1, size + 3, 2**31 - 1, size - 1])
    return g.integer(-size, size), end, g.choice([1, 1, 1, 2, 3]) if g.opset >= 10 else 1


def pad(g: Draft, *, zero: bool | None = None, data: Value | None = None) -> Value:
    """A Pad, in the form of the opset: often of nothing, sometimes of less than nothing."""
    x = data or g.operand(types_of("Pad", g.opset), rank=(1, 5))
    modes = ["constant", "edge", "reflect"] + (["wrap"] if g.opset >= 19 else [])
    mode = g.choice(modes)
    if mode != "constant" and (x.elem_type == TensorProto.BOOL or x.elements == 0):
        mode = "constant"
    nothing = g.chance(60) if zero is None else zero
    pads = [(0, 0) if nothing else _pads(g, axis.size, mode) for axis in x.shape]
    shape = tuple(
        axis if pair == (0, 0) else changed(axis, axis.size + sum(pair))
        for axis, pair in zip(x.shape, pads, strict=True)
    )
    said = None if mode == "constant" and g.chance(50) else mode
    flat = [one for one, _ in pads] + [other for _, other in pads]
    if g.opset < 11:
        value = 1.5 if mode == "constant" and g.chance(30) else None
        return g.add("Pad", [x], x.elem_type, shape, mode=said, pads=flat, value=value)
    value_ = None
    if mode == "constant" and g.chance(50):
        value_ = g.constant(np.ones([]), x.elem_type)
    axes = None
    if g.opset >= 18 and g.chance(30):
        named = [axis for axis, pair in enumerate(pads) if pair != (0, 0) or g.chance(50)] or [0]
        axes = g.integers([axis - x.rank if g.chance(30) else axis for axis in named])
        flat = [pads[axis][side] for side in (0, 1) for axis in named]
    amounts = g.constant(np.array(flat), TensorProto.INT64, overridable=g.chance(10))
    return g.add("Pad", [x, amounts, value_, axes], x.elem_type, shape, mode=said)


def _pads(g: Draft, size: int, mode: str) -> tuple[int, int]:
    if mode == "constant":
        low = -1 if size > 2 else 0
        return g.integer(low, 2), g.integer(low, 2)
    most = max(min(size - 1, 2), 0)
    return g.integer(0, most), g.integer(0, most)


def concat(g: Draft) -> None:
    """A Concat of one to three, some of them the same."""
    x = g.operand(types_of("Concat", g.opset), rank=(1, 5), empty=True)
    written, axis = axis_of(g, x.rank)

    def fits(value: Value) -> bool:
        if value.elem_type != x.elem_type or value.rank != x.rank:
            return False
        pairs = zip(value.shape, x.shape, strict=True)
        return all(one == other and one.symbol != UNKNOWN for i, (one, other) in enumerate(pairs) if i != axis)

    others = [x, *(value for value in g.visible() if fits(value) and value != x)]
    parts = [x] + [g.choice(others[:6]) for _ in range(g.integer(0, 2))]
    static = all(part.shape[axis].static for part in parts)
    size = sum(part.shape[axis].size for part in parts)
    shape = list(x.shape)
    if len(parts) > 1:
        shape[axis] = Axis(size, None if static else UNKNOWN)
    g.add("Concat", parts, x.elem_type, tuple(shape), axis=written)


def split(g: Draft) -> None:
    """A Split of a static dim, with the sizes given or not."""
    x = g.operand(
        types_of("Split", g.opset),
        rank=(1, 5),
        dims=(4,),
        where=lambda v: any(a.static and a.size > 1 for a in v.shape),
    )
    axis = g.choice([i for i, a in enumerate(x.shape) if a.static and a.size > 1])
    written = axis - x.rank if g.opset >= 11 and g.chance(30) else axis
    size = x.shape[axis].size
    even = size % 2 == 0 and g.chance(40)
    sizes = [size // 2] * 2 if even else [size - 1, 1]
    outputs = [(x.elem_type, (*x.shape[:axis], Axis(part), *x.shape[axis + 1 :])) for part in sizes]
    said = not even or g.chance(50)
    operands: list[Value | None] = [x]
    if said and g.opset >= 13:
        operands.append(g.integers(sizes))
    g.add_several(
        "Split",
        operands,
        outputs,
        axis=written,
        split=sizes if said and g.opset < 13 else None,
        num_outputs=2 if not said and g.opset >= 18 else None,
    )


def transpose(g: Draft, data: Value | None = None, perm: list[int] | None = None) -> Value:
    """A Transpose, with a perm or without."""
    x = data or g.operand(types_of("Transpose", g.opset), rank=(0, 5), empty=True)
    if perm is None:
        perm = list(range(x.rank))
        for i in range(x.rank - 1):
            j = g.integer(i, x.rank - 1)
            perm[i], perm[j] = perm[j], perm[i]
        omitted = perm == list(range(x.rank))[::-1] and g.chance(50)
    else:
        omitted = False
    return g.add(
        "Transpose", [x], x.elem_type, tuple(x.shape[i] for i in perm), perm=None if omitted or not perm else perm
    )


def reshape(g: Draft) -> None:
    """A Reshape that keeps some leading dims (as 0, or by number), and factors the rest; one dim may be -1."""
    x = g.operand(types_of("Reshape", g.opset))
    kept = g.integer(0, x.rank)
    head = x.shape[:kept]
    target = [axis.size if axis.static and g.chance(50) else 0 for axis in head]
    rest = x.shape[kept:]
    size = int(np.prod([axis.size for axis in rest]))
    tail: Shape
    if all(axis.static for axis in rest):
        factors = _factors(g, size)
        tail = fixed(*factors)
        if factors and g.chance(40):
            factors[g.integer(0, len(factors) - 1)] = -1
        target += factors
    else:
        tail = (Axis(size, UNKNOWN),)
        target.append(-1)
    g.add("Reshape", [x, g.integers(target)], x.elem_type, (*head, *tail))


def _factors(g: Draft, size: int) -> list[int]:
    factors: list[int] = []
    while size > 1 and len(factors) < 3:
        factor = g.choice([n for n in range(size, 0, -1) if size % n == 0])
        factors.append(factor)
        size //= factor
    return factors + ([size] if size > 1 else [])


def flatten(g: Draft) -> None:
    """A Flatten."""
    x = g.operand(types_of("Flatten", g.opset), rank=(1, 5))
    axis = g.integer(0, x.rank)
    sides = [x.shape[:axis], x.shape[axis:]]
    shape = tuple(
        Axis(int(np.prod([a.size for a in side])), None if all(a.static for a in side) else UNKNOWN) for side in sides
    )
    g.add(
        "Flatten",
        [x],
        x.elem_type,
        shape,
        axis=axis - x.rank if g.opset >= 11 and axis < x.rank and g.chance(30) else axis,
    )


def squeeze(g: Draft) -> None:
    """A Squeeze of some dims of size 1, or of an Unsqueeze before it."""
    x = g.operand(types_of("Squeeze", g.opset), where=lambda value: Axis(1) in value.shape, dims=(1,))
    ones = [i for i, axis in enumerate(x.shape) if axis == Axis(1)]
    axes = [i for i in ones if g.chance(60)] or ones[:1]
    shape = tuple(axis for i, axis in enumerate(x.shape) if i not in axes)
    written = [i - x.rank if g.opset >= 11 and g.chance(30) else i for i in axes]
    if axes == ones and all(axis.static for axis in x.shape) and g.chance(30):
        g.add("Squeeze", [x], x.elem_type, shape)
    elif g.opset < 13:
        g.add("Squeeze", [x], x.elem_type, shape, axes=written)
    else:
        g.add("Squeeze", [x, g.integers(written)], x.elem_type, shape)


def unsqueeze(g: Draft) -> None:
    """An Unsqueeze by one or two dims."""
    x = g.operand(types_of("Unsqueeze", g.opset), rank=(0, 4), empty=True)
    count = g.integer(1, 2) if x.rank < 4 else 1
    axes = some_axes(g, x.rank + count, count)[:count]
    shape = list(x.shape)
    for axis in axes:
        shape.insert(axis, Axis(1))
    written = [i - len(shape) if g.opset >= 11 and g.chance(30) else i for i in axes]
    if g.opset < 13:
        g.add("Unsqueeze", [x], x.elem_type, tuple(shape), axes=written)
    else:
        g.add("Unsqueeze", [x, g.integers(written)], x.elem_type, tuple(shape))


def expand(g: Draft) -> None:
    """An Expand of dims of size 1, and by new ones."""
    x = g.operand(types_of("Expand", g.opset), rank=(0, 4))
    shape = [Axis(g.integer(1, 3)) if axis == Axis(1) else axis for axis in x.shape]
    target = [axis.size if old == Axis(1) else 1 for old, axis in zip(x.shape, shape, strict=True)]
    if g.chance(30):
        front = g.integer(1, 2)
        shape, target = [Axis(front), *shape], [front, *target]
    g.add("Expand", [x, g.integers(target)], x.elem_type, tuple(shape))


def tile(g: Draft) -> None:
    """A Tile, often by ones."""
    x = g.operand(types_of("Tile", g.opset), rank=(1, 4))
    repeats = [g.choice([1, 1, 2]) for _ in x.shape]
    shape = tuple(
        axis if times == 1 else changed(axis, axis.size * times) for axis, times in zip(x.shape, repeats, strict=True)
    )
    g.add("Tile", [x, g.integers(repeats)], x.elem_type, shape)


def gather(g: Draft) -> None:
    """A Gather by constant indices."""
    x = g.operand(types_of("Gather", g.opset), rank=(1, 5))
    written, axis = axis_of(g, x.rank)
    size = x.shape[axis].size if x.shape[axis].static else 1
    sizes = [g.integer(1, 3) for _ in range(g.integer(0, 2))]
    low = -size if g.opset >= 11 else 0
    indices = np.array([g.integer(low, size - 1) for _ in range(int(np.prod(sizes)))]).reshape(sizes)
    shape = (*x.shape[:axis], *fixed(*sizes), *x.shape[axis + 1 :])
    chosen = g.constant(indices, g.choice([TensorProto.INT64, TensorProto.INT32]))
    g.add("Gather", [x, chosen], x.elem_type, shape, axis=written)


def gather_elements(g: Draft) -> None:
    """A GatherElements by constant indices."""
    x = g.operand(types_of("GatherElements", g.opset), rank=(1, 3))
    written, axis = axis_of(g, x.rank)
    sizes = [1 if i == axis or not a.static else a.size for i, a in enumerate(x.shape)]
    indices = g.constant(np.full(sizes, -1 if g.chance(50) else 0), TensorProto.INT64)
    g.add("GatherElements", [x, indices], x.elem_type, fixed(*sizes), axis=written)


def gather_nd(g: Draft) -> None:
    """A GatherND of whole rows by constant indices."""
    x = g.operand(types_of("GatherND", g.opset), rank=(1, 4))
    count = g.integer(1, 3)
    chosen = g.constant(np.zeros([count, 1]), TensorProto.INT64)
    g.add("GatherND", [x, chosen], x.elem_type, (Axis(count), *x.shape[1:]))


def depth_to_space(g: Draft) -> None:
    """A DepthToSpace, or a SpaceToDepth."""
    back = g.chance(40)
    op_type = "SpaceToDepth" if back else "DepthToSpace"

    def fits(v: Value) -> bool:
        depth, *space = v.shape[1:] if v.rank == 4 else ()
        wanted = space if back else [depth]
        return all(a.static and a.size and a.size % (2 if back else 4) == 0 for a in wanted)

    dims = (1, 1, 2, 4) if back else (1, 4, 2, 2)
    x = g.operand(types_of(op_type, g.opset), rank=(4, 4), where=lambda v: v.rank == 4 and fits(v), dims=dims)
    batch, depth, rows, columns = x.shape
    if back:
        shape = (
            batch,
            changed(depth, depth.size * 4),
            changed(rows, rows.size // 2),
            changed(columns, columns.size // 2),
        )
        g.add(op_type, [x], x.elem_type, shape, blocksize=2)
        return
    shape = (batch, changed(depth, depth.size // 4), changed(rows, rows.size * 2), changed(columns, columns.size * 2))
    mode = g.choice([None, "DCR", "CRD"]) if g.opset >= 11 else None
    g.add(op_type, [x], x.elem_type, shape, blocksize=2, mode=mode)


def trilu(g: Draft) -> None:
    """A Trilu."""
    x = g.operand(types_of("Trilu", g.opset), rank=(2, 4))
    g.add("Trilu", [x], x.elem_type, x.shape, upper=g.integer(0, 1))


def filled(g: Draft) -> None:
    """A ConstantOfShape, of a constant shape or that of a value; or a Range up to a size."""
    x = g.operand(types_of("Shape", g.opset), rank=(1, 4))
    sizes = g.add("Shape", [x], TensorProto.INT64, fixed(x.rank))
    if g.opset >= 11 and g.chance(40):
        zero, one = (g.constant(np.array(n), TensorProto.INT64) for n in (0, 1))
        index = g.constant(np.array(0), TensorProto.INT64)
        count = g.add("Gather", [sizes, index], TensorProto.INT64, ())
        g.add("Range", [zero, count, one], TensorProto.INT64, (x.shape[0]._replace(symbol=UNKNOWN),))
    else:
        g.add("ConstantOfShape", [sizes], TensorProto.FLOAT, x.shape)


def like_another(g: Draft) -> None:
    """A Reshape to a shape that is computed: the batch of the value itself, and -1."""
    x = g.operand(types_of("Reshape", g.opset), rank=(1, 4))
    sizes = g.add("Shape", [x], TensorProto.INT64, fixed(x.rank))
    first = slice_first(g, sizes)
    target = g.add("Concat", [first, g.integers([-1])], TensorProto.INT64, fixed(2), axis=0)
    rest = x.shape[1:]
    size = Axis(int(np.prod([a.size for a in rest])), UNKNOWN)
    g.add("Reshape", [x, target], x.elem_type, (x.shape[0]._replace(symbol=UNKNOWN), size))


def slice_first(g: Draft, sizes: Value) -> Value:
    """Returns the first number of a shape, as a tensor of rank 1."""
    if g.opset < 10:
        return g.add("Slice", [sizes], TensorProto.INT64, fixed(1), starts=[0], ends=[1], axes=[0])
    bounds = [g.integers([n]) for n in (0, 1, 0)]
    return g.add("Slice", [sizes, *bounds], TensorProto.INT64, fixed(1))


MOVEMENT: Final = (
    Maker("Slice", slice_, weight=6),
    Maker("Pad", pad, weight=6, since=2),
    Maker("Transpose", transpose, weight=3),
    Maker("Concat", concat, weight=4),
    Maker("Split", split, weight=2),
    Maker("Reshape", reshape, weight=4, since=5),
    Maker("Flatten", flatten),
    Maker("Squeeze", squeeze, weight=2),
    Maker("Unsqueeze", unsqueeze, weight=2),
    Maker("Expand", expand, since=8),
    Maker("Tile", tile, since=6),
    Maker("Gather", gather, weight=3),
    Maker("GatherElements", gather_elements),
    Maker("GatherND", gather_nd),
    Maker("DepthToSpace", depth_to_space),
    Maker("Trilu", trilu),
    Maker("ConstantOfShape", filled),
    Maker("Reshape", like_another, since=5),
)

"""The shapes that onnx does not find once a symbol is in them, or claims where runtimes differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from onnxfuse.analysis import (
    MAX_RANK,
    Dim,
    Dims,
    NodeView,
    Symbol,
    broadcast,
    is_nonnegative,
    product,
    quotient,
)
from onnxfuse.analysis.slices import FAR, positions, slice_parameters

__all__ = ["DIM_RULES"]


def _reshape_dims(view: NodeView) -> Dims | None:
    dims = view.dims(0)
    target = view.node.attributes.get_ints("shape") if view.version < 5 else view.elements(1)
    if target is None:
        length = (view.dims(1) or (None,))[0]
        return [None] * length if isinstance(length, int) and length <= MAX_RANK else None
    copies = not view.node.attributes.get_int("allowzero", 0)
    result: list[Dim | None] = []
    for axis, entry in enumerate(target):
        if isinstance(entry, Symbol):
            result.append(entry if is_nonnegative(entry) and (not copies or _zero_holds(dims, target, axis)) else None)
        elif entry == 0 and copies:
            result.append(dims[axis] if dims is not None and axis < len(dims) else None)
        else:
            result.append(entry if entry >= 0 else None)
    if -1 in target and dims is not None:
        axis = target.index(-1)
        others = [dim for index, dim in enumerate(result) if index != axis]
        rest = [dim for dim in others if dim is not None]
        result[axis] = quotient(product(dims), product(rest)) if len(rest) == len(others) else None
    return result


def _zero_holds(dims: Sequence[Dim] | None, target: Sequence[Any], axis: int) -> bool:
    """Whether a symbol in a Reshape target is the result's dim even if it is 0 at run time.

    A 0 there means: copy the input's dim. That is the same where the input's dim is 0 as well, and it is an error where
    the input has no such axis, or where it leaves an empty input with a result that is not empty.
    """
    if dims is None:
        return False
    if axis >= len(dims) or quotient(dims[axis], _radical(target[axis])) is not None:
        return True
    alone = all(isinstance(entry, int) and entry > 0 for index, entry in enumerate(target) if index != axis)
    return alone and quotient(product(dims), _radical(target[axis])) is not None


def _radical(symbol: Symbol) -> Dim:
    """The product of the symbols in a product, each once: it is 0 where the product is."""
    return product(part for part, _ in symbol.powers) if symbol.powers else symbol


def _expand_dims(view: NodeView) -> Dims | None:
    target = view.elements(1)
    if target is None:
        return None
    result = broadcast([view.dims(0), target])
    return None if result is None else [dim if dim is not None and is_nonnegative(dim) else None for dim in result]


def _filled_dims(view: NodeView) -> Dims | None:
    elements = view.elements(0)
    return None if elements is None else [dim if isinstance(dim, Symbol) or dim >= 0 else None for dim in elements]


def _tile_dims(view: NodeView) -> Dims | None:
    dims, repeats = view.dims(0), view.elements(1) if view.version >= 6 else None
    if dims is None or repeats is None or len(repeats) != len(dims):
        return None if dims is None else [None] * len(dims)
    return [
        product((dim, repeat)) if repeat == 1 or is_nonnegative(repeat) else None
        for dim, repeat in zip(dims, repeats, strict=True)
    ]


def _slice_dims(view: NodeView) -> Dims | None:
    dims, parameters = view.dims(0), slice_parameters(view)
    if dims is None or parameters is None:
        return None if dims is None else [None] * len(dims)
    result: list[Dim | None] = list(dims)
    for axis, start, end, step in parameters:
        result[axis] = _slice_dim(dims[axis], start, end, step)
    return result


def _slice_dim(dim: Dim, start: Any, end: Any, step: Any) -> Dim | None:
    if not isinstance(step, int):
        return None
    if isinstance(dim, int) and isinstance(start, int) and isinstance(end, int):
        taken = positions(dim, start, end, step)
        return None if taken is None else len(taken)
    to_end = end == dim or (isinstance(end, int) and end >= FAR)
    whole = step == 1 and isinstance(start, int) and (start == 0 or start <= -FAR) and to_end
    from_end = isinstance(start, int) and (start == -1 or start >= FAR)
    flipped = step == -1 and from_end and isinstance(end, int) and end <= -FAR
    return dim if whole or flipped else None


def _pad_dims(view: NodeView) -> Dims | None:
    dims, attributes = view.dims(0), view.node.attributes
    if dims is None:
        return None
    pads = attributes.get_ints("paddings", attributes.get_ints("pads")) if view.version < 11 else view.elements(1)
    axes = view.elements(3) if view.info(3) is not None else list(range(len(dims)))
    result: list[Dim | None] = [None] * len(dims)
    if pads is None or axes is None or len(pads) != 2 * len(axes):
        return result
    if not all(isinstance(axis, int) and -len(dims) <= axis < len(dims) for axis in axes):
        return result
    result = list(dims)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        dim = dims[axis]
        if isinstance(dim, int) and isinstance(before, int) and isinstance(after, int):
            result[axis] = max(dim + before + after, 0)
        else:
            result[axis] = dim if before == 0 and after == 0 else None
    return result


def _resize_dims(view: NodeView) -> Dims | None:
    dims, attributes = view.dims(0), view.node.attributes
    if dims is None:
        return None
    scales = view.elements(1 if view.version < 11 else 2)
    if view.node.op_type == "Upsample" and view.version < 9:
        scales = list(attributes.get_floats("scales") or [])
    axes = attributes.get_ints("axes") or range(len(dims))
    if not all(-len(dims) <= axis < len(dims) for axis in axes):
        return None
    result: list[Dim | None] = list(dims)
    for axis in axes:
        result[axis] = None
    if view.info(3) is not None and view.dims(3) != (0,):
        sizes = view.elements(3)
        keeps_ratio = attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
        if sizes is not None and len(sizes) == len(axes) and not keeps_ratio:
            for axis, size in zip(axes, sizes, strict=True):
                result[axis] = size
    elif scales and len(scales) == len(axes):
        crops = attributes.get_string("coordinate_transformation_mode") == "tf_crop_and_resize"
        for axis, scale in zip(axes, scales, strict=True):
            result[axis] = None if crops else _scaled(dims[axis], scale)
    return result


def _scaled(dim: Dim, scale: float) -> Dim | None:
    if scale == 1.0:
        return dim
    if not isinstance(dim, int):
        return None
    with np.errstate(all="ignore"):
        return int(np.float32(dim) * np.float32(scale))  # in float32, as runtimes do it


def _range_dims(view: NodeView) -> Dims | None:
    parts = [view.elements(index) for index in range(3)]
    start, limit, delta = (part[0] if part and len(part) == 1 else None for part in parts)
    if isinstance(start, int) and isinstance(limit, int) and isinstance(delta, int) and delta != 0:
        return [len(range(start, limit, delta))]
    return [limit if start == 0 and delta == 1 and isinstance(limit, Symbol) and limit.nonnegative else None]


def _flatten_dims(view: NodeView) -> Dims | None:
    dims, axis = view.dims(0), view.node.attributes.get_int("axis", 1)
    return None if dims is None else [product(dims[:axis]), product(dims[axis:])]


def _einsum_dims(view: NodeView) -> Dims | None:
    equation = view.node.attributes.get_string("equation", "").replace(" ", "")
    terms, arrow, output = equation.partition("->")
    shapes: dict[str, list[tuple[Dim]]] = {label: [] for label in output}
    for index, term in enumerate(terms.split(",")):
        dims = view.dims(index)
        if dims is None or len(dims) != len(term):  # an ellipsis, or a rank that is not known
            return [None] * len(output) if arrow and "." not in output else None
        for label, dim in zip(term, dims, strict=True):
            shapes.setdefault(label, []).append((dim,))
    if not arrow or "." in equation:
        return None
    return [(broadcast(shapes[label]) or [None])[0] for label in output]


DIM_RULES: Final[Mapping[str, Callable[[NodeView], Dims | None]]] = {
    "ConstantOfShape": _filled_dims,
    "Einsum": _einsum_dims,
    "Expand": _expand_dims,
    "Flatten": _flatten_dims,
    "Pad": _pad_dims,
    "Range": _range_dims,
    "Reshape": _reshape_dims,
    "Resize": _resize_dims,
    "Slice": _slice_dims,
    "Tile": _tile_dims,
    "Upsample": _resize_dims,
}
"""The shape of the output, by operator."""

"""The contents of the small tensors with which graphs calculate shapes, and the shapes that depend on them.

Contents are numpy object arrays: an element is a number where it is known and a `Symbol` where it is not, so that the
operators that move elements (Slice, Concat, Transpose, ...) are numpy's own. `onnxfuse.analysis.shapes` asks for both,
node by node.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxfuse.analysis import (
    INTEGERS,
    MAX_RANK,
    MAX_UNKNOWN,
    NONNEGATIVE,
    Contents,
    Dim,
    Dims,
    Info,
    NodeView,
    Symbol,
    broadcast,
    is_nonnegative,
    object_array,
    product,
    quotient,
)
from onnxfuse.analysis.constants import small_array

__all__ = ["DIM_RULES", "constant_contents", "node_contents", "slice_parameters"]

MAX_ELEMENTS: Final = 256
"""Larger tensors have no contents here: nothing that calculates a shape is larger."""
FAR: Final = 2**31 - 1
"""A start or an end at or beyond this means the border of the tensor: no dim exceeds it."""

_NUMBERS: Final = INTEGERS | {ir.DataType.BOOL, ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE}


def constant_contents(tensor: ir.TensorProtocol) -> Contents | None:
    """The contents of a small constant tensor of numbers; None for others, and where the data is not there.

    Args:
        tensor: Any tensor. Its data is not touched unless it is small.
    """
    limit = MAX_ELEMENTS if tensor.dtype in INTEGERS else MAX_UNKNOWN
    if tensor.dtype not in _NUMBERS or tensor.size > limit:
        return None
    array = small_array(tensor)
    return None if array is None else array.astype(object)


def slice_parameters(view: NodeView) -> list[tuple[int, Any, Any, Any]] | None:
    """The axes that a Slice node cuts, as (axis, start, end, step).

    Returns:
        The entries, axes counted from the front, the rest numbers or symbols; None where the axes are not known.
    """
    dims, attributes = view.dims(0), view.node.attributes
    if dims is None:
        return None
    columns: list[Any]
    if view.version < 10:
        columns = [attributes.get_ints(name) for name in ("starts", "ends", "axes")] + [None]
        given = [column is not None for column in columns]
    else:
        columns = [view.elements(index) for index in (1, 2, 3, 4)]
        given = [view.info(index) is not None for index in (1, 2, 3, 4)]
    if columns[0] is not None:
        columns[2] = columns[2] if given[2] else range(len(columns[0]))
        columns[3] = columns[3] if given[3] else [1] * len(columns[0])
    if any(column is None for column in columns) or len({len(column) for column in columns}) != 1:
        return None
    if not all(isinstance(axis, int) and -len(dims) <= axis < len(dims) for axis in columns[2]):
        return None
    return [(axis % len(dims), start, end, step) for start, end, axis, step in zip(*columns, strict=True)]


def _positions(dim: int, start: int, end: int, step: int) -> range | None:
    """What Slice takes of an axis; None where onnxruntime differs from the standard.

    Not quite Python's slice: counting down, a start before the front means the front.
    """
    if step == 0 or (step < 0 and end >= FAR):
        return None  # onnxruntime takes INT_MAX for the far end in either direction
    start, end = (bound + dim if bound < 0 else bound for bound in (start, end))
    if step > 0:
        return range(min(max(start, 0), dim), min(max(end, 0), dim), step)
    return range(min(max(start, 0), dim - 1), min(max(end, -1), dim - 1), step)


def node_contents(view: NodeView, out: Info) -> Contents | None:
    """The contents of a node's first output, of which type and shape are known already.

    Args:
        view: A node of the default domain.
        out: What is known of its first output.

    Returns:
        None for nothing, else contents that still have to go through `with_symbols`.
    """
    rule = _RULES.get(view.node.op_type)
    if rule is None or out.dims is None:
        return None
    shape = tuple(dim for dim in out.dims if isinstance(dim, int))
    if len(shape) != len(out.dims) or math.prod(shape) > MAX_ELEMENTS:
        return None
    contents = rule(view, out, shape)
    return contents if contents is not None and contents.shape == shape else None


Rule = Callable[[NodeView, Info, tuple[int, ...]], Contents | None]


def _reshaped(view: NodeView, _: Info, shape: tuple[int, ...]) -> Contents | None:
    contents = view.contents(0)
    return None if contents is None or contents.size != math.prod(shape) else contents.reshape(shape)


def _shape(view: NodeView, _: Info, __: tuple[int, ...]) -> Contents | None:
    dims = view.dims(0)
    if dims is None:
        return None
    attributes = view.node.attributes
    part = dims[attributes.get_int("start", 0) : attributes.get_int("end", len(dims))]  # Python clamps as Shape does
    return object_array(part, (len(part),))


def _size(view: NodeView, _: Info, shape: tuple[int, ...]) -> Contents | None:
    dims = view.dims(0)
    return None if dims is None else object_array([product(dims)], shape)


def _transposed(view: NodeView, _: Info, __: tuple[int, ...]) -> Contents | None:
    contents = view.contents(0)
    return None if contents is None else contents.transpose(view.node.attributes.get_ints("perm"))


def _sliced(view: NodeView, _: Info, __: tuple[int, ...]) -> Contents | None:
    contents, parameters = view.contents(0), slice_parameters(view)
    if contents is None or parameters is None:
        return None
    for axis, *bounds in parameters:
        if not all(isinstance(bound, int) for bound in bounds):
            return None
        positions = _positions(contents.shape[axis], *bounds)
        if positions is None:
            return None
        contents = contents.take(np.array(positions, dtype=np.intp), axis=axis)
    return contents


def _gathered(view: NodeView, _: Info, shape: tuple[int, ...]) -> Contents | None:
    contents, indices = view.contents(0), view.elements(1)
    if contents is None or indices is None:
        return None
    axis = view.node.attributes.get_int("axis", 0)
    length = contents.shape[axis]
    if not all(isinstance(index, int) and -length <= index < length for index in indices):
        return None
    return contents.take(np.array(indices, dtype=np.intp), axis=axis).reshape(shape)


def _concatenated(view: NodeView, _: Info, __: tuple[int, ...]) -> Contents | None:
    parts = [info.contents for info in view.inputs if info is not None and info.contents is not None]
    axis = view.node.attributes.get_int("axis")
    return None if axis is None or len(parts) != len(view.inputs) else np.concatenate(parts, axis=axis)


def _expanded(view: NodeView, _: Info, shape: tuple[int, ...]) -> Contents | None:
    contents = view.contents(0)
    return None if contents is None else np.broadcast_to(contents, shape)


def _filled(view: NodeView, _: Info, shape: tuple[int, ...]) -> Contents | None:
    tensor = view.node.attributes.get_tensor("value")
    fill = np.array(0.0, dtype=object) if tensor is None else constant_contents(tensor)
    return None if fill is None or fill.size != 1 else object_array([fill.item()] * math.prod(shape), shape)


def _ranged(view: NodeView, out: Info, shape: tuple[int, ...]) -> Contents | None:
    start, delta = view.elements(0), view.elements(2)
    if out.dtype not in INTEGERS or not start or not delta:
        return None
    if not isinstance(start[0], int) or not isinstance(delta[0], int):
        return None
    return object_array([start[0] + index * delta[0] for index in range(math.prod(shape))], shape)


def _cast(view: NodeView, out: Info, shape: tuple[int, ...]) -> Contents | None:
    source = view.info(0)
    if source is None or source.contents is None or out.dtype not in _NUMBERS:
        return None
    items: list[Any] = source.contents.reshape(-1).tolist()
    if not any(isinstance(item, Symbol) for item in items):
        return _computed(np.asarray, [source], out)
    if out.dtype not in (ir.DataType.INT64, ir.DataType.INT32) or source.dtype not in INTEGERS:
        return None
    if out.dtype == ir.DataType.INT64:
        return source.contents
    # A dim fits into int32; what is calculated from dims, and what is in an arbitrary tensor, may not.
    return object_array([item if _is_small(item) else None for item in items], shape)


def _is_small(item: Dim) -> bool:
    return item.kind in ("declared", "dim") if isinstance(item, Symbol) else -(2**31) <= item < 2**31


def _elementwise(view: NodeView, out: Info, shape: tuple[int, ...]) -> Contents | None:
    op_type = view.node.op_type
    inputs = [info for info in view.inputs if info is not None and info.contents is not None]
    arrays = [info.contents for info in inputs if info.contents is not None]
    if len(arrays) != len(view.inputs) or (op_type in ("Div", "Mod") and 0 in arrays[1]):
        return None
    if not any(isinstance(item, Symbol) for array in arrays for item in array.flat):
        function = np.fmod if view.node.attributes.get_int("fmod", 0) else _FUNCTIONS[op_type]
        return _computed(function, inputs, out)
    if op_type not in _SYMBOLIC or out.dtype not in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL):
        return None
    rows = zip(*(np.broadcast_to(array, shape).flat for array in arrays), strict=True)
    return object_array([_element(op_type, row, wide=out.dtype != ir.DataType.INT32) for row in rows], shape)


def _computed(function: Callable[..., Any], inputs: Sequence[Info], out: Info) -> Contents | None:
    """The operator on known numbers, as numpy does it in the operator's own types."""
    arrays = [
        info.contents.astype(info.dtype.numpy())
        for info in inputs
        if info.contents is not None and info.dtype is not None
    ]
    if out.dtype is None or len(arrays) != len(inputs):
        return None
    with np.errstate(all="ignore"):
        result = np.asarray(function(*arrays))
        if result.dtype.kind == "f" and out.dtype in INTEGERS:
            limits = np.iinfo(out.dtype.numpy())
            if not ((result > max(limits.min, -(2**31)) - 1) & (result < min(limits.max, 2**31 - 1) + 1)).all():
                return None  # what comes out is up to the machine
        return result.astype(out.dtype.numpy()).astype(object)


def _divide(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))  # towards 0, as C does


def _element(op_type: str, row: tuple[Any, ...], *, wide: bool) -> object:
    """One element of a symbolic operator: a number, a Symbol, NONNEGATIVE, or None for nothing."""
    if op_type == "Where":
        condition, x, y = row
        if isinstance(condition, bool):
            return x if condition else y
        return x if x == y else None
    if len(row) != 2:
        return None
    a, b = row
    if op_type == "Equal":
        return _equal(a, b)
    result = _binary(op_type, a, b)
    if isinstance(result, int) and not _is_small(result):
        return None
    if not wide and isinstance(result, Symbol) and result not in row:
        return None  # what is calculated may not fit into int32; what is only passed on does
    if result is None and wide and op_type != "Sub" and is_nonnegative(a) and is_nonnegative(b):
        return NONNEGATIVE
    return result


def _equal(a: Dim, b: Dim) -> bool | None:
    if a == b or (isinstance(a, int) and isinstance(b, int)):
        return a == b
    # A size is never equal to a negative number: exporters ask that to find the -1 of an expand().
    number, symbol = (a, b) if isinstance(a, int) else (b, a)
    return False if isinstance(number, int) and number < 0 and is_nonnegative(symbol) else None


def _binary(op_type: str, a: Dim, b: Dim) -> Dim | None:
    if isinstance(a, int) and isinstance(b, int):
        return int(_FUNCTIONS[op_type](np.array(a), np.array(b)))
    signed = not (is_nonnegative(a) and is_nonnegative(b))
    match op_type:
        case "Add" if 0 in (a, b):
            return b if a == 0 else a
        case "Sub" if b == 0 or a == b:
            return a if b == 0 else 0
        case "Mul" if 1 in (a, b):
            return b if a == 1 else a
        case "Mul" if not signed:
            return product((a, b))
        case "Div" if b == 1:
            return a
        case "Div" if not signed:
            return quotient(a, b)
        case "Min" | "Max" if a == b:
            return a
        case _:
            return None


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Div": _divide,
    "Equal": np.equal,
    "Floor": np.floor,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": lambda *arrays: functools.reduce(np.maximum, arrays),
    "Min": lambda *arrays: functools.reduce(np.minimum, arrays),
    "Mod": np.mod,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Where": np.where,
}
_SYMBOLIC: Final = frozenset({"Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Where"})

_RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_FUNCTIONS, _elementwise),
    **dict.fromkeys(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    "Cast": _cast,
    "Concat": _concatenated,
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Gather": _gathered,
    "Range": _ranged,
    "Shape": _shape,
    "Size": _size,
    "Slice": _sliced,
    "Transpose": _transposed,
}


# The shapes that onnx does not find once a symbol is in them, or claims where runtimes differ.


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
        positions = _positions(dim, start, end, step)
        return None if positions is None else len(positions)
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

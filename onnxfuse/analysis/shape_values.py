"""The contents of the small tensors with which graphs calculate shapes.

Contents are numpy object arrays: an element is a number where it is known and a `Symbol` where it is not, so that the
operators that move elements (Slice, Concat, Transpose, ...) are numpy's own. `onnxfuse.analysis.shapes` asks for them,
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
    MAX_UNKNOWN,
    NONNEGATIVE,
    Contents,
    Dim,
    Info,
    NodeView,
    Symbol,
    is_nonnegative,
    object_array,
    product,
    quotient,
)
from onnxfuse.analysis.constants import small_array
from onnxfuse.analysis.slices import positions, slice_parameters

__all__ = ["constant_contents", "node_contents"]

MAX_ELEMENTS: Final = 256
"""Larger tensors have no contents here: nothing that calculates a shape is larger."""

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
        taken = positions(contents.shape[axis], *bounds)
        if taken is None:
            return None
        contents = contents.take(np.array(taken, dtype=np.intp), axis=axis)
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

"""What a tensor is used for: who reads it behind what only moves, casts or dequantizes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx

from onnxfuse.weights.survey import Reader, Scope, Survey

__all__ = ["Use", "attribute_of", "op_of", "uses_of"]

# The operators whose first input goes through; of Concat and its like every input does.
MOVES: Final = frozenset(
    [
        *(
            "Identity",
            "Cast",
            "CastLike",
            "QuantizeLinear",
            "Dropout",
            "Gather",
            "Slice",
            "Split",
            "Pad",
            "Expand",
            "Tile",
        ),
        *("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"),
    ]
)
MOVES_ALL: Final = frozenset(["Concat"])
# What undoes a quantization, written out: an integer weight, once it is a float, is shifted and scaled.
ARITHMETIC: Final = frozenset(["Mul", "Div", "Add", "Sub"])

INTEGERS: Final = frozenset({2, 3, 4, 5, 6, 7, 9, 12, 13, 21, 22, 25, 26})
NARROW_INTEGERS: Final = frozenset({2, 3, 21, 22, 25, 26})

# A chain of more moves than this is followed no further; what is at its end is not known.
LONGEST: Final = 64


@dataclass(frozen=True, eq=False)
class Use:
    """Who reads a tensor in the end.

    Attributes:
        node: The operator; None where the tensor is an output, or where it is not followed to its end.
        index: As which input.
        scope: Where the operator stands.
        data_type: The element type that it sees, as far as casts tell.
        dims: The shape that it sees; None where that is not known.
    """

    node: onnx.NodeProto | None
    index: int
    scope: Scope
    data_type: int
    dims: tuple[int, ...] | None

    @property
    def slot(self) -> str:
        """The operator and its input: `Conv.1`, `com.microsoft::QGemm.3`; empty for an output."""
        return "" if self.node is None else f"{op_of(self.node)}.{self.index}"


def op_of(node: onnx.NodeProto) -> str:
    """Returns an operator's name, with its domain where that is not onnx's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def attribute_of(node: onnx.NodeProto, name: str, default: int) -> int:
    """Returns an integer attribute."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def uses_of(name: str, scope: Scope, survey: Survey, *, data_type: int, dims: Sequence[int] | None) -> Iterator[Use]:
    """Yields the uses of the value `name`, in the order of the nodes."""
    start = Use(None, 0, scope.home(name), data_type, None if dims is None else tuple(dims))
    was_integer = data_type in INTEGERS
    seen = {(start.scope, name)}
    stack = [(name, start, 0)]
    while stack:
        value, state, length = stack.pop()
        further = []
        for reader in state.scope.readers.get(value, ()):
            use = replace(state, node=reader.node, index=reader.index, scope=reader.scope)
            passed = _passed(use, reader, survey, was_integer=was_integer)
            if not passed:
                yield use
            elif length == LONGEST:
                yield replace(use, node=None)
            for name_after, after in passed:
                if length < LONGEST and (after.scope, name_after) not in seen:
                    seen.add((after.scope, name_after))
                    further.append((name_after, after, length + 1))
        stack += reversed(further)


def _passed(use: Use, reader: Reader, survey: Survey, *, was_integer: bool) -> list[tuple[str, Use]]:
    """Returns the values that a node hands a tensor on as; none where its use ends there."""
    node = reader.node
    if node is None:
        return []
    function = survey.called(node)
    if function is not None:
        inputs = function.inputs[use.index : use.index + 1]
        return [(name, replace(use, node=None, scope=function)) for name in inputs]
    if not _hands_on(node, use, was_integer=was_integer):
        return []
    after = replace(use, node=None, data_type=_type_after(node, use), dims=_dims_after(node, use))
    outputs = node.output if node.op_type == "Split" else node.output[:1]
    return [(name, replace(after, scope=use.scope.home(name))) for name in outputs if name]


def _hands_on(node: onnx.NodeProto, use: Use, *, was_integer: bool) -> bool:
    op = op_of(node)
    if op == "DequantizeLinear":
        return use.index == 0 and not was_integer  # of integers, this is the use
    if op == "Gather" and not was_integer:
        return False  # a table of embeddings
    if op in ARITHMETIC:
        return was_integer and use.data_type not in INTEGERS
    if op == "Cast" and use.data_type in INTEGERS - NARROW_INTEGERS:
        return False  # positions and counts become floats too; weights are narrow
    if op == "Cast" and not was_integer and attribute_of(node, "to", 0) in INTEGERS:
        return False
    return op in MOVES_ALL or (op in MOVES and use.index == 0)


def _type_after(node: onnx.NodeProto, use: Use) -> int:
    if node.op_type == "Cast":
        return attribute_of(node, "to", use.data_type)
    return use.data_type


def _dims_after(node: onnx.NodeProto, use: Use) -> tuple[int, ...] | None:
    """Returns the shape that is handed on. What cuts or joins counts as leaving it: the fan-in is the same or near."""
    dims = use.dims
    if dims is None:
        return None
    if node.op_type == "Transpose":
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), list(range(len(dims)))[::-1])
        return tuple(dims[axis] for axis in order) if sorted(order) == list(range(len(dims))) else None
    if node.op_type == "Reshape":
        return _reshaped(dims, use.scope.constant(node.input[1]) if len(node.input) > 1 else None)
    if node.op_type in ("Squeeze", "Unsqueeze", "Flatten", "Gather"):
        return None
    return dims


def _reshaped(dims: tuple[int, ...], shape: onnx.TensorProto | None) -> tuple[int, ...] | None:
    if shape is None or shape.data_type != onnx.TensorProto.INT64 or shape.data_location == shape.EXTERNAL:
        return None
    if not (len(shape.raw_data) or len(shape.int64_data)):
        return None
    wanted = [int(size) for size in np.ravel(onnx.numpy_helper.to_array(shape))]
    wanted = [dims[axis] if size == 0 and axis < len(dims) else size for axis, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size >= 0)
    if wanted.count(-1) == 1 and known:
        wanted = [math.prod(dims) // known if size == -1 else size for size in wanted]
    return tuple(wanted) if math.prod(wanted) == math.prod(dims) and min(wanted, default=0) >= 0 else None

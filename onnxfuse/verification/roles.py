"""What the elements of an input mean to the operators that they reach, where not every value is legal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from onnxfuse.verification.element_types import is_float, is_integer

if TYPE_CHECKING:
    import onnx

__all__ = ["Role", "is_parameter", "role_values", "roles_of"]


@dataclass(frozen=True)
class Role:
    """The use of an input.

    Attributes:
        kind: `index`, `axes`, ...
        limit: For an index, the size of the axis it selects from, where that is declared.
    """

    kind: str
    limit: int | None = None

    def fits(self, dtype: np.dtype[Any]) -> bool:
        """Whether the role is one of this element type."""
        return is_float(dtype) if self.kind in _FLOAT_ROLES else is_integer(dtype)


_ROLES: Final[dict[tuple[str, int], str]] = {
    **{
        (op, 1): "index"
        for op in ("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "SequenceAt")
    },
    **{
        (f"Reduce{op}", 1): "axes"
        for op in ("L1", "L2", "LogSum", "Max", "Mean", "Min", "Prod", "Sum", "LogSumExp", "SumSquare")
    },
    **{(op, 1): "axes" for op in ("Squeeze", "Unsqueeze", "CumSum", "CumProd")},
    **{(op, 4): "length" for op in ("LSTM", "GRU", "RNN")},
    ("Slice", 1): "start",
    ("Slice", 2): "small",
    ("Slice", 3): "axes",
    ("Slice", 4): "one",
    ("Pad", 1): "pad",
    ("Pad", 3): "axes",
    ("Reshape", 1): "reshape",
    ("Expand", 1): "one",
    ("Tile", 1): "small",
    ("ConstantOfShape", 0): "small",
    ("OneHot", 1): "small",
    ("TopK", 1): "one",
    ("Split", 1): "one",
    ("SplitToSequence", 1): "one",
    ("Loop", 0): "small",
    ("Range", 0): "pad",
    ("Range", 1): "small",
    ("Range", 2): "one",
    ("ReverseSequence", 1): "length",
    ("NonMaxSuppression", 2): "small",
    ("Div", 1): "small",
    ("Mod", 1): "small",
    ("Upsample", 1): "scale",
    ("Resize", 2): "scale",
    ("Resize", 3): "small",
    ("Dropout", 1): "ratio",
}
_FLOAT_ROLES: Final = ("scale", "ratio")
# A role goes through these from the output to the input of the same elements.
_CARRIERS: Final = frozenset(
    ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Expand", "Concat")
)


def roles_of(model: onnx.ModelProto) -> dict[str, Role]:
    """The roles of values of the main graph, by a walk from the last node to the first."""
    graph = model.graph
    shapes: dict[str, tuple[int, ...]] = {init.name: tuple(init.dims) for init in graph.initializer}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims))
    roles: dict[str, Role] = {}
    for node in reversed(graph.node):
        if node.domain not in ("", "ai.onnx"):
            continue
        for index, name in enumerate(node.input):
            kind = _ROLES.get((node.op_type, index))
            if kind is not None:
                limit = _index_limit(node, shapes.get(node.input[0], ())) if kind == "index" else None
                old = roles[name].limit if name in roles else None
                limits = [size for size in (limit, old) if size is not None]
                roles[name] = Role(kind, min(limits, default=None))
            elif node.op_type in _CARRIERS and (index == 0 or node.op_type == "Concat") and node.output[0] in roles:
                roles.setdefault(name, roles[node.output[0]])
    return roles


def _index_limit(node: onnx.NodeProto, dims: tuple[int, ...]) -> int | None:
    """The size of the axis that an index selects from, where it is declared."""
    if not dims or node.op_type == "SequenceAt":
        return None
    if node.op_type in ("GatherND", "ScatterND"):
        return min(dims) if min(dims) >= 0 else None
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    size = dims[axis] if -len(dims) <= axis < len(dims) else -1
    return size if size >= 0 else None


def role_values(role: Role, count: int, index: int, rng: np.random.Generator, signed: bool) -> np.ndarray:
    """Values that the operator accepts where that is easy to say; int64 or float64, flat."""
    if role.kind == "index":
        limit = 2 if role.limit is None else max(role.limit, 1)
        low = 0 if not signed else -1 if role.limit is None else -limit
        # Negative indices are legal, and without a known size only the last one is.
        return rng.integers(low, limit if low == 0 or role.limit is not None else 1, count)
    if role.kind == "axes":
        return -1 - np.arange(count) if signed and index % 2 else np.arange(count)
    if role.kind == "reshape":
        target = np.ones(count, np.int64)
        target[index % count : index % count + 1 if count else 0] = -1
        return target
    if role.kind == "scale":
        # Only the last two axes of an image are ever scaled by a runtime.
        return np.where(np.arange(count) >= count - 2, 2.0 if index % 2 == 0 else 1.5, 1.0)
    if role.kind == "ratio":
        return np.full(count, 0.25)
    low, high = {"pad": (0, 2), "start": (0, 2), "one": (1, 2), "length": (1, 2), "small": (1, 4)}[role.kind]
    return rng.integers(low, high, count)


def is_parameter(node: onnx.NodeProto, slot: int) -> bool:
    """Whether an input says how an operator works, and is no data of it.

    Args:
        node: A node.
        slot: The position of one of its inputs.

    Returns:
        True for the axes of a Slice, the target of a Reshape; False where the operator is not known.
    """
    return node.domain in ("", "ai.onnx") and (node.op_type, slot) in _ROLES and node.op_type not in ("Div", "Mod")

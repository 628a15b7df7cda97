"""Models with one Softmax, LogSoftmax or Hardmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

__all__ = ["OPS", "alone", "normalising", "with_swaps"]

OPS: Final = ("Softmax", "LogSoftmax", "Hardmax")


def normalising(
    shape: Sequence[int | str] | None,
    *,
    op: str = "Softmax",
    axis: int | None = -1,
    opset: int = 17,
    elem_type: int = TensorProto.FLOAT,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Returns the model `x -> Identity -> scores -> node -> shares -> Identity -> y`.

    Args:
        shape: Of x; None where not even its rank is said.
        op: The op_type of `node`.
        axis: Its attribute; None to leave it out.
        opset: The version of ONNX's domain.
        elem_type: The element type.
        ir_version: The IR version.
    """
    rank = None if shape is None else len(shape)
    given: dict[str, Any] = {} if axis is None else {"axis": axis}
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["scores"], name="first"),
            helper.make_node(op, ["scores"], ["shares"], name="node", **given),
            helper.make_node("Identity", ["shares"], ["y"], name="last"),
        ],
        "g",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, None if rank is None else [None] * rank)],
    )
    return helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])


def alone(shape: Sequence[int | str] | None, *, op: str = "Softmax", axis: int | None, opset: int) -> onnx.ModelProto:
    """Returns the model `x -> node -> y`, of one shape throughout.

    Args:
        shape: Of x and y; None where not even the rank is said.
        op: The op_type of `node`.
        axis: Its attribute; None to leave it out.
        opset: The version of ONNX's domain.
    """
    given: dict[str, Any] = {} if axis is None else {"axis": axis}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], **given)], "g", [x], [y])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def with_swaps(model: onnx.ModelProto) -> list[tuple[str, list[int]]]:
    """Returns each node between the first and the last with its perm or its axis."""
    found = []
    for node in model.graph.node:
        if node.op_type != "Identity":
            (attribute,) = node.attribute
            found.append((node.op_type, list(attribute.ints) or [attribute.i]))
    return found

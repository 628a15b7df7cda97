"""Which values are constant, and what they hold.

A value is constant if it is an initializer that no caller can override, or the output of a Constant node; what is
computed from constants by shape arithmetic is followed by `onnxfuse.analysis.shapes`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

__all__ = ["SMALL", "has_data", "is_overridable", "small_array", "stored_tensor"]

# No shape or pad vector is longer; anything larger is a weight.
SMALL: Final = 4096


def is_overridable(value: ir.Value, ir_version: int) -> bool:
    """Says whether a caller may replace this initializer: from IR 4 on, one that is also a graph input."""
    return value.is_graph_input() and ir_version >= 4


def stored_tensor(value: ir.Value, ir_version: int) -> ir.TensorProtocol | None:
    """Returns the tensor of an initializer or a Constant node, through Identity; None where there is none.

    The tensor may be large, external, or stripped of its data: ask for its `nbytes` before its `numpy()`.
    """
    seen = 0
    while (node := value.producer()) is not None and node.op_type == "Identity" and node.domain == "" and seen < 64:
        (source,) = node.inputs
        if source is None:
            return None
        value, seen = source, seen + 1
    if node is None:
        # A value with data that is in no graph yet is a constant of a replacement that is being looked at.
        if value.graph is None or (value.is_initializer() and not is_overridable(value, ir_version)):
            return value.const_value
        return None
    if node.op_type != "Constant" or node.domain != "":
        return None
    return _constant_node(node)


def _constant_node(node: ir.Node) -> ir.TensorProtocol | None:
    for name, attribute in node.attributes.items():
        if attribute.ref_attr_name is not None:
            return None
        if name == "value":
            return attribute.as_tensor()
        if name in ("value_int", "value_ints"):
            return ir.tensor(np.array(attribute.value, dtype=np.int64))
        if name in ("value_float", "value_floats"):
            return ir.tensor(np.array(attribute.value, dtype=np.float32))
    return None


def has_data(tensor: ir.TensorProtocol) -> bool:
    """Says whether the tensor's data is there; onnx_ir reads a stripped one (dims, but no data) as zeros."""
    if tensor.size == 0 or not isinstance(tensor, ir.serde.TensorProtoTensor):
        return True
    proto = tensor.raw
    return any(
        (
            proto.HasField("raw_data"),
            len(proto.float_data),
            len(proto.int32_data),
            len(proto.int64_data),
            len(proto.double_data),
            len(proto.uint64_data),
            len(proto.string_data),
        )
    )


def small_array(tensor: ir.TensorProtocol) -> np.ndarray | None:
    """Returns the contents of a tensor of at most 4096 elements; None where it is larger, stripped or unreadable."""
    if tensor.size > SMALL or not has_data(tensor):
        return None
    try:
        return tensor.numpy()
    except (ValueError, OSError, TypeError):
        return None  # external data that is not there, or bytes that do not fit the dims

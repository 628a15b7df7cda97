"""Weights that a tool gave back without their data."""

from __future__ import annotations

import onnx_ir as ir

from onnxfuse.analysis.constants import has_data
from onnxfuse.errors import ToolError
from onnxfuse.rewriting.sameness import constant_of, constants_of

__all__ = ["resolve_stripped"]


def resolve_stripped(new: ir.Model, old: ir.Model) -> None:
    """Gives initializers of `new` that came without their data the tensors of these names of `old`.

    Raises:
        ToolError: There is none of that name, type and shape.
    """
    known: dict[str, ir.TensorProtocol] | None = None
    for graph in new.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or has_data(tensor):
                continue
            if known is None:
                known = {
                    str(v.name): own
                    for g in old.graphs()
                    for v in constants_of(g)
                    if (own := constant_of(v)) is not None
                }
            own = known.get(name)
            if own is None or own.dtype != tensor.dtype or tuple(own.shape) != tuple(tensor.shape):
                raise ToolError(f"initializer {name} came back without its data, and is none that the model had")
            value.const_value = own

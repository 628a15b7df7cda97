"""The types of values, which onnx_ir lets several models share."""

from __future__ import annotations

from copy import deepcopy

import onnx_ir as ir

from onnxfuse.model_io.origin import subgraphs

__all__ = ["own_types"]


def own_types(model: ir.Model) -> None:
    """Gives every value of `model` a type of its own."""
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    while graphs:
        graph = graphs.pop()
        values = [*graph.inputs, *graph.initializers.values()]
        for node in graph:
            values += node.outputs
            graphs.extend(subgraphs(node))
        for value in values:
            if type(value.type) is ir.TensorType:
                value.type = ir.TensorType(value.type.dtype, denotation=value.type.denotation)
            elif value.type is not None:
                value.type = deepcopy(value.type)

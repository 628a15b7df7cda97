"""What several models share of values in onnx_ir: types, and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import onnx_ir as ir

from onnxfuse.model_io.origin import subgraphs

__all__ = ["own_types", "read_only"]


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


@contextmanager
def read_only(model: ir.Model) -> Iterator[None]:
    """Keeps the tensors of `model`, which others have too, from being written into."""
    arrays = []
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            array = tensor.raw if isinstance(tensor, ir.Tensor) else None
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array.flags.writeable = False
                arrays.append(array)
    try:
        yield
    finally:
        for array in arrays:
            array.flags.writeable = True

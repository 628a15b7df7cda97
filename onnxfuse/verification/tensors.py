"""The tensors of a model, wherever they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import onnx

__all__ = ["graphs_of", "lacks_data", "nodes_of", "tensors_of"]

DATA_FIELDS: Final = (
    *("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data"),
    "external_data",
)


def lacks_data(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor that should have data has none."""
    return 0 not in tensor.dims and not any(len(getattr(tensor, field)) for field in DATA_FIELDS)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields initializers and what attributes hold; of sparse tensors the values. Not what training brings."""
    for graph in graphs_of(model):
        yield from graph.initializer
        yield from (sparse.values for sparse in graph.sparse_initializer)
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor.values
            yield from attribute.tensors


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yields the nodes of all functions, graphs and bodies."""
    for function in model.functions:
        yield from function.node
    for graph in graphs_of(model):
        yield from graph.node


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yields the main graph, then the bodies in all graphs and functions."""
    stack = [*_bodies(node for function in model.functions for node in function.node), model.graph]
    while stack:
        graph = stack.pop()
        yield graph
        stack += _bodies(graph.node)


def _bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs

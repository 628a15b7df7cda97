"""Initializers that come and go: below IR 4 each of them is listed among the inputs of its graph as well."""

from __future__ import annotations

from collections.abc import Container

import onnx_ir as ir

from onnxfuse.analysis.constants import is_overridable

__all__ = ["add_initializer", "holds_initializers", "remove_initializer"]


def holds_initializers(model: ir.Model, graph: ir.Graph | ir.Function | None, functions: Container[object]) -> bool:
    """Says whether `graph` may get initializers; where not, a constant is a node.

    Args:
        model: The model.
        graph: Where the constant is to be.
        functions: The graphs of its functions, which have none.
    """
    # Below IR 4 an initializer of a subgraph would have to be listed among the inputs of the subgraph.
    return graph not in functions and (model.ir_version >= 4 or graph is model.graph)


def add_initializer(model: ir.Model, graph: ir.Graph, value: ir.Value) -> None:
    """Makes `value` an initializer of `graph`."""
    graph.register_initializer(value)
    if model.ir_version < 4:
        graph.inputs.append(value)


def remove_initializer(model: ir.Model, value: ir.Value) -> None:
    """Takes an initializer out of its graph, if it is in one still; what a caller may replace stays."""
    graph = value.graph
    if graph is None or is_overridable(value, model.ir_version):
        return
    if value.is_graph_input():
        graph.inputs.remove(value)
    del graph.initializers[str(value.name)]

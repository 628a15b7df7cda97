"""An edit, and finding in a model what it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import onnx
import onnx_ir as ir


class Edit(NamedTuple):
    """One change."""

    name: str
    on_ir: Callable[[ir.Model], object]
    on_proto: Callable[[onnx.ModelProto], object]


# ------------------------------------------------------------------------------------------------ finding things


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    stack = [model.graph]
    while stack:
        graph = stack.pop()
        yield graph
        for node in graph.node:
            stack += [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def proto_node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    nodes = [node for graph in all_graphs(model) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    return next(node for node in nodes if output in node.output)


def ir_node(model: ir.Model, output: str) -> ir.Node:
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    return next(node for graph in graphs for node in graph if any(value.name == output for value in node.outputs))


def ir_value(model: ir.Model, name: str) -> ir.Value:
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for graph in model.graphs() for node in graph for value in node.outputs]
    return next(value for value in values if value.name == name)


def infos(model: onnx.ModelProto, name: str) -> list[onnx.ValueInfoProto]:
    return [
        info
        for graph in all_graphs(model)
        for kind in (graph.input, graph.output, graph.value_info)
        for info in kind
        if info.name == name
    ]


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def drop(container: Any, name: str) -> None:
    for index in reversed(range(len(container))):
        if container[index].name == name:
            del container[index]


def set_entries(container: Any, **entries: str) -> None:
    del container[:]
    for key, value in entries.items():
        container.add(key=key, value=value)


def normalized(model: onnx.ModelProto) -> bytes:
    """Returns the bytes of `model` with what has no order in one order."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in all_graphs(copy):
        for field, key in (("value_info", "name"), ("initializer", "name"), ("quantization_annotation", "tensor_name")):
            items = sorted(getattr(graph, field), key=lambda item, key=key: getattr(item, key))
            graph.ClearField(field)
            getattr(graph, field).extend(items)
    for function in copy.functions:
        items = sorted(function.value_info, key=lambda item: item.name)
        function.ClearField("value_info")
        function.value_info.extend(items)
    functions = sorted(copy.functions, key=lambda function: (function.domain, function.name))
    copy.ClearField("functions")
    copy.functions.extend(functions)
    return copy.SerializeToString(deterministic=True)

"""What the objects of an `onnx_graphsurgeon.Graph` stood for when it was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
from onnx_graphsurgeon.ir.tensor import LazyValues

__all__ = ["NodeRecord", "Records", "Weight", "said_of"]


class Weight(LazyValues):  # type: ignore[misc]
    """A large initializer of the main graph: it is read when its values are asked for.

    Attributes:
        weight: The tensor.
    """

    def __init__(self, weight: ir.TensorProtocol) -> None:
        super().__init__(onnx.TensorProto(data_type=int(weight.dtype), dims=weight.shape.numpy()))
        self.weight = weight

    def load(self) -> np.ndarray:
        """Returns the values, as a copy: they may be written into."""
        return np.array(self.weight.numpy())


class NodeRecord(NamedTuple):
    """A node, what it was read from, and what its attributes were."""

    node: gs.Node  # kept, so that no other object gets its identity; so with all of these
    proto: onnx.NodeProto
    attributes: dict[str, Any]


class VariableRecord(NamedTuple):
    """A variable, and what was said of it."""

    variable: gs.Variable
    said: tuple[Any, ...]


class FunctionRecord(NamedTuple):
    """A function, what it was read from, and what its attributes were."""

    function: gs.Function
    proto: onnx.FunctionProto
    attributes: dict[str, Any]


class Records:
    """What the objects of a Graph stood for when it was read.

    Attributes:
        proto: The model that it was read from.
        graphs: The graphs in it, by the identity of their objects.
        nodes: Its nodes, likewise.
        variables: What its variables said, likewise.
        constants: Its constants, likewise.
        homes: The graphs that these are initializers of, likewise.
        functions: Its functions, likewise.
    """

    def __init__(self, proto: onnx.ModelProto, graph: gs.Graph) -> None:
        self.proto = proto
        self.graphs: dict[int, tuple[gs.Graph, onnx.GraphProto]] = {}
        self.nodes: dict[int, NodeRecord] = {}
        self.variables: dict[int, VariableRecord] = {}
        self.constants: dict[int, gs.Constant] = {}
        self.homes: dict[int, int] = {}
        self.functions: dict[int, FunctionRecord] = {}
        self._main = id(graph)
        self._graph(graph, proto.graph, {})
        for function, body in zip(graph.functions, proto.functions, strict=True):
            self.functions[id(function)] = FunctionRecord(function, body, dict(function.attrs))
            self._nodes(function.nodes, body.node, {})

    def is_main(self, constant: gs.Constant) -> bool:
        """Says whether a constant is an initializer of the main graph."""
        return self.homes.get(id(constant)) == self._main

    def shown(self, graph: gs.Graph) -> set[str]:
        """Returns the names of those initializers of a graph that graphsurgeon showed as constants."""
        return {self.constants[key].name for key, home in self.homes.items() if home == id(graph)}

    def _graph(self, graph: gs.Graph, proto: onnx.GraphProto, outer: Mapping[str, int]) -> None:
        self.graphs[id(graph)] = (graph, proto)
        names = [tensor.name for tensor in proto.initializer]
        names += [tensor.values.name for tensor in proto.sparse_initializer]
        homes = {**outer, **dict.fromkeys(names, id(graph))}
        self._tensors([*graph.inputs, *graph.outputs], homes)
        self._nodes(graph.nodes, proto.node, homes)

    def _nodes(self, nodes: Iterable[gs.Node], protos: Iterable[onnx.NodeProto], homes: Mapping[str, int]) -> None:
        for node, proto in zip(nodes, protos, strict=True):
            self.nodes[id(node)] = NodeRecord(node, proto, {name: _copied(value) for name, value in node.attrs.items()})
            self._tensors([*node.inputs, *node.outputs], homes)
            for attribute in proto.attribute:
                inner = node.attrs.get(attribute.name)
                if isinstance(inner, gs.Graph):
                    self._graph(inner, attribute.g, homes)

    def _tensors(self, tensors: Iterable[gs.Tensor], homes: Mapping[str, int]) -> None:
        for tensor in tensors:
            if isinstance(tensor, gs.Variable):
                self.variables[id(tensor)] = VariableRecord(tensor, said_of(tensor))
            elif tensor.name in homes:
                self.constants[id(tensor)] = tensor
                self.homes[id(tensor)] = homes[tensor.name]


def said_of(variable: gs.Variable) -> tuple[Any, ...]:
    """Returns what is said of a variable."""
    shape = None if variable.shape is None else tuple(variable.shape)
    return variable.name, variable.dtype, shape, variable.type


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return list(value)
    return (value, value._values) if isinstance(value, gs.Constant) else value  # noqa: SLF001

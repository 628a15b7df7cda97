"""Takes the nodes of a converted model, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from onnxfuse.passes._opset_faults import Mends

__all__ = ["take_nodes"]


def take_nodes(model: onnx.ModelProto, converted: onnx.ModelProto, mends: Mends, to: int) -> None:
    """Puts the nodes of `converted` into `model`, mended, and raises the opset of `model` to `to`.

    onnx's converter loses metadata, types that are no tensors and what else its own form of a graph has no room for,
    and it writes types of its own invention: so all but the nodes stays as it was in `model`.
    """
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = to
    taken = {name for graph in _graphs(model.graph) for name in _names(graph)}
    _Taker(mends, to, taken).take(model.graph, converted.graph)


class _Taker:
    """Takes the nodes of graphs and their bodies."""

    def __init__(self, mends: Mends, to: int, taken: set[str]) -> None:
        self.mends = mends
        self.to = to
        self.taken = taken

    def take(self, graph: onnx.GraphProto, converted: onnx.GraphProto) -> None:
        """Puts the nodes of `converted` into `graph`."""
        nodes = _with_constants(graph, converted)
        before = {output: node for node in graph.node for output in node.output if output}
        origins = self._rename(nodes, before)
        new = {node.output[0]: node for node in nodes if node.op_type == "Constant" and node.output[0] not in before}
        kept = {node.name for node in nodes}
        for node, old in zip(nodes, origins, strict=True):
            self._mend(node, new)
            if old is not None:
                self._carry(node, old)
                if not node.name and old.name not in kept and any(output in before for output in node.output):
                    node.name, node.doc_string = old.name, old.doc_string
        del graph.node[:]
        graph.node.extend(nodes)

    def _rename(self, nodes: list[onnx.NodeProto], before: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto | None]:
        """Gives new values names that no other value has, made from the value that they lead to.

        Returns:
            Of each node the one that it comes from.
        """
        renamed: dict[str, str] = {}
        origins: list[onnx.NodeProto | None] = []
        readers: dict[str, tuple[onnx.NodeProto, int]] = {}
        leads_to = ""
        for node in reversed(nodes):
            readers |= {name: (node, index) for index, name in enumerate(node.input)}
            leads_to = next((output for output in node.output if output in before), leads_to)
            origins.append(before.get(leads_to))
            for output in node.output:
                if output and output not in before:
                    reader = readers.get(output)
                    role = self._role(*reader) if node.op_type == "Constant" and reader else node.op_type.lower()
                    renamed[output] = self._fresh(f"{leads_to}_{role}")
        for node in nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        return origins[::-1]

    def _role(self, node: onnx.NodeProto, index: int) -> str:
        """Returns what an operator calls one of its inputs."""
        return str(onnx.defs.get_schema(node.op_type, self.to).inputs[index].name)

    def _fresh(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(name)
        return name

    def _mend(self, node: onnx.NodeProto, new: dict[str, onnx.NodeProto]) -> None:
        dtype = self.mends.types.get(node.output[0])
        if dtype is not None:
            for name in node.input[1:]:
                if name in new:
                    _retype(new[name], dtype)
        if self.mends.resizes and node.op_type == "Resize" and node.domain in ("", "ai.onnx"):
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))

    def _carry(self, node: onnx.NodeProto, old: onnx.NodeProto) -> None:
        """Gives a node the metadata of the one that it comes from, and takes the nodes of its bodies."""
        node.metadata_props.extend(old.metadata_props)
        node.device_configurations.extend(old.device_configurations)
        bodies = {attribute.name: attribute for attribute in old.attribute if attribute.HasField("g")}
        for attribute in node.attribute:
            if attribute.name in bodies:
                self.take(bodies[attribute.name].g, attribute.g)
                attribute.CopyFrom(bodies[attribute.name])


def _with_constants(graph: onnx.GraphProto, converted: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Returns the converted nodes; new initializers, for which a body of an old model has no room, as Constants."""
    own = {tensor.name for tensor in graph.initializer}
    new = {tensor.name: tensor for tensor in converted.initializer if tensor.name not in own}
    nodes = []
    for node in converted.node:
        nodes += [helper.make_node("Constant", [], [name], value=new.pop(name)) for name in node.input if name in new]
        nodes.append(node)
    return nodes


def _retype(constant: onnx.NodeProto, dtype: int) -> None:
    (attribute,) = constant.attribute
    array = numpy_helper.to_array(attribute.t)
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    if array.dtype == np.float32 and kind != array.dtype:
        with np.errstate(over="ignore"):  # the lowest float32 stands for no bound
            attribute.t.CopyFrom(numpy_helper.from_array(array.astype(kind)))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output))
    yield from (tensor.name for tensor in graph.initializer)
    yield from (output for node in graph.node for output in node.output)

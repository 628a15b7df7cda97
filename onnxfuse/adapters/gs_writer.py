"""Writes an `onnx_graphsurgeon.Graph` as protobuf: what nobody edited as it was, whatever graphsurgeon makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
from google.protobuf.message import Message
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter, constant_to_onnx_tensor
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues

from onnxfuse.adapters.gs_records import NodeRecord, Records, Weight, said_of
from onnxfuse.model_io.payload import LARGE

__all__ = ["FREE_INITIALIZERS", "Writer"]

# From this IR version on, an initializer need not be an input, and one that is can be given another value.
FREE_INITIALIZERS: Final = 4

M = TypeVar("M", bound=Message)


@dataclass
class Writer:
    """Writes one Graph.

    Attributes:
        records: What was there when it was read.
        weights: The large initializers of the main graph, by name.
        root: The Graph.
        large: The large initializers of what is written, by name: the proto has no data of these.
    """

    records: Records
    weights: Mapping[str, ir.TensorProtocol]
    root: gs.Graph
    large: dict[str, ir.TensorProtocol] = field(default_factory=dict)

    def model(self) -> onnx.ModelProto:
        """Returns the model; of its large initializers only name, element type and shape."""
        proto = _without(self.records.proto, "graph", "functions", "opset_import")
        if self.root.ir_version is not None:
            proto.ir_version = self.root.ir_version
        proto.graph.CopyFrom(self._graph(self.root, frozenset()))
        proto.functions.extend(map(self._function, self.root.functions))
        proto.opset_import.extend(_imports(self.root))
        return proto

    # ------------------------------------------------------------------ graphs

    def _graph(self, graph: gs.Graph, outer: frozenset[int]) -> onnx.GraphProto:
        _, before = self.records.graphs.get(id(graph), (None, onnx.GraphProto()))
        proto = _without(before, "node", "initializer", "sparse_initializer", "input", "output", "value_info")
        for name in ("name", "doc_string"):
            _set(proto, name, getattr(graph, name) or "")
        constants = {id(constant): constant for constant in _constants(graph) if id(constant) not in outer}
        for constant in _nested_constants(graph):
            # graphsurgeon would move it to where it is used.
            if self.records.homes.get(id(constant)) == id(graph):
                constants[id(constant)] = constant
        available = outer | constants.keys()
        proto.node.extend(self._node(node, available) for node in graph.nodes)
        self._initializers(proto, before, graph, {constant.name: constant for constant in constants.values()})
        infos = {info.name: info for info in (*before.value_info, *before.output, *before.input)}
        proto.input.extend(self._inputs(graph, before, proto, infos))
        proto.output.extend(self._info(tensor, infos) for tensor in graph.outputs)
        proto.value_info.extend(self._value_infos(graph, before, proto, infos))
        return proto

    def _initializers(
        self, proto: onnx.GraphProto, before: onnx.GraphProto, graph: gs.Graph, constants: dict[str, gs.Constant]
    ) -> None:
        """Writes the initializers: in the order that they had, then the new ones."""
        main, shown = graph is self.root, self.records.shown(graph)
        for sparse in before.sparse_initializer:
            constant = constants.get(sparse.values.name)
            if constant is not None and isinstance(constant._values, SparseValues):  # noqa: SLF001
                del constants[constant.name]
            elif sparse.values.name in shown:
                continue
            proto.sparse_initializer.add().CopyFrom(sparse)
        for tensor in before.initializer:
            constant = constants.pop(tensor.name, None)
            if constant is not None:
                proto.initializer.add().CopyFrom(self._tensor(constant, main=main))
            elif tensor.name not in shown:
                # No constant that graphsurgeon shows, so that no function can have removed it.
                proto.initializer.add().CopyFrom(tensor)
                if main and tensor.name in self.weights:
                    self.large[tensor.name] = self.weights[tensor.name]
        for constant in constants.values():
            proto.initializer.add().CopyFrom(self._tensor(constant, main=main))

    def _inputs(
        self, graph: gs.Graph, before: onnx.GraphProto, proto: onnx.GraphProto, infos: Mapping[str, onnx.ValueInfoProto]
    ) -> Iterator[onnx.ValueInfoProto]:
        """Yields the inputs, with those that graphsurgeon drops: of initializers."""
        given = list(graph.inputs)
        names = {tensor.name for tensor in given}
        initializers = {tensor.name: tensor for tensor in proto.initializer}
        for info in before.input:
            if info.name not in names and info.name in initializers:
                names.add(info.name)
                yield info
            elif given:
                yield self._info(given.pop(0), infos)
        for tensor in given:
            yield self._info(tensor, infos)
        if before.input and self.records.proto.ir_version < FREE_INITIALIZERS:
            for name, tensor in initializers.items():
                if name not in names:
                    yield onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)

    def _value_infos(
        self, graph: gs.Graph, before: onnx.GraphProto, proto: onnx.GraphProto, infos: Mapping[str, onnx.ValueInfoProto]
    ) -> Iterator[onnx.ValueInfoProto]:
        """Yields what is said of values: in the order that it was, then what is new."""
        elsewhere = {value.name for value in (*proto.input, *proto.output)}
        elsewhere |= {tensor.name for tensor in proto.initializer}
        values = {
            tensor.name: tensor for node in graph.nodes for tensor in node.outputs if tensor.name not in elsewhere
        }
        for info in before.value_info:
            if info.name in elsewhere:
                yield info
            elif info.name in values:
                yield self._info(values.pop(info.name), infos)
        for name, tensor in values.items():
            if name and tensor.dtype is not None:
                yield self._info(tensor, infos)

    def _info(self, tensor: gs.Tensor, infos: Mapping[str, onnx.ValueInfoProto]) -> onnx.ValueInfoProto:
        before = infos.get(tensor.name)
        if before is not None:
            record = self.records.variables.get(id(tensor))
            if id(tensor) in self.records.constants or (record is not None and record.said == said_of(tensor)):
                return before
        info: onnx.ValueInfoProto = OnnxExporter.export_value_info_proto(tensor, False)
        return info

    # ------------------------------------------------------------------ nodes

    def _node(self, node: gs.Node, available: frozenset[int]) -> onnx.NodeProto:
        record = self.records.nodes.get(id(node), NodeRecord(node, onnx.NodeProto(), {}))
        proto = _without(record.proto, "input", "output", "attribute")
        for name, said in (("op_type", node.op), ("name", node.name), ("domain", node.domain)):
            _set(proto, name, said or "")
        proto.input.extend(tensor.name for tensor in node.inputs)
        proto.output.extend(tensor.name for tensor in node.outputs)
        same_op = proto.op_type == record.proto.op_type
        proto.attribute.extend(self._attributes(node, record, available, same_op))
        return proto

    def _attributes(
        self, node: gs.Node, record: NodeRecord, available: frozenset[int], same_op: bool
    ) -> Iterator[onnx.AttributeProto]:
        written = set()
        for before in record.proto.attribute:
            written.add(before.name)
            if before.name in node.attrs:
                yield self._attribute(before.name, node.attrs[before.name], available, before, record.attributes)
            elif same_op and before.name not in record.attributes:
                yield before  # graphsurgeon does not hold it
        for name, value in node.attrs.items():
            if name not in written:
                yield self._attribute(name, value, available)

    def _attribute(
        self,
        name: str,
        value: Any,
        available: frozenset[int],
        before: onnx.AttributeProto | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> onnx.AttributeProto:
        known = before is not None and said is not None and name in said
        if before is not None and known and _same(value, said[name] if said else None, before):
            return before
        made = onnx.AttributeProto(name=name)
        if isinstance(value, gs.Graph):
            made.type = onnx.AttributeProto.GRAPH
            made.g.CopyFrom(self._graph(value, available))
        elif isinstance(value, gs.Constant):
            made.type = onnx.AttributeProto.TENSOR
            made.t.CopyFrom(self._tensor(value, main=False))
        elif isinstance(value, list) and not value and before is not None:
            made.type = before.type  # of a new list without elements nobody knows the type
        else:
            (made,) = OnnxExporter.export_attributes({name: value})
        if before is not None:
            _set(made, "doc_string", before.doc_string)
        return made

    def _function(self, function: gs.Function) -> onnx.FunctionProto:
        record = self.records.functions.get(id(function))
        if record is None:
            new: onnx.FunctionProto = OnnxExporter.export_function(function)
            return new
        constants = {id(constant): constant for constant in _constants(function)}
        nodes = [
            onnx.helper.make_node("Constant", [], [constant.name], value=self._tensor(constant, main=False))
            for constant in constants.values()
        ]
        nodes += [self._node(node, frozenset(constants)) for node in function.nodes]
        proto = _without(record.proto, "node", "input", "output", "opset_import")
        for name in ("name", "domain"):
            _set(proto, name, getattr(function, name) or "")
        proto.node.extend(nodes)
        proto.input.extend(tensor.name for tensor in function.inputs)
        proto.output.extend(tensor.name for tensor in function.outputs)
        proto.opset_import.extend(_imports(function))
        if function.attrs != record.attributes:
            for name in ("attribute", "attribute_proto"):
                proto.ClearField(name)
            proto.attribute.extend(name for name, value in function.attrs.items() if value is None)
            values = {name: value for name, value in function.attrs.items() if value is not None}
            proto.attribute_proto.extend(OnnxExporter.export_attributes(values))
        return proto

    # ------------------------------------------------------------------ tensors

    def _tensor(self, constant: gs.Constant, *, main: bool) -> onnx.TensorProto:
        """Returns an initializer; where it is a large one of the main graph, without its data."""
        values, name = constant._values, constant.name  # noqa: SLF001
        weight = values.weight if isinstance(values, Weight) else None
        if isinstance(values, LazyValues) and weight is None:
            proto = onnx.TensorProto()
            proto.CopyFrom(values.tensor)
            proto.name = name
            return proto
        if weight is None:
            if values.dtype.hasobject:
                return onnx.numpy_helper.from_array(values, name)
            if constant.export_dtype != constant.dtype:
                cast: onnx.TensorProto = constant_to_onnx_tensor(constant)
                return cast
            known = self.weights.get(name)
            weight = known if known is not None and _equal(values, known.numpy()) else ir.tensor(values, name=name)
        if main and weight.nbytes > LARGE:
            self.large[name] = weight
            return onnx.TensorProto(name=name, data_type=int(weight.dtype), dims=weight.shape.numpy())
        return onnx.numpy_helper.from_array(weight.numpy(), name)


def _imports(graph: gs.Graph) -> Iterator[onnx.OperatorSetIdProto]:
    """Yields the opsets of a graph or function, with those of domains that are new in it."""
    given = graph.import_domains or [onnx.helper.make_opsetid("", graph.opset)]
    yield from given
    known = {"ai.onnx" if not entry.domain else entry.domain for entry in given}
    bodies = [graph, *graph.subgraphs(recursive=True)]
    for domain in dict.fromkeys(node.domain or "ai.onnx" for body in bodies for node in body.nodes):
        if domain not in known:
            yield onnx.helper.make_opsetid(domain, 1)


def _constants(graph: gs.Graph) -> Iterator[gs.Constant]:
    """Yields the constants that the nodes and the outputs of a graph or function use."""
    for tensors in (*(node.inputs for node in graph.nodes), graph.outputs):
        yield from (tensor for tensor in tensors if isinstance(tensor, gs.Constant))


def _nested_constants(graph: gs.Graph) -> Iterator[gs.Constant]:
    for inner in graph.subgraphs(recursive=True):
        yield from _constants(inner)


def _same(value: Any, said: Any, before: onnx.AttributeProto) -> bool:
    """Says whether an attribute is what it was when it was read."""
    if isinstance(value, gs.Graph):
        return False  # who knows what was done in it
    if isinstance(value, gs.Constant):
        if not (isinstance(said, tuple) and value is said[0]):
            return False
        now = value._values  # noqa: SLF001
        return now is said[1] or _equal(now, onnx.numpy_helper.to_array(before.t))
    return type(value) is type(said) and (value is said or value == said)


def _equal(one: Any, other: np.ndarray) -> bool:
    """Says whether two arrays have the same bits."""
    if not isinstance(one, np.ndarray) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool((one == other).all()) if one.dtype.hasobject else one.tobytes() == other.tobytes()


def _without(message: M, *fields: str) -> M:
    """Returns a copy of a message without some of its fields."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in fields:
        copy.ClearField(name)
    return copy


def _set(message: Message, name: str, text: str) -> None:
    """Sets a field where it says something else: one that is set to the default is not the same as one that is not."""
    if getattr(message, name) != text:
        setattr(message, name, text)

"""Writes an `onnx_ir.Model` as protobuf: what nobody touched byte for byte as it came, the rest anew.

The result is a sequence of chunks: bytes, and `Carried` for the large initializers, whose data is still where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse.errors import ModelError
from onnxfuse.model_io import origin as origins
from onnxfuse.model_io import wire
from onnxfuse.model_io.origin import GraphOrigin
from onnxfuse.model_io.source import LARGE, NUMPY_DTYPES, MessagePayload, Payload, Source
from onnxfuse.model_io.wire import Buffer, Field

__all__ = ["Carried", "Emitted", "emit", "emit_source", "evaluable"]

# Field numbers of onnx.proto.
MODEL_GRAPH: Final = 7
MODEL_FUNCTIONS: Final = 25
GRAPH_NODE: Final = 1
GRAPH_INITIALIZER: Final = 5
GRAPH_INPUT: Final = 11
GRAPH_OUTPUT: Final = 12
GRAPH_VALUE_INFO: Final = 13
FUNCTION_NODE: Final = 7
FUNCTION_VALUE_INFO: Final = 12


@dataclass(frozen=True)
class Carried:
    """A large initializer of the main graph, on its way from where it lies to where it goes.

    Attributes:
        name: Its name.
        header: Its field without the data.
        payload: The whole of it.
    """

    name: str
    header: bytes
    payload: Payload


Chunk = bytes | Carried


@dataclass(frozen=True)
class Emitted:
    """A serialized model in pieces: what stands before the graph, the graph's fields, what stands after it."""

    head: tuple[bytes, ...]
    graph: tuple[Chunk, ...]
    tail: tuple[bytes, ...]

    @cached_property
    def carried(self) -> tuple[Carried, ...]:
        """The large initializers, in order."""
        return tuple(chunk for chunk in self.graph if isinstance(chunk, Carried))

    @cached_property
    def size(self) -> int:
        """Length of the whole serialized model, in bytes."""
        return sum(len(chunk) if isinstance(chunk, bytes) else chunk.payload.size for chunk in self.chunks())

    def chunks(self) -> Iterator[Chunk]:
        """Yields the whole model; a carried chunk stands for its payload's field."""
        size = sum(len(chunk) if isinstance(chunk, bytes) else chunk.payload.size for chunk in self.graph)
        yield from self.head
        yield wire.length_delimited_header(MODEL_GRAPH, size)
        yield from self.graph
        yield from self.tail

    def light(self, replacing: Mapping[str, bytes] | None = None) -> bytes:
        """Returns the model with large initializers as headers, or as the fields that `replacing` names."""
        replacing = replacing or {}
        parts = [chunk if isinstance(chunk, bytes) else replacing.get(chunk.name, chunk.header) for chunk in self.graph]
        header = wire.length_delimited_header(MODEL_GRAPH, sum(map(len, parts)))
        return b"".join([*self.head, header, *parts, *self.tail])

    def data(self) -> bytes:
        """Returns the whole serialized model."""
        return _joined(self.chunks())

    def message(self) -> onnx.ModelProto:
        """Returns the model as a new ModelProto, data included."""
        model = onnx.ModelProto.FromString(self.light())
        if self.carried:
            payloads = {carried.name: carried.payload for carried in self.carried}
            for tensor in model.graph.initializer:
                payload = payloads.get(tensor.name)
                if isinstance(payload, MessagePayload):
                    tensor.CopyFrom(payload.message)
                elif payload is not None:
                    first = next(wire.fields(payload.field()))
                    tensor.ParseFromString(payload.field()[first.payload :])
        return model


def evaluable(emitted: Emitted, folder: Path | None) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Returns a model for a runtime: the light one, and the weights as arrays, mapped where they lie in files.

    Args:
        emitted: The model.
        folder: Where its external data lies.

    Returns:
        A ModelProto in which large and external initializers of the main graph carry no data, and their arrays by name.
    """
    model = onnx.ModelProto.FromString(emitted.light())
    payloads = {carried.name: carried.payload for carried in emitted.carried}
    weights: dict[str, np.ndarray] = {}
    for tensor in model.graph.initializer:
        payload = payloads.get(tensor.name)
        if isinstance(payload, MessagePayload):
            weights[tensor.name] = onnx.numpy_helper.to_array(payload.message)
        elif payload is not None:
            weights[tensor.name] = payload.array(tuple(tensor.dims))
        elif tensor.data_location == onnx.TensorProto.EXTERNAL and folder is not None:
            weights[tensor.name] = _mapped(tensor, folder)
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    return model, weights


def _mapped(tensor: onnx.TensorProto, folder: Path) -> np.ndarray:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    external = ir.ExternalTensor(
        entries["location"],
        int(entries.get("offset") or 0),
        int(entries["length"]) if entries.get("length") else None,
        ir.DataType(tensor.data_type),
        shape=ir.Shape(tensor.dims),
        name=tensor.name,
        base_dir=folder,
    )
    return external.numpy()


def emit(model: ir.Model) -> Emitted:
    """Serializes `model`.

    A part that equals its origin is emitted as the bytes it was read from. A value_info goes with its value; none is
    invented. A model that this package did not read is serialized by onnx_ir.
    """
    with origins.paused_gc():
        origin = origins.graph_origin(model.graph)
        if origin is None or origin.source is None:
            return emit_source(_source_of(model))
        if not _model_changed(model, origin):
            return emit_source(origin.source)
        buffer = memoryview(origin.source.light)
        head, graph, tail = _split(buffer)
        states = origins.model_state(model)
        changed = {number for number, state in states.items() if origin.model.get(number) != state}
        functions_changed = _functions_changed(model, origin)
        if functions_changed:
            changed.add(MODEL_FUNCTIONS)
        anew = _model_fields(model, changed, buffer, tail if functions_changed else ())
        first, last = _with_replaced(buffer, head, anew), _with_replaced(buffer, tail, anew)
        first += [anew.pop(number) for number in sorted(anew) if number < MODEL_GRAPH]
        last += [anew.pop(number) for number in sorted(anew)]
        chunks = _graph_chunks(model.graph, origin, buffer[graph.payload : graph.end], origin.source.payloads)
        return Emitted(tuple(first), tuple(chunks), tuple(last))


def emit_source(source: Source) -> Emitted:
    """Returns `source` unchanged, in pieces."""
    buffer = memoryview(source.light)
    head, graph, tail = _split(buffer)
    chunks: list[Chunk] = []
    ordinal = 0
    for entry in wire.fields(buffer, graph.payload, graph.end):
        data = bytes(buffer[entry.start : entry.end])
        if entry.number == GRAPH_INITIALIZER:
            payload = source.payloads.get(ordinal)
            if payload is None:
                chunks.append(data)
            else:
                chunks.append(Carried(source.proto.graph.initializer[ordinal].name, data, payload))
            ordinal += 1
        else:
            chunks.append(data)
    return Emitted(
        tuple(bytes(buffer[f.start : f.end]) for f in head),
        tuple(chunks),
        tuple(bytes(buffer[f.start : f.end]) for f in tail),
    )


def _source_of(model: ir.Model) -> Source:
    """Serializes a model that this package did not read; large tensors in memory are not copied."""
    graph = model.graph
    large = {name: value.const_value for name, value in graph.initializers.items() if _is_large(value.const_value)}
    proto = onnx.ModelProto()
    proto.MergeFromString(b"".join(_model_fields(model, set(origins.model_state(model)), memoryview(b""), ()).values()))
    for configuration in model.device_configurations:
        proto.configuration.append(ir.serde.serialize_model_configuration(configuration))
    proto.functions.extend(ir.serde.serialize_function(function) for function in model.functions.values())
    view = ir.GraphView(
        graph.inputs,
        graph.outputs,
        nodes=list(graph),
        initializers=[value for name, value in graph.initializers.items() if name not in large],
        opset_imports=graph.opset_imports,
        name=graph.name,
        doc_string=graph.doc_string,
        metadata_props=graph.metadata_props,
    )
    ir.serde.serialize_graph_into(proto.graph, view)
    # onnx_ir writes a value_info for every initializer, which says nothing that the initializer does not.
    kept = [info for info in proto.graph.value_info if info.name not in graph.initializers]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    payloads: dict[int, Payload] = {}
    for name, tensor in large.items():
        payloads[len(proto.graph.initializer)] = MessagePayload(_message(tensor, name))
        proto.graph.initializer.add(name=name, data_type=int(tensor.dtype), dims=tensor.shape.numpy())
    return Source(proto.SerializeToString(), payloads)


def _is_large(tensor: ir.TensorProtocol | None) -> bool:
    if tensor is None or isinstance(tensor, ir.ExternalTensor) or int(tensor.dtype) not in NUMPY_DTYPES:
        return False
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        return tensor.raw.ByteSize() > LARGE  # a stripped tensor has a shape, but no data
    return tensor.nbytes > LARGE


def _message(tensor: ir.TensorProtocol, name: str) -> onnx.TensorProto:
    if isinstance(tensor, ir.serde.TensorProtoTensor) and tensor.raw.name == name:
        return tensor.raw
    message = ir.serde.serialize_tensor(tensor)
    message.name = name
    return message


def _split(model: Buffer) -> tuple[list[Field], Field, list[Field]]:
    """Returns the fields before the graph, the graph, and the fields after it."""
    entries = list(wire.fields(model))
    at = next(i for i, entry in enumerate(entries) if entry.number == MODEL_GRAPH)
    return entries[:at], entries[at], entries[at + 1 :]


def _model_fields(
    model: ir.Model, numbers: Collection[int], buffer: Buffer, functions: Iterable[Field]
) -> dict[int, bytes]:
    """Returns the fields of `model` with these numbers, serialized anew."""
    proto = onnx.ModelProto()
    for name, value in (
        ("ir_version", model.ir_version),
        ("producer_name", model.producer_name),
        ("producer_version", model.producer_version),
        ("domain", model.domain),
        ("model_version", model.model_version),
        ("doc_string", model.doc_string),
    ):
        if value is not None:
            setattr(proto, name, value)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    for key, text in model.metadata_props.items():
        proto.metadata_props.add(key=key, value=text)
    data = memoryview(proto.SerializeToString())
    out: dict[int, bytes] = dict.fromkeys(numbers, b"")
    for entry in wire.fields(data):
        if entry.number in numbers:
            out[entry.number] += bytes(data[entry.start : entry.end])
    if MODEL_FUNCTIONS in numbers:
        out[MODEL_FUNCTIONS] = _functions(model, buffer, functions)
    return out


def _with_replaced(buffer: Buffer, entries: Iterable[Field], anew: dict[int, bytes]) -> list[bytes]:
    """Returns the entries as they came, and in place of a changed number's first one what it is now."""
    numbers = set(anew)
    out = []
    for entry in entries:
        if entry.number not in numbers:
            out.append(bytes(buffer[entry.start : entry.end]))
        elif entry.number in anew:
            out.append(anew.pop(entry.number))
    return out


def _functions_changed(model: ir.Model, origin: GraphOrigin) -> bool:
    return tuple(model.functions) != origin.functions or any(
        _graph_changed(function.graph) for function in model.functions.values()
    )


def _model_changed(model: ir.Model, origin: GraphOrigin) -> bool:
    return (
        origins.model_state(model) != origin.model or _graph_changed(model.graph) or _functions_changed(model, origin)
    )


def _graph_changed(graph: ir.Graph) -> bool:
    """Says whether anything in `graph` or in the graphs inside it differs from what was read."""
    origin = origins.graph_origin(graph)
    return (
        origin is None
        or len(graph) != origin.count
        or origins.graph_state(graph) != origin.state
        or tuple(value.name for value in graph.inputs) != origin.inputs
        or tuple(value.name for value in graph.outputs) != origin.outputs
        or len(graph.initializers) != len(origin.tensors)
        or any(origin.tensors.get(name) is not value.const_value for name, value in graph.initializers.items())
        or any(_node_changed(node, origin, ordinal) for ordinal, node in enumerate(graph))
        or origins.typed_values(graph) != origin.values
    )


def _node_changed(node: ir.Node, home: GraphOrigin, ordinal: int | None = None) -> bool:
    came = origins.node_origin(node)
    if came is None or came.home is not home or (ordinal is not None and came.ordinal != ordinal):
        return True
    return came.state != origins.node_state(node) or any(_graph_changed(graph) for graph in origins.subgraphs(node))


def _functions(model: ir.Model, buffer: Buffer, entries: Iterable[Field]) -> bytes:
    """Returns all functions: unchanged ones as they came, those with changed nodes patched, new ones serialized."""
    came: dict[tuple[str, str, str], bytes] = {}
    for entry in entries:
        if entry.number == MODEL_FUNCTIONS:
            data = bytes(buffer[entry.payload : entry.end])
            proto = onnx.FunctionProto.FromString(data)
            came[(proto.domain, proto.name, proto.overload)] = data
    out = []
    for identifier, function in model.functions.items():
        origin = origins.graph_origin(function.graph)
        data = came.get(identifier, b"")
        if origin is None or not data:
            data = ir.serde.serialize_function(function).SerializeToString()
        elif _graph_changed(function.graph):
            data = _joined(_graph_chunks(function.graph, origin, memoryview(data), {}, function=True))
        out.append(wire.field_bytes(MODEL_FUNCTIONS, data))
    return b"".join(out)


def _joined(chunks: Iterable[Chunk]) -> bytes:
    return b"".join(chunk if isinstance(chunk, bytes) else bytes(chunk.payload.field()) for chunk in chunks)


def _graph_chunks(
    graph: ir.Graph,
    origin: GraphOrigin,
    buffer: Buffer,
    payloads: Mapping[int, Payload],
    *,
    function: bool = False,
) -> list[Chunk]:
    """Returns the fields of a graph (or of a function), each kind where its first one stood."""
    node_number, info_number = (FUNCTION_NODE, FUNCTION_VALUE_INFO) if function else (GRAPH_NODE, GRAPH_VALUE_INFO)
    came: dict[int, list[bytes]] = {}
    entries = list(wire.fields(buffer))
    for entry in entries:
        came.setdefault(entry.number, []).append(bytes(buffer[entry.start : entry.end]))
    written: dict[int, list[Chunk]] = {
        node_number: [_node_field(node, origin, came.get(node_number, []), node_number) for node in graph],
        info_number: list(_value_infos(graph, origin, came.get(info_number, []), info_number)),
    }
    if not function:
        written[GRAPH_INITIALIZER] = list(_initializers(graph, origin, came.get(GRAPH_INITIALIZER, []), payloads))
        written[GRAPH_INPUT] = _border(graph.inputs, origin, came.get(GRAPH_INPUT, []), GRAPH_INPUT)
        written[GRAPH_OUTPUT] = _border(graph.outputs, origin, came.get(GRAPH_OUTPUT, []), GRAPH_OUTPUT)
        if origins.graph_state(graph) != origin.state:
            written.update(_graph_header(graph))
    handled = frozenset(written)
    chunks: list[Chunk] = []
    for entry in entries:
        if entry.number not in handled:
            chunks.append(bytes(buffer[entry.start : entry.end]))
        elif entry.number in written:
            chunks += written.pop(entry.number)
    for number in sorted(written):
        chunks += written[number]
    return chunks


def _graph_header(graph: ir.Graph) -> dict[int, list[Chunk]]:
    """Returns name, doc string and metadata, anew, by their numbers (2, 10 and 16)."""
    proto = onnx.GraphProto(name=graph.name or "", doc_string=graph.doc_string or "")
    for key, text in graph.metadata_props.items():
        proto.metadata_props.add(key=key, value=text)
    data = memoryview(proto.SerializeToString())
    out: dict[int, list[Chunk]] = {2: [], 10: [], 16: []}
    for entry in wire.fields(data):
        out[entry.number].append(bytes(data[entry.start : entry.end]))
    return out


def _node_field(node: ir.Node, home: GraphOrigin, fields: list[bytes], number: int) -> bytes:
    came = origins.node_origin(node)
    if came is None or came.home is not home:
        return wire.field_bytes(number, ir.serde.serialize_node(node).SerializeToString())
    data = fields[came.ordinal]
    if not _node_changed(node, home):
        return data
    proto = onnx.NodeProto.FromString(_payload(data))
    _patch(proto, node, came.state)
    return wire.field_bytes(number, proto.SerializeToString())


def _payload(field: bytes) -> bytes:
    return field[next(wire.fields(memoryview(field))).payload :]


def _patch(proto: onnx.NodeProto, node: ir.Node, state: origins.State) -> None:
    """Writes into `proto` what has changed of `node` since it was read, and leaves alone what onnx_ir does not know."""
    now = origins.node_state(node)
    for index, name in enumerate(("op_type", "domain", "overload", "name", "doc_string")):
        if now[index] != state[index]:
            setattr(proto, name, now[index] or "")
    if now[5] != state[5]:
        proto.input[:] = [name or "" for name in now[5]]
    if now[6] != state[6]:
        proto.output[:] = list(now[6])
    if now[8] != state[8]:
        del proto.metadata_props[:]
        for key, text in now[8]:
            proto.metadata_props.add(key=key, value=text)
    before, after = dict(state[7]), dict(now[7])
    for index in reversed(range(len(proto.attribute))):
        name = proto.attribute[index].name
        if name in before and (name not in after or before[name] is not after[name]):
            del proto.attribute[index]
    present = {attribute.name: attribute for attribute in proto.attribute}
    for name, attribute in node.attributes.items():
        if name not in present:
            proto.attribute.append(ir.serde.serialize_attribute(attribute))
        elif attribute.type in origins.GRAPH_TYPES and attribute.ref_attr_name is None:
            _patch_graphs(present[name], attribute)


def _patch_graphs(proto: onnx.AttributeProto, attribute: ir.Attr) -> None:
    if attribute.type == ir.AttributeType.GRAPH:
        pairs = [(proto.g, attribute.as_graph())]
    else:
        pairs = list(zip(proto.graphs, attribute.as_graphs(), strict=True))
    for graph_proto, graph in pairs:
        origin = origins.graph_origin(graph)
        if origin is None:
            graph_proto.CopyFrom(ir.serde.serialize_graph(graph))
        elif _graph_changed(graph):
            buffer = memoryview(graph_proto.SerializeToString())
            graph_proto.ParseFromString(_joined(_graph_chunks(graph, origin, buffer, {})))


def _initializers(
    graph: ir.Graph, origin: GraphOrigin, fields: list[bytes], payloads: Mapping[int, Payload]
) -> Iterator[Chunk]:
    for ordinal, (name, field) in enumerate(zip(origin.initializers, fields, strict=True)):
        value = graph.initializers.get(name)
        if value is None:
            continue
        if value.const_value is not origin.tensors[name]:
            yield _new_initializer(name, value)
        elif ordinal in payloads:
            yield Carried(name, field, payloads[ordinal])
        else:
            yield field
    for name, value in graph.initializers.items():
        if name not in origin.tensors:
            yield _new_initializer(name, value)


def _new_initializer(name: str, value: ir.Value) -> Chunk:
    tensor = value.const_value
    if tensor is None:
        raise ModelError(f"initializer {name!r} has no value: it cannot be written")
    message = _message(tensor, name)
    if not _is_large(tensor):
        return wire.field_bytes(GRAPH_INITIALIZER, message.SerializeToString())
    header = onnx.TensorProto(name=name, data_type=message.data_type, dims=message.dims)
    return Carried(name, wire.field_bytes(GRAPH_INITIALIZER, header.SerializeToString()), MessagePayload(message))


def _border(values: Iterable[ir.Value], origin: GraphOrigin, fields: list[bytes], number: int) -> list[Chunk]:
    """Returns the declarations of graph inputs or outputs."""
    by_name = {_name_of(field): field for field in fields}
    out: list[Chunk] = []
    for value in values:
        field = by_name.get(str(value.name))
        if field is None or origin.values.get(str(value.name)) != origins.value_state(value):
            field = wire.field_bytes(number, ir.serde.serialize_value(value).SerializeToString())
        out.append(field)
    return out


def _value_infos(graph: ir.Graph, origin: GraphOrigin, fields: list[bytes], number: int) -> Iterator[bytes]:
    """Yields the value_infos of the values that are still there, and of absent names that never were values."""
    declared = set()
    now = origins.typed_values(graph)
    for field in fields:
        name = _name_of(field)
        declared.add(name)
        if name in now and now[name] == origin.values.get(name):
            yield field
        elif (
            name not in now and name not in origin.values and (name in graph.initializers or name not in origin.tensors)
        ):
            yield field
    border = {value.name for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        for value in node.outputs:
            name = str(value.name)
            if name not in border and name in now and (name not in declared or now[name] != origin.values.get(name)):
                yield wire.field_bytes(number, ir.serde.serialize_value(value).SerializeToString())


def _name_of(field: bytes) -> str:
    """Returns the name in a ValueInfoProto field: its field 1."""
    data = memoryview(_payload(field))
    for entry in wire.fields(data):
        if entry.number == 1:
            return bytes(data[entry.payload : entry.end]).decode("utf-8", "surrogateescape")
    return ""

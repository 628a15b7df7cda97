"""Writes graphs and functions as protobuf: what nobody touched byte for byte as it came, the rest anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import onnx_ir as ir

from onnxfuse.errors import ModelError
from onnxfuse.model_io import anew, wire
from onnxfuse.model_io.emit_values import ValueWriter
from onnxfuse.model_io.emitted import Carried, Chunk, emit_source, joined
from onnxfuse.model_io.lookup import FUNCTION, GRAPH, GRAPH_INPUT, GRAPH_OUTPUT, Origins, by_number, name_of
from onnxfuse.model_io.origin import GraphOrigin, NodeOrigin, graph_origin, node_origin
from onnxfuse.model_io.payload import GRAPH_INITIALIZER, Payload
from onnxfuse.model_io.state import (
    GRAPH_TYPES,
    AttributeState,
    NodeState,
    attribute_state,
    header_state,
    node_state,
    tensor_state,
)
from onnxfuse.model_io.wire import Buffer

__all__ = ["GraphWriter"]

# Field numbers of onnx.proto.
GRAPH_ANNOTATION: Final = 14
NODE_ATTRIBUTE: Final = 5
ATTRIBUTE_NAME: Final = 1
ATTRIBUTE_DOC_STRING: Final = 13
ATTRIBUTE_TYPE: Final = 20
ATTRIBUTE_GRAPHS: Final = {ir.AttributeType.GRAPH: 6, ir.AttributeType.GRAPHS: 11}


def _spliced(message: bytes | Buffer, parts: Mapping[int, Sequence[bytes]]) -> bytes:
    return b"".join(wire.splice(memoryview(message), parts))


@dataclass
class GraphWriter:
    """Writes one graph or function.

    Attributes:
        holder: It.
        origins: The run's look-ups.
        ir_version: The model's.
        functions: The model's functions, for the main graph.
    """

    holder: ir.Graph | ir.Function
    origins: Origins
    ir_version: int
    functions: Sequence[ir.Function] = ()

    @cached_property
    def graph(self) -> ir.Graph:
        """The graph, or the function's."""
        return self.holder.graph if isinstance(self.holder, ir.Function) else self.holder

    @cached_property
    def origin(self) -> GraphOrigin | None:
        """Where it came from; a function's body that became a graph, or the reverse, has another kind of message."""
        origin = graph_origin(self.graph)
        return origin if origin is not None and origin.place.function == isinstance(self.holder, ir.Function) else None

    def chunks(self) -> list[Chunk] | None:
        """Returns the message's fields, each kind where its first one stood; None where nothing has changed."""
        is_function = isinstance(self.holder, ir.Function)
        kinds = FUNCTION if is_function else GRAPH
        values = ValueWriter(self.graph, self.origin, self.origins, is_function, self.ir_version)
        parts: dict[int, Sequence[Chunk]] = {
            kinds.node: [self._node(node, kinds.node) for node in self.graph],
            kinds.value_info: list(values.infos(kinds.value_info, self.functions)),
        }
        if not is_function:
            parts[GRAPH_INITIALIZER] = self._initializers()
            parts[GRAPH_INPUT] = values.border(self.graph.inputs, GRAPH_INPUT)
            parts[GRAPH_OUTPUT] = values.border(self.graph.outputs, GRAPH_OUTPUT)
            parts[GRAPH_ANNOTATION] = list(values.annotations(GRAPH_ANNOTATION))
        for number, state in header_state(self.holder).items():
            if self.origin is None or self.origin.header[number] != state:
                parts[number] = anew.header_fields(self.holder, number, state)
        if self.origin is None:
            return list(wire.splice(memoryview(b""), parts))
        changed = {number: chunks for number, chunks in parts.items() if chunks != self._came(number)}
        if not changed:
            return None
        # The light message has only the headers of large tensors.
        if self.origin.place.is_main and self.origin.source.payloads:
            changed.setdefault(GRAPH_INITIALIZER, self.origins.initializers(self.origin))
        if self.origin.place.is_main and self.origin.source.nodes:
            changed.setdefault(GRAPH.node, self.origins.nodes(self.origin))
        return list(wire.splice(self.origins.buffer(self.origin), changed))

    def _came(self, number: int) -> Sequence[Chunk]:
        """Returns the fields of that number as they came."""
        if self.origin is None:
            return []
        if number == GRAPH_INITIALIZER and not self.origin.place.function:
            return self.origins.initializers(self.origin)
        if number == (FUNCTION if self.origin.place.function else GRAPH).node:
            return self.origins.nodes(self.origin)
        return self.origins.fields(self.origin, number)

    def message(self) -> bytes:
        """Returns the message; where nothing has changed, as it came."""
        chunks = self.chunks()
        if chunks is None and self.origin is not None:
            if self.origin.place.is_main:
                return joined(emit_source(self.origin.source).graph)
            return bytes(self.origins.buffer(self.origin))
        return joined(chunks or ())

    # ------------------------------------------------------------------ initializers

    def _initializers(self) -> list[bytes | Carried]:
        chunks: list[bytes | Carried] = []
        origin = self.origin
        for name, value in self.graph.initializers.items():
            tensor = value.const_value
            came = origin.tensors.get(id(tensor)) if origin is not None else None
            if tensor is None or origin is None or came is None:
                new = anew.new_tensor(name, tensor)
                chunks.append(
                    Carried(name, new) if isinstance(new, Payload) else wire.field_bytes(GRAPH_INITIALIZER, new)
                )
                continue
            chunk = self.origins.initializers(origin)[came[1]]
            now = tensor_state(tensor)
            if (name, now) != (came[0], came[2]):
                fields = anew.tensor_fields(name, *now)
                if isinstance(chunk, Carried):
                    chunk = Carried(name, chunk.payload.with_fields(fields))
                else:
                    chunk = wire.field_bytes(GRAPH_INITIALIZER, _spliced(wire.payload_of(chunk), fields))
            chunks.append(chunk)
        return chunks

    # ------------------------------------------------------------------ nodes

    def _node(self, node: ir.Node, number: int) -> Chunk:
        came, now = node_origin(node), node_state(node)
        if (came is None or now.inputs != came.state.inputs) and any(
            value is not None and value.name is None for value in node.inputs
        ):
            raise ModelError(
                f"node {node.name!r} ({node.op_type}) reads a value that has no name: it cannot be written"
            )
        if came is None:
            parts = {n: anew.node_fields(now, n) for n in range(1, 11) if n != NODE_ATTRIBUTE}
            parts[2] = anew.node_fields(now._replace(outputs=_without_trailing_empty(now.outputs)), 2)
            parts[NODE_ATTRIBUTE] = [self._attribute(attribute) for attribute in node.attributes.values()]
            return wire.field_bytes(number, _spliced(b"", parts))
        chunk = self.origins.node(came)
        changed = [n for n in range(1, 11) if now[n - 1] != came.state[n - 1] and n != NODE_ATTRIBUTE]
        parts = {n: anew.node_fields(now, n) for n in changed}
        attributes = self._attributes(node, now, came, chunk)
        if attributes is not None:
            parts[NODE_ATTRIBUTE] = attributes
        if not parts and came.home.place.function == isinstance(self.holder, ir.Function):
            return chunk
        return wire.field_bytes(number, _spliced(wire.payload_of(joined([chunk])), parts))

    def _attributes(self, node: ir.Node, now: NodeState, came: NodeOrigin, chunk: Chunk) -> list[bytes] | None:
        """Returns the attributes of a node that was read; None where they are as they came."""
        has_graphs = any(attribute.type in GRAPH_TYPES for attribute in node.attributes.values())
        if not has_graphs and now.attributes == came.state.attributes:
            return None
        before = {state.name: state for state in came.state.attributes}
        left = {attribute.name: attribute for attribute in node.attributes.values()}
        fields = by_number(wire.payload_of(joined([chunk]))).get(NODE_ATTRIBUTE, [])
        out = []
        for attribute_field in fields:
            name = name_of(attribute_field)
            attribute = left.pop(name, None)
            if attribute is not None:
                out.append(self._attribute(attribute, before.get(name), attribute_field))
            elif name not in before:
                out.append(attribute_field)  # onnx_ir cannot hold it
        out += [self._attribute(attribute) for attribute in left.values()]
        return None if out == fields else out

    def _attribute(self, attribute: ir.Attr, before: AttributeState | None = None, field: bytes = b"") -> bytes:
        """Returns an attribute's field.

        Args:
            attribute: It.
            before: What the attribute of that name said when the node was read.
            field: How it came.
        """
        now = attribute_state(attribute)
        if attribute.type not in GRAPH_TYPES or attribute.ref_attr_name is not None:
            return field if now == before else wire.field_bytes(NODE_ATTRIBUTE, anew.attribute_message(attribute))
        number = ATTRIBUTE_GRAPHS[attribute.type]
        graphs = [attribute.as_graph()] if number == 6 else list(attribute.as_graphs())
        writers = [GraphWriter(graph, self.origins, self.ir_version) for graph in graphs]
        messages = [wire.field_bytes(number, writer.message()) for writer in writers]
        if before is None or before.identity != now.identity:
            parts = {
                ATTRIBUTE_NAME: wire.text_field(ATTRIBUTE_NAME, attribute.name),
                ATTRIBUTE_TYPE: [wire.varint_field(ATTRIBUTE_TYPE, int(attribute.type))],
                ATTRIBUTE_DOC_STRING: wire.text_field(ATTRIBUTE_DOC_STRING, attribute.doc_string),
            }
            return wire.field_bytes(NODE_ATTRIBUTE, _spliced(b"", {number: messages, **parts}))
        parts = {}
        if messages != by_number(wire.payload_of(field)).get(number, []):
            parts[number] = messages
        if before.doc_string != now.doc_string:
            parts[ATTRIBUTE_DOC_STRING] = wire.text_field(ATTRIBUTE_DOC_STRING, attribute.doc_string)
        return wire.field_bytes(NODE_ATTRIBUTE, _spliced(wire.payload_of(field), parts)) if parts else field


def _without_trailing_empty(outputs: tuple[str, ...]) -> tuple[str, ...]:
    while outputs and not outputs[-1]:
        outputs = outputs[:-1]
    return outputs

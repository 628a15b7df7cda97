"""The bytes that graphs, nodes and values came as."""

from __future__ import annotations

from typing import Final, NamedTuple

from onnxfuse.model_io import wire
from onnxfuse.model_io.emitted import Carried, Chunk, joined
from onnxfuse.model_io.origin import GraphOrigin, NodeOrigin
from onnxfuse.model_io.payload import GRAPH_INITIALIZER, NodePayload
from onnxfuse.model_io.source import MODEL_GRAPH, Source
from onnxfuse.model_io.wire import Buffer

__all__ = ["FUNCTION", "GRAPH", "GRAPH_INPUT", "GRAPH_OUTPUT", "MODEL_FUNCTIONS", "Kinds", "Origins", "name_of"]

# Field numbers of onnx.proto.
MODEL_FUNCTIONS: Final = 25
GRAPH_INPUT: Final = 11
GRAPH_OUTPUT: Final = 12
NODE_ATTRIBUTE: Final = 5


class Kinds(NamedTuple):
    """Where a message keeps nodes and what is said of values inside: their fields' numbers."""

    node: int
    value_info: int


GRAPH: Final = Kinds(node=1, value_info=13)
FUNCTION: Final = Kinds(node=7, value_info=12)


class Origins:
    """The bytes that graphs, nodes and values came as, each looked up once a run."""

    def __init__(self) -> None:
        self._tops: dict[Source, dict[int, list[bytes]]] = {}
        self._buffers: dict[GraphOrigin, Buffer] = {}
        self._nodes: dict[NodeOrigin, list[bytes]] = {}
        self._attributes: dict[tuple[NodeOrigin, int], dict[int, list[bytes]]] = {}
        self._fields: dict[GraphOrigin, dict[int, list[bytes]]] = {}
        self._initializers: dict[GraphOrigin, list[bytes | Carried]] = {}
        self._named: dict[tuple[GraphOrigin, int], list[tuple[str, bytes]]] = {}
        self._values: dict[tuple[GraphOrigin, int], dict[str, bytes]] = {}

    def top(self, source: Source, number: int) -> list[bytes]:
        """Returns a model's fields of that number."""
        if source not in self._tops:
            self._tops[source] = by_number(source.light)
        return self._tops[source].get(number, [])

    def buffer(self, origin: GraphOrigin) -> Buffer:
        """Returns the message of a graph or function."""
        if origin not in self._buffers:
            self._buffers[origin] = memoryview(wire.payload_of(self._field(origin)))
        return self._buffers[origin]

    def _field(self, origin: GraphOrigin) -> bytes:
        place = origin.place
        if place.node is None:
            number = MODEL_FUNCTIONS if place.function else MODEL_GRAPH
            return self.top(origin.source, number)[place.index]
        return self._attribute(place.node, place.attribute)[place.number][place.index]

    def _attribute(self, came: NodeOrigin, ordinal: int) -> dict[int, list[bytes]]:
        """Returns the fields of an attribute: of thousands of graphs each asks for those of its own."""
        if (came, ordinal) not in self._attributes:
            if came not in self._nodes:
                fields = by_number(wire.payload_of(joined([self.node(came)])))
                self._nodes[came] = fields[NODE_ATTRIBUTE]
            self._attributes[came, ordinal] = by_number(wire.payload_of(self._nodes[came][ordinal]))
        return self._attributes[came, ordinal]

    def fields(self, origin: GraphOrigin, number: int) -> list[bytes]:
        """Returns the fields of that number of a graph or function."""
        if origin not in self._fields:
            self._fields[origin] = by_number(self.buffer(origin))
        return self._fields[origin].get(number, [])

    def node(self, came: NodeOrigin) -> bytes | NodePayload:
        """Returns a node's field, or what carries it."""
        if came.home.place.is_main and (payload := came.home.source.nodes.get(came.ordinal)) is not None:
            return payload
        kinds = FUNCTION if came.home.place.function else GRAPH
        return self.fields(came.home, kinds.node)[came.ordinal]

    def nodes(self, origin: GraphOrigin) -> list[Chunk]:
        """Returns a graph's or function's nodes, those with large tensors as what carries them."""
        chunks: list[Chunk] = list(self.fields(origin, (FUNCTION if origin.place.function else GRAPH).node))
        if origin.place.is_main:
            for ordinal, payload in origin.source.nodes.items():
                chunks[ordinal] = payload
        return chunks

    def initializers(self, origin: GraphOrigin) -> list[bytes | Carried]:
        """Returns a graph's initializers, the large ones as what carries them."""
        if origin not in self._initializers:
            chunks: list[bytes | Carried] = [*self.fields(origin, GRAPH_INITIALIZER)]
            if origin.place.is_main:
                tensors = origin.source.proto.graph.initializer
                for ordinal, payload in origin.source.payloads.items():
                    chunks[ordinal] = Carried(tensors[ordinal].name, payload)
            self._initializers[origin] = chunks
        return self._initializers[origin]

    def named(self, origin: GraphOrigin, number: int) -> list[tuple[str, bytes]]:
        """Returns the fields of that number with the names that stand in them."""
        if (origin, number) not in self._named:
            self._named[origin, number] = [(name_of(data), data) for data in self.fields(origin, number)]
        return self._named[origin, number]

    def value(self, origin: GraphOrigin, name: str, number: int) -> tuple[bytes, int] | None:
        """Returns a field that describes a value, and its number: `number`, where there is one of that kind."""
        kinds = (FUNCTION.value_info,) if origin.place.function else (GRAPH.value_info, GRAPH_OUTPUT, GRAPH_INPUT)
        for kind in sorted(kinds, key=lambda kind: kind != number):
            if (origin, kind) not in self._values:
                self._values[origin, kind] = dict(self.named(origin, kind))
            if (data := self._values[origin, kind].get(name)) is not None:
                return data, kind
        return None


def by_number(message: bytes | Buffer) -> dict[int, list[bytes]]:
    """Returns the length-delimited fields of a message, by number."""
    buffer = memoryview(message)
    out: dict[int, list[bytes]] = {}
    for entry in wire.fields(buffer):
        if entry.wire == wire.LENGTH_DELIMITED:
            out.setdefault(entry.number, []).append(bytes(buffer[entry.start : entry.end]))
    return out


def name_of(field: bytes) -> str:
    """Returns the text that is field 1 of what a field holds: the name of a value, an attribute, an annotated tensor."""
    message = wire.payload_of(field)
    name = b""
    for entry in wire.fields(memoryview(message)):
        if entry.number == 1 and entry.wire == wire.LENGTH_DELIMITED:
            name = message[entry.payload : entry.end]
    return name.decode("utf-8", "surrogateescape")

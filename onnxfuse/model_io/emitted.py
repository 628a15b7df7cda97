"""A serialized model in pieces: bytes, and the large initializers, whose data is still where it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx

from onnxfuse.model_io import wire
from onnxfuse.model_io.payload import GRAPH_INITIALIZER, GRAPH_NODE, Data, NodePayload, Payload, Span
from onnxfuse.model_io.source import MODEL_GRAPH, Source

__all__ = ["Carried", "Chunk", "Emitted", "emit_source", "joined"]


@dataclass(frozen=True, eq=False)
class Carried:
    """A large initializer of the main graph, on its way from where it lies to where it goes.

    Attributes:
        name: Its name.
        payload: The whole of it.
    """

    name: str
    payload: Payload

    @cached_property
    def header(self) -> bytes:
        """Its field without the data."""
        return wire.field_bytes(GRAPH_INITIALIZER, self.payload.header)

    @property
    def size(self) -> int:
        """Length of the whole field, in bytes."""
        return self.payload.size

    def pieces(self) -> Iterator[bytes | Data]:
        """Yields the whole field."""
        return self.payload.pieces()

    def joined(self) -> bytes:
        """Returns the whole field."""
        return self.payload.joined()


Chunk = bytes | Carried | NodePayload


def joined(chunks: Iterable[Chunk]) -> bytes:
    """Returns the bytes of all chunks, data included."""
    return b"".join(chunk if isinstance(chunk, bytes) else chunk.joined() for chunk in chunks)


@dataclass(frozen=True)
class Emitted:
    """A serialized model in pieces.

    Attributes:
        head: The fields before the graph.
        graph: The graph's fields.
        tail: The fields after the graph.
        whole: The whole model as it came, where it is that model.
        folder: Where its external data lies, if that is known.
        folders: Where that of some locations lies, if it is elsewhere.
    """

    head: tuple[bytes, ...]
    graph: tuple[Chunk, ...]
    tail: tuple[bytes, ...]
    whole: Span | None = None
    folder: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def carried(self) -> tuple[Carried, ...]:
        """The large initializers, in order."""
        return tuple(chunk for chunk in self.graph if isinstance(chunk, Carried))

    @cached_property
    def size(self) -> int:
        """Length of the whole serialized model, in bytes."""
        return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in self.pieces())

    def pieces(self) -> Iterator[bytes | Data]:
        """Yields the whole serialized model."""
        if self.whole is not None:
            # Not only the same fields: the same bytes, however the lengths were written.
            yield self.whole
            return
        size = sum(len(chunk) if isinstance(chunk, bytes) else chunk.size for chunk in self.graph)
        yield from self.head
        yield wire.length_delimited_header(MODEL_GRAPH, size)
        for chunk in self.graph:
            if isinstance(chunk, bytes):
                yield chunk
            else:
                yield from chunk.pieces()
        yield from self.tail

    def light(self) -> bytes:
        """Returns the model with large tensors as headers."""
        parts = [chunk if isinstance(chunk, bytes) else chunk.header for chunk in self.graph]
        header = wire.length_delimited_header(MODEL_GRAPH, sum(map(len, parts)))
        return b"".join([*self.head, header, *parts, *self.tail])

    def replaced(self, initializers: Mapping[str, bytes]) -> Emitted:
        """Returns the model with these fields in place of the large initializers of those names."""
        graph = [initializers.get(chunk.name, chunk) if isinstance(chunk, Carried) else chunk for chunk in self.graph]
        return replace(self, graph=tuple(graph), whole=None)

    def data(self) -> bytes:
        """Returns the whole serialized model."""
        return b"".join(piece if isinstance(piece, bytes) else piece.view() for piece in self.pieces())

    def message(self) -> onnx.ModelProto:
        """Returns the model as a new ModelProto, data included."""
        # All but the initializers, and then one of these after the other: they may be all of memory.
        headers = self.replaced({carried.name: carried.header for carried in self.carried})
        model = onnx.ModelProto.FromString(headers.data())
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for carried in self.carried:
            if carried.payload.message is not None:
                tensors[carried.name].CopyFrom(carried.payload.message)
            else:
                tensors[carried.name].raw_data = bytes(carried.payload.data.view())
        return model

    def source(self) -> Source:
        """Returns the model as one that just came in; large initializers stay where they are."""
        payloads: dict[int, Payload] = {}
        nodes: dict[int, NodePayload] = {}
        counts = {GRAPH_NODE: 0, GRAPH_INITIALIZER: 0}
        for chunk in self.graph:
            header = chunk if isinstance(chunk, bytes) else chunk.header
            number = next(wire.fields(memoryview(header))).number
            if isinstance(chunk, Carried):
                payloads[counts[number]] = chunk.payload
            elif isinstance(chunk, NodePayload):
                nodes[counts[number]] = chunk
            if number in counts:
                counts[number] += 1
        return Source(self.light(), payloads, nodes, folder=self.folder)


def emit_source(source: Source) -> Emitted:
    """Returns `source` unchanged, in pieces."""
    buffer = memoryview(source.light)
    entries = list(wire.fields(buffer))
    at = next(
        index
        for index, entry in enumerate(entries)
        if entry.number == MODEL_GRAPH and entry.wire == wire.LENGTH_DELIMITED
    )
    graph = entries[at]
    chunks: list[Chunk] = []
    counts = {GRAPH_NODE: -1, GRAPH_INITIALIZER: -1}
    for entry in wire.fields(buffer, graph.payload, graph.end):
        chunk: Chunk = bytes(buffer[entry.start : entry.end])
        if entry.number in counts and entry.wire == wire.LENGTH_DELIMITED:
            counts[entry.number] += 1
            ordinal = counts[entry.number]
            if entry.number == GRAPH_NODE:
                chunk = source.nodes.get(ordinal, chunk)
            elif (payload := source.payloads.get(ordinal)) is not None:
                chunk = Carried(source.proto.graph.initializer[ordinal].name, payload)
        chunks.append(chunk)
    return Emitted(
        tuple(bytes(buffer[entry.start : entry.end]) for entry in entries[:at]),
        tuple(chunks),
        tuple(bytes(buffer[entry.start : entry.end]) for entry in entries[at + 1 :]),
        whole=source.original,
        folder=source.folder,
    )

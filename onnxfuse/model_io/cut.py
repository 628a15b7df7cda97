"""Cuts the large tensors out of a serialized graph, without reading them."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import Final

import onnx

from onnxfuse.model_io import wire
from onnxfuse.model_io.payload import (
    ELEMENT_BITS,
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    LARGE,
    TENSOR_RAW_DATA,
    NodePayload,
    Payload,
    Span,
)
from onnxfuse.model_io.wire import Buffer, Field

__all__ = ["LightGraph", "light_graph"]

# Field numbers of onnx.proto.
NODE_ATTRIBUTE: Final = 5
ATTRIBUTE_TENSOR: Final = 5
ATTRIBUTE_TYPE: Final = 20
TENSOR_DATA_TYPE: Final = 2
TENSOR_DATA_LOCATION: Final = 14

# How much of a mapped file may stay in memory while its tensors' headers are looked up.
RESIDENT: Final = 64 << 20


@dataclass
class LightGraph:
    """A graph without the data of its large tensors.

    Attributes:
        parts: The serialized GraphProto, in pieces.
        payloads: Its large initializers, by their ordinal among its initializers.
        nodes: Its nodes with large tensors as attributes (Constant), by their ordinal among its nodes.
    """

    parts: list[bytes] = field(default_factory=list)
    payloads: dict[int, Payload] = field(default_factory=dict)
    nodes: dict[int, NodePayload] = field(default_factory=dict)


def light_graph(whole: Span, graph: Field, mapped: mmap.mmap | None) -> LightGraph:
    """Cuts the large tensors out of a graph; those of subgraphs stay.

    Args:
        whole: The model.
        graph: The graph's field in it.
        mapped: The mapped file, if it is one.
    """
    buffer = whole.source
    light = LightGraph()
    counts = {GRAPH_NODE: -1, GRAPH_INITIALIZER: -1}
    kept = graph.payload  # everything before this position is in `light`
    dropped = 0
    for entry in wire.fields(buffer, graph.payload, graph.end):
        if mapped is not None and entry.start - dropped > RESIDENT:
            # A file of very many tensors is touched on every page: those that were read need not stay.
            mapped.madvise(mmap.MADV_DONTNEED)
            dropped = entry.start
        if entry.number not in counts or entry.wire != wire.LENGTH_DELIMITED:
            continue
        counts[entry.number] += 1
        if entry.end - entry.payload <= LARGE:
            continue
        if entry.number == GRAPH_INITIALIZER:
            payload = _cut_tensor(whole, entry)
            if payload is None:
                continue
            light.payloads[counts[entry.number]] = payload
            field_anew = wire.field_bytes(GRAPH_INITIALIZER, payload.header)
        else:
            cut = _cut_node(whole, entry)
            if cut is None:
                continue
            field_anew, light.nodes[counts[entry.number]] = cut
        light.parts += [bytes(buffer[kept : entry.start]), field_anew]
        kept = entry.end
    light.parts.append(bytes(buffer[kept : graph.end]))
    return light


def _cut_tensor(whole: Span, tensor: Field) -> Payload | None:
    """Splits a tensor into its header and its data; None where it has no large raw data."""
    buffer = whole.source
    numbers = {TENSOR_DATA_TYPE: 0, TENSOR_DATA_LOCATION: 0}
    raw = None
    header: list[Buffer] = []
    for entry in wire.fields(buffer, tensor.payload, tensor.end):
        if entry.number == TENSOR_RAW_DATA and entry.wire == wire.LENGTH_DELIMITED:
            raw = entry
            continue
        if entry.number in numbers and entry.wire == wire.VARINT:
            numbers[entry.number], _ = wire.read_varint(buffer, entry.payload, entry.end)
        header.append(buffer[entry.start : entry.end])
    if raw is None or raw.end - raw.payload <= LARGE or numbers[TENSOR_DATA_TYPE] not in ELEMENT_BITS:
        return None
    if numbers[TENSOR_DATA_LOCATION] == onnx.TensorProto.EXTERNAL:
        return None
    return Payload(
        b"".join(header),
        Span(buffer, raw.payload, raw.end, whole.file),
        Span(buffer, tensor.start, tensor.end, whole.file),
    )


def _cut_node(whole: Span, node: Field) -> tuple[bytes, NodePayload] | None:
    """Returns a node's field without the data of large tensors, and these; None where it has none."""
    buffer = whole.source
    tensors: dict[int, Payload] = {}
    parts: list[Buffer | bytes] = []
    ordinal = -1
    for entry in wire.fields(buffer, node.payload, node.end):
        part: Buffer | bytes = buffer[entry.start : entry.end]
        if entry.number == NODE_ATTRIBUTE and entry.wire == wire.LENGTH_DELIMITED:
            ordinal += 1
            if entry.end - entry.payload > LARGE and (cut := _cut_attribute(whole, entry)) is not None:
                part, tensors[ordinal] = cut
        parts.append(part)
    if not tensors:
        return None
    field_anew = wire.field_bytes(GRAPH_NODE, b"".join(parts))
    return field_anew, NodePayload(field_anew, Span(buffer, node.start, node.end, whole.file), tensors)


def _cut_attribute(whole: Span, attribute: Field) -> tuple[bytes, Payload] | None:
    buffer = whole.source
    entries = list(wire.fields(buffer, attribute.payload, attribute.end))
    tensors = [entry for entry in entries if entry.number == ATTRIBUTE_TENSOR and entry.wire == wire.LENGTH_DELIMITED]
    kinds = [entry for entry in entries if entry.number == ATTRIBUTE_TYPE and entry.wire == wire.VARINT]
    if len(tensors) != 1 or len(kinds) != 1 or buffer[kinds[0].payload] != onnx.AttributeProto.TENSOR:
        return None  # protobuf would merge several
    payload = _cut_tensor(whole, tensors[0])
    if payload is None:
        return None
    header = wire.field_bytes(ATTRIBUTE_TENSOR, payload.header)
    parts = [header if entry is tensors[0] else bytes(buffer[entry.start : entry.end]) for entry in entries]
    return wire.field_bytes(NODE_ATTRIBUTE, b"".join(parts)), payload

"""A model as it came: its protobuf without the weights, and where the weights are.

`Source.light` is the serialized model in which every large initializer keeps its header (name, dims, data type) and
carries no data. It is small, so it can be parsed, kept and searched; the weights stay in the file (mapped) or in the
caller's message, and are copied by the operating system when the model is written.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import ml_dtypes
import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from onnxfuse.model_io.wire import Buffer, Field

__all__ = ["FilePayload", "MessagePayload", "Payload", "Source"]

# Field numbers of onnx.proto that this package cuts at.
MODEL_GRAPH: Final = 7
GRAPH_INITIALIZER: Final = 5
TENSOR_DATA_TYPE: Final = 2
TENSOR_RAW_DATA: Final = 9

# Smaller tensors stay in the light model: below this, the bookkeeping costs more than the bytes.
LARGE: Final = 1024

# Types whose raw data is a plain array of whole bytes, so that a view on it is a tensor's value. Strings and the
# types of less than a byte stay in the light model.
NUMPY_DTYPES: Final[Mapping[int, str]] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
}


class Descriptor:
    """An open file, closed when the last payload in it is gone.

    Attributes:
        number: The descriptor.
    """

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)


@dataclass(frozen=True)
class FilePayload:
    """A large initializer that lies in the buffer the model came in (a mapped file, or bytes).

    Attributes:
        source: The buffer.
        start: Where the initializer's field begins in it, tag included.
        end: Where it ends.
        data: Where its raw data begins and ends.
        data_type: ONNX's number of the element type.
        file: An open descriptor of the mapped file, so that the kernel can copy from it.
    """

    source: Buffer
    start: int
    end: int
    data: tuple[int, int]
    data_type: int
    file: Descriptor | None = None

    @property
    def size(self) -> int:
        """Length of the whole field, in bytes."""
        return self.end - self.start

    def field(self) -> Buffer:
        """Returns the whole field as it came, as a view."""
        return self.source[self.start : self.end]

    def array(self, dims: tuple[int, ...]) -> np.ndarray:
        """Returns the data as a read-only view of shape `dims`; nothing is copied."""
        name = NUMPY_DTYPES[self.data_type]
        dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
        return np.frombuffer(self.source[self.data[0] : self.data[1]], dtype=dtype).reshape(dims)


@dataclass(frozen=True)
class MessagePayload:
    """A large initializer that the caller's protobuf message holds."""

    message: onnx.TensorProto

    @property
    def size(self) -> int:
        """Length of the whole field, in bytes."""
        size = self.message.ByteSize()
        return len(wire.length_delimited_header(GRAPH_INITIALIZER, size)) + size

    def field(self) -> Buffer:
        """Returns the whole field, serialized."""
        return memoryview(wire.field_bytes(GRAPH_INITIALIZER, self.message.SerializeToString()))


Payload = FilePayload | MessagePayload


@dataclass(frozen=True)
class Source:
    """A model as it came.

    Attributes:
        light: The serialized ModelProto without the data of large initializers.
        payloads: The main graph's large initializers, by their ordinal among its initializers.
        original: The whole serialized model as it came, where it came as a file or as bytes.
        path: The file it came from.
    """

    light: bytes
    payloads: Mapping[int, Payload] = field(default_factory=dict)
    original: Buffer | None = None
    path: Path | None = None

    @classmethod
    def from_path(cls, path: Path) -> Source:
        """Maps the file at `path`.

        Raises:
            ModelError: It cannot be read, is empty, or is no protobuf message.
        """
        try:
            file = Descriptor(path)
            size = os.fstat(file.number).st_size
            buffer = memoryview(mmap.mmap(file.number, size, access=mmap.ACCESS_READ)) if size else memoryview(b"")
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            return cls.from_buffer(buffer, path=path, file=file)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @classmethod
    def from_buffer(cls, buffer: Buffer, *, path: Path | None = None, file: Descriptor | None = None) -> Source:
        """Cuts the large initializers out of a serialized model.

        Raises:
            ModelError: The buffer is empty or is no protobuf message.
        """
        if not len(buffer):
            raise ModelError("the model is empty (0 bytes)")
        top = list(wire.fields(buffer))
        graphs = [f for f in top if f.number == MODEL_GRAPH and f.wire == wire.LENGTH_DELIMITED]
        if len(graphs) != 1:
            # Legal protobuf merges repeated fields, but no model is written so: what it is not is an ONNX model.
            raise ModelError("the file is not an ONNX model (it has no graph)")
        payloads: dict[int, Payload] = {}
        graph = _light_graph(buffer, graphs[0], payloads, file)
        if not payloads:
            return cls(bytes(buffer), original=buffer, path=path)
        parts: list[Buffer | bytes] = []
        for entry in top:
            if entry is graphs[0]:
                parts += [wire.length_delimited_header(MODEL_GRAPH, len(graph)), graph]
            else:
                parts.append(buffer[entry.start : entry.end])
        return cls(b"".join(parts), payloads, original=buffer, path=path)

    @classmethod
    def from_message(cls, model: onnx.ModelProto) -> Source:
        """Takes a ModelProto, whose large initializers stay where they are."""
        payloads: dict[int, Payload] = {}
        skeleton = onnx.ModelProto()
        _copy_fields(model, skeleton, leave_out="graph")
        _copy_fields(model.graph, skeleton.graph, leave_out="initializer")
        for ordinal, tensor in enumerate(model.graph.initializer):
            twin = skeleton.graph.initializer.add()
            # Not by ByteSize(): it serializes the tensor to measure it.
            if tensor.data_type in NUMPY_DTYPES and math.prod(tensor.dims) > LARGE and tensor.HasField("raw_data"):
                payloads[ordinal] = MessagePayload(tensor)
                twin.name, twin.data_type, twin.doc_string = tensor.name, tensor.data_type, tensor.doc_string
                twin.dims.extend(tensor.dims)
            else:
                twin.CopyFrom(tensor)
        return cls(skeleton.SerializeToString(), payloads)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The light model, parsed. Not to be changed."""
        return onnx.ModelProto.FromString(self.light)

    def check(self) -> None:
        """Checks that this is an ONNX model that the installed onnx reads.

        Raises:
            ModelError: It is no ONNX model, or its IR version is newer.
        """
        where = f"{self.path}: " if self.path else ""
        try:
            proto = self.proto
        except DecodeError as error:
            raise ModelError(f"{where}the file is not an ONNX model, or it is corrupt") from error
        if not proto.ir_version:
            raise ModelError(f"{where}the file is not an ONNX model (it states no IR version)")
        if proto.ir_version > onnx.IR_VERSION:
            raise ModelError(
                f"{where}IR version {proto.ir_version} is newer than the installed onnx {onnx.__version__} reads "
                f"({onnx.IR_VERSION}): pip install --upgrade onnx"
            )

    @cached_property
    def bytes_of_weights(self) -> int:
        """What the large initializers weigh, in bytes."""
        return sum(payload.size for payload in self.payloads.values())


def _copy_fields(message: Message, into: Message, *, leave_out: str) -> None:
    """Copies all fields but one, so that hundreds of megabytes of weights are not copied along only to be dropped.

    Raises:
        ModelError: The message has fields that the installed onnx does not know: copied one by one they would be lost.
    """
    if len(UnknownFieldSet(message)):
        raise ModelError("the ModelProto has fields that the installed onnx does not know: pass the file or its bytes")
    for descriptor, value in message.ListFields():
        if descriptor.name == leave_out:
            continue
        if descriptor.is_repeated:
            getattr(into, descriptor.name).MergeFrom(value)
        elif descriptor.message_type is not None:
            getattr(into, descriptor.name).CopyFrom(value)
        else:
            setattr(into, descriptor.name, value)


def _light_graph(buffer: Buffer, graph: Field, payloads: dict[int, Payload], file: Descriptor | None) -> bytes:
    """Returns the graph's payload without the large initializers' data, and notes where that is."""
    parts: list[Buffer | bytes] = []
    ordinal = 0
    kept = graph.payload  # everything before this position is in `parts`
    for entry in wire.fields(buffer, graph.payload, graph.end):
        if entry.number != GRAPH_INITIALIZER or entry.wire != wire.LENGTH_DELIMITED:
            continue
        if entry.end - entry.payload > LARGE and (cut := _cut_tensor(buffer, entry, file)) is not None:
            header, payloads[ordinal] = cut
            parts += [buffer[kept : entry.start], wire.field_bytes(GRAPH_INITIALIZER, header)]
            kept = entry.end
        ordinal += 1
    if not payloads:
        return b""
    parts.append(buffer[kept : graph.end])
    return b"".join(parts)


def _cut_tensor(buffer: Buffer, tensor: Field, file: Descriptor | None) -> tuple[bytes, FilePayload] | None:
    """Splits an initializer into its header and its data; None where it has no large raw data."""
    data_type, raw = 0, None
    header: list[Buffer] = []
    for entry in wire.fields(buffer, tensor.payload, tensor.end):
        if entry.number == TENSOR_RAW_DATA and entry.wire == wire.LENGTH_DELIMITED:
            raw = entry
            continue
        if entry.number == TENSOR_DATA_TYPE and entry.wire == wire.VARINT:
            data_type, _ = wire.read_varint(buffer, entry.payload, entry.end)
        header.append(buffer[entry.start : entry.end])
    if raw is None or raw.end - raw.payload <= LARGE or data_type not in NUMPY_DTYPES:
        return None
    return b"".join(header), FilePayload(buffer, tensor.start, tensor.end, (raw.payload, raw.end), data_type, file)

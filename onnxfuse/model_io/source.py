"""A model as it came: its protobuf without the weights, and where the weights are.

`Source.light` is the serialized model in which every large initializer keeps its header (name, dims, data type) and
carries no data. It is small, so it can be parsed, kept and searched; the weights stay in the file (mapped) or in the
caller's message, and are copied by the operating system when the model is written.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.descriptor import Descriptor as MessageDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from onnxfuse.model_io.check import check_structure
from onnxfuse.model_io.check_tensors import shape_text
from onnxfuse.model_io.cut import light_graph
from onnxfuse.model_io.payload import (
    LARGE,
    Descriptor,
    NodePayload,
    Payload,
    Span,
    TensorData,
    data_bytes,
)
from onnxfuse.model_io.recognize import what_else
from onnxfuse.model_io.wire import Buffer

__all__ = ["MODEL_GRAPH", "PROTOBUF_LIMIT", "Source", "payload_of"]

# Field number of onnx.proto.
MODEL_GRAPH: Final = 7

# A serialized protobuf message stays below 2 GiB: https://protobuf.dev/programming-guides/proto-limits/
PROTOBUF_LIMIT: Final = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Source:
    """A model as it came.

    Attributes:
        light: The serialized ModelProto without the data of large initializers.
        payloads: The main graph's large initializers, by their ordinal among its initializers.
        nodes: The main graph's nodes with large tensors in their attributes (Constant), by their ordinal among its nodes.
        original: The whole serialized model as it came, where it came as a file or as bytes.
        path: The file it came from.
        folder: Where its external data lies, if that is known.
    """

    light: bytes
    payloads: Mapping[int, Payload] = field(default_factory=dict)
    nodes: Mapping[int, NodePayload] = field(default_factory=dict)
    original: Span | None = None
    path: Path | None = None
    folder: Path | None = None

    @classmethod
    def from_path(cls, path: Path) -> Source:
        """Maps the file at `path`.

        Raises:
            ModelError: It cannot be read, is empty, or is no protobuf message.
        """
        try:
            file = Descriptor(path)
            status = os.fstat(file.number)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
                raise ModelError(f"{path}: is {kind}: name the model's file")
            if not status.st_size:
                raise ModelError(f"{path}: the file is empty")
            mapped = mmap.mmap(file.number, status.st_size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ModelError(f"{path}: cannot be read: {reason or error}") from error
        try:
            return cls._cut(Span(memoryview(mapped), 0, len(mapped), file), path, mapped)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @classmethod
    def from_buffer(cls, buffer: Buffer) -> Source:
        """Cuts the large initializers out of a serialized model.

        Raises:
            ModelError: The buffer is empty or is no protobuf message.
        """
        if not len(buffer):
            raise ModelError("the model is empty (0 bytes)")
        return cls._cut(Span(buffer, 0, len(buffer)), None, None)

    @classmethod
    def _cut(cls, whole: Span, path: Path | None, mapped: mmap.mmap | None) -> Source:
        buffer = whole.view()
        try:
            top = list(wire.fields(buffer))
        except ModelError as error:
            raise ModelError(what_else(bytes(buffer[:64])) or str(error)) from error
        graphs = [entry for entry in top if entry.number == MODEL_GRAPH and entry.wire == wire.LENGTH_DELIMITED]
        if len(graphs) != 1:
            # Protobuf would merge several graphs, but no model is written so: whatever it is, it is not an ONNX model.
            reason = f"not an ONNX model: it has {'several graphs' if graphs else 'no graph'}"
            raise ModelError(what_else(bytes(buffer[:64])) or reason)
        graph = light_graph(whole, graphs[0], mapped)
        folder = None if path is None else path.absolute().parent
        size = sum(map(len, graph.parts)) + sum(entry.end - entry.start for entry in top if entry is not graphs[0])
        if size > PROTOBUF_LIMIT:
            raise ModelError(
                f"it has {size} bytes beside its weights, and protobuf reads no more than {PROTOBUF_LIMIT}"
            )
        if not graph.payloads and not graph.nodes:
            return cls(bytes(buffer), original=whole, path=path, folder=folder)
        parts: list[Buffer | bytes] = []
        for entry in top:
            if entry is graphs[0]:
                parts += [wire.length_delimited_header(MODEL_GRAPH, sum(map(len, graph.parts))), *graph.parts]
            else:
                parts.append(buffer[entry.start : entry.end])
        return cls(b"".join(parts), graph.payloads, graph.nodes, original=whole, path=path, folder=folder)

    @classmethod
    def from_message(cls, model: onnx.ModelProto) -> Source:
        """Takes a ModelProto, whose large initializers stay where they are.

        Raises:
            ModelError: It cannot be serialized.
        """
        if not model.HasField("graph"):
            raise ModelError("not an ONNX model: it has no graph")
        if len(UnknownFieldSet(model)) or len(UnknownFieldSet(model.graph)):
            # They would be lost where fields are copied one by one.
            try:
                return cls.from_buffer(memoryview(model.SerializeToString()))
            except (EncodeError, ValueError) as error:
                raise ModelError(f"the ModelProto cannot be serialized: {error}") from error
        payloads: dict[int, Payload] = {}
        skeleton = onnx.ModelProto()
        _copy_fields(model, skeleton, leave_out="graph")
        _copy_fields(model.graph, skeleton.graph, leave_out="initializer")
        for ordinal, tensor in enumerate(model.graph.initializer):
            twin = skeleton.graph.initializer.add()
            payload = payload_of(tensor)
            if payload is None:
                twin.CopyFrom(tensor)
            else:
                twin.MergeFromString(payload.header)
                payloads[ordinal] = payload
        return cls(skeleton.SerializeToString(), payloads)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The light model, parsed. Not to be changed."""
        return onnx.ModelProto.FromString(self.light)

    def check(self) -> None:
        """Checks that this is an ONNX model that the installed onnx reads, and that it holds together.

        Raises:
            ModelError: It is no ONNX model, its IR version is newer, or its graph is broken: names that nothing
                defines or
                that are defined twice, nodes out of order, tensors whose data does not fit their shape.
        """
        try:
            self._check()
        except ModelError as error:
            if self.path is None:
                raise
            raise ModelError(f"{self.path}: {error}") from error

    def _check(self) -> None:
        try:
            version = self.proto.ir_version
        except DecodeError as error:
            if "MaxDepth" in str(error):
                raise ModelError("its messages are nested deeper than protobuf reads (100 in one another)") from error
            raise ModelError("not an ONNX model, or corrupt") from error
        if version <= 0:
            raise ModelError("not an ONNX model: it states no IR version")
        if version > onnx.IR_VERSION:
            raise ModelError(
                f"IR version {version} is newer than the installed onnx {onnx.__version__} reads ({onnx.IR_VERSION}): "
                "pip install --upgrade onnx"
            )
        check_structure(self.proto, {ordinal: payload.data.size for ordinal, payload in self.payloads.items()})
        for node in self.nodes.values():
            for payload in node.tensors.values():
                header = onnx.TensorProto.FromString(payload.header)
                if payload.data.size != data_bytes(header.data_type, header.dims):
                    raise ModelError(
                        f"constant {header.name!r}: it has {payload.data.size} bytes of data, which do not fit its shape "
                        f"{shape_text(header.dims)}"
                    )

    @cached_property
    def bytes_of_weights(self) -> int:
        """What the large initializers weigh, in bytes."""
        return sum(payload.data.size for payload in self.payloads.values())


def payload_of(tensor: onnx.TensorProto) -> Payload | None:
    """Returns a large tensor as one whose data stays where it is; None where it has none, or would lose a field."""
    # Not by ByteSize(): it serializes the tensor to measure it. What is really there is compared when it is read.
    if not tensor.HasField("raw_data") or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    size = data_bytes(tensor.data_type, tensor.dims)
    if size is None or size <= LARGE or len(UnknownFieldSet(tensor)):
        return None
    header = onnx.TensorProto()
    _copy_fields(tensor, header, leave_out="raw_data")
    return Payload(header.SerializeToString(), TensorData(tensor.name, size, lambda: tensor.raw_data), message=tensor)


def _copy_fields(message: Message, into: Message, *, leave_out: str) -> None:
    """Copies all fields but one, so that hundreds of megabytes of weights are not copied along only to be dropped."""
    # Not by ListFields(): it hands out a copy of every value, of the one that is left out too.
    for name, repeated, is_message in _fields(message.DESCRIPTOR):
        if name == leave_out:
            continue
        if repeated:
            getattr(into, name).MergeFrom(getattr(message, name))
        elif message.HasField(name):
            if is_message:
                getattr(into, name).CopyFrom(getattr(message, name))
            else:
                setattr(into, name, getattr(message, name))


@cache
def _fields(descriptor: MessageDescriptor) -> list[tuple[str, bool, bool]]:
    return [(field.name, field.is_repeated, field.message_type is not None) for field in descriptor.fields]

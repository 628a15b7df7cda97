"""Large tensors: their data stays where it lies until it is written, and then goes there by the shortest way."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import ml_dtypes
import numpy as np
import onnx

from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from onnxfuse.model_io.wire import Buffer

__all__ = [
    "ELEMENT_BITS",
    "LARGE",
    "NUMPY_DTYPES",
    "Data",
    "Descriptor",
    "NodePayload",
    "Payload",
    "Span",
    "TensorData",
    "data_bytes",
    "elements",
]

# Field numbers of onnx.proto.
GRAPH_NODE: Final = 1
GRAPH_INITIALIZER: Final = 5
TENSOR_RAW_DATA: Final = 9

# Smaller tensors stay in the light model: below this, the bookkeeping costs more than the bytes.
LARGE: Final = 1024

# Size of an element by ONNX's number of its type: all but strings.
ELEMENT_BITS: Final[Mapping[int, int]] = {
    **dict.fromkeys((25, 26), 2),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((27, 28), 6),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
}

# Types whose raw data is a plain array that numpy and a runtime take as it is, so that a view on it is a tensor's
# value.
NUMPY_DTYPES: Final[Mapping[int, np.dtype]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    4: np.dtype("<u2"),
    5: np.dtype("<i2"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
    12: np.dtype("<u4"),
    13: np.dtype("<u8"),
    14: np.dtype("<c8"),
    15: np.dtype("<c16"),
    16: np.dtype(ml_dtypes.bfloat16),
}


T = TypeVar("T")


def elements(dims: Sequence[int]) -> int | None:
    """Returns how many elements a tensor has; None for shapes that none has: with negative dims, or beyond 2^63."""
    if any(dim < 0 for dim in dims):
        return None
    if 0 in dims:
        return 0
    count = 1
    for dim in dims:
        count *= dim
        if count >= 1 << 63:
            return None  # at once: a shape of a million dims would give a number of a million digits
    return count


def data_bytes(data_type: int, dims: Sequence[int]) -> int | None:
    """Returns how many bytes of raw data a tensor has; None for strings, unknown types and impossible shapes."""
    bits, count = ELEMENT_BITS.get(data_type), elements(dims)
    return None if bits is None or count is None else -(-count * bits // 8)


class Descriptor:
    """An open file, closed when the last that uses it is gone.

    Attributes:
        number: The descriptor.
    """

    def __init__(self, path: Path) -> None:
        # Not to wait where the path turns out to be a pipe.
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        weakref.finalize(self, os.close, self.number)


@dataclass(frozen=True, eq=False)
class Span:
    """A stretch of the buffer that a model came in: a mapped file, or bytes.

    Attributes:
        source: The buffer.
        start: Where it begins.
        end: Where it ends.
        file: The mapped file, so that the kernel can copy from it.
    """

    source: Buffer
    start: int
    end: int
    file: Descriptor | None = None

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    def view(self) -> Buffer:
        """Returns the bytes; nothing is copied."""
        return self.source[self.start : self.end]


@dataclass(frozen=True, eq=False)
class TensorData:
    """The data of a tensor that is not in a buffer: of a protobuf message, of an array, of one that computes it.

    Attributes:
        name: The tensor's name, for messages.
        size: Length in bytes, as element type and shape say.
        read: Returns the bytes. They may be a copy, so it is called only when they are written.
        values: Returns the array, where it can be had without its bytes.
    """

    name: str
    size: int
    read: Callable[[], bytes]
    values: Callable[[], np.ndarray] | None = None

    def view(self) -> bytes:
        """Returns the bytes.

        Raises:
            ModelError: There are none, or not as many as element type and shape say.
        """
        data = self._had(self.read)
        if len(data) != self.size:
            raise ModelError(f"tensor {self.name!r} has {len(data)} bytes of data, its shape asks for {self.size}")
        return data

    def array(self) -> np.ndarray | None:
        """Returns the array, where it can be had without its bytes.

        Raises:
            ModelError: There is none.
        """
        return None if self.values is None else self._had(self.values)

    def _had(self, how: Callable[[], T]) -> T:
        try:
            return how()
        except (TypeError, RuntimeError) as error:  # what torch says of a FakeTensor
            raise ModelError(f"tensor {self.name!r}: its values cannot be read: {error}") from error


Data = Span | TensorData


@dataclass(frozen=True, eq=False)
class Payload:
    """A large tensor: an initializer of the main graph, or the value of one of its Constant nodes.

    Attributes:
        header: The serialized TensorProto without its raw data.
        data: The raw data, where it lies.
        field: The whole field as it came, where it came in a buffer. Both GraphProto and AttributeProto hold such a tensor
            in their field 5.
        message: The caller's message, where it came in one.
    """

    header: bytes
    data: Data
    field: Span | None = None
    message: onnx.TensorProto | None = None

    @property
    def size(self) -> int:
        """Length of the whole field, in bytes."""
        return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in self.pieces())

    def pieces(self) -> Iterator[bytes | Data]:
        """Yields the whole field."""
        if self.field is not None:
            yield self.field
            return
        # The data goes where protobuf itself puts it: in the order of the fields' numbers.
        header = memoryview(self.header)
        at = next((entry.start for entry in wire.fields(header) if entry.number > TENSOR_RAW_DATA), len(header))
        raw = wire.length_delimited_header(TENSOR_RAW_DATA, self.data.size)
        size = len(header) + len(raw) + self.data.size
        yield wire.length_delimited_header(GRAPH_INITIALIZER, size) + bytes(header[:at]) + raw
        yield self.data
        yield bytes(header[at:])

    def joined(self) -> bytes:
        """Returns the whole field."""
        return b"".join(piece if isinstance(piece, bytes) else piece.view() for piece in self.pieces())

    def with_fields(self, anew: Mapping[int, Sequence[bytes]]) -> Payload:
        """Returns the same data under a header in which the fields of some numbers are others."""
        return Payload(b"".join(wire.splice(memoryview(self.header), anew)), self.data)

    def array(self) -> np.ndarray | None:
        """Returns the value as a read-only array, or None for an element type that is no plain array.

        Data that lies in a buffer is not copied.
        """
        header = onnx.TensorProto.FromString(self.header)
        dtype = NUMPY_DTYPES.get(header.data_type)
        if dtype is None:
            return None
        if isinstance(self.data, TensorData) and (array := self.data.array()) is not None:
            return array
        return np.frombuffer(self.data.view(), dtype=dtype).reshape(tuple(header.dims))


@dataclass(frozen=True, eq=False)
class NodePayload:
    """A node of the main graph with large tensors in its attributes.

    Attributes:
        header: Its field without the tensors' data.
        field: Its field as it came.
        tensors: The tensors, by the ordinal of the attribute.
    """

    header: bytes
    field: Span
    tensors: Mapping[int, Payload]

    @property
    def size(self) -> int:
        """Length of the whole field, in bytes."""
        return self.field.size

    def pieces(self) -> Iterator[Data]:
        """Yields the whole field."""
        yield self.field

    def joined(self) -> bytes:
        """Returns the whole field."""
        return bytes(self.field.view())

"""Protobuf's wire format, as far as carrying messages over unread needs it.

A message is a sequence of fields; a field is a tag (number and wire type) and a payload. Cutting a buffer into its
fields lets us emit the untouched ones byte for byte, and leave the weights where they are.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from onnxfuse.errors import ModelError

__all__ = [
    "LENGTH_DELIMITED",
    "VARINT",
    "Buffer",
    "Field",
    "encoded",
    "field_bytes",
    "fields",
    "length_delimited_header",
    "payload_of",
    "read_varint",
    "splice",
    "text_field",
    "varint_field",
]

T = TypeVar("T")

Buffer = memoryview

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5


class Field(NamedTuple):
    """One field of a message, as positions in the buffer that holds it.

    Attributes:
        number: The field's number in the .proto file.
        wire: Its wire type.
        start: Where its tag begins.
        payload: Where its payload begins (after the tag and, for a length-delimited field, the length).
        end: Where it ends; the next field begins there.
    """

    number: int
    wire: int
    start: int
    payload: int
    end: int


def read_varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """Returns the varint at `at` and the position after it.

    Raises:
        ModelError: The buffer ends inside it, or it is longer than 10 bytes.
    """
    value = shift = 0
    while at < end and shift < 70:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ModelError("the protobuf is truncated or corrupt")


def fields(buffer: Buffer, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """Yields the fields of the message in `buffer[start:end]`, in order.

    Raises:
        ModelError: The bytes are no message: a length beyond the end, a wire type that does not exist.
    """
    at = start
    end = len(buffer) if end is None else end
    while at < end:
        begin = at
        # The common case of one-byte tags and lengths is spelled out: this loop runs once a node.
        byte = buffer[at]
        if byte < 0x80:
            tag, at = byte, at + 1
        else:
            tag, at = read_varint(buffer, at, end)
        wire = tag & 7
        if wire == LENGTH_DELIMITED:
            size, at = read_varint(buffer, at, end)
            stop = at + size
        elif wire == VARINT:
            _, stop = read_varint(buffer, at, end)
        elif wire == FIXED64:
            stop = at + 8
        elif wire == FIXED32:
            stop = at + 4
        else:
            raise ModelError("the protobuf is truncated or corrupt")
        if stop > end or tag >> 3 == 0:
            raise ModelError("the protobuf is truncated or corrupt")
        yield Field(tag >> 3, wire, begin, at, stop)
        at = stop


def encode_varint(value: int) -> bytes:
    """Returns `value` (not negative) as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_delimited_header(number: int, size: int) -> bytes:
    """Returns the tag and length that stand before a payload of `size` bytes."""
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(size)


def field_bytes(number: int, payload: bytes) -> bytes:
    """Returns a whole length-delimited field."""
    return length_delimited_header(number, len(payload)) + payload


def varint_field(number: int, value: int) -> bytes:
    """Returns a whole field that holds an int64: a negative one takes ten bytes, as protobuf has it."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value & (1 << 64) - 1)


def encoded(text: str | bytes | None) -> bytes:
    """Returns the bytes of a text. Protobuf gives out bytes where a text is not UTF-8."""
    return text.encode() if isinstance(text, str) else text or b""


def text_field(number: int, text: str | bytes | None) -> list[bytes]:
    """Returns the field of a text, or nothing where there is none."""
    return [field_bytes(number, encoded(text))] if text else []


def payload_of(field: bytes) -> bytes:
    """Returns what a whole length-delimited field holds."""
    return field[next(fields(memoryview(field))).payload :]


def splice(message: Buffer, anew: Mapping[int, Sequence[T]]) -> Iterator[bytes | T]:
    """Yields the fields of a message, some of them replaced.

    Args:
        message: The message as it came.
        anew: What stands in place of all fields of a number. It goes where the first of them stood; the rest of the
            message stays as it is, byte for byte.
    """
    left = dict(anew)
    for entry in fields(message):
        if entry.number not in anew:
            yield bytes(message[entry.start : entry.end])
        else:
            yield from left.pop(entry.number, ())
    for number in sorted(left):
        yield from left[number]

"""Protobuf's wire format."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from tests.model_io.models import everything


def cut(data: bytes) -> list[bytes]:
    return [data[entry.start : entry.end] for entry in wire.fields(memoryview(data))]


def test_fields_cover_the_message() -> None:
    data = everything().SerializeToString()

    assert b"".join(cut(data)) == data
    assert [data[entry.payload : entry.end] for entry in wire.fields(memoryview(data)) if entry.number == 2] == [
        b"tests"
    ]


@given(st.integers(0, 2**64 - 1))
def test_varints_come_back(value: int) -> None:
    encoded = wire.encode_varint(value)

    assert wire.read_varint(memoryview(encoded), 0, len(encoded)) == (value, len(encoded))


@given(st.integers(1, 2**29 - 1), st.integers(-(2**63), 2**63 - 1))
def test_varint_field_is_what_protobuf_writes(number: int, value: int) -> None:
    field = wire.varint_field(5, value)

    assert field == onnx.ModelProto(model_version=value).SerializeToString()
    (entry,) = wire.fields(memoryview(wire.varint_field(number, value)))
    assert (entry.number, entry.wire) == (number, wire.VARINT)


@given(st.binary(max_size=300))
def test_length_delimited_field_is_what_protobuf_writes(payload: bytes) -> None:
    assert wire.field_bytes(9, payload) == onnx.TensorProto(raw_data=payload).SerializeToString()
    assert wire.payload_of(wire.field_bytes(9, payload)) == payload


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # no length
        b"\x0a\x05abc",  # a length beyond the end
        b"\x08",  # no value
        b"\x08" + b"\xff" * 11,  # a value of more than ten bytes
        b"\x0d\x00\x00",  # half a fixed32
        b"\x09\x00\x00\x00\x00",  # half a fixed64
        b"\x0b\x0c",  # a group
        b"\x0e",  # a wire type that there is not
        b"\x02\x00",  # field number 0
        b"\x80",  # half a tag
    ],
)
def test_what_is_no_message_is_told(data: bytes) -> None:
    with pytest.raises(ModelError, match="truncated or corrupt"):
        list(wire.fields(memoryview(data)))


@given(st.binary(max_size=60))
def test_fields_agree_with_protobuf(data: bytes) -> None:
    try:
        parts = cut(data)
    except ModelError:
        return
    assert b"".join(parts) == data


def test_splice_puts_new_fields_where_the_first_of_a_number_stood() -> None:
    one, two, three = (wire.field_bytes(number, b"x") for number in (1, 2, 3))
    message = memoryview(one + two + three + two)

    spliced = list(wire.splice(message, {2: [b"new", b"newer"], 4: [b"last"], 3: []}))

    assert spliced == [one, b"new", b"newer", b"last"]


def test_text_that_is_bytes_is_written_as_it_is() -> None:
    assert wire.text_field(1, b"\xff") == [b"\x0a\x01\xff"]
    assert wire.text_field(1, "é") == [b"\x0a\x02\xc3\xa9"]
    assert wire.text_field(1, "") == wire.text_field(1, None) == []

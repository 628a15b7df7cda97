"""Bytes that are almost a model: it is read, or there is one line that says why not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnxfuse
from onnxfuse.errors import ModelError, OnnxfuseError
from onnxfuse.model_io import load, open_model
from onnxfuse.model_io.emit import emit
from tests.model_io.models import chain, everything

EXAMPLES = int(os.environ.get("ONNXFUSE_EXAMPLES", "200"))

SLICES = onnx.parser.parse_model(
    """
    <ir_version: 8, opset_import: ["": 17]>
    slices (float[N, 8, 16, 16] x, bool flag) => (float[N, 8, 15, 15] y, float[N, 8, 15, 15] z)
    <int64[1] one = {1}, int64[1] end = {9223372036854775807}, int64[1] rows = {2}, int64[1] columns = {3}> {
        a = Slice (x, one, end, rows)
        y = Slice (a, one, end, columns)
        z = If (flag) <
            then_branch = t () => (float[N, 8, 15, 15] p) {
                q = Slice (x, one, end, rows)
                p = Slice (q, one, end, columns)
            },
            else_branch = e () => (float[N, 8, 15, 15] r) { r = Relu (y) }
        >
    }
    """
)
SEEDS = [SLICES, chain(), everything()]

fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


# ------------------------------------------------------------------------------------------------ bytes


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[onnx.ModelProto] = SEEDS) -> bytes:
    """Draws a serialized model with some bytes changed, removed, put in, copied or cut off."""
    data = bytearray(draw(st.sampled_from(seeds)).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["set", "flip", "remove", "insert", "copy", "cut"]))
        if change == "set":
            data[at] = draw(st.integers(0, 255))
        elif change == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "remove":
            del data[at : at + draw(st.integers(1, 8))]
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif change == "copy":
            other, size = draw(st.integers(0, len(data) - 1)), draw(st.integers(1, 60))
            data[at : at + size] = data[other : other + size]
        else:
            del data[at + 1 :]
        data = data or bytearray(b"\0")
    return bytes(data)


# ------------------------------------------------------------------------------------------------ messages

NAMES = ["", "x", "y", "a", "p", "q", "one", "end", "relu", "small", "nowhere"]
# Protobuf's numbers for the types of fields.
DOUBLE, FLOAT, INT64, UINT64, INT32, TEXT, BYTES, ENUM = 1, 2, 3, 4, 5, 9, 12, 14


def value_for(draw: st.DrawFn, field: Any) -> Any:
    choices: dict[int, Sequence[Any]] = {
        TEXT: NAMES,
        BYTES: [b"", b"\xff", b"abcd"],
        FLOAT: [0.0, -0.0, float("nan"), 1e30],
        DOUBLE: [0.0, 1e300],
        INT32: [0, 1, -1, 2, 3, 16, 2**31 - 1, -(2**31)],
        INT64: [0, 1, -1, 5, 2**62, -(2**63)],
        UINT64: [0, 2**64 - 1],
    }
    if field.type == ENUM:
        choices[ENUM] = [value.number for value in field.enum_type.values]
    return draw(st.sampled_from(choices[field.type]))


def change_repeated(draw: st.DrawFn, message: Any, field: Any) -> None:
    items = getattr(message, field.name)
    change = draw(st.sampled_from(["remove", "shuffle", "double", "new"]))
    if change == "remove" and len(items):
        del items[draw(st.integers(0, len(items) - 1))]
    elif change == "shuffle" and len(items):
        order = draw(st.permutations(range(len(items)))) if len(items) < 12 else list(reversed(range(len(items))))
        copy = type(message)()
        copy.CopyFrom(message)
        message.ClearField(field.name)
        getattr(message, field.name).extend(getattr(copy, field.name)[index] for index in order)
    elif change == "double" and len(items):
        items.extend([items[draw(st.integers(0, len(items) - 1))]])
    elif field.message_type is not None:
        items.add()
    else:
        items.append(value_for(draw, field))


@st.composite
def twisted(draw: st.DrawFn, seeds: Sequence[onnx.ModelProto] = SEEDS) -> onnx.ModelProto:
    """Draws a model in which some fields anywhere say something else: valid protobuf, hardly a valid model."""
    model = onnx.ModelProto()
    model.CopyFrom(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        message: Any = model
        while inner := [
            item
            for field, value in message.ListFields()
            if field.message_type is not None
            for item in (value if field.is_repeated else [value])
        ]:
            if not draw(st.integers(0, 6)):
                break
            message = inner[draw(st.integers(0, len(inner) - 1))]
        field = draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
        if field.is_repeated:
            change_repeated(draw, message, field)
        elif field.message_type is None:
            setattr(message, field.name, value_for(draw, field))
        elif draw(st.booleans()):
            message.ClearField(field.name)
        else:
            getattr(message, field.name).SetInParent()
    return model


# ------------------------------------------------------------------------------------------------ what must hold


def check(given_as: bytes | onnx.ModelProto) -> None:
    """Reads, writes, changes and copies a model."""
    data = given_as if isinstance(given_as, bytes) else given_as.SerializeToString()
    try:
        model = open_model(given_as).working_model()
        assert emit(model).data() == data
        model.doc_string = "changed"
        emitted = emit(model)
        assert emitted.message() == onnx.load_from_string(emitted.data())
        load(model)
    except ModelError as error:
        assert "\n" not in str(error)


@fuzz
@given(damaged())
def test_damaged_bytes_are_read_or_told(data: bytes) -> None:
    check(data)


@fuzz
@given(twisted(), st.booleans())
def test_twisted_model_is_read_or_told(model: onnx.ModelProto, as_bytes: bool) -> None:
    check(model.SerializeToString() if as_bytes else model)


@fuzz
@given(st.one_of(damaged(), twisted().map(lambda model: model.SerializeToString())))
def test_rewriting_ends_well_or_with_an_error_of_ours(data: bytes) -> None:
    try:
        result = onnxfuse.apply(data, "merge-sliced,remove-pad", verify="region")
    except OnnxfuseError:
        return
    if not result.report.modified:
        assert result.model == data
    load(result.model)

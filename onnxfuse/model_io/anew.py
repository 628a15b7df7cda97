"""Objects of an `onnx_ir.Model` as the fields of protobuf messages, for what nobody has bytes of yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import onnx
import onnx_ir as ir

from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from onnxfuse.model_io.payload import ELEMENT_BITS, LARGE, Payload, TensorData, data_bytes
from onnxfuse.model_io.state import NodeState, State, ValueState

__all__ = [
    "annotation_field",
    "attribute_message",
    "header_fields",
    "model_fields",
    "new_tensor",
    "node_fields",
    "tensor_fields",
    "value_fields",
]

# Field numbers of onnx.proto.
NODE_ATTRIBUTE: Final = 5
VALUE_TYPE: Final = 2
TENSOR_NAME: Final = 8
TENSOR_DOC_STRING: Final = 12
TENSOR_METADATA: Final = 16
FUNCTION_ATTRIBUTE: Final = 11


def _entries(number: int, items: Iterable[tuple[str, str]]) -> list[bytes]:
    """Returns the fields of a string map."""
    return [
        wire.field_bytes(number, wire.field_bytes(1, wire.encoded(key)) + wire.field_bytes(2, wire.encoded(text)))
        for key, text in items
    ]


def _texts(number: int, texts: Iterable[str | None]) -> list[bytes]:
    return [wire.field_bytes(number, wire.encoded(text)) for text in texts]


def _opsets(number: int, items: Iterable[tuple[str, int]]) -> list[bytes]:
    return [
        wire.field_bytes(number, wire.field_bytes(1, domain.encode()) + wire.varint_field(2, version))
        for domain, version in items
    ]


def node_fields(state: NodeState, number: int) -> list[bytes]:
    """Returns a field of a NodeProto, all but the attributes (5)."""
    said: Any = state[number - 1]
    if number in (1, 2):
        return _texts(number, said)
    if number == 9:
        return _entries(number, said)
    if number == 10:
        return [wire.field_bytes(number, configuration) for configuration in said]
    return wire.text_field(number, said)


def header_fields(holder: ir.Graph | ir.Function, number: int, state: State) -> list[bytes]:
    """Returns a field of a GraphProto or a FunctionProto that is neither nodes nor values."""
    if isinstance(holder, ir.Graph):
        return _entries(number, state) if number == 16 else wire.text_field(number, *state)
    if number in (4, 5, 6):
        return _texts(number, state)
    if number == 9:
        return _opsets(number, state)
    if number == 14:
        return _entries(number, state)
    if number == FUNCTION_ATTRIBUTE:
        defaults = [attribute for attribute in holder.attributes.values() if attribute.value is not None]
        return [wire.field_bytes(number, attribute_message(attribute)) for attribute in defaults]
    return wire.text_field(number, *state)


def model_fields(number: int, state: State) -> list[bytes]:
    """Returns a field of a ModelProto that is neither the graph nor the functions."""
    if number in (1, 5):
        return [wire.varint_field(number, value) for value in state if value is not None]
    if number == 8:
        return _opsets(number, state)
    if number == 14:
        return _entries(number, state)
    if number == 26:
        protos = map(ir.serde.serialize_model_configuration, state)
        return [wire.field_bytes(number, proto.SerializeToString()) for proto in protos]
    return wire.text_field(number, *state)


def value_fields(value: ir.Value, state: ValueState, number: int) -> list[bytes]:
    """Returns a field of a ValueInfoProto: name (1), type and shape (2), doc string (3), or metadata (4)."""
    if number == 1:
        return wire.text_field(number, value.name)
    if number == VALUE_TYPE:
        if value.type is None:
            return []
        return [wire.field_bytes(number, ir.serde.serialize_value(value).type.SerializeToString())]
    if number == 3:
        return wire.text_field(number, state.doc_string)
    return _entries(number, state.metadata)


def annotation_field(number: int, name: str, names: Iterable[tuple[str, str]]) -> bytes:
    """Returns a TensorAnnotation as a field."""
    return wire.field_bytes(number, wire.field_bytes(1, name.encode()) + b"".join(_entries(2, names)))


def attribute_message(attribute: ir.Attr) -> bytes:
    """Returns an AttributeProto, of any attribute but one that holds graphs."""
    if attribute.ref_attr_name is not None:
        return ir.serde.serialize_reference_attribute(attribute).SerializeToString()
    proto = ir.serde.serialize_attribute(attribute)
    if attribute.type is ir.AttributeType.TENSOR:
        proto.t.CopyFrom(_tensor_message(attribute.as_tensor(), attribute.as_tensor().name))
    return proto.SerializeToString()


# ------------------------------------------------------------------------------------------------ tensors


def new_tensor(name: str, tensor: ir.TensorProtocol | None) -> bytes | Payload:
    """Returns an initializer that did not come in its graph: serialized, or where it is large as a payload.

    Raises:
        ModelError: It has no value.
    """
    if tensor is None:
        raise ModelError(f"initializer {name!r} has no value: it cannot be written")
    size = _raw_size(tensor)
    if size is None or size <= LARGE:
        return _tensor_message(tensor, name).SerializeToString()
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        header = onnx.TensorProto()
        for descriptor, value in tensor.raw.ListFields():
            if descriptor.name in ("data_type", "doc_string"):
                setattr(header, descriptor.name, value)
    else:
        header = onnx.TensorProto(data_type=int(tensor.dtype), doc_string=tensor.doc_string or None)
    header.name = name
    header.dims.extend(tensor.shape.numpy())
    for key, text in tensor.metadata_props.items():
        header.metadata_props.add(key=key, value=text)
    return Payload(header.SerializeToString(), TensorData(name, size, tensor.tobytes, tensor.numpy))


def _raw_size(tensor: ir.TensorProtocol) -> int | None:
    """Returns how many bytes of raw data a tensor is written with; None where it is written otherwise."""
    if isinstance(tensor, (ir.ExternalTensor, ir.StringTensor)) or int(tensor.dtype) not in ELEMENT_BITS:
        return None
    if isinstance(tensor, ir.serde.TensorProtoTensor) and not tensor.raw.HasField("raw_data"):
        return None  # its values are listed one by one; or its weights were taken out
    return data_bytes(int(tensor.dtype), tensor.shape.numpy())


def _tensor_message(tensor: ir.TensorProtocol, name: str | None) -> onnx.TensorProto:
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        # onnx_ir 1.1 writes the metadata of such a tensor twice.
        message = onnx.TensorProto()
        message.CopyFrom(tensor.raw)
        del message.metadata_props[:]
        for key, text in tensor.metadata_props.items():
            message.metadata_props.add(key=key, value=text)
    else:
        message = ir.serde.serialize_tensor(tensor)
    if message.name != (name or ""):
        message.name = name or ""
    return message


def tensor_fields(name: str, doc_string: str | None, metadata: Iterable[tuple[str, str]]) -> dict[int, list[bytes]]:
    """Returns the fields of a TensorProto that can change without its data."""
    return {
        TENSOR_NAME: wire.text_field(TENSOR_NAME, name),
        TENSOR_DOC_STRING: wire.text_field(TENSOR_DOC_STRING, doc_string),
        TENSOR_METADATA: _entries(TENSOR_METADATA, metadata),
    }

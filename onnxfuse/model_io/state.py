"""What the objects of an `onnx_ir.Model` say, as values that can be compared with what they said when they were read.

A state is a copy: types, shapes and metadata of onnx_ir are changed in place. Attributes and tensors are held by
identity: `0.0` and `-0.0` compare equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import onnx_ir as ir

__all__ = [
    "GRAPH_TYPES",
    "NOTHING_SAID",
    "AnnotationState",
    "AttributeState",
    "NodeState",
    "State",
    "TensorState",
    "ValueState",
    "annotation",
    "annotation_states",
    "attribute_state",
    "described_values",
    "header_state",
    "model_state",
    "node_state",
    "tensor_state",
    "value_state",
    "value_texts",
]

State = tuple[Any, ...]
AnnotationState = tuple[tuple[str, str], ...]
TensorState = tuple[str | None, tuple[tuple[str, str], ...]]
"""Doc string and metadata of a tensor; the data is told apart by the tensor's identity."""

GRAPH_TYPES: Final = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})

# Where onnx_ir keeps a GraphProto's quantization_annotation.
ANNOTATION_KEY: Final = "quant_parameter_tensor_names"


NESTED_TYPES: Final = frozenset({ir.SequenceType, ir.OptionalType})


class AttributeState(NamedTuple):
    """What an attribute says; of one that holds graphs, only that it does."""

    name: str
    doc_string: str | None
    identity: int
    tensor: TensorState | None


class NodeState(NamedTuple):
    """What a node says, in the order of NodeProto's field numbers, from 1."""

    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    name: str | None
    op_type: str
    attributes: tuple[AttributeState, ...]
    doc_string: str | None
    domain: str
    overload: str
    metadata: tuple[tuple[str, str], ...]
    devices: tuple[bytes, ...]


class ValueState(NamedTuple):
    """What is said of a value beside its name."""

    type: State | None
    shape: State | None
    doc_string: str | None
    metadata: tuple[tuple[str, str], ...]


NOTHING_SAID: Final = ValueState(None, None, None, ())


def _metadata(thing: Any) -> tuple[tuple[str, str], ...]:
    # The public property makes a dict for each thing that has none, and most have none.
    props = getattr(thing, "_metadata_props", ...)
    if props is ...:
        props = thing.metadata_props
    return tuple(props.items()) if props else ()


def node_state(node: ir.Node) -> NodeState:
    """Returns all that a NodeProto says of `node`."""
    return NodeState(
        tuple([None if value is None else value.name for value in node.inputs]),
        tuple([str(value.name) for value in node.outputs]),
        node.name,
        node.op_type,
        tuple([attribute_state(attribute) for attribute in node.attributes.values()]),
        node.doc_string,
        node.domain,
        node.overload,
        _metadata(node),
        _devices(node) if node.device_configurations else (),
    )


def _devices(node: ir.Node) -> tuple[bytes, ...]:
    """Returns the device configurations serialized: they refer to values, which a copy of the model has anew."""
    configurations = []
    for configuration in node.device_configurations:
        try:
            proto = ir.serde.serialize_node_device_configuration(configuration)
        except ValueError:  # it names no configuration: a flaw of the model as it came, or onnx_ir had not built it
            configurations.append(b"")
        else:
            configurations.append(proto.SerializeToString(deterministic=True))
    return tuple(configurations)


def attribute_state(attribute: ir.Attr) -> AttributeState:
    """Returns what an AttributeProto says of `attribute`, its value by identity."""
    is_reference = attribute.ref_attr_name is not None
    if attribute.type in GRAPH_TYPES and not is_reference:
        # A copy of the model has other objects here; the graphs tell by themselves whether they changed.
        return AttributeState(attribute.name, attribute.doc_string, int(attribute.type), None)
    tensor = tensor_state(attribute.value) if attribute.type is ir.AttributeType.TENSOR and not is_reference else None
    return AttributeState(attribute.name, attribute.doc_string, id(attribute), tensor)


def tensor_state(tensor: ir.TensorProtocol) -> TensorState:
    """Returns what a TensorProto says of `tensor` beside its name and its data."""
    return tensor.doc_string, _metadata(tensor)


def value_state(value: ir.Value) -> ValueState:
    """Returns all that a ValueInfoProto says of `value` beside its name."""
    shape = value.shape
    return ValueState(
        _type_state(value.type),
        None if shape is None else (*shape, *map(shape.get_denotation, range(len(shape)))),
        value.doc_string,
        _metadata(value),
    )


def value_texts(value: ir.Value) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Returns the doc string and the metadata of `value`: the last two of its state."""
    return value.doc_string, _metadata(value)


def _type_state(kind: ir.TypeProtocol | None) -> State | None:
    if kind is None:
        return None
    # Not by isinstance: onnx_ir's types are protocols, and asking one of these takes microseconds.
    if type(kind) in NESTED_TYPES:
        inner: Any = kind.elem_type
        return type(kind), kind.denotation, _type_state(inner)
    return type(kind), kind.denotation, kind.dtype


def described_values(graph: ir.Graph) -> dict[str, ValueState]:
    """Returns the states of all values of `graph` of which something is said, by name."""
    states = {}
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        states[str(value.name)] = value_state(value)
    for node in graph:
        for value in node.outputs:
            if (state := value_state(value)) != NOTHING_SAID:
                states[str(value.name)] = state
    return states


def annotation(value: ir.Value) -> AnnotationState:
    """Returns the quantization annotation of `value`; empty where it has none."""
    # The public `meta` makes a store for each value that has none, and most have none.
    if getattr(value, "_metadata", ...) is None:
        return ()
    names: Mapping[str, str] = value.meta.get(ANNOTATION_KEY) or {}
    return tuple(names.items())


def annotation_states(graph: ir.Graph) -> dict[str, AnnotationState]:
    """Returns the quantization annotations of `graph`, by the value's name."""
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    return {str(value.name): names for value in values if (names := annotation(value))}


def header_state(holder: ir.Graph | ir.Function) -> dict[int, State]:
    """Returns what a GraphProto or a FunctionProto says beside nodes and values, by their fields' numbers."""
    if isinstance(holder, ir.Graph):
        return {2: (holder.name,), 10: (holder.doc_string,), 16: _metadata(holder)}
    attributes = list(holder.attributes.values())
    return {
        1: (holder.name,),
        4: tuple(value.name for value in holder.inputs),
        5: tuple(value.name for value in holder.outputs),
        # Attributes without a default are listed by their names alone.
        6: tuple(attribute.name for attribute in attributes if attribute.value is None),
        8: (holder.doc_string,),
        9: tuple(holder.opset_imports.items()),
        10: (holder.domain,),
        11: tuple(attribute_state(attribute) for attribute in attributes if attribute.value is not None),
        13: (holder.overload,),
        14: tuple(holder.metadata_props.items()),
    }


def model_state(model: ir.Model) -> dict[int, State]:
    """Returns what a ModelProto says beside graph, functions and training, by its fields' numbers."""
    return {
        1: (model.ir_version,),
        2: (model.producer_name,),
        3: (model.producer_version,),
        4: (model.domain,),
        5: (model.model_version,),
        6: (model.doc_string,),
        8: tuple(model.opset_imports.items()),
        14: _metadata(model),
        26: tuple(model.device_configurations),
    }

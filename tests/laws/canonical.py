"""What a model says, whatever its nodes and inner values are called and in whatever valid order they stand."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

__all__ = ["Canonical", "canonical"]


@dataclass(frozen=True)
class Canonical:
    """A model without names.

    Attributes:
        interface: Inputs and outputs with their names and types, in order.
        outputs: What computes each output.
        nodes: How many there are of each node, told apart by op, attributes and all that leads to its inputs.
        initializers: How many there are of each content.
        opsets: The imported opsets.
        functions: The local functions, by identifier.
    """

    interface: tuple[bytes, ...]
    outputs: tuple[str, ...]
    nodes: Counter[str]
    initializers: Counter[str]
    opsets: dict[str, int]
    functions: dict[tuple[str, str], tuple[str, ...]]


def canonical(model: onnx.ModelProto) -> Canonical:
    """Returns what `model` says."""
    graph = model.graph
    nodes: Counter[str] = Counter()
    values = _values(graph, {value.name: f"input {value.name}" for value in graph.input}, nodes)
    return Canonical(
        interface=tuple(_interface(value) for value in (*graph.input, *graph.output)),
        outputs=tuple(values[value.name] for value in graph.output),
        nodes=nodes,
        initializers=Counter(_content(tensor) for tensor in graph.initializer),
        opsets={opset.domain: opset.version for opset in model.opset_import},
        functions={
            (function.domain, function.name): _body(
                function.node, function.output, {name: f"input {i}" for i, name in enumerate(function.input)}
            )
            for function in model.functions
        },
    )


def _interface(value: onnx.ValueInfoProto) -> bytes:
    bare = onnx.ValueInfoProto(name=value.name, type=value.type)
    return bare.SerializeToString(deterministic=True)


def _content(tensor: onnx.TensorProto) -> str:
    array = onnx.numpy_helper.to_array(tensor)
    return _digest(tensor.data_type, array.shape, array.tolist() if array.dtype == object else array.tobytes())


def _values(graph: onnx.GraphProto, known: Mapping[str, str], nodes: Counter[str]) -> dict[str, str]:
    values = dict(known) | {tensor.name: _content(tensor) for tensor in graph.initializer}
    return _walk(graph.node, values, nodes)


def _body(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str], known: dict[str, str]) -> tuple[str, ...]:
    values = _walk(nodes, known, Counter())
    return tuple(values[name] for name in outputs)


def _walk(nodes: Iterable[onnx.NodeProto], values: dict[str, str], counted: Counter[str]) -> dict[str, str]:
    values[""] = "omitted"
    for node in nodes:
        inputs = [values[name] for name in node.input]
        while inputs and inputs[-1] == "omitted":
            inputs.pop()
        attributes = sorted((attribute.name, _attribute(attribute, values)) for attribute in node.attribute)
        digest = _digest(node.domain, node.op_type, attributes, inputs, len(node.output))
        counted[f"{node.op_type} {digest}"] += 1
        values |= {name: f"{digest}.{index}" for index, name in enumerate(node.output) if name}
    return values


def _attribute(attribute: onnx.AttributeProto, values: Mapping[str, str]) -> str:
    kind = attribute.type
    if kind == onnx.AttributeProto.GRAPH:
        inner: Counter[str] = Counter()
        formal = {value.name: f"formal {index}" for index, value in enumerate(attribute.g.input)}
        results = _values(attribute.g, {**values, **formal}, inner)
        return _digest([results[value.name] for value in attribute.g.output], sorted(inner.items()))
    if kind == onnx.AttributeProto.TENSOR:
        return _content(attribute.t)
    bare = onnx.AttributeProto()
    bare.CopyFrom(attribute)
    bare.ClearField("doc_string")
    return bare.SerializeToString(deterministic=True).hex()


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

"""What a model says, whatever its nodes and inner values are called and in whatever valid order they stand."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx

__all__ = ["Canonical", "canonical", "text_diff"]


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
        values: What computes each value of the main graph, by name; not compared.
    """

    interface: tuple[bytes, ...]
    outputs: tuple[str, ...]
    nodes: Counter[str]
    initializers: Counter[str]
    opsets: dict[str, int]
    functions: dict[tuple[str, str], tuple[str, ...]]
    values: dict[str, str] = field(compare=False)


def canonical(model: onnx.ModelProto) -> Canonical:
    """Returns what `model` says."""
    graph = model.graph
    nodes: Counter[str] = Counter()
    constant = {tensor.name for tensor in graph.initializer} if model.ir_version < 4 else set()
    inputs = [value for value in graph.input if value.name not in constant]
    values = _values(graph, {value.name: f"input {value.name}" for value in inputs}, nodes)
    return Canonical(
        interface=tuple(_interface(value) for value in (*inputs, *graph.output)),
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
        values=values,
    )


def text_diff(expected: onnx.ModelProto, got: onnx.ModelProto) -> str:
    """Returns the lines by which the texts of two models differ, none where they say the same.

    Values of `got` that are computed as in `expected` take the names that they have there; names of nodes, doc strings,
    metadata and types of inner values are left out.
    """
    theirs = {digest: name for name, digest in canonical(expected).values.items()}
    renamed = {name: theirs.get(digest, name) for name, digest in canonical(got).values.items() if name}
    taken = Counter(renamed.values())
    renamed = {old: new for old, new in renamed.items() if taken[new] == 1}
    one = onnx.printer.to_text(_bare(expected, {})).splitlines()
    other = onnx.printer.to_text(_bare(got, renamed)).splitlines()
    return "\n".join(difflib.unified_diff(one, other, "expected", "got", lineterm=""))


def _bare(model: onnx.ModelProto, renamed: Mapping[str, str]) -> onnx.ModelProto:
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.CopyFrom(model.graph)
    for function in model.functions:
        bare.functions.add().CopyFrom(function)
    graph = bare.graph
    graph.name = "graph"
    del graph.value_info[:]
    _strip_and_rename(graph.node, renamed)
    for function in bare.functions:
        _strip_and_rename(function.node, {})
    for value in (*graph.input, *graph.output):
        value.name = renamed.get(value.name, value.name)
        value.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
        tensor.ClearField("doc_string")
    order = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:]
    graph.initializer.extend(order)
    return bare


def _strip_and_rename(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> None:
    for node in nodes:
        node.ClearField("name")
        node.ClearField("doc_string")
        del node.metadata_props[:]
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        order = sorted(node.attribute, key=lambda attribute: attribute.name)
        del node.attribute[:]
        node.attribute.extend(order)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip_and_rename(attribute.g.node, renamed)


def _interface(value: onnx.ValueInfoProto) -> bytes:
    bare = onnx.ValueInfoProto(name=value.name, type=value.type)
    return bare.SerializeToString(deterministic=True)


def _content(tensor: onnx.TensorProto) -> str:
    array = onnx.numpy_helper.to_array(tensor)
    return _digest(tensor.data_type, array.shape, array.tolist() if array.dtype == object else array.tobytes())


def _values(graph: onnx.GraphProto, known: Mapping[str, str], nodes: Counter[str]) -> dict[str, str]:
    values = dict(known)
    for tensor in graph.initializer:
        # What a caller can override is an input, whatever its default.
        values[tensor.name] = " ".join(filter(None, (known.get(tensor.name), _content(tensor))))
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
        # Names of an inner graph hide nothing outside: those of a graph are unique.
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

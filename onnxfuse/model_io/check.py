"""Whether a model holds together: its names, the order of its nodes, the sizes of its tensors.

What passes and runtimes rely on is said here once, with the place, instead of failing somewhere else with a traceback.
Ops, attributes and types are not looked at: a runtime says more about these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import onnx

from onnxfuse.errors import ModelError
from onnxfuse.model_io.payload import ELEMENT_BITS, data_bytes

__all__ = ["check_structure"]

STRING: Final = onnx.TensorProto.STRING
EXTERNAL: Final = onnx.TensorProto.EXTERNAL

# Protobuf gives out bytes where the bytes of a text are none. In a doc string that does no harm; a name must be one.
NOT_TEXT: Final = "the model is corrupt: a name in it is not UTF-8"

# The fields of AttributeProto without which an attribute of a type is none.
HELD: Final[Mapping[int, str]] = {onnx.AttributeProto.TENSOR: "t", onnx.AttributeProto.GRAPH: "g"}

COMPLEX: Final = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)

# The fields of TensorProto that list values one by one, and the element types that each is for.
VALUE_FIELDS: Final[Mapping[str, frozenset[int]]] = {
    "float_data": frozenset({1, 14}),
    "int64_data": frozenset({7}),
    "double_data": frozenset({11, 15}),
    "uint64_data": frozenset({12, 13}),
    "string_data": frozenset({STRING}),
    "int32_data": frozenset({2, 3, 4, 5, 6, 9, 10, *range(16, 29)}),
}


def check_structure(model: onnx.ModelProto, sizes: Mapping[int, int]) -> None:
    """Checks names, order and tensors of a model.

    Args:
        model: The light model.
        sizes: Bytes of raw data of the large initializers, which are not in it, by their ordinal.

    Raises:
        ModelError: A name is defined twice or never, a node reads what a later one computes, or a tensor's data does
            not
            fit its shape.
    """
    _check_opsets(model.opset_import, "the model")
    _check_graph(model.graph, [], "the graph", sizes)
    seen = set()
    for function in model.functions:
        where = f"function {function.domain}.{function.name}"
        key = (function.domain, function.name, function.overload)
        if not all(isinstance(name, str) for name in key):
            raise ModelError(NOT_TEXT)
        if key in seen:
            raise ModelError(f"{where} is defined twice")
        seen.add(key)
        _check_opsets(function.opset_import, where)
        scope: set[str] = set()
        _define(scope, function.input, f"{where}: input")
        _check_nodes(function.node, [scope], where)
        _check_outputs(function.output, scope, where)
        for attribute in function.attribute_proto:
            _check_attribute(attribute, [scope], f"{where}: attribute {attribute.name!r}")


def _check_opsets(opsets: Iterable[onnx.OperatorSetIdProto], where: str) -> None:
    for opset in opsets:
        if not isinstance(opset.domain, str):
            raise ModelError(NOT_TEXT)
        if not 0 <= opset.version < 1 << 31:
            raise ModelError(f"{where} imports opset {opset.version} of domain {opset.domain!r}, which there is not")


def _check_graph(graph: onnx.GraphProto, outer: Sequence[set[str]], where: str, sizes: Mapping[int, int]) -> None:
    scope: set[str] = set()
    _define(scope, [value.name for value in graph.input], f"{where}: input")
    initializers: set[str] = set()
    _define(initializers, [tensor.name for tensor in graph.initializer], f"{where}: initializer")
    _define(initializers, [tensor.values.name for tensor in graph.sparse_initializer], f"{where}: sparse initializer")
    if len(initializers) < len(graph.initializer) + len(graph.sparse_initializer):
        raise ModelError(f"{where} has an initializer without a name")
    scope |= initializers
    for ordinal, tensor in enumerate(graph.initializer):
        _check_tensor(tensor, f"initializer {tensor.name!r}", sizes.get(ordinal))
    _check_nodes(graph.node, [*outer, scope], where)
    _check_outputs([value.name for value in graph.output], scope, where)


def _define(scope: set[str], names: Iterable[str], kind: str) -> None:
    for name in names:
        if name in scope:
            raise ModelError(f"{kind} {name!r} is defined twice")
        if not isinstance(name, str):
            raise ModelError(NOT_TEXT)
        if name:
            scope.add(name)


def _check_nodes(nodes: Sequence[onnx.NodeProto], scopes: Sequence[set[str]], where: str) -> None:
    here = scopes[-1]
    for node in nodes:
        if not all(isinstance(name, str) for name in (node.op_type, node.domain, node.overload, node.name)):
            raise ModelError(NOT_TEXT)
        for name in node.input:
            if name and name not in here and not any(name in scope for scope in scopes):
                raise ModelError(_undefined(name, node, nodes))
        for device in node.device_configurations:
            if not device.configuration_id or not all(spec.tensor_name for spec in device.sharding_spec):
                raise ModelError(f"{_label(node)} has a device configuration that names no configuration or no tensor")
        names = set()
        for attribute in node.attribute:
            if attribute.name in names:
                raise ModelError(f"{_label(node)} has the attribute {attribute.name!r} twice")
            names.add(attribute.name)
            _check_attribute(attribute, scopes, _label(node))
        for name in node.output:
            if name in here:
                raise ModelError(f"{where}: {name!r} is defined twice, the second time as output of {_label(node)}")
            if not isinstance(name, str):
                raise ModelError(NOT_TEXT)
            if name:
                here.add(name)


def _undefined(name: str, node: onnx.NodeProto, nodes: Iterable[onnx.NodeProto]) -> str:
    later = next((other for other in nodes if name in other.output), None)
    if later is None:
        return f"{_label(node)} reads {name!r}, which nothing defines"
    return (
        f"{_label(node)} reads {name!r} before {_label(later)} computes it: the nodes are not in topological order, or "
        "form a cycle; where there is no cycle, the sort() of onnx_ir's Graph puts them in order"
    )


def _check_outputs(names: Iterable[str], scope: set[str], where: str) -> None:
    for name in names:
        if name not in scope:
            raise ModelError(f"{where}: nothing in it computes its output {name!r}")


def _label(node: onnx.NodeProto) -> str:
    name = node.name or next(iter(node.output), "")
    return f"node {name!r} ({node.op_type})"


def _check_attribute(attribute: onnx.AttributeProto, scopes: Sequence[set[str]], where: str) -> None:
    if not isinstance(attribute.name, str) or not isinstance(attribute.ref_attr_name, str):
        raise ModelError(NOT_TEXT)
    held = HELD.get(attribute.type)
    if held is not None and not attribute.ref_attr_name and not attribute.HasField(held):
        raise ModelError(f"{where}: attribute {attribute.name!r} does not hold what its type says")
    # By field, not by `type`: models of the first IR versions do not state it.
    if attribute.HasField("t"):
        _check_tensor(attribute.t, f"{where}: attribute {attribute.name!r}")
    for tensor in attribute.tensors:
        _check_tensor(tensor, f"{where}: attribute {attribute.name!r}")
    for graph in _graphs(attribute):
        _check_graph(graph, scopes, f"{where}: {attribute.name}", {})


def _graphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _check_tensor(tensor: onnx.TensorProto, where: str, size: int | None = None) -> None:
    """Checks that a tensor's data fits its shape; without any data it is a tensor whose weights were taken out."""
    kind = tensor.data_type
    if kind != STRING and kind not in ELEMENT_BITS:
        raise ModelError(f"{where}: unknown element type {kind}")
    dims = tensor.dims
    if any(dim < 0 for dim in dims):
        raise ModelError(f"{where}: its shape {list(dims)} has a negative dim")
    if tensor.data_location == EXTERNAL:
        return
    if size is None and tensor.HasField("raw_data"):
        size = len(tensor.raw_data)
    wanted = data_bytes(kind, dims)
    if size is not None:
        if wanted is None:
            raise ModelError(f"{where}: strings cannot be raw data")
        if size != wanted:
            raise ModelError(f"{where}: it has {size} bytes of data, its shape {list(dims)} asks for {wanted}")
        return
    _check_values(tensor, where)


def _check_values(tensor: onnx.TensorProto, where: str) -> None:
    count = 0
    for name, kinds in VALUE_FIELDS.items():
        if values := len(getattr(tensor, name)):
            if tensor.data_type not in kinds:
                raise ModelError(f"{where}: {name} is no place for elements of type {tensor.data_type}")
            count = values
    elements = math.prod(tensor.dims)
    bits = ELEMENT_BITS.get(tensor.data_type, 8)
    wanted = {elements}
    if tensor.data_type in COMPLEX:
        wanted = {2 * elements}
    elif bits < 8:
        # Two or four to a value where packed, as onnx does; others write them one by one.
        wanted = {elements, -(-elements * bits // 8)}
    if count and count not in wanted:
        raise ModelError(f"{where}: it has {count} values, its shape {list(tensor.dims)} asks for {elements}")

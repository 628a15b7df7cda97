"""Whether a model holds together: its names, the order of its nodes, the sizes of its tensors.

What passes and runtimes rely on is said here once, with the place, instead of failing somewhere else with a traceback.
Ops, attributes and types are not looked at: a runtime says more about these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import onnx

from onnxfuse.errors import ModelError
from onnxfuse.model_io.check_calls import check_calls
from onnxfuse.model_io.check_tensors import check_sparse, check_tensor

__all__ = ["check_structure"]

# Protobuf gives out bytes where the bytes of a text are none. In a doc string that does no harm; a name must be one.
NOT_TEXT: Final = "the model is corrupt: a name in it is not UTF-8"

UNDEFINED: Final = onnx.AttributeProto.UNDEFINED

# The fields of AttributeProto that hold messages, with the type of attribute that each is for.
HELD: Final[Mapping[str, int]] = {
    "t": onnx.AttributeProto.TENSOR,
    "g": onnx.AttributeProto.GRAPH,
    "tp": onnx.AttributeProto.TYPE_PROTO,
    "sparse_tensor": onnx.AttributeProto.SPARSE_TENSOR,
}
HELD_MANY: Final[Mapping[str, int]] = {
    "tensors": onnx.AttributeProto.TENSORS,
    "graphs": onnx.AttributeProto.GRAPHS,
    "type_protos": onnx.AttributeProto.TYPE_PROTOS,
    "sparse_tensors": onnx.AttributeProto.SPARSE_TENSORS,
}
# Without these there is nothing to read.
NEEDED: Final = frozenset({"t", "g"})


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
        _check_nodes(function.node, [scope], where, in_function=True)
        _check_outputs(function.output, scope, where)
        for attribute in function.attribute_proto:
            _check_attribute(attribute, [scope], where, in_function=True)
    check_calls(model)


def _check_opsets(opsets: Iterable[onnx.OperatorSetIdProto], where: str) -> None:
    for opset in opsets:
        if not isinstance(opset.domain, str):
            raise ModelError(NOT_TEXT)
        if not 0 <= opset.version < 1 << 31:
            raise ModelError(f"{where} imports opset {opset.version} of domain {opset.domain!r}, which there is not")


def _check_graph(
    graph: onnx.GraphProto,
    outer: Sequence[set[str]],
    where: str,
    sizes: Mapping[int, int],
    *,
    in_function: bool = False,
) -> None:
    scope: set[str] = set()
    _define(scope, [value.name for value in graph.input], f"{where}: input")
    if not all(value.name for value in graph.input):
        raise ModelError(f"{where} has an input without a name")
    for value in (*graph.input, *graph.output):
        if not all(isinstance(dim.dim_param, str) for dim in value.type.tensor_type.shape.dim):
            raise ModelError(NOT_TEXT)
    initializers: set[str] = set()
    _define(initializers, [tensor.name for tensor in graph.initializer], f"{where}: initializer")
    _define(initializers, [tensor.values.name for tensor in graph.sparse_initializer], f"{where}: sparse initializer")
    if len(initializers) < len(graph.initializer) + len(graph.sparse_initializer):
        raise ModelError(f"{where} has an initializer without a name")
    scope |= initializers
    for ordinal, tensor in enumerate(graph.initializer):
        check_tensor(tensor, f"initializer {tensor.name!r}", sizes.get(ordinal))
    for sparse in graph.sparse_initializer:
        check_sparse(sparse, f"sparse initializer {sparse.values.name!r}")
    _check_nodes(graph.node, [*outer, scope], where, in_function=in_function)
    _check_outputs([value.name for value in graph.output], scope, where)


def _define(scope: set[str], names: Iterable[str], kind: str) -> None:
    for name in names:
        if name in scope:
            raise ModelError(f"{kind} {name!r} is defined twice")
        if not isinstance(name, str):
            raise ModelError(NOT_TEXT)
        if name:
            scope.add(name)


def _check_nodes(nodes: Sequence[onnx.NodeProto], scopes: Sequence[set[str]], where: str, *, in_function: bool) -> None:
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
            _check_attribute(attribute, scopes, _label(node), in_function=in_function)
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
        if not name:
            raise ModelError(f"{where} has an output without a name")
        if name not in scope:
            raise ModelError(f"{where}: nothing in it computes its output {name!r}")


def _label(node: onnx.NodeProto) -> str:
    name = node.name or next(iter(node.output), "")
    return f"node {name!r} ({node.op_type})"


def _check_attribute(
    attribute: onnx.AttributeProto, scopes: Sequence[set[str]], where: str, *, in_function: bool
) -> None:
    if not isinstance(attribute.name, str) or not isinstance(attribute.ref_attr_name, str):
        raise ModelError(NOT_TEXT)
    node, where = where, f"{where}: attribute {attribute.name!r}"
    if attribute.ref_attr_name and not in_function:
        raise ModelError(f"{where} refers to {attribute.ref_attr_name!r} of a function, outside of a function")
    _check_held(attribute, where)
    if attribute.HasField("t"):
        check_tensor(attribute.t, where)
    for tensor in attribute.tensors:
        check_tensor(tensor, where)
    if attribute.HasField("sparse_tensor"):
        check_sparse(attribute.sparse_tensor, where)
    for sparse in attribute.sparse_tensors:
        check_sparse(sparse, where)
    for graph in _graphs(attribute):
        _check_graph(graph, scopes, f"{node}: {attribute.name}", {}, in_function=in_function)


def _check_held(attribute: onnx.AttributeProto, where: str) -> None:
    """Checks that an attribute holds what its type says, and nothing beside it that another reader would take."""
    kind = attribute.type
    if kind == UNDEFINED:
        return  # models of the first IR versions do not state it
    for name, of_kind in HELD.items():
        holds = attribute.HasField(name)
        if of_kind == kind and name in NEEDED and not holds and not attribute.ref_attr_name:
            raise ModelError(f"{where} does not hold what its type says")
        if holds and of_kind != kind:
            raise ModelError(f"{where} holds what its type does not say ({name})")
    for name, of_kind in HELD_MANY.items():
        if of_kind != kind and len(getattr(attribute, name)):
            raise ModelError(f"{where} holds what its type does not say ({name})")


def _graphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs

"""What onnx_ir cannot read is kept from it, so that it reads the rest.

onnx_ir 1.1 has no sparse tensors in attributes, no lists of strings outside UTF-8, no map and opaque types, and knows
no element type that is newer than itself. The bytes of all this are carried by the origin (`onnxfuse.model_io.origin`),
and a node that held such a thing is closed to rewrites.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir

__all__ = ["readable"]


def readable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of `model` without what onnx_ir cannot read."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for thing in list(_unreadable_things(copy)):
        if isinstance(thing, onnx.ValueInfoProto):
            thing.ClearField("type")
        else:
            for index in reversed(range(len(thing.attribute))):
                if _is_unreadable(thing.attribute[index]):
                    del thing.attribute[index]
    return copy


def _unreadable_things(model: onnx.ModelProto) -> Iterator[onnx.NodeProto | onnx.ValueInfoProto]:
    """Yields the nodes with unreadable attributes and the values of unreadable types."""
    graphs: list[onnx.GraphProto] = [model.graph]
    nodes: list[Iterable[onnx.NodeProto]] = []
    for function in model.functions:
        nodes.append(function.node)
        yield from (info for info in function.value_info if not _is_readable(info.type))
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            for infos in (graph.input, graph.output, graph.value_info):
                yield from (info for info in infos if not _is_readable(info.type))
            nodes.append(graph.node)
        for node in nodes.pop():
            if any(map(_is_unreadable, node.attribute)):
                yield node
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    graphs.append(attribute.g)
                elif attribute.type == onnx.AttributeProto.GRAPHS:
                    graphs.extend(attribute.graphs)


def _is_readable(kind: onnx.TypeProto) -> bool:
    which = kind.WhichOneof("value")
    if which is None:
        return True
    if which in ("tensor_type", "sparse_tensor_type"):
        return getattr(kind, which).elem_type in ELEMENT_TYPES
    if which in ("sequence_type", "optional_type"):
        inner = getattr(kind, which).elem_type
        return inner.WhichOneof("value") is not None and _is_readable(inner)
    return False


ELEMENT_TYPES = frozenset(int(dtype) for dtype in ir.DataType)


def _is_unreadable(attribute: onnx.AttributeProto) -> bool:
    kind = attribute.type
    if kind in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
        return True
    if kind == onnx.AttributeProto.STRINGS:
        return not all(map(_is_utf8, attribute.strings))
    if kind == onnx.AttributeProto.TYPE_PROTO:
        return not _is_readable(attribute.tp)
    if kind == onnx.AttributeProto.TYPE_PROTOS:
        return not all(map(_is_readable, attribute.type_protos))
    return False


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

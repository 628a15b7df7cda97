"""What changed from one model to another: interface, ops, nodes, initializers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.report.facts import facts_of
from onnxfuse.report.text import one_line

if TYPE_CHECKING:
    import onnx
    from google.protobuf.message import Message

    from onnxfuse.model_io import Opened
    from onnxfuse.model_io.payload import NodePayload
    from onnxfuse.model_io.source import Source

__all__ = ["ModelDiff", "compare", "dim_text", "element_text", "nodes_of", "type_text"]

BLOCK: Final = 1 << 20
SHOWN: Final = 60
DATA_FIELDS: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True)
class ModelDiff:
    """What changed.

    Attributes:
        model: Changed fields of the model and the graph themselves: opsets, IR version, metadata, names.
        interface: Inputs and outputs that came, went or changed.
        ops: For each op_type whose number changed, the number before and after.
        removed: Nodes that are gone: name and op_type.
        added: Nodes that came.
        changed: Nodes that are there in both, each with what changed.
        initializers: Initializers that came, went or changed.
    """

    model: tuple[str, ...]
    interface: tuple[str, ...]
    ops: Mapping[str, tuple[int, int]]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]
    initializers: tuple[str, ...]

    def __bool__(self) -> bool:
        return any((self.model, self.interface, self.ops, self.removed, self.added, self.changed, self.initializers))

    def to_dict(self) -> dict[str, Any]:
        """Returns it JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        if not self:
            return "no difference"
        lines = [f"model: {line}" for line in self.model]
        lines += [f"interface: {line}" for line in self.interface]
        lines += [f"op {name}: {before} -> {after}" for name, (before, after) in self.ops.items()]
        lines += [f"- {line}" for line in self.removed]
        lines += [f"+ {line}" for line in self.added]
        lines += [f"~ {line}" for line in self.changed]
        lines += [f"initializer {line}" for line in self.initializers]
        return "\n".join(map(one_line, lines))


def compare(a: Opened, b: Opened) -> ModelDiff:
    """Compares two models as they came; nodes are matched by name, those without one by their outputs."""
    counts, other = facts_of(a).ops, facts_of(b).ops
    source, source_after = a.as_source(), b.as_source()
    before, after = source.proto, source_after.proto
    nodes, nodes_after = dict(_nodes(before)), dict(_nodes(after))
    large, large_after = _large(source, nodes), _large(source_after, nodes_after)
    return ModelDiff(
        model=(*_model(before, after), *_order(list(nodes), list(nodes_after))),
        interface=tuple(_interface(before.graph, after.graph)),
        ops={
            name: (counts.get(name, 0), other.get(name, 0))
            for name in sorted({*counts, *other})
            if counts.get(name, 0) != other.get(name, 0)
        },
        removed=tuple(f"{key} ({node.op_type})" for key, node in nodes.items() if key not in nodes_after),
        added=tuple(f"{key} ({node.op_type})" for key, node in nodes_after.items() if key not in nodes),
        changed=tuple(
            f"{key} ({node.op_type}): {what}"
            for key, node in nodes.items()
            if key in nodes_after
            and (what := _node(_whole(node, large.get(key)), _whole(nodes_after[key], large_after.get(key))))
        ),
        initializers=tuple(_initializers(source, source_after)),
    )


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yields every node, those of subgraphs and functions included."""
    yield from (node for _, node in _nodes(model))


def _nodes(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yields every node with the path to it; a second node of one name gets its outputs' names too."""
    seen: set[str] = set()
    stack: list[tuple[str, Iterable[onnx.NodeProto]]] = [
        (f"{function.domain}.{function.name}/", function.node) for function in model.functions
    ]
    stack.append(("", model.graph.node))
    while stack:
        scope, nodes = stack.pop()
        for node in nodes:
            outputs = ",".join(node.output)
            key = f"{scope}{node.name or outputs}"
            if key in seen:
                key = f"{key}:{outputs}"
            seen.add(key)
            yield key, node
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append((f"{key}/{attribute.name}/", attribute.g.node))
                stack.extend(
                    (f"{key}/{attribute.name}[{index}]/", graph.node) for index, graph in enumerate(attribute.graphs)
                )


def _large(source: Source, nodes: Iterable[str]) -> dict[str, NodePayload]:
    """Returns the nodes (Constants) of which the parsed model leaves the data of large tensors where it lies."""
    # The main graph's nodes come first, in their order.
    main = islice(nodes, len(source.proto.graph.node))
    return {key: source.nodes[ordinal] for ordinal, key in enumerate(main) if ordinal in source.nodes}


def _whole(node: onnx.NodeProto, payload: NodePayload | None) -> onnx.NodeProto:
    from onnxfuse.model_io.wire import payload_of

    return node if payload is None else type(node).FromString(payload_of(payload.joined()))


def _node(a: onnx.NodeProto, b: onnx.NodeProto) -> str:
    changes = []
    if (a.domain, a.op_type, a.overload) != (b.domain, b.op_type, b.overload):
        changes.append(f"is now {b.domain}::{b.op_type}" if b.domain not in ("", "ai.onnx") else f"is now {b.op_type}")
    if list(a.input) != list(b.input):
        changes.append(f"inputs {list(a.input)} -> {list(b.input)}")
    if list(a.output) != list(b.output):
        changes.append(f"outputs {list(a.output)} -> {list(b.output)}")
    attributes, other = ({item.name: item for item in node.attribute} for node in (a, b))
    # A graph in an attribute is compared node by node.
    names = [
        name
        for name in sorted({*attributes, *other})
        if name not in attributes
        or name not in other
        or _without_nodes(attributes[name]) != _without_nodes(other[name])
    ]
    changes += [f"{name} {_value(attributes.get(name))} -> {_value(other.get(name))}" for name in names]
    if {e.key: e.value for e in a.metadata_props} != {e.key: e.value for e in b.metadata_props}:
        changes.append("metadata")
    if a.doc_string != b.doc_string:
        changes.append("doc string")
    return "; ".join(changes)


def _value(attribute: onnx.AttributeProto | None) -> str:
    """Returns an attribute's value for reading: numbers and strings, as far as they are short."""
    import onnx

    if attribute is None:
        return "(none)"
    kind = onnx.AttributeProto.AttributeType.Name(attribute.type).lower()
    if kind.removesuffix("s") not in ("int", "float", "string"):
        return f"({kind})"
    text = repr(onnx.helper.get_attribute_value(attribute)).replace("b'", "'")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _without_nodes(attribute: onnx.AttributeProto) -> bytes:
    """Returns what an attribute holds beside nodes, which are compared one by one."""
    if attribute.HasField("g") or attribute.graphs:
        copy = type(attribute)()
        copy.CopyFrom(attribute)
        for graph in (copy.g, *copy.graphs):
            graph.ClearField("node")
        attribute = copy
    return attribute.SerializeToString(deterministic=True)


def _model(a: onnx.ModelProto, b: onnx.ModelProto) -> Iterator[str]:
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if getattr(a, name) != getattr(b, name):
            yield f"{name} {getattr(a, name)!r} -> {getattr(b, name)!r}"
    opsets, other = ({entry.domain: entry.version for entry in model.opset_import} for model in (a, b))
    if opsets != other:
        yield f"opsets {opsets} -> {other}"
    if _properties(a) != _properties(b):
        yield "metadata"
    if a.graph.name != b.graph.name:
        yield f"graph name {a.graph.name!r} -> {b.graph.name!r}"
    if _properties(a.graph) != _properties(b.graph):
        yield "metadata of the graph"
    if a.graph.doc_string != b.graph.doc_string:
        yield "doc string of the graph"
    for name in ("value_info", "sparse_initializer", "quantization_annotation"):
        if _set_of(getattr(a.graph, name)) != _set_of(getattr(b.graph, name)):
            yield f"{name} of the graph"
    functions, functions_after = (
        {(f.domain, f.name, f.overload): _head(f) for f in model.functions} for model in (a, b)
    )
    if functions != functions_after:
        yield "functions"
    if _set_of(a.training_info) != _set_of(b.training_info):
        yield "training_info"


def _properties(message: onnx.ModelProto | onnx.GraphProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in message.metadata_props}


def _set_of(messages: Iterable[Message]) -> set[bytes]:
    return {message.SerializeToString(deterministic=True) for message in messages}


def _head(function: onnx.FunctionProto) -> bytes:
    """Returns a function without its nodes, which are compared one by one."""
    copy = type(function)()
    copy.CopyFrom(function)
    copy.ClearField("node")
    return copy.SerializeToString(deterministic=True)


def _order(before: list[str], after: list[str]) -> Iterator[str]:
    stayed, came = set(before), set(after)
    if [key for key in before if key in came] != [key for key in after if key in stayed]:
        yield "the order of the nodes"


def _interface(a: onnx.GraphProto, b: onnx.GraphProto) -> Iterator[str]:
    for kind in ("input", "output"):
        before, after = ({value.name: value for value in getattr(graph, kind)} for graph in (a, b))
        yield from (f"{kind} {name} is gone" for name in before if name not in after)
        yield from (f"{kind} {name} is new" for name in after if name not in before)
        for name in (name for name in before if name in after):
            old, new = before[name], after[name]
            if old.type != new.type:
                yield f"{kind} {name} {type_text(old.type)} -> {type_text(new.type)}"
            elif old != new:
                yield f"{kind} {name}: doc string or metadata"
        if list(before) != list(after) and set(before) == set(after):
            yield f"the order of the {kind}s"


def dim_text(dim: int | str | None) -> str:
    """Returns a dim for reading; a symbol that looks like a size is quoted: many exports call the batch "-1"."""
    if dim is None:
        return "?"
    return f'"{dim}"' if isinstance(dim, str) and dim.removeprefix("-").isdigit() else str(dim)


def type_text(declared: onnx.TypeProto) -> str:
    """Returns a declared type as `float [N, 3, ?]`; of what is no tensor the kind, such as `sequence`."""
    kind = declared.WhichOneof("value")
    if kind != "tensor_type":
        return (kind or "unknown").removesuffix("_type")
    tensor = declared.tensor_type
    shape = "?"
    if tensor.HasField("shape"):
        dims = (d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim)
        shape = ", ".join(map(dim_text, dims))
    return f"{element_text(tensor.elem_type)} [{shape}]"


def element_text(element_type: int) -> str:
    """Returns the name of an element type, by onnx's number; a model may state one that there is not."""
    import onnx

    names = onnx.TensorProto.DataType
    return names.Name(element_type).lower() if element_type in names.values() else f"type {element_type}"


@dataclass(frozen=True)
class _Stored:
    """An initializer: what it is, what it holds, and where and how that is stored."""

    kind: str
    value: bytes
    place: str
    header: bytes


def _initializers(a: Source, b: Source) -> Iterator[str]:
    before, after = dict(_stored(a)), dict(_stored(b))
    yield from (f"{name} is gone" for name in before if name not in after)
    yield from (f"{name} is new" for name in after if name not in before)
    for name in (name for name in before if name in after):
        old, new = before[name], after[name]
        if old.kind != new.kind:
            yield f"{name} {old.kind} -> {new.kind}"
        elif old.value != new.value:
            yield f"{name} holds other values"
        elif old.place != new.place:
            yield f"{name} is stored in {new.place}, it was in {old.place}"
        elif old.header != new.header:
            yield f"{name}: how it is stored, its doc string or its metadata"


def _stored(source: Source) -> Iterator[tuple[str, _Stored]]:
    import onnx

    for ordinal, tensor in enumerate(source.proto.graph.initializer):
        payload = source.payloads.get(ordinal)
        digest = hashlib.blake2b(digest_size=16)
        place = "the model's file"
        if payload is not None:
            digest.update(payload.data.view())
        elif tensor.data_location == tensor.EXTERNAL and source.folder is not None:
            place = _add_external(digest, tensor, source.folder)
        elif tensor.HasField("raw_data") or tensor.data_type == tensor.STRING:
            digest.update(b"".join([tensor.raw_data, *tensor.string_data]))
        elif any(len(getattr(tensor, field)) for field in DATA_FIELDS):  # else its weights were taken out
            digest.update(onnx.numpy_helper.to_array(tensor).tobytes())
        header = onnx.TensorProto()
        header.CopyFrom(tensor)
        header.ClearField("external_data")
        kind = f"{element_text(tensor.data_type)} {list(tensor.dims)}"
        yield tensor.name, _Stored(kind, digest.digest(), place, header.SerializeToString(deterministic=True))


def _add_external(digest: hashlib.blake2b, tensor: onnx.TensorProto, folder: Path) -> str:
    """Adds the data that lies in another file; two models in two folders may name theirs alike. Returns its name."""
    from onnxfuse.model_io.external import reference

    location, offset, length = reference(tensor)
    with (folder / location).open("rb") as file:
        left = file.seek(0, os.SEEK_END) - offset if length is None else length
        file.seek(offset)
        while left > 0 and (block := file.read(min(left, BLOCK))):
            digest.update(block)
            left -= len(block)
    return location

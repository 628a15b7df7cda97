"""What changed from one model to another: interface, ops, nodes, initializers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from onnxfuse.pipeline.manager import facts_of

if TYPE_CHECKING:
    import onnx

    from onnxfuse.model_io import Opened

__all__ = ["ModelDiff", "compare"]


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
        return "\n".join(lines)


def compare(a: Opened, b: Opened) -> ModelDiff:
    """Compares two models as they came; nodes are matched by name, those without one by their outputs."""
    if a.source is None or b.source is None:
        raise TypeError("models are compared as they came: pass paths, bytes or messages")
    before, after = a.source.proto, b.source.proto
    counts, other = facts_of(a).ops, facts_of(b).ops
    nodes, nodes_after = dict(_nodes(before)), dict(_nodes(after))
    return ModelDiff(
        model=tuple(_model(before, after)),
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
            if key in nodes_after and (what := _node(node, nodes_after[key]))
        ),
        initializers=tuple(_initializers(a, b)),
    )


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


def _node(a: onnx.NodeProto, b: onnx.NodeProto) -> str:
    changes = []
    if (a.domain, a.op_type, a.overload) != (b.domain, b.op_type, b.overload):
        changes.append(f"is now {b.op_type}")
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
        or (not attributes[name].HasField("g") and attributes[name] != other[name])
    ]
    if names:
        changes.append(f"attributes {', '.join(names)}")
    if {e.key: e.value for e in a.metadata_props} != {e.key: e.value for e in b.metadata_props}:
        changes.append("metadata")
    if a.doc_string != b.doc_string:
        changes.append("doc string")
    return "; ".join(changes)


def _model(a: onnx.ModelProto, b: onnx.ModelProto) -> Iterator[str]:
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if getattr(a, name) != getattr(b, name):
            yield f"{name} {getattr(a, name)!r} -> {getattr(b, name)!r}"
    opsets, other = ({entry.domain: entry.version for entry in model.opset_import} for model in (a, b))
    if opsets != other:
        yield f"opsets {opsets} -> {other}"
    if {e.key: e.value for e in a.metadata_props} != {e.key: e.value for e in b.metadata_props}:
        yield "metadata"
    if a.graph.name != b.graph.name:
        yield f"graph name {a.graph.name!r} -> {b.graph.name!r}"


def _interface(a: onnx.GraphProto, b: onnx.GraphProto) -> Iterator[str]:
    for kind in ("input", "output"):
        before, after = ({value.name: value for value in getattr(graph, kind)} for graph in (a, b))
        yield from (f"{kind} {name} is gone" for name in before if name not in after)
        yield from (f"{kind} {name} is new" for name in after if name not in before)
        yield from (
            f"{kind} {name} has another type or shape"
            for name in before
            if name in after and before[name].type != after[name].type
        )
        if list(before) != list(after) and set(before) == set(after):
            yield f"the order of the {kind}s"


def _initializers(a: Opened, b: Opened) -> Iterator[str]:
    before, after = _digests(a), _digests(b)
    yield from (f"{name} is gone" for name in before if name not in after)
    yield from (f"{name} is new" for name in after if name not in before)
    yield from (f"{name} differs" for name in before if name in after and before[name] != after[name])


def _digests(opened: Opened) -> dict[str, bytes]:
    assert opened.source is not None  # noqa: S101 - compare() looked
    found = {}
    for ordinal, tensor in enumerate(opened.source.proto.graph.initializer):
        payload = opened.source.payloads.get(ordinal)
        data = payload.field() if payload is not None else tensor.SerializeToString(deterministic=True)
        found[tensor.name] = hashlib.blake2b(data, digest_size=16).digest()
    return found

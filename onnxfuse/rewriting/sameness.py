"""What is the same in two models: constants that hold the same, nodes that do the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxfuse.analysis.arrays import chunks_of
from onnxfuse.analysis.constants import has_data, stored_tensor
from onnxfuse.analysis.ops import is_pure
from onnxfuse.model_io.origin import is_opaque

__all__ = [
    "Alike",
    "Computations",
    "Contents",
    "attribute_key",
    "constant_of",
    "constants_of",
    "domain_of",
    "is_constant",
    "is_dangling",
    "may_be_equal",
    "node_key",
    "same_border",
    "same_outputs",
    "same_signature",
    "same_tensor",
]

# Constants of up to so many bytes are told apart by what they hold, not by which of them a node reads.
_SMALL: Final = 4096


class Contents:
    """Constants by what they hold, but for those that a caller may replace."""

    def __init__(self, values: Iterable[ir.Value], outer: Contents | None) -> None:
        self._outer = outer
        self._first: dict[Hashable, ir.Value] = {}
        self._of: dict[ir.Value, ir.Value] = {}
        # Large ones by their form; what they hold is read when one of that form is looked for.
        self._large: dict[Hashable, list[tuple[ir.Value, ir.TensorProtocol]]] = defaultdict(list)
        self._forms: set[Hashable] = set()
        self.digests: _Digests = _Digests() if outer is None else outer.digests
        for value in values:
            tensor = constant_of(value)
            if tensor is None or value.is_graph_input() or not has_data(tensor):
                continue
            if tensor.nbytes > _SMALL:
                self._large[_kind(tensor)].append((value, tensor))
            else:
                contents = _contents(tensor)
                known = None if outer is None else outer.find(tensor)
                self._of[value] = self._first.setdefault(contents, known or value)

    def first(self, value: ir.Value) -> ir.Value:
        """The first small constant that holds the same as `value`; `value` itself where it is none."""
        found = self._of.get(value)
        if found is None:
            return value if self._outer is None else self._outer.first(value)
        return found

    def find(self, tensor: ir.TensorProtocol) -> ir.Value | None:
        """A constant that holds the same as `tensor`."""
        if not has_data(tensor):
            return None
        found = self._first.get(_contents(tensor)) if tensor.nbytes <= _SMALL else self._find_large(tensor)
        return found if found is not None or self._outer is None else self._outer.find(tensor)

    def _find_large(self, tensor: ir.TensorProtocol) -> ir.Value | None:
        kind = _kind(tensor)
        for value, own in self._large.pop(kind, ()):
            self._forms.add(kind)
            self._first.setdefault(self.digests.of(own), value)
        return self._first.get(self.digests.of(tensor)) if kind in self._forms else None


class _Digests:
    """What large tensors hold, each read once."""

    def __init__(self) -> None:
        # With the tensor, so that no other one gets its identity.
        self._known: dict[int, tuple[ir.TensorProtocol, Hashable]] = {}

    def of(self, tensor: ir.TensorProtocol) -> Hashable:
        found = self._known.get(id(tensor))
        if found is None:
            found = self._known[id(tensor)] = tensor, _contents(tensor)
        return found[1]


def constant_of(value: ir.Value) -> ir.TensorProtocol | None:
    """What an initializer (also one that a caller may replace) or a Constant node holds."""
    producer = value.producer()
    if producer is not None and not is_constant(producer):
        return None
    return stored_tensor(value, 0)


def constants_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """Yields the initializers and what Constant nodes give."""
    yield from (value for value in graph.initializers.values() if value.const_value is not None)
    yield from (node.outputs[0] for node in graph if is_constant(node))


def same_tensor(x: ir.TensorProtocol, y: ir.TensorProtocol) -> bool:
    """Says whether two tensors hold the same bits; of two that were stripped, whether they have the same form."""
    if x is y:
        return True
    if _kind(x) != _kind(y) or has_data(x) != has_data(y):
        return False
    if not has_data(x):
        return True
    if x.dtype == ir.DataType.STRING:
        return _contents(x) == _contents(y)
    return all(map(np.array_equal, _chunks(x), _chunks(y)))


class Alike:
    """Nodes of one graph that are the same but for their names."""

    def __init__(self, nodes: Sequence[ir.Node]) -> None:
        self._nodes = nodes
        self._named: dict[tuple[object, object], list[ir.Node]] = {}

    def best_first(self, node: ir.Node, taken: Container[ir.Node]) -> Iterator[ir.Node]:
        """Yields those that are left: the ones of this output first, then those of this name, then as they stand.

        Some come twice. Of many, each is passed over once when it is taken, not each time.

        Args:
            node: What stands for one of them.
            taken: Those that something else stands for: none of them is given back.
        """
        if len(self._nodes) < 2:
            yield from (old for old in self._nodes if old not in taken)
            return
        if not self._named:
            for old in reversed(self._nodes):
                for names in _names(old):
                    self._named.setdefault(names, []).append(old)
        for names in _names(node):
            found = self._named.get(names, [])
            while found and found[-1] in taken:
                found.pop()
            yield from (old for old in reversed(found) if old not in taken)


def _names(node: ir.Node) -> Iterator[tuple[object, object]]:
    """What a node is looked for by, the best first: its output and its name, either of them, neither."""
    output = node.outputs[0].name if node.outputs else None
    yield from ((output, node.name), (output, ...), (..., node.name), (..., ...))


class Computations:
    """What computes each value of a model: equal for values that the same operators compute of the same.

    Identity nodes do not count, nor that something is computed twice, nor where constants are kept.
    """

    def __init__(self, model: ir.Model, graphs: Iterable[ir.Graph]) -> None:
        """Looks at every node.

        Args:
            model: The model.
            graphs: All its graphs, each before those in its nodes.
        """
        self._ir_version = model.ir_version
        self._functions = frozenset(model.functions)
        self._known: dict[ir.Value, Hashable] = {}
        self._numbers: dict[Hashable, int] = {}
        for graph in graphs:
            for node in graph:
                self._add(node)

    def same(self, after: Iterable[ir.Node], pairs: Iterable[tuple[ir.Value, ir.Value]]) -> bool:
        """Says whether each pair of values is computed alike.

        Args:
            after: Nodes that are not in the model, each after what it reads.
            pairs: A value of the model, and one that is another, or that a node of `after` computes.
        """
        for node in after:
            self._add(node)
        return all(self._of(old) == self._of(new) for old, new in pairs)

    def _add(self, node: ir.Node) -> None:
        if node.op_type == "Identity" and domain_of(node.domain) == "" and node.inputs[0] is not None:
            self._known[node.outputs[0]] = self._of(node.inputs[0])
            return
        if is_constant(node):
            return
        # What is drawn is another thing each time, and what is in a body or a function, or not in onnx_ir, is not seen.
        called = node.op_identifier() in self._functions or any(a.type in _GRAPHS for a in node.attributes.values())
        same = is_pure(node) and not called and not is_opaque(node)
        key = (node_key(node, []), *map(self._of, node.inputs)) if same else node
        for index, value in enumerate(node.outputs):
            self._known[value] = self._numbers.setdefault((key, index), len(self._numbers))

    def _of(self, value: ir.Value | None) -> Hashable:
        if value is None:
            return None
        if value not in self._known:
            tensor = stored_tensor(value, self._ir_version)
            # A weight is itself: the alignment has found those that hold the same.
            small = tensor is not None and tensor.nbytes <= _SMALL and has_data(tensor)
            self._known[value] = _contents(tensor) if tensor is not None and small else value
        return self._known[value]


_GRAPHS: Final = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def _kind(tensor: ir.TensorProtocol) -> Hashable:
    return tensor.dtype, tuple(tensor.shape)


def _contents(tensor: ir.TensorProtocol) -> Hashable:
    """What tells a tensor from others; of a large one no more than a digest."""
    if tensor.dtype == ir.DataType.STRING:
        return _kind(tensor), tuple(tensor.numpy().ravel().tolist())
    if tensor.nbytes <= _SMALL:
        return _kind(tensor), tensor.tobytes()
    digest = hashlib.blake2b(digest_size=32)
    for chunk in _chunks(tensor):
        digest.update(chunk.data)
    return _kind(tensor), digest.digest()


def _chunks(tensor: ir.TensorProtocol) -> Iterator[np.ndarray]:
    chunks = chunks_of(tensor.numpy())
    bits = tensor.dtype.bitwidth
    # An element of fewer bits than a byte has one to itself: what the others are says nothing.
    return chunks if bits >= 8 else (chunk & ((1 << bits) - 1) for chunk in chunks)


def domain_of(name: str) -> str:
    """The name of a domain: the default one has two."""
    return "" if name == "ai.onnx" else name


def is_constant(node: ir.Node) -> bool:
    """Says whether it is a Constant node that holds a tensor."""
    return node.op_type == "Constant" and domain_of(node.domain) == "" and stored_tensor(node.outputs[0], 0) is not None


def is_dangling(value: ir.Value) -> bool:
    """Says whether nothing is known of where it comes from: onnx_ir does not hold sparse initializers."""
    return value.producer() is None and value.graph is None


def node_key(node: ir.Node, inputs: list[ir.Value | None]) -> Hashable:
    """What makes two nodes the same: all but names, documentation, what is in the bodies, and what onnx_ir lost."""
    while inputs and inputs[-1] is None:
        inputs.pop()
    attributes = frozenset(attribute_key(attribute) for attribute in node.attributes.values())
    return domain_of(node.domain), node.op_type, node.overload, attributes, tuple(inputs)


def attribute_key(attribute: ir.Attr) -> Hashable:
    """What an attribute says; of one that holds graphs, how many."""
    value: object = attribute.value
    if attribute.ref_attr_name is not None:
        value = attribute.ref_attr_name
    elif attribute.type == ir.AttributeType.GRAPH:
        value = 1
    elif attribute.type == ir.AttributeType.GRAPHS:
        value = len(attribute.as_graphs())
    elif attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        value = _contents(tensor) if has_data(tensor) else _kind(tensor)
    elif attribute.type == ir.AttributeType.TENSORS:
        value = tuple(map(_contents, attribute.as_tensors()))
    elif attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS) and value is not None:
        # A float that did not come out of a file may have more digits than a file holds.
        value = np.asarray(value, dtype=np.float32).tobytes()
    else:
        value = repr(tuple(value) if isinstance(value, list) else value)
    return attribute.name, attribute.type, attribute.ref_attr_name is not None, value


def same_outputs(old: ir.Node, new: ir.Node, *, by_name: bool) -> bool:
    """Says whether the old node gives all that the new one does, and what of it is an output of the graph still is."""
    if is_opaque(old) and old.outputs[0].name != new.outputs[0].name:
        return False  # what tells it from others like it is not to be seen
    for index, value in enumerate(new.outputs):
        if value.name and (index >= len(old.outputs) or not old.outputs[index].name):
            return False
    if old.op_type == "BatchNormalization" and [bool(v.name) for v in old.outputs] != [
        bool(v.name) for v in new.outputs
    ]:
        return False  # below opset 14 it trains where more than one is asked for
    for index, value in enumerate(old.outputs):
        if not value.is_graph_output():
            continue
        if index >= len(new.outputs) or not _places(value, by_name) <= _places(new.outputs[index], by_name):
            return False
    return True


def _places(value: ir.Value, by_name: bool) -> set[Hashable]:
    """Which outputs of its graph a value is."""
    outputs = [] if value.graph is None else value.graph.outputs
    return {out.name if by_name else index for index, out in enumerate(outputs) if out is value}


def same_signature(old: ir.Function, new: ir.Function) -> bool:
    """Says whether two functions are called alike, and import the same."""
    return (
        len(old.inputs) == len(new.inputs)
        and len(old.outputs) == len(new.outputs)
        and dict(old.opset_imports) == dict(new.opset_imports)
        and {attribute_key(attribute) for attribute in old.attributes.values()}
        == {attribute_key(attribute) for attribute in new.attributes.values()}
    )


def same_border(old: ir.Graph, new: ir.Graph) -> bool:
    """Says whether two bodies take and give as many values."""
    return len(old.inputs) == len(new.inputs) and len(old.outputs) == len(new.outputs)


def may_be_equal(x: ir.Shape, y: ir.Shape) -> bool:
    """Says whether two shapes have as many dims, and the same sizes where both are known."""
    if len(x) != len(y):
        return False
    return all(a == b for a, b in zip(x, y, strict=True) if isinstance(a, int) and isinstance(b, int))

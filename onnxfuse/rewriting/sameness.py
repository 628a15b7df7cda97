"""What is the same in two models: constants that hold the same, nodes that do the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxfuse.analysis.constants import has_data, stored_tensor
from onnxfuse.analysis.ops import is_pure
from onnxfuse.errors import ToolError

__all__ = [
    "Computations",
    "Contents",
    "attribute_key",
    "constant_of",
    "constants_of",
    "domain_of",
    "is_constant",
    "is_dangling",
    "node_key",
    "resolve_stripped",
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
        self._large: dict[Hashable, list[tuple[ir.Value, ir.TensorProtocol]]] = defaultdict(list)
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
        found = None
        if tensor.nbytes <= _SMALL:
            found = self._first.get(_contents(tensor))
        else:
            large = self._large.get(_kind(tensor), ())
            found = next((value for value, own in large if same_tensor(own, tensor)), None)
        return found if found is not None or self._outer is None else self._outer.find(tensor)


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
    return not has_data(x) or _contents(x) == _contents(y)


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
        # What is drawn is another thing each time, and what is in a body or a function is not looked at.
        called = node.op_identifier() in self._functions or any(a.type in _GRAPHS for a in node.attributes.values())
        same = is_pure(node) and not called
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


def resolve_stripped(new: ir.Model, old: ir.Model) -> None:
    """Gives initializers of `new` that came without their data the tensors of these names of `old`.

    Raises:
        ToolError: There is none of that name, type and shape.
    """
    known: dict[str, ir.TensorProtocol] | None = None
    for graph in new.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or has_data(tensor):
                continue
            if known is None:
                known = {
                    str(v.name): own
                    for g in old.graphs()
                    for v in constants_of(g)
                    if (own := constant_of(v)) is not None
                }
            own = known.get(name)
            if own is None or _kind(own) != _kind(tensor):
                raise ToolError(f"initializer {name} came back without its data, and is none that the model had")
            value.const_value = own


def _kind(tensor: ir.TensorProtocol) -> Hashable:
    return tensor.dtype, tuple(tensor.shape)


def _contents(tensor: ir.TensorProtocol) -> Hashable:
    if tensor.dtype == ir.DataType.STRING:
        return _kind(tensor), tuple(tensor.numpy().ravel().tolist())
    return _kind(tensor), tensor.tobytes()


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
    """What makes two nodes the same: all but names, documentation, and what is in the bodies."""
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

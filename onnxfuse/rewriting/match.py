"""What a pass sees of a model (`Facts`) and what it answers (`Match`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir

from onnxfuse.analysis.constants import small_array, stored_tensor
from onnxfuse.analysis.shapes import Dim, Shapes

__all__ = ["Decline", "Facts", "Match", "node_label"]


class Decline(Exception):  # noqa: N818 - an answer, not an error
    """Ends a match with a reason; raised by `Facts.decline`, caught by the engine."""

    def __init__(self, reason: str, at: ir.Node | ir.Value | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at


@dataclass(frozen=True)
class Match:
    """A region that a pass would replace.

    Attributes:
        nodes: The nodes the region covers, in graph order.
        inputs: The values that come in, constants included, each once, in order of their first use.
        outputs: The values that are used outside or are graph outputs: `rewrite` returns one for each, in this order.
        captures: What `match` found out and `rewrite` needs.
    """

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    captures: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.captures[name]


class Facts:
    """What is known of a model, for `match` and `rewrite`.

    One object serves a whole pass; it follows the model as it is rewritten. Questions are answered for the default
    ONNX domain: a node of another domain is never `is_op`.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.shapes = Shapes(model)
        # The main graph states the opsets for its subgraphs, a function for its own.
        self._opsets: dict[ir.Graph, Mapping[str, int]] = {}
        self.scopes: dict[ir.Graph, tuple[str, ...]] = {}
        self.functions: set[ir.Graph] = {function.graph for function in model.functions.values()}
        self._uses: dict[ir.Value, int] = {}
        self._count_uses()

    # ------------------------------------------------------------------ nodes

    def is_op(self, node: ir.Node | None, *op_types: str) -> bool:
        """Says whether `node` is one of these ops of the default ONNX domain."""
        return (
            node is not None
            and node.op_type in op_types
            and node.domain in ("", "ai.onnx")
            and (node.domain, node.op_type, node.overload) not in self.model.functions
        )

    def producer(self, value: ir.Value | None, *op_types: str) -> ir.Node | None:
        """Returns the node that computes `value` in the same graph, if it is one of these ops."""
        node = value.producer() if value is not None else None
        return node if self.is_op(node, *op_types) else None

    def opset(self, node: ir.Node) -> int:
        """Returns the version of the default domain that holds where `node` is."""
        graph = node.graph
        opsets = self._opsets.get(graph, {}) if isinstance(graph, ir.Graph) else {}
        return opsets.get("", opsets.get("ai.onnx", 1))

    def opset_imports(self, graph: ir.Graph) -> Mapping[str, int]:
        """Returns the versions of all domains that hold in `graph`."""
        return self._opsets.get(graph, {})

    def scope(self, node: ir.Node) -> tuple[str, ...]:
        """Returns the names of what is around `node`: none in the main graph."""
        return self.scopes.get(node.graph, ()) if isinstance(node.graph, ir.Graph) else ()

    def input(self, node: ir.Node, index: int) -> ir.Value | None:
        """Returns input `index`, or None where it is omitted."""
        return node.inputs[index] if index < len(node.inputs) else None

    def attribute(self, node: ir.Node, name: str, default: Any = None) -> Any:
        """Returns the attribute's value as Python has it, `default` where it is absent.

        Declines where the attribute refers to one of the function around it: its value is the caller's to say; and where
        it is of another type than the operator's, which no runtime takes.
        """
        attribute = node.attributes.get(name)
        if attribute is None:
            return default
        if attribute.ref_attr_name is not None:
            self.decline(f"the attribute {name} is given by the caller of the function", at=node)
        expected = attribute_types(node.op_type, self.opset(node)).get(name, attribute.type)
        if attribute.type != expected:
            self.decline(f"the attribute {name} is of type {attribute.type.name}, not {expected.name}", at=node)
        return attribute.value

    # ------------------------------------------------------------------ values

    def constant(self, value: ir.Value | None) -> np.ndarray | None:
        """Returns what a small constant holds, or None where `value` is no constant.

        A constant is an initializer that no caller can override, the output of a Constant node (both through
        Identity), or integers computed from these and from known dims. At most 4096 elements. Not to be changed.
        """
        if value is None:
            return None
        tensor = stored_tensor(value, self.model.ir_version)
        if tensor is not None:
            return small_array(tensor)
        contents = self.shapes.dim_values(value)
        if contents is None or not all(isinstance(item, int) for item in contents):
            return None
        rank = self.rank(value)
        if rank not in (0, 1):
            return None
        dtype = self.dtype(value)
        array = np.array(contents, dtype=np.int64 if dtype is None else dtype.numpy())
        return array.reshape(()) if rank == 0 else array

    def shape(self, value: ir.Value) -> tuple[Dim, ...] | None:
        """Returns the shape: ints, opaque symbols, and None for dims that are not known; None if the rank is not."""
        return self.shapes.shape(value)

    def rank(self, value: ir.Value) -> int | None:
        """Returns the number of dims, or None where it is not known."""
        return self.shapes.rank(value)

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """Returns the element type, or None where it is not known."""
        return self.shapes.dtype(value)

    def is_graph_output(self, value: ir.Value) -> bool:
        """Says whether `value` is an output of the graph or function it is in."""
        return value.is_graph_output()

    def use_count(self, value: ir.Value) -> int:
        """Returns how many node inputs read `value`, in subgraphs too; being a graph output is no use."""
        return self._uses.get(value, 0)

    def is_captured(self, value: ir.Value) -> bool:
        """Says whether a subgraph reads `value` from outside."""
        return any(use.node.graph is not value.graph for use in value.uses())

    def only_user(self, value: ir.Value) -> ir.Node | None:
        """Returns the node that reads `value`, if that is its one use, in its own graph, and it is no graph output."""
        if self.use_count(value) != 1 or value.is_graph_output():
            return None
        ((node, _),) = value.uses()
        return node if node.graph is value.graph else None

    # ------------------------------------------------------------------ answers

    def decline(self, reason: str, *, at: ir.Node | ir.Value | None = None) -> NoReturn:
        """Ends the match: the pattern is there, but a precondition is not met.

        Args:
            reason: A sentence, for the user.
            at: What the reason is about, where it is not the candidate itself.
        """
        raise Decline(reason, at)

    def region(self, *nodes: ir.Node, **captures: Any) -> Match:
        """Returns the match that covers `nodes`, given in graph order."""
        inside = set(nodes)
        inputs = {
            value: None
            for node in nodes
            for value in node.inputs
            if value is not None and value.producer() not in inside
        }
        outputs = [
            value
            for node in nodes
            for value in node.outputs
            if value.is_graph_output() or any(use.node not in inside for use in value.uses())
        ]
        return Match(nodes, tuple(inputs), tuple(outputs), captures)

    # ------------------------------------------------------------------ for the engine

    def add_uses(self, node: ir.Node, count: int = 1) -> None:
        """Counts the inputs of a node that comes into the graph; with -1, of one that goes."""
        for value in node.inputs:
            if value is not None:
                self._uses[value] = self._uses.get(value, 0) + count

    def move_uses(self, old: ir.Value, new: ir.Value) -> None:
        """Counts the uses of `old` as uses of `new`."""
        self._uses[new] = self._uses.get(new, 0) + self._uses.pop(old, 0)

    def _count_uses(self) -> None:
        stack: list[tuple[ir.Graph, Mapping[str, int], tuple[str, ...]]] = [
            (self.model.graph, self.model.graph.opset_imports, ())
        ]
        stack += [
            (function.graph, function.opset_imports, (f"{function.domain}.{function.name}",))
            for function in self.model.functions.values()
        ]
        while stack:
            graph, opsets, scope = stack.pop()
            self._opsets[graph] = opsets
            self.scopes[graph] = scope
            for node in graph:
                self.add_uses(node)
                for attribute in node.attributes.values():
                    if attribute.ref_attr_name is not None:
                        continue
                    if attribute.type == ir.AttributeType.GRAPH:
                        stack.append((attribute.as_graph(), opsets, (*scope, node_label(node))))
                    elif attribute.type == ir.AttributeType.GRAPHS:
                        stack += [(body, opsets, (*scope, node_label(node))) for body in attribute.as_graphs()]


@cache
def attribute_types(op_type: str, version: int) -> Mapping[str, ir.AttributeType]:
    """Returns the types of an operator's attributes, by name; nothing for an operator that onnx does not have."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op_type, version)
    except onnx.defs.SchemaError:
        return {}
    return {
        name: ir.AttributeType[str(attribute.type).rpartition(".")[2]] for name, attribute in schema.attributes.items()
    }


def node_label(node: ir.Node) -> str:
    """Returns the node's name; where it has none, the name of its first output."""
    if node.name:
        return node.name
    return next((str(value.name) for value in node.outputs if value.name), node.op_type)

"""What a pass changed that says nothing of it: the two models are laid over each other.

A node of the new model stands for a node of the old one where both are the same operator with the same attributes, and
read values that stand for each other. What is left falls into regions: nodes that are gone, with the nodes that came in
their place, between values that are in both models. A value that is computed otherwise than before is taken for the
old one of its name: that is a guess, which the comparison of the regions has to confirm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

import onnx_ir as ir

from onnxfuse.model_io.origin import is_opaque, node_origin, subgraphs
from onnxfuse.rewriting.naming import can_rename
from onnxfuse.rewriting.sameness import (
    constant_of,
    constants_of,
    domain_of,
    is_constant,
    is_dangling,
    may_be_equal,
    node_key,
    same_border,
    same_outputs,
    same_signature,
    same_tensor,
)
from onnxfuse.rewriting.scope import Scope
from onnxfuse.rewriting.walking import captured, in_order, read_by

__all__ = ["Alignment", "Change", "IncomparableError", "align"]


class IncomparableError(Exception):
    """The new model cannot stand in for the old one, whatever it computes."""


class _CrossingError(Exception):
    """What a body computes cannot be told apart from what is around it."""

    def __init__(self, graph: ir.Graph) -> None:
        super().__init__()
        self.graph = graph


@dataclass(frozen=True)
class Change:
    """A region of the old model, and what is in its place in the new one.

    Attributes:
        graph: The graph of the old model that it is in.
        before: Nodes of the old model, in order.
        after: Nodes of the new model, in order.
        outputs: Pairs of a value of the old model and the value of the new one that takes its place. None where nodes
            are gone that nothing needs.
    """

    graph: ir.Graph
    before: tuple[ir.Node, ...]
    after: tuple[ir.Node, ...]
    outputs: tuple[tuple[ir.Value, ir.Value], ...]


@dataclass
class Alignment:
    """Two models laid over each other.

    Attributes:
        changes: What is not the same in both.
        nodes: Nodes of the new model with the nodes of the old one that they stand for.
        values: Values of the new model with the values of the old one that they stand for.
        opsets: Domains whose version changed, with both versions.
        new_functions: Functions of the new model that the old one does not have, or has otherwise.
    """

    changes: list[Change] = field(default_factory=list)
    nodes: dict[ir.Node, ir.Node] = field(default_factory=dict)
    values: dict[ir.Value, ir.Value] = field(default_factory=dict)
    opsets: dict[str, tuple[int, int]] = field(default_factory=dict)
    new_functions: list[ir.Function] = field(default_factory=list)


def align(before: ir.Model, after: ir.Model) -> Alignment:
    """Lays `after` over `before`; neither is changed.

    Raises:
        IncomparableError: Their interfaces are not the same.
    """
    # A body that cannot be compared for itself is compared with the node that holds it.
    whole: set[ir.Graph] = set()
    while True:
        aligner = _Aligner(before, after, whole)
        try:
            return aligner.run()
        except _CrossingError as error:
            whole.add(error.graph)


class _Aligner:
    """One attempt."""

    def __init__(self, before: ir.Model, after: ir.Model, whole: set[ir.Graph]) -> None:
        self.before, self.after, self.whole = before, after, whole
        self.out = Alignment()
        self.images: set[ir.Value] = set()
        self.taken: set[ir.Node] = set()
        # By graph of the old model: values that have to be the same, though they are computed otherwise.
        self.owed: dict[ir.Graph, list[tuple[ir.Value, ir.Value]]] = {}
        self.order: dict[ir.Node, int] = {}
        # What an output of the new graph has to be in the old one, whatever the names in a body.
        self.expected: dict[ir.Value, ir.Value] = {}
        # Functions that are called otherwise now: no call of one stands for a call of the other.
        self.changed: set[ir.OperatorIdentifier] = set()

    def run(self) -> Alignment:
        before, after = self.before, self.after
        self._inputs(before.graph, after.graph)
        for identity, function in after.functions.items():
            old = before.functions.get(identity)
            if old is None or not same_signature(old, function):
                self.out.new_functions.append(function)
                self.changed.add(identity)
        outputs = {str(value.name): value for value in after.graph.outputs}
        pairs = []
        for value in before.graph.outputs:
            if value.name not in outputs:
                raise IncomparableError(f"output {value.name} is gone")
            pairs.append((value, outputs.pop(str(value.name))))
        if outputs:
            raise IncomparableError(f"output {next(iter(outputs))} is new")
        for x, y in pairs:
            if x.dtype is not None and y.dtype is not None and x.dtype != y.dtype:
                raise IncomparableError(f"output {x.name} is of type {y.dtype.name}, it was {x.dtype.name}")
        self._whole_graph(before.graph, after.graph, pairs)
        for identity, function in after.functions.items():
            if identity not in self.changed:
                self._function(before.functions[identity], function)
        self._opsets(before, after)
        for graph in self.owed:
            self.out.changes += _Regions(self, graph).changes()
        return self.out

    # ------------------------------------------------------------------ the border

    def _inputs(self, before: ir.Graph, after: ir.Graph) -> None:
        old = {str(value.name): value for value in before.inputs}
        for value in after.inputs:
            found = old.get(str(value.name))
            if not value.is_initializer():
                if found is None:
                    raise IncomparableError(f"input {value.name} is new")
            elif found is None or self.after.ir_version < 4:
                continue  # a constant, in all that this model is asked for
            elif found.const_value is None or value.const_value is None:
                raise IncomparableError(f"input {value.name} has a default, and had none")
            elif not same_tensor(found.const_value, value.const_value):
                raise IncomparableError(f"input {value.name} has another default")
            self._pair(value, found)

    def _opsets(self, before: ir.Model, after: ir.Model) -> None:
        old = {domain_of(name): version for name, version in before.opset_imports.items()}
        for name, version in after.opset_imports.items():
            domain = domain_of(name)
            if old.get(domain, version) == version:
                continue
            if domain != "":
                raise IncomparableError(
                    f"the version of the domain {domain} is {version}, it was {old[domain]}: what its operators do then "
                    "is not known"
                )
            self.out.opsets[domain] = (old[domain], version)

    def _function(self, old: ir.Function, new: ir.Function) -> None:
        for x, y in zip(old.inputs, new.inputs, strict=True):
            self._pair(y, x)
        self._whole_graph(old.graph, new.graph, list(zip(old.outputs, new.outputs, strict=True)))

    def _whole_graph(
        self, old: ir.Graph, new: ir.Graph, outputs: list[tuple[ir.Value, ir.Value]], outer: Scope | None = None
    ) -> None:
        """Pairs the nodes of two graphs whose outputs have to be the same."""
        for x, y in outputs:
            self.expected.setdefault(y, x)
        self._graph(old, new, outer)
        for x, y in outputs:
            self._owe(old, x, y)

    # ------------------------------------------------------------------ one graph

    def _graph(self, old: ir.Graph, new: ir.Graph, outer: Scope | None) -> None:
        """Pairs the nodes of two graphs whose inputs are paired; `outer` is what is around the old one."""
        self.owed[old] = []
        scope = Scope(old, outer)
        self.order.update((node, position) for position, node in enumerate(old))
        for value in constants_of(new):
            self._constant(scope, value)
        for position, node in enumerate(_in_order(new)):
            self.order[node] = position
            if is_constant(node):
                continue
            for read in node.inputs:
                if read is not None and is_dangling(read):
                    if read.name not in scope.dangling:
                        raise IncomparableError(f"a node reads {read.name}, which nothing computes")
                    self._pair(read, scope.dangling[str(read.name)])
            if not self._node(scope, node):
                if is_opaque(node) and all(node_origin(other) is not node_origin(node) for other in old):
                    raise IncomparableError(f"node {node.name!r} is new and carries what onnx_ir cannot hold")
                for result in node.outputs:
                    self._claim(scope, result)

    def _node(self, scope: Scope, node: ir.Node) -> bool:
        """Finds the old node that `node` stands for."""
        values = self.out.values
        if node.op_identifier() in self.changed:
            return False
        if any(value is not None and value not in values for value in node.inputs):
            return False
        bodies = list(subgraphs(node))
        if any(value not in values for body in bodies for value in captured(body)):
            return False
        inputs = [None if value is None else scope.contents.first(values[value]) for value in node.inputs]
        alike = scope.index.get(node_key(node, inputs))
        for old in alike.best_first(node, self.taken) if alike is not None else ():
            old_bodies = list(subgraphs(old))
            if (
                not same_outputs(old, node, by_name=scope.graph is self.before.graph)
                or not self.whole.isdisjoint(old_bodies)
                or not all(map(same_border, old_bodies, bodies))
            ):
                continue
            self.taken.add(old)
            self.out.nodes[node] = old
            for x, y in zip(old.outputs, node.outputs, strict=False):
                if y.name:
                    self._pair(y, x)
            for old_body, body in zip(old_bodies, bodies, strict=True):
                self._body(scope, old_body, body)
            return True
        return False

    def _body(self, scope: Scope, old: ir.Graph, new: ir.Graph) -> None:
        for a, b in zip(old.inputs, new.inputs, strict=True):
            self._pair(b, a)
        self._whole_graph(old, new, list(zip(old.outputs, new.outputs, strict=True)), scope)

    def _constant(self, scope: Scope, value: ir.Value) -> None:
        """Finds the old constant that a constant stands for, or what it was computed by."""
        tensor = constant_of(value)
        assert tensor is not None  # noqa: S101 - `constants_of` yields no other
        old = scope.constants.get(str(value.name))
        own = None if old is None else constant_of(old)
        if old is not None and own is not None and same_tensor(own, tensor):
            self._pair(value, old)
            return
        found = scope.contents.find(tensor)
        if found is not None:
            self._pair(value, found)
        elif old is None:
            self._claim(scope, value)

    def _claim(self, scope: Scope, new: ir.Value) -> None:
        """Takes what is new for the old value of its name."""
        old = self.expected.get(new) or (scope.values.get(str(new.name)) if new.name else None)
        if old is not None and old.is_graph_output() and self.expected.get(new) is not old:
            return  # another value has to be that one
        producer = old.producer() if old is not None else None
        if old is None or producer is None or producer in self.taken or old in self.images or is_constant(producer):
            return
        if old.dtype is not None and new.dtype is not None and old.dtype != new.dtype:
            return
        if old.shape is not None and new.shape is not None and not may_be_equal(old.shape, new.shape):
            return
        # From here on no new node may stand for the one that computed it.
        self.taken.add(producer)
        self._pair(new, old)
        self.owed[scope.graph].append((old, new))

    def _pair(self, new: ir.Value, old: ir.Value) -> None:
        self.out.values[new] = old
        self.images.add(old)

    def _owe(self, graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
        found = self.out.values.get(new)
        if found is old or (old, new) in self.owed[graph]:
            return
        if any(old is other for other, _ in self.owed[graph]):
            # One value of the old graph would have to be two.
            if graph is self.before.graph:
                raise IncomparableError(f"output {old.name} is two values")
            raise _CrossingError(graph)
        producer = old.producer()
        if found is not None and _is_identity_of(producer, found) and not can_rename(found, graph):
            # It gives a second name to what cannot do without its first.
            self.taken.add(producer)
            self.images.add(old)
            return
        self.owed[graph].append((old, new))


class _Regions:
    """The regions of one graph of the old model."""

    def __init__(self, aligner: _Aligner, graph: ir.Graph) -> None:
        self.aligner, self.graph = aligner, graph

    def changes(self) -> Iterator[Change]:
        owed = self.aligner.owed[self.graph]
        groups = list(range(len(owed)))
        owner: dict[ir.Node, int] = {}
        nodes: list[tuple[list[ir.Node], list[ir.Node]]] = []
        for number, (old, new) in enumerate(owed):
            old_nodes = self._reached(old.producer(), self.aligner.images, owner, groups, number)
            producer = None if new.producer() in self.aligner.out.nodes else new.producer()
            new_nodes = self._reached(producer, self.aligner.out.values, owner, groups, number)
            if any(node.graph is not self.graph for node in old_nodes):
                raise _CrossingError(self.graph)
            nodes.append((old_nodes, new_nodes))
        members: dict[int, list[int]] = defaultdict(list)
        for number in range(len(owed)):
            members[_root(groups, number)].append(number)
        for numbers in members.values():
            before = [node for number in numbers for node in nodes[number][0]]
            after = [node for number in numbers for node in nodes[number][1]]
            yield Change(
                self.graph,
                tuple(sorted(before, key=self.aligner.order.__getitem__)),
                tuple(sorted(after, key=self.aligner.order.__getitem__)),
                tuple(owed[number] for number in numbers),
            )
        kept = self.aligner.taken
        dead = [node for node in self.graph if node not in kept and node not in owner and not is_constant(node)]
        if dead:
            yield Change(self.graph, tuple(dead), (), ())

    def _reached(
        self,
        start: ir.Node | None,
        known: Container[ir.Value],
        owner: dict[ir.Node, int],
        groups: list[int],
        number: int,
    ) -> list[ir.Node]:
        """The nodes from `start` back to values that are known and to constants, but for those that another group has."""
        found: list[ir.Node] = []
        stack = [start]
        while stack:
            node = stack.pop()
            if node is None or is_constant(node):
                continue
            if node in owner:
                groups[_root(groups, owner[node])] = _root(groups, number)
                continue
            owner[node] = number
            found.append(node)
            stack += [value.producer() for value in read_by(node) if value not in known]
        return found


def _is_identity_of(node: ir.Node | None, value: ir.Value) -> TypeGuard[ir.Node]:
    return node is not None and node.op_type == "Identity" and domain_of(node.domain) == "" and node.inputs[0] is value


def _in_order(graph: ir.Graph) -> tuple[ir.Node, ...]:
    try:
        return in_order(graph)
    except ValueError as error:
        raise IncomparableError(str(error)) from error


def _root(groups: list[int], number: int) -> int:
    while groups[number] != number:
        groups[number] = groups[groups[number]]
        number = groups[number]
    return number

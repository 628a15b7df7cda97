"""Puts what is new of one model into another, region by region; all else stays what it was, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfuse.errors import PassError
from onnxfuse.model_io.origin import KEY, subgraphs
from onnxfuse.rewriting.alignment import Alignment, Change
from onnxfuse.rewriting.builder import PROVENANCE
from onnxfuse.rewriting.initializers import add_initializer, holds_initializers, remove_initializer
from onnxfuse.rewriting.naming import Names, all_names, can_rename, take_over
from onnxfuse.rewriting.sameness import constant_of, domain_of, is_constant
from onnxfuse.rewriting.walking import captured, graphs_in, is_sorted, read_by

__all__ = ["Replacement", "Transplant"]


@dataclass
class Replacement:
    """What is to replace one region, beside the model.

    Attributes:
        change: The region, in both models.
        nodes: The new nodes, in order; they read values of the old model.
        outputs: Pairs of the value to replace and the value that replaces it.
    """

    change: Change
    nodes: list[ir.Node] = field(default_factory=list)
    outputs: tuple[tuple[ir.Value, ir.Value], ...] = ()


class Transplant:
    """The changes of an alignment, ready to be put into the old model.

    Attributes:
        replacements: One for each change.
    """

    def __init__(self, model: ir.Model, new: ir.Model, alignment: Alignment, provenance: str) -> None:
        """Builds the replacements beside `model`; neither model is changed.

        Args:
            model: The old model.
            new: The model that was laid over it.
            alignment: How they lie.
            provenance: The pass, as it stands in the mark `onnxfuse.pass`.
        """
        self._model, self._new, self._alignment, self._provenance = model, new, alignment, provenance
        self._names = Names(model)
        self._constants: dict[tuple[ir.Value, ir.Graph], ir.Value] = {}
        # What each new thing was called in the new model: free once the old nodes are gone.
        self._wishes: list[tuple[ir.Value | ir.Node, str]] = []
        # What took the name of an old value keeps that.
        self._named: set[object] = set()
        self._functions = {function.graph for function in model.functions.values()}
        self.replacements = [self._built(change) for change in alignment.changes]

    # ------------------------------------------------------------------ beside the model

    def _built(self, change: Change) -> Replacement:
        replacement = Replacement(change)
        # A constant that stands for what was computed, before all else: to others it is known by the old value's name.
        local = {
            new: self._constant(new, replacement)
            for old, new in change.outputs
            if self._alignment.values.get(new) is old and constant_of(new) is not None
        }
        for node in change.after:
            replacement.nodes.append(self._copied(node, replacement, local))
        replacement.outputs = tuple((old, self._value(new, replacement, local)) for old, new in change.outputs)
        return replacement

    def _copied(self, node: ir.Node, replacement: Replacement, local: dict[ir.Value, ir.Value]) -> ir.Node:
        inputs = [None if value is None else self._value(value, replacement, local) for value in node.inputs]
        attributes = [self._attribute(attribute, replacement, local) for attribute in node.attributes.values()]
        before = replacement.change.before
        alike = [old for old in before if node.name and old.name == node.name] or list(before)
        metadata: dict[str, str] = {}
        for old in alike:
            metadata.update(old.metadata_props)
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            attributes,
            overload=node.overload,
            num_outputs=len(node.outputs),
            name=self._names.fresh(node.name) if node.name else None,
            doc_string=node.doc_string or next((old.doc_string for old in reversed(alike) if old.doc_string), None),
            metadata_props={**metadata, **node.metadata_props, PROVENANCE: self._provenance},
        )
        if node.name:
            self._wishes.append((copy, node.name))
        for value, new in zip(node.outputs, copy.outputs, strict=True):
            local[value] = new
            if not value.name:
                new.name = ""
                continue
            new.name = self._names.fresh(str(value.name))
            self._wishes.append((new, str(value.name)))
            new.type, new.shape, new.doc_string = value.type, value.shape, value.doc_string
            new.metadata_props.update(value.metadata_props)
        return copy

    def _value(self, value: ir.Value, replacement: Replacement, local: Mapping[ir.Value, ir.Value]) -> ir.Value:
        """What a value of the new model is in the old one."""
        found = local.get(value)
        if found is None:
            found = self._alignment.values.get(value)
        return self._constant(value, replacement) if found is None else found

    def _constant(self, value: ir.Value, replacement: Replacement) -> ir.Value:
        tensor = constant_of(value)
        if tensor is None:
            raise PassError(f"{value.name!r} is in neither model: the alignment lost it")
        graph = replacement.change.graph
        if not holds_initializers(self._model, graph, self._functions):
            node = ir.node("Constant", [], {"value": tensor}, name=self._names.fresh(f"{value.name}_Constant"))
            made = node.outputs[0]
            made.name = self._names.fresh(str(value.name))
            replacement.nodes.append(node)
            return made
        if value.graph is self._new.graph:
            graph = self._model.graph
        if (value, graph) not in self._constants:
            self._constants[value, graph] = made = ir.Value(
                name=self._names.fresh(str(value.name)),
                const_value=tensor,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(list(tensor.shape.numpy())),
            )
            self._wishes.append((made, str(value.name)))
        return self._constants[value, graph]

    def _attribute(self, attribute: ir.Attr, replacement: Replacement, local: Mapping[ir.Value, ir.Value]) -> ir.Attr:
        if attribute.ref_attr_name is not None:
            return attribute
        if attribute.type == ir.AttributeType.GRAPH:
            body = self._body(attribute.as_graph(), replacement, local)
            return ir.Attr(attribute.name, attribute.type, body, doc_string=attribute.doc_string)
        if attribute.type == ir.AttributeType.GRAPHS:
            bodies = [self._body(body, replacement, local) for body in attribute.as_graphs()]
            return ir.Attr(attribute.name, attribute.type, bodies, doc_string=attribute.doc_string)
        return attribute

    def _body(self, body: ir.Graph, replacement: Replacement, local: Mapping[ir.Value, ir.Value]) -> ir.Graph:
        """Returns a copy of a body that reads values of the old model."""
        outer = {value: self._value(value, replacement, local) for value in captured(body)}
        copy = body.clone(allow_outer_scope_values=True)
        for graph in graphs_in(copy):
            graph.meta.pop(KEY, None)
            self._renamed(graph)
            for index, value in enumerate(graph.outputs):
                if value in outer:
                    graph.outputs[index] = outer[value]
            for node in graph:
                node.meta.pop(KEY, None)
                for index, read in enumerate(node.inputs):
                    if read is not None and read in outer:
                        node.replace_input_with(index, outer[read])
        return copy

    def _renamed(self, body: ir.Graph) -> None:
        """Gives what a copied body defines names that nothing else has: it reads values of the old model by theirs."""
        inner: list[ir.Value | ir.Node] = [
            *body.inputs,
            *(v for v in body.initializers.values() if v not in body.inputs),
        ]
        for node in body:
            inner += [node, *node.outputs]
        for thing in inner:
            if thing.name:
                self._wishes.append((thing, thing.name))
                thing.name = self._names.fresh(thing.name)

    # ------------------------------------------------------------------ into the model

    def commit(self) -> None:
        """Puts all replacements into the old model.

        Raises:
            ValueError: The nodes cannot be put in order.
        """
        called = _called(self._model)
        read = {
            value for replacement in self.replacements for node in replacement.change.before for value in read_by(node)
        }
        constants = set(self._constants.values())
        for replacement in self.replacements:
            self._splice(replacement, constants)
        for (_, graph), value in self._constants.items():
            add_initializer(self._model, graph, value)
        for replacement in self.replacements:
            for node in replacement.change.before:
                _detach(node)
        for replacement in self.replacements:
            replacement.change.graph.remove(replacement.change.before)
        for value in read:
            self._drop_constant(value)
        for graph in dict.fromkeys(replacement.change.graph for replacement in self.replacements):
            if not is_sorted(graph):
                graph.sort()
        self._take_functions(called)
        self._take_opsets()
        self._grant_wishes()

    def _splice(self, replacement: Replacement, constants: set[ir.Value]) -> None:
        change = replacement.change
        nodes = list(replacement.nodes)
        built = {value for node in nodes for value in node.outputs}
        for old, new in replacement.outputs:
            taken = new
            if old.is_initializer() and old.graph is not None and not old.is_graph_input():
                old.graph.initializers.pop(str(old.name))  # it is an output, and its name is to be had
            if (new in built or new in constants) and new not in self._named:  # it takes this name and no other
                self._named.add(new)
                self._name(old, new)
            elif old.is_graph_output():
                if not can_rename(new, change.graph):
                    # Both names must survive: an Identity stands between.
                    node = ir.node("Identity", [new], name=self._names.fresh(f"{old.name}_Identity"))
                    node.metadata_props[PROVENANCE] = self._provenance
                    nodes.append(node)
                    taken = node.outputs[0]
                self._named.add(taken)
                take_over(old, taken)
            old.replace_all_uses_with(taken, replace_graph_outputs=True)
        if change.before:
            change.graph.insert_before(change.before[-1], nodes)
        else:
            change.graph.extend(nodes)

    def _name(self, old: ir.Value, new: ir.Value) -> None:
        """Gives a new value the name of the one that it replaces; what is declared of that holds of an output only."""
        own = new.type, new.shape
        output = old.is_graph_output() and old.graph is self._model.graph
        take_over(old, new)
        if not output:
            new.type, new.shape = own

    def _drop_constant(self, value: ir.Value) -> None:
        """Removes a constant that only what is gone read."""
        producer = value.producer()
        if value.uses() or value.is_graph_output():
            return
        if producer is not None:
            if is_constant(producer) and isinstance(producer.graph, ir.Graph):
                producer.graph.remove(producer)
        elif value.is_initializer():
            remove_initializer(self._model, value)

    def _take_functions(self, called: set[ir.OperatorIdentifier]) -> None:
        """Takes over functions that are new and needed, or are not what they were; drops those that nothing calls now."""
        functions = self._model.functions
        new = {function.identifier(): function for function in self._alignment.new_functions}
        for identity, function in new.items():
            if identity in functions:
                functions[identity] = _without_origin(function)
        while missing := [
            identity for identity in _called(self._model) if identity in new and identity not in functions
        ]:
            for identity in missing:
                functions[identity] = _without_origin(new[identity])
        for identity in called - _called(self._model):
            functions.pop(identity, None)

    def _take_opsets(self) -> None:
        imports = self._model.graph.opset_imports
        for domain, (_, version) in self._alignment.opsets.items():
            imports["ai.onnx" if domain == "" and "ai.onnx" in imports else domain] = version
        functions = {function.graph: function for function in self._model.functions.values()}
        versions = {domain_of(domain): version for domain, version in self._new.graph.opset_imports.items()}
        for replacement in self.replacements:
            function = functions.get(replacement.change.graph)
            known = imports if function is None else function.opset_imports
            for node in replacement.nodes:
                for inner in (node, *(one for body in subgraphs(node) for graph in graphs_in(body) for one in graph)):
                    domain = domain_of(inner.domain)
                    if domain not in map(domain_of, known) and domain in versions:
                        known[domain] = versions[domain]

    def _grant_wishes(self) -> None:
        """Gives what is new the name that it was made with, where nothing else has it any more."""
        taken = set(all_names(self._model))
        for thing, wish in self._wishes:
            if thing.name != wish and wish not in taken and thing not in self._named:
                taken.discard(str(thing.name))
                taken.add(wish)
                thing.name = wish


def _detach(node: ir.Node) -> None:
    for body in subgraphs(node):
        for inner in body:
            _detach(inner)
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)


def _called(model: ir.Model) -> set[ir.OperatorIdentifier]:
    """The functions of the model, and others of such a name, that a node calls."""
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    return {node.op_identifier() for outer in graphs for graph in graphs_in(outer) for node in graph}


def _without_origin(function: ir.Function) -> ir.Function:
    for graph in graphs_in(function.graph):
        graph.meta.pop(KEY, None)
        for node in graph:
            node.meta.pop(KEY, None)
    return function

"""The tensors of a model, wherever they are held, and who reads each value.

A value is known by its name inside a scope: the main graph, a body, or a function. A body reads the values of the
scopes around it; the input of a function is read as the value that a call hands to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import onnx

__all__ = ["FloatList", "Held", "Reader", "Scope", "Survey", "survey"]

ONNX_DOMAINS: Final = ("", "ai.onnx")

FunctionKey = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Reader:
    """One use of a value.

    Attributes:
        node: Who reads it; None where it is an output of its graph or function.
        index: As which input, or output.
        scope: Where the node stands.
    """

    node: onnx.NodeProto | None
    index: int
    scope: Scope


@dataclass(eq=False)
class Scope:
    """The values of one graph or function.

    Attributes:
        outer: The scope around it; None for the main graph and for functions.
        inputs: Names of what comes in, in order.
        defined: Names of all its values.
        readers: Who reads each of them, bodies included.
        constants: The tensors that its initializers and Constant nodes hold, by the value's name.
    """

    outer: Scope | None = None
    inputs: Sequence[str] = ()
    defined: set[str] = field(default_factory=set)
    readers: dict[str, list[Reader]] = field(default_factory=dict)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def home(self, name: str) -> Scope:
        """Returns the scope that defines what `name` means here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.defined:
                return scope
            scope = scope.outer
        return self

    def constant(self, name: str) -> onnx.TensorProto | None:
        """Returns the tensor that `name` stands for here; None where it is computed or comes in."""
        return self.home(name).constants.get(name)


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor, and where it is held.

    Attributes:
        name: The name of its value; in the attribute of another node than Constant, of that node's first output and of
            the attribute.
        tensor: It; of a sparse one, the values.
        dims: The shape of the value.
        scope: Where the value is read; None for an attribute that is no value.
        ordinal: Its place among the main graph's initializers.
        place: The ordinal of the main graph's node that holds it, and of the attribute.
    """

    name: str
    tensor: onnx.TensorProto
    dims: tuple[int, ...]
    scope: Scope | None = None
    ordinal: int | None = None
    place: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class FloatList:
    """An attribute that is a list of floats: a Constant, the coefficients of a regression.

    Attributes:
        name: As of `Held`.
        node: Who holds it.
        attribute: It.
        scope: As of `Held`.
    """

    name: str
    node: onnx.NodeProto
    attribute: onnx.AttributeProto
    scope: Scope | None


@dataclass(eq=False)
class Survey:
    """A model looked through.

    Attributes:
        tensors: All its tensors, in order.
        float_lists: Its attributes that are lists of floats.
        functions: Its functions' scopes.
    """

    tensors: list[Held] = field(default_factory=list)
    float_lists: list[FloatList] = field(default_factory=list)
    functions: dict[FunctionKey, Scope] = field(default_factory=dict)

    def called(self, node: onnx.NodeProto) -> Scope | None:
        """Returns the function that a node calls; None for an operator."""
        return self.functions.get((node.domain, node.op_type, node.overload))


def survey(model: onnx.ModelProto) -> Survey:
    """Looks through a model."""
    found = Survey()
    for function in model.functions:
        scope = Scope(inputs=list(function.input), defined=set(function.input))
        found.functions[function.domain, function.name, function.overload] = scope
        _look_through_nodes(function.node, scope, found)
        _note_outputs(function.output, scope)
        for attribute in function.attribute_proto:
            _look_at_attribute(attribute, f"{function.name}.{attribute.name}", scope, found)
    _look_through(model.graph, None, found, main=True)
    for training in model.training_info:
        _look_through(training.initialization, None, found)
        _look_through(training.algorithm, None, found)
    return found


def _look_through(graph: onnx.GraphProto, outer: Scope | None, found: Survey, *, main: bool = False) -> None:
    scope = Scope(outer, [value.name for value in graph.input])
    scope.defined.update(scope.inputs)
    for ordinal, tensor in enumerate(graph.initializer):
        scope.defined.add(tensor.name)
        scope.constants[tensor.name] = tensor
        held = Held(tensor.name, tensor, tuple(tensor.dims), scope, ordinal if main else None)
        found.tensors.append(held)
    for sparse in graph.sparse_initializer:
        scope.defined.add(sparse.values.name)
        found.tensors += _of_sparse(sparse, sparse.values.name, scope)
    _look_through_nodes(graph.node, scope, found, main=main)
    _note_outputs([value.name for value in graph.output], scope)


def _look_through_nodes(nodes: Iterable[onnx.NodeProto], scope: Scope, found: Survey, *, main: bool = False) -> None:
    for number, node in enumerate(nodes):
        for index, name in enumerate(node.input):
            if name:
                scope.home(name).readers.setdefault(name, []).append(Reader(node, index, scope))
        scope.defined.update(node.output)
        constant = node.op_type == "Constant" and node.domain in ONNX_DOMAINS and len(node.output) == 1
        for ordinal, attribute in enumerate(node.attribute):
            place = (number, ordinal) if main else None
            if constant:
                _look_at_constant(node, attribute, scope, found, place)
            else:
                label = f"{next(iter(node.output), node.name)}.{attribute.name}"
                _look_at_attribute(attribute, label, scope, found, node, place)


def _note_outputs(names: Iterable[str], scope: Scope) -> None:
    for index, name in enumerate(names):
        scope.home(name).readers.setdefault(name, []).append(Reader(None, index, scope))


def _look_at_constant(
    node: onnx.NodeProto,
    attribute: onnx.AttributeProto,
    scope: Scope,
    found: Survey,
    place: tuple[int, int] | None,
) -> None:
    name = node.output[0]
    if attribute.name == "value" and attribute.HasField("t"):
        scope.constants[name] = attribute.t
        found.tensors.append(Held(name, attribute.t, tuple(attribute.t.dims), scope, place=place))
    elif attribute.HasField("sparse_tensor"):
        found.tensors += _of_sparse(attribute.sparse_tensor, name, scope)
    elif attribute.name == "value_floats":
        found.float_lists.append(FloatList(name, node, attribute, scope))


def _look_at_attribute(
    attribute: onnx.AttributeProto,
    label: str,
    scope: Scope,
    found: Survey,
    node: onnx.NodeProto | None = None,
    place: tuple[int, int] | None = None,
) -> None:
    tensors = [attribute.t] if attribute.HasField("t") else []
    for tensor in (*tensors, *attribute.tensors):
        found.tensors.append(Held(label, tensor, tuple(tensor.dims), place=place))
    sparse_tensors = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse in (*sparse_tensors, *attribute.sparse_tensors):
        found.tensors += _of_sparse(sparse, label, None)
    if attribute.floats and node is not None:
        found.float_lists.append(FloatList(label, node, attribute, None))
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        _look_through(graph, scope, found)


def _of_sparse(sparse: onnx.SparseTensorProto, name: str, scope: Scope | None) -> list[Held]:
    """Returns what a sparse tensor holds: the values, and the indices, which nobody reads as a value."""
    values = Held(name, sparse.values, tuple(sparse.dims), scope)
    indices = Held(f"{name}.indices", sparse.indices, tuple(sparse.indices.dims))
    return [values, indices]

"""A model made ready for its twin: what each node is, what it captures, and how long its values are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnx

from onnxfuse.analysis.ops import RANDOM, op_facts, op_types
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.twin_kernel import Kernel, UnsupportedError
from onnxfuse.verification.twin_values import Value

__all__ = ["Graph", "Node", "counts", "prepared"]


# They select, move or convert: nothing is rounded that was not before. What only moves data is in the table of ops.
_EXACT: Final = op_types(
    """Abs ArgMax ArgMin Cast CastLike Ceil Clip ConcatFromSequence Constant ConstantOfShape Dropout EyeLike Floor
    GlobalMaxPool Hardmax If Loop Max MaxPool MaxUnpool Min Neg OneHot Optional OptionalGetElement ReduceMax ReduceMin
    Relu Round Scan Scatter ScatterElements ScatterND SequenceAt SequenceConstruct SequenceErase SequenceInsert Sign
    SplitToSequence TopK Unique"""
)
# Inputs whose values are counts or exponents: a little more or less of them is another function.
_COUNTS: Final = {"Pow": (1,), "Resize": (1, 2), "Upsample": (1,), "Range": (0, 1, 2), "OneHot": (1,)}
# Of several steps that cancel, each of which a kernel rounds: they run as the function that the standard gives for them.
_COMPOSED: Final = frozenset(("Gelu", "MeanVarianceNormalization", "Mish"))
_CARRIERS: Final = frozenset(("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Slice", "Gather"))


@dataclass
class Node:
    """A node, ready to run.

    Attributes:
        proto: As in the model, with no attribute left that refers to one of a function.
        op_type: Its op_type; empty for a call of a local function.
        opset: The version of its domain.
        attributes: Plain values; tensors as arrays.
        inputs: Names; empty for one left out.
        outputs: Names.
        rounds: Whether its float results are rounded.
        counts: Whether its results are used as counts or exponents.
        graphs: Its bodies, by attribute; the body of the function that it calls, as `body`.
        captures: Names that its bodies read.
        kernel: What computes it; found at the first run.
    """

    proto: onnx.NodeProto
    op_type: str
    opset: int
    attributes: dict[str, Any]
    inputs: list[str]
    outputs: list[str]
    rounds: bool
    counts: bool = False
    graphs: dict[str, Graph] = field(default_factory=dict)
    captures: list[str] = field(default_factory=list)
    kernel: Kernel | None = None


@dataclass
class Graph:
    """A graph, a body, or the body of a function, ready to run.

    Attributes:
        inputs: Names.
        outputs: Names.
        constants: Its initializers, as they are.
        nodes: In order.
        counts: The values that are used as counts or exponents.
        last_uses: For each node the values that nothing reads after it.
    """

    inputs: list[str]
    outputs: list[str]
    constants: dict[str, Value]
    nodes: list[Node]
    counts: set[str]
    last_uses: list[list[str]]


def prepared(model: EvalModel) -> Graph:
    """Makes the main graph of a model ready, and all that it holds.

    Raises:
        UnsupportedError: It has a node without a twin.
    """
    opsets = {entry.domain: entry.version for entry in model.proto.opset_import}
    return _Preparation(model).graph(model.proto.graph.node, model.proto.graph, opsets, {})


class _Preparation:
    """What one model's graphs share while they are prepared."""

    def __init__(self, model: EvalModel) -> None:
        self._weights = model.weights
        self._functions = {(f.domain, f.name): f for f in model.proto.functions}

    def graph(
        self,
        nodes: Iterable[onnx.NodeProto],
        graph: onnx.GraphProto | onnx.FunctionProto,
        opsets: Mapping[str, int],
        given: Mapping[str, onnx.AttributeProto],
    ) -> Graph:
        """Makes nodes ready; `given` are the attributes of the function that they are in."""
        ready = [self._node(node, opsets, given) for node in nodes]
        constants: dict[str, Value] = {}
        if isinstance(graph, onnx.GraphProto):
            inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
            if graph.sparse_initializer:
                raise UnsupportedError("sparse initializers")
            for tensor in graph.initializer:
                array = self._weights.get(tensor.name)
                try:
                    data = onnx.numpy_helper.to_array(tensor) if array is None else array
                except ValueError as error:  # strings that are no text, or an empty tensor with a dim beyond all memory
                    raise UnsupportedError(f"initializer {tensor.name} has no numpy array: {error}") from error
                constants[tensor.name] = Value(data, tensor.data_type)
        else:
            inputs, outputs = list(graph.input), list(graph.output)
        counted = counts([(node.op_type, node.inputs, node.outputs) for node in ready])
        for node in ready:
            node.counts = any(name in counted for name in node.outputs)
        return Graph(inputs, outputs, constants, ready, counted, _last_uses(ready, outputs))

    def _node(self, proto: onnx.NodeProto, opsets: Mapping[str, int], given: Mapping[str, onnx.AttributeProto]) -> Node:
        standard = proto.domain in ("", "ai.onnx")
        function = self._functions.get((proto.domain, proto.op_type))
        if function is None and standard and proto.op_type in _COMPOSED:
            function = _standard_function(proto, opsets.get("", 1))
        if function is None and not standard:
            raise UnsupportedError(f"{proto.domain}::{proto.op_type} has no twin")
        if standard and proto.op_type in RANDOM:
            raise UnsupportedError(f"{proto.op_type} is random")
        stated = list(_stated(proto, given))
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in stated if a.type != a.GRAPH}
        rounds = function is None and proto.op_type not in _EXACT and not op_facts(proto.op_type).index_only
        node = Node(
            proto=_with_attributes(proto, stated),
            op_type="" if function is not None else proto.op_type,
            opset=opsets.get("", opsets.get("ai.onnx", 1)),
            attributes=attributes,
            inputs=list(proto.input),
            outputs=list(proto.output),
            rounds=rounds,
        )
        if function is not None:
            defaults = {a.name: a for a in function.attribute_proto}
            if standard and (proto.domain, proto.op_type) not in self._functions:
                defaults = _schema_defaults(proto.op_type, opsets.get("", 1))
            passed = {**defaults, **{a.name: a for a in stated}}
            inner = {entry.domain: entry.version for entry in function.opset_import}
            node.graphs["body"] = self.graph(function.node, function, inner, passed)
        for attribute in stated:
            if attribute.type == attribute.GRAPH:
                node.graphs[attribute.name] = self.graph(attribute.g.node, attribute.g, opsets, given)
        if function is None:
            node.captures = list(dict.fromkeys(name for graph in node.graphs.values() for name in _read_in(graph)))
        return node


def _standard_function(node: onnx.NodeProto, opset: int) -> onnx.FunctionProto:
    """What the standard says that an operator is, in terms of others."""
    schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    if schema.has_function:
        standard: onnx.FunctionProto = schema.function_body
        return standard
    given = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None).SerializeToString()
    body = schema.get_context_dependent_function(node.SerializeToString(), [given] * len(node.input))
    function = onnx.FunctionProto()
    function.ParseFromString(body)
    return function


def _schema_defaults(op_type: str, opset: int) -> dict[str, onnx.AttributeProto]:
    attributes = onnx.defs.get_schema(op_type, opset, "").attributes
    return {name: stated.default_value for name, stated in attributes.items() if stated.default_value.name}


def _stated(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> Iterator[onnx.AttributeProto]:
    """A node's attributes, those of its function put in where it refers to them."""
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            yield attribute
        elif attribute.ref_attr_name in given:
            resolved = onnx.AttributeProto()
            resolved.CopyFrom(given[attribute.ref_attr_name])
            resolved.name = attribute.name
            yield resolved


def _with_attributes(node: onnx.NodeProto, stated: Sequence[onnx.AttributeProto]) -> onnx.NodeProto:
    if not any(attribute.ref_attr_name for attribute in node.attribute):
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(stated)
    return copy


def counts(nodes: Sequence[tuple[str, Sequence[str], Sequence[str]]]) -> set[str]:
    """The values that are used as counts or exponents, and what only carries them.

    Args:
        nodes: The nodes of a graph in order: op_type, names of inputs, names of outputs.
    """
    found: set[str] = set()
    for op_type, inputs, outputs in reversed(nodes):
        found.update(inputs[index] for index in _COUNTS.get(op_type, ()) if index < len(inputs))
        if op_type in _CARRIERS and found.intersection(outputs):
            found.update(inputs)
    return found - {""}


def _last_uses(nodes: Sequence[Node], outputs: Sequence[str]) -> list[list[str]]:
    """For each node the values that nothing reads after it."""
    seen = set(outputs)
    last: list[list[str]] = []
    for node in reversed(nodes):
        names = {*node.inputs, *node.captures, *node.outputs}
        last.append([name for name in names - seen if name])
        seen |= names
    return last[::-1]


def _read_in(graph: Graph) -> Iterator[str]:
    yield from graph.outputs
    for node in graph.nodes:
        yield from node.inputs
        for inner in node.graphs.values():
            yield from _read_in(inner)

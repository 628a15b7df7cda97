"""Twins: a model run node by node in float64, with every tensor's own type remembered.

A twin says what the model's real function is, without the rounding of its float types. With a `Disturbance` it also
says how much that rounding may matter at each position, and which positions hang on values that a type cannot hold.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import onnx

from onnxfuse.analysis.ops import facts_of
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationTimeoutError
from onnxfuse.verification.twin_kernel import Kernel, UnsupportedError
from onnxfuse.verification.twin_ops import KERNELS
from onnxfuse.verification.twin_resize import resize

__all__ = ["Disturbance", "Node", "Twin", "UnsupportedError", "Value", "is_float_type"]

MAX_TRIPS: Final = 100_000

_FLOATS: Final = frozenset((1, 10, 11, 16, 17, 18, 19, 20, 23, 24))


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


_RANDOM: Final = _ops("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli")
# They select, move or convert: nothing is rounded that was not before. What only moves data is in the table of ops.
_EXACT: Final = _ops(
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


def is_float_type(elem_type: int) -> bool:
    """Whether onnx's number stands for a real floating-point type."""
    return elem_type in _FLOATS


class Value(NamedTuple):
    """A value of a twin: floats are float64; lists are sequences, None an empty optional; `type` is the model's own."""

    data: Any
    type: int


@dataclass
class Node:
    """A node, ready to run.

    Attributes:
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
    graphs: dict[str, _Graph] = field(default_factory=dict)
    captures: list[str] = field(default_factory=list)
    kernel: Kernel | None = None


@dataclass
class _Graph:
    inputs: list[str]
    outputs: list[str]
    constants: dict[str, Value]
    nodes: list[Node]
    counts: set[str]
    last_uses: list[list[str]]


class Disturbance:
    """Changes values while a twin runs; this one changes nothing."""

    def source(self, name: str, value: Value, *, constant: bool) -> Any:
        """Returns what stands for a graph input or a constant that holds floats and is no count."""
        del name, constant
        return value.data

    def result(self, node: Node, inputs: Sequence[Value | None], value: Value) -> Any:
        """Returns what stands for one result of a node."""
        del node, inputs
        return value.data


class Twin:
    """A model in float64."""

    def __init__(self, model: EvalModel) -> None:
        """Prepares a model.

        Raises:
            UnsupportedError: It has a node without a twin.
        """
        self._weights = model.weights
        self._functions = {(f.domain, f.name): f for f in model.proto.functions}
        opsets = {entry.domain: entry.version for entry in model.proto.opset_import}
        graph = model.proto.graph
        self._types = {value.name: _elem_type(value.type) for value in graph.input}
        self._graph = self._prepare(graph.node, graph, opsets, {})
        self._deadline: float | None = None

    def run(
        self, feeds: Mapping[str, Any], disturbance: Disturbance | None = None, *, deadline: float | None = None
    ) -> list[Any]:
        """Runs the model once.

        Args:
            feeds: As for `Evaluator.run`.
            disturbance: Changes values on the way.
            deadline: Of `time.monotonic()`.

        Returns:
            The model's outputs in order; floats are float64.

        Raises:
            UnsupportedError: A node has no twin for what it is given, or its implementation fails.
            EvaluationTimeoutError: The time is up.
        """
        self._deadline = deadline
        change = disturbance or Disturbance()
        scope: dict[str, Value] = {}
        for name, fed in feeds.items():
            value = Value(_float64(fed), self._types[name])
            scope[name] = self._source(name, value, change, self._graph, constant=False)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return [value.data for value in self._run(self._graph, scope, change)]

    # ------------------------------------------------------------------ preparing

    def _prepare(
        self,
        nodes: Iterable[onnx.NodeProto],
        graph: onnx.GraphProto | onnx.FunctionProto,
        opsets: Mapping[str, int],
        given: Mapping[str, onnx.AttributeProto],
    ) -> _Graph:
        prepared = [self._node(node, opsets, given) for node in nodes]
        constants: dict[str, Value] = {}
        if isinstance(graph, onnx.GraphProto):
            inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
            if graph.sparse_initializer:
                raise UnsupportedError("sparse initializers")
            for tensor in graph.initializer:
                array = self._weights.get(tensor.name)
                data = onnx.numpy_helper.to_array(tensor) if array is None else array
                constants[tensor.name] = Value(data, tensor.data_type)
        else:
            inputs, outputs = list(graph.input), list(graph.output)
        counts = _counts(prepared)
        for node in prepared:
            node.counts = any(name in counts for name in node.outputs)
        return _Graph(inputs, outputs, constants, prepared, counts, _last_uses(prepared, outputs))

    def _node(self, proto: onnx.NodeProto, opsets: Mapping[str, int], given: Mapping[str, onnx.AttributeProto]) -> Node:
        standard = proto.domain in ("", "ai.onnx")
        function = self._functions.get((proto.domain, proto.op_type))
        if function is None and standard and proto.op_type in _COMPOSED:
            function = _standard_function(proto, opsets.get("", 1))
        if function is None and not standard:
            raise UnsupportedError(f"{proto.domain}::{proto.op_type} has no twin")
        if standard and proto.op_type in _RANDOM:
            raise UnsupportedError(f"{proto.op_type} is random")
        stated = list(_stated(proto, given))
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in stated if a.type != a.GRAPH}
        rounds = function is None and proto.op_type not in _EXACT and not facts_of(proto.op_type).index_only
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
            node.graphs["body"] = self._prepare(function.node, function, inner, passed)
        for attribute in stated:
            if attribute.type == attribute.GRAPH:
                node.graphs[attribute.name] = self._prepare(attribute.g.node, attribute.g, opsets, given)
        if function is None:
            node.captures = list(dict.fromkeys(name for graph in node.graphs.values() for name in _read_in(graph)))
        return node

    # ------------------------------------------------------------------ running

    def _run(self, graph: _Graph, scope: dict[str, Value], change: Disturbance) -> list[Value]:
        """Runs a graph whose inputs, and what it captures, are in `scope`."""
        for node, dead in zip(graph.nodes, graph.last_uses, strict=True):
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise EvaluationTimeoutError("the float64 twin was not finished in time")
            for name in node.captures:
                self._read(name, graph, scope, change)  # bodies find it in the scope
            inputs = [self._read(name, graph, scope, change) for name in node.inputs]
            results = self._apply(node, inputs, scope, change)
            scope.update((name, value) for name, value in zip(node.outputs, results, strict=False) if name)
            for name in dead:
                scope.pop(name, None)
        return [_given(self._read(name, graph, scope, change)) for name in graph.outputs]

    def _read(self, name: str, graph: _Graph, scope: dict[str, Value], change: Disturbance) -> Value | None:
        if name in scope:
            return scope[name]
        if name not in graph.constants:
            return None  # left out, here or by the caller of a function
        constant = graph.constants[name]
        value = Value(_float64(constant.data), constant.type)
        scope[name] = self._source(name, value, change, graph, constant=True)
        return scope[name]

    def _source(self, name: str, value: Value, change: Disturbance, graph: _Graph, *, constant: bool) -> Value:
        if not is_float_type(value.type) or name in graph.counts or value.data is None:
            return value
        if isinstance(value.data, list):
            items = [change.source(name, Value(item, value.type), constant=constant) for item in value.data]
            return Value(items, value.type)
        return Value(change.source(name, value, constant=constant), value.type)

    def _apply(
        self, node: Node, inputs: list[Value | None], scope: Mapping[str, Value], change: Disturbance
    ) -> list[Value]:
        if node.op_type == "":
            body = node.graphs["body"]
            given = {name: value for name, value in zip(body.inputs, inputs, strict=False) if value is not None}
            return self._run(body, given, change)
        if node.op_type == "If":
            condition = _given(inputs[0])
            branch = node.graphs["then_branch" if bool(np.asarray(condition.data).reshape(-1)[0]) else "else_branch"]
            return self._run(branch, dict(scope), change)
        if node.op_type == "Loop":
            return self._loop(node, inputs, scope, change)
        if node.op_type == "Scan":
            return self._scan(node, inputs, scope, change)
        if node.graphs:
            raise UnsupportedError(f"{node.op_type} has no twin")
        if node.op_type == "Constant":
            value = _constant(node)
            name = node.outputs[0]
            if not is_float_type(value.type) or node.counts:
                return [value]
            return [Value(change.source(name, value, constant=True), value.type)]
        try:
            results = _compute(node, inputs)
        except (UnsupportedError, EvaluationTimeoutError):
            raise
        except Exception as error:  # whatever an implementation of onnx.reference raises
            raise UnsupportedError(f"the float64 twin of {node.op_type} fails: {error}") from error
        types = _types(node, inputs, results)
        values = [Value(_float64(data), type_) for data, type_ in zip(results, types, strict=True)]
        return [
            value._replace(data=change.result(node, inputs, value))
            if isinstance(value.data, np.ndarray) and not node.counts
            else value
            for value in values
        ]

    def _loop(
        self, node: Node, inputs: list[Value | None], scope: Mapping[str, Value], change: Disturbance
    ) -> list[Value]:
        body = node.graphs["body"]
        trips, condition = inputs[0], inputs[1] if len(inputs) > 1 else None
        limit = int(np.asarray(trips.data).reshape(-1)[0]) if trips is not None else MAX_TRIPS
        going = bool(np.asarray(condition.data).reshape(-1)[0]) if condition is not None else True
        carried = [_given(value) for value in inputs[2:]]
        scanned: list[list[Value]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
        trip = 0
        while going and trip < limit:
            if trip >= MAX_TRIPS:
                raise UnsupportedError(f"a Loop of more than {MAX_TRIPS} trips")
            inner = dict(scope)
            counter = Value(np.array(trip, np.int64), onnx.TensorProto.INT64)
            inner.update(
                zip(body.inputs, [counter, Value(np.array(going), onnx.TensorProto.BOOL), *carried], strict=False)
            )
            results = self._run(body, inner, change)
            going = bool(np.asarray(results[0].data).reshape(-1)[0])
            carried = results[1 : 1 + len(carried)]
            for row, value in zip(scanned, results[1 + len(carried) :], strict=True):
                row.append(value)
            trip += 1
        if not all(scanned):
            raise UnsupportedError("a Loop without a trip")
        return [*carried, *(Value(np.stack([v.data for v in row]), row[0].type) for row in scanned)]

    def _scan(
        self, node: Node, inputs: list[Value | None], scope: Mapping[str, Value], change: Disturbance
    ) -> list[Value]:
        if node.opset < 9:
            raise UnsupportedError("Scan below opset 9")
        body, count = node.graphs["body"], int(node.attributes["num_scan_inputs"])
        state, rows = [_given(v) for v in inputs[:-count]], [_given(v) for v in inputs[-count:]]
        axes = node.attributes.get("scan_input_axes") or [0] * count
        backward = node.attributes.get("scan_input_directions") or [0] * count
        moved = [
            np.moveaxis(v.data, axis, 0)[:: -1 if b else 1] for v, axis, b in zip(rows, axes, backward, strict=True)
        ]
        results: list[list[Value]] = [[] for _ in range(len(body.outputs) - len(state))]
        for trip in range(len(moved[0])):
            inner = dict(scope)
            items = [Value(np.asarray(m[trip]), v.type) for m, v in zip(moved, rows, strict=True)]
            inner.update(zip(body.inputs, [*state, *items], strict=True))
            given = self._run(body, inner, change)
            state = given[: len(state)]
            for row, value in zip(results, given[len(state) :], strict=True):
                row.append(value)
        if not all(results):
            raise UnsupportedError("a Scan without a trip")
        outs = node.attributes.get("scan_output_axes") or [0] * len(results)
        flips = node.attributes.get("scan_output_directions") or [0] * len(results)
        stacked = [
            Value(np.stack([v.data for v in (row[::-1] if flip else row)], axis=out), row[0].type)
            for row, out, flip in zip(results, outs, flips, strict=True)
        ]
        return [*state, *stacked]


# ---- one node


def _compute(node: Node, inputs: Sequence[Value | None]) -> list[Any]:
    arrays = [None if value is None else value.data for value in inputs]
    while arrays and arrays[-1] is None:
        arrays.pop()
    if node.kernel is None:
        node.kernel = _kernel(node)
    result: Any = None
    if node.op_type == "CastLike":
        result = KERNELS["Cast"]({**node.attributes, "to": _given(inputs[1]).type}, arrays[:1], node.opset)
    elif node.op_type == "QuantizeLinear" and len(arrays) > 2 and arrays[2] is not None:
        # A type of fewer than 8 bits is no type of the zero point's array.
        result = node.kernel({**node.attributes, "output_dtype": _given(inputs[2]).type}, arrays, node.opset)
    elif node.op_type in ("Resize", "Upsample"):
        result = resize(node.attributes, arrays, node.opset)
    if result is None:
        result = node.kernel(node.attributes, arrays, node.opset)
    results = list(result) if isinstance(result, tuple) else [result]
    return results[: max(len(node.outputs), 1)]


def _kernel(node: Node) -> Kernel:
    # MaxPool's second output and the strings of Cast are rare enough to be left to the reference.
    if node.op_type in KERNELS and not (node.op_type == "MaxPool" and len(node.outputs) > 1):
        return KERNELS[node.op_type]
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.ops._op_list import load_op

    instance: Any = None

    def kernel(_attributes: Mapping[str, Any], arrays: Sequence[Any], opset: int) -> Any:
        nonlocal instance
        if instance is None:
            types = [_type_proto(array) for array in arrays]
            kind = load_op(
                "", node.op_type, opset, node=node.proto, input_types=types, evaluator_cls=ReferenceEvaluator
            )
            parameters = {
                "log": lambda *_: None,
                "opsets": {"": opset},
                "verbose": 0,
                "new_ops": None,
                "existing_functions": {},
                "evaluator_cls": ReferenceEvaluator,
            }
            instance = kind(node.proto, parameters)
        return tuple(instance.run(*arrays))

    return kernel


def _type_proto(array: Any) -> onnx.TypeProto:
    if not isinstance(array, np.ndarray):
        return onnx.TypeProto()
    elem_type = onnx.TensorProto.STRING if array.dtype == object else onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_type_proto(elem_type, array.shape)


def _constant(node: Node) -> Value:
    for name, value in node.attributes.items():
        if name == "value":
            return Value(_float64(onnx.numpy_helper.to_array(value)), value.data_type)
        if name in ("value_float", "value_floats"):
            return Value(np.asarray(value, np.float64), onnx.TensorProto.FLOAT)
        if name in ("value_int", "value_ints"):
            return Value(np.asarray(value, np.int64), onnx.TensorProto.INT64)
        if name in ("value_string", "value_strings"):
            texts = [value] if isinstance(value, bytes) else value
            array = np.array([text.decode() for text in texts], object)
            return Value(array[0] if isinstance(value, bytes) else array, onnx.TensorProto.STRING)
    raise UnsupportedError("a Constant of another kind than a tensor, number or string")


_TYPE_NUMBERS: Final = {f"tensor({name.lower()})": number for name, number in onnx.TensorProto.DataType.items()}


def _types(node: Node, inputs: Sequence[Value | None], results: Sequence[Any]) -> list[int]:
    """The element types that the results have in the model, by the operator's schema."""
    schema = onnx.defs.get_schema(node.op_type, node.opset, "")
    bound: dict[str, int] = {}
    for index, value in enumerate(inputs):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if value is not None:
            bound.setdefault(formal.type_str, value.type)
    types = []
    for index, result in enumerate(results):
        formal = schema.outputs[min(index, len(schema.outputs) - 1)]
        sample = result[0] if isinstance(result, list) and result else result
        kind = getattr(sample, "dtype", None)
        if kind is not None and kind.kind in "iub":
            types.append(int(onnx.helper.np_dtype_to_tensor_dtype(kind)))
            continue
        types.append(
            bound.get(formal.type_str)
            or _TYPE_NUMBERS.get(formal.type_str)
            or _stated_type(node)
            or next((v.type for v in inputs if v is not None and is_float_type(v.type)), onnx.TensorProto.FLOAT)
        )
    return types


def _stated_type(node: Node) -> int | None:
    """The type that an attribute states: `to`, `dtype`, or that of `value`."""
    for name in ("to", "dtype", "output_dtype"):
        if node.attributes.get(name):
            return int(node.attributes[name])
    value = node.attributes.get("value")
    return int(value.data_type) if isinstance(value, onnx.TensorProto) else None


# ---- small things


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


def _float64(data: Any) -> Any:
    """Floats as float64; lists item by item; anything else as it is."""
    if isinstance(data, list | tuple):
        return [_float64(item) for item in data]
    if data is None:
        return None
    array = np.asarray(data)
    if array.dtype.kind == "f" or (array.dtype.kind == "V" and array.dtype.name.startswith(("bfloat", "float"))):
        return array.astype(np.float64, copy=False)
    if array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return array.astype(np.int8)
    if array.dtype.kind in "cV":
        raise UnsupportedError(f"values of type {array.dtype}")
    return array


def _given(value: Value | None) -> Value:
    if value is None:
        raise UnsupportedError("an input that is left out")
    return value


def _elem_type(declared: onnx.TypeProto) -> int:
    while declared.HasField("optional_type") or declared.HasField("sequence_type"):
        optional = declared.HasField("optional_type")
        declared = declared.optional_type.elem_type if optional else declared.sequence_type.elem_type
    return declared.tensor_type.elem_type


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


def _counts(nodes: Sequence[Node]) -> set[str]:
    """The values that are used as counts or exponents, and what only carries them."""
    found: set[str] = set()
    for node in reversed(nodes):
        for index in _COUNTS.get(node.op_type, ()):
            if index < len(node.inputs):
                found.add(node.inputs[index])
        if node.op_type in _CARRIERS and found.intersection(node.outputs):
            found.update(node.inputs)
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


def _read_in(graph: _Graph) -> Iterator[str]:
    yield from graph.outputs
    for node in graph.nodes:
        yield from node.inputs
        for inner in node.graphs.values():
            yield from _read_in(inner)

"""Twins: a model run node by node in float64, with every tensor's own type remembered.

A twin says what the model's real function is, without the rounding of its float types. With a `Disturbance` it also
says how much that rounding may matter at each position, and which positions hang on values that a type cannot hold.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationTimeoutError
from onnxfuse.verification.twin_graph import Graph, Node, prepared
from onnxfuse.verification.twin_kernel import UnsupportedError
from onnxfuse.verification.twin_node import compute, constant_of
from onnxfuse.verification.twin_values import Value, float64, is_float_type, present

__all__ = ["Disturbance", "Twin"]

MAX_TRIPS: Final = 100_000


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
        self._types = {value.name: _elem_type(value.type) for value in model.proto.graph.input}
        self._graph = prepared(model)
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
            value = Value(float64(fed), self._types[name])
            scope[name] = self._source(name, value, change, self._graph, constant=False)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return [value.data for value in self._run(self._graph, scope, change)]

    def _run(self, graph: Graph, scope: dict[str, Value], change: Disturbance) -> list[Value]:
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
        return [present(self._read(name, graph, scope, change)) for name in graph.outputs]

    def _read(self, name: str, graph: Graph, scope: dict[str, Value], change: Disturbance) -> Value | None:
        if name in scope:
            return scope[name]
        if name not in graph.constants:
            return None  # left out, here or by the caller of a function
        constant = graph.constants[name]
        value = Value(float64(constant.data), constant.type)
        scope[name] = self._source(name, value, change, graph, constant=True)
        return scope[name]

    def _source(self, name: str, value: Value, change: Disturbance, graph: Graph, *, constant: bool) -> Value:
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
            condition = present(inputs[0])
            branch = node.graphs["then_branch" if bool(np.asarray(condition.data).reshape(-1)[0]) else "else_branch"]
            return self._run(branch, dict(scope), change)
        if node.op_type == "Loop":
            return self._loop(node, inputs, scope, change)
        if node.op_type == "Scan":
            return self._scan(node, inputs, scope, change)
        if node.graphs:
            raise UnsupportedError(f"{node.op_type} has no twin")
        if node.op_type == "Constant":
            value = constant_of(node)
            name = node.outputs[0]
            if not is_float_type(value.type) or node.counts:
                return [value]
            return [Value(change.source(name, value, constant=True), value.type)]
        values = compute(node, inputs)
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
        carried = [present(value) for value in inputs[2:]]
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
        state, rows = [present(v) for v in inputs[:-count]], [present(v) for v in inputs[-count:]]
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


def _elem_type(declared: onnx.TypeProto) -> int:
    while declared.HasField("optional_type") or declared.HasField("sequence_type"):
        optional = declared.HasField("optional_type")
        declared = declared.optional_type.elem_type if optional else declared.sequence_type.elem_type
    return declared.tensor_type.elem_type

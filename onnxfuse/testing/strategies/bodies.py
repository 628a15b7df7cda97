"""Nodes with bodies: If, Loop, Scan, and calls of local functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxfuse.testing.strategies.graph import UNKNOWN, Axis, Draft, Maker, Value
from onnxfuse.testing.strategies.kernels import EXOTIC, ORDER, types_of

__all__ = ["DOMAIN", "body_makers"]

DOMAIN: Final = "local"
TYPES: Final = tuple(t for t in ORDER if t not in EXOTIC)
Fill = Callable[[Draft, int], None]
"""Adds so many drawn nodes to a graph."""


def body_of(g: Draft) -> Draft:
    """Returns an empty body, which can read all that is outside."""
    return Draft(g.draw, g.world, outer=g, constants_as_nodes=g.constants_as_nodes or g.world.ir_version < 4)


def graph_of(body: Draft, inputs: list[Value], outputs: list[Value]) -> onnx.GraphProto:
    """Returns a body as a graph."""
    return helper.make_graph(
        body.nodes,
        body.world.fresh("body"),
        [value.info() for value in inputs],
        [value.info() for value in outputs],
        body.initializers,
    )


def results_of(body: Draft) -> list[Value]:
    """The values that the body computes itself."""
    return [value for value in body.values if value.elem_type not in EXOTIC and value not in body.inputs]


def anew(body: Draft, value: Value) -> Value:
    """Returns a value that the body computes itself: an outer one, copied."""
    return body.add("Identity", [value], value.elem_type, value.shape)


def if_(g: Draft, fill: Fill) -> None:
    """An If whose branches do the same, or nearly: the other negates, or copies, once more."""
    condition = g.operand([TensorProto.BOOL], rank=(0, 0))
    if condition.rank:
        condition = g.constant(np.array(g.chance(50)), TensorProto.BOOL)
    then = body_of(g)
    fill(then, g.integer(1, 3))
    results = results_of(then) or [anew(then, g.operand(TYPES))]
    result = results[-1]
    other = renamed(g, then)
    last = Value(f"{result.name}.else", result.elem_type, result.shape)
    op_type = "Neg" if result.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE) else "Identity"
    ended = other.add(op_type, [last], result.elem_type, result.shape)
    g.add_several(
        "If",
        [condition],
        [(result.elem_type, result.shape)],
        then_branch=graph_of(then, [], [result]),
        else_branch=graph_of(other, [], [ended]),
    )


def renamed(g: Draft, body: Draft) -> Draft:
    """Returns a copy of a body in which all that it computes has other names."""
    copy = body_of(g)
    own = {name for node in body.nodes for name in node.output} | {tensor.name for tensor in body.initializers}
    for node in body.nodes:
        copy.nodes.append(_renamed(node, own))
    for tensor in body.initializers:
        copied = onnx.TensorProto()
        copied.CopyFrom(tensor)
        copied.name += ".else"
        copy.initializers.append(copied)
    return copy


def _renamed(node: onnx.NodeProto, own: set[str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [f"{name}.else" if name in own else name for name in copy.input]
    copy.output[:] = [f"{name}.else" if name else name for name in copy.output]
    if copy.name:
        copy.name += ".else"
    for attribute in copy.attribute:
        if attribute.HasField("g"):
            _rename_inside(attribute.g, own)
    return copy


def _rename_inside(graph: onnx.GraphProto, own: set[str]) -> None:
    """Renames all that an inner graph defines, and what it captures of the body that was copied."""
    inner = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    inner |= {name for node in graph.node for name in node.output}
    names = own | inner
    for value in (*graph.input, *graph.output):
        value.name += ".else" if value.name in names else ""
    for tensor in graph.initializer:
        tensor.name += ".else"
    nodes = [_renamed(node, names) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def loop(g: Draft, fill: Fill) -> None:
    """A Loop of a few rounds: it carries a value of one shape, and stacks what else it computes."""
    start = g.operand([t for t in types_of("Add", g.opset) if t in TYPES])
    body = body_of(g)
    round_ = Value(g.world.fresh(), TensorProto.INT64, ())
    go_on = Value(g.world.fresh(), TensorProto.BOOL, ())
    carried = Value(g.world.fresh(), start.elem_type, start.shape)
    body.inputs = [round_, go_on, carried]
    body.values = [carried]
    fill(body, g.integer(1, 3))
    scanned = results_of(body)[-1:]
    still = body.add("Identity", [go_on], TensorProto.BOOL, ())
    end = body.add("Add", [carried, carried], start.elem_type, start.shape)
    rounds = g.integer(1, 3)
    count = g.constant(np.array(rounds), TensorProto.INT64, plain=True)
    outputs = [(start.elem_type, start.shape)]
    outputs += [(value.elem_type, (Axis(rounds, UNKNOWN), *value.shape)) for value in scanned]
    on = None if g.chance(50) else g.constant(np.array(True), TensorProto.BOOL, plain=True)
    graph = graph_of(body, body.inputs, [still, end, *scanned])
    g.add_several("Loop", [count, on, start], outputs, body=graph)


def scan(g: Draft, fill: Fill) -> None:
    """A Scan over the first dim."""
    rows = g.operand([t for t in TYPES if t != TensorProto.STRING], rank=(1, 4))
    body = body_of(g)
    row = Value(g.world.fresh(), rows.elem_type, rows.shape[1:])
    body.inputs = [row]
    body.values = [row]
    fill(body, g.integer(1, 3))
    result = (results_of(body) or [anew(body, row)])[-1]
    shape = (rows.shape[0], *result.shape)
    graph = graph_of(body, [row], [result])
    g.add_several("Scan", [rows], [(result.elem_type, shape)], body=graph, num_scan_inputs=1)


def call(g: Draft, fill: Fill) -> None:
    """One or two calls of a new local function; an attribute of a node in it may come from the call."""
    x = g.operand(TYPES)
    inner = Draft(g.draw, g.world, constants_as_nodes=True)
    given = Value(g.world.fresh("f"), x.elem_type, x.shape)
    inner.values = [given]
    inner.inputs = [given] * 4  # there is no room for more inputs
    fill(inner, g.integer(1, 3))
    results = results_of(inner)
    result = results[-1] if results else inner.add("Identity", [given], x.elem_type, x.shape)
    attributes = _referred(g, inner)
    name = g.world.fresh("Function")
    imports = [helper.make_opsetid("", g.opset)]
    if any(node.domain == DOMAIN for node in inner.nodes):
        imports.append(helper.make_opsetid(DOMAIN, 1))
    function = helper.make_function(
        DOMAIN, name, [given.name], [result.name], inner.nodes, imports, attributes=list(attributes)
    )
    g.world.functions.append(function)
    shape = tuple(axis if axis.static else axis._replace(symbol=UNKNOWN) for axis in result.shape)
    for _ in range(g.integer(1, 2)):
        g.add_several(name, [x], [(result.elem_type, shape)], domain=DOMAIN, **attributes)


def _referred(g: Draft, inner: Draft) -> dict[str, object]:
    """Makes an attribute of a node one that the call gives; returns it with its value."""
    kinds = (onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT, onnx.AttributeProto.INTS, onnx.AttributeProto.STRING)
    found = [
        attribute
        for node in inner.nodes
        for attribute in node.attribute
        if attribute.type in kinds and node.op_type not in ("Cast", "Scan") and node.domain != DOMAIN
    ]
    if not found or not g.chance(80):
        return {}
    attribute = g.choice(found)
    value = helper.get_attribute_value(attribute)
    reference = onnx.AttributeProto(name=attribute.name, type=attribute.type, ref_attr_name="given")
    attribute.CopyFrom(reference)
    return {"given": value}


def body_makers(fill: Fill) -> list[Maker]:
    """Returns the makers, which fill their bodies with drawn nodes."""
    return [
        Maker("If", lambda g: if_(g, fill), weight=6, since=7),
        Maker("Loop", lambda g: loop(g, fill), weight=5, since=7),
        Maker("Scan", lambda g: scan(g, fill), weight=3, since=9),
        Maker("Function", lambda g: call(g, fill), weight=20, since=9),
    ]

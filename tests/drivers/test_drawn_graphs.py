"""Checks and names, on graphs that hypothesis draws."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings

import onnxfuse
from onnxfuse.drivers.atc import AtcOptions
from onnxfuse.drivers.checks.graph import check_graph
from onnxfuse.drivers.renames import GoneError, Outputs, Renames
from onnxfuse.testing.oracle import open_session, outcome
from onnxfuse.testing.strategies import feeds_for, models

DRAWN = settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@DRAWN
@given(model=models())
def test_any_graph_is_looked_at(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    found = check_graph(model, AtcOptions())
    assert found == check_graph(model, AtcOptions())
    assert model.SerializeToString() == before
    names = {
        *(node.name for node in model.graph.node),
        *(value for node in model.graph.node for value in (*node.input, *node.output)),
    }
    for finding in found:
        if finding.check in ("int64", "float16", "float64") and not any(node.attribute for node in model.graph.node):
            assert set(finding.at) <= names


@DRAWN
@given(model=models())
def test_an_output_is_where_it_is_said_to_be(model: onnx.ModelProto) -> None:
    """What the place that is returned computes is what the old one did."""
    new, report = onnxfuse.apply(model, "ascend", verify="off")
    old, now = Outputs.of(model.graph), Outputs.of(new.graph)
    renames = dataclasses.replace(Renames.of({**json.loads(report.to_json()), "input": None}), original=old)
    pairs = []
    for node, values in old.values.items():
        stand = renames.nodes_now(node, now)
        assert stand is not None
        assert set(stand) <= set(now.values)
        for index, value in enumerate(values):
            try:
                place = renames.output(node, index, now)
            except GoneError:
                assert value not in now.places or not value
                continue
            pairs.append((value, now.values[place[0]][place[1]]))
    feed = feeds_for(model)
    one = outcome(open_session(exposed(model, [old for old, _ in pairs])), [old for old, _ in pairs], feed)
    other = outcome(open_session(exposed(new, [new for _, new in pairs])), [new for _, new in pairs], feed)
    for a, b in pairs:
        assert one[a].dtype == other[b].dtype
        np.testing.assert_allclose(one[a], other[b], rtol=1e-5, atol=1e-6)


@DRAWN
@given(model=models())
def test_a_branch_is_looked_at_as_the_main_graph_is(model: onnx.ModelProto) -> None:
    of_graph = ("operators", "float16", "float64", "int64")
    found = [(item.check, sorted(item.at)) for item in check_graph(model, AtcOptions()) if item.check in of_graph]
    inside = check_graph(in_a_branch(model), AtcOptions())
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    found = [(check, at) for check, at in found if not ends.intersection(at)]  # which is said of a whole model
    assert [item for item in found if item[0] in of_graph] == [
        (item.check, sorted(item.at)) for item in inside if item.check in of_graph and not ends.intersection(item.at)
    ]


def in_a_branch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, in both branches of an If."""
    wrapped = onnx.ModelProto()
    wrapped.CopyFrom(model)
    graph = wrapped.graph
    inner = onnx.GraphProto(name="inner", node=graph.node, initializer=graph.initializer, output=graph.output)
    inner.value_info.extend(graph.value_info)
    other = onnx.GraphProto(name="other", output=graph.output)
    for value in other.output:
        value.name += "_other"
        other.node.add(op_type="Identity", name=value.name, input=[graph.input[0].name], output=[value.name])
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.input.append(onnx.helper.make_tensor_value_info("which", onnx.TensorProto.BOOL, []))
    branch = onnx.helper.make_node(
        "If", ["which"], [value.name for value in graph.output], name="branch", then_branch=inner, else_branch=other
    )
    graph.node.append(branch)
    return wrapped


def exposed(model: onnx.ModelProto, values: list[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=value) for value in dict.fromkeys(values) if value not in there)
    return copy

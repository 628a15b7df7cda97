"""Nodes that carry what onnx_ir cannot hold, through passes that make whole models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

import onnxfuse
from onnxfuse.adapters.exec_pass import ExecPass
from tests.pipeline.edited import Edited, InPlace


def sparse(*elements: float) -> onnx.SparseTensorProto:
    data = numpy_helper.from_array(np.array(elements, np.float32))
    return helper.make_sparse_tensor(data, numpy_helper.from_array(np.array([0, 2])), [3])


def model() -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, 1, [3]) for name in "xyz"]
    nodes = [
        helper.make_node("Constant", [], ["c"], name="c", sparse_value=sparse(1, 2)),
        helper.make_node("Constant", [], ["d"], name="d", sparse_value=sparse(5, 6)),
        helper.make_node("Identity", ["x"], ["i"], name="i"),
        helper.make_node("Add", ["i", "c"], ["y"], name="y"),
        helper.make_node("Add", ["i", "d"], ["z"], name="z"),
    ]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_they_are_not_taken_for_one_another() -> None:
    def swap(made: ir.Model) -> None:
        nodes = {node.name: node for node in made.graph}
        nodes["y"].replace_input_with(1, nodes["d"].outputs[0])

    before = model()
    result, report = onnxfuse.apply(before, InPlace(swap))
    assert result == before
    assert len(report.rejected) == 1


@pytest.mark.parametrize("verify", ["region", "off"])
def test_what_is_lost_of_them_stays(verify: str) -> None:
    def lossy(proto: onnx.ModelProto) -> None:
        proto.graph.node.pop(2)
        proto.graph.node[2].input[0] = proto.graph.node[3].input[0] = "x"

    before = model()
    result, report = onnxfuse.apply(before, Edited(lossy), verify=verify)
    assert len(report.applied) == 1
    assert [node.output[0] for node in result.graph.node] == ["c", "d", "y", "z"]
    assert list(result.graph.node[:2]) == list(before.graph.node[:2])


def test_a_new_one_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "rename.py"
    program.write_text("""
import sys
import onnx
model = onnx.load(sys.argv[1])
model.graph.node[0].output[0] = model.graph.node[3].input[1] = "new"
onnx.save(model, sys.argv[2])
""")
    before = model()
    result, report = onnxfuse.apply(before, ExecPass(f"{sys.executable} {program} {{in}} {{out}}"), verify="off")
    assert result == before
    assert report.rejected[0].reason == "node 'c' is new and carries what onnx_ir cannot hold"

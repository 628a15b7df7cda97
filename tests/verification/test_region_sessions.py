"""Regions that are alike are compared once: verification costs what differs, not what repeats."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnxfuse

KINDS = 40
REWRITES = 1000


def pairs_of_slices(kinds: int, rewrites: int) -> onnx.ModelProto:
    """Returns a model of pairs of Slices that merge, each with constants and names of its own."""
    graph = onnx.GraphProto(name="pairs")
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 24, 24]))
    for number in range(rewrites):
        start, step = 1 + number % kinds % 10, 1 + number % kinds // 10
        value = "x"
        for axis, first in ((2, start), (3, 1)):
            bounds = {"starts": first, "ends": 2**63 - 1, "axes": axis, "steps": step}
            names = [f"{part}_{axis}_{number}" for part in bounds]
            for name, bound in zip(names, bounds.values(), strict=True):
                graph.initializer.append(numpy_helper.from_array(np.array([bound], np.int64), name))
            graph.node.append(
                helper.make_node("Slice", [value, *names], [f"v{axis}_{number}"], name=f"s{axis}_{number}")
            )
            value = f"v{axis}_{number}"
        graph.node.append(helper.make_node("Neg", [value], [f"y{number}"], name=f"neg_{number}"))
        graph.output.append(helper.make_tensor_value_info(f"y{number}", TensorProto.FLOAT, [None] * 4))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_thousand_rewrites_of_forty_kinds_make_forty_pairs_of_sessions_at_most() -> None:
    model = pairs_of_slices(KINDS, REWRITES)

    report = onnxfuse.apply(model, "merge-sliced", verify="region").report

    (pass_report,) = report.passes
    assert len(pass_report.applied) == REWRITES
    assert {applied.grade for applied in pass_report.applied} == {"exact-for-this-shape"}
    assert KINDS <= pass_report.sessions <= 2 * KINDS

"""What is claimed of shapes against what onnxruntime gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from onnxfuse.analysis import Dim, is_nonnegative
from onnxfuse.analysis.shapes import Shapes, Symbol
from tests.analysis.graphs import values

KINDS = ["slice", "pad", "transpose", "concat", "expand", "tile", "part", "split_last", "merge", "head", "add"]


class Graph:
    """A random chain of data movement, and what has to be known to draw the next step: the rank."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, items: list[int]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(items, dtype=np.int64), name))
        return name

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def step(self, x: str, rank: int) -> tuple[str, int]:
        integers = st.integers
        kind = self.draw(st.sampled_from(KINDS))
        axis = self.draw(integers(0, rank - 1))
        if kind == "slice":
            start = self.draw(st.sampled_from([0, 0, 1, -1, -2, 2**31 - 1, -(2**31)]))
            end = self.draw(st.sampled_from([2**63 - 1, 2**31 - 1, 2, -1, -(2**63) + 1]))
            bounds = (
                start,
                end,
                axis - self.draw(integers(0, 1)) * rank,
                self.draw(st.sampled_from([1, 1, 2, -1, -2])),
            )
            return self.add("Slice", x, *(self.constant([bound]) for bound in bounds)), rank
        if kind == "pad":
            pads = [self.draw(st.sampled_from([0, 0, 1, 2])) for _ in range(2 * rank)]
            return self.add("Pad", x, self.constant(pads)), rank
        if kind == "transpose":
            return self.add("Transpose", x, perm=self.draw(st.permutations(range(rank)))), rank
        if kind == "add":
            turned = self.add("Transpose", x, perm=self.draw(st.permutations(range(rank))))
            return self.add("Add", x, turned), rank
        if kind == "concat":
            return self.add("Concat", x, x, axis=axis), rank
        if kind == "tile":
            return self.add("Tile", x, self.constant([self.draw(integers(0, 2)) for _ in range(rank)])), rank
        shape = self.add("Shape", x)
        if kind == "expand":
            return self.add("Expand", x, self.add("Concat", self.constant([2]), shape, axis=0)), rank + 1
        if kind == "part":  # all of x up to another axis's size
            size = self.add("Gather", shape, self.constant([self.draw(integers(0, rank - 1))]))
            return self.add("Slice", x, self.constant([0]), size, self.constant([axis])), rank
        parts = [self.add("Gather", shape, self.constant([index])) for index in range(rank)]
        if kind == "split_last":
            factor = self.draw(integers(1, 3))
            target = [*parts[:-1], self.constant([-1]), self.constant([factor])]
            return self.add("Reshape", x, self.add("Concat", *target, axis=0)), rank + 1
        if kind == "merge" and rank > 1:
            pair = self.add("Mul", parts[0], parts[1])
            return self.add("Reshape", x, self.add("Concat", pair, *parts[2:], axis=0)), rank - 1
        kept = self.draw(integers(0, rank - 1))
        target = [parts[kept], self.constant([self.draw(st.sampled_from([-1, 0, 2]))])]
        return self.add("Reshape", x, self.add("Concat", *target, axis=0)), 2


@st.composite
def chains(draw: st.DrawFn) -> onnx.ModelProto:
    graph = Graph(draw)
    choices: list[str | int] = ["N", "M", 1, 2, 6]
    dims = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3))
    x, rank = "x", len(dims)
    for _ in range(draw(st.integers(1, 5))):
        x, rank = graph.step(x, rank)
        if rank > 5:
            break
    names = [node.output[0] for node in graph.nodes]
    proto = helper.make_graph(
        graph.nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [onnx.ValueInfoProto(name=name) for name in names],
        graph.constants,
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def evaluate(dim: Dim, known: dict[Symbol, int]) -> int | None:
    if isinstance(dim, int):
        return dim
    if dim.kind != "product":
        return known.get(dim)
    if not all(part in known for part, _ in dim.powers):
        return None
    return dim.factor * math.prod(math.prod([known[part]] * power) for part, power in dim.powers)


def agree(claims: tuple[Dim, ...], actual: list[int], known: dict[Symbol, int]) -> None:
    """Every number claimed is right, and every symbol stands for one number in all of a run."""
    assert len(claims) == len(actual)
    for claim, number in zip(claims, actual, strict=True):
        expected = evaluate(claim, known)
        if expected is None and isinstance(claim, Symbol) and claim.kind != "product":
            known[claim] = number
        else:
            assert expected in (number, None)
        assert number >= 0 or not is_nonnegative(claim)


@settings(deadline=None, max_examples=200)
@given(chains(), st.permutations([0, 1, 1, 2, 3, 6]))
def test_claims_hold_at_every_binding(proto: onnx.ModelProto, sizes: list[int]) -> None:
    model = ir.from_proto(proto)
    shapes, known_values = Shapes(model), values(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except state.Fail:
        reject()  # an Add that never fits
    for binding in ({"N": sizes[0], "M": sizes[1]}, {"N": sizes[2], "M": sizes[3]}):
        declared = [dim.dim_value or binding[dim.dim_param] for dim in proto.graph.input[0].type.tensor_type.shape.dim]
        try:
            results = session.run(None, {"x": np.zeros(declared, np.float32)})
        except (state.Fail, state.RuntimeException, state.InvalidArgument):
            continue  # a Reshape that does not fit at this binding: nothing was claimed for it
        symbols = {Symbol("declared", name): size for name, size in binding.items()}
        for name, array in zip((output.name for output in session.get_outputs()), results, strict=True):
            value = known_values[name]
            claims = shapes.shape(value)
            assert claims is not None, name
            agree(claims, list(array.shape), symbols)
            elements = shapes.dim_values(value)
            if elements is not None:
                agree(elements, array.reshape(-1).tolist(), symbols)

"""Models whose graphs are long, wide, or deeply nested."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from tests.hostile.cases import branch, legal, model_of, node, refused, tensor, value, with_slices

BOOL = TensorProto.BOOL

NODES: Final = int(os.environ.get("ONNXFUSE_NODES", "30000"))
"""Nodes of the models with very many, side by side or in a row: a million once in a while."""


# ---- long and wide


def chain(length: int, op_type: str = "Relu") -> onnx.ModelProto:
    nodes = [node(op_type, "x" if i == 0 else f"v{i - 1}", f"v{i}") for i in range(length - 1)]
    return with_slices(model_of([*nodes, node(op_type, f"v{length - 2}", "y")]))


@legal()
def chain_of_10_000(_: Path) -> onnx.ModelProto:
    return chain(10_000)


@legal(runs=False, large=True)
def very_long_chain(_: Path) -> onnx.ModelProto:
    return chain(NODES)


@legal()
def chain_of_shape_arithmetic(_: Path) -> onnx.ModelProto:
    nodes = [node("Shape", "x", "n0", start=0, end=1)]
    nodes += [node("Add", f"n{i} one", f"n{i + 1}") for i in range(10_000)]
    nodes += [node("Slice", "x one n10000 zero", "s"), node("Slice", "s one n10000 one", "y")]
    numbers = [tensor(name, [1], TensorProto.INT64, int64_data=[n]) for name, n in (("zero", 0), ("one", 1))]
    return model_of(nodes, inputs=[value("x", ["N", "M"])], initializers=numbers)


@legal()
def chain_of_slices(_: Path) -> onnx.ModelProto:
    """2,000 Slices in a row, of the same axis by turns: one would do."""
    names = ["x", *(f"v{i}" for i in range(1_999)), "y"]
    nodes = [node("Slice", f"{a} one end axis{i % 2}", b) for i, (a, b) in enumerate(itertools.pairwise(names))]
    numbers = {"one": 1, "end": 2**63 - 1, "axis0": 0, "axis1": 1}
    inits = [tensor(name, [1], TensorProto.INT64, int64_data=[n]) for name, n in numbers.items()]
    return model_of(nodes, inputs=[value("x", [4096, 4096])], initializers=inits)


@legal(runs=False, large=True)
def very_many_nodes(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([*(node("Neg", "x", f"v{i}") for i in range(NODES)), node("Sum", "x v0 v99", "y")]))


@legal()
def node_of_100_000_inputs(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([helper.make_node("Sum", ["x"] * 100_000, ["y"])]))


@legal(runs=False)
def node_of_50_000_outputs(_: Path) -> onnx.ModelProto:
    outputs = [f"part{i}" for i in range(50_000)]
    nodes = [helper.make_node("Split", ["x"], outputs, axis=1, num_outputs=50_000), node("Relu", "part7", "y")]
    return with_slices(model_of(nodes, inputs=[value("x", ["N", 50_000])]))


@legal()
def node_of_20_000_attributes(_: Path) -> onnx.ModelProto:
    custom = node("Custom", "x", "y", **{f"a{i}": i for i in range(20_000)})
    custom.domain = "custom"
    return with_slices(model_of([custom], domains=("custom",)))


@legal()
def node_of_3_000_graphs(_: Path) -> onnx.ModelProto:
    custom = helper.make_node("Custom", ["x"], ["y"], domain="custom", bodies=[branch(f"b{i}") for i in range(3_000)])
    return with_slices(model_of([custom], domains=("custom",)))


@legal()
def node_of_3_000_attributes_with_a_graph(_: Path) -> onnx.ModelProto:
    bodies: dict[str, Any] = {f"b{i}": branch(f"b{i}") for i in range(3_000)}
    return with_slices(
        model_of([helper.make_node("Custom", ["x"], ["y"], domain="custom", **bodies)], domains=("custom",))
    )


@legal(runs=False)
def initializers_50_000(_: Path) -> onnx.ModelProto:
    inits = [tensor(f"w{i}", [1], raw_data=bytes(4)) for i in range(50_000)]
    return with_slices(model_of([node("Add", "x w49999", "y")], initializers=inits))


# ---- nested


def nested_ifs(depth: int) -> onnx.ModelProto:
    inner = helper.make_graph([node("Relu", "x", f"y{depth}")], f"g{depth}", [], [value(f"y{depth}")])
    for level in reversed(range(depth)):
        other = helper.make_graph([node("Neg", "x", f"z{level}")], f"e{level}", [], [value(f"z{level}")])
        branch = helper.make_node("If", ["flag"], [f"y{level}"], then_branch=inner, else_branch=other)
        inner = helper.make_graph([branch], f"g{level}", [], [value(f"y{level}")])
    model = model_of(list(inner.node), inputs=[value("x", ["N", 8]), value("flag", [], BOOL)], outputs=[value("y0")])
    return with_slices(model)


@legal()
def ifs_nested_25_deep(_: Path) -> onnx.ModelProto:
    return nested_ifs(25)


def _nested_bytes(depth: int, levels: list[int]) -> bytes:
    """A message in a message in a message, by the fields' numbers over and over."""
    message = b""
    for level in reversed(range(depth)):
        message = _field(levels[level % len(levels)], message)
    return message


def _field(number: int, payload: bytes) -> bytes:
    size, head = (
        len(payload),
        bytearray([number << 3 & 0x7F | 2] if number < 16 else [number << 3 & 0x7F | 0x82, number >> 4]),
    )
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*head, size]) + payload


@refused("nested")
def ifs_nested_1_000_deep(_: Path) -> bytes:
    # graph, then node, attribute, graph...
    return b"\x08\x08" + _field(7, _nested_bytes(3_000, [1, 5, 6]))


@refused("nested")
def types_nested_1_000_deep(_: Path) -> bytes:
    # graph, input, type, then sequence_type, elem_type...
    return b"\x08\x08" + _field(7, _field(11, _field(2, _nested_bytes(2_000, [4, 1]))))


@refused("nested")
def types_nested_1_000_000_deep(_: Path) -> bytes:
    head = _nested_bytes(20_000, [4, 1])
    return b"\x08\x08" + _field(7, _field(11, _field(2, head)))


@legal()
def types_nested_20_deep(_: Path) -> onnx.ModelProto:
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    for _level in range(20):
        kind = helper.make_sequence_type_proto(kind)
    inputs = [value("x", ["N", 8]), helper.make_value_info("deep", kind)]
    return with_slices(model_of([node("Relu", "x", "y")], inputs=inputs))

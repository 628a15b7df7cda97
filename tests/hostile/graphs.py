"""Models whose graphs are deep, wide, circular, or say what graphs may not."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from tests.hostile.cases import legal, model_of, node, refused, tensor, value, with_slices

BOOL = TensorProto.BOOL

NODES: Final = int(os.environ.get("ONNXFUSE_NODES", "30000"))
"""Nodes of the models with very many, side by side or in a row: a million once in a while."""


# ---- size


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


def _branch(name: str, reads: str = "x") -> onnx.GraphProto:
    return helper.make_graph([node("Relu", reads, f"{name}_y")], name, [], [value(f"{name}_y")])


@legal()
def node_of_3_000_graphs(_: Path) -> onnx.ModelProto:
    custom = helper.make_node("Custom", ["x"], ["y"], domain="custom", bodies=[_branch(f"b{i}") for i in range(3_000)])
    return with_slices(model_of([custom], domains=("custom",)))


@legal()
def node_of_3_000_attributes_with_a_graph(_: Path) -> onnx.ModelProto:
    bodies: dict[str, Any] = {f"b{i}": _branch(f"b{i}") for i in range(3_000)}
    return with_slices(
        model_of([helper.make_node("Custom", ["x"], ["y"], domain="custom", **bodies)], domains=("custom",))
    )


@legal(runs=False)
def initializers_50_000(_: Path) -> onnx.ModelProto:
    inits = [tensor(f"w{i}", [1], raw_data=bytes(4)) for i in range(50_000)]
    return with_slices(model_of([node("Add", "x w49999", "y")], initializers=inits))


@legal()
def functions_5_000(_: Path) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", 18)]
    functions = [
        helper.make_function("f", f"F{i}", ["a"], ["b"], [node("Relu", "a", "b")], imports) for i in range(5_000)
    ]
    return with_slices(
        model_of([helper.make_node("F17", ["x"], ["y"], domain="f")], functions=functions, domains=("f",))
    )


# ---- nesting


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


# ---- order and names


@refused("form a cycle")
def cycle(_: Path) -> onnx.ModelProto:
    return model_of([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")])


@refused("form a cycle")
def cycle_of_10_000(_: Path) -> onnx.ModelProto:
    nodes = [node("Relu", f"v{(i - 1) % 10_000}", f"v{i}") for i in range(10_000)]
    return model_of([*nodes, node("Relu", "v5", "y")])


@refused("form a cycle")
def node_that_reads_itself(_: Path) -> onnx.ModelProto:
    return model_of([node("Add", "x y", "y")])


@refused("'v' is defined twice")
def value_computed_twice(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "v"), node("Neg", "x", "v"), node("Relu", "v", "y")])


@refused("'v' is defined twice")
def value_twice_in_one_node(_: Path) -> onnx.ModelProto:
    return model_of([node("Split", "x", "v v"), node("Relu", "v", "y")])


@refused("'w' is defined twice")
def initializer_that_a_node_computes(_: Path) -> onnx.ModelProto:
    return model_of(
        [node("Relu", "x", "w"), node("Relu", "w", "y")], initializers=[tensor("w", [1], raw_data=bytes(4))]
    )


@refused("initializer 'w' is defined twice")
def initializer_twice(_: Path) -> onnx.ModelProto:
    inits = [tensor("w", [1], raw_data=bytes(4))] * 2
    return model_of([node("Add", "x w", "y")], initializers=inits)


@refused("input 'x' is defined twice")
def input_twice(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], inputs=[value("x"), value("x")])


@refused("reads 'nowhere', which nothing defines")
def value_that_nothing_defines(_: Path) -> onnx.ModelProto:
    return model_of([node("Add", "x nowhere", "y")])


@refused("computes its output 'z'")
def output_that_nothing_computes(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], outputs=[value("y"), value("z")])


@refused("an input without a name")
def input_without_a_name(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], inputs=[value("x"), value("")])


@refused("an output without a name")
def output_without_a_name(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], outputs=[value("y"), value("")])


@legal()
def node_names_twice(_: Path) -> onnx.ModelProto:
    """Only values need names of their own."""
    nodes = [node("Relu", "x", "a", name="same"), node("Neg", "a", "y", name="same")]
    model = with_slices(model_of(nodes))
    for twin in model.graph.node:
        twin.name = "same"
    return model


@legal()
def empty_graph(_: Path) -> onnx.ModelProto:
    model = model_of([], inputs=[], outputs=[])
    model.graph.ClearField("name")
    return model


@legal()
def no_outputs(_: Path) -> onnx.ModelProto:
    return model_of([node("Relu", "x", "y")], outputs=[])


@legal()
def no_outputs_beside_slices(_: Path) -> onnx.ModelProto:
    model = with_slices(model_of([], inputs=[], outputs=[]))
    model.graph.node.append(node("Relu", "slices_out", "unused"))
    del model.graph.output[:]
    return model


@legal()
def input_as_output(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([], outputs=[value("x", ["N", 8])]))


@legal()
def nodes_without_inputs_and_outputs(_: Path) -> onnx.ModelProto:
    odd = helper.make_node("Custom", [], [], domain="custom")
    blank = helper.make_node("Custom", ["", "", ""], ["", ""], domain="custom")
    return with_slices(model_of([odd, blank, node("Relu", "x", "y")], domains=("custom",)))


@legal()
def operator_without_a_name(_: Path) -> onnx.ModelProto:
    return with_slices(model_of([node("", "x", "y")]))


# ---- functions


def _function(name: str, *nodes: onnx.NodeProto) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], ["b"], list(nodes), imports)


def _call(name: str, reads: str, writes: str) -> onnx.NodeProto:
    return helper.make_node(name, [reads], [writes], domain="f")


@refused("calls itself")
def function_that_calls_itself(_: Path) -> onnx.ModelProto:
    return model_of([_call("F", "x", "y")], functions=[_function("F", _call("F", "a", "b"))], domains=("f",))


@refused("calls itself")
def functions_that_call_each_other(_: Path) -> onnx.ModelProto:
    functions = [_function("F", _call("G", "a", "b")), _function("G", _call("F", "a", "b"))]
    return model_of([_call("F", "x", "y")], functions=functions, domains=("f",))


@refused("calls itself")
def function_that_calls_itself_in_a_branch(_: Path) -> onnx.ModelProto:
    body = helper.make_graph([_call("F", "a", "c")], "t", [], [value("c")])
    flag = helper.make_node("Constant", [], ["flag"], value=tensor("", [], BOOL, int32_data=[1]))
    branch = helper.make_node("If", ["flag"], ["b"], then_branch=body, else_branch=body)
    return model_of([_call("F", "x", "y")], functions=[_function("F", flag, branch)], domains=("f",))


@refused("more than 10000000 nodes")
def functions_that_call_the_next_twice(_: Path) -> onnx.ModelProto:
    """Written out they are 2^40 nodes."""
    functions = [_function(f"F{i}", _call(f"F{i + 1}", "a", "c"), _call(f"F{i + 1}", "c", "b")) for i in range(40)]
    functions.append(_function("F40", node("Relu", "a", "b")))
    return with_slices(model_of([_call("F0", "x", "y")], functions=functions, domains=("f",)))


@refused("nested more than 100 deep")
def functions_nested_10_000_deep(_: Path) -> onnx.ModelProto:
    functions = [_function(f"F{i}", _call(f"F{i + 1}", "a", "b")) for i in range(10_000)]
    functions.append(_function("F10000", node("Relu", "a", "b")))
    return with_slices(model_of([_call("F0", "x", "y")], functions=functions, domains=("f",)))


@legal()
def functions_that_call_the_next_twice_ten_times(_: Path) -> onnx.ModelProto:
    functions = [_function(f"F{i}", _call(f"F{i + 1}", "a", "c"), _call(f"F{i + 1}", "c", "b")) for i in range(10)]
    functions.append(_function("F10", node("Relu", "a", "b")))
    return with_slices(model_of([_call("F0", "x", "y")], functions=functions, domains=("f",)))


@refused("function f.F is defined twice")
def function_twice(_: Path) -> onnx.ModelProto:
    functions = [_function("F", node("Relu", "a", "b")), _function("F", node("Neg", "a", "b"))]
    return model_of([_call("F", "x", "y")], functions=functions, domains=("f",))


@legal(runs=False)
def function_that_is_an_operator_of_onnx(_: Path) -> onnx.ModelProto:
    """A Slice of its own: what the standard says of Slice does not hold for it."""
    own = helper.make_function(
        "", "Slice", ["a", "b", "c", "d"], ["e"], [node("Neg", "a", "e")], [helper.make_opsetid("", 18)]
    )
    return with_slices(model_of([node("Relu", "x", "y")], functions=[own]))


@refused("outside of a function")
def attribute_of_a_function_outside_of_one(_: Path) -> onnx.ModelProto:
    model = model_of([node("Softmax", "x", "y")])
    model.graph.node[0].attribute.add(name="axis", ref_attr_name="axis", type=onnx.AttributeProto.INT)
    return model


@legal()
def attribute_that_the_function_does_not_have(_: Path) -> onnx.ModelProto:
    body = node("Softmax", "a", "b")
    body.attribute.add(name="axis", ref_attr_name="nowhere", type=onnx.AttributeProto.INT)
    return with_slices(model_of([_call("F", "x", "y")], functions=[_function("F", body)], domains=("f",)))


# ---- subgraphs


@refused("reads 'later'")
def branch_that_captures_what_comes_later(_: Path) -> onnx.ModelProto:
    inputs = [value("x", ["N", 8]), value("flag", [], BOOL)]
    branches: dict[str, Any] = {"then_branch": _branch("t", "later"), "else_branch": _branch("e", "x")}
    return model_of([helper.make_node("If", ["flag"], ["y"], **branches), node("Relu", "x", "later")], inputs=inputs)


@legal()
def branch_that_hides_a_name_outside(_: Path) -> onnx.ModelProto:
    inputs = [value("x", ["N", 8]), value("flag", [], BOOL)]
    body = helper.make_graph([node("Neg", "x", "later"), node("Relu", "later", "t")], "t", [], [value("t")])
    branches: dict[str, Any] = {"then_branch": body, "else_branch": body}
    nodes = [helper.make_node("If", ["flag"], ["y"], **branches), node("Relu", "x", "later")]
    return with_slices(model_of(nodes, inputs=inputs))


# ---- attributes


@refused("does not hold what its type says")
def attribute_of_another_type_than_it_holds(_: Path) -> onnx.ModelProto:
    model = model_of([node("Softmax", "x", "y")])
    model.graph.node[0].attribute.add(name="axis", type=onnx.AttributeProto.TENSOR, i=1)
    return model


@refused("holds what its type does not say")
def graph_in_an_attribute_of_type_int(_: Path) -> onnx.ModelProto:
    model = model_of([node("Softmax", "x", "y")])
    attribute = model.graph.node[0].attribute.add(name="axis", type=onnx.AttributeProto.INT, i=1)
    attribute.g.CopyFrom(_branch("hidden"))
    return model


@refused("holds what its type does not say")
def graphs_in_an_attribute_of_type_graph(_: Path) -> onnx.ModelProto:
    model = model_of([node("Relu", "x", "y")])
    attribute = model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.CopyFrom(_branch("one"))
    attribute.graphs.add().CopyFrom(_branch("two"))
    return model


@legal()
def attribute_without_a_type(_: Path) -> onnx.ModelProto:
    """The first IR versions state none."""
    model = with_slices(model_of([node("Softmax", "x", "y", axis=1)]))
    model.graph.node[0].attribute[0].ClearField("type")
    return model


@legal()
def attribute_of_no_type_there_is(_: Path) -> bytes:
    model = model_of([node("Softmax", "x", "y", axis=1)])
    data = model.SerializeToString()
    return data.replace(b"\xa0\x01\x02", b"\xa0\x01\x63")


@legal(runs=False)
def slice_of_attributes_of_another_type(_: Path) -> onnx.ModelProto:
    """A Slice of opset 1 has its bounds as attributes; here they are a float and a text."""
    nodes = [node("Slice", "x", "s", starts=[1.5], ends="abc"), node("Slice", "s", "y", starts=3, ends=[2**62])]
    return model_of(nodes, opset=9)


@legal(runs=False)
def slices_of_wrong_inputs(_: Path) -> onnx.ModelProto:
    """Bounds of the wrong rank, type and number."""
    inits = [
        tensor("floats", [1], raw_data=bytes(4)),
        tensor("matrix", [1, 1], TensorProto.INT64, int64_data=[1]),
        tensor("texts", [1], TensorProto.STRING, string_data=[b"1"]),
        tensor("none", [0], TensorProto.INT64),
        tensor("many", [3], TensorProto.INT64, int64_data=[1, 1, 1]),
    ]
    names = ["floats", "matrix", "texts", "none", "many"]
    nodes, last = [], "x"
    for i, start in enumerate(names):
        for j, end in enumerate(names):
            nodes.append(node("Slice", f"{last} {start} {end} {start}", f"s{i}{j}"))
            last = f"s{i}{j}"
    nodes += [
        node("Slice", last, "t"),
        node("Slice", "t floats", "u"),
        node("Pad", "u texts", "v"),
        node("Pad", "v", "y"),
    ]
    return model_of(nodes, initializers=inits)

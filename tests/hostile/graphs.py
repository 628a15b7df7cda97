"""Models whose graphs are circular, or say what graphs may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.hostile.cases import branch, legal, model_of, node, refused, tensor, value, with_slices

BOOL = TensorProto.BOOL


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


# ---- subgraphs


@refused("reads 'later'")
def branch_that_captures_what_comes_later(_: Path) -> onnx.ModelProto:
    inputs = [value("x", ["N", 8]), value("flag", [], BOOL)]
    branches: dict[str, Any] = {"then_branch": branch("t", "later"), "else_branch": branch("e", "x")}
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
    attribute.g.CopyFrom(branch("hidden"))
    return model


@refused("holds what its type does not say")
def graphs_in_an_attribute_of_type_graph(_: Path) -> onnx.ModelProto:
    model = model_of([node("Relu", "x", "y")])
    attribute = model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.CopyFrom(branch("one"))
    attribute.graphs.add().CopyFrom(branch("two"))
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

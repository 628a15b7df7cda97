"""Models whose functions call themselves, or each other without end, or are very many."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.hostile.cases import legal, model_of, node, refused, tensor, value, with_slices

BOOL = TensorProto.BOOL


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


@legal()
def functions_5_000(_: Path) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", 18)]
    functions = [
        helper.make_function("f", f"F{i}", ["a"], ["b"], [node("Relu", "a", "b")], imports) for i in range(5_000)
    ]
    return with_slices(
        model_of([helper.make_node("F17", ["x"], ["y"], domain="f")], functions=functions, domains=("f",))
    )

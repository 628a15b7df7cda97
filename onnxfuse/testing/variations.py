"""A model put into other surroundings: in a branch, a loop, a function, or with another reader of one of its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import onnx
from onnx import helper

__all__ = [
    "CUSTOM_DOMAIN",
    "inner_values",
    "listing_initializers",
    "read_again",
    "read_in_branch",
    "returned",
    "with_custom_neighbours",
    "with_unused_copy",
    "within_branches",
    "within_function",
    "within_loop",
]

CUSTOM_DOMAIN: Final = "com.example"
LOCAL_DOMAIN: Final = "local.example"


def inner_values(model: onnx.ModelProto) -> list[str]:
    """Returns the values that nodes compute and that are no graph outputs."""
    outputs = {value.name for value in model.graph.output}
    return [name for node in model.graph.node for name in node.output if name and name not in outputs]


def listing_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model as it was written before IR 4: every initializer is an input as well."""
    old = _copy(model)
    old.ir_version = 3
    for tensor in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return old


def returned(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Returns the model with the value `name` as one more graph output."""
    result = _copy(model)
    result.graph.output.append(_inferred(model, name))
    return result


def read_again(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Returns the model with a second node that reads the value `name`."""
    result = _copy(model)
    result.graph.node.append(helper.make_node("Identity", [name], ["again"], name="reader"))
    result.graph.output.append(_inferred(model, name, called="again"))
    return result


def read_in_branch(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Returns the model with two branches of an If that read the value `name` from outside."""
    result = _copy(model)
    branches: dict[str, Any] = {
        f"{side}_branch": helper.make_graph(
            [helper.make_node("Identity", [name], [f"{side}_result"])],
            side,
            [],
            [_inferred(model, name, called=f"{side}_result")],
        )
        for side in ("then", "else")
    }
    result.graph.input.append(helper.make_tensor_value_info("take", onnx.TensorProto.BOOL, []))
    result.graph.node.append(helper.make_node("If", ["take"], ["again"], name="reader", **branches))
    result.graph.output.append(_inferred(model, name, called="again"))
    return result


def within_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model that computes the same in either branch of an If."""
    result = _around(model)
    branches: dict[str, Any] = {f"{side}_branch": _body(model, f"{side}.") for side in ("then", "else")}
    outputs = [value.name for value in model.graph.output]
    result.graph.input.append(helper.make_tensor_value_info("take", onnx.TensorProto.BOOL, []))
    result.graph.node.append(helper.make_node("If", ["take"], outputs, name="either", **branches))
    return result


def within_loop(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model that computes the same in each of two rounds of a Loop, and returns the rounds stacked."""
    result = _around(model)
    body = _body(model, "body.")
    body.input.extend(
        [
            helper.make_tensor_value_info("body.round", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("body.go_on", onnx.TensorProto.BOOL, []),
        ]
    )
    body.node.insert(0, helper.make_node("Identity", ["body.go_on"], ["body.still"], name="body.keep"))
    body.output.insert(0, helper.make_tensor_value_info("body.still", onnx.TensorProto.BOOL, []))
    result.graph.initializer.append(helper.make_tensor("rounds", onnx.TensorProto.INT64, [], [2]))
    outputs = [value.name for value in model.graph.output]
    result.graph.node.append(helper.make_node("Loop", ["rounds", ""], outputs, name="twice", body=body))
    for value in result.graph.output:
        value.type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=2))
    return result


def within_function(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model that calls a function that computes the same; it is called twice over."""
    result = _around(model)
    constants = [
        helper.make_node("Constant", [], [tensor.name], value=_unnamed(tensor)) for tensor in model.graph.initializer
    ]
    inputs, outputs = ([value.name for value in values] for values in (_inputs(model), model.graph.output))
    nodes = [*constants, *model.graph.node]
    function = helper.make_function(LOCAL_DOMAIN, "Body", inputs, outputs, nodes, model.opset_import)
    result.functions.append(function)
    result.opset_import.append(helper.make_opsetid(LOCAL_DOMAIN, 1))
    result.graph.node.append(helper.make_node("Body", inputs, outputs, domain=LOCAL_DOMAIN, name="call"))
    again = [f"again.{name}" for name in outputs]
    result.graph.node.append(helper.make_node("Body", inputs, again, domain=LOCAL_DOMAIN, name="second"))
    for value, name in zip(model.graph.output, again, strict=True):
        result.graph.output.add(name=name, type=value.type)
    return result


def with_custom_neighbours(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with custom ops before and after it, and with metadata wherever ONNX has room for it."""
    result = _copy(model)
    result.opset_import.append(helper.make_opsetid(CUSTOM_DOMAIN, 3))
    result.doc_string, result.producer_name, result.graph.doc_string = "a model", "laws", "a graph"
    result.metadata_props.add(key="licence", value="none at all")
    result.graph.metadata_props.add(key="graph", value="\N{SNOWMAN}")
    seen = [(value, "seen") for value in _inputs(model)[:1]]
    for value, called in (*seen, (model.graph.output[0], "judged")):
        node = helper.make_node("Look", [value.name], [f"{called}.raw"], domain=CUSTOM_DOMAIN, name=called, depth=3)
        node.doc_string = f"what is {called}"
        node.metadata_props.add(key="namespace", value=f"/{called}")
        after = helper.make_node("Identity", [f"{called}.raw"], [called], name=f"{called}.copy")
        after.metadata_props.add(key="namespace", value=f"/{called}/copy")
        result.graph.node.extend([node, after])
        info = result.graph.value_info.add(name=f"{called}.raw", type=value.type, doc_string=f"{called}, raw")
        info.metadata_props.add(key="seen", value="yes")
        result.graph.output.add(name=called, type=value.type, doc_string=f"the {called} one")
    return result


def with_unused_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with all its nodes twice, the second time for nothing: no one reads what they compute."""
    result = _copy(model)
    copy = _body(model, "unused.")
    result.graph.node.extend(copy.node)
    result.graph.initializer.extend(copy.initializer)
    if result.ir_version < 4:
        result.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in copy.initializer
        )
    return result


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constant = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constant]


def _around(model: onnx.ModelProto) -> onnx.ModelProto:
    result = _copy(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:], result.graph.input[:]
    result.graph.input.extend(_inputs(model))
    return result


def _body(model: onnx.ModelProto, prefix: str) -> onnx.GraphProto:
    """Returns the graph as a body that reads the inputs from outside; all else gets new names."""
    body = onnx.GraphProto()
    body.CopyFrom(model.graph)
    body.name = f"{prefix}graph"
    outside = {"", *(value.name for value in _inputs(model))}
    del body.input[:]
    for node in body.node:
        node.name = f"{prefix}{node.name}" if node.name else ""
        node.input[:] = [_prefixed(name, prefix, outside) for name in node.input]
        node.output[:] = [_prefixed(name, prefix, outside) for name in node.output]
    for value in (*body.value_info, *body.output):
        value.name = prefix + value.name
    for tensor in body.initializer:
        tensor.name = prefix + tensor.name
    return body


def _prefixed(name: str, prefix: str, outside: set[str]) -> str:
    return name if name in outside else prefix + name


def _unnamed(tensor: onnx.TensorProto) -> onnx.TensorProto:
    result = onnx.TensorProto()
    result.CopyFrom(tensor)
    result.name = ""
    return result


def _inferred(model: onnx.ModelProto, name: str, *, called: str | None = None) -> onnx.ValueInfoProto:
    """Returns the value `name` with its element type, and with its shape where onnx knows it, under another name."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    known: Iterator[onnx.ValueInfoProto] = (v for v in (*graph.value_info, *graph.output) if v.name == name)
    return onnx.ValueInfoProto(name=called or name, type=next(known).type)

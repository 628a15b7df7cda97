"""Changes to a model: those that must not matter, and those that mostly do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

__all__ = ["NEUTRAL", "Edit", "broken", "edits_of", "permuted"]

OTHER: Final = {
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Add",
    "Div": "Mul",
    "Max": "Min",
    "Min": "Max",
    "Relu": "Abs",
    "Abs": "Relu",
    "Floor": "Ceil",
    "Ceil": "Floor",
    "Sin": "Cos",
    "Cos": "Sin",
    "Sigmoid": "Tanh",
    "Exp": "Neg",
    "Neg": "Abs",
    "ReduceMax": "ReduceMin",
    "ReduceMin": "ReduceMax",
    "And": "Or",
    "Or": "And",
    "Less": "Greater",
    "Greater": "Less",
    "ArgMax": "ArgMin",
    "Softmax": "LogSoftmax",
}
Edit = Callable[[onnx.ModelProto], None]


# ---- what must not matter


def reserialized(model: onnx.ModelProto, _: Random) -> onnx.ModelProto:
    """The model, written and read."""
    return onnx.ModelProto.FromString(model.SerializeToString())


def renamed(model: onnx.ModelProto, _: Random) -> onnx.ModelProto:
    """The model with other names of all nodes and of the inner values of the main graph."""
    result = copy.deepcopy(model)
    graph = result.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    made = {name for node in graph.node for name in node.output if name and name not in kept}
    made |= {tensor.name for tensor in graph.initializer if tensor.name not in kept}
    names = {name: f"other.{name}" for name in made}
    _rename(graph, names)
    for index, node in enumerate(graph.node):
        node.name = f"node{index}"
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    return result


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
                for value in attribute.g.output:
                    value.name = names.get(value.name, value.name)


def permuted(model: onnx.ModelProto, random: Random) -> onnx.ModelProto:
    """The model in which the values that the main graph computes have each other's names, but for its outputs."""
    result = copy.deepcopy(model)
    kept = {value.name for value in result.graph.output}
    made = [name for node in result.graph.node for name in node.output if name and name not in kept]
    names = dict(zip(made, random.sample(made, len(made)), strict=True))
    _rename(result.graph, names)
    for value in result.graph.value_info:
        value.name = names.get(value.name, value.name)
    return result


def shuffled(model: onnx.ModelProto, random: Random) -> onnx.ModelProto:
    """The model with its nodes in another valid order, and its initializers in any."""
    result = copy.deepcopy(model)
    left = list(model.graph.node)
    pending = {name for node in left for name in node.output if name}
    order = []
    while left:
        ready = [node for node in left if not pending & set(_read(node))]
        chosen = random.choice(ready)
        left.remove(chosen)
        pending -= set(chosen.output)
        order.append(chosen)
    del result.graph.node[:]
    result.graph.node.extend(order)
    tensors = list(model.graph.initializer)
    random.shuffle(tensors)
    del result.graph.initializer[:]
    result.graph.initializer.extend(tensors)
    return result


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Yields what a node reads, in its bodies as well; names that a body defines itself do no harm."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from _read(inner)
            yield from (value.name for value in attribute.g.output)


NEUTRAL: Final = {"reserialized": reserialized, "renamed": renamed, "shuffled": shuffled}


# ---- what mostly does


def edits_of(model: onnx.ModelProto) -> list[tuple[str, Edit]]:
    """Returns single faults: another constant, attribute or operator, inputs that are swapped; each with its words."""
    found: list[tuple[str, Edit]] = []
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.data_type != TensorProto.STRING and np.prod(tensor.dims):
            found.append((f"the constant {tensor.name} changed", _of_tensor(index)))
    for index, node in enumerate(model.graph.node):
        if node.op_type in OTHER and node.domain == "":
            found.append((f"{node.op_type} became {OTHER[node.op_type]}", _of_node(_replace, index)))
        if node.op_type in ("Sub", "Div", "Pow", "Less", "Greater", "MatMul", "Concat") and len(node.input) > 1:
            found.append((f"inputs of {node.op_type} swapped", _of_node(_swap, index)))
        for place, attribute in enumerate(node.attribute):
            if attribute.type in CHANGES and attribute.name != "to":
                found.append((f"{attribute.name} of {node.op_type} changed", _of_attribute(index, place)))
    return found


def _of_tensor(index: int) -> Edit:
    return lambda model: _change(model.graph.initializer[index])


def _of_node(change: Callable[[onnx.NodeProto], None], index: int) -> Edit:
    return lambda model: change(model.graph.node[index])


def _of_attribute(node: int, place: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        attribute = model.graph.node[node].attribute[place]
        CHANGES[attribute.type](attribute)

    return edit


def broken(model: onnx.ModelProto, edit: Edit) -> onnx.ModelProto:
    """Returns a copy with one fault."""
    result = copy.deepcopy(model)
    edit(result)
    return result


def _change(tensor: onnx.TensorProto) -> None:
    array = numpy_helper.to_array(tensor).copy()
    flat = array.reshape(-1)
    flat[0] = not flat[0] if array.dtype == np.bool_ else flat[0] + np.ones([], array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _replace(node: onnx.NodeProto) -> None:
    node.op_type = OTHER[node.op_type]


def _swap(node: onnx.NodeProto) -> None:
    node.input[0], node.input[1] = node.input[1], node.input[0]


def _greater(attribute: onnx.AttributeProto) -> None:
    attribute.i += 1


def _larger(attribute: onnx.AttributeProto) -> None:
    attribute.f += 1.0


def _turned(attribute: onnx.AttributeProto) -> None:
    numbers = list(attribute.ints)
    attribute.ints[:] = numbers[::-1] if numbers != numbers[::-1] else [number - 1 for number in numbers]


CHANGES: Final[dict[int, Callable[[onnx.AttributeProto], None]]] = {
    AttributeProto.INT: _greater,
    AttributeProto.FLOAT: _larger,
    AttributeProto.INTS: _turned,
}

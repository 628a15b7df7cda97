"""The numbers that a model itself is made of: at them and beside them a wrong rewrite of it shows first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.verification.roles import is_parameter

if TYPE_CHECKING:
    import onnx

__all__ = ["constants_of", "integers_of"]

MAGNITUDES: Final = 16
"""So many distinct magnitudes of floats, and of integers."""
ELEMENTS: Final = 16
"""A tensor of more elements is a weight."""
TAKEN: Final = 4
"""So many elements of each tensor."""

# onnx's numbers of element types.
_FLOATS: Final = (1, 10, 11, 16)
_INTEGERS: Final = (2, 3, 4, 5, 6, 7, 12, 13)


def constants_of(model: onnx.ModelProto) -> tuple[float, ...]:
    """Lists the numbers of a model: of its small tensors and of its attributes, in bodies and local functions too.

    Args:
        model: The model; a tensor of which it has only the header gives nothing.

    Returns:
        At most 16 distinct magnitudes of floats, and 16 of integers, which are `int`. Integers that only say how an
        operator works (the axes of a Slice, the target of a Reshape) are not among them.
    """
    graphs = [*_graphs(model.graph.node, model.graph.initializer)]
    for function in model.functions:
        graphs += _graphs(function.node, ())
    values = {
        name
        for nodes, _ in graphs
        for node in nodes
        for slot, name in enumerate(node.input)
        if name and not is_parameter(node, slot)
    }
    found: list[float] = []
    for nodes, tensors in graphs:
        for tensor in tensors:
            found += _numbers(tensor, integers=tensor.name in values)
        for node in nodes:
            found += _attribute_numbers(node, integers=node.op_type != "Constant" or node.output[0] in values)
    floats: dict[float, float] = {}
    integers: dict[int, int] = {}
    for number in found:
        if isinstance(number, int):
            integers.setdefault(abs(number), number)
        elif math.isfinite(number) and number:
            floats.setdefault(abs(number), number)
    return (*list(floats.values())[:MAGNITUDES], *list(integers.values())[:MAGNITUDES])


def integers_of(model: onnx.ModelProto) -> set[int]:
    """Returns all small integers of a model, those too that say how an operator works: the ends of a Slice, pads."""
    graphs = [*_graphs(model.graph.node, model.graph.initializer)]
    for function in model.functions:
        graphs += _graphs(function.node, ())
    found: list[float] = []
    for nodes, tensors in graphs:
        for tensor in tensors:
            found += _numbers(tensor, integers=True)
        for node in nodes:
            found += _attribute_numbers(node, integers=True)
            for attribute in node.attribute:
                if attribute.name in ("ends", "pads", "split", "starts"):
                    found += attribute.ints[:TAKEN]
    return {number for number in found if isinstance(number, int)}


def _graphs(
    nodes: Iterable[onnx.NodeProto], tensors: Iterable[onnx.TensorProto]
) -> Iterator[tuple[list[onnx.NodeProto], list[onnx.TensorProto]]]:
    """The nodes and initializers of a graph and of all bodies in it."""
    nodes = list(nodes)
    yield nodes, list(tensors)
    for node in nodes:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(body.node, body.initializer)


def _attribute_numbers(node: onnx.NodeProto, *, integers: bool) -> list[float]:
    """The floats of a node's attributes, and the contents of a constant."""
    found: list[float] = []
    for attribute in node.attribute:
        if attribute.type == attribute.FLOAT:
            found.append(float(attribute.f))
        elif attribute.type == attribute.FLOATS:
            found += [float(number) for number in attribute.floats[:TAKEN]]
        elif node.op_type in ("Constant", "ConstantOfShape") and attribute.type == attribute.TENSOR:
            found += _numbers(attribute.t, integers=integers)
        elif node.op_type == "Constant" and integers and attribute.type in (attribute.INT, attribute.INTS):
            found += [int(number) for number in (attribute.i, *attribute.ints[:TAKEN])]
    return found


def _numbers(tensor: onnx.TensorProto, *, integers: bool) -> list[float]:
    """The first elements of a small tensor of numbers."""
    import onnx

    kinds = (*_FLOATS, *_INTEGERS) if integers else _FLOATS
    stored = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    if tensor.data_type not in kinds or not 0 < math.prod(tensor.dims) <= ELEMENTS or tensor.external_data:
        return []
    if not any(len(getattr(tensor, field)) for field in stored):
        return []
    array = onnx.numpy_helper.to_array(tensor).ravel()[:TAKEN]
    return [int(x) if tensor.data_type in _INTEGERS else float(x) for x in array]

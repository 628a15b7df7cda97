"""Models that are chains of Slices, built and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["I32_MAX", "I32_MIN", "MAX", "MIN", "Cut", "Numbers", "Parts", "chain", "cuts_of"]

MAX: Final = 2**63 - 1
MIN: Final = -(2**63)
I32_MAX: Final = 2**31 - 1
I32_MIN: Final = -(2**31)

Numbers = tuple[int, int, int]
"""Start, end and step."""
Parts = Mapping[int, Numbers]
"""The same for each axis."""


@dataclass(frozen=True)
class Cut:
    """One Slice.

    Attributes:
        parts: Start, end and step of each axis, in the order in which they are written.
        dtype: Element type of the indices.
        axes: Whether the axes are written; else they count from 0.
        steps: Whether the steps are written; else they are 1.
        as_nodes: Whether the indices are Constant nodes; else they are initializers.
    """

    parts: Parts
    dtype: int = TensorProto.INT64
    axes: bool = True
    steps: bool = True
    as_nodes: bool = False

    def numbers(self) -> list[tuple[str, list[int]]]:
        """Returns what is written, by name."""
        starts, ends, steps = ([part[index] for part in self.parts.values()] for index in range(3))
        found = [("starts", starts), ("ends", ends)]
        found += [("axes", list(self.parts))] if self.axes else []
        found += [("steps", steps)] if self.steps else []
        return found


def chain(
    shape: Sequence[int | str],
    *cuts: Cut | Parts,
    opset: int = 17,
    elem_type: int = TensorProto.FLOAT,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Returns the model `x -> Slice -> ... -> Slice -> y`; the values between are `v1`, `v2`..., the nodes `slice1`...

    Args:
        shape: The shape of x.
        cuts: The Slices; for a mapping, all is written, as int64 initializers.
        opset: Below 10, the indices are attributes.
        elem_type: The element type of x.
        ir_version: Below 4, initializers are listed as inputs.
    """
    graph = onnx.GraphProto(name="chain")
    graph.input.append(helper.make_tensor_value_info("x", elem_type, shape))
    graph.output.append(helper.make_tensor_value_info("y", elem_type, [None] * len(shape)))
    data = "x"
    for index, given in enumerate(cuts, start=1):
        cut = given if isinstance(given, Cut) else Cut(given)
        output = "y" if index == len(cuts) else f"v{index}"
        node = helper.make_node("Slice", [data], [output], name=f"slice{index}")
        if opset < 10:
            for name, numbers in cut.numbers():
                if name != "steps":
                    node.attribute.append(helper.make_attribute(name, numbers))
        else:
            _add_inputs(graph, node, cut, f"slice{index}")
        graph.node.append(node)
        data = output
    model = helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])
    if ir_version < 4:
        for tensor in graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def _add_inputs(graph: onnx.GraphProto, node: onnx.NodeProto, cut: Cut, stem: str) -> None:
    for name, numbers in cut.numbers():
        if name == "steps" and not cut.axes:
            node.input.append("")
        array = np.array(numbers, dtype=helper.tensor_dtype_to_np_dtype(cut.dtype))
        tensor = numpy_helper.from_array(array, f"{stem}.{name}")
        if cut.as_nodes:
            graph.node.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
        else:
            graph.initializer.append(tensor)
        node.input.append(tensor.name)


def cuts_of(model: onnx.ModelProto) -> list[dict[int, Numbers]]:
    """Returns what each Slice of a model's main graph says, in order; indices are initializers or attributes."""
    constants = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "Slice":
            continue
        if node.attribute:
            given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        else:
            names = ("starts", "ends", "axes", "steps")
            given = {name: constants[source] for name, source in zip(names, node.input[1:], strict=False) if source}
        starts = given["starts"]
        axes, steps = given.get("axes", range(len(starts))), given.get("steps", [1] * len(starts))
        found.append(
            {
                axis: (start, end, step)
                for axis, start, end, step in zip(axes, starts, given["ends"], steps, strict=True)
            }
        )
    return found

"""What onnx's version converter gets wrong: found before it runs, to be mended or to be declined.

Read from its adapters (onnx 1.23, `onnx/version_converter/adapters`) and found by converting models upwards. Each fault
is of an operator, and of a step between two opsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from onnxfuse import Facts

__all__ = ["Mends", "look"]


@dataclass
class Mends:
    """What is to be mended.

    Attributes:
        last_axis: Softmax, LogSoftmax and Hardmax nodes over the last axis alone.
        types: Of each Pad and Clip of another type than float the first output, with its element type.
        resizes: Whether each Resize that comes out reads its input as Resize did before opset 11.
    """

    last_axis: list[ir.Node] = field(default_factory=list)
    types: dict[str, ir.DataType] = field(default_factory=dict)
    resizes: bool = False


Look = Callable[[ir.Node, "Facts", Mends], None]


def look(model: ir.Model, facts: Facts, version: int, to: int) -> Mends:
    """Returns what is to be mended in a conversion, and declines where it cannot be."""
    if model.functions:
        facts.decline("the model has local functions, which onnx's version converter drops")
    mends = Mends()
    for node in model.graph.all_nodes():
        _look_at_surroundings(node, facts)
        if node.domain not in ("", "ai.onnx"):
            continue
        for new, look_at in FAULTS.get(node.op_type, ()):
            if version < new <= to:
                look_at(node, facts, mends)
    return mends


def _look_at_surroundings(node: ir.Node, facts: Facts) -> None:
    for attribute in node.attributes.values():
        bodies = attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        if bodies and (attribute.type == ir.AttributeType.GRAPHS or node.domain not in ("", "ai.onnx")):
            facts.decline(f"onnx's version converter leaves the bodies of {node.op_type} as they are", at=node)
    for value in node.inputs:
        if value is not None and value.graph is None:
            facts.decline(f"{value.name} comes from nowhere: sparse initializers are not converted", at=node)


def _softmax(node: ir.Node, facts: Facts, mends: Mends) -> None:
    axis = facts.attribute(node, "axis", 1)
    value = facts.input(node, 0)
    shape = facts.shape(value) if value is not None else None
    if axis == -1 or (shape is not None and axis == len(shape) - 1):
        mends.last_axis.append(node)
        return
    if shape is None:
        facts.decline(f"{node.op_type}: whether axis {axis} is the last one is not known: the rank is not", at=node)
    if not -len(shape) <= axis < len(shape):
        facts.decline(f"{node.op_type}: there is no axis {axis} of {len(shape)}", at=node)
    if node.op_type == "Hardmax":
        facts.decline("Hardmax over several dims does not exist since opset 13", at=node)
    axis %= len(shape)
    # Reshape reads a 0 as the dim of the flattened tensor in that place.
    if any(
        (dim is None or not isinstance(dim, int) or dim == 0) and not _is_kept(place, axis)
        for place, dim in enumerate(shape)
    ):
        facts.decline(f"{node.op_type} over several dims, of which one may be 0", at=node)


def _is_kept(place: int, axis: int) -> bool:
    """Says whether a dim of 0 comes back from [product of the dims before axis, product of the rest]."""
    return axis > 0 if place == 0 else place == 1 and axis <= 1


def _resize(node: ir.Node, facts: Facts, mends: Mends) -> None:
    mends.resizes = True
    if node.op_type == "Upsample" or facts.attribute(node, "mode", "nearest") != "nearest":
        return
    scales = facts.constant(facts.input(node, 1))
    if scales is None:
        facts.decline("the scales are not constant: how elements are dropped depends on them", at=node)
    steps = 1 / scales[scales < 1]
    if np.any(np.abs(steps - np.round(steps)) > 1e-6 * steps):
        facts.decline(f"a Resize below opset 11 by {scales.tolist()} drops elements at other than whole steps", at=node)


def _constants(node: ir.Node, facts: Facts, mends: Mends) -> None:
    """The value of Pad and the bounds of Clip come out as float, whatever the data are."""
    value = facts.input(node, 0)
    dtype = facts.dtype(value) if value is not None else None
    if dtype is None:
        facts.decline(f"the element type of {node.op_type} is not known", at=node)
    name = node.outputs[0].name
    if dtype != ir.DataType.FLOAT and name:
        mends.types[name] = dtype


def _dropout(node: ir.Node, facts: Facts, mends: Mends) -> None:
    del mends
    if any(facts.use_count(mask) or facts.is_graph_output(mask) for mask in node.outputs[1:]):
        facts.decline("the mask of Dropout, a float below opset 10, is read", at=node)


def _scan(node: ir.Node, facts: Facts, mends: Mends) -> None:
    del mends
    facts.decline("Scan below opset 9 goes over a batch, which onnx's version converter ignores", at=node)


def _batch_normalization(node: ir.Node, facts: Facts, mends: Mends) -> None:
    del mends
    if any(output.name for output in node.outputs[1:]):
        facts.decline("BatchNormalization in training is not converted", at=node)


def _group_normalization(node: ir.Node, facts: Facts, mends: Mends) -> None:
    del mends
    facts.decline("GroupNormalization below opset 21 has a scale for each group, not for each channel", at=node)


FAULTS: Final[Mapping[str, tuple[tuple[int, Look], ...]]] = {
    "BatchNormalization": ((14, _batch_normalization),),
    "Clip": ((11, _constants),),
    "Dropout": ((10, _dropout),),
    "GroupNormalization": ((21, _group_normalization),),
    "Hardmax": ((13, _softmax),),
    "LogSoftmax": ((13, _softmax),),
    "Pad": ((11, _constants),),
    "Resize": ((11, _resize),),
    "Scan": ((9, _scan),),
    "Softmax": ((13, _softmax),),
    "Upsample": ((11, _resize),),
}
"""By operator: the opset from which on it is converted wrongly, and what to look at."""

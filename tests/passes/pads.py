"""Models with one Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["pad"]


def pad(
    shape: Sequence[int | str],
    pads: Sequence[int],
    *,
    opset: int = 17,
    mode: str | None = None,
    axes: Sequence[int] | None = None,
    fill: bool = False,
    elem_type: int = TensorProto.FLOAT,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Returns the model `x -> Identity -> relu -> Pad -> padded -> Identity -> y`."""
    names, tensors = ["inner"], []
    attributes: dict[str, Any] = {} if mode is None else {"mode": mode}
    if opset < 11:
        attributes["paddings" if opset == 1 else "pads"] = list(pads)
        if fill:
            attributes["value"] = 1.5
    else:
        names += ["pads", "fill" if fill else ""] + ([] if axes is None else ["axes"])
        tensors.append(numpy_helper.from_array(np.array(pads, dtype=np.int64), "pads"))
        if fill:
            content = "text" if elem_type == TensorProto.STRING else 1
            dtype = helper.tensor_dtype_to_np_dtype(elem_type)
            tensors.append(numpy_helper.from_array(np.array(content, dtype=dtype), "fill"))
        if axes is not None:
            tensors.append(numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes"))
        while names[-1] == "":
            names.pop()
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["inner"], name="first"),
            helper.make_node("Pad", names, ["padded"], name="pad", **attributes),
            helper.make_node("Identity", ["padded"], ["y"], name="last"),
        ],
        "padding",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, [None] * len(shape))],
        tensors,
    )
    if ir_version < 4:
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors)
    return helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])

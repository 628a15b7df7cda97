"""Models as a device computes them: rounded to float16 after every operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx
import onnx.shape_inference

__all__ = ["in_float16"]

FLOAT: Final = onnx.TensorProto.FLOAT
FLOAT16: Final = onnx.TensorProto.FLOAT16


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a Cast to float16 and one back behind every float32 value of the main graph, inputs and weights too."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    given = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    given |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    names = {name: f"{name}/rounded" for name, kind in given.items() if kind == FLOAT}
    nodes = [node for name, to in names.items() for node in _rounded(name, to)]
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in node.input]
        nodes.append(copy)
        for place, name in enumerate(node.output):
            if node.op_type != "Constant" and types.get(name) == FLOAT:
                copy.output[place] = f"{name}/raw"
                names[name] = name if name in outputs else f"{name}/rounded"
                nodes += _rounded(copy.output[place], names[name])
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _rounded(name: str, to: str) -> Iterator[onnx.NodeProto]:
    yield onnx.helper.make_node("Cast", [name], [f"{name}/half"], to=FLOAT16)
    yield onnx.helper.make_node("Cast", [f"{name}/half"], [to], to=FLOAT)

"""Models with a weight in a file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.model_io.models import chain

WEIGHT = np.arange(1024, dtype=np.float32).reshape(32, 32)


def refer(tensor: onnx.TensorProto, location: str = "weights.bin", **numbers: object) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in {"location": location, **numbers}.items():
        tensor.external_data.add(key=key, value=str(value))


def external(location: str = "weights.bin", **numbers: object) -> onnx.ModelProto:
    model = chain()
    refer(model.graph.initializer[0], location, **numbers)
    return model


def put(folder: Path, model: onnx.ModelProto, location: str = "weights.bin", offset: int = 0) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    data = folder / location
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(bytes(offset) + WEIGHT.tobytes())
    return path


def weight_of(path: Path) -> np.ndarray:
    """Reads the weight as onnx does, with all of its checks."""
    model = onnx.load(path)
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == "weight"))


def in_branch(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["c"])], "g", [], [output])
    graph.initializer.add().CopyFrom(tensor)
    graph.initializer[0].name = "w"
    model.graph.node.append(helper.make_node("If", ["flag"], ["i"], then_branch=graph, else_branch=graph))
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))

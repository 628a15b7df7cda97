"""What the tests of the examples ask of a graph: is it the committed one, and what does it compute?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

__all__ = ["assert_same_graph", "results", "wiring"]


def assert_same_graph(new: onnx.ModelProto, old: onnx.ModelProto) -> None:
    """Node for node, attribute for attribute, and all that initializers say but their data."""
    assert [(node.op_type, node.name) for node in new.graph.node] == [
        (node.op_type, node.name) for node in old.graph.node
    ]
    differing = [(a, b) for a, b in zip(new.graph.node, old.graph.node, strict=True) if a != b]
    assert differing == []
    headers = [[(t.name, list(t.dims), t.data_type) for t in model.graph.initializer] for model in (new, old)]
    assert headers[0] == headers[1]
    assert (new.graph.input, new.graph.output) == (old.graph.input, old.graph.output)
    assert (new.opset_import, new.ir_version) == (old.opset_import, old.ir_version)


def results(path: Path | str, *inputs: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime computes, without rewriting anything itself."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    found: list[np.ndarray] = session.run(None, dict(zip(names, inputs, strict=True)))
    return found


def wiring(model: onnx.ModelProto) -> list[tuple[object, ...]]:
    """All nodes but Constants, in order, with their attributes, and each value by where it comes from instead of a name."""
    sources: dict[str, object] = {"": "left out"}
    sources |= {item.name: f"input {index}" for index, item in enumerate(model.graph.input)}
    sources |= {tensor.name: (tensor.dims, tensor.raw_data) for tensor in model.graph.initializer}
    nodes: list[tuple[object, ...]] = []
    for node in model.graph.node:
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        if node.op_type == "Constant":
            sources[node.output[0]] = attributes
            continue
        for index, name in enumerate(node.output):
            sources[name] = (len(nodes), index)
        nodes.append((node.op_type, attributes, [sources[name] for name in node.input]))
    return [*nodes, *((item.name, sources[item.name]) for item in model.graph.output)]

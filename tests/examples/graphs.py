"""What the tests of the examples ask of a graph: is it the committed one, and what does it compute?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

__all__ = ["assert_same_graph", "results"]


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

"""Models for other people's passes, and looks at them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx.numpy_helper import from_array

__all__ = ["CHAIN", "model", "ops", "serialized", "weighted"]

CHAIN: Final = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N, 3, 8, 8] x) => (float[N, 3, 4, 4] y) {
        [one] o = Constant<value = int64[2] {1, 1}>()
        [other] t = Constant<value = int64[2] {0, 1}>()
        [starts] s = Add(o, t)
        [ends] e = Constant<value_ints = [5, 6]>()
        [axes] a = Constant<value_ints = [2, 3]>()
        [cut] c = Slice(x, s, e, a)
        [first] i = Identity(c)
        [second] y = Relu(i)
    }"""
"""Constants to fold, an Identity to remove, and numbers to get wrong."""


def model(text: str = CHAIN) -> onnx.ModelProto:
    """Returns the model of this text, with a doc string and metadata on it and on its nodes."""
    proto = onnx.parser.parse_model(text)
    proto.doc_string = "as it came"
    proto.metadata_props.add(key="owner", value="us")
    for node in proto.graph.node:
        node.doc_string = f"doc of {node.name}"
        node.metadata_props.add(key="at", value=node.name)
    return proto


def weighted(size: int = 256) -> onnx.ModelProto:
    """Returns a model of two matrices of `size` squared floats, and an Identity."""
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[N, {size}] x) => (float[N, {size}] y) {{
            h = MatMul(x, first)
            i = Identity(h)
            y = MatMul(i, second)
        }}""")
    random = np.random.default_rng(0)
    for name in ("first", "second"):
        proto.graph.initializer.append(from_array(random.normal(size=(size, size)).astype(np.float32), name))
    return proto


def ops(thing: Any) -> list[str]:
    """Returns the op_types of a model's nodes, in order; a Constant is the same as an initializer."""
    graph = thing.graph
    nodes = graph.node if isinstance(thing, onnx.ModelProto) else graph
    return [node.op_type for node in nodes if node.op_type != "Constant"]


def serialized(proto: onnx.ModelProto) -> bytes:
    """Returns a model's bytes, the same for equal models."""
    return proto.SerializeToString(deterministic=True)

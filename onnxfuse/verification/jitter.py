"""Inputs and weights moved by a little: where a model has no twin, what that changes says how much rounding matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx

from onnxfuse.verification.element_types import format_of, is_float
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.fed_values import mapped
from onnxfuse.verification.twin_graph import counts

__all__ = ["jittered", "jittered_model"]

_FLOATS = ("value_float", "value_floats")


def jittered(feeds: Mapping[str, Any], rng: np.random.Generator, *, least: float = 0.0) -> dict[str, Any]:
    """The same inputs, each float times 1 + 2 u N(0, 1); complex ones stay.

    Args:
        feeds: The inputs.
        rng: Draws the noise.
        least: u, where that of the type is less: of a device that computes in another type.
    """
    return {name: mapped(fed, lambda array: _moved(array, rng, least)) for name, fed in feeds.items()}


def jittered_model(model: EvalModel, rng: np.random.Generator, *, least: float = 0.0) -> EvalModel:
    """The same model, each float of its weights times 1 + 2 u N(0, 1); arguments as for `jittered`.

    Weights are the initializers and Constants of the main graph, but for those that are used as counts or exponents:
    with another scale, a Resize gives another shape.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    kept = counts([(node.op_type, node.input, node.output) for node in proto.graph.node])
    weights = dict(model.weights)
    for tensor in proto.graph.initializer:
        if tensor.name in kept:
            continue
        if tensor.name in weights:
            weights[tensor.name] = _moved(weights[tensor.name], rng, least)
        else:
            _move(tensor, rng, least)
    for attribute in _constants(proto.graph, kept):
        if attribute.name == "value":
            _move(attribute.t, rng, least)
        elif attribute.name == "value_float":
            attribute.f = float(_moved(np.array(attribute.f, np.float32), rng, least))
        else:
            attribute.floats[:] = _moved(np.array(attribute.floats, np.float32), rng, least).tolist()
    return EvalModel(proto, weights)


def _constants(graph: onnx.GraphProto, kept: set[str]) -> Iterator[onnx.AttributeProto]:
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and kept.isdisjoint(node.output):
            yield from (attribute for attribute in node.attribute if attribute.name in ("value", *_FLOATS))


def _move(tensor: onnx.TensorProto, rng: np.random.Generator, least: float) -> None:
    """Moves a tensor that has its data in it, and is of real floats."""
    if tensor.data_type == onnx.TensorProto.STRING or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    moved = onnx.numpy_helper.from_array(_moved(onnx.numpy_helper.to_array(tensor), rng, least), tensor.name)
    moved.data_type = tensor.data_type
    tensor.CopyFrom(moved)


def _moved(array: np.ndarray, rng: np.random.Generator, least: float) -> np.ndarray:
    if not is_float(array.dtype):
        return array
    with np.errstate(all="ignore"):
        wide = array.astype(np.float64) * (
            1 + 2 * max(format_of(array.dtype).u, least) * rng.standard_normal(array.shape)
        )
        moved = wide.astype(array.dtype)
        # The least number stands for minus infinity in many a mask; what it is moved to must be finite as well.
        return np.where(np.isfinite(moved.astype(np.float64)), moved, array)

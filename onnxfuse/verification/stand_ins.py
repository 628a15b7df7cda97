"""Models that can be shown to others: weights taken out, or random ones in their places."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import onnx
import onnx.numpy_helper

from onnxfuse.verification.element_types import bytes_of
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.tensors import nodes_of, tensors_of

__all__ = ["STRIPPED", "embedded", "has_weights", "same_weights", "with_stand_ins", "without_weights"]

STRIPPED: Final = "stripped"
"""The doc_string of a tensor without its data: `onnxfuse fill` fills it."""

# Shorter ones are epsilons, scales, bounds: what a pass looks at.
WEIGHT_ELEMENTS: Final = 64
# Wide integers are shapes, axes and indices; only what is too long for that is no part of how a model is built.
INDEX_ELEMENTS: Final = 1024
INDICES: Final = frozenset(
    {
        onnx.TensorProto.INT16,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.UINT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT64,
        onnx.TensorProto.BOOL,
        onnx.TensorProto.STRING,
    }
)


def without_weights(model: EvalModel) -> EvalModel:
    """Returns a copy in which weights have a header only, and long integer tensors too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    copy.ClearField("training_info")
    for tensor in tensors_of(copy):
        external = tensor.data_location == tensor.EXTERNAL
        if _is_weight(tensor) or external or math.prod(tensor.dims) >= INDEX_ELEMENTS or tensor.name in model.weights:
            header = onnx.TensorProto(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, doc_string=STRIPPED
            )
            tensor.CopyFrom(header)
    for attribute in _float_lists(copy):
        attribute.floats[:] = [0.0] * len(attribute.floats)
    return EvalModel(copy)


def with_stand_ins(model: EvalModel, *, seed: int = 0) -> EvalModel:
    """Returns a copy with random weights of the same scale; equal weights get equal ones, in every model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    copy.ClearField("training_info")
    weights = dict(model.weights)
    for tensor, array in _weights(EvalModel(copy, model.weights)):
        drawn = _drawn_like(array, seed)
        if tensor.name in weights:
            weights[tensor.name] = drawn
        else:
            data_type = tensor.data_type
            tensor.CopyFrom(onnx.numpy_helper.from_array(drawn, tensor.name))
            tensor.data_type = data_type
    for attribute in _float_lists(copy):
        attribute.floats[:] = _drawn_like(np.array(attribute.floats, np.float32), seed).tolist()
    return EvalModel(copy, weights)


def embedded(model: EvalModel) -> onnx.ModelProto:
    """Returns a copy that holds its weights itself."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    for tensor in copy.graph.initializer:
        array = model.weights.get(tensor.name)
        if array is not None:
            data_type = tensor.data_type
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array), tensor.name))
            tensor.data_type = data_type
    return copy


def has_weights(model: EvalModel) -> bool:
    """Says whether anything of the model is to be kept from others."""
    return any(True for _ in _weights(model)) or any(True for _ in _float_lists(model.proto))


def same_weights(before: EvalModel, after: EvalModel) -> bool:
    """Says whether all weights of `after` are in `before` too: none was computed from others."""
    known = {_digest(array) for _, array in _weights(before)}
    lists = {tuple(attribute.floats) for attribute in _float_lists(before.proto)}
    return all(_digest(array) in known for _, array in _weights(after)) and all(
        tuple(attribute.floats) in lists for attribute in _float_lists(after.proto)
    )


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type not in INDICES and math.prod(tensor.dims) >= WEIGHT_ELEMENTS


def _weights(model: EvalModel) -> Iterator[tuple[onnx.TensorProto, np.ndarray]]:
    """Yields what counts as a weight and has its data, with it."""
    for tensor in tensors_of(model.proto):
        if not _is_weight(tensor) or tensor.doc_string == STRIPPED:
            continue
        found = model.weights.get(tensor.name)
        if found is not None:
            yield tensor, np.asarray(found)
        elif tensor.data_location != tensor.EXTERNAL:
            yield tensor, onnx.numpy_helper.to_array(tensor)


def _digest(array: np.ndarray) -> bytes:
    digest = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=16)
    digest.update(bytes_of(array))
    return digest.digest()


def _drawn_like(array: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, *_digest(array)])
    if array.dtype.kind in "iu":
        return rng.integers(int(array.min()), int(array.max()), array.shape, endpoint=True).astype(array.dtype)
    wide: np.ndarray[Any, Any] = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    finite = wide[np.isfinite(wide)]
    mean, spread = (_rounded(abs(finite.mean())), _rounded(finite.std())) if finite.size else (0.0, 1.0)
    if finite.size and not np.iscomplexobj(finite) and finite.min() >= 0:
        return abs(rng.normal(mean, spread, array.shape)).astype(array.dtype)  # a variance, for one
    sign = -1 if finite.size and finite.mean().real < 0 else 1
    return rng.normal(sign * mean, spread, array.shape).astype(array.dtype)


def _rounded(number: float) -> float:
    """Keeps one digit: the scale, and no more."""
    return float(f"{float(number):.0e}")


def _float_lists(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Yields attributes that are weights: of a Constant, or the thresholds of a tree."""
    for node in nodes_of(model):
        yield from (attribute for attribute in node.attribute if len(attribute.floats) >= WEIGHT_ELEMENTS)

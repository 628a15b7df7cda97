"""A model as it is run, and what can be said of one or two without running them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from onnxfuse.analysis.arrays import chunks_of

if TYPE_CHECKING:
    import onnx

__all__ = ["EvalModel", "Place", "custom_domains", "identical", "invalid", "is_own_fault", "place_of", "without_data"]

Place = tuple[int, tuple[int, ...]]
"""Where an array's elements lie: the address of the first one, and the bytes from one to the next along each axis."""


@dataclass(frozen=True)
class EvalModel:
    """A model to run.

    Attributes:
        proto: The light model: initializers in `weights` have only a header in it.
        weights: The payloads of those, by name.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)


def without_data(model: EvalModel) -> str | None:
    """The name of a tensor whose data was taken out of the model; None if all have theirs."""
    from onnxfuse.verification.tensors import lacks_data, tensors_of

    missing = (tensor for tensor in tensors_of(model.proto) if tensor.name not in model.weights and lacks_data(tensor))
    found = next(missing, None)
    return None if found is None else found.name or "a constant without a name"


def custom_domains(model: onnx.ModelProto) -> set[str]:
    """The domains of the main graph's operators that only a runtime can know."""
    known = {"", "ai.onnx"} | {function.domain for function in model.functions}
    return {node.domain for node in model.graph.node} - known


def is_own_fault(a: onnx.ModelProto, b: onnx.ModelProto, reason: str) -> bool:
    """Whether the second model is to blame that onnxruntime loads only the first: it needs nothing newer or rarer."""
    versions = [{(entry.domain, entry.version) for entry in model.opset_import} for model in (a, b)]
    newer = b.ir_version > a.ir_version or not versions[1] <= versions[0]
    return not newer and "Could not find an implementation" not in reason


def invalid(model: EvalModel, *, types: bool = False) -> str | None:
    """What the ONNX checker says against a model, in one line; None for nothing.

    Args:
        model: The model.
        types: Whether what is declared of values is compared with what onnx infers of them.
    """
    import onnx
    import onnx.shape_inference

    from onnxfuse.verification.sessions import private_copy

    # Weights that are elsewhere stand as inputs: the checker wants the data of an initializer.
    copy = private_copy(model.proto, model.weights, expose=False, keep_value_info=True)
    try:
        onnx.checker.check_model(copy, full_check=types)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return " ".join(str(error).split())
    return None


def place_of(array: np.ndarray) -> Place:
    """Where an array lies: arrays of one dtype, shape and place are the same."""
    return int(array.__array_interface__["data"][0]), array.strides


def identical(a: EvalModel, b: EvalModel) -> bool:
    """Whether two models are the same bytes."""
    if a.weights.keys() != b.weights.keys():
        return False
    if a.proto is not b.proto:
        size = a.proto.ByteSize()
        if size != b.proto.ByteSize() or size >= 1 << 31:
            return False
        if a.proto.SerializeToString(deterministic=True) != b.proto.SerializeToString(deterministic=True):
            return False
    return all(_same_array(array, b.weights[name]) for name, array in a.weights.items())


def _same_array(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays hold the same bits: a NaN is itself, and -0 is not 0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if place_of(a) == place_of(b):
        return True
    if a.dtype.hasobject:
        return bool(np.array_equal(a, b))
    return all(map(np.array_equal, chunks_of(a), chunks_of(b)))

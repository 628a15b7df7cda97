"""Normalizations in float64, for the twins of `onnxfuse.verification.twin`: statistics along axes, and what they scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from onnxfuse.verification.twin_kernel import Attributes, Kernel, UnsupportedError

__all__ = ["NORMALIZATIONS", "batch_norm_scale"]


def _flattened(op: Callable[[np.ndarray, int], np.ndarray]) -> Kernel:
    """An operator along one axis; below opset 13 it takes all axes from its axis on as one."""

    def kernel(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
        (x,) = inputs
        axis = int(attributes.get("axis", -1 if opset >= 13 else 1))
        if opset >= 13:
            return op(x, axis)
        axis = axis % x.ndim if axis < 0 else axis
        rows = math.prod(x.shape[:axis])
        return op(x.reshape(rows, math.prod(x.shape[axis:])), 1).reshape(x.shape)

    return kernel


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    if not x.size:
        return x
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis, keepdims=True))


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    if not x.size:
        return x
    shifted = x - x.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def _hardmax(x: np.ndarray, axis: int) -> np.ndarray:
    if not x.size:
        return x
    first = np.expand_dims(x.argmax(axis), axis)
    hard = np.zeros_like(x)
    np.put_along_axis(hard, first, 1.0, axis)
    hard[np.broadcast_to(np.isnan(x).any(axis, keepdims=True), x.shape)] = np.nan
    return hard


def batch_norm_scale(attributes: Attributes, inputs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The factor, mean and bias of a BatchNormalization in inference, each of shape (C, 1, ...)."""
    x, scale, bias, mean, variance = (np.asarray(value) for value in inputs[:5])
    shape = (-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
    factor = scale / np.sqrt(variance + float(attributes.get("epsilon", 1e-5)))
    return factor.reshape(shape), mean.reshape(shape), bias.reshape(shape)


def _batch_normalization(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    if attributes.get("training_mode") or (opset < 7 and not attributes.get("is_test")):
        raise UnsupportedError("BatchNormalization in training mode")
    if attributes.get("spatial", 1) != 1:
        raise UnsupportedError("BatchNormalization that is not spatial")
    factor, mean, bias = batch_norm_scale(attributes, inputs)
    return np.asarray((inputs[0] - mean) * factor + bias)


def _normalized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt((centred * centred).mean(axes, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


def _layer_normalization(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> tuple[np.ndarray, ...]:
    x, scale, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    axes = tuple(range(int(attributes.get("axis", -1)) % x.ndim, x.ndim))
    normal, mean, inverse = _normalized(x, axes, float(attributes.get("epsilon", 1e-5)))
    return normal * scale + (0 if bias is None else bias), mean, inverse


def _rms_normalization(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, scale = inputs
    axes = tuple(range(int(attributes.get("axis", -1)) % x.ndim, x.ndim))
    mean_square = (x * x).mean(axes, keepdims=True)
    return np.asarray(x / np.sqrt(mean_square + float(attributes.get("epsilon", 1e-5))) * scale)


def _instance_normalization(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, scale, bias = inputs
    shape = (-1, *(1,) * (x.ndim - 2))
    normal, _, _ = _normalized(x, tuple(range(2, x.ndim)), float(attributes.get("epsilon", 1e-5)))
    return np.asarray(normal * scale.reshape(shape) + bias.reshape(shape))


def _group_normalization(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    x, scale, bias = inputs
    groups = int(attributes["num_groups"])
    grouped = x.reshape(x.shape[0], groups, -1)
    normal, _, _ = _normalized(grouped, (2,), float(attributes.get("epsilon", 1e-5)))
    if opset < 21:  # one scale a group
        scale, bias = (np.repeat(value, x.shape[1] // groups) for value in (scale, bias))
    shape = (-1, *(1,) * (x.ndim - 2))
    return np.asarray(normal.reshape(x.shape) * scale.reshape(shape) + bias.reshape(shape))


NORMALIZATIONS: Final[Mapping[str, Kernel]] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "Hardmax": _flattened(_hardmax),
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _flattened(_log_softmax),
    "RMSNormalization": _rms_normalization,
    "Softmax": _flattened(_softmax),
}

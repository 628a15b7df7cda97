"""Resize in float64, one axis after the other, each by a matrix of its own: the common modes.

Formulas: https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["resize"]

_NEAREST: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(attributes: Mapping[str, Any], inputs: Sequence[Any], opset: int) -> np.ndarray | None:
    """Resizes by nearest or linear interpolation.

    Args:
        attributes: Of the Resize or Upsample node.
        inputs: Its inputs; None for one left out.
        opset: Of the node.

    Returns:
        The result, or None for a mode that is not here: cubic, antialiased, cropping.
    """
    x = inputs[0]
    mode, transform = _text(attributes, "mode", "nearest"), "asymmetric"
    nearest = "floor"
    if opset >= 11:
        transform = _text(attributes, "coordinate_transformation_mode", "half_pixel")
        nearest = _text(attributes, "nearest_mode", "round_prefer_floor")
    policy = _text(attributes, "keep_aspect_ratio_policy", "stretch")
    if mode not in ("nearest", "linear", "bilinear") or attributes.get("antialias") or policy != "stretch":
        return None
    if transform not in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        return None
    scales, sizes = _scales_and_sizes(attributes, inputs, opset)
    axes = [int(axis) % x.ndim for axis in attributes.get("axes") or range(x.ndim)]
    result = x
    for place, axis in enumerate(axes):
        length = x.shape[axis]
        if sizes is not None:
            size = int(sizes[place])
            scale = size / length
        else:
            scale = float(scales[place])
            size = int(np.floor(np.float32(length) * np.float32(scale)))  # scales are float32, and so is the product
        if size == length and scale == 1:
            continue
        # Which neighbour is the nearest is decided by float32 coordinates, as in a runtime.
        at = _coordinates(transform, size, length, scale, np.float32 if mode == "nearest" else np.float64)
        if mode == "nearest":
            chosen = np.clip(_NEAREST[nearest](at), 0, length - 1).astype(np.int64)
            result = np.take(result, chosen, axis)
        else:
            result = _linear(result, at, axis)
    return np.asarray(result)


def _text(attributes: Mapping[str, Any], name: str, default: str) -> str:
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _scales_and_sizes(
    attributes: Mapping[str, Any], inputs: Sequence[Any], opset: int
) -> tuple[Sequence[float], Sequence[int] | None]:
    if "scales" in attributes:
        return attributes["scales"], None
    if opset < 11:
        return inputs[1], None
    scales = inputs[2] if len(inputs) > 2 and inputs[2] is not None and inputs[2].size else None
    return (scales, None) if scales is not None else ((), inputs[3])


def _coordinates(transform: str, size: int, length: int, scale: float, kind: type[np.floating[Any]]) -> np.ndarray:
    """Where in the input each output element lies along one axis."""
    at = np.arange(size, dtype=kind)
    factor = kind(scale)
    if transform == "asymmetric":
        return np.asarray(at / factor)
    if transform == "align_corners":
        return np.asarray(at * kind(length - 1) / kind(size - 1)) if size > 1 else np.zeros(size)
    if transform == "pytorch_half_pixel" and size <= 1:
        return np.zeros(size)
    return np.asarray((at + kind(0.5)) / factor - kind(0.5))


def _linear(x: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    length = x.shape[axis]
    at = np.clip(at, 0, length - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    part = (at - low).reshape(shape)
    # A neighbour of weight zero counts too: 0 times an infinity is NaN, as in a runtime.
    return np.asarray(np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part)

"""What models are fed with: how far it is from what a network sees, and how it is changed to see what hangs on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from onnxfuse.verification.element_types import format_of, is_float
from onnxfuse.verification.leaves import tensors_of

__all__ = ["beyond_root", "has_extreme", "has_nonfinite", "mapped", "without_nonfinite"]


def has_extreme(feeds: Mapping[str, Any]) -> bool:
    """Whether a float is beyond `FloatFormat.extreme`, or no number."""
    return any(_exceeds(array, format_of(array.dtype).extreme) for array in _floats(feeds))


def has_nonfinite(feeds: Mapping[str, Any]) -> bool:
    """Whether a float is NaN or infinite."""
    return any(not bool(np.isfinite(array.astype(np.float64)).all()) for array in _floats(feeds))


def beyond_root(feeds: Mapping[str, Any]) -> bool:
    """Whether the square of a float is more than its type can hold, or it is no number."""
    return any(_exceeds(array, math.sqrt(format_of(array.dtype).largest)) for array in _floats(feeds))


def without_nonfinite(feeds: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The same inputs, what is not finite in them replaced by random numbers; complex ones stay."""

    def replaced(array: np.ndarray) -> np.ndarray:
        wide = array.astype(np.float64)
        return np.where(np.isfinite(wide), wide, rng.standard_normal(wide.shape)).astype(array.dtype)

    return {name: mapped(fed, replaced) for name, fed in feeds.items()}


def _floats(feeds: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for array in tensors_of(list(feeds.values())):
        if is_float(array.dtype):
            yield array


def _exceeds(array: np.ndarray, limit: float) -> bool:
    with np.errstate(all="ignore"):
        return not bool((np.abs(array.astype(np.float64)) <= limit).all())


def mapped(fed: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Changes the real floats of an input, those of a sequence one by one."""
    if isinstance(fed, list):
        return [mapped(item, change) for item in fed]
    if fed is None or not is_float(fed.dtype):
        return fed
    return change(fed)

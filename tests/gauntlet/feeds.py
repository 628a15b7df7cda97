"""Inputs of the gauntlet's cases, drawn from the seeded specs in `cases.json`.

The values are part of a case: the specials that tell a broken rewrite from a right one fall where these draws put them.
So the order of the draws is frozen, `RandomState` is the generator (its streams never change between numpy versions),
and `tests/gauntlet/test_gauntlet.py` pins a digest of every value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

__all__ = ["Feed", "feed_of", "value_of"]

Array = npt.NDArray[Any]
Feed = dict[str, Any]
"""Value by input name: an array, a list of arrays for a sequence, or None for an empty optional."""

_SPECIALS = (math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-40, -1e-40, 3.4e38, -3.4e38, 1e30, -1e30)
_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0.0": -0.0}
"""JSON has no spelling of its own for these."""


def feed_of(specs: Mapping[str, Mapping[str, Any]]) -> Feed:
    """Draws one input set: a value for every input name."""
    return {name: value_of(spec) for name, spec in specs.items()}


def value_of(spec: Mapping[str, Any]) -> Any:
    """Draws the value that a spec describes.

    Args:
        spec: `kind` (`rand`, `special`, `arange`, `zeros`, `values`, `seq` or `none`) and what that kind needs of
            `dtype`, `shape`, `seed`, `start`, `lo`, `hi`, `values`, `items`.

    Returns:
        An array of the spec's dtype and shape; a list for `seq`; None for `none`.
    """
    if spec["kind"] == "none":
        return None
    if spec["kind"] == "seq":
        return [value_of(item) for item in spec["items"]]
    shape = tuple(spec.get("shape", ()))
    with np.errstate(all="ignore"):  # overflow to infinity in a narrow dtype is what many specials are for
        flat = _KINDS[spec["kind"]](spec, _dtype(spec["dtype"]), math.prod(shape))
    return flat.reshape(shape)


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in ("int4", "uint4")


def _values(spec: Mapping[str, Any], dtype: np.dtype[Any], _size: int) -> Array:
    if dtype.kind == "O":  # before the spelled numbers are read: a string tensor may hold the string "inf"
        return np.array(spec["values"], dtype=object)
    values = [_SPELLED[value] if isinstance(value, str) else value for value in spec["values"]]
    if _is_integer(dtype):
        wide = np.uint64 if dtype == np.uint64 else np.int64
        return np.array([int(value) for value in values], dtype=wide).astype(dtype)
    if dtype == np.bool_:
        return np.array([bool(value) for value in values], dtype=np.bool_)
    return np.array(values, dtype=np.float64).astype(dtype)


def _arange(spec: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
    start: int = spec.get("start", 1)
    return (np.arange(size) + start).astype(dtype)


def _zeros(_spec: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
    return np.zeros(size, dtype)


def _rand(spec: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
    random = np.random.RandomState(spec.get("seed", 0))
    if dtype == np.bool_:
        return np.asarray(random.rand(size) > 0.5)
    if dtype.kind == "O":
        return np.array([f"s{number}" for number in random.randint(0, 5, size)], dtype=object)
    if _is_integer(dtype):
        low = spec.get("lo", -5)
        return random.randint(max(low, 0) if dtype.kind == "u" else low, spec.get("hi", 6), size).astype(dtype)
    if spec.get("lo") is None:
        return random.randn(size).astype(dtype)
    return random.uniform(spec["lo"], spec["hi"], size).astype(dtype)


def _special(spec: Mapping[str, Any], dtype: np.dtype[Any], size: int) -> Array:
    random = np.random.RandomState(spec.get("seed", 0))
    normal = random.randn(size)
    places = random.permutation(size)[: max(1, min(len(_SPECIALS), (size + 1) // 2))]
    order = random.permutation(len(_SPECIALS))
    if not _is_integer(dtype):
        for turn, place in enumerate(places):
            normal[place] = _SPECIALS[order[turn % len(_SPECIALS)]]
        return normal.astype(dtype)
    info = np.iinfo(dtype)
    extremes = np.array([info.min, info.max, 0, 1, info.max - 1, info.min + 1], dtype=dtype)
    integers = random.randint(max(info.min, -5), 6, size).astype(dtype)
    for turn, place in enumerate(places):
        integers[place] = extremes[turn % len(extremes)]
    return integers


_KINDS: Mapping[str, Callable[[Mapping[str, Any], np.dtype[Any], int], Array]] = {
    "values": _values,
    "arange": _arange,
    "zeros": _zeros,
    "rand": _rand,
    "special": _special,
}

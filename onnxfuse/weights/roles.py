"""What kind of weight a tensor is, by who reads it: what may be taken out of a model, and what is put in its place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx

from onnxfuse.verification.element_types import integer_range, is_integer, numpy_dtype
from onnxfuse.weights.slots import (
    BIAS,
    FAN_IN,
    INTEGER_WEIGHTS,
    KNOWN,
    NBITS,
    PACKED,
    PARAMETERS,
    POSITIVE,
    SCALES,
    SPAN,
    WIDE_INTEGER,
    ZERO_POINTS,
    Dims,
    Normal,
    Random,
    Uniform,
)
from onnxfuse.weights.survey import Held, Survey
from onnxfuse.weights.uses import INTEGERS, Use, attribute_of, uses_of

__all__ = ["is_weight", "random_for"]

STRING: Final = onnx.TensorProto.STRING
BOOL: Final = onnx.TensorProto.BOOL


def is_weight(held: Held, survey: Survey) -> bool:
    """Says whether a tensor only has numbers that were learned: another model of the same structure has others.

    Floats count unless they are known to be something else. Integers count only where every use is a weight's: all others
    may be indices, shapes or axes.
    """
    kind = held.tensor.data_type
    if kind in (STRING, BOOL, onnx.TensorProto.UNDEFINED):
        return False
    if held.scope is None:
        return kind not in INTEGERS
    uses = list(_uses(held, survey))
    if kind in INTEGERS:
        return bool(uses) and all(_is_quantized_weight(use) for use in uses)
    return not any(use.slot in PARAMETERS for use in uses)


def _is_quantized_weight(use: Use) -> bool:
    # A MatMul of integers may be arithmetic of shapes; that of integers that became floats is not.
    return use.slot in INTEGER_WEIGHTS or (use.slot in FAN_IN and use.data_type not in INTEGERS)


def random_for(held: Held, survey: Survey) -> Random | None:
    """Returns what a weight is drawn from, at a scale at which a network's values stay ordinary; None for no weight."""
    kind = held.tensor.data_type
    if not is_weight(held, survey):
        return None
    uses = list(_uses(held, survey))
    if kind in INTEGERS:
        return _integer(uses[0], kind)
    found = (_float(use, held, survey) for use in uses)
    return next((random for random in found if random is not None), BIAS)


def _uses(held: Held, survey: Survey) -> Iterator[Use]:
    if held.scope is not None:
        yield from uses_of(held.name, held.scope, survey, data_type=held.tensor.data_type, dims=held.dims)


def _integer(use: Use, kind: int) -> Random:
    if use.slot == f"{NBITS}.1":
        return PACKED
    dtype = numpy_dtype(kind)
    assert dtype is not None  # noqa: S101 - an integer type of onnx
    low, high = integer_range(dtype)
    if high - low > 1 << 16:
        return WIDE_INTEGER
    return Normal(_zero_point(use), (high - low + 1) / SPAN)


def _zero_point(use: Use) -> float:
    index = ZERO_POINTS.get(use.slot)
    tensor = _constant(use, index) if index is not None else None
    if tensor is None or tensor.data_location == tensor.EXTERNAL:
        return 0.0
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except ValueError:
        return 0.0  # large, so that its data is not here
    return float(np.mean(values.astype(np.float64))) if values.size else 0.0


def _constant(use: Use, index: int) -> onnx.TensorProto | None:
    assert use.node is not None  # noqa: S101 - it has a slot
    name = use.node.input[index] if index < len(use.node.input) else ""
    return use.scope.constant(name) if name else None


def _float(use: Use, held: Held, survey: Survey) -> Random | None:
    slot = use.slot
    if slot in FAN_IN:
        return Normal(0, math.sqrt(1 / _fan_in(use, held)))
    if slot in SCALES:
        return _scale(use, survey)
    if slot == f"{NBITS}.2":
        assert use.node is not None  # noqa: S101 - it has a slot
        return _about(math.sqrt(1 / max(attribute_of(use.node, "K", 1), 1)) * SPAN / 16)
    if use.node is not None and use.node.op_type in ("Mul", "Add", "Sub"):
        further = _behind(use, held, survey)
        if further is not None:
            return further
    return KNOWN.get(slot)


def _behind(use: Use, held: Held, survey: Survey) -> Random | None:
    """Returns what follows from the use of a product or a sum: a scaled weight, a variance and its epsilon."""
    assert use.node is not None  # noqa: S101 - looked at by the caller
    output = use.node.output[0]
    scope = use.scope.home(output)
    uses = uses_of(output, scope, survey, data_type=use.data_type, dims=use.dims)
    if use.node.op_type in ("Add", "Sub"):
        return POSITIVE if any(later.slot in ("Sqrt.0", "Log.0") for later in uses) else None
    if sum(size != 1 for size in held.dims) < 2:
        return None
    scaled = next((later for later in uses if later.slot in FAN_IN), None)
    return None if scaled is None else Normal(0, math.sqrt(1 / _fan_in(scaled, held)))


def _fan_in(use: Use, held: Held) -> float:
    count = math.prod(held.dims)
    dense = math.prod(held.tensor.dims) / count if count else 1  # of a sparse tensor, so many are not 0
    return max(_fan_in_of_shape(use, held.dims) * dense, 1)


def _fan_in_of_shape(use: Use, dims: Dims) -> float:
    assert use.node is not None  # noqa: S101 - it has a slot
    seen = use.dims
    if not seen or (len(seen) < 2 and not use.slot.startswith("MatMul")):
        return math.sqrt(math.prod(dims))  # exactly that of a square matrix
    return FAN_IN[use.slot](use.node, seen)


def _scale(use: Use, survey: Survey) -> Random:
    """Returns the steps of a quantized weight, so that it comes out at the scale of one that is not quantized."""
    assert use.node is not None  # noqa: S101 - it has a slot
    index = SCALES[use.slot]
    scaled = _constant(use, index)
    dtype = None if scaled is None else numpy_dtype(scaled.data_type)
    if scaled is None or dtype is None or not is_integer(dtype):
        return Uniform(0.01, 0.03)  # of activations
    low, high = integer_range(dtype)
    weight = Held(use.node.input[index], scaled, tuple(scaled.dims))
    if high - low > 1 << 16:
        return _about(BIAS.deviation / WIDE_INTEGER.deviation)
    fan_in = _fan_in_of_quantized(use, weight, index, survey)
    return _about(math.sqrt(1 / fan_in) * SPAN / (high - low + 1))


def _about(size: float) -> Random:
    return Uniform(size * 0.5, size * 1.5)


def _fan_in_of_quantized(use: Use, weight: Held, index: int, survey: Survey) -> float:
    node, scope = use.node, use.scope
    assert node is not None  # noqa: S101 - it has a slot
    slot = f"{use.slot.rpartition('.')[0]}.{index}"
    if slot in FAN_IN:
        return max(FAN_IN[slot](node, weight.dims), 1) if len(weight.dims) > 1 else 1
    output = node.output[0]
    kind = onnx.TensorProto.FLOAT
    later = uses_of(output, scope.home(output), survey, data_type=kind, dims=weight.dims)
    found = next((reader for reader in later if reader.slot in FAN_IN), None)
    return 1 if found is None else _fan_in(found, weight)

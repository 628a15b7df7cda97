"""What exporters write and passes look for: several nodes at once, drawn often."""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto

from onnxfuse.testing.strategies.graph import Draft, Maker
from onnxfuse.testing.strategies.kernels import FLOATS, INTEGERS, types_of
from onnxfuse.testing.strategies.layers import batch_normalization, conv
from onnxfuse.testing.strategies.movement import pad, slice_, transpose

__all__ = ["PATTERNS"]


def slices(g: Draft) -> None:
    """Two to four Slices in a row."""
    value = slice_(g)
    for _ in range(g.integer(1, 3)):
        value = slice_(g, value)


def zero_pad(g: Draft) -> None:
    """A Pad of nothing, mostly in front of something."""
    value = pad(g, zero=True)
    if g.chance(50):
        pad(g, data=value)


def transposes(g: Draft) -> None:
    """Two Transposes in a row, often back again."""
    first = transpose(g)
    perm = list(g.nodes[-1].attribute[0].ints) if g.nodes[-1].attribute else list(range(first.rank))[::-1]
    back = [perm.index(i) for i in range(first.rank)]
    transpose(g, first, back if g.chance(70) else None)


def transposed_softmax(g: Draft) -> None:
    """A Softmax between two Transposes, over the dim that was another."""
    x = g.operand([TensorProto.FLOAT], rank=(2, 4), dims=(2, 3))
    last = x.rank - 1
    swapped = [last, *range(1, last), 0] if x.rank > 1 else [0]
    value = transpose(g, x, swapped)
    value = g.add("Softmax", [value], value.elem_type, value.shape, axis=last)
    transpose(g, value, swapped)


def conv_and_norm(g: Draft) -> None:
    """A Conv with its BatchNormalization."""
    value = conv(g)
    if value.elem_type in types_of("BatchNormalization", g.opset) and value.elements:
        batch_normalization(g, value)


def scaled(g: Draft) -> None:
    """A Mul and an Add by constants, or the two again."""
    x = g.operand([t for t in types_of("Mul", g.opset) if t in types_of("Add", g.opset)])
    channels = [x.shape[1].size] + [1] * (x.rank - 2) if x.rank > 1 and x.shape[1].static else []
    for op_type in g.choice([("Mul", "Add"), ("Mul", "Mul"), ("Add", "Add"), ("Sub", "Mul")]):
        beside = g.constant(g.numbers(x.elem_type, channels), x.elem_type)
        x = g.add(op_type, [x, beside], x.elem_type, x.shape)


def casts(g: Draft) -> None:
    """A Cast there and back."""
    x = g.operand([TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.UINT8])
    there = g.choice([t for t in types_of("Cast", g.opset, "T2") if t in FLOATS | INTEGERS])
    value = g.add("Cast", [x], there, x.shape, to=there)
    g.add("Cast", [value], x.elem_type, x.shape, to=x.elem_type)


def relu_and_clip(g: Draft) -> None:
    """A Relu with a Clip, a Min or a Max behind it."""
    x = g.operand([TensorProto.FLOAT])
    value = g.add("Relu", [x], x.elem_type, x.shape)
    if g.opset < 11:
        g.add("Clip", [value], x.elem_type, x.shape, max=6.0, min=0.0)
    elif g.chance(50):
        bounds = [g.constant(np.array(bound), x.elem_type) for bound in (0, 6)]
        g.add("Clip", [value, *bounds], x.elem_type, x.shape)
    else:
        g.add("Min", [value, g.constant(np.array(6), x.elem_type)], x.elem_type, x.shape)


PATTERNS: Final = (
    Maker("Slice", slices, weight=20),
    Maker("Pad", zero_pad, weight=14, since=2),
    Maker("Transpose", transposes, weight=5),
    Maker("Softmax", transposed_softmax, weight=3),
    Maker("Conv", conv_and_norm, weight=4),
    Maker("Mul", scaled, weight=4, since=7),
    Maker("Cast", casts, weight=4),
    Maker("Relu", relu_and_clip, weight=2, since=7),
)

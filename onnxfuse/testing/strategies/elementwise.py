"""Nodes that work on each element, with and without broadcasting."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
from onnx import TensorProto

from onnxfuse.testing.strategies.graph import Draft, Maker, Shape, Value, broadcast, fixed
from onnxfuse.testing.strategies.kernels import EXOTIC, FLOATS, INTEGERS, types_of

__all__ = ["ELEMENTWISE"]

UNARY: Final = (
    *("Identity", "Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Exp", "Sqrt", "Floor", "Ceil", "Reciprocal", "Log"),
    *("Softplus", "Softsign", "Erf", "Sign", "Not", "Round", "Sin", "Cos", "Atan", "HardSwish", "Mish", "Gelu"),
    *("IsNaN", "IsInf"),
)
PARAMETRIC: Final = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "Celu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
BINARY: Final = ("Add", "Mul", "Sub", "Div", "Max", "Min", "Pow", "PRelu", "Mod", "And", "Or", "Xor")
COMPARING: Final = ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
SHIFTS: Final = ("BitShift",)


def unary(g: Draft, op_type: str) -> None:
    """A node of one input."""
    types = types_of(op_type, g.opset, {"IsNaN": "T1", "IsInf": "T1", "Identity": "V"}.get(op_type, "T"))
    types = types or types_of(op_type, g.opset)
    x = g.operand(types, empty=True)
    g.add(op_type, [x], TensorProto.BOOL if op_type.startswith("Is") else x.elem_type, x.shape)


def parametric(g: Draft, op_type: str) -> None:
    """A node of one input, with numbers as attributes."""
    x = g.operand(types_of(op_type, g.opset))
    given = {name: g.choice([0.5, 0.25, 1.0, 2.0]) for name in PARAMETRIC[op_type] if g.chance(70)}
    g.add(op_type, [x], x.elem_type, x.shape, **given)


def partner(g: Draft, x: Value, *, constant: bool = False) -> tuple[Value, Shape]:
    """Draws what stands beside `x` in a broadcasting node, and the common shape."""
    found = [] if constant else [v for v in g.visible() if v.elem_type == x.elem_type and broadcast(x.shape, v.shape)]
    if found and not g.chance(50):
        other = found[g.integer(0, min(len(found), 8) - 1)]
        shape = broadcast(x.shape, other.shape)
        if shape is not None and int(np.prod([axis.size for axis in shape])) <= 1500:
            return other, shape
    kept = x.shape[g.integer(0, x.rank) :] if x.rank else ()
    sizes = [axis.size if axis.static and g.chance(50) else 1 for axis in kept]
    if sizes and g.chance(10):
        sizes = [1] * (1 + x.rank - len(sizes)) + sizes  # a constant of a greater rank
    other = g.constant(_beside(g, x.elem_type, sizes, constant), x.elem_type, overridable=g.chance(10) and not constant)
    shape = broadcast(x.shape, other.shape)
    if shape is None:
        raise AssertionError(f"{other} does not fit {x}")
    return other, shape


def _beside(g: Draft, elem_type: int, sizes: list[int], divisor: bool) -> np.ndarray:
    # An integer division by 0, or of the smallest integer by -1, ends the process.
    return np.full(sizes, g.choice([1, 2, 3])) if divisor else g.numbers(elem_type, sizes)


def binary(g: Draft, op_type: str) -> None:
    """A node of two inputs that are broadcast."""
    types = tuple(t for t in types_of(op_type, g.opset) if op_type != "Pow" or t in FLOATS)
    x = g.operand(types)
    if op_type == "PRelu":
        sizes = [x.shape[1].size if x.rank > 1 and x.shape[1].static else 1] + [1] * max(x.rank - 2, 0)
        slope = g.constant(g.numbers(x.elem_type, sizes), x.elem_type)
        if broadcast(x.shape, slope.shape) == x.shape:
            g.add(op_type, [x, slope], x.elem_type, x.shape)
        else:
            g.add("Identity", [x], x.elem_type, x.shape)
        return
    dividing = op_type in ("Div", "Mod") and x.elem_type in INTEGERS
    other, shape = partner(g, x, constant=dividing)
    operands = [other, x] if not dividing and g.chance(30) else [x, other]
    fmod = 1 if op_type == "Mod" and x.elem_type in FLOATS else None
    g.add(op_type, operands, x.elem_type, shape, fmod=fmod)


def comparing(g: Draft, op_type: str) -> None:
    """A node that compares two inputs."""
    x = g.operand(t for t in types_of(op_type, g.opset) if t != TensorProto.STRING)
    other, shape = partner(g, x)
    g.add(op_type, [x, other], TensorProto.BOOL, shape)


def shift(g: Draft, op_type: str) -> None:
    """A shift by a constant."""
    x = g.operand(types_of(op_type, g.opset))
    by = g.constant(np.array(g.integer(0, 3)), x.elem_type)
    g.add(op_type, [x, by], x.elem_type, x.shape, direction=g.choice(["LEFT", "RIGHT"]))


def several(g: Draft, op_type: str) -> None:
    """A node of one to three inputs."""
    x = g.operand(types_of(op_type, g.opset))
    operands, shape = [x], x.shape
    for _ in range(g.integer(0, 2)):
        other, shape = partner(g, Value("", x.elem_type, shape))
        operands.append(other)
    g.add(op_type, operands, x.elem_type, shape)


def cast(g: Draft) -> None:
    """A Cast; not of strings, since not each of them is a number."""
    sources = [t for t in types_of("Cast", g.opset, "T1") if t != TensorProto.STRING]
    x = g.operand(sources)
    targets = types_of("Cast", g.opset, "T2")
    if x.elem_type in EXOTIC:
        targets = (TensorProto.FLOAT,)
    elif x.elem_type in FLOATS:
        targets = tuple(t for t in targets if t != TensorProto.STRING)
    to = g.choice(targets)
    g.add("Cast", [x], to, x.shape, to=to)


def clip(g: Draft) -> None:
    """A Clip, its bounds as attributes or inputs."""
    x = g.operand(types_of("Clip", g.opset))
    low, high = (g.integer(0, 2) if g.chance(70) else None for _ in range(2))
    high = high if high is None or low is None else low + high
    if g.opset < 11:
        given = {name: float(bound) for name, bound in (("min", low), ("max", high)) if bound is not None}
        g.add("Clip", [x], x.elem_type, x.shape, **given)
        return
    bounds = [None if bound is None else g.constant(np.array(bound), x.elem_type) for bound in (low, high)]
    g.add("Clip", [x, *bounds], x.elem_type, x.shape)


def where(g: Draft) -> None:
    """A Where on a condition that is compared, or given."""
    x = g.operand(types_of("Where", g.opset))
    other, shape = partner(g, x)
    condition = g.operand([TensorProto.BOOL], where=lambda value: broadcast(value.shape, shape) == shape)
    if broadcast(condition.shape, shape) != shape:  # it is new
        condition = g.constant(g.numbers(TensorProto.BOOL, []), TensorProto.BOOL)
    g.add("Where", [condition, x, other], x.elem_type, shape)


def quantize(g: Draft) -> None:
    """A QuantizeLinear, mostly with the DequantizeLinear behind it."""
    x = g.operand([TensorProto.FLOAT])
    scale = g.constant(np.array(g.choice([0.5, 1.0, 0.1])), TensorProto.FLOAT, plain=True)
    to = g.choice([TensorProto.UINT8, TensorProto.INT8])
    zero = g.constant(np.array(g.integer(0, 9)), to, plain=True)
    quantized = g.add("QuantizeLinear", [x, scale, zero], to, x.shape)
    if g.chance(80):
        g.add("DequantizeLinear", [quantized, scale, zero], TensorProto.FLOAT, x.shape)


def dropout(g: Draft) -> None:
    """A Dropout that drops nothing, with its mask or without."""
    x = g.operand(types_of("Dropout", g.opset))
    outputs = [(x.elem_type, x.shape)]
    if g.opset < 12:
        g.add_several("Dropout", [x], outputs, ratio=0.5 if g.chance(50) else None)
        return
    ratio = g.constant(np.array(0.5), TensorProto.FLOAT) if g.chance(50) else None
    training = g.constant(np.array(False), TensorProto.BOOL) if g.chance(30) else None
    if g.chance(30):
        outputs.append((TensorProto.BOOL, x.shape))
    g.add_several("Dropout", [x, ratio, training], outputs)


def shape_of(g: Draft) -> None:
    """A Shape, in part from opset 15 on."""
    x = g.operand(types_of("Shape", g.opset), empty=True)
    start, end = 0, x.rank
    given = {}
    if g.opset >= 15 and g.chance(50):
        start, end = sorted((g.integer(0, x.rank), g.integer(0, x.rank)))
        given = {"start": start, "end": end}
    g.add("Shape", [x], TensorProto.INT64, fixed(end - start), **given)


ELEMENTWISE: Final = (
    *(Maker(name, partial(unary, op_type=name), weight=3 if name == "Identity" else 1) for name in UNARY),
    *(Maker(name, partial(parametric, op_type=name)) for name in PARAMETRIC),
    *(
        Maker(
            name,
            partial(binary, op_type=name),
            weight=4 if name in ("Add", "Mul") else 1,
            since=8 if name in ("Max", "Min") else 7,
        )
        for name in BINARY
    ),
    *(Maker(name, partial(comparing, op_type=name)) for name in COMPARING),
    *(Maker(name, partial(shift, op_type=name)) for name in SHIFTS),
    *(Maker(name, partial(several, op_type=name), since=8) for name in ("Sum", "Mean")),
    Maker("Cast", cast, weight=4),
    Maker("Clip", clip, weight=3),
    Maker("Where", where, weight=2),
    Maker("QuantizeLinear", quantize, weight=2),
    Maker("Dropout", dropout, weight=2),
    Maker("Shape", shape_of, weight=2),
)

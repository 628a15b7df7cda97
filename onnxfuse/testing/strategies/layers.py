"""Nodes that compute over several elements: convolutions, pools, norms, reductions."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from onnxfuse.testing.strategies.graph import Axis, Draft, Maker, Value, broadcast
from onnxfuse.testing.strategies.kernels import FLOATS, types_of
from onnxfuse.testing.strategies.movement import axis_of, changed, some_axes

__all__ = ["LAYERS", "batch_normalization", "conv"]

REDUCTIONS: Final = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"),
    *("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
)


def floats(op_type: str, opset: int) -> list[int]:
    """Returns the float types of an operator."""
    return [t for t in types_of(op_type, opset) if t in FLOATS]


def image(g: Draft, op_type: str, least: int = 1) -> Value:
    """Draws a batch of images or signals: the channels are known, and nothing is empty."""
    return g.operand(
        floats(op_type, g.opset),
        rank=(3, 4),
        dims=(None, g.choice([2, 4, 1, 3]), 4),
        where=lambda v: v.shape[1].static and all(a.size >= least for a in v.shape[2:]),
    )


def weights(g: Draft, x: Value, sizes: list[int], *, positive: bool = False) -> Value:
    """Adds random weights from a seed."""
    array = np.random.default_rng(g.integer(0, 99)).normal(size=sizes)
    return g.constant(np.abs(array) + 0.5 if positive else array, x.elem_type, overridable=g.chance(5))


def window(g: Draft, x: Value, *, dilated: bool) -> tuple[dict[str, Any], list[int], list[int]]:
    """Draws a sliding window that fits; returns its attributes, its sizes, and the sizes of what comes out."""
    kernel = [g.integer(1, min(3, axis.size)) for axis in x.shape[2:]]
    strides = [g.integer(1, 2) for _ in kernel] if g.chance(50) else None
    dilations = [g.integer(1, 2) for _ in kernel] if dilated and g.chance(20) else None
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations or [1] * len(kernel), strict=True)]
    if any(r > axis.size for r, axis in zip(reach, x.shape[2:], strict=True)):
        dilations, reach = None, kernel
    pads = [g.integer(0, max(k - 1, 0)) for k in kernel * 2] if g.chance(50) else None
    sizes = []
    for i, axis in enumerate(x.shape[2:]):
        total = axis.size + (pads[i] + pads[i + len(kernel)] if pads else 0)
        sizes.append((total - reach[i]) // (strides[i] if strides else 1) + 1)
    given: dict[str, Any] = {"strides": strides, "pads": pads, "dilations": dilations}
    if pads is None and dilations is None and g.chance(20):
        given["auto_pad"] = "SAME_UPPER"
        sizes = [-(-axis.size // (strides[i] if strides else 1)) for i, axis in enumerate(x.shape[2:])]
    return given, kernel, sizes


def conv(g: Draft) -> Value:
    """A Conv over one or two dims, in groups or not."""
    x = image(g, "Conv")
    given, kernel, sizes = window(g, x, dilated=True)
    channels = x.shape[1].size
    group = g.choice([1, channels])
    made = group * g.integer(1, 2)
    operands = [x, weights(g, x, [made, channels // group, *kernel])]
    if g.chance(60):
        operands.append(weights(g, x, [made]))
    shape = (x.shape[0], Axis(made), *map(changed, x.shape[2:], sizes))
    said = kernel if g.chance(70) else None
    return g.add("Conv", operands, x.elem_type, shape, kernel_shape=said, group=group if group > 1 else None, **given)


def conv_transpose(g: Draft) -> None:
    """A ConvTranspose."""
    x = image(g, "ConvTranspose")
    kernel = [g.integer(1, 3) for _ in x.shape[2:]]
    strides = [g.integer(1, 2) for _ in kernel]
    pads = [g.integer(0, (k - 1) // 2) for k in kernel] * 2
    channels = x.shape[1].size
    group = g.choice([1, channels])
    per_group = g.integer(1, 2)
    sizes = [
        strides[i] * (axis.size - 1) + kernel[i] - pads[i] - pads[i + len(kernel)] for i, axis in enumerate(x.shape[2:])
    ]
    shape = (x.shape[0], Axis(per_group * group), *map(changed, x.shape[2:], sizes))
    operands = [x, weights(g, x, [channels, per_group, *kernel])]
    if g.chance(50):
        operands.append(weights(g, x, [per_group * group]))
    g.add("ConvTranspose", operands, x.elem_type, shape, group=group, strides=strides, pads=pads)


def batch_normalization(g: Draft, data: Value | None = None) -> None:
    """A BatchNormalization in inference."""
    x = data or g.operand(
        floats("BatchNormalization", g.opset),
        rank=(2, 4),
        dims=(None, 3),
        where=lambda v: v.rank > 1 and v.shape[1].static,
    )
    channels = x.shape[1].size
    statistics = [weights(g, x, [channels], positive=index in (0, 3)) for index in range(4)]
    epsilon = g.choice([None, 1e-3, 0.0])
    g.add("BatchNormalization", [x, *statistics], x.elem_type, x.shape, epsilon=epsilon)


def instance_normalization(g: Draft) -> None:
    """An InstanceNormalization."""
    x = image(g, "InstanceNormalization")
    scale, bias = (weights(g, x, [x.shape[1].size]) for _ in range(2))
    g.add("InstanceNormalization", [x, scale, bias], x.elem_type, x.shape)


def layer_normalization(g: Draft) -> None:
    """A LayerNormalization over the last dim, which is known."""
    x = g.operand(
        floats("LayerNormalization", g.opset),
        rank=(1, 4),
        dims=(3,),
        where=lambda v: v.shape[-1].static,
    )
    if not x.shape[-1].static:  # a new value
        return softmax(g, "Softmax")
    scale, bias = (weights(g, x, [x.shape[-1].size]) for _ in range(2))
    operands = [x, scale, bias] if g.chance(70) else [x, scale]
    g.add("LayerNormalization", operands, x.elem_type, x.shape, axis=-1)
    return None


def pool(g: Draft, op_type: str) -> None:
    """A MaxPool or AveragePool."""
    x = image(g, op_type)
    given, kernel, sizes = window(g, x, dilated=False)
    del given["dilations"]
    if op_type == "AveragePool" and g.chance(40):
        given["count_include_pad"] = 1
    shape = (*x.shape[:2], *map(changed, x.shape[2:], sizes))
    g.add(op_type, [x], x.elem_type, shape, kernel_shape=kernel, **given)


def global_pool(g: Draft, op_type: str) -> None:
    """A global pool."""
    x = image(g, op_type)
    g.add(op_type, [x], x.elem_type, (*x.shape[:2], *[Axis(1)] * (x.rank - 2)))


def softmax(g: Draft, op_type: str) -> None:
    """A Softmax; below opset 13 it flattens from its axis on."""
    x = g.operand(floats(op_type, g.opset), rank=(1, 4))
    written, _ = axis_of(g, x.rank)
    default = g.chance(30) and (g.opset >= 13 or x.rank > 1)
    g.add(op_type, [x], x.elem_type, x.shape, axis=None if default else written)


def reduction(g: Draft, op_type: str) -> None:
    """A reduction over some axes, given as attribute or input; or over all."""
    x = g.operand(types_of(op_type, g.opset), rank=(1, 4))
    axes = some_axes(g, x.rank)
    as_input = g.opset >= (13 if op_type == "ReduceSum" else 18)
    keep = g.choice([None, 1, 0])
    everything = len(axes) == x.rank and g.chance(50)
    given: dict[str, Any] = {"keepdims": keep}
    operands: list[Value | None] = [x]
    written = [i - x.rank if g.opset >= 11 and g.chance(30) else i for i in axes]
    if not everything and as_input:
        operands.append(g.integers(written))
    elif not everything:
        given["axes"] = written
    if op_type == "ReduceSum" and everything and as_input and g.chance(20):
        given["noop_with_empty_axes"] = 1
        g.add(op_type, operands, x.elem_type, x.shape, **given)
        return
    shape = tuple(Axis(1) if i in axes else axis for i, axis in enumerate(x.shape) if keep != 0 or i not in axes)
    g.add(op_type, operands, x.elem_type, shape, **given)


def arg(g: Draft, op_type: str) -> None:
    """An ArgMax or ArgMin."""
    x = g.operand(types_of(op_type, g.opset), rank=(1, 4))
    written, axis = axis_of(g, x.rank)
    keep = g.choice([1, 0])
    last = 1 if g.opset >= 12 and g.chance(30) else None
    shape = tuple(Axis(1) if i == axis else a for i, a in enumerate(x.shape) if keep or i != axis)
    g.add(op_type, [x], TensorProto.INT64, shape, axis=written, keepdims=keep, select_last_index=last)


def top_k(g: Draft) -> None:
    """A TopK of one or two of a dim that is known."""
    x = g.operand(types_of("TopK", g.opset), rank=(1, 4))
    axis = x.rank - 1
    count = g.integer(1, min(2, x.shape[axis].size)) if x.shape[axis].static else 1
    shape = (*x.shape[:axis], Axis(count))
    outputs = [(x.elem_type, shape), (TensorProto.INT64, shape)]
    if g.opset < 10:
        g.add_several("TopK", [x], outputs, k=count)
    else:
        largest = 0 if g.opset >= 11 and g.chance(30) else None
        g.add_several("TopK", [x, g.integers([count])], outputs, largest=largest)


def gemm(g: Draft) -> None:
    """A Gemm, with its flags."""
    x = g.operand(floats("Gemm", g.opset), rank=(2, 2), dims=(2, 3), where=lambda v: v.shape[1].static)
    columns = g.integer(1, 3)
    rows = x.shape[1].size
    flipped = g.chance(50)
    operands = [x, weights(g, x, [columns, rows] if flipped else [rows, columns])]
    if g.opset < 11 or g.chance(60):
        operands.append(weights(g, x, g.choice([[columns], [1, columns], [1]])))
    given = {name: g.choice([0.5, 2.0]) for name in ("alpha", "beta") if g.chance(20)}
    g.add("Gemm", operands, x.elem_type, (x.shape[0], Axis(columns)), transB=1 if flipped else None, **given)


def matmul(g: Draft) -> None:
    """A MatMul, by weights or by another value."""
    x = g.operand(types_of("MatMul", g.opset), rank=(2, 4), dims=(None, 3), where=lambda v: v.shape[-1].static)
    if not x.shape[-1].static:  # a new value
        x = g.constant(g.numbers(x.elem_type, [2, 3]), x.elem_type)

    def fits(v: Value) -> bool:
        same = v.elem_type == x.elem_type and v.rank > 1 and v.shape[-2] == x.shape[-1]
        return same and broadcast(x.shape[:-2], v.shape[:-2]) is not None

    others = [v for v in g.visible() if fits(v)]
    if others and g.chance(50):
        other = g.choice(others)
    else:
        other = g.constant(g.numbers(x.elem_type, [x.shape[-1].size, g.integer(1, 3)]), x.elem_type)
    batch = broadcast(x.shape[:-2], other.shape[:-2]) or ()
    g.add("MatMul", [x, other], x.elem_type, (*batch, x.shape[-2], other.shape[-1]))


def resize(g: Draft) -> None:
    """A Resize to twice the size, by scales or sizes."""
    x = g.operand([TensorProto.FLOAT], rank=(4, 4), dims=(1, 2, 2, 2))
    mode = g.choice(["nearest", "linear"])
    scales = g.constant(np.array([1, 1, 2, 2]), TensorProto.FLOAT, plain=True)
    shape = (*x.shape[:2], *(changed(axis, axis.size * 2) for axis in x.shape[2:]))
    if g.opset < 11:
        g.add("Resize", [x, scales], x.elem_type, shape, mode=mode)
        return
    roi = None if g.opset >= 13 else g.constant(np.zeros([0]), TensorProto.FLOAT, plain=True)
    where = g.choice(["asymmetric", "half_pixel", "align_corners"])
    given = {"coordinate_transformation_mode": where}
    if mode == "nearest":
        given["nearest_mode"] = g.choice(["floor", "round_prefer_floor"])
    if all(axis.static for axis in x.shape) and g.chance(30):
        none = None if g.opset >= 13 else g.constant(np.zeros([0]), TensorProto.FLOAT, plain=True)
        sizes = g.constant(np.array([axis.size for axis in shape]), TensorProto.INT64, plain=True)
        g.add("Resize", [x, roi, none, sizes], x.elem_type, shape, mode=mode, **given)
    else:
        g.add("Resize", [x, roi, scales], x.elem_type, shape, mode=mode, **given)


def cumsum(g: Draft) -> None:
    """A CumSum."""
    x = g.operand(types_of("CumSum", g.opset), rank=(1, 4))
    written, _ = axis_of(g, x.rank)
    flags = {name: 1 for name in ("exclusive", "reverse") if g.chance(30)}
    g.add("CumSum", [x, g.constant(np.array(written), TensorProto.INT64)], x.elem_type, x.shape, **flags)


def einsum(g: Draft) -> None:
    """An Einsum of one value: its last dim summed."""
    x = g.operand(floats("Einsum", g.opset), rank=(2, 3))
    letters = "ijk"[: x.rank]
    g.add("Einsum", [x], x.elem_type, x.shape[:-1], equation=f"{letters}->{letters[:-1]}")


LAYERS: Final = (
    Maker("Softmax", partial(softmax, op_type="Softmax"), weight=3),
    Maker("LogSoftmax", partial(softmax, op_type="LogSoftmax")),
    Maker("Conv", conv, weight=3),
    Maker("ConvTranspose", conv_transpose),
    Maker("BatchNormalization", batch_normalization, weight=2),
    Maker("InstanceNormalization", instance_normalization),
    Maker("LayerNormalization", layer_normalization, weight=2),
    *(Maker(name, partial(pool, op_type=name)) for name in ("MaxPool", "AveragePool")),
    *(Maker(name, partial(global_pool, op_type=name)) for name in ("GlobalAveragePool", "GlobalMaxPool")),
    *(Maker(name, partial(reduction, op_type=name)) for name in REDUCTIONS),
    *(Maker(name, partial(arg, op_type=name)) for name in ("ArgMax", "ArgMin")),
    Maker("TopK", top_k),
    Maker("Gemm", gemm, weight=2, since=7),
    Maker("MatMul", matmul, weight=2),
    Maker("Resize", resize),
    Maker("CumSum", cumsum),
    Maker("Einsum", einsum),
)

"""Products and convolutions: merged, reassociated, written as another op."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.verification.float_pairs.draft import Array, Build, Draft, Models, Workshop, ints

__all__ = [
    "attention",
    "average_as_conv",
    "conv1d_as_2d",
    "conv_affine",
    "conv_as_matmul",
    "convs_side_by_side",
    "gemm",
    "gemm_transposed",
    "joined_matmuls",
    "matmul_chain",
    "pad_into_conv",
    "transformer_block",
]


def gemm(*, bias_scale: float = 1.0, beta: float = 1.0, other_beta: float | None = None, rows: int = 16) -> Build:
    """MatMul and Add as Gemm."""

    def make(w: Workshop) -> Models:
        weight, bias = w.kernel(64, 32), w.normal(32, scale=bias_scale)

        def before(g: Draft) -> str:
            added = bias if beta == 1 else beta * bias
            return g("Add", g("MatMul", "x", weight), added)

        def after(g: Draft) -> str:
            return g("Gemm", "x", weight, bias, beta=beta if other_beta is None else other_beta)

        return w.pair({"x": (rows, 64)}, before, after)

    return make


def gemm_transposed(w: Workshop) -> Models:
    """A Transpose of a weight that is computed, absorbed by Gemm."""
    return w.pair(
        {"x": (16, 48), "w": (32, 48)},
        lambda g: g("Gemm", "x", g("Transpose", "w", perm=[1, 0])),
        lambda g: g("Gemm", "x", "w", transB=1),
    )


def matmul_chain(*, folded: bool = True, deep: int = 2) -> Build:
    """((x W1) W2) ... as x (W1 W2 ...), the product computed in advance, or by the model."""

    def make(w: Workshop) -> Models:
        weights = [w.kernel(48, 48) for _ in range(deep)]

        def before(g: Draft) -> str:
            value = "x"
            for weight in weights:
                value = g("MatMul", value, weight)
            return value

        def after(g: Draft) -> str:
            if folded:
                product: Array = np.linalg.multi_dot(weights)
                return g("MatMul", "x", product)
            value: str = g.constant(weights[-1])
            for weight in reversed(weights[:-1]):
                value = g("MatMul", weight, value)
            return g("MatMul", "x", value)

        return w.pair({"x": (2, 16, 48)}, before, after)

    return make


def joined_matmuls(w: Workshop) -> Models:
    """Three products of one input, as in attention, computed as one and split."""
    weights = [w.kernel(48, 32) for _ in range(3)]

    def before(g: Draft) -> str:
        q, k, v = (g("MatMul", "x", weight) for weight in weights)
        return g("Concat", q, g("Tanh", k), v, axis=-1)

    def after(g: Draft) -> str:
        first = g("Split", g("MatMul", "x", np.concatenate(weights, 1)), axis=-1, num_outputs=3, outputs=3)
        q, k, v = (f"{first[:-1]}{index}" for index in range(3))
        return g("Concat", q, g("Tanh", k), v, axis=-1)

    return w.pair({"x": (2, 16, 48)}, before, after)


def attention(
    depth: int = 32,
    *,
    other: int | None = None,
    early: bool = True,
    transposed: bool = False,
    spread: float = 1.0,
    axis: int = -1,
) -> Build:
    """Attention, its scale applied to the scores, or to the queries.

    Args:
        depth: d of 1 / sqrt(d).
        other: d of the second model, where it is to be another.
        early: Whether the second model scales the queries.
        transposed: Whether the second model computes K Q^T, and transposes that.
        spread: Factor of the scores in both.
        axis: Of the second model's Softmax.
    """

    def make(w: Workshop) -> Models:
        def scores(g: Draft, scale: float, *, early: bool, transposed: bool) -> str:
            q = g("Mul", "q", scale) if early else "q"
            if transposed:
                value = g("MatMul", "k", g("Transpose", q, perm=[0, 2, 1]))
                value = g("Transpose", value, perm=[0, 2, 1])
            else:
                value = g("MatMul", q, g("Transpose", "k", perm=[0, 2, 1]))
            return value if early else g("Mul", value, scale)

        def before(g: Draft) -> str:
            value = scores(g, spread / math.sqrt(depth), early=False, transposed=False)
            return g("MatMul", g("Softmax", value, axis=-1), "v")

        def after(g: Draft) -> str:
            value = scores(g, spread / math.sqrt(other or depth), early=early, transposed=transposed)
            return g("MatMul", g("Softmax", value, axis=axis), "v")

        return w.pair(dict.fromkeys("qkv", (4, 12, depth)), before, after)

    return make


def conv_affine(*, add: bool = True, low: float = -1.0, high: float = 1.0) -> Build:
    """Mul and Add by constants, folded into the Conv before them."""

    def make(w: Workshop) -> Models:
        weight, bias = w.kernel(32, 16, 3, 3), w.normal(32, scale=0.1)
        scale, shift = w.powers(low, high, 32, 1, 1), w.normal(32, 1, 1) if add else np.zeros((32, 1, 1))

        def before(g: Draft) -> str:
            value = g("Mul", g("Conv", "x", weight, bias), scale)
            return g("Add", value, shift) if add else value

        def after(g: Draft) -> str:
            return g("Conv", "x", weight * scale[..., None], bias * scale.ravel() + shift.ravel())

        return w.pair({"x": (2, 16, 10, 10)}, before, after)

    return make


def conv1d_as_2d(w: Workshop) -> Models:
    """A Conv over one axis, as one over two of which one has the size 1."""
    weight, bias = w.kernel(32, 16, 5), w.normal(32, scale=0.1)

    def after(g: Draft) -> str:
        wide = g("Unsqueeze", "x", ints(2))
        wide = g("Conv", wide, weight[:, :, None], bias, pads=[0, 2, 0, 2], strides=[1, 2])
        return g("Squeeze", wide, ints(2))

    return w.pair({"x": (2, 16, 24)}, lambda g: g("Conv", "x", weight, bias, pads=[2, 2], strides=[2]), after)


def conv_as_matmul(w: Workshop) -> Models:
    """A 1x1 Conv as a product over the channels."""
    weight, bias = w.kernel(32, 16, 1, 1), w.normal(32, scale=0.1)

    def after(g: Draft) -> str:
        last = g("Transpose", "x", perm=[0, 2, 3, 1])
        product = g("Add", g("MatMul", last, weight[:, :, 0, 0].T), bias)
        return g("Transpose", product, perm=[0, 3, 1, 2])

    return w.pair({"x": (2, 16, 8, 8)}, lambda g: g("Conv", "x", weight, bias), after)


def convs_side_by_side(w: Workshop) -> Models:
    """Two Convs of one input, as one."""
    first, second = w.kernel(16, 8, 3, 3), w.kernel(24, 8, 3, 3)
    return w.pair(
        {"x": (1, 8, 12, 12)},
        lambda g: g("Concat", g("Conv", "x", first), g("Conv", "x", second), axis=1),
        lambda g: g("Conv", "x", np.concatenate([first, second])),
    )


def pad_into_conv(mode: str = "constant", other: str | None = None) -> Build:
    """A Pad with zeros, absorbed by the Conv; or, where `other` is given, kept with another mode."""

    def make(w: Workshop) -> Models:
        weight, bias, pads = w.kernel(16, 8, 3, 3), w.normal(16, scale=0.1), ints(0, 0, 1, 1, 0, 0, 1, 1)

        def padded(g: Draft, mode: str) -> str:
            return g("Conv", g("Pad", "x", pads, mode=mode), weight, bias)

        def after(g: Draft) -> str:
            return padded(g, other) if other else g("Conv", "x", weight, bias, pads=[1, 1, 1, 1])

        return w.pair({"x": (1, 8, 12, 12)}, lambda g: padded(g, mode), after)

    return make


def average_as_conv(weight: float = 1 / 9) -> Build:
    """AveragePool as a Conv of each channel with equal weights."""

    def make(w: Workshop) -> Models:
        return w.pair(
            {"x": (1, 16, 12, 12)},
            lambda g: g("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2]),
            lambda g: g("Conv", "x", np.full((16, 1, 3, 3), weight), group=16, strides=[2, 2]),
        )

    return make


def transformer_block(norm: Callable[[Draft, str, Array, Array], str], gelu: Callable[[Draft, str], str]) -> Build:
    """A whole block: its LayerNormalizations, Gelu and biases rewritten, all at once."""

    def make(w: Workshop) -> Models:
        scales = [(w.normal(32, scale=0.2, mean=1), w.normal(32, scale=0.1)) for _ in range(2)]
        qkv = [w.kernel(32, 32) for _ in range(3)]
        wide, narrow = w.kernel(32, 64), w.kernel(64, 32)
        wide_bias, narrow_bias = w.normal(64, scale=0.1), w.normal(32, scale=0.1)

        def block(g: Draft, norm: Callable[..., str], gelu: Callable[..., str], *, early: bool) -> str:
            normed = norm(g, "x", *scales[0])
            q, k, v = (g("MatMul", normed, weight) for weight in qkv)
            q = g("Mul", q, 32**-0.5) if early else q
            scores = g("MatMul", q, g("Transpose", k, perm=[0, 2, 1]))
            scores = scores if early else g("Mul", scores, 32**-0.5)
            mixed = g("Add", "x", g("MatMul", g("Softmax", scores, axis=-1), v))
            hidden = g("Add", g("MatMul", norm(g, mixed, *scales[1]), wide), wide_bias)
            return g("Add", mixed, g("Add", g("MatMul", gelu(g, hidden), narrow), narrow_bias))

        def plain(g: Draft, value: str, scale: Array, bias: Array) -> str:
            return g("LayerNormalization", value, scale, bias)

        return w.pair(
            {"x": (2, 12, 32)},
            lambda g: block(g, plain, lambda g, v: g("Gelu", v), early=False),
            lambda g: block(g, norm, gelu, early=True),
        )

    return make

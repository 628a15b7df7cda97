"""Layer, instance and batch normalization: taken apart, put together, and folded into what is before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.verification.float_pairs.draft import Array, Build, Draft, Models, Workshop, as_attribute, ints

__all__ = [
    "Fold",
    "after_layer_norm",
    "batch_norm_attribute",
    "channels_swapped",
    "instance_norm",
    "layer_norm",
    "norm_apart",
    "scale_into_matmul",
    "variance",
]


def _layer_norm(g: Draft, value: str, scale: Array, bias: Array, axes: Array, epsilon: float, *, inside: bool) -> str:
    centred = g("Sub", value, g("ReduceMean", value, axes))
    spread = g("ReduceMean", g("Pow", centred, 2.0), axes)
    epsilon = as_attribute(epsilon)
    deviation = g("Sqrt", g("Add", spread, epsilon)) if inside else g("Add", g("Sqrt", spread), epsilon)
    return g("Add", g("Mul", g("Div", centred, deviation), scale), bias)


def norm_apart(g: Draft, value: str, scale: Array, bias: Array) -> str:
    """LayerNormalization of the last axis, as exporters wrote it before there was an op."""
    return _layer_norm(g, value, scale, bias, ints(-1), 1e-5, inside=True)


def layer_norm(
    shape: tuple[int, ...] = (2, 16, 64),
    first: int = -1,
    epsilon: float = 1e-5,
    *,
    other: float | None = None,
    inside: bool = True,
    reverse: bool = False,
    small: float = 1.0,
) -> Build:
    """Decomposed LayerNormalization and the op.

    Args:
        shape: Of the input.
        first: First axis that is normalized.
        epsilon: Of the decomposed one.
        other: Of the op, where it is to be another.
        inside: Whether epsilon is under the square root.
        reverse: The op first.
        small: Factor of the input, which makes epsilon matter more.
    """

    def make(w: Workshop) -> Models:
        scale, bias = w.normal(*shape[first:], scale=0.2, mean=1), w.normal(*shape[first:], scale=0.1)
        axes = ints(*range(first, 0)) if first < 0 else ints(*range(first, len(shape)))

        def apart(g: Draft) -> str:
            value = g("Mul", "x", small) if small != 1 else "x"
            return _layer_norm(g, value, scale, bias, axes, epsilon, inside=inside)

        def together(g: Draft) -> str:
            value = g("Mul", "x", small) if small != 1 else "x"
            return g("LayerNormalization", value, scale, bias, axis=first, epsilon=other or epsilon)

        return w.pair({"x": shape}, *((together, apart) if reverse else (apart, together)))

    return make


def after_layer_norm(w: Workshop) -> Models:
    """The scale and bias of a LayerNormalization moved into the MatMul after it."""
    scale, bias = w.normal(64, scale=0.2, mean=1), w.normal(64, scale=0.1)
    weight = w.kernel(64, 48)

    def before(g: Draft) -> str:
        return g("MatMul", g("LayerNormalization", "x", scale, bias), weight)

    def after(g: Draft) -> str:
        plain = g("LayerNormalization", "x", np.ones(64))
        return g("Add", g("MatMul", plain, scale[:, None] * weight), bias @ weight)

    return w.pair({"x": (2, 16, 64)}, before, after)


def instance_norm(epsilon: float = 1e-5, other: float | None = None) -> Build:
    """Decomposed InstanceNormalization and the op."""

    def make(w: Workshop) -> Models:
        scale, bias = w.normal(16, scale=0.2, mean=1), w.normal(16, scale=0.1)

        def before(g: Draft) -> str:
            wide = scale.reshape(16, 1, 1), bias.reshape(16, 1, 1)
            return _layer_norm(g, "x", wide[0], wide[1], ints(2, 3), epsilon, inside=True)

        def after(g: Draft) -> str:
            return g("InstanceNormalization", "x", scale, bias, epsilon=other or epsilon)

        return w.pair({"x": (2, 16, 12, 12)}, before, after)

    return make


def variance(after: Callable[[Draft, str, Array], str]) -> Build:
    """The variance over the last axis, its mean of squares written in another way."""

    def make(w: Workshop) -> Models:
        def centred(g: Draft) -> str:
            return g("Sub", "x", g("ReduceMean", "x", ints(-1)))

        return w.pair(
            {"x": (2, 16, 48)},
            lambda g: g("ReduceMean", g("Pow", centred(g), 2.0), ints(-1)),
            lambda g: after(g, centred(g), ints(-1)),
        )

    return make


def scale_into_matmul(w: Workshop) -> Models:
    """(x W) * s + b as one Gemm."""
    weight, scale, bias = w.kernel(64, 32), w.powers(-3, 3, 32), w.normal(32)
    return w.pair(
        {"x": (16, 64)},
        lambda g: g("Add", g("Mul", g("MatMul", "x", weight), scale), bias),
        lambda g: g("Gemm", "x", weight * scale, bias),
    )


def batch_norm_attribute(w: Workshop) -> Models:
    """Another momentum, which only training reads."""
    parameters = [w.uniform(0.5, 1.5, 16) for _ in range(4)]
    return w.pair(
        {"x": (2, 16, 8, 8)},
        lambda g: g("BatchNormalization", "x", *parameters, momentum=0.9),
        lambda g: g("BatchNormalization", "x", *parameters, momentum=0.99),
    )


def channels_swapped(w: Workshop) -> Models:
    """Mean and variance of a BatchNormalization swapped, which are nearly the same."""
    gamma, beta = w.uniform(0.5, 1.5, 16), w.normal(16)
    mean = w.uniform(0.9, 1.1, 16)
    spread = w.rounded(mean * (1 + 1e-4 * w.rng.standard_normal(16)))
    return w.pair(
        {"x": (2, 16, 8, 8)},
        lambda g: g("BatchNormalization", "x", gamma, beta, mean, spread),
        lambda g: g("BatchNormalization", "x", gamma, beta, spread, mean),
    )


# What is done to the folded weight and bias before they are put in.
Fault = Callable[[Array, Array, Workshop], None]
Tail = Callable[[Draft, str], str]


@dataclass(frozen=True)
class Fold:
    """BatchNormalization folded into the Conv before it; calling it builds the pair.

    Attributes:
        channels: In and out.
        group: Of the Conv.
        bias: Whether the Conv has one.
        gamma: Draws the scale.
        spread: Draws the variance.
        epsilon: Of the BatchNormalization.
        folded_epsilon: Of the fold, where it is another.
        precision: The type the fold is computed in; None for that of the model.
        scaled_bias: Whether the fold scales the bias of the Conv, as it must.
        fault: Changes the folded weight and bias.
        transposed: ConvTranspose in place of Conv.
        blocks: How many of them stand in a row, with Relu between.
        tail: What follows.
        size: Height and width.
    """

    channels: tuple[int, int] = (16, 32)
    group: int = 1
    bias: bool = True
    gamma: Callable[[Workshop, int], Array] = lambda w, n: w.uniform(0.5, 1.5, n)
    spread: Callable[[Workshop, int], Array] = lambda w, n: w.uniform(0.5, 1.5, n)
    epsilon: float = 1e-5
    folded_epsilon: float | None = None
    precision: Any = np.float64
    scaled_bias: bool = True
    fault: Fault | None = None
    transposed: bool = False
    blocks: int = 1
    faulty_block: int = 0
    tail: Tail = lambda g, value: value
    size: int = 10

    def but(self, **changes: Any) -> Fold:
        """Returns the fold with other attributes."""
        return replace(self, **changes)

    def __call__(self, w: Workshop) -> Models:
        into, out = self.channels
        drawn = [self._draw(w, into if index == 0 else out, out) for index in range(self.blocks)]
        folded = [self._folded(w, *block, index == self.faulty_block) for index, block in enumerate(drawn)]
        op = "ConvTranspose" if self.transposed else "Conv"

        def before(g: Draft) -> str:
            value = "x"
            for index, (weight, bias, parameters) in enumerate(drawn):
                value = g("Relu", value) if index else value
                operands = [weight, bias] if self.bias else [weight]
                value = g(op, value, *operands, group=self.group, pads=[1, 1, 1, 1])
                value = g("BatchNormalization", value, *parameters, epsilon=self.epsilon)
            return self.tail(g, value)

        def after(g: Draft) -> str:
            value = "x"
            for index, (weight, bias) in enumerate(folded):
                value = g("Relu", value) if index else value
                value = g(op, value, weight, bias, group=self.group, pads=[1, 1, 1, 1])
            return self.tail(g, value)

        return w.pair({"x": (2, into, self.size, self.size)}, before, after)

    def _draw(self, w: Workshop, into: int, out: int) -> tuple[Array, Array, list[Array]]:
        weight = w.kernel(out, into // self.group, 3, 3)
        if self.transposed:
            weight = w.kernel(into, out // self.group, 3, 3)
        bias = w.normal(out, scale=0.1) if self.bias else np.zeros(out)
        gamma, spread = self.gamma(w, out), self.spread(w, out)
        return weight, bias, [gamma, w.normal(out, scale=0.1), w.normal(out, scale=0.2), spread]

    def _folded(
        self, w: Workshop, weight: Array, bias: Array, parameters: list[Array], faulty: bool
    ) -> tuple[Array, Array]:
        kind = np.dtype(self.precision or w.dtype)
        epsilon = self.epsilon if self.folded_epsilon is None or not faulty else self.folded_epsilon
        with np.errstate(over="ignore"):
            weight, bias, gamma, beta, mean, spread = (array.astype(kind) for array in (weight, bias, *parameters))
            scale = gamma / np.sqrt(spread + np.asarray(as_attribute(epsilon), kind))
            if self.transposed:
                grouped = scale.reshape(self.group, 1, -1, 1, 1)
                new = (weight.reshape(self.group, -1, *weight.shape[1:]) * grouped).reshape(weight.shape)
            else:
                new = weight * scale[:, None, None, None]
            shift = (bias - mean) * scale + beta if self.scaled_bias else bias - mean * scale + beta
        result = new.astype(np.float64), shift.astype(np.float64)
        if self.fault is not None and faulty:
            self.fault(*result, w)
        return result

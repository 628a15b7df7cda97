"""Activations and arithmetic, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.verification.float_pairs.draft import Array, Build, Draft, Models, Workshop, as_attribute

__all__ = ["Write", "chain", "erf_as_tanh", "gelu_apart", "gelu_tanh", "of_conv", "on", "prelu"]

Write = Callable[[Draft], str]


def on(shape: tuple[int, ...], before: Write, after: Write) -> Build:
    """Two ways to write a function of `x`."""
    return lambda w: w.pair({"x": shape}, before, after)


def of_conv(before: Callable[[Draft, str], str], after: Callable[[Draft, str], str], channels: int = 16) -> Build:
    """Two ways to write a function of what a Conv computes, as it stands in a model."""

    def make(w: Workshop) -> Models:
        weight, bias = w.kernel(channels, 8, 3, 3), w.normal(channels, scale=0.1)

        def written(function: Callable[[Draft, str], str]) -> Write:
            return lambda g: function(g, g("Conv", "x", weight, bias, pads=[1, 1, 1, 1]))

        return w.pair({"x": (1, 8, 12, 12)}, written(before), written(after))

    return make


def gelu_apart(g: Draft, value: str, erf: Callable[[Draft, str], str] = lambda g, v: g("Erf", v)) -> str:
    """0.5 x (1 + erf(x / sqrt 2)), as exporters write it."""
    one = g("Add", erf(g, g("Div", value, math.sqrt(2))), 1.0)
    return g("Mul", g("Mul", value, one), 0.5)


def gelu_tanh(g: Draft, value: str) -> str:
    """The approximation of Gelu by tanh, decomposed."""
    cubed = g("Mul", g("Mul", g("Mul", value, value), value), as_attribute(0.044715))
    inner = g("Mul", g("Add", value, cubed), math.sqrt(as_attribute(2 / math.pi)))
    return g("Mul", g("Mul", value, g("Add", g("Tanh", inner), 1.0)), 0.5)


def erf_as_tanh(g: Draft, value: str) -> str:
    """Erf by a tanh of a cubic, right to about 4e-4."""
    cubed = g("Mul", g("Mul", g("Mul", value, value), value), 0.1009110)
    return g("Tanh", g("Add", g("Mul", value, 2 / math.sqrt(math.pi)), cubed))


def chain(op_type: str, count: int = 3, *, folded: bool = True, low: float = 0.5, high: float = 2.0) -> Build:
    """((x . a) . b) . c, and x . (a . b . c) with the constants put together."""

    def make(w: Workshop) -> Models:
        constants = [w.uniform(low, high, 16, 1, 1) for _ in range(count)]
        together: Array = np.sum(constants, axis=0) if op_type == "Add" else np.prod(constants, axis=0)

        def before(g: Draft) -> str:
            value = "x"
            for array in constants:
                value = g(op_type, value, array)
            return value

        def after(g: Draft) -> str:
            if folded:
                return g(op_type, "x", together)
            value: str = g.constant(constants[0])
            for array in constants[1:]:
                value = g(op_type, value, array)
            return g(op_type, "x", value)

        return w.pair({"x": (2, 16, 8, 8)}, before, after)

    return make


def prelu(changed: float | None = None) -> Build:
    """PRelu as Relu(x) - slope Relu(-x)."""

    def make(w: Workshop) -> Models:
        slope = w.normal(16, 1, 1, scale=0.05, mean=0.25)
        other = slope.copy()
        if changed is not None:
            other[5] += changed

        def after(g: Draft) -> str:
            return g("Sub", g("Relu", "x"), g("Mul", g("Relu", g("Neg", "x")), other))

        return w.pair({"x": (2, 16, 8, 8)}, lambda g: g("PRelu", "x", slope), after)

    return make

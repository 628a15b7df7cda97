"""Wrong rewrites of float models, of small effect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from ml_dtypes import bfloat16

from tests.verification.float_pairs.draft import Array, Build, Draft, Models, Pair, Workshop, ints, wrong
from tests.verification.float_pairs.elementwise import erf_as_tanh, gelu_apart, of_conv, on, prelu
from tests.verification.float_pairs.linear import attention, average_as_conv, gemm, pad_into_conv, transformer_block
from tests.verification.float_pairs.normalizations import (
    Fold,
    channels_swapped,
    instance_norm,
    layer_norm,
    norm_apart,
    variance,
)

__all__ = ["WRONG"]

IMAGE: Final = (2, 16, 8, 8)
FINE: Final = float(np.nextafter(np.float32(0.05), np.float32(1)))


def _lost_bias(weight: Array, bias: Array, w: Workshop) -> None:
    bias[7] = 0


def _last_channel_unfolded(weight: Array, bias: Array, w: Workshop) -> None:
    weight[-1] *= 1.01


def _one_weight(weight: Array, bias: Array, w: Workshop) -> None:
    weight[5, 3, 1, 2] += 1e-3


def _one_weight_barely(weight: Array, bias: Array, w: Workshop) -> None:
    weight[5, 3, 1, 2] *= 1 + 2**-22


def _one_sign(weight: Array, bias: Array, w: Workshop) -> None:
    flat = np.abs(weight).ravel()
    weight.ravel()[np.argsort(flat)[flat.size // 20]] *= -1  # one of the small ones


def _near_uniform(axis: int, scale: float) -> Callable[[Draft], str]:
    return lambda g: g("Softmax", g("Mul", "x", scale), axis=axis)


def _pooled(**attributes: Any) -> Callable[[Draft, str], str]:
    return lambda g, value: g("GlobalAveragePool", g("AveragePool", value, **attributes))


def _resized(**attributes: Any) -> Callable[[Draft], str]:
    return lambda g: g("Resize", "x", "", "", ints(1, 8, 16, 16), mode="linear", **attributes)


def _halved(round_: Callable[[Draft, str], str]) -> Callable[[Draft], str]:
    return lambda g: g("Mul", round_(g, g("Mul", "x", 0.5)), 2.0)


def _smooth(start: int) -> Callable[[Draft], str]:
    """A window of what is nearly constant over the last axis."""

    def write(g: Draft) -> str:
        ramp = 1 + 1e-4 * np.arange(32)
        return g("Slice", g("Mul", g("ReduceMean", "x", ints(-1)), ramp), ints(start), ints(start + 16), ints(-1))

    return write


def _through_float32(w: Workshop) -> Models:
    weight = w.kernel(64, 32)

    def after(g: Draft) -> str:
        narrow = g("MatMul", g.cast("x", np.float32), g.cast(g.constant(weight), np.float32))
        return g.cast(narrow, g.dtype)

    return w.pair({"x": (8, 64)}, lambda g: g("MatMul", "x", weight), after)


def _small_branch(w: Workshop) -> Models:
    weight = w.kernel(16, 16, 3, 3)

    def before(g: Draft) -> str:
        return g("Add", "x", g("Mul", g("Conv", "x", weight, pads=[1, 1, 1, 1]), 1e-4))

    return w.pair({"x": (1, 16, 8, 8)}, before, lambda g: g("Add", "x", 0.0))


def _quantized(scale: float) -> Callable[[Draft], str]:
    def write(g: Draft) -> str:
        quantized = g("QuantizeLinear", g.quantizable("x"), np.float32(0.05), np.int8(3))
        return g("DequantizeLinear", quantized, np.float32(scale), np.int8(3))

    return write


def _masked(penalty: float) -> Callable[[Draft], str]:
    """Softmax over scores of which the second half is masked; in the last row, all are."""
    mask = np.zeros((16, 48), bool)
    mask[:, 24:] = mask[-1] = True
    return lambda g: g("Softmax", g("Add", "x", np.where(mask, penalty, 0.0)), axis=-1)


def _log(epsilon: float) -> Callable[[Draft], str]:
    return lambda g: g("Log", g("Add", g("Mul", "x", "x"), epsilon))


def _unary(op_type: str, **attributes: Any) -> Callable[[Draft, str], str]:
    return lambda g, value: g(op_type, value, **attributes)


def _clipped(high: float) -> Callable[[Draft, str], str]:
    return lambda g, value: g("Clip", g("Mul", value, 3.0), 0.0, high)


def _swish(sixth: float) -> Callable[[Draft], str]:
    return lambda g: g("Mul", "x", g("HardSigmoid", "x", alpha=sixth, beta=0.5))


def _norm_epsilon(epsilon: float) -> Callable[[Draft, str, Array, Array], str]:
    return lambda g, value, scale, bias: g("LayerNormalization", value, scale, bias, epsilon=epsilon)


def _fold(fault: Callable[[Array, Array, Workshop], None], **changes: Any) -> Build:
    return Fold(fault=fault, **changes)


def _gelu(g: Draft, value: str) -> str:
    return g("Gelu", value)


WRONG: Final[tuple[Pair, ...]] = (
    wrong("layer-norm, epsilon 1e-5 to 1e-4", layer_norm(other=1e-4)),
    wrong("layer-norm, epsilon 1e-5 to 1e-6", layer_norm(other=1e-6)),
    wrong("layer-norm of small values, epsilon 1e-5 to 1.1e-5", layer_norm(other=1.1e-5, small=1e-2)),
    wrong("layer-norm, epsilon outside the root", layer_norm(inside=False)),
    wrong("instance-norm, epsilon 1e-5 to 1e-3", instance_norm(other=1e-3)),
    wrong("variance of n - 1", variance(lambda g, v, axes: g("Div", g("ReduceSumSquare", v, axes), 47.0))),
    wrong("batch-norm into Conv, epsilon 1e-5 to 1e-4", Fold(folded_epsilon=1e-4)),
    wrong("batch-norm into Conv, epsilon 1e-5 to 1.1e-5", Fold(folded_epsilon=1.1e-5), below_resolution=True),
    wrong("batch-norm into Conv, epsilon dropped", Fold(folded_epsilon=0.0)),
    wrong(
        "batch-norm into Conv, 3rd of 8, epsilon 1e-3 to 1e-5",
        Fold(channels=(16, 16), blocks=8, faulty_block=2, epsilon=1e-3, folded_epsilon=1e-5),
    ),
    wrong("batch-norm into Conv, the bias of one channel lost", _fold(_lost_bias)),
    wrong(
        "batch-norm into Conv, the Conv's bias not scaled",
        Fold(
            scaled_bias=False, gamma=lambda w, n: w.uniform(0.98, 1.02, n), spread=lambda w, n: w.uniform(0.99, 1.01, n)
        ),
    ),
    wrong("batch-norm into Conv, the last channel 1 % off", _fold(_last_channel_unfolded)),
    wrong("batch-norm into Conv, one weight off by 1e-3", _fold(_one_weight)),
    wrong("batch-norm into Conv, one weight off by 2 ulp", _fold(_one_weight_barely), below_resolution=True),
    wrong("batch-norm into Conv, one small weight negated", _fold(_one_sign)),
    wrong("batch-norm into Conv, computed in float16", Fold(precision=np.float16)),
    wrong("batch-norm into Conv, computed in bfloat16", Fold(precision=bfloat16)),
    wrong("batch-norm, mean and variance swapped", channels_swapped),
    wrong("batch-norm into Conv, float16, epsilon 1e-5 to 1e-2", Fold(folded_epsilon=1e-2), dtype=np.float16),
    wrong("Gemm, beta lost", gemm(bias_scale=1e-4, beta=0.5, other_beta=1.0)),
    wrong("Gemm, float16, beta lost", gemm(bias_scale=1e-1, beta=0.5, other_beta=1.0), dtype=np.float16),
    wrong("a branch of 1e-4 lost", _small_branch),
    wrong("MatMul of doubles in float32", _through_float32, dtype=np.float64),
    wrong("attention, 1/sqrt(64) to 1/sqrt(65)", attention(64, other=65)),
    wrong(
        "attention, scores near 0, Softmax over the other axis",
        attention(spread=1e-3, axis=1, early=False),
        "uniform rows come near uniform columns",
    ),
    wrong("Softmax near 0, over the other axis", on((4, 12, 12), _near_uniform(-1, 1e-3), _near_uniform(1, 1e-3))),
    wrong("Softmax over another axis of that length", on((4, 12, 12), _near_uniform(-1, 1.0), _near_uniform(1, 1.0))),
    wrong(
        "Softmax, mask of -1e4 for -1e9",
        on((16, 48), _masked(-1e9), _masked(-1e4)),
        "the same but for rows that are all masked",
    ),
    wrong("transformer block, epsilon 1e-5 to 1e-4", transformer_block(_norm_epsilon(1e-4), _gelu)),
    wrong(
        "transformer block, Gelu by tanh", transformer_block(norm_apart, lambda g, v: g("Gelu", v, approximate="tanh"))
    ),
    wrong("Gelu by tanh", of_conv(gelu_apart, _unary("Gelu", approximate="tanh"))),
    wrong("Gelu by tanh, from the op", of_conv(_unary("Gelu"), _unary("Gelu", approximate="tanh"))),
    wrong("Erf by tanh", of_conv(gelu_apart, lambda g, v: gelu_apart(g, v, erf_as_tanh))),
    wrong("Clip at 6.01", of_conv(_clipped(6.0), _clipped(6.01))),
    wrong("LeakyRelu 0.01 to 0.0101", of_conv(_unary("LeakyRelu", alpha=0.01), _unary("LeakyRelu", alpha=0.0101))),
    wrong("Elu 1 to 1.001", of_conv(_unary("Elu", alpha=1.0), _unary("Elu", alpha=1.001))),
    wrong("PRelu, one slope off by 1e-4", prelu(changed=1e-4)),
    wrong("HardSwish, 1/6 as 0.1667", on(IMAGE, _swish(1 / 6), _swish(0.1667))),
    wrong("Log, epsilon 1e-6 to 1e-7", on(IMAGE, _log(1e-6), _log(1e-7)), "seen only where x is nearly 0"),
    wrong(
        "Round of half by Floor",
        on(IMAGE, _halved(lambda g, v: g("Round", v)), _halved(lambda g, v: g("Floor", g("Add", v, 0.5)))),
        "differs at odd multiples of 1/2 only",
    ),
    wrong(
        "AveragePool, padding counted",
        of_conv(
            _pooled(kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            _pooled(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        ),
    ),
    wrong(
        "AveragePool, ceil_mode lost",
        of_conv(
            _pooled(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), _pooled(kernel_shape=[3, 3], strides=[2, 2])
        ),
    ),
    wrong("AveragePool, 1/9 as 0.1111", average_as_conv(0.1111)),
    wrong("Pad by reflection as by the edge", pad_into_conv("reflect", "edge")),
    wrong(
        "Resize, half_pixel as asymmetric",
        on((1, 8, 8, 8), _resized(), _resized(coordinate_transformation_mode="asymmetric")),
    ),
    wrong(
        "Resize, half_pixel as align_corners",
        on((1, 8, 8, 8), _resized(), _resized(coordinate_transformation_mode="align_corners")),
    ),
    wrong(
        "Resize, half_pixel as pytorch_half_pixel to one",
        on(
            (1, 8, 8, 8),
            lambda g: g("Resize", "x", "", "", ints(1, 8, 1, 4), mode="linear"),
            lambda g: g(
                "Resize",
                "x",
                "",
                "",
                ints(1, 8, 1, 4),
                mode="linear",
                coordinate_transformation_mode="pytorch_half_pixel",
            ),
        ),
    ),
    wrong("Slice of smooth data, off by one", on((2, 16, 8), _smooth(4), _smooth(5))),
    wrong("Dropout's scale left in", of_conv(lambda g, v: g("Identity", v), lambda g, v: g("Mul", v, 1 / (1 - 0.001)))),
    wrong("LRN, alpha 1e-4 to 2e-4", of_conv(_unary("LRN", size=5, alpha=1e-4), _unary("LRN", size=5, alpha=2e-4))),
    wrong(
        "square root of 3 as 1.732", of_conv(lambda g, v: g("Mul", v, math.sqrt(3)), lambda g, v: g("Mul", v, 1.732))
    ),
    wrong(
        "DequantizeLinear, scale off by one ulp", on(IMAGE, _quantized(0.05), _quantized(FINE)), below_resolution=True
    ),
)

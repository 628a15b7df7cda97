"""Correct rewrites of float models: the same real function, another rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from ml_dtypes import bfloat16

from tests.verification.float_pairs.draft import Draft, Pair, as_attribute, correct, ints
from tests.verification.float_pairs.elementwise import chain, gelu_apart, gelu_tanh, of_conv, on, prelu
from tests.verification.float_pairs.linear import (
    attention,
    average_as_conv,
    conv1d_as_2d,
    conv_affine,
    conv_as_matmul,
    convs_side_by_side,
    gemm,
    gemm_transposed,
    joined_matmuls,
    matmul_chain,
    pad_into_conv,
    transformer_block,
)
from tests.verification.float_pairs.normalizations import (
    Fold,
    after_layer_norm,
    batch_norm_attribute,
    instance_norm,
    layer_norm,
    norm_apart,
    scale_into_matmul,
    variance,
)

__all__ = ["CORRECT"]

IMAGE: Final = (2, 16, 8, 8)
ROWS: Final = (2, 16, 48)


def _last_by_transposes(g: Draft) -> str:
    last = g("Softmax", g("Transpose", "x", perm=[0, 2, 3, 1]), axis=-1)
    return g("Transpose", last, perm=[0, 3, 1, 2])


def _hard_swish_by_relu6(g: Draft) -> str:
    return g("Mul", "x", g("Div", g("Clip", g("Add", "x", 3.0), 0.0, 6.0), 6.0))


def _hard_swish_apart(sixth: float) -> Callable[[Draft], str]:
    return lambda g: g("Mul", "x", g("Clip", g("Add", g("Mul", "x", sixth), 0.5), 0.0, 1.0))


def _sigmoid_apart(g: Draft, value: str) -> str:
    return g("Div", value, g("Add", g("Exp", g("Neg", value)), 1.0))


def _quantized(g: Draft, value: str) -> str:
    quantized = g("QuantizeLinear", g.quantizable(value), np.float32(0.05), np.int8(3))
    return g("DequantizeLinear", quantized, np.float32(0.05), np.int8(3))


def _first_of_channels(g: Draft, value: str) -> str:
    return g("ArgMax", value, axis=1, keepdims=0)


CORRECT: Final[tuple[Pair, ...]] = (
    correct("layer-norm", layer_norm()),
    correct("layer-norm, two axes", layer_norm((2, 8, 8, 16), -2, 1e-12)),
    correct("layer-norm, all but the first axis", layer_norm((2, 8, 8, 8), 1, 1e-6)),
    correct("layer-norm, from the op", layer_norm(reverse=True)),
    correct("layer-norm of small values", layer_norm(small=1e-2), "epsilon is a tenth of the variance"),
    correct("layer-norm, float16", layer_norm(), dtype=np.float16),
    correct("layer-norm, double", layer_norm(), dtype=np.float64),
    correct("layer-norm, its scale moved into a MatMul", after_layer_norm),
    correct("instance-norm", instance_norm()),
    correct("variance by Mul", variance(lambda g, v, axes: g("ReduceMean", g("Mul", v, v), axes))),
    correct("variance by ReduceSumSquare", variance(lambda g, v, axes: g("Div", g("ReduceSumSquare", v, axes), 48.0))),
    correct("gelu", of_conv(gelu_apart, lambda g, v: g("Gelu", v))),
    correct("gelu, from the op", of_conv(lambda g, v: g("Gelu", v), gelu_apart)),
    correct("gelu, float16", of_conv(gelu_apart, lambda g, v: g("Gelu", v)), dtype=np.float16),
    correct("gelu by tanh, from the op", of_conv(lambda g, v: g("Gelu", v, approximate="tanh"), gelu_tanh)),
    correct("batch-norm into Conv", Fold()),
    correct("batch-norm into Conv without bias", Fold(bias=False)),
    correct("batch-norm into Conv, gamma to 1e4", Fold(gamma=lambda w, n: w.powers(-4, 4, n))),
    correct("batch-norm into Conv, variance from 1e-12", Fold(spread=lambda w, n: w.powers(-12, 2, n))),
    correct(
        "batch-norm into Conv, both extreme",
        Fold(gamma=lambda w, n: w.powers(-4, 4, n), spread=lambda w, n: w.powers(-12, 2, n)),
    ),
    correct("batch-norm into Conv of 4 groups", Fold(group=4)),
    correct("batch-norm into depthwise Conv", Fold(channels=(32, 32), group=32, bias=False)),
    correct("batch-norm into Conv, computed in float32", Fold(precision=None)),
    correct("batch-norm into Conv, epsilon 1e-3", Fold(epsilon=1e-3, size=16, channels=(32, 64))),
    correct("batch-norm into Conv, float16", Fold(), dtype=np.float16),
    correct("batch-norm into ConvTranspose", Fold((8, 12), transposed=True, size=6)),
    correct("batch-norm into ConvTranspose of 2 groups", Fold((8, 12), transposed=True, group=2, size=6)),
    correct("batch-norm into Conv before ArgMax", Fold(tail=_first_of_channels)),
    correct("batch-norm into Conv before QuantizeLinear", Fold(tail=_quantized)),
    correct("batch-norm into Conv, 8 in a row", Fold(channels=(16, 16), blocks=8)),
    correct("batch-norm, another momentum", batch_norm_attribute, "which only training reads"),
    correct("Mul and Add into Conv", conv_affine()),
    correct("Mul into Conv, scales of 1e-4 to 1e4", conv_affine(add=False, low=-4, high=4)),
    correct("MatMul and Add as Gemm", gemm()),
    correct("MatMul and Add as Gemm, float16", gemm(), dtype=np.float16),
    correct("MatMul and Add as Gemm, double", gemm(), dtype=np.float64),
    correct("Mul and Add into Gemm", scale_into_matmul),
    correct("Transpose into Gemm", gemm_transposed),
    correct("MatMul, weights multiplied in advance", matmul_chain(deep=4)),
    correct("MatMul, weights multiplied first", matmul_chain(folded=False, deep=3)),
    correct("MatMul, three as one", joined_matmuls),
    correct("Conv of one axis as one of two", conv1d_as_2d),
    correct("Conv of 1x1 as MatMul", conv_as_matmul),
    correct("Conv, two as one", convs_side_by_side),
    correct("Pad into Conv", pad_into_conv()),
    correct("AveragePool as Conv", average_as_conv()),
    correct("attention, the queries scaled", attention()),
    correct("attention, transposed", attention(transposed=True)),
    correct("attention, scores to 100", attention(spread=30), "Softmax has nearly one-hot rows"),
    correct("attention, float16", attention(), dtype=np.float16),
    correct("transformer block", transformer_block(norm_apart, gelu_apart)),
    correct("Add, constants put together", chain("Add", low=-2)),
    correct("Add, constants added first", chain("Add", folded=False, low=-2)),
    correct("Mul, constants put together", chain("Mul", 4)),
    correct("Mul, constants of 1e-6 to 1e6", chain("Mul", 4, low=1e-6, high=1e6)),
    correct("Add, bfloat16", chain("Add"), dtype=bfloat16),
    correct(
        "mean as a sum",
        on(ROWS, lambda g: g("ReduceMean", "x", ints(-1)), lambda g: g("Div", g("ReduceSum", "x", ints(-1)), 48.0)),
    ),
    correct(
        "GlobalAveragePool as ReduceMean",
        on(IMAGE, lambda g: g("GlobalAveragePool", "x"), lambda g: g("ReduceMean", "x", ints(2, 3))),
    ),
    correct(
        "ReduceL2 apart",
        on(
            ROWS,
            lambda g: g("ReduceL2", "x", ints(-1)),
            lambda g: g("Sqrt", g("ReduceSum", g("Mul", "x", "x"), ints(-1))),
        ),
    ),
    correct(
        "Softmax between transposes", on(IMAGE, lambda g: g("Softmax", "x", axis=1), _last_by_transposes), "bit-equal"
    ),
    correct("Div as Mul by the reciprocal", of_conv(lambda g, v: g("Div", v, 3.0), lambda g, v: g("Mul", v, 1 / 3))),
    correct(
        "Reciprocal of Sqrt as Pow",
        on(
            IMAGE,
            lambda g: g("Reciprocal", g("Sqrt", g("Add", g("Mul", "x", "x"), 0.1))),
            lambda g: g("Pow", g("Add", g("Mul", "x", "x"), 0.1), -0.5),
        ),
    ),
    correct("HardSwish", on(IMAGE, _hard_swish_apart(as_attribute(1 / 6)), lambda g: g("HardSwish", "x"))),
    correct("HardSwish by Relu6", on(IMAGE, _hard_swish_by_relu6, _hard_swish_apart(1 / 6))),
    correct(
        "Swish by Exp",
        of_conv(lambda g, v: g("Mul", v, g("Sigmoid", v)), _sigmoid_apart),
        "Exp overflows where Sigmoid is nearly 0",
    ),
    correct("PRelu apart", prelu()),
    correct(
        "Tanh from Sigmoid",
        of_conv(lambda g, v: g("Sub", g("Mul", g("Sigmoid", g("Mul", v, 2.0)), 2.0), 1.0), lambda g, v: g("Tanh", v)),
        "the second is the more accurate one",
    ),
    correct(
        "Einsum as MatMul",
        on(
            ROWS,
            lambda g: g("Einsum", "x", g("Transpose", "x", perm=[0, 2, 1]), equation="bij,bjk->bik"),
            lambda g: g("MatMul", "x", g("Transpose", "x", perm=[0, 2, 1])),
        ),
    ),
    correct(
        "Abs of a scaled input",
        on(IMAGE, lambda g: g("Mul", g("Abs", "x"), math.sqrt(3)), lambda g: g("Abs", g("Mul", "x", math.sqrt(3)))),
    ),
)

"""What each input of an operator is to it, where that says what kind of numbers a weight has there.

A slot is an operator and the position of its input: `Conv.1`, `com.microsoft::QGemm.3`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import onnx

from onnxfuse.weights.uses import attribute_of

__all__ = [
    "BIAS",
    "FAN_IN",
    "GAIN",
    "INTEGER_WEIGHTS",
    "KNOWN",
    "NBITS",
    "PACKED",
    "PARAMETERS",
    "POSITIVE",
    "SCALES",
    "SPAN",
    "WIDE_INTEGER",
    "ZERO_POINTS",
    "Dims",
    "Normal",
    "Random",
    "Uniform",
]


class Normal(NamedTuple):
    """Normally distributed numbers."""

    mean: float
    deviation: float


class Uniform(NamedTuple):
    """Numbers from `low` on and below `high`."""

    low: float
    high: float


Random = Normal | Uniform

BIAS: Final = Normal(0, 0.05)
GAIN: Final = Uniform(0.7, 1.3)
POSITIVE: Final = Uniform(0.5, 1.5)
# The biases of quantized layers: less than what is summed up there.
WIDE_INTEGER: Final = Normal(0, 200)
PACKED: Final = Uniform(0, 256)
# Deviations between the least and the largest number of a narrow integer type.
SPAN: Final = 6


def _slots(text: str) -> list[str]:
    """`Range.0.1` as `Range.0` and `Range.1`."""
    named = (slot.split(".") for slot in text.split())
    return [f"{op.replace('ms::', 'com.microsoft::')}.{index}" for op, *indices in named for index in indices]


def _table(rows: Mapping[Random, str]) -> dict[str, Random]:
    return {slot: random for random, slots in rows.items() for slot in _slots(slots)}


# An operator and its input, as of `Use.slot`.
KNOWN: Final = _table(
    {
        GAIN: "BatchNormalization.1 InstanceNormalization.1 LayerNormalization.1 GroupNormalization.1 RMSNormalization.1 "
        "SimplifiedLayerNormalization.1 SkipSimplifiedLayerNormalization.2 ms::SkipLayerNormalization.2 "
        "ms::SkipSimplifiedLayerNormalization.2 ms::GroupNorm.1 Mul.0.1 Div.1",
        Normal(0, 0.1): "BatchNormalization.2.3",
        POSITIVE: "BatchNormalization.4 Sqrt.0 Log.0 Reciprocal.0 Pow.0",
        Normal(0.25, 0.05): "PRelu.1",
        Normal(0, 1): "Gather.0 ms::EmbedLayerNormalization.2.3.4",
    }
)

# What else looks like a weight by its type and size, and says how a graph computes: bounds, scales of sizes, thresholds.
PARAMETERS: Final = frozenset(
    _slots(
        "Resize.1.2 Upsample.1 Range.0.1.2 Pad.2 Clip.1.2 OneHot.2 Dropout.1 Pow.1 Cast.0 NonMaxSuppression.3.4 "
        "Equal.0.1 Less.0.1 LessOrEqual.0.1 Greater.0.1 GreaterOrEqual.0.1"
    )
)

Dims = Sequence[int]


def _kernel(_: onnx.NodeProto, dims: Dims) -> float:
    return math.prod(dims[1:])


def _transposed_kernel(node: onnx.NodeProto, dims: Dims) -> float:
    strides = next((math.prod(a.ints) for a in node.attribute if a.name == "strides"), 1)
    return dims[0] * math.prod(dims[2:]) / (attribute_of(node, "group", 1) * strides)


def _rows(_: onnx.NodeProto, dims: Dims) -> float:
    return dims[-2] if len(dims) > 1 else dims[0]


def _columns(_: onnx.NodeProto, dims: Dims) -> float:
    return dims[-1]


def _gemm_a(node: onnx.NodeProto, dims: Dims) -> float:
    return dims[0] if attribute_of(node, "transA", 0) else dims[1]


def _gemm_b(node: onnx.NodeProto, dims: Dims) -> float:
    return dims[1] if attribute_of(node, "transB", 0) else dims[0]


def _einsum(index: int) -> Callable[[onnx.NodeProto, Dims], float]:
    def fan_in(node: onnx.NodeProto, dims: Dims) -> float:
        equation = next((a.s.decode() for a in node.attribute if a.name == "equation"), "").replace(" ", "")
        operands, arrow, result = equation.partition("->")
        letters = operands.split(",")[index]
        if not arrow:
            result = "".join(letter for letter in letters if operands.count(letter) == 1)
        before, _, after = letters.partition("...")
        named = [*zip(before, dims, strict=False), *zip(after[::-1], dims[::-1], strict=False)]
        return math.prod(size for letter, size in named if letter not in result)

    return fan_in


# How many products an output element sums up, by the shape of the weight.
FAN_IN: Final[Mapping[str, Callable[[onnx.NodeProto, Dims], float]]] = {
    **dict.fromkeys(_slots("Conv.1 ConvInteger.1 QLinearConv.3 DeformConv.1 ms::FusedConv.1"), _kernel),
    **dict.fromkeys(_slots("ConvTranspose.1"), _transposed_kernel),
    **dict.fromkeys(_slots("Gemm.0 ms::QGemm.0"), _gemm_a),
    **dict.fromkeys(_slots("Gemm.1 ms::QGemm.3"), _gemm_b),
    **dict.fromkeys(_slots("MatMul.0 MatMulInteger.0 QLinearMatMul.0 ms::MatMulIntegerToFloat.0"), _columns),
    **dict.fromkeys(_slots("MatMul.1 MatMulInteger.1 QLinearMatMul.3 ms::MatMulIntegerToFloat.1"), _rows),
    **dict.fromkeys(_slots("ms::DynamicQuantizeMatMul.1 ms::FusedMatMul.1 ms::Attention.1 ms::QAttention.1"), _rows),
    **dict.fromkeys(_slots("LSTM.1.2 GRU.1.2 RNN.1.2"), _columns),
    **dict.fromkeys(_slots("ms::DynamicQuantizeLSTM.1.2"), _rows),
    **{f"Einsum.{index}": _einsum(index) for index in range(4)},
}


def _pairs(text: str) -> dict[str, int]:
    """`Op.1>0` as `{"Op.1": 0}`."""
    return {slot: int(index) for pair, index in (word.split(">") for word in text.split()) for slot in _slots(pair)}


# For each scale, the input that it scales; for each quantized input, its zero point.
SCALES: Final = _pairs(
    "DequantizeLinear.1>0 ms::DequantizeLinear.1>0 QLinearConv.4>3 QLinearMatMul.1>0 QLinearMatMul.4>3 ms::QGemm.4>3 "
    "ms::DynamicQuantizeMatMul.2>1 ms::MatMulIntegerToFloat.2>0 ms::MatMulIntegerToFloat.3>1"
)
ZERO_POINTS: Final = _pairs(
    "DequantizeLinear.0>2 ms::DequantizeLinear.0>2 QLinearConv.3>5 ConvInteger.1>3 QLinearMatMul.0>2 QLinearMatMul.3>5 "
    "MatMulInteger.0>2 MatMulInteger.1>3 ms::QGemm.0>2 ms::QGemm.3>5 ms::DynamicQuantizeMatMul.1>3 "
    "ms::MatMulIntegerToFloat.0>4 ms::MatMulIntegerToFloat.1>5"
)
# Four bits a number, and a scale for each block of them.
NBITS: Final = "com.microsoft::MatMulNBits"
INTEGER_WEIGHTS: Final = frozenset(
    {*ZERO_POINTS, *_slots("QLinearConv.8 ms::QGemm.6 ms::MatMulNBits.1 ms::QAttention.1 ms::DynamicQuantizeLSTM.1.2")}
)

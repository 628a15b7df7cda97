"""Models without their weights, and seeded random weights for them.

A stripped initializer keeps name, dims and data type, carries no data, and has the doc_string `stripped`. `onnx.load`
reads such a model; the ONNX checker refuses it until it is filled.

    python -m onnxfuse.testing strip MODEL.onnx SMALL.onnx
    python -m onnxfuse.testing fill SMALL.onnx MODEL.onnx --seed 0
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from onnxfuse.verification.stand_ins import STRIPPED

__all__ = ["STRIPPED", "fill", "strip"]

FLOATS: Final = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
)


@dataclass(frozen=True)
class _Use:
    """The node that reads an initializer first, and as which input."""

    node: onnx.NodeProto
    index: int


def strip(model: onnx.ModelProto, *, elements: int = 64) -> onnx.ModelProto:
    """Returns a copy of `model` without the data of its large float initializers.

    Integers are kept: they are indices, shapes and axes.

    Args:
        model: The model; it is not changed.
        elements: Initializers of fewer elements keep their data.
    """
    stripped = onnx.ModelProto()
    stripped.CopyFrom(model)
    for tensor in stripped.graph.initializer:
        if tensor.data_type in FLOATS and math.prod(tensor.dims) >= elements:
            header = onnx.TensorProto(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, doc_string=STRIPPED
            )
            tensor.CopyFrom(header)
    return stripped


def fill(model: onnx.ModelProto, *, seed: int = 0) -> onnx.ModelProto:
    """Returns a copy of `model` in which stripped initializers have random weights again.

    The weights keep activations at an ordinary scale, so that outputs are neither constant nor infinite and a wrong
    rewrite
    shows: fan-in scaled normals for Conv, Gemm and MatMul, positive variances for BatchNormalization, gains near 1.

    Args:
        model: The model; it is not changed.
        seed: Of all weights; each initializer draws by its name, so that it has the same weights whatever else is
            there.
    """
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    uses = _first_uses(filled.graph)
    for tensor in filled.graph.initializer:
        if tensor.doc_string == STRIPPED:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            rng = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
            value = _draw(tuple(tensor.dims), uses.get(tensor.name), rng)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(dtype), tensor.name))
    return filled


def _first_uses(graph: onnx.GraphProto) -> dict[str, _Use]:
    """Returns for each value the first node that reads it, looked up through Identity."""
    source: dict[str, str] = {}
    uses: dict[str, _Use] = {}
    for node in graph.node:
        if node.op_type == "Identity":
            source[node.output[0]] = source.get(node.input[0], node.input[0])
            continue
        for index, name in enumerate(node.input):
            uses.setdefault(source.get(name, name), _Use(node, index))
    return uses


def _draw(dims: tuple[int, ...], use: _Use | None, rng: np.random.Generator) -> np.ndarray:
    op_type, index = (use.node.op_type, use.index) if use is not None else ("", 0)
    if op_type == "BatchNormalization":
        scale, bias, mean, variance = range(1, 5)
        if index in (scale, variance):
            return rng.uniform(0.7, 1.3, dims) if index == scale else rng.uniform(0.5, 1.5, dims)
        return rng.normal(0, 0.1 if index in (bias, mean) else 0.05, dims)
    if op_type == "PRelu":
        return rng.normal(0.25, 0.05, dims)
    if op_type in ("Conv", "ConvTranspose") and index == 1:
        return rng.normal(0, math.sqrt(1 / max(math.prod(dims[1:]), 1)), dims)
    if op_type in ("Gemm", "MatMul") and len(dims) == 2:
        transposed = use is not None and any(a.name == "transB" and a.i for a in use.node.attribute)
        return rng.normal(0, math.sqrt(1 / max(dims[1 if transposed else 0], 1)), dims)
    if op_type == "Mul" and len(dims) == 1:
        return rng.uniform(0.7, 1.3, dims)  # the gain of a decomposed LayerNormalization
    return rng.normal(0, 0.05, dims)

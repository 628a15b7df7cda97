"""Constants that a replacement holds otherwise than the region: draws need not reach what differs in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import onnx
import onnx.numpy_helper

from onnxfuse.analysis.ops import is_index_only, op_facts
from onnxfuse.verification.element_types import bytes_of, finfo, is_float
from onnxfuse.verification.region_model import Built, Region
from onnxfuse.verification.sweep import MAX_NUMBERS

__all__ = ["changed_constant"]

# Units in the last place of the largest element, that folding a few operators in another order may leave.
ROUNDED: Final = 16


def changed_constant(region: Region, built: Built) -> str | None:
    """Says which constant is another where the two sides are the same otherwise, in more than rounding.

    Equal results on draws then mean that no draw shows the change: what a constant holds as data (a row of a table, a
    string to compare with) may be read by values that were not drawn. What parametrizes an operator is left out: all of
    it comes to bear in every run.

    Args:
        region: The region.
        built: Both sides in one model.
    """
    nodes = built.model.graph.node
    middle = len(nodes) - len(region.after)
    before, after = nodes[middle - len(region.before) : middle], nodes[middle:]
    if len(before) != len(after):
        return None
    held = {tensor.name: tensor for tensor in built.model.graph.initializer}
    same: dict[str, str] = {}
    changed: list[tuple[str, str]] = []
    for one, other in zip(before, after, strict=True):
        alike = (one.op_type, one.domain, len(one.input)) == (other.op_type, other.domain, len(other.input))
        if not alike or list(one.attribute) != list(other.attribute):
            return None
        for index, (x, y) in enumerate(zip(one.input, other.input, strict=True)):
            if x == same.get(y, y):
                continue
            if x not in held or y not in held:
                return None
            if _is_data(one, index, held[x]) or _is_data(other, index, held[y]):
                changed.append((x, y))
        same.update(zip(other.output, one.output, strict=False))
    for x, y in changed:
        if not _is_rounded(_array(held[x], built.weights), _array(held[y], built.weights), region.numerics):
            return f"a constant changes and no input that was tried shows it (input of {_reader(before, x)})"
    return None


def _is_data(node: onnx.NodeProto, index: int, tensor: onnx.TensorProto) -> bool:
    """Whether values decide which elements of a constant come to bear, as far as that is known."""
    if node.domain in ("", "ai.onnx") and is_index_only(node.op_type):
        return op_facts(node.op_type).is_data(index)
    integers = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return not (integers and len(tensor.dims) <= 1 and math.prod(tensor.dims) <= MAX_NUMBERS)


def _reader(nodes: Iterable[onnx.NodeProto], name: str) -> str:
    return next(node.op_type for node in nodes if name in node.input)


def _array(tensor: onnx.TensorProto, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    return weights[tensor.name] if tensor.name in weights else onnx.numpy_helper.to_array(tensor)


def _is_rounded(one: np.ndarray, other: np.ndarray, numerics: str) -> bool:
    """Whether two constants are equal, or differ by rounding alone where that may be."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return bool((one == other).all())
    if bytes_of(one) == bytes_of(other):
        return True
    if numerics != "rounding" or not is_float(one.dtype):
        return False
    x, y = one.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    # What is folded is a row by itself: no row may hide behind a larger one.
    largest = np.maximum(abs(x), abs(y)).max(axis=-1, keepdims=True) if x.ndim else abs(x)
    return bool((abs(x - y) <= ROUNDED * float(finfo(one.dtype).eps) * largest).all())

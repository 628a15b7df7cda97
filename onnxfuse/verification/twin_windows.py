"""Convolutions and pools in float64, for the twins of `onnxfuse.verification.twin`: a window moves over spatial axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from onnxfuse.verification.twin_kernel import Attributes, Kernel

__all__ = ["WINDOWS"]


def _window(
    attributes: Attributes, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, and the padding before and after of each spatial axis."""
    rank = len(kernel)
    strides = [int(s) for s in attributes.get("strides") or [1] * rank]
    dilations = [int(d) for d in attributes.get("dilations") or [1] * rank]
    auto = _auto_pad(attributes)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            before.append(small if auto == "SAME_UPPER" else large)
            after.append(large if auto == "SAME_UPPER" else small)
        return strides, dilations, before, after
    pads = [int(p) for p in attributes.get("pads") or [0] * (2 * rank)] if auto != "VALID" else [0] * (2 * rank)
    return strides, dilations, pads[:rank], pads[rank:]


def _auto_pad(attributes: Attributes) -> str:
    stated = attributes.get("auto_pad", b"NOTSET")
    return stated.decode() if isinstance(stated, bytes) else str(stated)


def _views(
    x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], out: Sequence[int]
) -> Any:
    """Yields (position in the kernel, the elements that meet it) for a padded x, whose last axes are spatial."""
    lead = (slice(None),) * (x.ndim - len(kernel))
    for at in itertools.product(*map(range, kernel)):
        spans = tuple(
            slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, s, n in zip(at, dilations, strides, out, strict=True)
        )
        yield at, x[(*lead, *spans)]


def _padded(x: np.ndarray, before: Sequence[int], after: Sequence[int], fill: float) -> np.ndarray:
    lead = [(0, 0)] * (x.ndim - len(before))
    return np.pad(x, [*lead, *zip(before, after, strict=True)], constant_values=fill)


def _conv(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, w = inputs[0], inputs[1]
    groups = int(attributes.get("group", 1))
    kernel = w.shape[2:]
    strides, dilations, before, after = _window(attributes, x.shape[2:], kernel)
    padded = _padded(x, before, after, 0.0)
    out = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    batch, channels, filters = x.shape[0], x.shape[1], w.shape[0]
    per_group = w.reshape(groups, filters // groups, channels // groups, *kernel)
    total = np.zeros((batch, groups, filters // groups, math.prod(out)))
    for at, view in _views(padded, kernel, strides, dilations, out):
        columns = view.reshape(batch, groups, channels // groups, -1)
        total += np.matmul(per_group[(slice(None), slice(None), slice(None), *at)], columns)
    result = total.reshape(batch, filters, *out)
    if len(inputs) > 2 and inputs[2] is not None:
        result = result + inputs[2].reshape(-1, *(1,) * len(kernel))
    return np.asarray(result)


def _conv_transpose(attributes: Attributes, inputs: Sequence[Any], _opset: int) -> np.ndarray:
    x, w = inputs[0], inputs[1]
    groups, kernel = int(attributes.get("group", 1)), w.shape[2:]
    rank = len(kernel)
    strides = [int(s) for s in attributes.get("strides") or [1] * rank]
    dilations = [int(d) for d in attributes.get("dilations") or [1] * rank]
    extra = [int(p) for p in attributes.get("output_padding") or [0] * rank]
    batch, channels = x.shape[:2]
    spatial = x.shape[2:]
    full = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(spatial, strides, kernel, dilations, extra, strict=True)
    ]
    filters = w.shape[1] * groups
    total = np.zeros((batch, filters, *full))
    per_group = w.reshape(groups, channels // groups, w.shape[1], *kernel)
    columns = x.reshape(batch, groups, channels // groups, -1)
    for at, view in _views(total, kernel, strides, dilations, spatial):
        weights = per_group[(slice(None), slice(None), slice(None), *at)].transpose(0, 2, 1)
        np.add(view, np.matmul(weights, columns).reshape(batch, filters, *spatial), out=view)
    before, sizes = _transposed_window(attributes, full, [n * s for n, s in zip(spatial, strides, strict=True)])
    total = _padded(total, [0] * rank, [max(b + n - f, 0) for b, n, f in zip(before, sizes, full, strict=True)], 0.0)
    cut = tuple(slice(b, b + n) for b, n in zip(before, sizes, strict=True))
    result = total[(slice(None), slice(None), *cut)]
    if len(inputs) > 2 and inputs[2] is not None:
        result = result + inputs[2].reshape(-1, *(1,) * rank)
    return np.asarray(result)


def _transposed_window(attributes: Attributes, full: Sequence[int], same: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where a ConvTranspose's output begins in the full result, and its sizes; `same` are those of auto_pad."""
    auto = _auto_pad(attributes)
    wanted = attributes.get("output_shape")
    rank = len(full)
    if not wanted and auto in ("NOTSET", "VALID"):
        pads = [int(p) for p in attributes.get("pads") or [0] * (2 * rank)] if auto == "NOTSET" else [0] * (2 * rank)
        return pads[:rank], [f - pads[i] - pads[rank + i] for i, f in enumerate(full)]
    sizes = [int(n) for n in wanted[-rank:]] if wanted else list(same)
    totals = [max(f - n, 0) for f, n in zip(full, sizes, strict=True)]
    if not wanted:
        sizes = [f - total for f, total in zip(full, totals, strict=True)]
    return [total // 2 if auto == "SAME_UPPER" else total - total // 2 for total in totals], sizes


def _pool_sizes(
    attributes: Attributes, x: np.ndarray, opset: int
) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations, padding before, padding after (as far as windows reach), output sizes."""
    kernel = [int(k) for k in attributes["kernel_shape"]]
    strides, dilations, before, after = _window(attributes, x.shape[2:], kernel)
    ceil = bool(attributes.get("ceil_mode", 0)) and opset >= 10
    out, reach = [], []
    for n, k, s, d, b, a in zip(x.shape[2:], kernel, strides, dilations, before, after, strict=True):
        span = n + a + b - (k - 1) * d - 1
        count = (-(-span // s) if ceil else span // s) + 1
        if ceil and (count - 1) * s >= n + b:
            count -= 1  # the last window would start in the padding after
        out.append(count)
        reach.append(max((count - 1) * s + (k - 1) * d + 1 - n - b, a))
    return kernel, strides, dilations, before, reach, out


def _max_pool(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    (x,) = inputs
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    kernel, strides, dilations, before, after, out = _pool_sizes(attributes, x, opset)
    padded = _padded(x, before, after, lowest)
    best = np.full((*x.shape[:2], *out), lowest, x.dtype)
    for _, view in _views(padded, kernel, strides, dilations, out):
        np.maximum(best, view, out=best)
    return best


def _average_pool(attributes: Attributes, inputs: Sequence[Any], opset: int) -> np.ndarray:
    (x,) = inputs
    kernel, strides, dilations, before, after, out = _pool_sizes(attributes, x, opset)
    _, _, _, given = _window(attributes, x.shape[2:], kernel)
    counted = np.ones((1, 1, *x.shape[2:]))
    if attributes.get("count_include_pad"):
        counted = _padded(counted, before, given, 1.0)
        weights = _padded(counted, [0] * len(kernel), [r - g for r, g in zip(after, given, strict=True)], 0.0)
    else:
        weights = _padded(counted, before, after, 0.0)
    total, count = np.zeros((*x.shape[:2], *out)), np.zeros((1, 1, *out))
    for _, view in _views(_padded(x, before, after, 0.0), kernel, strides, dilations, out):
        total += view
    for _, view in _views(weights, kernel, strides, dilations, out):
        count += view
    return total / count


WINDOWS: Final[Mapping[str, Kernel]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
}

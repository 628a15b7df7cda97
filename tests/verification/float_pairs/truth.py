"""Whether a pair is what it says: both models in float64, where a right rewrite leaves nothing but its rounding."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from tests.verification.float_pairs.draft import Array, Pair

__all__ = ["LEAST_WRONG", "MOST_RIGHT", "distance"]

MOST_RIGHT: Final = 1e-11
LEAST_WRONG: Final = 1e-10
DRAWS: Final = 3


class ConvTranspose(OpRun):
    """The reference evaluator's own knows no groups. Two axes, stride 1, pads and a bias."""

    op_domain = ""

    def _run(self, x: Array, weight: Array, bias: Array, group: int = 1, pads: Any = None, **_: Any) -> tuple[Array]:
        out, (high, wide) = weight.shape[1], weight.shape[2:]
        shape = (x.shape[0], group * out, x.shape[2] + high - 1, x.shape[3] + wide - 1)
        grouped = x.reshape(x.shape[0], group, -1, *x.shape[2:])
        kernel = weight.reshape(group, -1, *weight.shape[1:])
        result = np.zeros(shape, x.dtype)
        for row, column in np.ndindex(high, wide):
            part = np.einsum("ngihw,gio->ngohw", grouped, kernel[..., row, column])
            result[:, :, row : row + x.shape[2], column : column + x.shape[3]] += part.reshape(*shape[:2], *x.shape[2:])
        top, left, bottom, right = pads
        cropped = result[:, :, top : shape[2] - bottom, left : shape[3] - right]
        return (cropped + bias[:, None, None],)


def distance(pair: Pair) -> float:
    """Returns the largest difference of the two models built in float64, relative to the largest result of its draw."""
    models = pair.build(np.dtype(np.float64))
    before, after = (ReferenceEvaluator(model, new_ops=[ConvTranspose]) for model in models)
    worst = 0.0
    for index in range(DRAWS):
        feeds = _drawn(models[0], index)
        with np.errstate(all="ignore"):
            (x,), (y,) = before.run(None, feeds), after.run(None, feeds)
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert x.shape == y.shape
        worst = max(worst, float(np.abs(x - y).max() / (np.abs(x).max() or 1.0)))
    return worst


def _drawn(model: onnx.ModelProto, index: int) -> dict[str, Array]:
    """Draws normal inputs, then multiples of 1/2 with zeros among them, then also larger ones."""
    rng = np.random.default_rng(index)
    feeds = {}
    for value in model.graph.input:
        array = rng.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim])
        if index:
            array = np.round(4 * array) / 2
            array.ravel()[::7] = 0.0
        if index > 1:
            array[-1] *= 1e3
        feeds[value.name] = array
    return feeds

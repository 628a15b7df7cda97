"""Says whether two models give the same bits: apart from onnxfuse's own verification, on onnxruntime alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.testing.oracle import Results, RunError, open_session, outcome, same
from onnxfuse.testing.strategies import feeds_for

__all__ = ["differences", "exposed", "feeds_of", "run"]

SPECIAL: Final = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 3e38)


def exposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with all that its main graph computes as outputs, so that onnxruntime fuses nothing away."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                result.graph.output.append(onnx.ValueInfoProto(name=name))
    return result


def run(model: onnx.ModelProto, feeds: list[dict[str, Any]]) -> list[Results | str]:
    """Runs a model on every feed; where it does not run, there is the error instead."""
    session = open_session(exposed(model))
    names = [value.name for value in model.graph.output]
    results: list[Results | str] = []
    for feed in feeds:
        try:
            results.append(outcome(session, names, feed))
        except RunError as error:
            results.append(str(error))
    return results


def feeds_of(model: onnx.ModelProto, *, normal: int = 2, special: bool = True) -> Iterator[dict[str, Any]]:
    """Yields ordinary feeds, and one with NaN, infinities, both zeros and extremes among the floats."""
    for seed in range(normal):
        yield feeds_for(model, seed=seed)
    if special:
        feed = feeds_for(model, seed=normal)
        for array in feed.values():
            if array.dtype.kind == "f":
                flat = array.reshape(-1)
                count = min(len(SPECIAL), len(flat))
                with np.errstate(over="ignore"):
                    flat[:count] = np.array(SPECIAL[:count]).astype(array.dtype)
        yield feed


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns the outputs that are not the same in every bit."""
    return [name for name in before if name not in after or not same(before[name], after[name])]

"""Where two models that differ begin to differ: layer by layer over the values that both still have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.element_types import format_of, is_inexact
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.pair import Pair
from onnxfuse.verification.structural import Structure
from onnxfuse.verification.verdict import Layer

__all__ = ["layers"]

MOST: Final = 400
ROUNDING: Final = 128
"""A value is said to diverge where |a - b| is above so many unit roundoffs of the largest |a| in it."""


def layers(
    pair: Pair, structures: tuple[Structure, Structure], feeds: Mapping[str, Any], *, timeout_s: float
) -> tuple[Layer, ...]:
    """Compares the values of the main graphs that have a name in common and are not computed identically.

    Args:
        pair: The models.
        structures: Theirs.
        feeds: Inputs that show a difference.
        timeout_s: Seconds for each of the two runs.

    Returns:
        One layer for each such value, in the order of the first model; none where the models cannot be run so.
    """
    common = _common(pair.a, pair.b, structures)
    names = [name for name, _ in common]
    if not names:
        return ()
    results = []
    for model in (pair.a, pair.b):
        try:
            evaluator = Evaluator(
                _giving(model, names),
                weights=model.weights,
                expose=False,
                prefer="reference" if pair.backend == "reference" else None,
                isolated=True,
                custom_op_library=pair.custom_op_library,
                timeout_s=timeout_s,
            )
            results.append(evaluator.run(feeds, timeout_s=timeout_s))
        except EvaluationError:
            return ()  # what differs is known; only where it begins is not
    return tuple(_layer(name, op_type, x, y) for (name, op_type), x, y in zip(common, *results, strict=True))


def _common(a: EvalModel, b: EvalModel, structures: tuple[Structure, Structure]) -> list[tuple[str, str]]:
    there = {name for node in b.proto.graph.node for name in node.output if name}
    first, second = (structure.values for structure in structures)
    found = [
        (name, node.op_type)
        for node in a.proto.graph.node
        for name in node.output
        if name and name in there and first.get(name) != second.get(name)
    ]
    # The first divergence is among the first values; the last ones are what the user sees.
    return found if len(found) <= MOST else [*found[: MOST // 2], *found[-MOST // 2 :]]


def _giving(model: EvalModel, names: Sequence[str]) -> onnx.ModelProto:
    """A model that gives these values of its main graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    declared = {value.name: value for value in model.proto.graph.output}
    del copy.graph.output[:]
    copy.graph.output.extend(declared.get(name, onnx.ValueInfoProto(name=name)) for name in names)
    return copy


def _layer(name: str, op_type: str, x: Any, y: Any) -> Layer:
    difference = compare_values(x, y)
    if difference is None:
        return Layer(name, op_type, diverges=False, text="equal")
    diverges = True
    if difference.is_float and not difference.nonfinite and isinstance(x, np.ndarray) and is_inexact(x.dtype):
        u = format_of(x.dtype).u if x.dtype.kind != "c" else float(np.finfo(x.dtype).eps)
        diverges = (difference.max_abs or 0.0) > ROUNDING * u * difference.scale
    return Layer(name, op_type, diverges, difference.text, difference.max_abs, difference.max_rel, difference.max_ulp)

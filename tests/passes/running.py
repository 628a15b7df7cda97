"""Reading models, and running them on the reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from onnxfuse.testing.oracle import Array, Results, feeds_of, run, same

__all__ = ["assert_same_results", "ops_of", "parse", "refer"]


def parse(text: str) -> onnx.ModelProto:
    """Reads ONNX text and checks that it is a valid model."""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=model.ir_version > 3)
    return model


def ops_of(model: onnx.ModelProto) -> list[str]:
    """Returns the op_types of a model's main graph, in order."""
    return [node.op_type for node in model.graph.node]


def refer(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[Results]:
    """Runs a model on every feed, on onnx's reference evaluator."""
    evaluator = ReferenceEvaluator(model)
    names = [output.name for output in model.graph.output]
    return [dict(zip(names, evaluator.run(names, dict(feed)), strict=True)) for feed in feeds]


def assert_same_results(before: onnx.ModelProto, after: onnx.ModelProto, *, sign_of_nan: bool = True) -> None:
    """Asserts that two models give the same bits on all feeds; but for the sign of NaN, if that is not asked for."""
    feeds = list(feeds_of(before))
    for feed, one, other in zip(feeds, run(before, feeds), run(after, feeds), strict=True):
        assert one.keys() == other.keys()
        for name, expected in one.items():
            got = other[name]
            if not sign_of_nan:
                expected, got = (np.where(np.isnan(array), np.float32(np.nan), array) for array in (expected, got))
            assert same(expected, got), (name, {key: array.shape for key, array in feed.items()}, expected, got)

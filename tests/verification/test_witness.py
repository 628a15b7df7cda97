"""A verdict that says different carries the inputs that show it."""

from __future__ import annotations

import json

import numpy as np
import onnx

import onnxfuse
from tests.rewriting.rules import read


def pair(before: str, after: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return read(before), read(after)


def test_the_inputs_show_the_difference_again() -> None:
    # Only the ladder reaches beyond 1000.
    models = pair(
        "g (int32[N] x) => (int32[N] y) <int32 low = {-1000}, int32 high = {1000}> { y = Clip(x, low, high) }",
        "g (int32[N] x) => (int32[N] y) { y = Identity(x) }",
    )
    verdict = onnxfuse.verify(*models)
    assert verdict.inputs is not None
    assert np.abs(verdict.inputs["x"].astype(np.int64)).max() > 1000
    assert onnxfuse.verify(*models, input_data=[verdict.inputs]).status == "different"


def test_no_inputs_where_nothing_differs_or_nothing_was_run() -> None:
    text = "g (float[N] x) => (float[N] y) { y = Neg(x) }"
    assert (
        onnxfuse.verify(*pair(text, text.replace("Neg(x)", "Mul(z, x)").replace("{ y", "<float z = {-1}> { y"))).inputs
        is None
    )
    other = onnxfuse.verify(*pair(text, "g (float[N] x) => (float[N] z) { z = Neg(x) }"))
    assert (other.status, other.inputs) == ("different", None)


def test_the_inputs_are_no_part_of_the_json() -> None:
    verdict = onnxfuse.verify(
        *pair("g (float[N] x) => (float[N] y) { y = Neg(x) }", "g (float[N] x) => (float[N] y) { y = Abs(x) }")
    )
    assert verdict.inputs is not None
    assert "inputs" not in json.loads(json.dumps(verdict.to_dict()))

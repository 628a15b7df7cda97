"""One run of a pass for a law, with what holds of every run."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from onnxfuse.pipeline.base import Numerics
from onnxfuse.pipeline.manager import Result, apply
from onnxfuse.testing.examples import Example
from onnxfuse.testing.oracle import Results, RunError, feeds_of, run, same

__all__ = ["border", "check_results", "check_valid", "fires", "require", "tried"]

ROUNDING: Final = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-4, np.dtype(np.float16): 1e-2}
"""Relative and absolute tolerance on normal draws, for passes that round."""


def require(condition: object, otherwise: str) -> None:
    """Raises `AssertionError` with a sentence where a condition does not hold."""
    if not condition:
        raise AssertionError(otherwise)


def tried(example: Example, model: onnx.ModelProto, *, verify: str = "region") -> Result:
    """Applies the pass of an example to a model.

    Raises:
        AssertionError: A rewrite was rejected, the given model or the interface changed, or the result is no valid model.
        OnnxfuseError: The pass failed, or the whole-model check says different.
    """
    given = model.SerializeToString()
    result = apply(model, example.pass_, verify=verify)
    after: onnx.ModelProto = result.model
    report = result.report
    for rejected in report.rejected:
        raise AssertionError(f"verification rejected the rewrite at {rejected.at}: {rejected.reason}")
    require(model.SerializeToString() == given, "the model that was given is not as it was")
    require(border(after) == border(model), "the interface is not as it was: an input or output differs")
    require(report.modified is bool(report.applied), "`modified` does not say whether anything was applied")
    require(report.modified or after.SerializeToString() == given, "nothing was applied, yet the bytes differ")
    check_valid(after)
    return result


def fires(example: Example, model: onnx.ModelProto, *, verify: str = "region") -> Result:
    """Does as `tried`, and asserts that something was rewritten, to the same results."""
    result = tried(example, model, verify=verify)
    reasons = "; ".join(f"{outcome.at}: {outcome.reason}" for outcome in result.report.declined)
    require(result.report.applied, f"nothing was rewritten ({reasons or 'no candidate matched'})")
    check_results(example, model, result.model)
    return result


def border(model: onnx.ModelProto) -> list[bytes]:
    """Returns the inputs and outputs with all that is declared of them; not the initializers among the inputs."""
    constant = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    values = [value for value in model.graph.input if value.name not in constant]
    return [value.SerializeToString() for value in (*values, *model.graph.output)]


def check_valid(model: onnx.ModelProto) -> None:
    """Asserts that the ONNX checker has nothing to say; below IR 4 without its shape inference, which needs IR 4."""
    try:
        onnx.checker.check_model(model, full_check=model.ir_version >= 4)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise AssertionError(f"the ONNX checker says: {error}") from error


def check_results(example: Example, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Asserts that two models give the same results, as far as the pass's numerics class says."""
    numerics = example.pass_.numerics
    if numerics is Numerics.APPROXIMATE:
        return
    special = numerics is Numerics.EXACT
    compared = 0
    for indices in (False, True):
        for feed in feeds_of(before, special=special, indices=indices):
            try:
                (expected,) = run(before, [feed])
            except RunError as error:  # an index out of range, for one
                why = error
                continue
            compared += 1
            try:
                (got,) = run(after, [feed])
            except RunError as error:
                raise AssertionError(f"the result does not run where the original runs: {error}") from error
            _compare(expected, got, exact=special)
        if compared:
            return
    raise AssertionError(f"onnxruntime does not run the original: {why}")


def _compare(expected: Results, got: Results, *, exact: bool) -> None:
    for name, value in expected.items():
        if exact or value.dtype not in ROUNDING:
            require(same(value, got[name]), f"output {name} has other bits: {value} became {got[name]}")
        else:
            rtol = ROUNDING[value.dtype]
            np.testing.assert_allclose(got[name], value, rtol=rtol, atol=rtol, err_msg=f"output {name}")

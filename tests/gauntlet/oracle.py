"""Running a model for its outputs, and comparing the outputs of two models.

The original and the rewritten model always run on the same oracle. onnxruntime repeats some rewriting bugs in its own
graph transformers, on both models alike, so that they would agree on a wrong answer: it runs with its optimizations
off and every intermediate exposed as a graph output, which keeps it from rewriting across nodes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from tests.gauntlet.feeds import Feed

__all__ = ["Difference", "Oracle", "Outputs", "Tolerance", "difference", "open_model", "run"]

Outputs = dict[str, Any]
"""Value by output name."""

Tolerance = Literal["bits", "exact", "rounding", "shape"] | tuple[float, float]
"""How close is close enough for floats; integers, bools and strings are always compared exactly.

`bits`: equal, signed zeros included. `exact`: equal, but -0.0 is 0.0. `rounding`: a few units in the last place of
their own dtype. `shape`: dtype and shape only, for a model that is random by itself. A pair is (rtol, atol).
NaNs must stand at the same places and infinities must have the same sign in all but `shape`.
"""

_EXPOSE_UP_TO = 400
"""Nodes. Exposing 10,000 intermediates makes a session too slow, and onnxruntime has no rewrite for such chains."""

_ROUNDING = {"float64": (1e-13, 1e-15), "float16": (2e-3, 1e-6), "bfloat16": (1.6e-2, 1e-6)}


class Oracle(enum.StrEnum):
    """What evaluates a model."""

    ONNXRUNTIME = "ort"
    REFERENCE = "ref"


@dataclass(frozen=True)
class Difference:
    """Where and how two sets of outputs differ.

    Attributes:
        kind: value, shape, dtype, or io (an output is missing).
        text: The difference as a sentence.
    """

    kind: str
    text: str


def open_model(model: onnx.ModelProto, oracle: Oracle) -> Callable[[Feed], Outputs]:
    """Prepares a model on an oracle and returns the function that runs it on one input set.

    Raises:
        Exception: Whatever the oracle raises for a model that it cannot load.
    """
    if oracle is Oracle.REFERENCE:
        evaluator = ReferenceEvaluator(model)
        names = [output.name for output in model.graph.output]

        def run_reference(feed: Feed) -> Outputs:
            with np.errstate(all="ignore"):
                return dict(zip(names, evaluator.run(None, dict(feed)), strict=True))

        return run_reference
    return _open_onnxruntime(model)


def run(model: onnx.ModelProto, feeds: Sequence[Feed], oracle: Oracle) -> list[Outputs]:
    """Runs a model on every input set, in one session."""
    call = open_model(model, oracle)
    return [call(feed) for feed in feeds]


def _open_onnxruntime(model: onnx.ModelProto) -> Callable[[Feed], Outputs]:
    # Imported here: the process that only collects tests does not need it.
    import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4

    def open_session(candidate: onnx.ModelProto) -> Any:
        return ort.InferenceSession(candidate.SerializeToString(), options, providers=["CPUExecutionProvider"])

    try:
        session = open_session(_exposed(model))
    except Exception:  # an intermediate of a type that may not be an output; the model as it is may still load
        session = open_session(model)
    names = [output.name for output in model.graph.output]

    def run_onnxruntime(feed: Feed) -> Outputs:
        if not any(isinstance(value, np.ndarray) and value.dtype == ml_dtypes.bfloat16 for value in feed.values()):
            return dict(zip(names, session.run(names, feed), strict=True))
        values = {name: _ort_value(ort, value) for name, value in feed.items()}
        return {
            name: value.numpy() for name, value in zip(names, session.run_with_ort_values(names, values), strict=True)
        }

    return run_onnxruntime


def _ort_value(ort: Any, value: npt.NDArray[Any]) -> Any:
    # onnxruntime does not know numpy's extension dtypes: bfloat16 travels as its bits.
    if value.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(value.view(np.uint16), onnx.TensorProto.BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(value)


def _exposed(model: onnx.ModelProto) -> onnx.ModelProto:
    if len(model.graph.node) > _EXPOSE_UP_TO:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                known.add(name)
                copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


def difference(expected: Sequence[Outputs], got: Sequence[Outputs], tolerance: Tolerance) -> Difference | None:
    """Compares the outputs of two models on the same input sets.

    Args:
        expected: Outputs of the original, one entry an input set.
        got: Outputs of the rewritten model on the same sets.
        tolerance: How close floats must be.

    Returns:
        The first difference, or None.
    """
    for turn, (before, after) in enumerate(zip(expected, got, strict=True)):
        for name, value in before.items():
            where = f"set {turn} output {name!r}"
            if name not in after:
                return Difference("io", f"{where} is missing")
            if found := _value_difference(value, after[name], tolerance, where):
                return found
    return None


def _value_difference(expected: Any, got: Any, tolerance: Tolerance, where: str) -> Difference | None:
    if expected is None or got is None:
        return None if expected is got else Difference("value", f"{where}: {expected!r} against {got!r}")
    if isinstance(expected, list | tuple) != isinstance(got, list | tuple):
        return Difference("dtype", f"{where}: a sequence against a tensor")
    if isinstance(expected, list | tuple):
        if len(expected) != len(got):
            return Difference("value", f"{where}: a sequence of {len(expected)} against {len(got)}")
        pairs = enumerate(zip(expected, got, strict=True))
        found = (_value_difference(one, other, tolerance, f"{where}[{turn}]") for turn, (one, other) in pairs)
        return next((item for item in found if item), None)
    return _array_difference(np.asarray(expected), np.asarray(got), tolerance, where)


def _array_difference(
    expected: npt.NDArray[Any], got: npt.NDArray[Any], tolerance: Tolerance, where: str
) -> Difference | None:
    strings = expected.dtype.kind in "OUS" and got.dtype.kind in "OUS"  # numpy has several dtypes for strings
    if expected.dtype != got.dtype and not strings:
        return Difference("dtype", f"{where}: dtype {expected.dtype} against {got.dtype}")
    if expected.shape != got.shape:
        return Difference("shape", f"{where}: shape {expected.shape} against {got.shape}")
    if tolerance == "shape" or not expected.size:
        return None
    wrong = _wrong(expected, got, tolerance)
    if not wrong.any():
        return None
    place = tuple(int(axis[0]) for axis in np.nonzero(wrong)) if expected.ndim else ()
    return Difference(
        "value",
        f"{where}: {int(wrong.sum())} of {expected.size} values differ, "
        f"first {expected[place]!r} against {got[place]!r} at {place}",
    )


def _wrong(expected: npt.NDArray[Any], got: npt.NDArray[Any], tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Marks the elements that differ by more than the tolerance allows."""
    if expected.dtype.kind in "OUSbiu" or expected.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return np.asarray(expected != got)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    a, b = expected.astype(wide), got.astype(wide)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if tolerance == "bits":
            same &= np.isnan(a) | (
                (np.signbit(a.real) == np.signbit(b.real)) & (np.signbit(a.imag) == np.signbit(b.imag))
            )
        elif tolerance != "exact":
            rtol, atol = tolerance if isinstance(tolerance, tuple) else _rounding(expected.dtype)
            # Infinities take no part: against infinity every distance is within a relative bound.
            same |= np.isfinite(a) & np.isfinite(b) & (np.abs(a - b) <= atol + rtol * np.abs(a))
    return np.asarray(~same)


def _rounding(dtype: np.dtype[Any]) -> tuple[float, float]:
    return _ROUNDING.get(dtype.name, (1e-5, 1e-6))

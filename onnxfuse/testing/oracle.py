"""Runs models for their results apart from all that verifies rewrites: on onnxruntime, with its optimizations off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

__all__ = ["Array", "Results", "RunError", "drawn", "feeds_of", "open_session", "outcome", "run", "same", "tensors_of"]

Array = npt.NDArray[Any]
Results = dict[str, Any]

# Dims with a name get these sizes in turn, so that equal sizes hide no mix-up; 0 and 1 are edge cases.
SIZES: Final[tuple[tuple[int, ...], ...]] = ((2, 3, 4), (1,), (5, 2, 7), (0,))
SPECIAL: Final = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 3.0e38)


class RunError(Exception):
    """onnxruntime does not load a model, or does not run it on a feed."""


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Opens a model on one thread, without onnxruntime's own rewriting.

    Raises:
        RunError: It cannot be loaded.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise RunError(f"{type(error).__name__}: {error}") from error


def outcome(session: ort.InferenceSession, names: Sequence[str], feed: Mapping[str, Array]) -> Results:
    """Runs a model on one feed.

    Raises:
        RunError: It does not run.
    """
    try:
        return dict(zip(names, session.run(names, dict(feed)), strict=True))
    except Exception as error:
        raise RunError(f"{type(error).__name__}: {error}") from error


def run(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[Results]:
    """Runs a model on every feed, in one session.

    Raises:
        RunError: It does not load, or does not run on one of them.
    """
    session = open_session(model)
    names = [output.name for output in model.graph.output]
    return [outcome(session, names, feed) for feed in feeds]


def feeds_of(model: onnx.ModelProto, *, special: bool = True, indices: bool = False) -> Iterator[dict[str, Array]]:
    """Yields feeds for a model's inputs: several sizes of the dims with a name.

    Args:
        model: The model; all its inputs are tensors.
        special: Whether there are NaN, infinities and extremes among the floats.
        indices: Whether integers are 0 and 1 only, which are legal indices almost everywhere.
    """
    for turn, sizes in enumerate(SIZES):
        generator = np.random.default_rng(turn)
        yield {
            name: drawn(elem_type, shape, generator, special=special, indices=indices)
            for name, (elem_type, shape) in tensors_of(model, sizes).items()
        }


def tensors_of(model: onnx.ModelProto, sizes: Sequence[int]) -> dict[str, tuple[int, list[int]]]:
    """Returns element type and shape of each input that is no initializer; dims get the sizes in turn, equal names one."""
    constant = {tensor.name for tensor in model.graph.initializer}
    bound: dict[str, int] = {}
    found = {}
    for value in model.graph.input:
        if value.name in constant:
            continue
        tensor = value.type.tensor_type
        shape = [
            dim.dim_value
            if dim.HasField("dim_value")
            else bound.setdefault(dim.dim_param or f"{value.name}.{axis}", sizes[len(bound) % len(sizes)])
            for axis, dim in enumerate(tensor.shape.dim)
        ]
        found[value.name] = tensor.elem_type, shape
    return found


def drawn(
    elem_type: int,
    shape: Sequence[int],
    generator: np.random.Generator,
    *,
    special: bool = True,
    indices: bool = False,
) -> Array:
    """Draws a tensor: of floats some are special; of integers all bits take part; of strings all are distinct."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    size = int(np.prod(shape))
    if elem_type == onnx.TensorProto.STRING:
        return np.array([f"s{index}" for index in range(size)], dtype=object).reshape(shape)
    if elem_type == onnx.TensorProto.BOOL:
        return generator.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        low, high = (0, 1) if indices else (bounds.min, bounds.max)
        return generator.integers(low, high, shape, dtype=dtype, endpoint=True)
    floats = generator.standard_normal(size)
    if special:
        floats[: len(SPECIAL) : 2] = SPECIAL[::2][: len(floats[: len(SPECIAL) : 2])]
        floats[size // 2 : size // 2 + len(SPECIAL)] = SPECIAL[: len(floats[size // 2 : size // 2 + len(SPECIAL)])]
    with np.errstate(over="ignore"):
        return np.asarray(floats.astype(dtype).reshape(shape))


def same(a: Any, b: Any) -> bool:
    """Says whether two results are equal in dtype, shape and every bit."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype == object:
        return bool(a.tolist() == b.tolist())
    return bool(np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes())

"""Running models for their results, on onnxruntime with its optimizations off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

__all__ = ["Array", "Results", "assert_same_results", "feeds_of", "open_session", "parse", "refer", "run", "same"]

Array = npt.NDArray[Any]
Results = dict[str, Any]

# Dims with a name get these sizes in turn, so that equal sizes hide no mix-up; 0 and 1 are edge cases.
SIZES: Final[tuple[tuple[int, ...], ...]] = ((2, 3, 4), (1,), (5, 2, 7), (0,))
SPECIAL: Final = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 3.0e38)


def parse(text: str) -> onnx.ModelProto:
    """Reads ONNX text and checks that it is a valid model."""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=model.ir_version > 3)
    return model


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Opens a model on one thread, without onnxruntime's own rewriting."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[Results]:
    """Runs a model on every feed, in one session."""
    session = open_session(model)
    names = [output.name for output in model.graph.output]
    return [dict(zip(names, session.run(names, dict(feed)), strict=True)) for feed in feeds]


def refer(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[Results]:
    """Runs a model on every feed, on onnx's reference evaluator."""
    evaluator = ReferenceEvaluator(model)
    names = [output.name for output in model.graph.output]
    return [dict(zip(names, evaluator.run(names, dict(feed)), strict=True)) for feed in feeds]


def feeds_of(model: onnx.ModelProto) -> Iterator[dict[str, Array]]:
    """Yields feeds for a model's inputs: several sizes of the dims with a name, special values among the floats."""
    constant = {tensor.name for tensor in model.graph.initializer}
    for turn, sizes in enumerate(SIZES):
        generator = np.random.default_rng(turn)
        bound: dict[str, int] = {}
        feed = {}
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
            feed[value.name] = drawn(tensor.elem_type, shape, generator)
        yield feed


def drawn(elem_type: int, shape: Sequence[int], generator: np.random.Generator) -> Array:
    """Draws a tensor: of floats some are special; of integers all bits take part; of strings all are distinct."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    size = int(np.prod(shape))
    if elem_type == onnx.TensorProto.STRING:
        return np.array([f"s{index}" for index in range(size)], dtype=object).reshape(shape)
    if elem_type == onnx.TensorProto.BOOL:
        return generator.integers(0, 2, shape).astype(np.bool_)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return generator.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)
    floats = generator.standard_normal(size)
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

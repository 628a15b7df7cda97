"""Running a model in this process: onnxruntime with its own rewriting blocked, or the reference evaluator.

onnxruntime rewrites even with its optimizations off (it collapses chains of Cast), and would then make the same mistake
on both sides of a comparison. It does not touch a tensor that is a graph output, so every intermediate is made one.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = [
    "PREFERRED",
    "EvaluationCrashError",
    "EvaluationError",
    "EvaluationMemoryError",
    "EvaluationTimeoutError",
    "Options",
    "OrtSession",
    "Session",
    "failure",
    "load",
    "private_copy",
]

# Element types that onnxruntime takes and gives only as raw memory, by its name for them; the value is onnx's number.
_RAW: Final = {
    "tensor(bfloat16)": 16,
    "tensor(float8e4m3fn)": 17,
    "tensor(float8e4m3fnuz)": 18,
    "tensor(float8e5m2)": 19,
    "tensor(float8e5m2fnuz)": 20,
    "tensor(uint4)": 21,
    "tensor(int4)": 22,
}
_FOUR_BITS: Final = (21, 22)
# What onnxruntime says where memory is short; it has no type of error for that.
_NO_MEMORY: Final = re.compile(
    r"Failed to allocate memory|bad_alloc|bad allocation|storage size overflowed|array is too big"
)
# Some kernels want a constant where a promoted weight is an input; up to here a copy in the model is worth it.
_EMBED_LIMIT: Final = 1 << 30


PREFERRED: Final = "the reference evaluator was preferred"
"""Why a model runs there although onnxruntime might take it."""


class EvaluationError(Exception):
    """A model cannot be loaded or run; the message is one line."""


class EvaluationTimeoutError(EvaluationError):
    """A load or a run took longer than it was given."""


class EvaluationMemoryError(EvaluationError):
    """A load or a run asks for more memory than there is."""


class EvaluationCrashError(EvaluationError):
    """The process in which a model was loaded or run died of it."""


@dataclass(frozen=True)
class Options:
    """How a model is loaded.

    Attributes:
        expose: Whether every intermediate of the main graph becomes an output. It blocks onnxruntime's rewriting, and
            costs the memory of all intermediates at once.
        prefer: Which backend to try first; None for onnxruntime.
        custom_op_library: The path of a shared library that onnxruntime takes custom operators from. The reference
            evaluator has no use for it, and is not tried.
    """

    expose: bool = True
    prefer: Literal["onnxruntime", "reference"] | None = None
    custom_op_library: str | None = None


class Session:
    """A loaded model.

    Attributes:
        backend: `onnxruntime` or `reference`.
        why_not_onnxruntime: One line, where the backend is the reference evaluator.
    """

    backend: str
    why_not_onnxruntime: str | None = None

    def run(self, feeds: Mapping[str, Any], fetch: Sequence[str], timeout_s: float | None) -> list[Any]:
        """Runs the model once; see `Evaluator.run`."""
        raise NotImplementedError


def load(model: onnx.ModelProto, weights: Mapping[str, np.ndarray], options: Options) -> Session:
    """Loads a model in onnxruntime, or where it cannot, in the reference evaluator.

    Args:
        model: The model. It is copied, so it should be light; it is not changed.
        weights: The payloads of initializers of the main graph that have only a header in `model`.
        options: How.

    Raises:
        EvaluationError: If neither can load the model, with both reasons.
    """
    loaders = {"onnxruntime": _load_onnxruntime, "reference": _load_reference}
    order = sorted(loaders, key=lambda name: name != (options.prefer or "onnxruntime"))
    if options.custom_op_library is not None:
        order = ["onnxruntime"]
    reasons: dict[str, str] = {}
    for backend in order:
        try:
            session = loaders[backend](model, weights, options)
        except EvaluationMemoryError:
            raise
        except EvaluationError as error:
            reasons[backend] = str(error)
            continue
        if backend == "reference":
            session.why_not_onnxruntime = reasons.get("onnxruntime", PREFERRED)
        return session
    raise EvaluationError("; ".join(f"{name} cannot load the model: {why}" for name, why in reasons.items()))


def _load_onnxruntime(model: onnx.ModelProto, weights: Mapping[str, np.ndarray], options: Options) -> Session:
    """Loads a model in onnxruntime, with its weights as inputs, or if it does not take that, inside it."""
    library = options.custom_op_library
    try:
        return OrtSession(private_copy(model, weights, expose=options.expose), weights, custom_op_library=library)
    except EvaluationError:
        if not weights or sum(array.nbytes for array in weights.values()) > _EMBED_LIMIT:
            raise
    filled = private_copy(model, weights, expose=options.expose, embed=True)
    return OrtSession(filled, {}, custom_op_library=library)


class OrtSession(Session):
    """A session of onnxruntime."""

    backend = "onnxruntime"

    def __init__(
        self,
        model: onnx.ModelProto,
        weights: Mapping[str, np.ndarray],
        *,
        profile: str | None = None,
        custom_op_library: str | None = None,
    ) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise EvaluationError(f"onnxruntime cannot be imported: {_one_line(error)}") from error
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        if custom_op_library is not None:
            try:
                options.register_custom_ops_library(custom_op_library)
            except Exception as error:
                raise EvaluationError(f"custom op library {custom_op_library}: {_one_line(error)}") from error
        try:
            serialized = model.SerializeToString()
            self.session = ort.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime and protobuf raise types of their own, with no common base but this
            raise failure(error) from error
        self._ort = ort
        declared = [*self.session.get_inputs(), *self.session.get_overridable_initializers()]
        self._raw_inputs = {value.name: _RAW[value.type] for value in declared if value.type in _RAW}
        self._raw_outputs = frozenset(value.name for value in self.session.get_outputs() if value.type in _RAW)
        self._weights: dict[str, Any] = dict(weights)

    def run(self, feeds: Mapping[str, Any], fetch: Sequence[str], timeout_s: float | None) -> list[Any]:
        """Runs it once, as `Evaluator.run` does."""
        options = self._ort.RunOptions()
        options.log_severity_level = 4
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            options.terminate = True

        timer = threading.Timer(timeout_s, stop) if timeout_s is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            # Not where it can be helped: there are no OrtValues of strings.
            if not self._raw_inputs and self._raw_outputs.isdisjoint(fetch):
                results: list[Any] = self.session.run(list(fetch), {**self._weights, **feeds}, options)
                return results
            values = {name: self._value(name, array) for name, array in (*self._weights.items(), *feeds.items())}
            found = self.session.run_with_ort_values(list(fetch), values, options)
            return [_from_value(value) for value in found]
        except EvaluationError:
            raise
        except Exception as error:
            if timed_out.is_set():
                raise EvaluationTimeoutError(f"the run took longer than {timeout_s:.3g} s") from None
            raise failure(error) from error
        finally:
            if timer is not None:
                timer.cancel()

    def _value(self, name: str, array: Any) -> Any:
        """An OrtValue on the memory of `array` (of a packed copy, for types of four bits)."""
        import numpy as np

        if array is None or isinstance(array, list):
            raise EvaluationError(f"input {name}: onnxruntime takes no sequence beside a bfloat16 or float8")
        contiguous = np.asarray(array, order="C")
        elem_type = self._raw_inputs.get(name)
        if elem_type is None:
            return self._ort.OrtValue.ortvalue_from_numpy(contiguous)
        if elem_type not in _FOUR_BITS:
            raw = contiguous.view(f"u{contiguous.dtype.itemsize}")
            return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, elem_type)
        value = self._ort.OrtValue.ortvalue_from_shape_and_type(list(contiguous.shape), elem_type, "cpu")
        nibbles = contiguous.astype(np.int8).view(np.uint8).reshape(-1) & 0xF
        nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
        packed = nibbles[0::2] | nibbles[1::2] << 4
        ctypes.memmove(value.data_ptr(), packed.tobytes(), packed.size)
        return value


def _from_value(value: Any) -> Any:
    """The content of an OrtValue; of a type that numpy does not have, a copy in that of `ml_dtypes`."""
    import numpy as np
    import onnx

    if not value.has_value():
        return None
    if value.is_tensor_sequence():
        raise EvaluationError("onnxruntime gives no sequence beside a bfloat16 or float8 output")
    elem_type = _RAW.get(value.data_type())
    if elem_type is None:
        return value.numpy()
    shape = value.shape()
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    raw = np.frombuffer(ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()), np.uint8)
    if elem_type not in _FOUR_BITS:
        return raw.view(dtype).reshape(shape).copy()
    nibbles = np.stack([raw & 0xF, raw >> 4], axis=-1).reshape(-1)[: int(np.prod(shape))]
    signed = nibbles.astype(np.int8)
    if elem_type == _RAW["tensor(int4)"]:
        signed = np.where(signed > 7, signed - 16, signed)
    return signed.astype(dtype).reshape(shape)


def _load_reference(model: onnx.ModelProto, weights: Mapping[str, np.ndarray], options: Options) -> Session:
    """Loads a model in the reference evaluator, which rewrites nothing: that all is exposed does not matter to it."""
    del options
    # It needs declared types for some functions, and does not check shapes: value_info stays.
    return _ReferenceSession(private_copy(model, weights, expose=False, keep_value_info=True), weights)


class _ReferenceSession(Session):
    """The reference evaluator of onnx."""

    backend = "reference"

    def __init__(self, model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> None:
        from onnx.reference import ReferenceEvaluator

        session = self
        self._deadline: float | None = None
        self._weights = weights

        class Interruptible(ReferenceEvaluator):
            """Asks for the time before every node, in bodies and functions too: these are evaluated by this class."""

            def _log(self, *_message: object) -> None:
                if session._deadline is not None and time.monotonic() > session._deadline:
                    raise EvaluationTimeoutError("the run took longer than it was given")

        try:
            self._evaluator = Interruptible(model)
        except Exception as error:  # whatever an operator's implementation raises
            raise failure(error) from error

    def run(self, feeds: Mapping[str, Any], fetch: Sequence[str], timeout_s: float | None) -> list[Any]:
        import numpy as np

        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                results: Any = self._evaluator.run(list(fetch), {**self._weights, **feeds})
                return list(results)
        except EvaluationError:
            raise
        except Exception as error:
            raise failure(error) from error


def private_copy(
    model: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    *,
    expose: bool,
    embed: bool = False,
    keep_value_info: bool = False,
) -> onnx.ModelProto:
    """Copies a light model for a backend: weights become inputs (or are put inside), intermediates become outputs."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    if not keep_value_info:
        # A wrong or invented symbol in it makes onnxruntime refuse a valid model.
        del graph.value_info[:]
    _mend(graph)
    if weights:
        kept = [init for init in graph.initializer if init.name not in weights]
        headers = [init for init in graph.initializer if init.name in weights]
        if embed:
            kept += [_filled(header, weights[header.name]) for header in headers]
        else:
            declared = {value.name for value in graph.input}
            graph.input.extend(
                onnx.helper.make_tensor_value_info(header.name, header.data_type, list(header.dims))
                for header in headers
                if header.name not in declared
            )
        del graph.initializer[:]
        graph.initializer.extend(kept)
    if expose:
        outputs = {value.name for value in graph.output}
        for node in graph.node:
            for name in node.output:
                if name and name not in outputs:
                    outputs.add(name)
                    graph.output.add().name = name
    return copy


def _filled(header: onnx.TensorProto, array: np.ndarray) -> onnx.TensorProto:
    import numpy as np
    import onnx

    filled = onnx.numpy_helper.from_array(np.asarray(array), header.name)
    filled.data_type = header.data_type
    return filled


def _mend(graph: onnx.GraphProto) -> None:
    """Changes what onnxruntime does not stand, here and in all bodies.

    It refuses two equal node names (but takes any number of empty ones), and a part of Split without a name ends the
    process.
    """
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if node.name in seen:
            node.name = ""
        elif node.name:
            seen.add(node.name)
        if node.op_type == "Split" and "" in node.output:
            named = [name or f"{graph.name}/unused/{index}/{part}" for part, name in enumerate(node.output)]
            node.output[:] = named
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _mend(attribute.g)
            for body in attribute.graphs:
                _mend(body)


def failure(error: BaseException) -> EvaluationError:
    """The error of a runtime as one of ours."""
    text = _one_line(error)
    return (EvaluationMemoryError if isinstance(error, MemoryError) or _NO_MEMORY.search(text) else EvaluationError)(
        text
    )


def _one_line(error: BaseException) -> str:
    """The message of an error in one line, without onnxruntime's error code and its own source line and signature."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)(?: const)? ", "", text)
    return text if len(text) <= 400 else f"{text[:400]}..."

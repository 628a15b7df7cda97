"""The process in which onnxruntime runs a model for `onnxfuse.drivers.onnxruntime`: it loads one, and times its runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from onnxfuse.verification.element_types import is_string
from onnxfuse.verification.serving import listen
from onnxfuse.verification.sessions import EvaluationError, failure

__all__ = ["serve"]

LEVELS: Final = {
    True: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    False: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# onnx's numbers of types that numpy lacks, by their names in ml_dtypes.
RAW: Final = {
    f"tensor({name})" for name in ("bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
}
NUMBERS: Final = {"bfloat16": 16, "float8_e4m3fn": 17, "float8_e4m3fnuz": 18, "float8_e5m2": 19, "float8_e5m2fnuz": 20}


class _Timed:
    """One model, and the inputs that it is run on."""

    def __init__(self) -> None:
        self._session: Any = None
        self._run: Callable[[], Any] | None = None

    def answer(self, request: tuple[Any, ...], files: Sequence[int]) -> tuple[Any, ...]:
        """Returns the reply to a request: the name of a method first."""
        del files
        name, *arguments = request
        return ("done", getattr(self, name)(*arguments))

    def load(self, path: str, optimize: bool, threads: int, provider: str, library: str | None) -> None:
        """Loads a model."""
        options = ort.SessionOptions()
        options.graph_optimization_level = LEVELS[optimize]
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        # Threads that wait for the next run by spinning would take time from the other model's.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            if library is not None:
                options.register_custom_ops_library(library)
            self._session = ort.InferenceSession(path, options, providers=[provider])
        except Exception as error:  # onnxruntime and protobuf raise types of their own, with no common base but this
            raise failure(error) from error
        used = self._session.get_providers()
        if provider not in used:
            raise EvaluationError(f"{provider} cannot be used here: it would run on {', '.join(used)}")

    def feed(self, feeds: Mapping[str, Any]) -> float:
        """Takes the inputs of all runs from here on, and runs once; returns the seconds."""
        return self._first(feeds)[0]

    def run(self, feeds: Mapping[str, Any]) -> tuple[float, list[Any]]:
        """Runs once; returns the seconds, and the outputs."""
        seconds, results = self._first(feeds)
        return seconds, [_array(value) for value in results]

    def _first(self, feeds: Mapping[str, Any]) -> tuple[float, Any]:
        session = self._session
        run_options = ort.RunOptions()
        run_options.log_severity_level = 4
        types = {value.type for value in (*session.get_inputs(), *session.get_outputs())}
        if types & RAW:
            # The only way for types that numpy lacks; it takes 70 us more of each run.
            values = {name: _value(name, array) for name, array in feeds.items()}
            self._run = lambda: session.run_with_ort_values(None, values, run_options)
        else:
            given = dict(feeds)
            self._run = lambda: session.run(None, given, run_options)
        return self._timed()

    def time(self, rounds: int) -> list[float]:
        """Runs so many times; returns the seconds of each."""
        return [self._timed()[0] for _ in range(rounds)]

    def _timed(self) -> tuple[float, Any]:
        assert self._run is not None  # noqa: S101 - it was fed
        started = time.perf_counter()
        try:
            results = self._run()
        except Exception as error:
            raise failure(error) from error
        return time.perf_counter() - started, results


def _value(name: str, array: np.ndarray) -> Any:
    """An OrtValue on the memory of an array."""
    contiguous = np.asarray(array, order="C")
    number = NUMBERS.get(contiguous.dtype.name)
    if number is None:
        try:
            return ort.OrtValue.ortvalue_from_numpy(contiguous)
        except Exception as error:
            raise EvaluationError(f"input {name} is of {contiguous.dtype}, which cannot be fed") from error
    raw = contiguous.view(f"u{contiguous.dtype.itemsize}")
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, number)


def _array(value: Any) -> Any:
    """A result as an array; None of what has no raw form: a sequence, or a type that numpy lacks."""
    if isinstance(value, np.ndarray):
        return None if is_string(value.dtype) else value
    if not isinstance(value, ort.OrtValue) or not value.is_tensor():
        return None
    try:
        return value.numpy()
    except RuntimeError:
        return None


def serve(descriptor: int) -> None:
    """Runs a model until the other end of a socket is closed.

    Args:
        descriptor: The socket.
    """
    listen(descriptor, _Timed().answer)

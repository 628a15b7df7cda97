"""Running a model, in this process or, where it could end it, in another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from onnxfuse.verification.safety import is_safe
from onnxfuse.verification.sessions import (
    EvaluationCrashError,
    EvaluationError,
    EvaluationMemoryError,
    EvaluationTimeoutError,
    Options,
    Session,
    load,
)

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = [
    "EvaluationCrashError",
    "EvaluationError",
    "EvaluationMemoryError",
    "EvaluationTimeoutError",
    "Evaluator",
]


class Evaluator:
    """Runs one model, as often as wanted.

    onnxruntime runs on one thread of the CPU, with its optimizations off and every intermediate of the main graph
    exposed. Where it cannot load the model, `onnx.reference` runs it. A model that may crash, hang or exhaust memory is
    loaded and run in the worker, so that this is an error like any other; sessions there are kept, and made once for
    equal models.

    Attributes:
        backend: `onnxruntime` or `reference`.
        why_not_onnxruntime: One line, where the backend is the reference evaluator.
        input_names: The model's own inputs, in order; below IR 4 without its initializers. Promoted weights are none.
        output_names: The model's own outputs, in order.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        weights: Mapping[str, np.ndarray] | None = None,
        expose: bool = True,
        prefer: Literal["onnxruntime", "reference"] | None = None,
        isolated: bool | None = None,
        custom_op_library: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Loads a model.

        Args:
            model: The model. It is copied, so it should be light; it is not changed.
            weights: The payloads of initializers of the main graph that have only a header (name, dims, data type) in
                `model`. They are fed as inputs, without a copy. Names that are no initializers are ignored.
            expose: Whether every intermediate of the main graph becomes an output. It blocks onnxruntime's rewriting,
                and costs the memory of all intermediates at once.
            prefer: Which to try first; None for onnxruntime.
            isolated: Whether to run in the worker; None for: unless every operator is known to do no harm.
            custom_op_library: The path of a shared library that registers custom operators with onnxruntime.
            timeout_s: Seconds that loading in the worker may take.

        Raises:
            EvaluationTimeoutError: If loading takes too long.
            EvaluationMemoryError: If memory is short.
            EvaluationCrashError: If the worker dies of it.
            EvaluationError: If neither can load the model, with both reasons.
        """
        headers = {init.name: init for init in model.graph.initializer}
        stored = {**headers, **{init.values.name: init for init in model.graph.sparse_initializer}}
        fixed = stored if model.ir_version < 4 else {}
        self.input_names: list[str] = [value.name for value in model.graph.input if value.name not in fixed]
        self.output_names: list[str] = [value.name for value in model.graph.output]
        weights = {name: array for name, array in (weights or {}).items() if name in headers}
        options = Options(expose, prefer, custom_op_library)
        if isolated is None:
            isolated = custom_op_library is not None or not is_safe(model)
        self._session: Session
        if isolated:
            # Not at the top: what needs no worker does not import what it takes.
            from onnxfuse.verification.worker import RemoteSession

            self._session = RemoteSession(model, weights, options, timeout_s)
        else:
            self._session = load(model, weights, options)
        self.backend: str = self._session.backend
        self.why_not_onnxruntime: str | None = self._session.why_not_onnxruntime

    def run(
        self, feeds: Mapping[str, Any], *, fetch: Sequence[str] | None = None, timeout_s: float | None = None
    ) -> list[Any]:
        """Runs the model once.

        Args:
            feeds: Arrays by input name; lists for sequences, None for an empty optional. Types that numpy does not have
                are those of `ml_dtypes`. Inputs with a default may be missing.
            fetch: Which values to return: outputs, and where they are exposed, any other result of the main graph's
                nodes. None for the model's own outputs.
            timeout_s: Seconds after which the run is stopped: between two nodes, or in the worker with its process.

        Returns:
            The values in order: arrays, lists (sequences) or None (empty optionals).

        Raises:
            EvaluationTimeoutError: If the time is up.
            EvaluationMemoryError: If memory is short.
            EvaluationCrashError: If the worker dies of it.
            EvaluationError: If the run fails, with the reason in one line.
        """
        if timeout_s is not None and timeout_s <= 0:
            raise EvaluationTimeoutError("no time is left")
        wanted = self.output_names if fetch is None else fetch
        results = self._session.run(feeds, wanted, timeout_s)
        # Asked for none, onnxruntime gives all.
        return [_result(value) for value in results] if wanted else []


def _result(value: Any) -> Any:
    """A result in one form, whichever backend it came from."""
    import numpy as np

    if value is None or isinstance(value, np.ndarray):
        return value
    if isinstance(value, list | tuple):
        return [_result(item) for item in value]
    return np.asarray(value)

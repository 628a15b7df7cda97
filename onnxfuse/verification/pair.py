"""Two models, loaded side by side and run on the same inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from onnxfuse.verification.eval_model import EvalModel, custom_domains, is_own_fault
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError, Evaluator
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.input_sets import CutError, StopError
from onnxfuse.verification.memory import intermediate_bytes, measured_bytes

__all__ = ["Pair", "SecondFailsError"]

LOOP_LIMIT_S: Final = 2.0
"""A Loop may never end on extreme inputs: one that ended before gets so many seconds, or 20 times what it took."""


class SecondFailsError(Exception):
    """The second model cannot be loaded, or fails where the first one runs."""


@dataclass
class Pair:
    """Both models in one backend: the reference evaluator where onnxruntime does not load one of them.

    Attributes:
        a: The first model.
        b: The second.
        memory_limit: Bytes that the intermediates of one may take; above that they are not exposed.
        budget_s: Seconds for all that is done with them; None for no limit.
        notes: Takes what a user should know.
        started: When the budget began, by `time.monotonic()`.
        backend: Which backend; None before the first run.
        custom_op_library: The path of a shared library that registers custom operators with onnxruntime.
    """

    a: EvalModel
    b: EvalModel
    memory_limit: int
    budget_s: float | None
    notes: list[str]
    started: float
    custom_op_library: str | None = None
    backend: str | None = None
    _fits: dict[tuple[tuple[str, tuple[int, ...]], ...], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts = (GraphFacts(self.a.proto), GraphFacts(self.b.proto))
        self._first: Evaluator | None = None
        self._second: Evaluator | None = None
        self._second_fails: str | None = None
        self._exposed = False
        self._loop_limit = 5 * LOOP_LIMIT_S

    @property
    def within(self) -> str:
        """The budget, in words."""
        return "in time" if self.budget_s is None else f"within the budget of {self.budget_s:g} s (--verify-budget)"

    @property
    def deadline(self) -> float | None:
        """When the budget is used up, by `time.monotonic()`."""
        return None if self.budget_s is None else self.started + self.budget_s

    def remark(self, note: str) -> None:
        """Adds a note, once."""
        if note not in self.notes:
            self.notes.append(note)

    def first(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Runs the first model.

        Raises:
            EvaluationError: It fails.
            CutError: The budget is used up.
            StopError: It cannot be loaded.
        """
        first = self._prepared(feeds)
        started = time.monotonic()
        results = self._timed(first, feeds)
        self._loop_limit = max(LOOP_LIMIT_S, 20 * (time.monotonic() - started))
        return results

    def second(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Runs the second model, where the first one ran.

        Raises:
            SecondFailsError: It cannot be loaded, or fails.
            EvaluationTimeoutError: It does not come to an end.
            CutError: The budget is used up.
        """
        if self._second is None:
            raise SecondFailsError(f"the second model cannot be loaded: {self._second_fails}")
        try:
            return self._timed(self._second, feeds)
        except EvaluationTimeoutError:
            raise
        except EvaluationError as error:
            raise SecondFailsError(f"the second model fails where the first one runs: {error}") from error

    def both(self, feeds: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """Runs both, for the rounding rule.

        Raises:
            EvaluationTimeoutError: The budget is used up, or one of them does not come to an end.
            EvaluationError: Either cannot be loaded, or fails.
        """
        try:
            return self.first(feeds), self.second(feeds)
        except CutError as error:
            raise EvaluationTimeoutError(f"not finished {self.within}") from error
        except (SecondFailsError, StopError) as error:
            raise EvaluationError(str(error)) from error

    def rerun(self, model: EvalModel, feeds: Mapping[str, Any]) -> list[Any]:
        """Runs a model that is the first with other weights, as the first was run; raises as `both` does."""
        try:
            self._prepared(feeds)
            evaluator = self._loaded(model, "reference" if self.backend == "reference" else None)
            if evaluator.backend != self.backend:
                raise EvaluationError(f"with other weights it runs only on {evaluator.backend}")
            return self._timed(evaluator, feeds)
        except CutError as error:
            raise EvaluationTimeoutError(f"not finished {self.within}") from error
        except StopError as error:
            raise EvaluationError(str(error)) from error

    def forget_first(self) -> None:
        """Gives back the memory of the first model before the second takes its own; a later run loads it again."""
        self._first = None

    def _timed(self, evaluator: Evaluator, feeds: Mapping[str, Any]) -> list[Any]:
        try:
            return evaluator.run(feeds, timeout_s=self._timeout())
        except EvaluationTimeoutError:
            self._raise_if_cut()
            raise

    def _timeout(self) -> float | None:
        """Seconds that a run may take: what is left of the budget, and less for a Loop, which may never end."""
        limit = self._loop_limit if self.facts[0].loops or self.facts[1].loops else None
        if self.deadline is None:
            return limit
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CutError
        return left if limit is None else min(left, limit)

    def _raise_if_cut(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise CutError

    # ------------------------------------------------------------------ loading

    def _prepared(self, feeds: Mapping[str, Any]) -> Evaluator:
        """The first model, loaded together with the second, and again where intermediates start or cease to fit."""
        exposed = self._fit(feeds)
        if self._first is None or exposed != self._exposed:
            self._first = self._second = None
            self._exposed = exposed
            self._first = self._load()
        return self._first

    def _loaded(self, model: EvalModel, prefer: Literal["reference"] | None) -> Evaluator:
        try:
            return Evaluator(
                model.proto,
                weights=model.weights,
                expose=self._exposed,
                prefer=prefer,
                isolated=True,
                custom_op_library=self.custom_op_library,
                timeout_s=self._timeout(),
            )
        except EvaluationTimeoutError:
            self._raise_if_cut()
            raise

    def _load(self) -> Evaluator:
        try:
            first = self._loaded(self.a, None)
        except EvaluationError as error:
            raise StopError(f"the first model cannot be loaded: {error}") from error
        self.backend = first.backend
        try:
            self._second = self._loaded(self.b, "reference" if self.backend == "reference" else None)
            if self._second.backend != self.backend:
                reason = self._second.why_not_onnxruntime or ""
                if is_own_fault(self.a.proto, self.b.proto, reason):
                    raise EvaluationError(f"onnxruntime, which loads the first one, says: {reason}")
                self.remark(f"onnxruntime does not load the second model: {reason}")
                first = self._loaded(self.a, "reference")
                self.backend = first.backend
        except EvaluationTimeoutError:
            raise  # no fault of the second model
        except EvaluationError as error:
            if custom_domains(self.b.proto) - custom_domains(self.a.proto):
                raise StopError(f"the second model cannot be loaded: {error}") from error
            self._second = None
            self._second_fails = str(error)
            return first
        if self._second.backend != self.backend:
            raise StopError("no backend loads both models")
        if first.why_not_onnxruntime:
            self.remark(f"run by the reference evaluator: {first.why_not_onnxruntime}")
        return first

    def _fit(self, feeds: Mapping[str, Any]) -> bool:
        """Whether the intermediates of the first model fit in the memory limit; the second computes much the same."""
        shapes = {name: x.shape for name, x in feeds.items() if isinstance(x, np.ndarray)}
        key = tuple(shapes.items())
        if key not in self._fits:
            size, unknown = intermediate_bytes(self.a.proto, shapes)
            if unknown and size <= self.memory_limit:
                try:
                    size = measured_bytes(self.a.proto, feeds, weights=self.a.weights, timeout_s=self._timeout())
                except EvaluationTimeoutError:
                    self._raise_if_cut()
                    raise
                except EvaluationError:
                    size = 0  # the run itself will fail for the same reason, and say so
            self._fits[key] = size <= self.memory_limit
            if size > self.memory_limit:
                gib = f"they take {size / 2**30:.2f} GiB, and the limit is {self.memory_limit / 2**30:.2f} GiB"
                self.remark(f"intermediates are not exposed, so onnxruntime may rewrite across them: {gib}")
        return self._fits[key]

"""Comparing two whole models: their interfaces, then their results on the same inputs, bit for bit.

Results that differ in bits may be rounding. What cannot be rounding is told different here; the rest is left open, as
`not-run` with its size, since the tolerance rule that decides it is not part of this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from onnxfuse.verification.compare import Difference, compare_values
from onnxfuse.verification.eval_model import EvalModel, custom_domains, identical, is_own_fault, without_data
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError, Evaluator
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.input_data import InputData
from onnxfuse.verification.input_sets import CutError, Feeds, InputSet, StopError, sets_of
from onnxfuse.verification.inputs import InputError
from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.memory import intermediate_bytes, measured_bytes
from onnxfuse.verification.verdict import OutputVerdict, Status, Verdict

if TYPE_CHECKING:
    pass

__all__ = ["EvalModel", "check_models"]

Progress = Callable[[str, int, int], None]

ROUNDING_SHARE: Final = 1e-2
"""Rounding before a discrete operator (Round, ArgMax, a comparison) moves elements by whole steps, but only a few."""


LOOP_LIMIT_S: Final = 2.0
"""A Loop may never end on extreme inputs: one that ended before gets so many seconds, or 20 times what it took."""


def check_models(
    a: EvalModel,
    b: EvalModel,
    *,
    families: Literal["quick", "full"],
    dims: Mapping[str, int] | None = None,
    data: Sequence[InputData] | None = None,
    seed: int = 0,
    selected: Iterable[str] | None = None,
    budget_s: float | None = None,
    progress: Progress | None = None,
    memory_limit: int = 1 << 30,
) -> Verdict:
    """Says whether two models are equivalent.

    Args:
        a: The original.
        b: The model that should do the same.
        families: `quick`: one normal input. `full`: every family of values, a few of them at other bindings of the
            symbolic dims, and some again with the defaults of overridable inputs replaced.
        dims: The user's sizes of symbolic dims, by name or `INPUT.AXIS`; for testing only.
        data: The user's own input sets, used instead of drawing.
        seed: Of the drawn inputs.
        selected: The families that `full` draws; None for all.
        budget_s: Seconds after which what is left is listed as not run.
        progress: Called after every input set with its name, the number done, and the number in all.
        memory_limit: Bytes that the intermediates of one model may take; above that they are not exposed.

    Returns:
        The verdict. That a model cannot be run is in it, never an exception.

    Raises:
        UsageError: If `dims` or `data` speak of what the first model does not have, or `selected` of no family.
    """
    started = time.monotonic()
    names = [value.name for value in a.proto.graph.output]
    if identical(a, b):
        same = tuple(OutputVerdict(name, Status.EQUIVALENT) for name in names)
        return Verdict(Status.EQUIVALENT, same, notes=("the files are identical",), seconds=time.monotonic() - started)
    differences, notes = compare_interface(a.proto, b.proto)
    if differences:
        outputs = tuple(_interface_verdict(name, differences) for name in names)
        return Verdict(Status.DIFFERENT, outputs, tuple(differences), tuple(notes), seconds=time.monotonic() - started)
    stripped = without_data(a) or without_data(b)
    if stripped:
        why = (
            f"the model carries no weights ({stripped}, for one): python -m onnxfuse.testing fill gives it random ones"
        )
        outputs = tuple(OutputVerdict(name, Status.NOT_RUN, why) for name in names)
        return Verdict(Status.NOT_RUN, outputs, notes=tuple(notes), not_run=(why,), seconds=time.monotonic() - started)
    check = ModelCheck(a, b, families == "full", budget_s, memory_limit, progress, notes, started)
    try:
        check.run(sets_of(check, data, dims, seed, selected))
    except StopError as stop:
        check.stopped = str(stop)
    return check.verdict()


# ---- running both


@dataclass
class _Tally:
    """What is known so far of one output."""

    name: str
    different: OutputVerdict | None = None
    undecided: OutputVerdict | None = None
    severity: tuple[bool, float] = (False, -1.0)
    sizes: dict[str, Any] = field(default_factory=dict)

    def note(self, difference: Difference) -> None:
        """Keeps the largest differences over all input sets."""
        for key in ("max_abs", "max_rel", "max_ulp"):
            size = getattr(difference, key)
            if size is not None:
                self.sizes[key] = max(size, self.sizes.get(key, size))

    def verdict(self, nothing: str | None) -> OutputVerdict:
        """The answer; `nothing` says why nothing was compared."""
        found = self.different or self.undecided
        if found is None and nothing is not None:
            return OutputVerdict(self.name, Status.NOT_RUN, nothing)
        if found is None:
            return OutputVerdict(self.name, Status.EQUIVALENT)
        return OutputVerdict(self.name, found.status, found.why, **self.sizes, at=found.at, draw=found.draw)


@dataclass
class ModelCheck:
    """One comparison, as it goes on."""

    a: EvalModel
    b: EvalModel
    full: bool
    budget_s: float | None
    memory_limit: int
    progress: Progress | None
    notes: list[str]
    started: float
    stopped: str | None = None
    not_run: list[str] = field(default_factory=list)
    draws: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self.tallies = [_Tally(value.name) for value in self.a.proto.graph.output]
        self.backend: str | None = None
        self._first: Evaluator | None = None
        self._second: Evaluator | None = None
        self._second_fails: str | None = None
        self._exposed: bool | None = None
        self._loop_limit = 5 * LOOP_LIMIT_S
        self._kept: tuple[Feeds, list[Any]] | None = None
        self._last: Feeds | None = None
        self._shown: Feeds | None = None
        self._fits: dict[tuple[tuple[str, tuple[int, ...]], ...], bool] = {}
        self._facts = (GraphFacts(self.a.proto), GraphFacts(self.b.proto))

    @property
    def within(self) -> str:
        """The budget, in words."""
        return f"within the budget of {self.budget_s:g} s"

    def _timeout(self) -> float | None:
        """Seconds that a run may take: what is left of the budget, and less for a Loop, which may never end."""
        limit = self._loop_limit if self._facts[0].loops or self._facts[1].loops else None
        if self.budget_s is None:
            return limit
        left = self.started + self.budget_s - time.monotonic()
        if left <= 0:
            raise CutError
        return left if limit is None else min(left, limit)

    def _raise_if_cut(self) -> None:
        if self.budget_s is not None and time.monotonic() >= self.started + self.budget_s:
            raise CutError

    def keep(self, feeds: Feeds, results: list[Any]) -> None:
        """Keeps a run of the first model for the first input set, which is the same."""
        self._kept = (feeds, results)

    def run_first(self, feeds: Feeds) -> list[Any]:
        """Runs the first model; raises `EvaluationError`, or `CutError` where the time is up."""
        first = self._prepared(feeds)
        started = time.monotonic()
        results = self._timed(first, feeds)
        self._loop_limit = max(LOOP_LIMIT_S, 20 * (time.monotonic() - started))
        return results

    def _timed(self, evaluator: Evaluator, feeds: Feeds) -> list[Any]:
        try:
            return evaluator.run(feeds, timeout_s=self._timeout())
        except EvaluationTimeoutError:
            self._raise_if_cut()
            raise

    def run(self, sets: Sequence[InputSet]) -> None:
        """Compares the models on every input set, as long as there is time and an output that is not different yet."""
        first_drop = ""
        for done, inputs in enumerate(sets):
            try:
                self._compare(inputs, last=done + 1 == len(sets))
            except CutError:
                self.not_run.append(f"{len(sets) - done} of {len(sets)} input sets were not finished {self.within}")
                break
            except (EvaluationError, InputError) as error:
                self.dropped += 1
                first_drop = first_drop or f"{inputs.label}: {error}"
            if self._shown is None and any(tally.different for tally in self.tallies):
                self._shown = self._last
            if self.progress is not None:
                self.progress(inputs.label, done + 1, len(sets))
            if all(tally.different for tally in self.tallies):
                break
        if first_drop:
            self.notes.append(
                f"{self.dropped} input sets dropped, since the first model does not run on them: {first_drop}"
            )
            if not self.draws:
                raise StopError(f"the first model runs on no input set: {first_drop}")

    def _compare(self, inputs: InputSet, *, last: bool) -> None:
        """Runs both models on one input set; raises `EvaluationError` only where the first one does not run."""
        if self._kept is not None:
            (feeds, before), self._kept = self._kept, None
        else:
            feeds = inputs.make()
            before = self.run_first(feeds)
        again = self.run_first(feeds) if self._facts[0].random else before
        self._last = feeds
        if last:
            self._first = None  # no other run is needed of it: its memory goes before the second model takes its own
        if self._second is None:
            self._fail(f"the second model cannot be loaded: {self._second_fails}", inputs.label)
            return
        try:
            after = self._timed(self._second, feeds)
        except EvaluationTimeoutError as error:
            self.not_run.append(f"the second model on {inputs.label}: {error}")
            return
        except EvaluationError as error:
            self._fail(f"the second model fails where the first one runs: {error}", inputs.label)
            return
        self.draws += 1
        for tally, x, x_again, y in zip(self.tallies, before, again, after, strict=True):
            varies = x_again is not x and compare_values(x, x_again) is not None
            self._judge(tally, x, y, inputs, varies)

    def _fail(self, why: str, label: str) -> None:
        self.draws += 1
        for tally in self.tallies:
            found = OutputVerdict(tally.name, Status.DIFFERENT, f"value: {why}", draw=label)
            tally.different = tally.different or found

    def _judge(self, tally: _Tally, x: Any, y: Any, inputs: InputSet, varies: bool) -> None:
        """Compares one output on one input set."""
        random = tally.name in self._facts[0].random
        if varies and tally.name in self._facts[1].random:
            why: str | None = "it comes from random operators: two runs of the first model differ"
            tally.undecided = OutputVerdict(tally.name, Status.NOT_RUN, why, draw=inputs.label)
            return
        if varies:
            why = "value: two runs of the first model differ, and no random operator is left in the second"
            tally.different = tally.different or OutputVerdict(tally.name, Status.DIFFERENT, why, draw=inputs.label)
            return
        difference = compare_values(x, y)
        if difference is None:
            return
        tally.note(difference)
        why = (
            None if random and difference.kind != "dtype" else self._beyond_doubt(tally.name, difference, inputs.normal)
        )
        text = f"{difference.kind}: {difference.text}"
        status = Status.NOT_RUN if why is None else Status.DIFFERENT
        open_ = "it comes from random operators" if random else "deciding whether that is rounding is not implemented"
        found = OutputVerdict(
            tally.name, status, f"{text}, on {inputs.label}; {why or open_}", at=difference.at, draw=inputs.label
        )
        if why is None:
            severity = (difference.nonfinite, (difference.max_abs or 0.0) / (difference.scale or 1.0))
            if severity > tally.severity:
                tally.undecided, tally.severity = found, severity
        else:
            tally.different = tally.different or found

    def _beyond_doubt(self, name: str, difference: Difference, normal: bool) -> str | None:
        """Why a difference cannot be rounding; None where it might be."""
        if difference.kind != "value":
            return f"the {difference.kind} must not change"
        before, after = self._facts
        if name not in before.rounded and name not in after.rounded:
            return "no operator that it comes from rounds"
        if not normal:
            return None
        if not difference.is_float:
            return "that many are not rounding" if difference.share > ROUNDING_SHARE else None
        if difference.nonfinite:
            return "on a normal input, NaN and infinities must be at the same positions"
        limit = ROUNDING_SHARE if before.discrete or after.discrete else 0.0
        return "more than 1e-2 of the largest |a| is not rounding" if difference.beyond > limit else None

    def _prepared(self, feeds: Feeds) -> Evaluator:
        """The first model, loaded together with the second, and again where intermediates start or cease to fit."""
        exposed = self._fit(feeds)
        if self._first is None or exposed != self._exposed:
            self._first = self._second = None
            self._exposed = exposed
            self._first = self._load(exposed)
        return self._first

    def _load(self, expose: bool) -> Evaluator:
        """Loads both in one backend: the reference evaluator where onnxruntime does not load one of them."""

        def load(model: EvalModel, prefer: Literal["reference"] | None) -> Evaluator:
            return Evaluator(model.proto, weights=model.weights, expose=expose, prefer=prefer, isolated=True)

        try:
            first = load(self.a, None)
        except EvaluationError as error:
            raise StopError(f"the first model cannot be loaded: {error}") from error
        self.backend = first.backend
        try:
            self._second = load(self.b, "reference" if self.backend == "reference" else None)
            if self._second.backend != self.backend:
                reason = self._second.why_not_onnxruntime or ""
                if is_own_fault(self.a.proto, self.b.proto, reason):
                    raise EvaluationError(f"onnxruntime, which loads the first one, says: {reason}")
                self._remark(f"onnxruntime does not load the second model: {reason}")
                first = load(self.a, "reference")
                self.backend = first.backend
        except EvaluationError as error:
            if custom_domains(self.b.proto) - custom_domains(self.a.proto):
                raise StopError(f"the second model cannot be loaded: {error}") from error
            self._second = None
            self._second_fails = str(error)
            return first
        if self._second.backend != self.backend:
            raise StopError("no backend loads both models")
        if first.why_not_onnxruntime:
            self._remark(f"run by the reference evaluator: {first.why_not_onnxruntime}")
        return first

    def _remark(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _fit(self, feeds: Feeds) -> bool:
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
                self._remark(f"intermediates are not exposed, so onnxruntime may rewrite across them: {gib}")
        return self._fits[key]

    def verdict(self) -> Verdict:
        """The answer."""
        nothing = self.stopped or ("nothing was compared" if not self.draws else None)
        if self.stopped:
            self.not_run.append(self.stopped)
        outputs = tuple(tally.verdict(nothing) for tally in self.tallies)
        statuses = {output.status for output in outputs}
        status = Status.EQUIVALENT
        if Status.DIFFERENT in statuses:
            status = Status.DIFFERENT
        elif Status.NOT_RUN in statuses or self.not_run:
            status = Status.NOT_RUN
        seconds = time.monotonic() - self.started
        return Verdict(
            status,
            outputs,
            notes=tuple(self.notes),
            draws=self.draws,
            dropped=self.dropped,
            not_run=tuple(self.not_run),
            backend=self.backend,
            seconds=seconds,
            inputs=self._shown,
        )


# ---- without running anything


def _interface_verdict(name: str, differences: Sequence[str]) -> OutputVerdict:
    """What the interfaces say of one output: the rest of it was not compared."""
    for sentence in differences:
        if sentence.startswith(f"output {name} "):
            return OutputVerdict(name, Status.DIFFERENT, f"interface: {sentence}")
    return OutputVerdict(name, Status.NOT_RUN, "not compared, since the interfaces differ")

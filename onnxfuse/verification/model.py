"""Comparing two whole models: what they accept, what they compute identically, then their results on the same inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np

from onnxfuse.errors import UsageError
from onnxfuse.verification.compare import Difference, compare_values, is_float
from onnxfuse.verification.custom_ops import cut
from onnxfuse.verification.divergence import layers
from onnxfuse.verification.eval_model import EvalModel, identical, invalid, without_data
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.input_data import InputData
from onnxfuse.verification.input_sets import CutError, Feeds, InputSet, StopError, sets_of
from onnxfuse.verification.inputs import InputError
from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.judgement import Judgement, Tolerance
from onnxfuse.verification.pair import Pair, SecondFailsError
from onnxfuse.verification.structural import Structure, shared_memory
from onnxfuse.verification.tolerance import TWIN_LIMIT, RoundingRule
from onnxfuse.verification.verdict import OutputVerdict, Status, Verdict

__all__ = ["EvalModel", "Tolerance", "check_models"]

Progress = Callable[[str, int, int], None]

LAYERS_S: Final = 30.0
MOST_TIMEOUTS: Final = 3
"""After so many input sets on which the first model does not come to an end, no further one is tried."""


def check_models(
    a: EvalModel,
    b: EvalModel,
    *,
    families: Literal["quick", "full"],
    dims: Mapping[str, int] | None = None,
    data: Sequence[InputData] | None = None,
    seed: int = 0,
    selected: Iterable[str] | None = None,
    tolerances: Mapping[str | None, Tolerance] | None = None,
    budget_s: float | None = None,
    progress: Progress | None = None,
    memory_limit: int = 1 << 30,
    custom_op_library: str | None = None,
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
        tolerances: The user's own, by the name of an output; None for all other outputs.
        budget_s: Seconds after which what is left is listed as not run.
        progress: Called after every input set with its name, the number done, and the number in all.
        memory_limit: Bytes that the intermediates of one model may take; above that they are not exposed.
        custom_op_library: The path of a shared library that registers custom operators with onnxruntime. Without it
            they are left out: what they read is compared, and what they give is drawn.

    Returns:
        The verdict. That a model cannot be run is in it, never an exception.

    Raises:
        UsageError: If `dims`, `data` or `tolerances` speak of what the first model does not have, or `selected` of no
            family.
    """
    started = time.monotonic()
    names = [value.name for value in a.proto.graph.output]
    _check_tolerances(tolerances or {}, names)
    if identical(a, b):
        same = tuple(OutputVerdict(name, Status.EQUIVALENT, basis="structure") for name in names)
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
    broken = invalid(b) if families == "full" else None
    if broken and not invalid(a):
        why = f"interface: the second model is no valid ONNX: {broken}"
        outputs = tuple(OutputVerdict(name, Status.DIFFERENT, why) for name in names)
        return Verdict(Status.DIFFERENT, outputs, (why,), tuple(notes), seconds=time.monotonic() - started)
    given = a.proto
    drawn: frozenset[str] = frozenset()
    if custom_op_library is None and data is None:
        a, b = _without_custom_ops(a, b, notes)
        a, b, drawn = _without_random_ops(a, b, notes)
    pair = Pair(a, b, memory_limit, budget_s, notes, started, custom_op_library)
    check = ModelCheck(pair, families == "full", tolerances or {}, seed, progress)
    try:
        if check.open:
            check.run(sets_of(check, data, dims, seed, selected))
    except StopError as stop:
        check.stopped = str(stop)
    verdict = check.verdict()
    # Inputs that stand for what custom operators give are none that anyone could feed.
    if pair.a.proto is given:
        return verdict
    outputs = tuple(
        replace(output, basis="random") if output.name in drawn and output.basis else output
        for output in verdict.outputs
        # What a left-out operator reads is worth a line where it differs.
        if output.name in names or output.status is not Status.EQUIVALENT
    )
    return replace(verdict, inputs=None, outputs=outputs)


@dataclass
class _Tally:
    """What is known so far of one output.

    Attributes:
        name: Its name.
        tolerance: The user's own.
        proven: Why no run is needed of it: the basis of the answer.
        random: Whether random operators reach it.
        different: The answer, once it is known to differ.
        differing: Input sets on which bits differ and that are still to be judged.
        judgements: What the rounding rule said of others.
        rounded: Whether it differs within the user's own tolerance.
        sizes: The largest differences over all normal input sets.
    """

    name: str
    tolerance: Tolerance | None
    proven: str | None = None
    random: bool = False
    different: OutputVerdict | None = None
    undecided: str | None = None
    differing: list[InputSet] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    rounded: bool = False
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether running can still tell something of it."""
        return self.different is None and self.proven is None

    def fail(self, why: str, *, at: tuple[int, ...] | None = None, draw: str | None = None) -> None:
        """Keeps the first reason for `different`."""
        self.different = self.different or OutputVerdict(self.name, Status.DIFFERENT, why, at=at, draw=draw)

    def note(self, result: Any, difference: Difference | None) -> None:
        """Keeps the largest differences over all normal input sets."""
        if difference is None and isinstance(result, np.ndarray) and is_float(result.dtype):
            for key in ("max_abs", "max_rel", "needed"):
                self.sizes.setdefault(key, 0.0)
            self.sizes.setdefault("max_ulp", 0)
        for key in ("max_abs", "max_rel", "max_ulp", "needed"):
            size = getattr(difference, key, None)
            if size is not None:
                self.sizes[key] = max(size, self.sizes.get(key, size))

    def verdict(self, nothing: str | None) -> OutputVerdict:
        """The answer; `nothing` says why nothing was compared."""
        if self.different is not None:
            found = self.different
            sigmas = max((judgement.sigmas for judgement in self.judgements), default=None)
            return OutputVerdict(
                self.name, found.status, found.why, **self.sizes, sigmas=sigmas, at=found.at, draw=found.draw
            )
        if self.proven is not None:
            return OutputVerdict(self.name, Status.EQUIVALENT, basis=self.proven)
        why = self.undecided or nothing
        if why is not None:
            return OutputVerdict(self.name, Status.NOT_RUN, why, **self.sizes)
        if not self.judgements:
            within = self.tolerance is not None and self.sizes.get("max_abs")
            basis, text = ("tolerance", str(self.tolerance)) if within else ("bits", "equal bits")
            return OutputVerdict(self.name, Status.EQUIVALENT, basis=basis, tolerance=text, **self.sizes)
        sigmas = max(judgement.sigmas for judgement in self.judgements)
        text = f"rounding: {sigmas:.2g} of at most {TWIN_LIMIT:g} times what rounding explains"
        return OutputVerdict(
            self.name,
            Status.EQUIVALENT,
            basis="tolerance" if self.tolerance else "rounding",
            tolerance=f"{self.tolerance}; where values overflow, by the rounding rule" if self.tolerance else text,
            **self.sizes,
            sigmas=sigmas,
            skipped=sum(judgement.skipped for judgement in self.judgements),
        )


@dataclass
class ModelCheck:
    """One comparison, as it goes on."""

    pair: Pair
    full: bool
    tolerances: Mapping[str | None, Tolerance]
    seed: int
    progress: Progress | None
    stopped: str | None = None
    not_run: list[str] = field(default_factory=list)
    draws: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self.a, self.b, self.notes = self.pair.a, self.pair.b, self.pair.notes
        shared = shared_memory(self.a, self.b)
        self.structures = (Structure(self.a, shared), Structure(self.b, shared))
        self._normal: list[InputSet] = []
        self._kept: tuple[Feeds, list[Any]] | None = None
        self._shown: Feeds | None = None
        self._rule: RoundingRule | None = None
        self._last: Feeds | None = None
        # What only the second model computes may fail, even where no output reads it.
        known = set(self.structures[0].values.values())
        second = self.structures[1]
        self._unknown = any(digest not in known and name not in second.random for name, digest in second.values.items())
        self.tallies = [self._tally(value.name) for value in self.a.proto.graph.output]
        proven = sum(tally.proven is not None for tally in self.tallies)
        if proven:
            self.notes.append(f"{proven} of {len(self.tallies)} outputs are computed identically, and need no run")

    @property
    def open(self) -> bool:
        """Whether running can still tell something."""
        return any(tally.open or (self._unknown and tally.different is None) for tally in self.tallies)

    def _tally(self, name: str) -> _Tally:
        """What can be said of an output without running anything."""
        tally = _Tally(name, self.tolerances.get(name, self.tolerances.get(None)))
        drawn = [structure.random_of(name) for structure in self.structures]
        tally.random = any(drawn)
        if drawn[0] != drawn[1]:
            counts = f"{drawn[0].total()} before, {drawn[1].total()} after"
            tally.fail(f"random: the random operators that it comes from are not the same ({counts})")
        elif not tally.random and self.structures[0].values.get(name) == self.structures[1].values.get(name):
            tally.proven = "structure"
        return tally

    @property
    def within(self) -> str:
        """The budget, in words."""
        return self.pair.within

    def keep(self, feeds: Feeds, results: list[Any]) -> None:
        """Keeps a run of the first model for the first input set, which is the same."""
        self._kept = (feeds, results)

    def run_first(self, feeds: Feeds) -> list[Any]:
        """Runs the first model; raises as `Pair.first` does."""
        return self.pair.first(feeds)

    # ------------------------------------------------------------------ running both

    def run(self, sets: Sequence[InputSet]) -> None:
        """Compares the models on every input set, as long as there is time and an output that is open."""
        first_drop = ""
        judged, timeouts = False, 0
        for done, inputs in enumerate(sets):
            if not inputs.normal and not judged:
                self._judge()
                judged, self._unknown = True, False
            if not self.open:
                break
            try:
                self._compare(inputs, last=done + 1 == len(sets))
            except CutError:
                self.not_run.append(f"{len(sets) - done} of {len(sets)} input sets were not finished {self.within}")
                break
            except (EvaluationError, InputError) as error:
                self.dropped += 1
                first_drop = first_drop or f"{inputs.label}: {error}"
                timeouts += isinstance(error, EvaluationTimeoutError)
                if timeouts == MOST_TIMEOUTS:
                    left = len(sets) - done - 1
                    self.not_run.append(
                        f"{left} of {len(sets)} input sets: on {timeouts} others the first model did not end"
                    )
                    break
            if self._shown is None and any(tally.different or tally.differing for tally in self.tallies):
                self._shown = self._last
            if self.progress is not None:
                self.progress(inputs.label, done + 1, len(sets))
        self._judge()
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
            before = self.pair.first(feeds)
        self._last = feeds
        if inputs.normal:
            self._normal.append(inputs)
        varies = self._varying(self.pair.first, feeds, before)
        if last:
            self.pair.forget_first()
        try:
            after = self.pair.second(feeds)
        except EvaluationTimeoutError as error:
            self.not_run.append(f"the second model on {inputs.label}: {error}")
            return
        except SecondFailsError as error:
            self.draws += 1
            for tally in self.tallies:
                tally.fail(f"value: {error}", draw=inputs.label)
            return
        self.draws += 1
        varies_after = self._varying(self.pair.second, feeds, after)
        for index, tally in enumerate(self.tallies):
            if not tally.open:
                continue
            if index in varies or index in varies_after:
                self._judge_random(tally, index in varies, index in varies_after, inputs)
            else:
                self._note(tally, before[index], after[index], inputs)

    def _varying(self, run: Callable[[Feeds], list[Any]], feeds: Feeds, results: list[Any]) -> set[int]:
        """The outputs that vary between two runs of one session."""
        if not any(tally.random and tally.open for tally in self.tallies):
            return set()
        again = run(feeds)
        return {
            index
            for index, (tally, x, y) in enumerate(zip(self.tallies, results, again, strict=True))
            if tally.random and compare_values(x, y) is not None
        }

    def _judge_random(self, tally: _Tally, before: bool, after: bool, inputs: InputSet) -> None:
        if before and after:
            tally.proven = "random"
            return
        when = "before, and does not any more" if before else "now, and did not before"
        tally.fail(f"random: two runs on the same inputs show that it varied {when}", draw=inputs.label)

    def _note(self, tally: _Tally, x: Any, y: Any, inputs: InputSet) -> None:
        """Compares one output on one input set."""
        difference = compare_values(x, y)
        if inputs.normal:
            tally.note(x, difference)
        if difference is None:
            return
        text = f"{difference.kind}: {difference.text}, on {inputs.label}"
        if difference.kind != "value":
            tally.fail(text, at=difference.at, draw=inputs.label)
            return
        if tally.tolerance is not None and difference.is_float and isinstance(x, np.ndarray):
            exceeded = not bool(tally.tolerance.within(x, y).all())
            if exceeded and inputs.normal:
                tally.fail(f"{text}; that is not {tally.tolerance}", at=difference.at, draw=inputs.label)
            tally.rounded |= not exceeded and bool(difference.max_abs)
            if not exceeded or inputs.normal:
                return
        if all(tally.name not in facts.rounded for facts in self.pair.facts):
            tally.fail(f"{text}; no operator that it comes from rounds", at=difference.at, draw=inputs.label)
            return
        tally.differing.append(inputs)

    # ------------------------------------------------------------------ rounding

    def _judge(self) -> None:
        """Asks the rounding rule about all that differs and was not judged yet."""
        pending = [tally for tally in self.tallies if tally.open and tally.differing]
        if not pending:
            return
        sets = list({inputs.label: inputs for tally in pending for inputs in tally.differing}.values())
        if self._rule is None:
            own = {index: tally.tolerance for index, tally in enumerate(self.tallies) if tally.tolerance is not None}
            self._rule = RoundingRule(
                self.a, self.b, self.pair.both, seed=self.seed, deadline=self.pair.deadline, tolerances=own
            )
        self._rule.rounded |= {index for index, tally in enumerate(self.tallies) if tally.rounded}
        try:
            judgements = self._rule.decide(sets, self._normal)
        except CutError:
            judgements = [Judgement(undecided=f"whether it is rounding was not decided {self.within}")] * len(
                self.tallies
            )
        for note in self._rule.notes:
            self.pair.remark(note)
        for tally, judgement in zip(self.tallies, judgements, strict=True):
            if tally not in pending:
                continue
            tally.differing.clear()
            tally.judgements.append(judgement)
            if judgement.why is not None:
                tally.fail(f"value: {judgement.why}, on {judgement.draw}", at=judgement.at, draw=judgement.draw)
            tally.undecided = tally.undecided or judgement.undecided
            if judgement.inaccurate:
                self.pair.remark(f"output {tally.name} is less accurate than before on {judgement.inaccurate}")

    # ------------------------------------------------------------------ the answer

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
        different = status is Status.DIFFERENT
        return Verdict(
            status,
            outputs,
            notes=tuple(self.notes),
            draws=self.draws,
            dropped=self.dropped,
            not_run=tuple(self.not_run),
            backend=self.pair.backend,
            seconds=time.monotonic() - self.pair.started,
            layers=self._layers() if different else (),
            inputs=self._shown if different else None,
        )

    def _layers(self) -> tuple[Any, ...]:
        if self._shown is None:
            return ()
        deadline = self.pair.deadline
        left = LAYERS_S if deadline is None else min(LAYERS_S, deadline - time.monotonic())
        if left <= 0:
            return ()
        return layers(self.pair, self.structures, self._shown, timeout_s=left)


# ---- without running anything


def _without_custom_ops(a: EvalModel, b: EvalModel, notes: list[str]) -> tuple[EvalModel, EvalModel]:
    """The models without operators that no runtime knows, or as they are, with the reason among the notes."""
    parts = cut(a, b)
    if isinstance(parts, str) or parts.unpaired:
        notes += [parts] if isinstance(parts, str) else parts.notes
        return a, b
    notes += parts.notes
    return parts.a, parts.b


def _without_random_ops(a: EvalModel, b: EvalModel, notes: list[str]) -> tuple[EvalModel, EvalModel, frozenset[str]]:
    """The models with the same numbers fed in place of random operators, and the outputs that depend on these.

    As they are, where there are none, where they are not the same in both, or where that cannot be done.
    """
    names = [value.name for value in a.proto.graph.output]
    random = frozenset(GraphFacts(a.proto).random | GraphFacts(b.proto).random).intersection(names)
    if not random:
        return a, b, frozenset()
    shared = shared_memory(a, b)
    one, other = Structure(a, shared), Structure(b, shared)
    if any(one.random_of(name) != other.random_of(name) for name in names):
        return a, b, frozenset()
    parts = cut(a, b, random=True)
    if isinstance(parts, str) or parts.unpaired:
        notes.append("random operators are compared by what they are, and not by what is made of their numbers")
        return a, b, frozenset()
    notes += parts.notes
    return parts.a, parts.b, random


def _check_tolerances(tolerances: Mapping[str | None, Tolerance], names: Sequence[str]) -> None:
    for name in tolerances:
        if name is not None and name not in names:
            raise UsageError(f"a tolerance is given for {name!r}, which is no output; there are {', '.join(names)}")


def _interface_verdict(name: str, differences: Sequence[str]) -> OutputVerdict:
    """What the interfaces say of one output: the rest of it was not compared."""
    for sentence in differences:
        if sentence.startswith(f"output {name} "):
            return OutputVerdict(name, Status.DIFFERENT, f"interface: {sentence}")
    return OutputVerdict(name, Status.NOT_RUN, "not compared, since the interfaces differ")

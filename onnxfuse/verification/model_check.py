"""One comparison of two models: run on the same inputs as long as that can tell something, then judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.divergence import layers
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.input_sets import CutError, Feeds, InputSet, Progress, StopError
from onnxfuse.verification.inputs import InputError
from onnxfuse.verification.judgement import Tolerance
from onnxfuse.verification.pair import Pair, SecondFailsError
from onnxfuse.verification.structural import Structure, shared_memory
from onnxfuse.verification.tally import Tally
from onnxfuse.verification.tolerance import RoundingRule
from onnxfuse.verification.verdict import Status, Verdict

__all__ = ["ModelCheck"]

LAYERS_S: Final = 30.0
MOST_TIMEOUTS: Final = 3
"""After so many input sets on which the first model does not come to an end, no further one is tried."""


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

    def _tally(self, name: str) -> Tally:
        """What can be said of an output without running anything."""
        tally = Tally(name, self.tolerances.get(name, self.tolerances.get(None)))
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

    def _judge_random(self, tally: Tally, before: bool, after: bool, inputs: InputSet) -> None:
        if before and after:
            tally.proven = "random"
            return
        when = "before, and does not any more" if before else "now, and did not before"
        tally.fail(f"random: two runs on the same inputs show that it varied {when}", draw=inputs.label)

    def _note(self, tally: Tally, x: Any, y: Any, inputs: InputSet) -> None:
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
            tally.tolerated |= not exceeded
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
                self.a,
                self.b,
                self.pair.both,
                self.pair.rerun,
                seed=self.seed,
                deadline=self.pair.deadline,
                within=self.within,
                progress=self.progress,
                tolerances=own,
            )
        self._rule.rounded |= {index for index, tally in enumerate(self.tallies) if tally.rounded}
        judgements = self._rule.decide(sets, self._normal)
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

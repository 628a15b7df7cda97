"""Whether two models that differ in bits differ by rounding only.

No formula for each operator is needed: the original itself, run in float64 with artificial rounding noise, says how much
rounding may matter at each position. Measured on 273 pairs made by published tools and by hand: right rewrites are at
most 3.3 sigma from the original's twin, wrong ones at least 29,800 in the set the limits were chosen on.

Terms: sigma is the root mean square over noisy runs of the first model's twin; tiny is 4 eta + u |r|, with
u the unit roundoff, eta the smallest positive number and r the twin's result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from onnxfuse.verification.element_types import is_float
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.fed_values import beyond_root, has_extreme
from onnxfuse.verification.input_sets import InputSet, Progress
from onnxfuse.verification.judgement import Judgement, Tolerance, excess, in_words
from onnxfuse.verification.leaves import Leaf, changed, class_of, largest
from onnxfuse.verification.probe import Probe, Rerun, Runs

__all__ = ["RoundingRule"]

RHO_DRAWS: Final = 6
MOST_DRAWS: Final = 60
TWIN_LIMIT: Final = 8.0
DIRECT_LIMIT: Final = 32.0
WRONG_TWIN: Final = 2.0**14


@dataclass
class RoundingRule:
    """Decides differences between two models, draw by draw.

    Attributes:
        a: The original.
        b: The model that should do the same.
        run: Runs both.
        rerun: Runs the first with other weights.
        seed: Of the noise.
        deadline: Of `time.monotonic()`: what is not judged by then is undecided.
        within: That limit, in words.
        progress: Told of every input set before it is run: on a large model each takes many runs in float64.
        tolerances: The user's own, by the number of the output: what is within them needs no rule.
        rounded: Outputs that are known to be rounded otherwise, somewhere.
        notes: What a user should know of the twins.
    """

    a: EvalModel
    b: EvalModel
    run: Runs
    rerun: Rerun
    seed: int = 0
    deadline: float | None = None
    within: str = "in time"
    progress: Progress | None = None
    tolerances: Mapping[int, Tolerance] = field(default_factory=dict)
    rounded: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._probe = Probe(self.a, self.b, self.run, self.rerun, self.seed, self.deadline, self.notes)
        self._rho: dict[int, float] = {}
        self._known: dict[str, list[Leaf]] = {}

    def decide(self, differing: Sequence[InputSet], normal: Sequence[InputSet]) -> list[Judgement]:
        """Judges every output on input sets on which the models differ.

        Args:
            differing: These; at most 60 of them are looked at, some of each family.
            normal: Normal draws, whether the models differ on them or not: how far a run is from its twin.

        Returns:
            One judgement for each output of the first model.
        """
        judgements = [Judgement() for _ in self.a.proto.graph.output]
        chosen = list(_round_robin(differing))[:MOST_DRAWS]
        measured = normal[:RHO_DRAWS]
        try:
            with np.errstate(all="ignore"):
                self._measure_rho(self._told(measured, 0, len(measured) + len(chosen)))
                for inputs in self._told(chosen, len(measured), len(measured) + len(chosen)):
                    self._judge(inputs, judgements)
        except EvaluationTimeoutError:
            # What was found stands; that nothing was found says nothing of the sets that are left.
            for judgement in judgements:
                judgement.undecided = f"whether the difference is rounding was not decided {self.within}"
            return judgements
        for judgement in judgements:
            if judgement.left_out > judgement.compared:
                judgement.undecided = "most of it hangs on a threshold, where rounding decides between whole steps"
        self.rounded |= {output for output, judgement in enumerate(judgements) if judgement.kept_differs}
        if not self._probe.discrete:
            for output, judgement in enumerate(judgements):
                if judgement.skipped_differs and output not in self.rounded:
                    judgement.fail(
                        "nothing is rounded otherwise, but what overflows, or comes from NaN or infinity, differs",
                        (),
                        judgement.skipped_differs,
                    )
        return judgements

    def _told(self, sets: Sequence[InputSet], before: int, total: int) -> Iterator[InputSet]:
        for done, inputs in enumerate(sets, before):
            if self.progress is not None:
                self.progress(f"rounding on {inputs.label}", done, total)
            yield inputs

    def _measure_rho(self, normal: Iterable[InputSet]) -> None:
        """How far the runs are from their twins, in units of sigma + tiny; a twin that is too far is discarded."""
        far = 0.0
        for inputs in normal:
            if inputs.label in self._known:
                continue
            try:
                leaves = self._probe.analysed(inputs.make())
            except EvaluationError as error:
                if isinstance(error, EvaluationTimeoutError):
                    raise
                continue
            self._known[inputs.label] = leaves
            for leaf in leaves:
                if leaf.twin is None or leaf.sigma is None or not is_float(leaf.before.dtype):
                    continue
                kept = np.isfinite(leaf.before.astype(np.float64)) & np.isfinite(leaf.twin) & ~leaf.hanging
                unit = leaf.sigma + leaf.limits.u * np.abs(leaf.twin) + leaf.limits.smallest
                ratio = largest(np.abs(leaf.before.astype(np.float64) - leaf.twin) / unit, kept)
                self._rho[leaf.output] = max(ratio, self._rho.get(leaf.output, 0.0))
                if leaf.twin_after is not None and leaf.after.shape == leaf.twin.shape:
                    finite = kept & np.isfinite(leaf.twin_after) & np.isfinite(leaf.after.astype(np.float64))
                    far = max(far, largest(np.abs(leaf.after.astype(np.float64) - leaf.twin_after) / unit, finite))
        if max(self._rho.values(), default=0.0) > WRONG_TWIN:
            self._probe.discard(0, "its results are too far from it")
            self._rho.clear()
            self._known.clear()
        elif far > WRONG_TWIN:
            self._probe.discard(1, "its results are too far from it")
            self._known.clear()

    # ------------------------------------------------------------------ the decision

    def _judge(self, inputs: InputSet, judgements: Sequence[Judgement]) -> None:
        feeds = inputs.make()
        try:
            leaves = self._known.get(inputs.label) or self._probe.analysed(feeds)
        except EvaluationTimeoutError:
            raise
        except EvaluationError as error:
            # Both ran on it a moment ago.
            for judgement in judgements:
                judgement.undecided = f"a second run on {inputs.label} failed: {error}"
            return
        wild = has_extreme(feeds)
        if self._probe.twinless and beyond_root(feeds):
            for leaf in leaves:
                judgements[leaf.output].skipped += leaf.before.size
            return
        found = [self._difference(leaf, inputs, None) for leaf in leaves]
        if wild and any(found):
            tainted = self._probe.tainted(feeds, leaves, normal=inputs.normal)
            found = [self._difference(leaf, inputs, mask) for leaf, mask in zip(leaves, tainted, strict=True)]
        else:
            tainted = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        for leaf, mask, difference in zip(leaves, tainted, found, strict=True):
            self._note(leaf, mask, inputs, judgements[leaf.output])
            if difference is not None:
                judgements[leaf.output].fail(*difference, inputs.label)

    def _note(self, leaf: Leaf, tainted: np.ndarray, inputs: InputSet, judgement: Judgement) -> None:
        """Keeps what is to be told of a leaf whatever the answer."""
        skipped = tainted | leaf.hanging
        differs = changed(leaf.before, leaf.after)
        judgement.skipped += int(np.count_nonzero(differs & skipped))
        judgement.kept_differs |= bool((differs & ~skipped).any())
        if inputs.normal:
            judgement.left_out += int(np.count_nonzero(skipped))
            judgement.compared += int(skipped.size - np.count_nonzero(skipped))
        if bool((differs & tainted).any()) and is_float(leaf.before.dtype):
            judgement.skipped_differs = judgement.skipped_differs or inputs.label
        if leaf.twin is None or not is_float(leaf.before.dtype):
            return
        unit = leaf.unit
        if leaf.twin_after is not None:
            ratio = largest(np.abs(leaf.twin_after - leaf.twin) / unit, ~skipped & np.isfinite(leaf.twin_after))
            judgement.sigmas = max(judgement.sigmas, ratio)
        if not inputs.normal:
            direct = np.abs(leaf.after.astype(np.float64) - leaf.twin) / unit
            finite = np.isfinite(direct) & ~skipped
            if largest(direct, finite) > self._direct_limit(leaf.output):
                judgement.inaccurate = judgement.inaccurate or inputs.label

    def _direct_limit(self, output: int) -> float:
        return max(4 * self._rho.get(output, 0.0), DIRECT_LIMIT)

    def _difference(
        self, leaf: Leaf, inputs: InputSet, tainted: np.ndarray | None
    ) -> tuple[str, tuple[int, ...]] | None:
        """The first difference that cannot be rounding, where `tainted` is not looked at."""
        skipped = np.zeros(leaf.before.shape, bool) if tainted is None else tainted
        if not is_float(leaf.before.dtype):
            wrong = changed(leaf.before, leaf.after) & ~skipped & ~leaf.hanging
            return in_words(wrong, leaf, "rounding does not change these values")
        x, y = leaf.before.astype(np.float64), leaf.after.astype(np.float64)
        own = self.tolerances.get(leaf.output)
        if own is not None:
            skipped = skipped | own.within(leaf.before, leaf.after)
        classes = (class_of(x) != class_of(y)) & ~skipped & ~leaf.class_hanging
        found = in_words(classes, leaf, "NaN and infinities must be at the same positions")
        if found is not None:
            return found
        kept = ~skipped & ~leaf.hanging & np.isfinite(x) & np.isfinite(y)
        if leaf.twin is None:
            limit = (
                8 * (0.0 if leaf.sigma is None else leaf.sigma)
                + 16 * leaf.limits.u * np.abs(x)
                + 4 * leaf.limits.smallest
            )
            return in_words((np.abs(y - x) > limit) & kept, leaf, "more than 8 times the spread under jitter")
        unit = leaf.unit
        if leaf.twin_after is not None:
            limit_of = max(TWIN_LIMIT, 4 * self._rho.get(leaf.output, 0.0)) if leaf.before.itemsize == 8 else TWIN_LIMIT
            apart = np.abs(leaf.twin_after - leaf.twin)
            wrong = ((apart > limit_of * unit) | (class_of(leaf.twin_after) != class_of(leaf.twin))) & kept
            found = in_words(wrong, leaf, excess(apart / unit, wrong, "the exact results are apart by", limit_of))
            if found is not None:
                return found
        if inputs.normal or leaf.twin_after is None:
            apart = np.abs(y - leaf.twin)
            limit_of = self._direct_limit(leaf.output)
            wrong = (apart > limit_of * unit) & kept
            return in_words(wrong, leaf, excess(apart / unit, wrong, "it is off the exact result by", limit_of))
        return None


def _round_robin(sets: Sequence[InputSet]) -> Iterator[InputSet]:
    families: dict[str, list[InputSet]] = {}
    for inputs in sets:
        families.setdefault(inputs.family, []).append(inputs)
    for row in range(max(map(len, families.values()), default=0)):
        for rows in families.values():
            if row < len(rows):
                yield rows[row]

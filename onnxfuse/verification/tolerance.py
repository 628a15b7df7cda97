"""Whether two models that differ in bits differ by rounding only.

No formula for each operator is needed: the original itself, run in float64 with artificial rounding noise, says how much
rounding may matter at each position. Measured on 273 pairs made by published tools and by hand: right rewrites are at
most 3.3 sigma from the original's twin, wrong ones at least 29,800 in the set the limits were chosen on.

Terms: sigma is the root mean square over `NOISE_RUNS` noisy runs of the first model's twin; tiny is 4 eta + u |r|, with
u the unit roundoff, eta the smallest positive number and r the twin's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from onnxfuse.verification.disturb import Inexact, Marks, Noise
from onnxfuse.verification.element_types import is_float
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.fed_values import beyond_root, has_extreme, has_nonfinite, without_nonfinite
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.input_sets import InputSet, Progress
from onnxfuse.verification.jitter import jittered, jittered_model
from onnxfuse.verification.judgement import Judgement, Tolerance, excess, in_words
from onnxfuse.verification.leaves import Leaf, changed, class_of, largest, tensors_of
from onnxfuse.verification.twin import Disturbance, Twin
from onnxfuse.verification.twin_kernel import UnsupportedError

__all__ = ["Rerun", "RoundingRule", "Runs"]

NOISE_RUNS: Final = 10
STRONG_RUNS: Final = 4
STRONG: Final = 32
EXACT_RUNS: Final = 2
MARK_RUNS: Final = 6
JITTER_RUNS: Final = 4
RHO_DRAWS: Final = 6
MOST_DRAWS: Final = 60
TWIN_LIMIT: Final = 8.0
DIRECT_LIMIT: Final = 32.0
WRONG_TWIN: Final = 2.0**14

Runs = Callable[[Mapping[str, Any]], tuple[list[Any], list[Any]]]
"""Runs both models on one set of inputs; raises `EvaluationError`."""
Rerun = Callable[[EvalModel, Mapping[str, Any]], list[Any]]
"""Runs the first model, given it with other weights, on one set of inputs; raises `EvaluationError`."""


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
        self._twins: list[Twin | None] = [self._twin(self.a, "first"), self._twin(self.b, "second")]
        facts = (GraphFacts(self.a.proto), GraphFacts(self.b.proto))
        self._discrete = facts[0].discrete or facts[1].discrete
        self._input_noise = not facts[0].discrete
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
        if not self._discrete:
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

    # ------------------------------------------------------------------ twins

    def _twin(self, model: EvalModel, which: str) -> Twin | None:
        try:
            return Twin(model)
        except UnsupportedError as error:
            self.notes.append(f"the {which} model has no float64 twin: {error}")
            return None

    def _run_twin(
        self, which: int, feeds: Mapping[str, Any], disturbance: Disturbance | None = None
    ) -> list[Any] | None:
        """The leaves of a twin's results; None where it has none, and from then on."""
        twin = self._twins[which]
        if twin is None:
            return None
        try:
            return tensors_of(twin.run(feeds, disturbance, deadline=self.deadline))
        except UnsupportedError as error:
            self._discard(which, str(error))
            return None

    def _discard(self, which: int, why: str) -> None:
        self._twins[which] = None
        self.notes.append(f"the {('first', 'second')[which]} model is judged without its float64 twin: {why}")

    def _measure_rho(self, normal: Iterable[InputSet]) -> None:
        """How far the runs are from their twins, in units of sigma + tiny; a twin that is too far is discarded."""
        far = 0.0
        for inputs in normal:
            if inputs.label in self._known:
                continue
            try:
                leaves = self._analysed(inputs.make())
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
            self._discard(0, "its results are too far from it")
            self._rho.clear()
            self._known.clear()
        elif far > WRONG_TWIN:
            self._discard(1, "its results are too far from it")
            self._known.clear()

    def _analysed(self, feeds: Mapping[str, Any]) -> list[Leaf]:
        """Runs both models, their twins, and the first one's noise."""
        before, after = self.run(feeds)
        leaves = [
            Leaf(output, np.asarray(x), np.asarray(y))
            for output, (one, other) in enumerate(zip(before, after, strict=True))
            for x, y in zip(tensors_of([one]), tensors_of([other]), strict=False)
        ]
        twin = self._matching(0, feeds, leaves)
        if twin is None:
            self._spread(feeds, leaves)
            return leaves
        twin_after = self._matching(1, feeds, leaves)
        for index, leaf in enumerate(leaves):
            leaf.twin = twin[index]
            leaf.twin_after = None if twin_after is None else twin_after[index]
        self._noise(feeds, leaves)
        return leaves

    def _matching(self, which: int, feeds: Mapping[str, Any], leaves: Sequence[Leaf]) -> list[Any] | None:
        """A twin's results, if they have the shapes of the run's."""
        results = self._run_twin(which, feeds)
        if results is None:
            return None
        runs = [leaf.after if which else leaf.before for leaf in leaves]
        if [np.shape(x) for x in results] != [x.shape for x in runs]:
            if which == 0 or not self._discrete:
                self._discard(which, "it gives other shapes")
            return None
        return results

    def _noise(self, feeds: Mapping[str, Any], leaves: Sequence[Leaf]) -> None:
        """Measures sigma, and finds what hangs on a threshold."""
        squares = [np.zeros(leaf.before.shape) for leaf in leaves]
        for leaf in leaves:
            leaf.unstable, leaf.moved = (np.zeros(leaf.before.shape, bool) for _ in range(2))
        for number in range(NOISE_RUNS):
            noise = Noise(np.random.default_rng([self.seed, 1, number]), inputs=self._input_noise)
            for leaf, result, square in zip(leaves, self._run_twin(0, feeds, noise) or [], squares, strict=False):
                if not is_float(leaf.before.dtype):
                    leaf.shake(result, 1.0)
                elif leaf.twin is not None and np.shape(result) == square.shape:
                    np.add(square, np.nan_to_num((result - leaf.twin) ** 2, nan=0.0, posinf=0.0), out=square)
        for leaf, square in zip(leaves, squares, strict=True):
            leaf.sigma = np.sqrt(square / NOISE_RUNS)
            if self._discrete and is_float(leaf.before.dtype):
                leaf.distrust_jumps()
        for number in range(STRONG_RUNS):
            noise = Noise(np.random.default_rng([self.seed, 2, number]), times=STRONG, inputs=False)
            for leaf, result in zip(leaves, self._run_twin(0, feeds, noise) or [], strict=False):
                leaf.shake(result, STRONG)
        if any(leaf.hangs_where_it_differs for leaf in leaves):
            for leaf, exact in zip(leaves, self._exact(feeds, leaves), strict=True):
                leaf.settle(exact)

    def _exact(self, feeds: Mapping[str, Any], leaves: Sequence[Leaf]) -> list[np.ndarray]:
        """The positions behind which neither model rounds anything: what differs there is no rounding."""
        exact = [np.ones(leaf.before.shape, bool) for leaf in leaves]
        for which in (0, 1):
            for number in range(EXACT_RUNS):
                noise = Inexact(np.random.default_rng([self.seed, 6, number]), number)
                results = self._run_twin(which, feeds, noise)
                base = [leaf.twin_after if which else leaf.twin for leaf in leaves]
                if results is None or any(was is None for was in base):
                    return [np.zeros(leaf.before.shape, bool) for leaf in leaves]
                for mask, result, was in zip(exact, results, base, strict=False):
                    np.logical_and(mask, ~changed(was, result), out=mask)
        return exact

    def _spread(self, feeds: Mapping[str, Any], leaves: Sequence[Leaf]) -> None:
        """Without a twin: how far the first model's results move when its inputs and weights are jittered by 2 u."""
        spreads = [np.zeros(leaf.before.shape) for leaf in leaves]
        refused: list[EvaluationError] = []
        for number in range(JITTER_RUNS):
            rng = np.random.default_rng([self.seed, 3, number])
            try:
                results = tensors_of(self.rerun(jittered_model(self.a, rng), jittered(feeds, rng)))
            except EvaluationTimeoutError:
                raise
            except EvaluationError as error:
                refused.append(error)  # what the model refuses tells nothing of its rounding
                continue
            for leaf, result, spread in zip(leaves, results, spreads, strict=False):
                if is_float(leaf.before.dtype) and np.shape(result) == spread.shape:
                    distance = np.abs(result.astype(np.float64) - leaf.before.astype(np.float64))
                    np.maximum(spread, np.nan_to_num(distance, nan=0.0, posinf=0.0), out=spread)
        if len(refused) == JITTER_RUNS:
            raise refused[0]
        for leaf, spread in zip(leaves, spreads, strict=True):
            leaf.sigma = spread

    # ------------------------------------------------------------------ taint

    def _tainted(self, feeds: Mapping[str, Any], leaves: Sequence[Leaf], *, normal: bool) -> list[np.ndarray]:
        """The positions that hang on extreme or non-finite inputs, and on what is out of range on the way."""
        tainted = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        if not has_extreme(feeds):
            return tainted
        for which in (0,) if normal else (0, 1):
            base = [leaf.twin_after if which else leaf.twin for leaf in leaves]
            if any(result is None for result in base):
                continue
            hanging = [
                [np.zeros(leaf.before.shape, bool) for leaf in leaves],
                [np.zeros(leaf.before.shape, bool) for leaf in leaves],
            ]
            for overflows in (False, True):
                for number in range(MARK_RUNS):
                    rng = np.random.default_rng([self.seed, 4, overflows, number])
                    results = self._run_twin(which, feeds, Marks(rng, number, overflows=overflows)) or []
                    for mask, result, was in zip(hanging[overflows], results, base, strict=False):
                        np.logical_or(mask, changed(was, result), out=mask)
            for mask, inputs, overflow in zip(tainted, *hanging, strict=True):
                np.logical_or(mask, inputs & overflow, out=mask)
        for mask, changed_there in zip(tainted, self._changed_at_run_time(feeds, leaves), strict=True):
            np.logical_or(mask, changed_there, out=mask)
        return tainted

    def _changed_at_run_time(self, feeds: Mapping[str, Any], leaves: Sequence[Leaf]) -> list[np.ndarray]:
        """What changes in the runtime when non-finite inputs are replaced: a kernel may multiply 0 by infinity."""
        hanging = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        if not has_nonfinite(feeds):
            return hanging
        rng = np.random.default_rng([self.seed, 5])
        try:
            before, after = self.run(without_nonfinite(feeds, rng))
        except EvaluationTimeoutError:
            raise
        except EvaluationError:
            return hanging  # what the twins say has to do
        for mask, leaf, x, y in zip(hanging, leaves, tensors_of(before), tensors_of(after), strict=False):
            np.logical_or(mask, changed(leaf.before, x) | changed(leaf.after, y), out=mask)
        return hanging

    # ------------------------------------------------------------------ the decision

    def _judge(self, inputs: InputSet, judgements: Sequence[Judgement]) -> None:
        feeds = inputs.make()
        try:
            leaves = self._known.get(inputs.label) or self._analysed(feeds)
        except EvaluationTimeoutError:
            raise
        except EvaluationError as error:
            # Both ran on it a moment ago.
            for judgement in judgements:
                judgement.undecided = f"a second run on {inputs.label} failed: {error}"
            return
        wild = has_extreme(feeds)
        if self._twins[0] is None and beyond_root(feeds):
            for leaf in leaves:
                judgements[leaf.output].skipped += leaf.before.size
            return
        found = [self._difference(leaf, inputs, None) for leaf in leaves]
        if wild and any(found):
            tainted = self._tainted(feeds, leaves, normal=inputs.normal)
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

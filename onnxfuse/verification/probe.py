"""What the runs of two models, their twins, and noise on these tell of one set of inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from onnxfuse.verification.disturb import Inexact, Marks, Noise
from onnxfuse.verification.element_types import is_float
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.fed_values import has_extreme, has_nonfinite, without_nonfinite
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.jitter import jittered, jittered_model
from onnxfuse.verification.leaves import Leaf, changed, tensors_of
from onnxfuse.verification.twin import Disturbance, Twin
from onnxfuse.verification.twin_kernel import UnsupportedError

__all__ = ["Probe", "Rerun", "Runs"]

NOISE_RUNS: Final = 10
STRONG_RUNS: Final = 4
STRONG: Final = 32
EXACT_RUNS: Final = 2
MARK_RUNS: Final = 6
JITTER_RUNS: Final = 4

Runs = Callable[[Mapping[str, Any]], tuple[list[Any], list[Any]]]
"""Runs both models on one set of inputs; raises `EvaluationError`."""
Rerun = Callable[[EvalModel, Mapping[str, Any]], list[Any]]
"""Runs the first model, given it with other weights, on one set of inputs; raises `EvaluationError`."""


@dataclass
class Probe:
    """Two models, as they are run to see how much rounding matters.

    Attributes:
        a: The original.
        b: The model that should do the same.
        run: Runs both.
        rerun: Runs the first with other weights.
        seed: Of the noise.
        deadline: Of `time.monotonic()`.
        notes: Takes what a user should know of the twins.
        discrete: Whether a float reaches an operator that turns a rounding error into a whole step.
    """

    a: EvalModel
    b: EvalModel
    run: Runs
    rerun: Rerun
    seed: int
    deadline: float | None
    notes: list[str]

    def __post_init__(self) -> None:
        self._twins: list[Twin | None] = [self._twin(self.a, "first"), self._twin(self.b, "second")]
        facts = (GraphFacts(self.a.proto), GraphFacts(self.b.proto))
        self.discrete = facts[0].discrete or facts[1].discrete
        self._input_noise = not facts[0].discrete

    @property
    def twinless(self) -> bool:
        """Whether the original has no twin, or none any more."""
        return self._twins[0] is None

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
            self.discard(which, str(error))
            return None

    def discard(self, which: int, why: str) -> None:
        """Goes on without the twin of the first (0) or the second model (1)."""
        self._twins[which] = None
        self.notes.append(f"the {('first', 'second')[which]} model is judged without its float64 twin: {why}")

    def analysed(self, feeds: Mapping[str, Any]) -> list[Leaf]:
        """Runs both models, their twins, and the first one's noise; raises `EvaluationError`."""
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
            if which == 0 or not self.discrete:
                self.discard(which, "it gives other shapes")
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
            if self.discrete and is_float(leaf.before.dtype):
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

    def tainted(self, feeds: Mapping[str, Any], leaves: Sequence[Leaf], *, normal: bool) -> list[np.ndarray]:
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

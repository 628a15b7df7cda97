"""Whether two models that differ in bits differ by rounding only.

No formula for each operator is needed: the original itself, run in float64 with artificial rounding noise, says how much
rounding may matter at each position. Measured on 273 pairs made by published tools and by hand: right rewrites are at
most 3.3 sigma from the original's twin, wrong ones at least 29,800 in the set the limits were chosen on.

Terms: sigma is the root mean square over `NOISE_RUNS` noisy runs of the first model's twin; tiny is 4 eta + u |r|, with
u the unit roundoff, eta the smallest positive number and r the twin's result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from onnxfuse.verification.compare import is_float
from onnxfuse.verification.disturb import FloatFormat, Marks, Noise, float_format
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.input_sets import InputSet
from onnxfuse.verification.twin import Disturbance, Twin, UnsupportedError

__all__ = ["Judgement", "RoundingRule", "Runs", "Tolerance"]

NOISE_RUNS: Final = 10
STRONG_RUNS: Final = 4
STRONG: Final = 32
MARK_RUNS: Final = 6
JITTER_RUNS: Final = 4
RHO_DRAWS: Final = 6
MOST_DRAWS: Final = 60
TWIN_LIMIT: Final = 8.0
DIRECT_LIMIT: Final = 32.0
WRONG_TWIN: Final = 2.0**14
PATIENCE_S: Final = 120.0
"""After so many seconds no further input set is begun: on a large model every one takes many runs in float64."""

Runs = Callable[[Mapping[str, Any]], tuple[list[Any], list[Any]]]
"""Runs both models on one set of inputs; raises `EvaluationError`."""


@dataclass(frozen=True)
class Tolerance:
    """A user's own tolerance: |a - b| <= atol + rtol |a|, NaN and infinities at the same positions.

    On normal draws and the user's own data it decides alone. On the others, where values overflow, what exceeds it is
    left to the rounding rule.
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __str__(self) -> str:
        return f"within rtol {self.rtol:g} and atol {self.atol:g}, as asked for"

    def within(self, a: Any, b: Any) -> np.ndarray:
        """Where two float arrays of one shape differ by no more."""
        x, y = (np.asarray(value) for value in (a, b))
        wide = np.complex128 if x.dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):
            return np.isclose(y.astype(wide), x.astype(wide), rtol=self.rtol, atol=self.atol, equal_nan=True)


@dataclass
class Judgement:
    """What the rule says of one output.

    Attributes:
        why: What cannot be rounding, as a sentence; None where all may be.
        at: The position of that.
        draw: The input set of that.
        sigmas: The largest difference between the twins, in units of sigma + tiny; the limit is 8. Where the first
            model has no twin, of the results, in units of its spread under jitter.
        skipped: Positions that were not compared: they hang on values that a type cannot hold, or on a threshold.
        inaccurate: Where the second model is less accurate than the first, outside of normal draws; None: nowhere.
        undecided: Why nothing can be said; None where something is.
        kept_differs: Whether anything differs where it is compared.
        skipped_differs: An input set on which what overflows differs.
        compared: Positions of normal draws that were compared.
        left_out: Those that were not.
    """

    why: str | None = None
    at: tuple[int, ...] | None = None
    draw: str | None = None
    sigmas: float = 0.0
    skipped: int = 0
    inaccurate: str | None = None
    undecided: str | None = None
    kept_differs: bool = False
    skipped_differs: str | None = None
    compared: int = 0
    left_out: int = 0

    def fail(self, why: str, at: tuple[int, ...], draw: str) -> None:
        """Keeps the first difference that is no rounding."""
        if self.why is None:
            self.why, self.at, self.draw = why, at, draw


@dataclass
class _Leaf:
    """One tensor of an output, in both models' runs and in their twins; a sequence has several."""

    output: int
    before: np.ndarray
    after: np.ndarray
    twin: np.ndarray | None = None
    twin_after: np.ndarray | None = None
    sigma: np.ndarray | None = None
    unstable: np.ndarray | None = None
    moved: np.ndarray | None = None

    @cached_property
    def limits(self) -> FloatFormat:
        """The numbers of its float type."""
        import onnx

        return float_format(int(onnx.helper.np_dtype_to_tensor_dtype(self.before.dtype)))


@dataclass
class RoundingRule:
    """Decides differences between two models, draw by draw.

    Attributes:
        a: The original.
        b: The model that should do the same.
        run: Runs both.
        seed: Of the noise.
        deadline: Of `time.monotonic()`.
        tolerances: The user's own, by the number of the output: what is within them needs no rule.
        notes: What a user should know of the twins.
    """

    a: EvalModel
    b: EvalModel
    run: Runs
    seed: int = 0
    deadline: float | None = None
    tolerances: Mapping[int, Tolerance] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._twins: list[Twin | None] = [self._twin(self.a, "first"), self._twin(self.b, "second")]
        facts = (GraphFacts(self.a.proto), GraphFacts(self.b.proto))
        self._discrete = facts[0].discrete or facts[1].discrete
        self._input_noise = not facts[0].discrete
        self._rho: dict[int, float] = {}
        self._known: dict[str, list[_Leaf]] = {}

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
        patience = time.monotonic() + PATIENCE_S
        try:
            with np.errstate(all="ignore"):
                self._measure_rho(normal[:RHO_DRAWS], patience)
                for done, inputs in enumerate(chosen):
                    if done and time.monotonic() > patience:
                        self.notes.append(
                            f"the rounding rule looked at {done} of {len(differing)} differing input sets"
                        )
                        break
                    self._judge(inputs, judgements)
        except EvaluationTimeoutError:
            for judgement in judgements:
                judgement.undecided = "the time was up before it was decided whether the difference is rounding"
        for judgement in judgements:
            if judgement.left_out > judgement.compared:
                judgement.undecided = "most of it hangs on a threshold, where rounding decides between whole steps"
        if not self._discrete:
            for judgement in judgements:
                if judgement.skipped_differs and not judgement.kept_differs:
                    judgement.fail(
                        "nothing is rounded otherwise, but what overflows, or comes from NaN or infinity, differs",
                        (),
                        judgement.skipped_differs,
                    )
        return judgements

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
            return _leaves(twin.run(feeds, disturbance, deadline=self.deadline))
        except UnsupportedError as error:
            self._discard(which, str(error))
            return None

    def _discard(self, which: int, why: str) -> None:
        self._twins[which] = None
        self.notes.append(f"the {('first', 'second')[which]} model is judged without its float64 twin: {why}")

    def _measure_rho(self, normal: Sequence[InputSet], patience: float) -> None:
        """How far the runs are from their twins, in units of sigma + tiny; a twin that is too far is discarded."""
        far = 0.0
        for done, inputs in enumerate(normal):
            if inputs.label in self._known:
                continue
            if done and time.monotonic() > patience - PATIENCE_S / 2:
                break
            try:
                leaves = self._leaves(inputs.make())
            except EvaluationError as error:
                if isinstance(error, EvaluationTimeoutError):
                    raise
                continue
            self._known[inputs.label] = leaves
            for leaf in leaves:
                if leaf.twin is None or leaf.sigma is None or not is_float(leaf.before.dtype):
                    continue
                kept = (
                    np.isfinite(leaf.before.astype(np.float64)) & np.isfinite(leaf.twin) & ~_mask(leaf.unstable, leaf)
                )
                unit = leaf.sigma + leaf.limits.u * np.abs(leaf.twin) + leaf.limits.smallest
                ratio = _largest(np.abs(leaf.before.astype(np.float64) - leaf.twin) / unit, kept)
                self._rho[leaf.output] = max(ratio, self._rho.get(leaf.output, 0.0))
                if leaf.twin_after is not None and leaf.after.shape == leaf.twin.shape:
                    finite = kept & np.isfinite(leaf.twin_after) & np.isfinite(leaf.after.astype(np.float64))
                    far = max(far, _largest(np.abs(leaf.after.astype(np.float64) - leaf.twin_after) / unit, finite))
        if max(self._rho.values(), default=0.0) > WRONG_TWIN:
            self._discard(0, "its results are too far from it")
            self._rho.clear()
            self._known.clear()
        elif far > WRONG_TWIN:
            self._discard(1, "its results are too far from it")
            self._known.clear()

    def _leaves(self, feeds: Mapping[str, Any]) -> list[_Leaf]:
        """Runs both models, their twins, and the first one's noise."""
        before, after = self.run(feeds)
        leaves = [
            _Leaf(output, np.asarray(x), np.asarray(y))
            for output, (one, other) in enumerate(zip(before, after, strict=True))
            for x, y in zip(_leaves([one]), _leaves([other]), strict=False)
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

    def _matching(self, which: int, feeds: Mapping[str, Any], leaves: Sequence[_Leaf]) -> list[Any] | None:
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

    def _noise(self, feeds: Mapping[str, Any], leaves: Sequence[_Leaf]) -> None:
        squares = [np.zeros(leaf.before.shape) for leaf in leaves]
        unstable = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        moved = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        for number in range(NOISE_RUNS):
            noise = Noise(np.random.default_rng([self.seed, 1, number]), inputs=self._input_noise)
            results = self._run_twin(0, feeds, noise) or []
            for leaf, result, square in zip(leaves, results, squares, strict=False):
                if is_float(leaf.before.dtype) and np.shape(result) == square.shape and leaf.twin is not None:
                    np.add(square, np.nan_to_num((result - leaf.twin) ** 2, nan=0.0, posinf=0.0), out=square)
        for leaf, square in zip(leaves, squares, strict=True):
            leaf.sigma = np.sqrt(square / NOISE_RUNS)
        for number in range(STRONG_RUNS):
            noise = Noise(np.random.default_rng([self.seed, 2, number]), times=STRONG, inputs=False)
            results = self._run_twin(0, feeds, noise) or []
            for index, (leaf, result) in enumerate(zip(leaves, results, strict=False)):
                _mark_unstable(leaf, result, unstable[index], moved[index])
        for leaf, mask, classes in zip(leaves, unstable, moved, strict=True):
            leaf.unstable, leaf.moved = mask, classes

    def _spread(self, feeds: Mapping[str, Any], leaves: Sequence[_Leaf]) -> None:
        """Without a twin: how far the first model's results move when its inputs are jittered by 2 u."""
        spreads = [np.zeros(leaf.before.shape) for leaf in leaves]
        for number in range(JITTER_RUNS):
            rng = np.random.default_rng([self.seed, 3, number])
            try:
                results = _leaves(self.run({name: _jittered(fed, rng) for name, fed in feeds.items()})[0])
            except EvaluationTimeoutError:
                raise
            except EvaluationError:
                continue  # a jittered input that the model refuses tells nothing of its rounding
            for leaf, result, spread in zip(leaves, results, spreads, strict=False):
                if is_float(leaf.before.dtype) and np.shape(result) == spread.shape:
                    distance = np.abs(result.astype(np.float64) - leaf.before.astype(np.float64))
                    np.maximum(spread, np.nan_to_num(distance, nan=0.0, posinf=0.0), out=spread)
        for leaf, spread in zip(leaves, spreads, strict=True):
            leaf.sigma = spread

    # ------------------------------------------------------------------ taint

    def _tainted(self, feeds: Mapping[str, Any], leaves: Sequence[_Leaf], *, normal: bool) -> list[np.ndarray]:
        """The positions that hang on extreme or non-finite inputs, and on what is out of range on the way."""
        tainted = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        if not any(_extreme(fed) for fed in feeds.values()):
            return tainted
        for which in (0,) if normal else (0, 1):
            base = [leaf.twin_after if which else leaf.twin for leaf in leaves]
            if any(result is None for result in base):
                continue
            changed = [
                [np.zeros(leaf.before.shape, bool) for leaf in leaves],
                [np.zeros(leaf.before.shape, bool) for leaf in leaves],
            ]
            for overflows in (False, True):
                for number in range(MARK_RUNS):
                    rng = np.random.default_rng([self.seed, 4, overflows, number])
                    results = self._run_twin(which, feeds, Marks(rng, number, overflows=overflows)) or []
                    for mask, result, was in zip(changed[overflows], results, base, strict=False):
                        np.logical_or(mask, _changed(was, result), out=mask)
            for mask, inputs, overflow in zip(tainted, *changed, strict=True):
                np.logical_or(mask, inputs & overflow, out=mask)
        for mask, changed_there in zip(tainted, self._changed_at_run_time(feeds, leaves), strict=True):
            np.logical_or(mask, changed_there, out=mask)
        return tainted

    def _changed_at_run_time(self, feeds: Mapping[str, Any], leaves: Sequence[_Leaf]) -> list[np.ndarray]:
        """What changes in the runtime when non-finite inputs are replaced: a kernel may multiply 0 by infinity."""
        changed = [np.zeros(leaf.before.shape, bool) for leaf in leaves]
        if not any(_nonfinite(fed) for fed in feeds.values()):
            return changed
        rng = np.random.default_rng([self.seed, 5])
        try:
            before, after = self.run({name: _finite(fed, rng) for name, fed in feeds.items()})
        except EvaluationTimeoutError:
            raise
        except EvaluationError:
            return changed  # what the twins say has to do
        for mask, leaf, x, y in zip(changed, leaves, _leaves(before), _leaves(after), strict=False):
            np.logical_or(mask, _changed(leaf.before, x) | _changed(leaf.after, y), out=mask)
        return changed

    # ------------------------------------------------------------------ the decision

    def _judge(self, inputs: InputSet, judgements: Sequence[Judgement]) -> None:
        feeds = inputs.make()
        try:
            leaves = self._known.get(inputs.label) or self._leaves(feeds)
        except EvaluationTimeoutError:
            raise
        except EvaluationError as error:
            # Both ran on it a moment ago.
            for judgement in judgements:
                judgement.undecided = f"a second run on {inputs.label} failed: {error}"
            return
        wild = any(_extreme(fed) for fed in feeds.values())
        if self._twins[0] is None and any(_beyond_root(fed) for fed in feeds.values()):
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

    def _note(self, leaf: _Leaf, tainted: np.ndarray, inputs: InputSet, judgement: Judgement) -> None:
        """Keeps what is to be told of a leaf whatever the answer."""
        skipped = tainted | _mask(leaf.unstable, leaf)
        differs = _changed(leaf.before, leaf.after)
        judgement.skipped += int(np.count_nonzero(differs & skipped))
        judgement.kept_differs |= bool((differs & ~skipped).any())
        if inputs.normal:
            judgement.left_out += int(np.count_nonzero(skipped))
            judgement.compared += int(skipped.size - np.count_nonzero(skipped))
        if bool((differs & tainted).any()) and is_float(leaf.before.dtype):
            judgement.skipped_differs = judgement.skipped_differs or inputs.label
        if leaf.twin is None or not is_float(leaf.before.dtype):
            return
        unit = _unit(leaf)
        if leaf.twin_after is not None:
            ratio = _largest(np.abs(leaf.twin_after - leaf.twin) / unit, ~skipped & np.isfinite(leaf.twin_after))
            judgement.sigmas = max(judgement.sigmas, ratio)
        if not inputs.normal:
            direct = np.abs(leaf.after.astype(np.float64) - leaf.twin) / unit
            finite = np.isfinite(direct) & ~skipped
            if _largest(direct, finite) > self._direct_limit(leaf.output):
                judgement.inaccurate = judgement.inaccurate or inputs.label

    def _direct_limit(self, output: int) -> float:
        return max(4 * self._rho.get(output, 0.0), DIRECT_LIMIT)

    def _difference(
        self, leaf: _Leaf, inputs: InputSet, tainted: np.ndarray | None
    ) -> tuple[str, tuple[int, ...]] | None:
        """The first difference that cannot be rounding, where `tainted` is not looked at."""
        skipped = _mask(tainted, leaf)
        if not is_float(leaf.before.dtype):
            wrong = _changed(leaf.before, leaf.after) & ~skipped & ~_mask(leaf.unstable, leaf)
            return _sentence(wrong, leaf, "rounding does not change these values")
        x, y = leaf.before.astype(np.float64), leaf.after.astype(np.float64)
        own = self.tolerances.get(leaf.output)
        if own is not None:
            skipped = skipped | own.within(leaf.before, leaf.after)
        classes = (_class(x) != _class(y)) & ~skipped & ~_mask(leaf.moved, leaf)
        found = _sentence(classes, leaf, "NaN and infinities must be at the same positions")
        if found is not None:
            return found
        kept = ~skipped & ~_mask(leaf.unstable, leaf) & np.isfinite(x) & np.isfinite(y)
        if leaf.twin is None:
            limit = 8 * _array(leaf.sigma, leaf) + 16 * leaf.limits.u * np.abs(x) + 4 * leaf.limits.smallest
            return _sentence((np.abs(y - x) > limit) & kept, leaf, "more than 8 times the spread under jitter")
        unit = _unit(leaf)
        if leaf.twin_after is not None:
            limit_of = max(TWIN_LIMIT, 4 * self._rho.get(leaf.output, 0.0)) if leaf.before.itemsize == 8 else TWIN_LIMIT
            apart = np.abs(leaf.twin_after - leaf.twin)
            wrong = ((apart > limit_of * unit) | (_class(leaf.twin_after) != _class(leaf.twin))) & kept
            found = _sentence(wrong, leaf, _excess(apart / unit, wrong, "the exact results are apart by", limit_of))
            if found is not None:
                return found
        if inputs.normal or leaf.twin_after is None:
            apart = np.abs(y - leaf.twin)
            limit_of = self._direct_limit(leaf.output)
            wrong = (apart > limit_of * unit) & kept
            return _sentence(wrong, leaf, _excess(apart / unit, wrong, "it is from the exact result by", limit_of))
        return None


# ---- arrays


def _round_robin(sets: Sequence[InputSet]) -> Iterator[InputSet]:
    families: dict[str, list[InputSet]] = {}
    for inputs in sets:
        families.setdefault(inputs.family, []).append(inputs)
    for row in range(max(map(len, families.values()), default=0)):
        for rows in families.values():
            if row < len(rows):
                yield rows[row]


def _leaves(results: Sequence[Any]) -> list[Any]:
    """All tensors of results, those of sequences one by one; an empty optional is none; complex numbers are pairs."""
    found: list[Any] = []
    for result in results:
        if isinstance(result, list | tuple):
            found += _leaves(result)
        elif result is not None:
            array = np.asarray(result)
            if array.dtype.kind == "c":
                part = np.dtype(f"f{array.dtype.itemsize // 2}")
                array = np.ascontiguousarray(array).view(part).reshape(*array.shape, 2)
            found.append(array)
    return found


def _mask(mask: np.ndarray | None, leaf: _Leaf) -> np.ndarray:
    return np.zeros(leaf.before.shape, bool) if mask is None else mask


def _array(array: np.ndarray | None, leaf: _Leaf) -> np.ndarray:
    return np.zeros(leaf.before.shape) if array is None else array


def _unit(leaf: _Leaf) -> np.ndarray:
    """Sigma + tiny."""
    twin = _array(leaf.twin, leaf)
    return np.asarray(_array(leaf.sigma, leaf) + 4 * leaf.limits.smallest + leaf.limits.u * np.abs(twin))


def _class(x: np.ndarray) -> np.ndarray:
    """0 finite, 1 NaN, 2 infinity, 3 minus infinity."""
    return np.asarray(np.isnan(x) * 1 + np.isposinf(x) * 2 + np.isneginf(x) * 3)


def _changed(x: Any, y: Any) -> np.ndarray:
    """Where two arrays differ; everywhere if their shapes do. A NaN equals a NaN, and -0 equals 0."""
    if np.shape(x) != np.shape(y):
        return np.ones(np.shape(x), bool)
    x, y = np.asarray(x), np.asarray(y)
    if is_float(x.dtype):
        x, y = x.astype(np.float64), y.astype(np.float64)
        return np.asarray(~((x == y) | (np.isnan(x) & np.isnan(y))))
    return np.asarray(x != y)


def _largest(ratios: np.ndarray, where: np.ndarray) -> float:
    kept = ratios[where]
    return float(np.nanmax(kept)) if kept.size and not np.isnan(kept).all() else 0.0


def _mark_unstable(leaf: _Leaf, result: Any, unstable: np.ndarray, moved: np.ndarray) -> None:
    """Adds the positions that strong noise moves by more than its strength: they hang on a threshold."""
    if leaf.twin is None or leaf.sigma is None or np.shape(result) != leaf.twin.shape:
        unstable |= True
        moved |= True
        return
    if not is_float(leaf.before.dtype):
        unstable |= np.asarray(result != leaf.twin)
        return
    classes = _class(result) != _class(leaf.twin)
    moved |= classes
    limit = 64 * STRONG * np.maximum(leaf.sigma, leaf.limits.smallest)
    unstable |= classes | (np.abs(result - leaf.twin) > limit)


def _sentence(wrong: np.ndarray, leaf: _Leaf, why: str) -> tuple[str, tuple[int, ...]] | None:
    if not wrong.any():
        return None
    at = tuple(int(index) for index in np.argwhere(wrong)[0])
    count = int(np.count_nonzero(wrong))
    values = f"{leaf.before[at]!s} and {leaf.after[at]!s} at {at}"
    return f"{count} of {wrong.size} {leaf.before.dtype} values differ, {values}: {why}", at


def _excess(ratios: np.ndarray, wrong: np.ndarray, what: str, limit: float) -> str:
    if not wrong.any():
        return ""
    most = float(np.nan_to_num(ratios[wrong], nan=math.inf).max())
    return f"{what} {most:.3g} times what rounding explains, and the limit is {limit:.3g}"


def _floats(fed: Any) -> Iterator[np.ndarray]:
    for array in _leaves([fed]):
        if is_float(array.dtype) and array.dtype.kind != "c":
            yield array


def _extreme(fed: Any) -> bool:
    import onnx

    for array in _floats(fed):
        limit = float_format(int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))).extreme
        with np.errstate(all="ignore"):
            if not bool((np.abs(array.astype(np.float64)) <= limit).all()):
                return True
    return False


def _nonfinite(fed: Any) -> bool:
    return any(not bool(np.isfinite(array.astype(np.float64)).all()) for array in _floats(fed))


def _beyond_root(fed: Any) -> bool:
    import onnx

    for array in _floats(fed):
        largest = float_format(int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))).largest
        if not bool((np.abs(array.astype(np.float64)) <= math.sqrt(largest)).all()):
            return True
    return False


def _finite(fed: Any, rng: np.random.Generator) -> Any:
    """The same inputs, what is not finite in them replaced."""
    if isinstance(fed, list):
        return [_finite(item, rng) for item in fed]
    if fed is None or not is_float(fed.dtype) or fed.dtype.kind == "c":
        return fed
    wide = fed.astype(np.float64)
    return np.where(np.isfinite(wide), wide, rng.standard_normal(wide.shape)).astype(fed.dtype)


def _jittered(fed: Any, rng: np.random.Generator) -> Any:
    import onnx

    if isinstance(fed, list):
        return [_jittered(item, rng) for item in fed]
    if fed is None or not is_float(fed.dtype) or fed.dtype.kind == "c":
        return fed
    u = float_format(int(onnx.helper.np_dtype_to_tensor_dtype(fed.dtype))).u
    with np.errstate(all="ignore"):
        return (fed.astype(np.float64) * (1 + 2 * u * rng.standard_normal(fed.shape))).astype(fed.dtype)

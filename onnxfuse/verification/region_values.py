"""Comparing regions that compute: on draws of every family, bit for bit or by the rounding rule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.analysis.shapes import Dim
from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.draws import Family, draw, planned_counts
from onnxfuse.verification.evaluate import EvaluationError
from onnxfuse.verification.evidence import GRADE_TESTED, NOT_RUN, REJECTED, Evidence, rejected
from onnxfuse.verification.input_sets import AT_BINDINGS, InputSet
from onnxfuse.verification.inputs import Binding, InputError, InputSpec, free_inputs
from onnxfuse.verification.model_constants import constants_of
from onnxfuse.verification.region_constants import changed_constant
from onnxfuse.verification.region_model import Built, Region
from onnxfuse.verification.region_moves import UNKNOWN_RANKS
from onnxfuse.verification.region_sides import Sides, bound, known_shape, symbol_count
from onnxfuse.verification.sweep import far_sizes
from onnxfuse.verification.tolerance import TWIN_LIMIT, RoundingRule

__all__ = ["compare_region_values"]

# Where nothing is known of the dims, some regions run only where all of them are equal.
SIZES: Final = ((2, 3, 5, 4, 7), (1, 1, 1, 1, 1), (5, 2, 3, 7, 4), (3, 3, 3, 3, 3))
LARGE: Final = 1 << 20
"""Elements of a region's inputs: of more, one draw holds every pair of special values several times."""
DRAWS_OF_LARGE: Final = 2
MOST: Final = 1 << 26
"""Elements of a region's inputs that memory and time allow."""
TYPED: Final = frozenset({"Cast", "CastLike", "Div"})
"""Operators that do with one element type what they do not with another."""
RULE_S: Final = 20.0
"""Seconds for the rounding rule on one region; more is not worth it, since a rewrite may be declined."""


def compare_region_values(region: Region, built: Built, make: Callable[[int], Sides]) -> Evidence:
    """Compares what two sides of a region compute.

    Args:
        region: The region; its numerics class says what may differ.
        built: Both sides in one model.
        make: Makes the sides, given a rank for inputs whose rank is not known.

    Raises:
        EvaluationError: The region runs on no input.
    """
    known = {name: region.shapes.shape(value) for name, value in built.inputs.items()}
    if any(region.shapes.dtype(value) is None for value in built.inputs.values()):
        typed = [node.op_type for node in (*region.before, *region.after) if node.op_type in TYPED]
        if typed:
            return Evidence(
                REJECTED, f"not verified: what {typed[0]} does depends on a type that is not known", final=True
            )
    tried, why = 0, ""
    found: list[Evidence] = []
    for guess in UNKNOWN_RANKS if None in known.values() else (0,):
        affordable, left_out = _affordable(*_bindings(region, known, guess))
        if left_out:
            where = ", ".join(f"{name} {list(shape)}" for name, shape in left_out[0].items())
            return Evidence(
                REJECTED, f"not verified: its integers come to bear at sizes too large to run on: {where}", final=True
            )
        sides = make(guess)
        comparison = _Comparison(region.numerics, built, sides)
        for place, binding in enumerate(affordable):
            evidence = comparison.at(binding, place)
            if evidence is not None:
                return evidence
        evidence = comparison.judge()
        if evidence is not None and evidence.grade == REJECTED:
            return evidence
        found += [evidence] if evidence is not None else []
        tried += comparison.tried
        why = sides.why
    if not tried:
        raise EvaluationError(why or "the region runs on no input that was tried")
    if region.numerics == "approximate":
        return Evidence(NOT_RUN, f"another function by intent: only shapes and types are equal, on {tried} draws")
    if (changed := changed_constant(region, built)) is not None:
        return Evidence(REJECTED, f"not verified: {changed}", final=True)
    return found[-1] if found else Evidence(GRADE_TESTED, f"bit-equal on {tried} draws", 0.0)


def _bindings(
    region: Region, known: Mapping[str, tuple[Dim, ...] | None], guess: int
) -> tuple[list[dict[str, tuple[int, ...]]], list[dict[str, tuple[int, ...]]]]:
    """Returns shapes for the inputs: some small ones, and those at which the integers in the region come to bear."""
    shapes = {name: known_shape(shape, guess) for name, shape in known.items()}
    near: list[dict[str, tuple[int, ...]]] = []
    for row in SIZES:
        binding = bound(shapes, row)
        near += [binding] if binding not in near else []
    far: list[dict[str, tuple[int, ...]]] = []
    for size in far_sizes((*region.before, *region.after), region.contents):
        # One symbol after the other: all of them at once may be more than memory holds.
        for place in range(symbol_count(shapes)):
            binding = bound(shapes, (*(2,) * place, size, *(2,) * 8))
            far += [binding] if binding not in (*near, *far) else []
    return near, far


def _elements(binding: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in binding.values())


def _affordable(
    near: list[dict[str, tuple[int, ...]]], far: list[dict[str, tuple[int, ...]]]
) -> tuple[list[dict[str, tuple[int, ...]]], list[dict[str, tuple[int, ...]]]]:
    """Returns the shapes to try, of large ones the smallest first, and which of `far` memory does not allow."""
    found = [*near, *far]
    if any(_elements(binding) > LARGE for binding in found):
        found.sort(key=_elements)
    # The smallest is tried in any case: there is none that asks for less.
    tried = [binding for place, binding in enumerate(found) if place == 0 or _elements(binding) <= MOST]
    return tried, [binding for binding in far if binding not in tried]


@dataclass
class _Comparison:
    """One region at one rank of the inputs whose rank is not known.

    Attributes:
        tried: Draws on which both sides ran.
        differing: Those on which bits differ, where that may be rounding.
    """

    numerics: str
    built: Built
    sides: Sides
    tried: int = 0
    differing: list[InputSet] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._constants = constants_of(self.sides.model)
        self._before = self.sides.side("before").proto
        self._normal: list[InputSet] = []
        self._shapes: dict[str, Mapping[str, tuple[int, ...]]] = {}
        self._largest = 0.0

    def at(self, binding: Mapping[str, tuple[int, ...]], place: int) -> Evidence | None:
        """Compares at one size of the dims, at which place among all; returns what cannot be right."""
        for inputs in self._sets(binding, place):
            feeds = inputs.make()
            results = self.sides.run(feeds)
            if isinstance(results, str):
                return rejected(results, binding, feeds)
            if results is None:
                continue
            self.tried += 1
            self._shapes[inputs.label] = binding
            if inputs.normal:
                self._normal.append(inputs)
            why = self._compare(inputs, *results)
            if why is not None:
                return rejected(why, binding, feeds)
        return None

    def _compare(self, inputs: InputSet, before: list[Any], after: list[Any]) -> str | None:
        for x, y in zip(before, after, strict=True):
            difference = compare_values(x, y)
            if difference is None or (self.numerics == "approximate" and difference.kind == "value"):
                continue
            if self.numerics != "rounding" or difference.kind != "value":
                return f"{difference.kind}: {difference.text}"
            if inputs.normal:
                self._largest = max(self._largest, difference.max_abs or 0.0)
            if inputs not in self.differing:
                self.differing.append(inputs)
        return None

    def judge(self) -> Evidence | None:
        """Asks the rounding rule about what differs; None where nothing does."""
        if not self.differing:
            return None
        rule = RoundingRule(
            self.sides.side("before"),
            self.sides.side("after"),
            self._run,
            self.sides.rerun,
            deadline=time.monotonic() + RULE_S,
            within=f"within {RULE_S:g} s",
        )
        judgements = rule.decide(self.differing, self._normal)
        for judgement in judgements:
            if judgement.why is not None:
                shown = next(inputs for inputs in self.differing if inputs.label == judgement.draw)
                return rejected(f"value: {judgement.why}", self._shapes[shown.label], shown.make())
        undecided = next((judgement.undecided for judgement in judgements if judgement.undecided), None)
        if undecided is not None:
            return Evidence(REJECTED, f"not verified: {undecided}")
        sigmas = max(judgement.sigmas for judgement in judgements)
        text = f"equal but for rounding on {self.tried} draws: {sigmas:.2g} of at most {TWIN_LIMIT:g} times what it explains"
        return Evidence(GRADE_TESTED, text, self._largest)

    def _run(self, feeds: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        results = self.sides.run(feeds)
        if results is None or isinstance(results, str):
            raise EvaluationError(results or self.sides.why)
        return results

    def _sets(self, binding: Mapping[str, tuple[int, ...]], place: int) -> Iterator[InputSet]:
        specs = self._specs(binding)
        sizes = Binding({})  # the dims are sizes already
        try:
            counts: Mapping[Family, int] = AT_BINDINGS if place else planned_counts(specs, sizes, self._constants)
        except InputError:
            return  # a type that nothing can be drawn for
        if _elements(binding) > LARGE:
            # Time must not follow the images' size: the two smallest show what values do, the others what sizes do.
            few = {family: min(count, DRAWS_OF_LARGE) for family, count in counts.items()}
            counts = few if place < 2 else {"normal": 1}
        where = ", ".join(f"{name} {list(shape)}" for name, shape in binding.items())
        for family, count in counts.items():
            for index in range(count):
                make = partial(_drawn, specs, sizes, family, index, self._constants)
                yield InputSet(f"{family} {index} at {where}", family, sizes, make)

    def _specs(self, binding: Mapping[str, tuple[int, ...]]) -> list[InputSpec]:
        """The inputs with what the original uses them for: an index stays in range."""
        typed = onnx.ModelProto()
        typed.CopyFrom(self._before)
        for value in typed.graph.input:
            for dim, size in zip(value.type.tensor_type.shape.dim, binding.get(value.name, ()), strict=False):
                dim.dim_value = size
        return [spec for spec in free_inputs(typed) if spec.name in self.built.inputs]


def _drawn(
    specs: list[InputSpec], sizes: Binding, family: Family, index: int, constants: tuple[float, ...]
) -> Mapping[str, np.ndarray | list[np.ndarray] | None]:
    return draw(specs, sizes, family, index, constants=constants)

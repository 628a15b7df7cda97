"""Compares a region of a graph with what is to replace it, before it is replaced.

Both are built into one small model with the same inputs, every intermediate exposed, and run on inputs that can tell
them apart. Regions that only move data get the exact method: every element carries a number of its own, so that one run
shows the whole index map. The measured grounds of the method: an exhaustive sweep of a symbolic length up to the bound
that the region's constants imply missed none of 85,902 wrong merges of two Slices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse.analysis.constants import stored_tensor
from onnxfuse.analysis.ops import facts_of, is_index_only
from onnxfuse.analysis.shapes import Dim
from onnxfuse.verification import draws
from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.inputs import Binding, InputSpec
from onnxfuse.verification.region_model import Built, Region, build, signature
from onnxfuse.verification.sweep import Sweep, far_sizes, plan

__all__ = ["Evidence", "Region", "RegionVerifier"]

UNKNOWN_RANKS: Final = (1, 2, 3, 4, 5, 0)
NORMAL_DRAWS: Final = 3
SIZES: Final = ((2, 3, 5, 4, 7), (1, 1, 1, 1, 1), (5, 2, 3, 7, 4))

GRADE_ALL: Final = "exact-for-all-shapes"
GRADE_STATIC: Final = "exact-for-this-shape"
GRADE_TESTED: Final = "value-tested"
REJECTED: Final = "rejected"


@dataclass(frozen=True)
class Evidence:
    """What the comparison of one region showed.

    Attributes:
        grade: `exact-for-all-shapes`, `exact-for-this-shape`, `value-tested`, `rejected`, or `not-run`.
        text: What was compared, or what differs, as a sentence.
        max_error: Largest absolute difference seen; 0.0 where all bits were equal.
        details: The inputs and results that show a difference, JSON-able.
        feeds: Those inputs whole, by their names in `Built`.
    """

    grade: str
    text: str
    max_error: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    feeds: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class RegionVerifier:
    """Compares regions, each distinct one once.

    Attributes:
        sessions: How many runtime sessions were made.
    """

    def __init__(self) -> None:
        self.sessions = 0
        self._backend: Literal["onnxruntime", "reference"] = "onnxruntime"
        self._known: dict[bytes, Evidence] = {}

    def check(self, region: Region) -> Evidence:
        """Compares a region with its replacement; never raises for what the models do."""
        built = build(region)
        if isinstance(built, str):
            return Evidence(REJECTED, f"not verified: {built}")
        border = [
            (name, region.shapes.dtype(value), region.shapes.shape(value)) for name, value in built.inputs.items()
        ]
        key = signature(built, border)
        if key not in self._known:
            self._known[key] = self._compare(region, built)
        return _named(self._known[key], built)

    def _compare(self, region: Region, built: Built) -> Evidence:
        moves = not built.reads_shapes and all(_moves_data(node, region) for node in (*region.before, *region.after))
        compare = self._compare_moves if moves else self._compare_values
        reasons = []
        # What onnxruntime has no kernel for, or refuses at run time, goes to the reference evaluator.
        for self._backend in ("onnxruntime", "reference"):
            try:
                return compare(region, built)
            except EvaluationError as error:
                reasons.append(str(error))
        return Evidence(REJECTED, f"not verified: {reasons[0]}")

    # ------------------------------------------------------------------ data movement

    def _compare_moves(self, region: Region, built: Built) -> Evidence:
        """Exact: every element has a number of its own."""
        known = {name: region.shapes.shape(value) for name, value in built.inputs.items()}
        tried, grades = 0, set()
        for guess in UNKNOWN_RANKS if None in known.values() else (0,):
            sides = _Sides(self, region, built, guess)
            shapes = {name: _shape(shape, guess) for name, shape in known.items()}
            sweep = plan(region.before, region.after, built.inputs, shapes, region.contents)
            runs = 0
            for binding in sweep.bindings:
                compared = [sides.compare(feeds, binding) for feeds in _numbered(built, binding, region)]
                rejected = next((one for one in compared if isinstance(one, Evidence)), None)
                if rejected is not None:
                    return rejected
                runs += all(compared)
            tried += runs
            if runs:
                grades.add(_grade(sweep, shapes, runs))
        if not tried:
            raise EvaluationError(sides.why or "the region is too large to run")
        grade = next(grade for grade in (GRADE_TESTED, GRADE_ALL, GRADE_STATIC) if grade in grades)
        return Evidence(grade, f"equal index maps on {tried} shape{'s' * (tried != 1)}", 0.0)

    # ------------------------------------------------------------------ anything else

    def _compare_values(self, region: Region, built: Built) -> Evidence:
        """Normal and ladder draws, bit for bit."""
        known = {name: region.shapes.shape(value) for name, value in built.inputs.items()}
        tried = 0
        for guess in UNKNOWN_RANKS if None in known.values() else (0,):
            sides = _Sides(self, region, built, guess)
            shapes = {name: _shape(shape, guess) for name, shape in known.items()}
            bindings = [_bound(shapes, sizes) for sizes in SIZES]
            for size in far_sizes((*region.before, *region.after), region.contents):
                # One symbol after the other: all of them at once may be more than memory holds.
                bindings += [_bound(shapes, (*(2,) * place, size, *(2,) * 8)) for place in range(_symbols(shapes))]
            for binding in bindings:
                for feeds in _drawn(built, binding, region):
                    compared = sides.compare(feeds, binding)
                    if isinstance(compared, Evidence):
                        return compared
                    tried += compared
        if not tried:
            raise EvaluationError(sides.why or "the region runs on no input that was tried")
        return Evidence(GRADE_TESTED, f"bit-equal on {tried} draws", 0.0)

    def session(self, region: Region, built: Built, guess: int, *, original: bool = False) -> Evaluator:
        """Makes a session of both sides, or of the original alone."""
        model = onnx.ModelProto()
        model.CopyFrom(built.model)
        if original:
            del model.graph.node[len(model.graph.node) - len(region.after) :]
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=before) for before, _ in built.pairs)
        for name, value in built.inputs.items():
            info = model.graph.input.add(name=name)
            tensor = info.type.tensor_type
            tensor.elem_type = int(_dtype(region, value))
            for axis in range(len(_shape(region.shapes.shape(value), guess))):
                tensor.shape.dim.add(dim_param=f"{name}_{axis}")
        self.sessions += 1
        return Evaluator(model, weights=built.weights, prefer=self._backend)


def _dtype(region: Region, value: ir.Value) -> ir.DataType:
    # In a function nothing is known of the types: what moves data moves every type alike.
    return region.shapes.dtype(value) or ir.DataType.FLOAT


def _shape(shape: tuple[Dim, ...] | None, guess: int) -> tuple[Dim | None, ...]:
    return (None,) * guess if shape is None else shape


def _grade(sweep: Sweep, shapes: Mapping[str, tuple[Dim | None, ...]], runs: int) -> str:
    if not sweep.exhaustive or runs < len(sweep.bindings):
        return GRADE_TESTED
    static = all(isinstance(dim, int) for shape in shapes.values() for dim in shape)
    return GRADE_STATIC if static else GRADE_ALL


def _moves_data(node: ir.Node, region: Region) -> bool:
    if node.domain not in ("", "ai.onnx") or not is_index_only(node.op_type):
        return False
    # With a parameter that is no constant, the index map depends on values.
    facts = facts_of(node.op_type)
    return all(
        value is None or facts.is_data(index) or _is_constant(value, region) for index, value in enumerate(node.inputs)
    )


def _is_constant(value: ir.Value, region: Region) -> bool:
    return stored_tensor(value, region.ir_version) is not None or region.contents(value) is not None


class _Sides:
    """Both sides of a region in one session, and where that fails the original alone.

    Attributes:
        why: Why the last input did not run.
    """

    def __init__(self, verifier: RegionVerifier, region: Region, built: Built, guess: int) -> None:
        self.why = ""
        self._new = partial(verifier.session, region, built, guess)
        self._both = self._new()
        self._original: Evaluator | None = None
        self._built = built

    def compare(self, feeds: Mapping[str, Any], binding: Mapping[str, tuple[int, ...]]) -> bool | Evidence:
        """Returns True where both give the same, False where the original does not run either, or what differs."""
        try:
            results = self._both.run(feeds)
        except EvaluationError as error:
            self.why = str(error)
            if not self._original_runs(feeds):
                return False
            return _rejected(f"it fails where the original runs: {error}", binding, feeds)
        difference = _first_difference(self._built, results, feeds)
        return _rejected(difference, binding, feeds) if difference else True

    def _original_runs(self, feeds: Mapping[str, Any]) -> bool:
        self._original = self._original or self._new(original=True)
        try:
            self._original.run(feeds)
        except EvaluationError:
            return False
        return True


def _first_difference(built: Built, results: Sequence[Any], feeds: Mapping[str, Any]) -> str | None:
    by_name = {**feeds, **dict(zip([value.name for value in built.model.graph.output], results, strict=True))}
    for before, after in built.pairs:
        difference = compare_values(by_name[before], by_name[after])
        if difference is not None:
            return f"{difference.kind}: {difference.text}"
    return None


def _plain(item: Any) -> Any:
    return (
        item if isinstance(item, (int, str, bool)) or (isinstance(item, float) and math.isfinite(item)) else str(item)
    )


def _rejected(difference: str, binding: Mapping[str, tuple[int, ...]], feeds: Mapping[str, Any]) -> Evidence:
    details = {
        "shapes": {name: list(shape) for name, shape in binding.items()},
        "inputs": {
            name: [_plain(item) for item in array.ravel()[:64].tolist()]
            for name, array in feeds.items()
            if isinstance(array, np.ndarray)
        },
        "difference": difference,
    }
    return Evidence(REJECTED, difference, details=details, feeds=dict(feeds))


def _named(evidence: Evidence, built: Built) -> Evidence:
    """Returns evidence in the names of the model: what was found on a region holds for every one of its signature."""
    if not evidence.details:
        return evidence
    names = {name: str(value.name) for name, value in built.inputs.items()}
    details = {
        key: {names[name]: item for name, item in found.items()} if isinstance(found, dict) else found
        for key, found in evidence.details.items()
    }
    shapes = ", ".join(f"{name} {shape}" for name, shape in details["shapes"].items())
    text = f"the replacement differs at {shapes or 'no input'}: {evidence.text}"
    return Evidence(REJECTED, text, details=details, feeds=evidence.feeds)


# ---------------------------------------------------------------------------------------------------- inputs


def _numbered(built: Built, binding: Mapping[str, tuple[int, ...]], region: Region) -> Iterator[dict[str, np.ndarray]]:
    """Yields feeds in which every element has a number of its own, in as many digits as the type needs runs for."""
    sizes = {name: math.prod(shape) for name, shape in binding.items()}
    total = sum(sizes.values())
    base = min((_exact_integers(_dtype(region, value)) for value in built.inputs.values()), default=2)
    digits = 1
    while base**digits < total:
        digits += 1
    for digit in range(digits):
        start, feeds = 0, {}
        for name, shape in binding.items():
            ids = np.arange(start, start + sizes[name], dtype=np.int64) // base**digit % base
            feeds[name] = _as_type(ids, _dtype(region, built.inputs[name])).reshape(shape)
            start += sizes[name]
        yield feeds


def _exact_integers(dtype: ir.DataType) -> int:
    """Returns how many integers from 0 on the type holds exactly and apart."""
    if dtype == ir.DataType.STRING:
        return 1 << 62
    if dtype == ir.DataType.BOOL:
        return 2
    exact = {
        ir.DataType.FLOAT: 1 << 24,
        ir.DataType.DOUBLE: 1 << 53,
        ir.DataType.FLOAT16: 1 << 11,
        ir.DataType.BFLOAT16: 1 << 8,
        ir.DataType.COMPLEX64: 1 << 24,
        ir.DataType.COMPLEX128: 1 << 53,
    }.get(dtype)
    if exact is not None:
        return exact
    kind = dtype.numpy()
    return min(int(np.iinfo(kind).max), 1 << 62) if kind.kind in "iu" else 2


def _as_type(ids: np.ndarray, dtype: ir.DataType) -> np.ndarray:
    if dtype == ir.DataType.STRING:
        return ids.astype(str).astype(object)
    return ids.astype(dtype.numpy())


def _bound(shapes: Mapping[str, tuple[Dim | None, ...]], sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Gives every symbol a size; equal symbols get equal ones."""
    given: dict[Dim, int] = {}
    cycle = itertools.cycle(sizes)
    bound = {}
    for name, shape in shapes.items():
        dims = []
        for dim in shape:
            if isinstance(dim, int):
                dims.append(dim)
            elif dim is None:
                dims.append(next(cycle))
            else:
                if dim not in given:
                    given[dim] = next(cycle)
                dims.append(given[dim])
        bound[name] = tuple(dims)
    return bound


def _symbols(shapes: Mapping[str, tuple[Dim | None, ...]]) -> int:
    """Returns how many sizes `_bound` takes."""
    dims = [dim for shape in shapes.values() for dim in shape if not isinstance(dim, int)]
    return len({dim for dim in dims if dim is not None}) + dims.count(None)


def _drawn(built: Built, binding: Mapping[str, tuple[int, ...]], region: Region) -> Iterator[dict[str, Any]]:
    specs = [
        InputSpec(name=name, kind="tensor", dtype=int(_dtype(region, value)), dims=binding[name], overridable=False)
        for name, value in built.inputs.items()
    ]
    empty = Binding({})  # the dims are sizes already
    families: tuple[tuple[draws.Family, int], ...] = (
        ("normal", NORMAL_DRAWS),
        ("ladder", draws.ladder_draws(specs, empty)),
    )
    for family, count in families:
        for index in range(count):
            yield draws.draw(specs, empty, family, index, seed=0)

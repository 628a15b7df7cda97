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
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse.analysis.constants import stored_tensor
from onnxfuse.analysis.ops import facts_of, is_index_only
from onnxfuse.analysis.shapes import Dim
from onnxfuse.verification import inputs as draws
from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.region_model import Built, Region, build, signature
from onnxfuse.verification.sweep import Sweep, plan

__all__ = ["Evidence", "Region", "RegionVerifier"]

UNKNOWN_RANKS: Final = (1, 2, 3, 4, 5, 0)
NORMAL_DRAWS: Final = 3

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
    """

    grade: str
    text: str
    max_error: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


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
        return self._known[key]

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
        ranks = [_rank(region.shapes.shape(value)) for value in built.inputs.values()]
        tried = 0
        grades: list[str] = []
        for guess in UNKNOWN_RANKS if None in ranks else (0,):
            evaluator = self._session(region, built, guess)
            shapes = {name: _shape(region.shapes.shape(value), guess) for name, value in built.inputs.items()}
            sweep = plan(region.before, region.after, built.inputs, shapes, region.contents)
            runs = 0
            for binding in sweep.bindings:
                feeds_of = _numbered(evaluator, built, binding, region)
                for feeds in feeds_of:
                    try:
                        results = evaluator.run(feeds)
                    except EvaluationError:
                        if None in ranks:
                            break  # no tensor of this rank gets here
                        raise
                    difference = _first_difference(built, results, feeds)
                    if difference:
                        return _rejected(difference, binding, feeds)
                else:
                    runs += 1
                    continue
                break
            tried += runs
            if runs:
                grades.append(_grade(sweep, shapes, runs))
        if not tried:
            return Evidence(REJECTED, "not verified: the region runs on no input that was tried")
        grade = next((g for g in (GRADE_TESTED, GRADE_ALL, GRADE_STATIC) if g in grades), GRADE_TESTED)
        return Evidence(grade, f"equal index maps on {tried} shape{'s' * (tried != 1)}", 0.0)

    # ------------------------------------------------------------------ anything else

    def _compare_values(self, region: Region, built: Built) -> Evidence:
        """Normal and ladder draws, bit for bit."""
        shapes = {name: region.shapes.shape(value) for name, value in built.inputs.items()}
        guesses = UNKNOWN_RANKS if any(shape is None for shape in shapes.values()) else (0,)
        compared = 0
        for guess in guesses:
            evaluator = self._session(region, built, guess)
            for sizes in ((2, 3, 5, 4, 7), (1, 1, 1, 1, 1), (5, 2, 3, 7, 4)):
                binding = _bound({name: _shape(shape, guess) for name, shape in shapes.items()}, sizes)
                for feeds in _drawn(built, binding, region):
                    try:
                        results = evaluator.run(feeds)
                    except EvaluationError:
                        continue  # on this input the original does not run either: both are one model
                    compared += 1
                    difference = _first_difference(built, results, feeds)
                    if difference:
                        return _rejected(difference, binding, feeds)
        if not compared:
            return Evidence(REJECTED, "not verified: the region runs on no input that was tried")
        return Evidence(GRADE_TESTED, f"bit-equal on {compared} draws", 0.0)

    def _session(self, region: Region, built: Built, guess: int) -> Evaluator:
        model = onnx.ModelProto()
        model.CopyFrom(built.model)
        for name, value in built.inputs.items():
            info = model.graph.input.add(name=name)
            tensor = info.type.tensor_type
            tensor.elem_type = int(_dtype(region, value))
            for axis in range(len(_shape(region.shapes.shape(value), guess))):
                tensor.shape.dim.add(dim_param=f"{name}_{axis}")
        self.sessions += 1
        # onnxruntime dies on an integer division of the least integer by -1, which the ladder holds.
        traps = GraphFacts(model).traps if any(node.op_type in ("Div", "Mod") for node in model.graph.node) else None
        return Evaluator(model, weights=built.weights, prefer="reference" if traps else self._backend)


def _dtype(region: Region, value: ir.Value) -> ir.DataType:
    # In a function nothing is known of the types: what moves data moves every type alike.
    return region.shapes.dtype(value) or ir.DataType.FLOAT


def _rank(shape: tuple[Dim, ...] | None) -> int | None:
    return None if shape is None else len(shape)


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
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in binding.items())
    details = {
        "shapes": {name: list(shape) for name, shape in binding.items()},
        "inputs": {
            name: [_plain(item) for item in array.ravel()[:64].tolist()]
            for name, array in feeds.items()
            if isinstance(array, np.ndarray)
        },
        "difference": difference,
    }
    return Evidence(REJECTED, f"the replacement differs at {shapes or 'no input'}: {difference}", details=details)


# ---------------------------------------------------------------------------------------------------- inputs


def _numbered(
    evaluator: Evaluator, built: Built, binding: Mapping[str, tuple[int, ...]], region: Region
) -> Iterator[dict[str, np.ndarray]]:
    """Yields feeds in which every element has a number of its own, in as many digits as the type needs runs for."""
    del evaluator
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
                dims.append(given.setdefault(dim, next(cycle)))
        bound[name] = tuple(dims)
    return bound


def _drawn(built: Built, binding: Mapping[str, tuple[int, ...]], region: Region) -> Iterator[dict[str, Any]]:
    specs = [
        draws.InputSpec(
            name=name, kind="tensor", dtype=int(_dtype(region, value)), dims=binding[name], overridable=False
        )
        for name, value in built.inputs.items()
    ]
    empty = draws.Binding({})  # the dims are sizes already
    families: tuple[tuple[draws.Family, int], ...] = (
        ("normal", NORMAL_DRAWS),
        ("ladder", draws.ladder_draws(specs, empty)),
    )
    for family, count in families:
        for index in range(count):
            yield draws.draw(specs, empty, family, index, seed=0)

"""Comparing regions that only move data: exact, since every element has a number of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from onnxfuse.analysis.constants import stored_tensor
from onnxfuse.analysis.ops import is_index_only, op_facts
from onnxfuse.analysis.shapes import Dim
from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.evaluate import EvaluationError
from onnxfuse.verification.evidence import GRADE_ALL, GRADE_STATIC, GRADE_TESTED, Evidence, rejected
from onnxfuse.verification.region_model import Built, Region
from onnxfuse.verification.region_sides import Sides, known_shape, region_dtype
from onnxfuse.verification.sweep import Sweep, plan

__all__ = ["UNKNOWN_RANKS", "compare_moves", "moves_data"]

UNKNOWN_RANKS: Final = (1, 2, 3, 4, 5, 0)


def compare_moves(region: Region, built: Built, make: Callable[[int], Sides]) -> Evidence:
    """Compares two index maps, over all shapes where dims are symbolic.

    Args:
        region: The region.
        built: Both sides in one model.
        make: Makes the sides, given a rank for inputs whose rank is not known.

    Raises:
        EvaluationError: The region runs on no shape.
    """
    known = {name: region.shapes.shape(value) for name, value in built.inputs.items()}
    tried, grades, why = 0, set(), ""
    for guess in UNKNOWN_RANKS if None in known.values() else (0,):
        sides = make(guess)
        shapes = {name: known_shape(shape, guess) for name, shape in known.items()}
        sweep = plan(region.before, region.after, built.inputs, shapes, region.contents)
        runs = 0
        for binding in sweep.bindings:
            compared = [_compare(sides, feeds, binding) for feeds in _numbered(built, binding, region)]
            found = next((one for one in compared if isinstance(one, Evidence)), None)
            if found is not None:
                return found
            runs += all(compared)
        tried += runs
        why = sides.why
        if runs:
            grades.add(_grade(sweep, shapes, runs))
    if not tried:
        raise EvaluationError(why or "the region is too large to run")
    grade = next(grade for grade in (GRADE_TESTED, GRADE_ALL, GRADE_STATIC) if grade in grades)
    return Evidence(grade, f"equal index maps on {tried} shape{'s' * (tried != 1)}", 0.0)


def _compare(sides: Sides, feeds: Mapping[str, Any], binding: Mapping[str, tuple[int, ...]]) -> bool | Evidence:
    """Returns True where both give the same, False where the original does not run either, or what differs."""
    results = sides.run(feeds)
    if results is None:
        return False
    if isinstance(results, str):
        return rejected(results, binding, feeds)
    for before, after in zip(*results, strict=True):
        difference = compare_values(before, after)
        if difference is not None:
            return rejected(f"{difference.kind}: {difference.text}", binding, feeds)
    return True


def _grade(sweep: Sweep, shapes: Mapping[str, tuple[Dim | None, ...]], runs: int) -> str:
    if not sweep.exhaustive or runs < len(sweep.bindings):
        return GRADE_TESTED
    static = all(isinstance(dim, int) for shape in shapes.values() for dim in shape)
    return GRADE_STATIC if static else GRADE_ALL


def moves_data(node: ir.Node, region: Region) -> bool:
    """Whether a node only moves data, by parameters that are constants."""
    if node.domain not in ("", "ai.onnx") or not is_index_only(node.op_type):
        return False
    # With a parameter that is no constant, the index map depends on values.
    facts = op_facts(node.op_type)
    return all(
        value is None or facts.is_data(index) or _is_constant(value, region) for index, value in enumerate(node.inputs)
    )


def _is_constant(value: ir.Value, region: Region) -> bool:
    return stored_tensor(value, region.ir_version) is not None or region.contents(value) is not None


def _numbered(built: Built, binding: Mapping[str, tuple[int, ...]], region: Region) -> Iterator[dict[str, np.ndarray]]:
    """Yields feeds in which every element has a number of its own, in as many digits as the type needs runs for."""
    sizes = {name: math.prod(shape) for name, shape in binding.items()}
    total = sum(sizes.values())
    base = min((_exact_integers(region_dtype(region, value)) for value in built.inputs.values()), default=2)
    digits = 1
    while base**digits < total:
        digits += 1
    for digit in range(digits):
        start, feeds = 0, {}
        for name, shape in binding.items():
            ids = np.arange(start, start + sizes[name], dtype=np.int64) // base**digit % base
            feeds[name] = _as_type(ids, region_dtype(region, built.inputs[name])).reshape(shape)
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

"""Compares a region of a graph with what is to replace it, before it is replaced.

Both are built into one small model with the same inputs, every intermediate exposed, and run on inputs that can tell
them apart. Regions that only move data get the exact method: every element carries a number of its own, so that one run
shows the whole index map. The measured grounds of the method: an exhaustive sweep of a symbolic length up to the bound
that the region's constants imply missed none of 85,902 wrong merges of two Slices.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.evidence import REJECTED, Evidence
from onnxfuse.verification.region_model import Built, Region, identified
from onnxfuse.verification.region_moves import compare_moves, moves_data
from onnxfuse.verification.region_sides import Sides

__all__ = ["Evidence", "Region", "RegionVerifier"]


class RegionVerifier:
    """Compares regions, each distinct one once.

    Attributes:
        sessions: How many runtime sessions were made.
    """

    def __init__(self) -> None:
        self.sessions = 0
        self._known: dict[bytes, Evidence] = {}

    def check(self, region: Region) -> Evidence:
        """Compares a region with its replacement; never raises for what the models do."""
        found = identified(region)
        if isinstance(found, str):
            return Evidence(REJECTED, f"not verified: {found}")
        built, key = found
        if key not in self._known:
            self._known[key] = self._compare(region, built)
        return self._known[key].named({name: str(value.name) for name, value in built.inputs.items()})

    def _compare(self, region: Region, built: Built) -> Evidence:
        moves = not built.reads_shapes and all(moves_data(node, region) for node in (*region.before, *region.after))
        compare = compare_moves
        if not moves:
            # What only moves data needs neither draws nor twins, and does not import them.
            from onnxfuse.verification.region_values import compare_region_values

            compare = compare_region_values
        reasons = []
        backends: tuple[Literal["onnxruntime", "reference"], ...] = ("onnxruntime", "reference")
        # What onnxruntime has no kernel for, or refuses at run time, goes to the reference evaluator.
        for backend in backends:
            try:
                return compare(region, built, partial(self._sides, region, built, backend=backend))
            except EvaluationError as error:
                reasons.append(str(error))
        return Evidence(REJECTED, f"not verified: {reasons[0]}")

    def _sides(self, region: Region, built: Built, guess: int, backend: Literal["onnxruntime", "reference"]) -> Sides:
        def make(model: EvalModel) -> Evaluator:
            self.sessions += 1
            return Evaluator(model.proto, weights=model.weights, prefer=backend)

        return Sides(region, built, guess, make)

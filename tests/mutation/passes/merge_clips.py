"""merge-clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class MergeClips(RewritePass):
    """Merge two consecutive Clips with constant bounds."""

    name: ClassVar[str] = "merge-clips"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Clip"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Clip")
        if first is None:
            return None
        if facts.opset(node) < 11:
            facts.decline("below opset 11 the bounds are attributes")
        if facts.only_user(first.outputs[0]) is not node:
            facts.decline("the first Clip has another use", at=first)
        data = facts.input(first, 0)
        dtype = facts.dtype(data) if data is not None else None
        if dtype is None or not dtype.is_floating_point():
            facts.decline("the values are not known to be floats")
        bounds = [_bound(clip, index, facts) for clip in (first, node) for index in (1, 2)]
        if any(bound is None or np.isnan(bound) for bound in bounds):
            facts.decline("a bound is not constant, or NaN")
        low, high, least, most = (float(bound) for bound in bounds if bound is not None)
        if low > high or least > most:
            facts.decline("a lower bound is above the upper one")
        merged = min(max(low, least), most), max(min(high, most), least)
        return facts.region(first, node, data=data, bounds=merged, dtype=dtype)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        low, high = (np.array(bound, match["dtype"].numpy()) for bound in match["bounds"])
        bounds = [build.constant(low, name="low"), build.constant(high, name="high")]
        return [build.op("Clip", match["data"], *bounds)]


def _bound(clip: ir.Node, index: int, facts: Facts) -> float | None:
    value = facts.input(clip, index)
    if value is None:
        return -np.inf if index == 1 else np.inf
    array = facts.constant(value)
    return None if array is None else float(array.item())

"""merge-pads."""

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
class MergePads(RewritePass):
    """Merge two consecutive Pads with one and the same value."""

    name: ClassVar[str] = "merge-pads"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Pad"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Pad")
        if first is None or facts.opset(node) < 11:
            return None
        if facts.only_user(first.outputs[0]) is not node:
            facts.decline("the first Pad has another use", at=first)
        modes = [facts.attribute(pad, "mode", "constant") for pad in (first, node)]
        if modes[0] != modes[1] or modes[0] not in ("constant", "edge"):
            facts.decline("the modes cannot be merged")
        if any(facts.input(pad, 3) is not None for pad in (first, node)):
            facts.decline("the axes are given")
        values = [_value(pad, facts) for pad in (first, node)]
        if modes[0] == "constant" and (None in values or values[0] != values[1]):
            facts.decline("the values differ, or are not known")
        pads = [facts.constant(facts.input(pad, 1)) for pad in (first, node)]
        if pads[0] is None or pads[1] is None:
            facts.decline("the pads are not constant")
        if (pads[0] < 0).any() or (pads[1] < 0).any():
            facts.decline("a Pad crops")
        kept = [facts.input(node, 2)] if modes[0] == "constant" and facts.input(node, 2) is not None else []
        return facts.region(first, node, data=facts.input(first, 0), pads=pads[0] + pads[1], mode=modes[0], kept=kept)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        pads = build.constant(np.asarray(match["pads"], np.int64), name="pads")
        return [build.op("Pad", match["data"], pads, *match["kept"], mode=match["mode"])]


def _value(pad: ir.Node, facts: Facts) -> float | None:
    value = facts.input(pad, 2)
    if value is None:
        return 0.0
    array = facts.constant(value)
    return None if array is None else float(array.item())

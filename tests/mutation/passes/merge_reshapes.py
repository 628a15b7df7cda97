"""merge-reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class MergeReshapes(RewritePass):
    """Drop the first of two consecutive Reshapes, Squeezes, Unsqueezes or Flattens."""

    name: ClassVar[str] = "merge-reshapes"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Reshape"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Reshape", "Squeeze", "Unsqueeze", "Flatten")
        if first is None:
            return None
        if facts.only_user(first.outputs[0]) is not node:
            facts.decline("what is reshaped first has another use", at=first)
        target = facts.input(node, 1)
        shape = facts.constant(target)
        if shape is None:
            facts.decline("the shape is not constant")
        if facts.attribute(node, "allowzero", 0) != 0:
            facts.decline("a zero may stand for itself")
        if (shape == 0).any():
            facts.decline("a dim is taken from what was reshaped first")
        if (shape == -1).sum() > 1:
            facts.decline("two dims are to be inferred")
        return facts.region(first, node, data=facts.input(first, 0), shape=target)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Reshape", match["data"], match["shape"])]

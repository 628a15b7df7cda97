"""A pass that replaces regions of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfuse import Builder, Facts, Match, Numerics, RewritePass

__all__ = ["RemoveDoubleNeg"]


@dataclass(frozen=True)
class RemoveDoubleNeg(RewritePass):
    """Remove two Negs in a row.

    What it does:
        `Neg(Neg(x))` becomes `x`.

    Why:
        Exporters of other frameworks write one Neg for each subtraction.

    Example:
        Before:

            <ir_version: 8, opset_import: ["" : 17]>
            example (float[N] x) => (float[N] y) {
                a = Neg(x)
                b = Neg(a)
                y = Exp(b)
            }

        After:

            <ir_version: 8, opset_import: ["" : 17]>
            example (float[N] x) => (float[N] y) {
                y = Exp(x)
            }

    When it declines:
        - The first Neg has another use.

    Numerics:
        Exact: a sign is turned twice.

    Options:
        None.

    References:
        https://onnx.ai/onnx/operators/onnx__Neg.html
    """

    name: ClassVar[str] = "remove-double-neg"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Neg"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Looks at the second Neg."""
        first = facts.producer(facts.input(node, 0), "Neg")
        if first is None:
            return None
        if facts.only_user(first.outputs[0]) is None:
            facts.decline("the first Neg has another use", at=first)
        return facts.region(first, node, data=first.inputs[0])

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Gives what was negated twice."""
        return [match["data"]]

"""fuse-gelu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class FuseGelu(RewritePass):
    """Turn x (1 + Erf(x / sqrt 2)) 0.5 into Gelu."""

    name: ClassVar[str] = "fuse-gelu"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Mul"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        if facts.opset(node) < 20:
            return None
        scaled = _with_constant(node, facts, 0.5)
        product = facts.producer(scaled, "Mul")
        if product is None:
            return None
        for index in (0, 1):
            x, gate = facts.input(product, index), facts.input(product, 1 - index)
            add = facts.producer(gate, "Add")
            erf = facts.producer(_with_constant(add, facts, 1.0), "Erf") if add is not None else None
            div = facts.producer(facts.input(erf, 0), "Div") if erf is not None else None
            if add is None or erf is None or div is None:
                continue
            if facts.input(div, 0) is not x or not _is(facts, facts.input(div, 1), math.sqrt(2)):
                facts.decline("what Erf is applied to is not x / sqrt 2", at=div)
            inner = (div, erf, add, product)
            if any(facts.only_user(member.outputs[0]) is None for member in inner):
                facts.decline("a value inside has another use", at=product)
            return facts.region(*inner, node, x=x)
        return None

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Gelu", match["x"])]


def _with_constant(node: ir.Node, facts: Facts, number: float) -> ir.Value | None:
    """Returns the operand of a commutative node whose other operand is the constant."""
    for index in (0, 1):
        if _is(facts, facts.input(node, 1 - index), number):
            return facts.input(node, index)
    return None


def _is(facts: Facts, value: ir.Value | None, number: float) -> bool:
    array = facts.constant(value)
    return array is not None and array.size == 1 and array.ndim <= 1 and abs(float(array.item()) / number - 1) < 1e-6

"""merge-casts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import onnx_ir as ir

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    from onnxfuse import Builder, Facts, Match

# Bits of the integers that a type holds exactly, without the sign; and whether it has one.
INTEGERS: Final = {
    ir.DataType.UINT8: (8, False),
    ir.DataType.INT8: (7, True),
    ir.DataType.UINT16: (16, False),
    ir.DataType.INT16: (15, True),
    ir.DataType.UINT32: (32, False),
    ir.DataType.INT32: (31, True),
    ir.DataType.INT64: (63, True),
}
FLOATS: Final = {ir.DataType.FLOAT16: 11, ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}


@dataclass(frozen=True)
class MergeCasts(RewritePass):
    """Drop the first of two consecutive Casts where it loses nothing."""

    name: ClassVar[str] = "merge-casts"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Cast"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Cast")
        if first is None:
            return None
        if facts.is_graph_output(first.outputs[0]) or facts.use_count(first.outputs[0]) > 1:
            facts.decline("the first Cast has another use", at=first)
        data = facts.input(first, 0)
        source = facts.dtype(data) if data is not None else None
        if source is None:
            facts.decline("the type is not known", at=first)
        if not _lossless(source, ir.DataType(facts.attribute(first, "to"))):
            facts.decline("the first Cast loses something", at=first)
        target = ir.DataType(facts.attribute(node, "to"))
        if facts.attribute(node, "saturate", 1) != 1:
            facts.decline("the second Cast does not saturate")
        return facts.region(first, node, data=data, source=source, target=target)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        if match["source"] == match["target"]:
            return [match["data"]]
        return [build.op("Cast", match["data"], to=int(match["target"]))]


def _lossless(source: ir.DataType, target: ir.DataType) -> bool:
    if source == target:
        return True
    if source in INTEGERS:
        bits, signed = INTEGERS[source]
        if target in FLOATS:
            # The largest float16 is below the largest integer of 16 bits.
            return bits <= FLOATS[target]
        if target in INTEGERS:
            more, also = INTEGERS[target]
            return bits <= more and (also or not signed)
        return False
    return source in FLOATS and target in FLOATS and FLOATS[source] <= FLOATS[target]

"""pad-into-conv."""

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
class PadIntoConv(RewritePass):
    """Have a Conv pad its input itself."""

    name: ClassVar[str] = "pad-into-conv"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Conv"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        pad = facts.producer(facts.input(node, 0), "Pad")
        if pad is None:
            return None
        if facts.only_user(pad.outputs[0]) is not node:
            facts.decline("what is padded has another use", at=pad)
        if facts.opset(node) < 11:
            facts.decline("below opset 11 the pads are attributes")
        if facts.attribute(pad, "mode", "constant") != "constant":
            facts.decline("the padding is not constant", at=pad)
        if facts.attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            facts.decline("the Conv computes its pads")
        value = facts.constant(facts.input(pad, 2))
        if facts.input(pad, 2) is not None and (value is None or value.any()):
            facts.decline("the padding is not zero", at=pad)
        if facts.input(pad, 3) is not None:
            facts.decline("the axes are given", at=pad)
        pads = facts.constant(facts.input(pad, 1))
        if pads is None or (pads < 0).any():
            facts.decline("the pads are not constant, or negative", at=pad)
        rank = len(pads) // 2
        begins, ends = pads[:rank], pads[rank:]
        if begins[:2].any() or ends[:2].any():
            facts.decline("the batch or the channels are padded", at=pad)
        own = np.array(facts.attribute(node, "pads", [0] * (2 * (rank - 2))))
        merged = own + np.concatenate([begins[2:], ends[2:]])
        kept = {name: facts.attribute(node, name) for name in node.attributes if name not in ("pads", "auto_pad")}
        operands = [facts.input(node, index) for index in range(1, len(node.inputs))]
        return facts.region(pad, node, data=facts.input(pad, 0), operands=operands, pads=merged.tolist(), kept=kept)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Conv", match["data"], *match["operands"], pads=match["pads"], **match["kept"])]

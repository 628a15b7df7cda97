"""absorb-transpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match


@dataclass(frozen=True)
class AbsorbTranspose(RewritePass):
    """Have Gemm transpose its operands itself."""

    name: ClassVar[str] = "absorb-transpose"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Gemm"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        operands = [facts.input(node, 0), facts.input(node, 1)]
        turned = [facts.attribute(node, "transA", 0), facts.attribute(node, "transB", 0)]
        absorbed = []
        for index, operand in enumerate(operands):
            transpose = facts.producer(operand, "Transpose")
            if transpose is None or facts.only_user(transpose.outputs[0]) is not node:
                continue
            if list(facts.attribute(transpose, "perm", [1, 0])) != [1, 0]:
                continue
            absorbed.append(transpose)
            operands[index] = facts.input(transpose, 0)
            turned[index] = 1 - turned[index]
        if not absorbed:
            return None
        third = facts.input(node, 2)
        return facts.region(
            *dict.fromkeys(absorbed),
            node,
            operands=[*operands, third] if third is not None else operands,
            turned=turned,
            alpha=facts.attribute(node, "alpha", 1.0),
            beta=facts.attribute(node, "beta", 1.0),
        )

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        left, right = match["turned"]
        return [
            build.op("Gemm", *match["operands"], transA=left, transB=right, alpha=match["alpha"], beta=match["beta"])
        ]

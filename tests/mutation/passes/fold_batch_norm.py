"""fold-batch-norm."""

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
class FoldBatchNorm(RewritePass):
    """Fold a BatchNormalization into the Conv before it."""

    name: ClassVar[str] = "fold-batch-norm"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"BatchNormalization"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        conv = facts.producer(facts.input(node, 0), "Conv")
        if conv is None:
            return None
        if facts.opset(node) < 9 or facts.attribute(node, "training_mode", 0) != 0:
            facts.decline("the BatchNormalization may compute statistics of its own")
        if len(node.outputs) != 1:
            facts.decline("the BatchNormalization returns statistics")
        if facts.only_user(conv.outputs[0]) is not node:
            facts.decline("what the Conv computes has another use", at=conv)
        parameters = [facts.constant(facts.input(node, index)) for index in range(1, 5)]
        weight = facts.constant(facts.input(conv, 1))
        if weight is None or any(array is None for array in parameters):
            facts.decline("a parameter is not constant")
        bias = facts.constant(facts.input(conv, 2))
        if bias is None:
            if facts.input(conv, 2) is not None:
                facts.decline("the bias is not constant", at=conv)
            bias = np.zeros(weight.shape[0], weight.dtype)
        return facts.region(
            conv,
            node,
            data=facts.input(conv, 0),
            weight=weight,
            bias=bias,
            parameters=parameters,
            epsilon=facts.attribute(node, "epsilon", 1e-5),
            attributes={name: facts.attribute(conv, name) for name in conv.attributes},
        )

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        gamma, beta, mean, variance = (array.astype(np.float64) for array in match["parameters"])
        weight: np.ndarray = match["weight"]
        scale = gamma / np.sqrt(variance + match["epsilon"])
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        shift = (match["bias"] - mean) * scale + beta
        operands = [
            build.constant(folded.astype(weight.dtype), name="weight"),
            build.constant(shift.astype(weight.dtype), name="bias"),
        ]
        return [build.op("Conv", match["data"], *operands, **match["attributes"])]

"""remove-pad."""

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
class RemovePad(RewritePass):
    """Remove a Pad that pads nothing.

    What it does:
        Replaces a Pad whose pads are all zero by its input, whatever its mode. The pads may be an attribute (below
        opset 11), a constant input, or computed from constants.

    Why:
        Exporters before PyTorch 1.9 wrote one in front of each pooling with `ceil_mode`. It does nothing, but on an
        accelerator it costs a copy, and compilers that look for Relu followed by AveragePool fall off their fast path.

    Example:
        Before:

            <ir_version: 8, opset_import: ["": 17]>
            example (float[N, 8, 7, 7] x) => (float[N, 8, 1, 1] y) <int64[8] pads = {0, 0, 0, 0, 0, 0, 0, 0}> {
                relu = Relu(x)
                padded = Pad(relu, pads)
                y = AveragePool<kernel_shape = [7, 7]>(padded)
            }

        After:

            <ir_version: 8, opset_import: ["": 17]>
            example (float[N, 8, 7, 7] x) => (float[N, 8, 1, 1] y) {
                relu = Relu(x)
                y = AveragePool<kernel_shape = [7, 7]>(relu)
            }

    When it declines:
        The pads are not constant (a graph input, or an initializer that the caller can override), or not all zero.

    Numerics:
        Exact.

    Options:
        None.

    References:
        Pad in ONNX's operators, https://onnx.ai/onnx/operators/onnx__Pad.html
    """

    name: ClassVar[str] = "remove-pad"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Pad"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Returns the Pad, if it pads nothing."""
        pads = _pads(node, facts)
        if pads is None:
            facts.decline("the pads are not constant")
        if np.any(pads):
            facts.decline(f"the pads are not all zero: {pads.tolist()}")
        return facts.region(node, data=facts.input(node, 0))

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Returns what goes into the Pad."""
        del build
        return [match["data"]]


def _pads(node: ir.Node, facts: Facts) -> np.ndarray | None:
    opset = facts.opset(node)
    if opset >= 11:
        return facts.constant(facts.input(node, 1))
    # Pad-1 called it paddings.
    pads = facts.attribute(node, "pads" if opset >= 2 else "paddings")
    return None if pads is None else np.asarray(pads)

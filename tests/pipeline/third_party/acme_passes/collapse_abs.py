"""A pass that makes a whole model of a whole model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxfuse import Facts, ModelPass, Numerics

__all__ = ["CollapseAbs"]


@dataclass(frozen=True)
class CollapseAbs(ModelPass):
    """Collapse several Abs in a row into one.

    What it does:
        `Abs(Abs(x))` becomes `Abs(x)`, in every graph and function.

    Why:
        As an example of a pass that is handed a whole model.

    Example:
        Before:

            <ir_version: 8, opset_import: ["" : 17]>
            example (float[N] x) => (float[N] y) {
                a = Abs(x)
                b = Abs(a)
                y = Exp(b)
            }

        After:

            <ir_version: 8, opset_import: ["" : 17]>
            example (float[N] x) => (float[N] y) {
                a = Abs(x)
                y = Exp(a)
            }

    When it declines:
        - What a second Abs gives is an output of its graph.

    Numerics:
        Exact: a value without a sign has none to lose.

    Options:
        None.

    References:
        https://onnx.ai/onnx/operators/onnx__Abs.html
    """

    name: ClassVar[str] = "collapse-abs"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Edits the copy in place."""
        borders = []
        for graph in (*model.graphs(), *(function.graph for function in model.functions.values())):
            for node in graph:
                if node.op_type != "Abs" or node.domain not in ("", "ai.onnx"):
                    continue
                (value,), (result,) = node.inputs, node.outputs
                before = value.producer() if value is not None else None
                if before is None or before.op_type != "Abs" or before.domain not in ("", "ai.onnx"):
                    continue
                if result.is_graph_output():
                    borders.append(node.name or result.name)
                    continue
                assert value is not None
                result.replace_all_uses_with(value)
                graph.remove(node, safe=True)
        if borders:
            facts.decline(f"what {', '.join(map(str, borders))} gives is an output")
        return model

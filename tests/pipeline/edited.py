"""Passes that make whole models out of functions that edit one, and models to be edited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import onnx
import onnx_ir as ir

from onnxfuse import Facts, ModelPass, Numerics

__all__ = ["BRANCHES", "FUNCTIONS", "Edit", "Edited", "InPlace", "chain", "drop", "lossy", "parsed"]

Edit = Callable[[onnx.ModelProto], onnx.ModelProto | None]


@dataclass(frozen=True)
class Edited(ModelPass):
    """A tool that knows nothing of onnx_ir: it gets a protobuf and gives one."""

    edit: Edit = field(repr=False)
    name: ClassVar[str] = "edited"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        del facts
        proto = ir.to_proto(model)
        return ir.from_proto(self.edit(proto) or proto)


@dataclass(frozen=True)
class InPlace(ModelPass):
    """A pass that changes the copy it is given."""

    edit: Callable[[ir.Model], None] = field(repr=False)
    name: ClassVar[str] = "in-place"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        del facts
        self.edit(model)
        return model


def parsed(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"
    return model


def chain() -> onnx.ModelProto:
    model = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {1, 2, 3, 4}, float[4] unused = {1, 1, 1, 1}> {
            a = Identity(x)
            b = Mul(a, w)
            c = Identity(b)
            d = Relu(c)
            y = Add(d, x)
        }
    """)
    model.metadata_props.add(key="author", value="me")
    model.graph.node[3].metadata_props.add(key="layer", value="3")
    model.graph.node[3].doc_string = "the third"
    return model


def drop(model: onnx.ModelProto, *names: str) -> None:
    """Takes Identity nodes out, by name."""
    for name in names:
        (node,) = (node for node in model.graph.node if node.name == name)
        for other in model.graph.node:
            other.input[:] = [node.input[0] if value == node.output[0] else value for value in other.input]
        model.graph.node.remove(node)


def lossy(model: onnx.ModelProto) -> None:
    """What a tool loses on the way."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name, model.graph.name = "tool", "tool"
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for tensor in list(model.graph.initializer):
        if not any(tensor.name in node.input for node in model.graph.node):
            model.graph.initializer.remove(tensor)


BRANCHES = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
        r = Relu(x)
        y = If (c) <
            then_branch = t () => (float[2] u) { i = Identity(r) u = Mul(i, w) },
            else_branch = e () => (float[2] v) { v = Neg(r) }
        >
    }
"""

FUNCTIONS = """
    <ir_version: 8, opset_import: ["": 17, "f": 1]>
    g (float[2] x) => (float[2] y) { t = f.twice(x) y = Relu(t) }
    <domain: "f", opset_import: ["": 17]>
    twice (a) => (b) { i = Identity(a) b = Add(i, a) }
"""

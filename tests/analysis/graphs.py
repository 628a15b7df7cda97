"""Graphs as text, and what is found of their values."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.parser
import onnx_ir as ir

from onnxfuse.analysis import Dim
from onnxfuse.analysis.shapes import Shapes, Symbol

N, M = Symbol("declared", "N"), Symbol("declared", "M")


def parse(text: str, *, opset: int = 17, ir_version: int = 8, functions: str = "") -> ir.Model:
    head = f'<ir_version: {ir_version}, opset_import: ["": {opset}, "local": 1, "custom": 1]>\n'
    return ir.from_proto(onnx.parser.parse_model(head + text + functions))


def values(model: ir.Model) -> dict[str, ir.Value]:
    found = {str(value.name): value for value in (*model.graph.inputs, *model.graph.initializers.values())}
    return found | {str(value.name): value for node in model.graph.all_nodes() for value in node.outputs}


def show(dims: tuple[Dim, ...] | None) -> list[object] | None:
    """Dims with declared symbols by name and all others as "?"."""
    if dims is None:
        return None
    return [dim if isinstance(dim, int) else dim.name if dim.kind == "declared" else "?" for dim in dims]


def shape(text: str, name: str = "y", **options: Any) -> list[object] | None:
    model = parse(text, **options)
    return show(Shapes(model).shape(values(model)[name]))


def contents(text: str, name: str = "y", **options: Any) -> list[object] | None:
    model = parse(text, **options)
    return show(Shapes(model).dim_values(values(model)[name]))

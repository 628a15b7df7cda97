"""What a model consists of, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxfuse.model_io import Opened
from onnxfuse.report.records import ModelFacts

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["facts_of", "facts_of_ir"]


def facts_of(opened: Opened) -> ModelFacts:
    """Counts the nodes of a model as it came."""
    if opened.source is None:
        return facts_of_ir(opened.model)
    ops: Counter[str] = Counter()
    proto = opened.source.proto
    stack: list[Iterable[onnx.NodeProto]] = [proto.graph.node, *(function.node for function in proto.functions)]
    while stack:
        for node in stack.pop():
            ops[_op_name(node.domain, node.op_type)] += 1
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append(attribute.g.node)
                stack.extend(graph.node for graph in attribute.graphs)
    return ModelFacts(ops.total(), dict(sorted(ops.items())))


def facts_of_ir(model: ir.Model) -> ModelFacts:
    """Counts the nodes of an `onnx_ir.Model`."""
    from onnxfuse.model_io.origin import subgraphs

    ops: Counter[str] = Counter()
    stack = [model.graph, *(function.graph for function in model.functions.values())]
    while stack:
        for node in stack.pop():
            ops[_op_name(node.domain, node.op_type)] += 1
            stack.extend(subgraphs(node))
    return ModelFacts(ops.total(), dict(sorted(ops.items())))


def _op_name(domain: str, op_type: str) -> str:
    return op_type if domain in ("", "ai.onnx") else f"{domain}::{op_type}"

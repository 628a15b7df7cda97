"""Structural checks of one rewrite, in time proportional to what it touches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import onnx
import onnx_ir as ir

from onnxfuse.analysis.ops import is_pure
from onnxfuse.errors import PassError
from onnxfuse.model_io.origin import subgraphs
from onnxfuse.rewriting.builder import Builder
from onnxfuse.rewriting.match import Facts, Match

__all__ = ["check_replacement", "is_removable"]


def check_replacement(match: Match, builder: Builder, values: Sequence[ir.Value], facts: Facts) -> None:
    """Checks a replacement before it is put in: arity, scope, schemas, element types, ranks and dims at the border.

    Raises:
        PassError: The pass built something that does not fit; nothing has been changed.
    """
    graph = match.nodes[0].graph
    if not isinstance(graph, ir.Graph) or any(node.graph is not graph for node in match.nodes):
        raise PassError("the region spans several graphs")
    if any(True for node in match.nodes for _ in subgraphs(node)):
        raise PassError("the region holds a node with a subgraph")
    if len(values) != len(match.outputs):
        names = ", ".join(str(value.name) for value in match.outputs)
        raise PassError(
            f"rewrite returned {len(values)} values for {len(match.outputs)} outputs of the region ({names}): "
            "what is used outside of the region is an output of it"
        )
    if len(match.outputs) > 1:
        _check_convex(match)
    visible = {*match.inputs, *builder.constants}
    for node in builder.nodes:
        for value in node.inputs:
            if value is not None and value not in visible:
                raise PassError(
                    f"the new {node.op_type} reads {value.name!r}, which is neither an input of the region nor new"
                )
        visible.update(node.outputs)
        _check_schema(node, facts, graph)
    inside = {value for node in match.nodes for value in node.outputs}
    for old, new in zip(match.outputs, values, strict=True):
        if new in inside or new not in visible:
            raise PassError(f"the value for {old.name!r} is neither an input of the region nor new")
        _check_border(old, new, facts)


def _check_convex(match: Match) -> None:
    """Checks that nothing between two nodes of the region is outside it: one node in its place would read itself.

    With one output this cannot be; with more, all that the inputs are computed from is searched.
    """
    inside = set(match.nodes)
    stack = [producer for value in match.inputs if (producer := value.producer()) is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        for before in node.predecessors():
            if before in inside:
                raise PassError(
                    f"the region reads {node.op_type} {node.name!r}, which reads the region: it is not convex"
                )
            if before not in seen:
                seen.add(before)
                stack.append(before)


def _check_schema(node: ir.Node, facts: Facts, graph: ir.Graph) -> None:
    proto = ir.to_proto(node)
    # The checker knows ONNX's own domain by its empty name only.
    named = facts.opset_imports(graph)
    own = {"": named["ai.onnx"]} if "ai.onnx" in named else {}
    imports = tuple(sorted({**own, **named}.items()))
    if node.domain not in dict(imports) and node.domain != "":
        raise PassError(f"the new {node.domain}::{node.op_type} is of a domain that the model does not import")
    try:
        onnx.checker.check_node(proto, _context(facts.model.ir_version, imports))
    except onnx.checker.ValidationError as error:
        raise PassError(f"the new {node.op_type} is invalid: {str(error).splitlines()[0]}") from error


@lru_cache(maxsize=32)
def _context(ir_version: int, imports: tuple[tuple[str, int], ...]) -> onnx.checker.C.CheckerContext:
    context = onnx.checker.C.CheckerContext()
    context.ir_version = ir_version
    context.opset_imports = dict(imports)
    return context


def _check_border(old: ir.Value, new: ir.Value, facts: Facts) -> None:
    before, after = facts.dtype(old), facts.dtype(new)
    if before is not None and after is not None and before != after:
        raise PassError(f"the element type of {old.name!r} would change from {before.name} to {after.name}")
    shape, other = facts.shape(old), facts.shape(new)
    if shape is None or other is None:
        return
    if len(shape) != len(other):
        raise PassError(f"the rank of {old.name!r} would change from {len(shape)} to {len(other)}")
    for axis, (a, b) in enumerate(zip(shape, other, strict=True)):
        if isinstance(a, int) and isinstance(b, int) and a != b:
            raise PassError(f"dim {axis} of {old.name!r} would change from {a} to {b}")


def is_removable(node: ir.Node) -> bool:
    """Says whether a node whose outputs nothing reads may go: it has no effect but its outputs."""
    return is_pure(node) and not any(True for _ in subgraphs(node))

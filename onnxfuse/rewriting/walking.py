"""What nodes read, through the bodies that they hold."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfuse.model_io.origin import subgraphs
from onnxfuse.rewriting.sameness import is_dangling

__all__ = ["captured", "graphs_in", "in_order", "is_sorted", "read_by"]


def graphs_in(graph: ir.Graph) -> Iterator[ir.Graph]:
    """Yields a graph and the bodies in it, each before those in its nodes."""
    yield graph
    for node in graph:
        for body in subgraphs(node):
            yield from graphs_in(body)


def _inside(graph: ir.Graph) -> Iterator[ir.Value]:
    """Yields every value that a graph or a body in it defines."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
        for body in subgraphs(node):
            yield from _inside(body)


def captured(body: ir.Graph) -> Iterator[ir.Value]:
    """Yields the values that a body reads from around it."""
    inside = set(_inside(body))
    for value in _read(body):
        if value not in inside and not is_dangling(value):
            yield value


def _read(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.outputs
    for node in graph:
        yield from (value for value in node.inputs if value is not None)
        for body in subgraphs(node):
            yield from _read(body)


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """Yields what a node and its bodies read from the graph that it is in, and from around that."""
    yield from (value for value in node.inputs if value is not None)
    for body in subgraphs(node):
        yield from captured(body)


def in_order(graph: ir.Graph) -> tuple[ir.Node, ...]:
    """Returns the nodes, each after what it reads; as they are where they are so already.

    Raises:
        ValueError: A node reads its own result.
    """
    done: dict[ir.Node, None] = {}
    for start in graph:
        path = {start: iter(_predecessors(start))}
        while path:
            node, left = next(reversed(path.items()))
            for before in left:
                if before.graph is not graph or before in done:
                    continue
                if before in path:
                    raise ValueError(f"node {before.name!r} reads its own result")
                path[before] = iter(_predecessors(before))
                break
            else:
                done[node] = None
                del path[node]
    return tuple(done)


def _predecessors(node: ir.Node) -> Iterator[ir.Node]:
    for value in read_by(node):
        producer = value.producer()
        if producer is not None:
            yield producer


def is_sorted(graph: ir.Graph) -> bool:
    """Says whether every node comes after what it reads."""
    seen: set[ir.Node] = set()
    for node in graph:
        if any(before.graph is graph and before not in seen for before in _predecessors(node)):
            return False
        seen.add(node)
    return True

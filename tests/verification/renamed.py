"""Copies of models under other names: what they compute is the same, and no byte of a graph need be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import onnx

__all__ = ["renamed"]


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy in which every value inside has another name, and nodes and bodies have none.

    Inputs and outputs of the main graph keep theirs, and so do initializers that are inputs. What is only declared of
    values inside is left out.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.doc_string = "renamed"
    fresh = (f"v{index}" for index in itertools.count())
    kept = {value.name: value.name for value in (*copy.graph.input, *copy.graph.output)}
    _rename_graph(copy.graph, kept, fresh, main=True)
    for function in copy.functions:
        names = {name: next(fresh) for name in (*function.input, *function.output)}
        function.input[:] = [names[name] for name in function.input]
        _rename_nodes(function.node, names, fresh)
        function.output[:] = [names[name] for name in function.output]
        del function.value_info[:]
    return copy


def _rename_graph(
    graph: onnx.GraphProto, outer: Mapping[str, str], fresh: Iterator[str], *, main: bool = False
) -> None:
    graph.name, graph.doc_string = "renamed", ""
    del graph.value_info[:], graph.quantization_annotation[:]
    names = dict(outer)
    if not main:
        names.update((value.name, next(fresh)) for value in graph.input)
        for value in graph.input:
            value.name = names[value.name]
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = (
            names[tensor.name] if main and tensor.name in outer else names.setdefault(tensor.name, next(fresh))
        )
        tensor.doc_string = ""
    _rename_nodes(graph.node, names, fresh)
    for value in graph.output:
        value.name = names[value.name]


def _rename_nodes(nodes: Iterable[onnx.NodeProto], names: dict[str, str], fresh: Iterator[str]) -> None:
    """Renames what nodes read and give; `names` takes the new names of what they give."""
    for node in nodes:
        node.name, node.doc_string = "", ""
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _rename_graph(body, names, fresh)
        for name in node.output:
            if name and name not in names:
                names[name] = next(fresh)
        node.output[:] = [names.get(name, name) for name in node.output]

"""Names in a model: new ones, and those that pass from what goes to what takes its place."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfuse.model_io.origin import subgraphs

__all__ = ["Names", "all_names", "can_rename", "take_over"]


class Names:
    """Makes names that occur nowhere in a model; one object serves a whole run."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._taken: set[str] | None = None
        self._next: dict[str, int] = {}

    def fresh(self, stem: str) -> str:
        """Returns `stem`, or `stem_1`, `stem_2`...: the first that is not taken; it is taken from then on."""
        if self._taken is None:
            self._taken = set(all_names(self._model))
        name = stem
        while name in self._taken:
            # The count goes on where it was, else n names of one stem cost n^2 look-ups.
            self._next[stem] = count = self._next.get(stem, 0) + 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name


def all_names(model: ir.Model) -> Iterator[str]:
    """Yields the names of all nodes and values, again and again where they come several times."""
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    while graphs:
        graph = graphs.pop()
        for value in (*graph.inputs, *graph.initializers.values()):
            yield str(value.name)
        for node in graph:
            if node.name:
                yield node.name
            yield from (str(value.name) for value in (*node.inputs, *node.outputs) if value is not None)
            graphs.extend(subgraphs(node))


def can_rename(value: ir.Value, graph: ir.Graph) -> bool:
    """Says whether `value` may take a graph output's name: a node here computes it, and it is no output."""
    producer = value.producer()
    return producer is not None and producer.graph is graph and not value.is_graph_output()


def take_over(old: ir.Value, new: ir.Value) -> None:
    """Gives `new` the name of `old` and all that is declared of it."""
    name, old.name = old.name, None
    new.name = name
    new.type, new.shape, new.doc_string = old.type, old.shape, old.doc_string
    new.metadata_props.update(old.metadata_props)

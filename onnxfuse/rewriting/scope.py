"""A graph, to look its nodes and values up in."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Hashable

import onnx_ir as ir

from onnxfuse.rewriting.sameness import Alike, Contents, constant_of, is_constant, is_dangling, node_key

__all__ = ["Scope"]


class Scope:
    """A graph with what can be read in it.

    Attributes:
        graph: The graph.
        values: Its values, by name.
        constants: The constants that can be read in it, by name.
        contents: Likewise, by what they hold.
        index: Its nodes, by what makes two the same.
        dangling: What its nodes read that nothing computes: onnx_ir does not know of sparse initializers.
    """

    def __init__(self, graph: ir.Graph, outer: Scope | None) -> None:
        """Looks at every node.

        Args:
            graph: The graph; it is not to be changed from here on.
            outer: What is around it; None for the main graph and for functions.
        """
        self.graph = graph
        self.values = {str(value.name): value for value in (*graph.inputs, *graph.initializers.values())}
        self.values.update((str(value.name), value) for node in graph for value in node.outputs if value.name)
        own = {name: value for name, value in self.values.items() if constant_of(value) is not None}
        around = [] if outer is None else outer.constants.maps
        self.constants: ChainMap[str, ir.Value] = ChainMap(own, *around)
        self.contents: Contents = Contents(own.values(), None if outer is None else outer.contents)
        alike: dict[Hashable, list[ir.Node]] = defaultdict(list)
        for node in graph:
            if not is_constant(node):
                inputs = [None if value is None else self.contents.first(value) for value in node.inputs]
                alike[node_key(node, inputs)].append(node)
        self.index = {key: Alike(nodes) for key, nodes in alike.items()}
        self.dangling: dict[str, ir.Value] = {} if outer is None else dict(outer.dangling)
        self.dangling.update(
            (str(value.name), value)
            for node in graph
            for value in node.inputs
            if value is not None and is_dangling(value)
        )

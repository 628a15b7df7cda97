"""Builds the replacement of a region beside the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, overload

import numpy as np
import onnx_ir as ir

from onnxfuse.rewriting.match import Match, node_label

__all__ = ["PROVENANCE", "Builder"]

PROVENANCE: Final = "onnxfuse.pass"
"""Key in a node's metadata_props: the pass that made it."""


class Builder:
    """Makes the nodes and constants that replace a region; the graph is not touched.

    Names are unique in the model and stable from run to run: they derive from the name of the region's last node. The
    value that replaces a region's output takes over that output's name when the engine puts it in, so consumers and
    graph outputs keep what they read.

    Attributes:
        nodes: The nodes made so far, in order.
        constants: The constants made so far that are to become initializers.
    """

    def __init__(self, match: Match, *, provenance: str, in_function: bool, fresh: Callable[[str], str]) -> None:
        """Starts with an empty replacement.

        Args:
            match: The region to replace.
            provenance: The pass, as it stands in the mark `onnxfuse.pass`.
            in_function: Whether the region is in a function, which has no initializers.
            fresh: Makes a name unique in the model.
        """
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self._last = match.nodes[-1]
        self._stem = node_label(self._last)
        self._heir: ir.Node | None = None
        self._metadata = _merged_metadata(match.nodes) | {PROVENANCE: provenance}
        self._doc_string = next((node.doc_string for node in reversed(match.nodes) if node.doc_string), None)
        self._in_function = in_function
        self._fresh = fresh

    @overload
    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = ..., outputs: Literal[1] = ..., **attributes: Any
    ) -> ir.Value: ...

    @overload
    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = ..., outputs: int, **attributes: Any
    ) -> Sequence[ir.Value]: ...

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        domain: str = "",
        outputs: int = 1,
        **attributes: Any,
    ) -> ir.Value | Sequence[ir.Value]:
        """Makes a node.

        Args:
            op_type: Its op_type.
            inputs: Its inputs; None for one that is omitted.
            domain: Its domain.
            outputs: How many outputs it has.
            attributes: Its attributes; those that are None are left out.

        Returns:
            Its output, or the sequence of them where `outputs` is not 1.
        """
        inherits = self._inherits(op_type)
        node = ir.node(
            op_type,
            inputs,
            attributes={key: value for key, value in attributes.items() if value is not None},
            domain=domain,
            num_outputs=outputs,
            name=self._last.name if inherits else self._fresh(f"{self._stem}_{op_type}"),
            doc_string=self._doc_string,
            metadata_props=dict(self._metadata),
        )
        if inherits:
            self._heir = node
        for index, value in enumerate(node.outputs):
            value.name = self._fresh(f"{self._stem}_{op_type}_output_{index}")
        self.nodes.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, array: np.ndarray, *, name: str = "constant") -> ir.Value:
        """Makes a constant: an initializer, or in a function a Constant node.

        Args:
            array: What it holds.
            name: What it is for, as the end of its name: `starts`.
        """
        tensor = ir.tensor(np.asarray(array, order="C"), name=self._fresh(f"{self._stem}_{name}"))
        if self._in_function:
            return self.op("Constant", value=tensor)
        value = ir.Value(
            name=tensor.name,
            const_value=tensor,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
        )
        self.constants.append(value)
        return value

    def _inherits(self, op_type: str) -> bool:
        """Says whether the next node takes the name of the region's last node, which goes.

        The first node made takes it, until one of the last node's own op_type is made.
        """
        if not self._last.name:
            return False
        if self._heir is None:
            return True
        if op_type != self._last.op_type or self._heir.op_type == op_type:
            return False
        self._heir.name = self._fresh(f"{self._stem}_{self._heir.op_type}")
        return True

    def discard(self) -> None:
        """Takes the replacement apart, so that the values of the graph have no uses by it."""
        for node in self.nodes:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)


def _merged_metadata(nodes: Sequence[ir.Node]) -> dict[str, str]:
    """Returns the metadata of all nodes; where two say different things of one key, the later node's."""
    merged: dict[str, str] = {}
    for node in nodes:
        merged.update(node.metadata_props)
    return merged

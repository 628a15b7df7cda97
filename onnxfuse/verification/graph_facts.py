"""What a graph tells about a difference of its results: what is random, what rounds, what turns rounding into steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from onnxfuse.analysis.ops import RANDOM, op_facts, op_types

if TYPE_CHECKING:
    import onnx

__all__ = ["GraphFacts"]


# Each gives the same bits however it is computed. Max, Min and Relu are not here: which zero or NaN they give is up to
# the kernel. What only moves data or compares is in the table of `onnxfuse.analysis.ops`.
_EXACT: Final = op_types(
    "Abs BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike ConcatFromSequence Constant ConstantOfShape"
    " EyeLike If IsInf IsNaN Loop Neg NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Scan"
    " SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size SplitToSequence"
)
_DISCRETE: Final = op_types(
    "ArgMax ArgMin Cast CastLike Ceil DynamicQuantizeLinear Equal Floor Greater GreaterOrEqual Hardmax Less LessOrEqual"
    " Mod NonMaxSuppression NonZero QuantizeLinear Round Sign TopK Unique"
)
# onnx's numbers of the types in which nothing rounds: the integers, bool and string.
_NOT_FLOAT: Final = frozenset((2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 21, 22, 25, 26))


class GraphFacts:
    """What the main graph of a model tells about its values; each fact is found when it is first asked for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Takes a light model; it is not changed."""
        self._model = model
        self._functions = {(function.domain, function.name): function for function in model.functions}

    @cached_property
    def random(self) -> frozenset[str]:
        """The values that random operators reach, those in bodies and local functions among them."""
        return self._reached(is_source=lambda node: any(map(self._is_random, self._inside(node))))

    @cached_property
    def rounded(self) -> frozenset[str]:
        """The values that come from an operator which may round, or of which not enough is known."""
        return self._reached(is_source=lambda node: not self._is_exact(node))

    @cached_property
    def discrete(self) -> bool:
        """Whether a float reaches an operator that turns a rounding error into a whole step, at any depth."""
        return any(
            inner.op_type in _DISCRETE
            and not self._without_floats(inner.input[:1])
            and not (inner.op_type == "Cast" and any(a.name == "to" and a.i not in _NOT_FLOAT for a in inner.attribute))
            for node in self._model.graph.node
            for inner in self._inside(node)
        )

    @cached_property
    def loops(self) -> bool:
        """Whether there is a Loop, which may never end on some inputs."""
        return any(inner.op_type == "Loop" for node in self._model.graph.node for inner in self._inside(node))

    @cached_property
    def _types(self) -> dict[str, int]:
        """Element types by name, as far as they are declared or inferred."""
        import onnx

        try:
            graph = onnx.shape_inference.infer_shapes(self._model).graph
        except (onnx.shape_inference.InferenceError, ValueError):
            graph = self._model.graph  # nothing can be inferred: what is declared has to do
        values = (*graph.input, *graph.value_info, *graph.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")}
        return {**types, **{init.name: init.data_type for init in graph.initializer}}

    def _reached(self, *, is_source: Callable[[onnx.NodeProto], bool]) -> frozenset[str]:
        """The values that depend on a source, in a graph that is in topological order."""
        found: set[str] = set()
        for node in self._model.graph.node:
            if is_source(node) or any(name in found for name in _reads(node)):
                found.update(name for name in node.output if name)
        return frozenset(found)

    def _inside(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A node and all nodes of its bodies, or of the local function that it calls."""
        function = self._functions.get((node.domain, node.op_type))
        yield from (inner for child in function.node for inner in self._inside(child)) if function else (node,)
        for body in _bodies(node):
            for child in body.node:
                yield from self._inside(child)

    def _is_random(self, node: onnx.NodeProto) -> bool:
        """Whether a node draws random numbers: so does Dropout unless its training mode is known to be off."""
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
            return node.op_type in RANDOM
        import onnx

        modes = [init for init in self._model.graph.initializer if init.name == node.input[2]]
        return not modes or bool(onnx.numpy_helper.to_array(modes[0]).any())

    def _is_exact(self, node: onnx.NodeProto) -> bool:
        return all(
            inner.domain in ("", "ai.onnx")
            and (
                inner.op_type in _EXACT
                or op_facts(inner.op_type).index_only
                or op_facts(inner.op_type).compares
                or (inner is node and self._without_floats([*node.input, *node.output]))
            )
            for inner in self._inside(node)
        )

    def _without_floats(self, names: Sequence[str]) -> bool:
        return all(self._types.get(name) in _NOT_FLOAT for name in names if name)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, with those that its bodies read or capture."""
    yield from node.input
    for body in _bodies(node):
        yield from (value.name for value in body.output)
        for child in body.node:
            yield from _reads(child)

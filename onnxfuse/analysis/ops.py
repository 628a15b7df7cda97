"""What is known about the operators of the default ONNX domain: one table.

An operator that is not in `FACTS` has the facts of `OpFacts()`. Only the default domain is covered: of any other
domain, and of local functions, nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import onnx.defs
import onnx_ir as ir

from onnxfuse.analysis.constants import small_array, stored_tensor

__all__ = [
    "FACTS",
    "RANDOM",
    "OpFacts",
    "is_deterministic",
    "is_deterministic_node",
    "is_index_only",
    "is_pure",
    "op_facts",
    "op_types",
]


@dataclass(frozen=True, slots=True)
class OpFacts:
    """What holds for every node of an operator, whatever its attributes.

    Attributes:
        deterministic: Equal inputs give equal outputs. False also where it is up to the node: `is_deterministic_node`.
        index_only: Pure data movement: every output element is an element of a data input, or one fill value (the
            constant of Pad, the zero of Trilu and CenterCropPad), chosen by shapes and parameters and never by data.
        data: The inputs of an index-only operator whose elements move; the others are parameters. None: every input.
        like_first: Output 0 has the shape and the element type of input 0. Elementwise operators and normalizations.
        broadcasts: The inputs are broadcast against each other, and the output has the common shape (from opset 7).
        compares: The output is boolean.
    """

    deterministic: bool = True
    index_only: bool = False
    data: tuple[int, ...] | None = ()
    like_first: bool = False
    broadcasts: bool = False
    compares: bool = False

    def is_data(self, index: int) -> bool:
        """Whether the elements of input `index` move to the output of this index-only operator.

        Args:
            index: The position of the input, from 0.

        Returns:
            True for data. False for a parameter, such as the starts of Slice, and if the operator is not index-only.
        """
        return self.index_only and (self.data is None or index in self.data)


RANDOM: Final = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)
"""The operators that always draw random numbers."""


def _table() -> dict[str, OpFacts]:
    groups: tuple[tuple[OpFacts, str], ...] = (
        (OpFacts(deterministic=False), " ".join(RANDOM)),
        # ScatterND and ScatterElements are no movement: by attribute they add and multiply, and repeated indices race.
        (
            OpFacts(index_only=True, data=(0,)),
            """Slice Transpose Reshape Flatten Squeeze Unsqueeze Split Gather GatherElements GatherND Expand Tile
            DepthToSpace SpaceToDepth ReverseSequence Compress CenterCropPad""",
        ),
        (OpFacts(index_only=True, data=(0,), like_first=True), "Identity Trilu"),
        (OpFacts(index_only=True, data=(0, 2)), "Pad"),
        (OpFacts(index_only=True, data=(0, 1)), "TensorScatter"),
        (OpFacts(index_only=True, data=None), "Concat"),
        (OpFacts(index_only=True, data=(1, 2), broadcasts=True), "Where"),
        (OpFacts(deterministic=False, like_first=True), "Dropout BatchNormalization"),
        (
            OpFacts(like_first=True),
            """Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Clip Cos Cosh CumSum CumProd Elu Erf Exp Floor
            Gelu HardSigmoid HardSwish Hardmax InstanceNormalization LRN LeakyRelu Log LogSoftmax LpNormalization
            MeanVarianceNormalization Mish Neg Not PRelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softmax
            Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu""",
        ),
        (
            OpFacts(broadcasts=True),
            "Add Sub Mul Div Mod Pow BitShift BitwiseAnd BitwiseOr BitwiseXor Min Max Mean Sum",
        ),
        (
            OpFacts(broadcasts=True, compares=True),
            "And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual",
        ),
    )
    return {op_type: facts for facts, names in groups for op_type in names.split()}


FACTS: Final[Mapping[str, OpFacts]] = MappingProxyType(_table())
_NO_FACTS: Final = OpFacts()


def op_facts(op_type: str) -> OpFacts:
    """The facts of an operator of the default domain.

    Args:
        op_type: Its name, such as `"Slice"`.

    Returns:
        Its entry in `FACTS`, or the facts of an operator without an entry.
    """
    return FACTS.get(op_type, _NO_FACTS)


def op_types(names: str) -> frozenset[str]:
    """A set of operators, written as their names with spaces between."""
    return frozenset(names.split())


def is_index_only(op_type: str) -> bool:
    """Whether an operator of the default domain only moves data, for every attribute and opset.

    Args:
        op_type: Its name.

    Returns:
        True for data movement; `op_facts(op_type).is_data(index)` tells its data inputs from its parameters.
    """
    return op_facts(op_type).index_only


def is_deterministic(op_type: str) -> bool:
    """Whether every node of an operator of the default domain gives equal outputs for equal inputs.

    Args:
        op_type: Its name.

    Returns:
        False for the random operators, and for Dropout and BatchNormalization, where it is up to the node. True says
        nothing about the bodies of If, Loop and Scan: `is_deterministic_node` looks into them.
    """
    return op_facts(op_type).deterministic


def is_deterministic_node(node: ir.Node) -> bool:
    """Whether a node gives equal outputs for equal inputs, in inference and independently of the rest of the batch.

    Dropout and BatchNormalization in training mode do not, nor does a node with a random one in its body. Of other
    domains nothing is known, so the answer is False; so it is for a mode that is only known at run time.

    Args:
        node: The node; its bodies are searched.

    Returns:
        True only if it is certain.
    """
    pending = [node]
    while pending:
        current = pending.pop()
        if current.domain != "" or not onnx.defs.has(current.op_type):
            return False
        if current.op_type in ("Dropout", "BatchNormalization"):
            if _may_train(current):
                return False
        elif not is_deterministic(current.op_type):
            return False
        for attribute in current.attributes.values():
            if attribute.is_ref() and attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
                return False
            if attribute.type == ir.AttributeType.GRAPH:
                pending.extend(attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                pending.extend(inner for graph in attribute.as_graphs() for inner in graph)
    return True


def is_pure(node: ir.Node) -> bool:
    """Whether a node is nothing but a function of its inputs: it may be removed, repeated, or merged with its equal.

    No operator of the default domain has an effect beside its outputs, so this asks for determinism. A call of a local
    function that shadows a standard operator cannot be told from it: the caller, who has the model, excludes that.

    Args:
        node: The node; its bodies are searched.

    Returns:
        True only if it is certain; False for every node of another domain.
    """
    return is_deterministic_node(node)


def _may_train(node: ir.Node) -> bool:
    """Whether a Dropout or BatchNormalization runs, or may run, in training mode."""
    mode = node.attributes.get("training_mode")
    if mode is not None and (mode.is_ref() or mode.as_int() != 0):
        return True
    version = _opset(node)
    if version is not None and version < 7:
        is_test = node.attributes.get("is_test")
        if is_test is None or is_test.is_ref() or is_test.as_int() == 0:
            return True
    if node.op_type == "BatchNormalization":
        # Below opset 14 the mode is told by the number of outputs: the running statistics are there in training only.
        return any(output.name != "" for output in node.outputs[1:])
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    return not _is_false(node.inputs[2])


def _is_false(value: ir.Value) -> bool:
    # From IR 4 on an initializer that is also an input may be overridden; below, a true constant is taken for unknown.
    tensor = None if value.is_graph_input() else stored_tensor(value, ir_version=4)
    array = small_array(tensor) if tensor is not None else None
    return array is not None and array.size == 1 and not array.any()


def _opset(node: ir.Node) -> int | None:
    if node.version is not None:
        return node.version
    return node.graph.opset_imports.get("") if node.graph is not None else None

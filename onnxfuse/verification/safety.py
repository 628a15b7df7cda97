"""Which models may run in this process: those that cannot end it, never come to an end, or fill the memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

__all__ = ["is_safe"]

# What onnxruntime computes of these is bounded by the sizes of their inputs, and it was found to survive every number in
# their inputs and attributes. Of others it dies: GatherND with a negative batch_dims, InstanceNormalization of an empty
# float16, DepthToSpace with a blocksize of 2^32.
_SAFE_OPS: Final = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant Cos Cosh CumSum DequantizeLinear Elu Equal Erf
    Exp EyeLike Flatten Floor Gather GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
    HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization MatMul Max Mean MeanVarianceNormalization Min Mish Mul Neg NonZero Not Or PRelu Pow QuantizeLinear
    RMSNormalization Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape ReverseSequence Round ScatterND Selu Shape Shrink Sigmoid Sign
    Sin Sinh Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu TopK
    Transpose Trilu Unsqueeze Where Xor
"""
_SAFE: Final = frozenset(_SAFE_OPS.split())
# These give as much as an input says, at this position: safe while it is a constant that says little. Where there is no
# such input, an attribute says how much is padded.
_SIZED: Final = {"AveragePool": 9, "ConstantOfShape": 0, "Conv": 9, "Expand": 1, "MaxPool": 9, "Pad": 1, "Tile": 1}
_LITTLE: Final = 1 << 16
# These end the process on the least integer and -1.
_DIVIDING: Final = frozenset(("Div", "Mod"))
_FLOATS: Final = frozenset((1, 10, 11, 16))


def is_safe(model: onnx.ModelProto) -> bool:
    """Whether every operator is known to do no harm, on any input.

    Args:
        model: A light model; not changed. Where it has local functions or bodies, the answer is no.
    """
    nodes = model.graph.node
    ops = {node.op_type for node in nodes}
    if any(node.domain not in ("", "ai.onnx") for node in nodes) or model.functions:
        return False
    if not ops <= _SAFE | _SIZED.keys() | _DIVIDING:
        return False
    if not all(_splits_as_it_says(node) for node in nodes if node.op_type == "Split"):
        return False
    if ops & _SIZED.keys():
        constants = {init.name: init for init in model.graph.initializer}
        constants |= {
            n.output[0]: a.t for n in nodes if n.op_type == "Constant" for a in n.attribute if a.name == "value"
        }
        overridable = {value.name for value in model.graph.input}
        constants = {name: tensor for name, tensor in constants.items() if name not in overridable}
        if not all(_says_little(node, constants) for node in nodes if node.op_type in _SIZED):
            return False
    return not ops & _DIVIDING or _divides_floats(model)


def _splits_as_it_says(node: onnx.NodeProto) -> bool:
    """Whether a Split has as many parts as its attribute says: onnxruntime relies on it."""
    return all(attribute.i == len(node.output) for attribute in node.attribute if attribute.name == "num_outputs")


def _says_little(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a node makes its input larger by a known factor, and a small one."""
    import onnx

    position = _SIZED[node.op_type]
    if len(node.input) <= position:
        pads = (attribute.ints for attribute in node.attribute if attribute.name in ("pads", "paddings"))
        numbers = [number for ints in pads for number in ints]
    else:
        tensor = constants.get(node.input[position])
        if tensor is None or tensor.data_type != onnx.TensorProto.INT64 or math.prod(tensor.dims) > 64:
            return False
        try:
            numbers = onnx.numpy_helper.to_array(tensor).ravel().tolist()
        except ValueError:  # its data is somewhere else
            return False
    return math.prod(1 + abs(number) for number in numbers) <= _LITTLE


def _divides_floats(model: onnx.ModelProto) -> bool:
    """Whether all divisors are known to be floats."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        return False
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    types |= {init.name: init.data_type for init in graph.initializer}
    return all(types.get(name) in _FLOATS for node in graph.node if node.op_type in _DIVIDING for name in node.input)

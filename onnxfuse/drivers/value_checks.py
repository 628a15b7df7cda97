"""What a graph computes with: element types that the AI Core has not, numbers that float16 does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.model_io import Opened

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["check_values"]

LARGEST_FLOAT16: Final = 65504
LARGEST_INT32: Final = 2**31 - 1

# What an option must say for float32 to become float16 everywhere, or where it is faster.
HALVING: Final = frozenset(
    {None, "force_fp16", "allow_mix_precision", "allow_mix_precision_fp16", "fp16", "mixed_float16", "mixed_hif8"}
)

# The converter makes these outputs int32, whatever ONNX says.
MADE_INT32: Final = {"TopK": 1, "ArgMax": 0, "ArgMin": 0}
COMPARISONS: Final = frozenset(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"))
OF_ONE_TYPE: Final = COMPARISONS | {"Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min", "Where", "Concat"}
# Bounds beyond what is there mean none.
BOUNDS: Final = {"Slice": (1, 2), "Clip": (1, 2)}

Constants = dict["ir.Value", "ir.TensorProtocol"]


def check_values(opened: Opened, options: AtcOptions) -> Iterator[Finding]:
    """Yields what is found in a model's constants, and in the types of its values."""
    from onnxfuse.model_io.origin import subgraphs

    model = opened.model
    constants: Constants = {}
    nodes: list[ir.Node] = []
    stack = [model.graph, *(function.graph for function in model.functions.values())]
    while stack:
        graph = stack.pop()
        constants |= {v: v.const_value for v in graph.initializers.values() if v.const_value is not None}
        for node in graph:
            nodes.append(node)
            stack.extend(subgraphs(node))
            if node.op_type == "Constant" and "value" in node.attributes:
                constants[node.outputs[0]] = node.attributes["value"].as_tensor()
    empty = [value.name or "" for value, tensor in constants.items() if not _has_data(tensor)]
    if empty:
        message = "the model carries no weights"
        yield Finding(Severity.ERROR, "weights", message, "onnxfuse fill gives it random ones", tuple(empty))
        constants = {value: tensor for value, tensor in constants.items() if _has_data(tensor)}
    yield from _doubles(model, nodes, constants)
    yield from _integers(model, nodes, constants)
    if options.precision_mode in HALVING and options.precision_mode_v2 in HALVING:
        yield from _overflows(constants, options)


def _has_data(tensor: ir.TensorProtocol) -> bool:
    from onnxfuse.analysis.constants import has_data

    return has_data(tensor)


def _doubles(model: ir.Model, nodes: list[ir.Node], constants: Constants) -> Iterator[Finding]:
    import onnx_ir as ir

    double = ir.DataType.DOUBLE
    at = [value.name or "" for value in (*model.graph.inputs, *model.graph.outputs) if value.dtype is double]
    at += [value.name or "" for value, tensor in constants.items() if tensor.dtype is double]
    casts = (node for node in nodes if node.op_type == "Cast" and "to" in node.attributes)
    at += [node.name or node.outputs[0].name or "" for node in casts if node.attributes["to"].value == double.value]
    if at:
        message = "the AI Core has no float64: it goes to the AI CPU, or is refused"
        cure = "export the model in float32, or cast it where it comes in"
        yield Finding(Severity.WARNING, "float64", message, cure, tuple(dict.fromkeys(at)))


def _integers(model: ir.Model, nodes: list[ir.Node], constants: Constants) -> Iterator[Finding]:
    import onnx_ir as ir

    wide = []
    for value, tensor in constants.items():
        if tensor.dtype is ir.DataType.INT64 and tensor.size and not _only_bounds(value):
            array = tensor.numpy()
            if max(int(array.max()), -int(array.min()) - 1) > LARGEST_INT32:
                wide.append(value.name or "")
    if wide:
        message = "int64 constants hold numbers that int32 does not, and the converter makes many an int64 an int32"
        cure = "write smaller ones where they only stand for a bound"
        yield Finding(Severity.WARNING, "int64", message, cure, tuple(wide))
    mixed = []
    for node in nodes:
        if node.op_type in OF_ONE_TYPE and node.domain == "" and any(map(_made_int32, node.inputs)):
            others = (value for value in node.inputs if value is not None and not _made_int32(value))
            if any(value in constants and constants[value].dtype is ir.DataType.INT64 for value in others):
                mixed.append(node.name or node.outputs[0].name or "")
    if mixed:
        message = "the converter makes indices of TopK and ArgMax int32, and here they meet an int64 constant"
        cure = "put a Cast to int32 behind them, and make the constant int32"
        yield Finding(Severity.WARNING, "int64", message, cure, tuple(mixed), "E89999")
    outputs = tuple(value.name or "" for value in model.graph.outputs if value.dtype is ir.DataType.INT64)
    if outputs:
        message = "outputs are int64, which the benchmark tool's text files print badly"
        yield Finding(Severity.NOTE, "int64", message, "read its binary files, or cast them to int32", outputs)


def _only_bounds(value: ir.Value) -> bool:
    uses = value.uses()
    return bool(uses) and all(use.idx in BOUNDS.get(use.node.op_type, ()) for use in uses)


def _made_int32(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    return node is not None and node.domain == "" and MADE_INT32.get(node.op_type) == value.index()  # type: ignore[union-attr]


def _overflows(constants: Constants, options: AtcOptions) -> Iterator[Finding]:
    import numpy as np
    import onnx_ir as ir

    at = []
    for value, tensor in constants.items():
        if tensor.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE) or not tensor.size or _only_bounds(value):
            continue
        array = tensor.numpy()
        with np.errstate(invalid="ignore"):
            if not (array.min() >= -LARGEST_FLOAT16 and array.max() <= LARGEST_FLOAT16):  # NaN is neither
                at.append(value.name or "")
    if at:
        message = f"constants hold numbers beyond ±{LARGEST_FLOAT16}, which are infinite, or cut, in float16"
        kept = "; see that --keep_dtype names what reads them" if options.keep_dtype else ", or --keep_dtype"
        cure = f"write masks as ±60000, or give --precision_mode allow_fp32_to_fp16{kept}"
        yield Finding(Severity.WARNING, "float16", message, cure, tuple(at))

"""What a graph computes with: element types that the AI Core has not, numbers that float16 does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.atc.options import AtcOptions
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
# Bounds beyond what is there mean none.
BOUNDS: Final = {"Slice": (1, 2), "Clip": (1, 2)}
# By these attributes a node says of what type its output is: Cast, RandomNormal, EyeLike, HannWindow...
TYPES: Final = ("to", "dtype", "output_datatype")

Constants = dict["ir.Value", "ir.TensorProtocol"]


def check_values(opened: Opened, options: AtcOptions) -> Iterator[Finding]:
    """Yields what is found in a model's constants, and in the types of its values, in bodies and functions too."""
    model = opened.model
    nodes: list[ir.Node] = []
    constants: Constants = {}
    for graph in _graphs(model):
        nodes += graph
        constants |= {v: v.const_value for v in graph.initializers.values() if v.const_value is not None}
    constants |= _constants_of(nodes, model.ir_version)
    empty = [value.name or "" for value, tensor in constants.items() if not _has_data(tensor)]
    if empty:
        message = "the model carries no weights"
        yield Finding(Severity.ERROR, "weights", message, "onnxfuse fill gives it random ones", tuple(empty))
    constants = {value: tensor for value, tensor in constants.items() if _is_used(value) and _has_data(tensor)}
    yield from _doubles(model, nodes, constants)
    yield from _integers(model, nodes, constants)
    if options.precision_mode in HALVING and options.precision_mode_v2 in HALVING:
        yield from _overflows(constants, options)


def _graphs(model: ir.Model) -> Iterator[ir.Graph]:
    from onnxfuse.model_io.origin import subgraphs

    stack = [*(function.graph for function in model.functions.values()), model.graph]
    while stack:
        graph = stack.pop()
        yield graph
        stack += [body for node in graph for body in subgraphs(node)]


def _constants_of(nodes: list[ir.Node], ir_version: int) -> Constants:
    """Returns what nodes give that is one number, or numbers that are written down."""
    from onnxfuse.analysis.constants import stored_tensor

    found: Constants = {}
    for node in nodes:
        if node.domain == "" and node.op_type == "Constant":
            tensor = stored_tensor(node.outputs[0], ir_version)
        elif node.domain == "" and node.op_type == "ConstantOfShape":
            fill = node.attributes.get("value")
            tensor = None if fill is None or fill.is_ref() else fill.as_tensor()
        else:
            continue
        if tensor is not None:
            found[node.outputs[0]] = tensor
    return found


def _has_data(tensor: ir.TensorProtocol) -> bool:
    from onnxfuse.analysis.constants import has_data

    return has_data(tensor)


def _is_used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _name(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or ""


def _doubles(model: ir.Model, nodes: list[ir.Node], constants: Constants) -> Iterator[Finding]:
    import onnx_ir as ir

    double = ir.DataType.DOUBLE
    at = [value.name or "" for value in (*model.graph.inputs, *model.graph.outputs) if value.dtype is double]
    at += [value.name or "" for value, tensor in constants.items() if tensor.dtype is double]
    for node in nodes:
        said = [node.attributes[name].value for name in TYPES if name in node.attributes]
        if node.domain == "" and double.value in said:
            at.append(_name(node))
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
    mixed = _mixed(nodes)
    if mixed:
        message = "the converter makes indices of TopK and ArgMax int32, and here they meet int64"
        cure = "put a Cast to int32 behind TopK or ArgMax, and make the other operand int32 too"
        yield Finding(Severity.WARNING, "int64", message, cure, mixed, "E89999")
    outputs = tuple(value.name or "" for value in model.graph.outputs if value.dtype is ir.DataType.INT64)
    if outputs:
        message = "outputs are int64, which the benchmark tool's text files print badly"
        yield Finding(Severity.NOTE, "int64", message, "read its binary files, or cast them to int32", outputs)


def _mixed(nodes: list[ir.Node]) -> tuple[str, ...]:
    """Returns the nodes at which indices, wherever they were moved to, meet what the converter leaves int64."""
    import onnx_ir as ir

    from onnxfuse.analysis.ops import op_facts

    indices = [
        node.outputs[MADE_INT32[node.op_type]]
        for node in nodes
        if node.domain == "" and len(node.outputs) > MADE_INT32.get(node.op_type, len(node.outputs))
    ]
    made = set(indices)
    reached: dict[ir.Node, list[ir.Value]] = {}
    while indices:
        value = indices.pop()
        for use in value.uses():
            alike = _alike(use.node)
            if value in alike:
                reached[use.node] = alike
                if made.issuperset(alike) and not op_facts(use.node.op_type).compares:
                    indices += [result for result in use.node.outputs if result not in made]
                    made.update(use.node.outputs)
    wide = (None, ir.DataType.INT64)  # an exponent may be of any type
    return tuple(
        _name(node)
        for node in nodes
        if any(value not in made and value.dtype in wide for value in reached.get(node, ()))
    )


def _alike(node: ir.Node) -> list[ir.Value]:
    """Returns the operands that have to be of one type, which the result has too; none where that is not known."""
    from onnxfuse.analysis.ops import op_facts

    facts = op_facts(node.op_type)
    if node.domain != "" or not (facts.index_only or facts.broadcasts):
        return []
    return [v for i, v in enumerate(node.inputs) if v is not None and (facts.is_data(i) or not facts.index_only)]


def _only_bounds(value: ir.Value) -> bool:
    """Says whether a value, wherever it is moved to, is nothing but a bound, of which one beyond all numbers is none."""
    from onnxfuse.analysis.ops import op_facts

    pending, moved = [value], {value}
    while pending:
        bound = pending.pop()
        if bound.is_graph_output():
            return False
        for use in bound.uses():
            if use.node.domain == "" and use.idx in BOUNDS.get(use.node.op_type, ()):
                continue
            if use.node.domain != "" or not op_facts(use.node.op_type).is_data(use.idx):
                return False
            pending += [result for result in use.node.outputs if result not in moved]
            moved.update(use.node.outputs)
    return True


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
        mode = "--precision_mode_v2 origin" if options.precision_mode_v2 else "--precision_mode allow_fp32_to_fp16"
        cure = f"write masks as ±60000, or give {mode}{kept}"
        yield Finding(Severity.WARNING, "float16", message, cure, tuple(at))

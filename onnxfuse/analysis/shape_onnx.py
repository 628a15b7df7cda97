"""What onnx's own shape inference says of one node, corrected where it is known to err.

`onnxfuse.analysis.shapes` asks for it where there is no rule of ours: onnx takes a symbol for a fresh unknown, and some of
what it concludes does not hold in runtimes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Final

import onnx
import onnx.defs
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir as ir

from onnxfuse.analysis import Dims, Info, NodeView, Symbol

__all__ = ["Result", "results_of_onnx"]

logger = logging.getLogger("onnxfuse")

_WINDOWS: Final = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})

Result = tuple[ir.TypeProtocol | None, Dims | None]
"""The type and shape of one output; None for what is not known."""


def results_of_onnx(view: NodeView) -> list[Result] | None:
    """What onnx infers of one node; None for nothing."""
    node = view.node
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    ):
        return None  # the bodies of Loop, Scan and SequenceMap: their formal inputs are not known
    schema = _schema(node.op_type, view.version, node.domain)
    if schema is None:
        return None
    try:
        results, symbolic = _onnx_results(view, schema)
    except Exception as error:  # noqa: BLE001 - onnx raises whatever its C++ throws: then nothing is known
        logger.debug("onnx infers nothing for node %r (%s): %s", node.name, node.op_type, error)
        return None
    if node.op_type == "STFT" or (node.op_type == "Attention" and symbolic):
        # onnx 1.23 forgets the onesided attribute, and calculates with a symbol as if it were 0.
        return [(type_, None) for type_, _ in results]
    if results and results[0][1] is not None:
        results[0] = (results[0][0], _windows(view, results[0][1]))
    return results


def _onnx_results(view: NodeView, schema: onnx.defs.OpSchema) -> tuple[list[Result], bool]:
    """What onnx infers, and whether a symbol is in the inputs: onnx sees each as a fresh dim_param."""
    node = view.node
    names: dict[Symbol, str] = {}
    inputs = [f"i{index}" if info is not None else "" for index, info in enumerate(view.inputs)]
    outputs = [f"o{index}" if value.name != "" else "" for index, value in enumerate(node.outputs)]
    proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=inputs, output=outputs)
    for attribute in node.attributes.values():
        ir.serde.serialize_attribute_into(proto.attribute.add(), attribute)
    given = [(name, info) for name, info in zip(inputs, view.inputs, strict=True) if info is not None]
    types = {name: _encoded(info, names) for name, info in given}
    data = {name: tensor for name, info in given if (tensor := _tensor(info)) is not None}
    opset = onnx.OperatorSetIdProto(domain=node.domain, version=view.version)
    found = onnx.shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=[opset])
    symbols = {name: symbol for symbol, name in names.items()}
    return [_decoded(found.get(name, onnx.TypeProto()), symbols) for name in outputs], bool(symbols)


@cache
def _schema(op_type: str, version: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def _encoded(info: Info, names: dict[Symbol, str]) -> onnx.TypeProto:
    if info.dtype is None:
        return onnx.TypeProto() if info.type is None else ir.serde.serialize_type(info.type)
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(info.dtype)
    if info.dims is not None:
        shape = proto.tensor_type.shape
        shape.SetInParent()  # a scalar has a shape as well
        for dim in info.dims:
            if isinstance(dim, int):
                shape.dim.add(dim_value=dim)
            else:
                shape.dim.add(dim_param=names.setdefault(dim, f"s{len(names)}"))
    return proto


def _tensor(info: Info) -> onnx.TensorProto | None:
    if info.contents is None or info.dtype is None or any(isinstance(item, Symbol) for item in info.contents.flat):
        return None
    return onnx.numpy_helper.from_array(info.contents.astype(info.dtype.numpy()))


def _decoded(proto: onnx.TypeProto, symbols: Mapping[str, Symbol]) -> Result:
    if not proto.HasField("tensor_type"):
        held = proto.WhichOneof("value") in ("sequence_type", "optional_type", "sparse_tensor_type")
        return ir.serde.deserialize_type_proto_for_type(proto) if held else None, None
    tensor = proto.tensor_type
    type_ = ir.TensorType(ir.DataType(tensor.elem_type)) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return type_, None
    least = 1 if symbols else 0  # where onnx calculates with a symbol, it takes it for 0
    return type_, [
        (dim.dim_value if dim.dim_value >= least else None) if dim.HasField("dim_value") else symbols.get(dim.dim_param)
        for dim in tensor.shape.dim
    ]


def _windows(view: NodeView, dims: Dims) -> Dims:
    """The result dims of a convolution or pooling, where onnx knows too little or not what runtimes do.

    A window that keeps its axis ("same" padding, stride 1) keeps a symbol as well. With ceil_mode onnx counts a last
    window that starts in the padding, runtimes do not; they differ too in what auto_pad means beside ceil_mode, the
    dilations of a pooling, or output_padding.
    """
    node, inputs = view.node, view.dims(0)
    if node.op_type not in _WINDOWS or inputs is None or len(inputs) != len(dims):
        return dims
    axes, attributes, weight = len(dims) - 2, node.attributes, view.dims(1)
    kernel = attributes.get_ints("kernel_shape") or (weight[2:] if weight is not None else ())
    strides, dilations, extra = (
        attributes.get_ints(name) or [default] * axes
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads = attributes.get_ints("pads") or [0] * (2 * axes)
    automatic = attributes.get_string("auto_pad", "NOTSET") not in ("", "NOTSET")
    ceil = attributes.get_int("ceil_mode", 0)
    result = list(dims)
    for axis, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        dim, found = inputs[axis + 2], dims[axis + 2]
        if automatic:
            unclear = ceil or extra[axis] or (dilation != 1 and node.op_type != "Conv")
            result[axis + 2] = None if unclear else found
        elif found is None and node.op_type != "ConvTranspose" and isinstance(size, int):
            keeps = stride == 1 and pads[axis] + pads[axis + axes] == dilation * (size - 1)
            result[axis + 2] = dim if keeps else None
        elif ceil and isinstance(dim, int) and isinstance(found, int) and (found - 1) * stride >= dim + pads[axis]:
            result[axis + 2] = None
    return result

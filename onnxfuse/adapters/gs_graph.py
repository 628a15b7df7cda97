"""A model as an `onnx_graphsurgeon.Graph`, and back: what nobody edited comes back as it was."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
from onnx_graphsurgeon.logger import G_LOGGER

from onnxfuse.adapters.foreign import call
from onnxfuse.adapters.gs_records import Records, Weight
from onnxfuse.adapters.gs_writer import FREE_INITIALIZERS, Writer
from onnxfuse.errors import ModelError, ToolError
from onnxfuse.model_io.emit import emit, set_folders
from onnxfuse.model_io.emitted import Emitted
from onnxfuse.model_io.origin import attach
from onnxfuse.model_io.payload import Payload, TensorData, data_bytes
from onnxfuse.model_io.source import Source

__all__ = ["changed_by"]

A = onnx.AttributeProto
HELD: Final = frozenset({A.FLOAT, A.INT, A.STRING, A.TENSOR, A.GRAPH, A.FLOATS, A.INTS, A.STRINGS})


def changed_by(function: Callable[[Any], Any], model: ir.Model) -> ir.Model:
    """Runs a function over a model as a Graph.

    Returns:
        What became of it. Weights that were left alone are the very tensors of `model`.

    Raises:
        ToolError: The function raised something or returned something else, or its graph is no model.
    """
    emitted = emit(model)
    headers = {carried.name: carried.header for carried in emitted.carried}
    original = onnx.ModelProto.FromString(emitted.replaced(headers).data())
    weights = _weights(original, model, headers)
    given = onnx.ModelProto()
    given.CopyFrom(original)
    _leave_out(given)
    try:
        with G_LOGGER.suppress():  # it warns of types that it would lose, which come back
            graph = gs.import_onnx(given)
    except Exception as error:
        raise ToolError(f"onnx_graphsurgeon cannot read this model: {type(error).__name__}: {error}") from error
    records = Records(original, graph)
    for constant in records.constants.values():
        if constant.name in weights and records.is_main(constant):
            constant.values = Weight(weights[constant.name])
    made = call(function, graph, of=function)
    made = graph if made is None else made
    if not isinstance(made, gs.Graph):
        raise ToolError(f"it returned {made!r:.100}: an onnx_graphsurgeon.Graph or None is expected")
    writer = Writer(records, weights, made)
    proto = call(writer.model, of=function)
    return _read(proto, writer.large, emitted)


def _weights(proto: onnx.ModelProto, model: ir.Model, large: Collection[str]) -> dict[str, ir.TensorProtocol]:
    """Returns the initializers of the main graph that are not to be read, by name."""
    weights: dict[str, ir.TensorProtocol] = {}
    for tensor in proto.graph.initializer:
        value = model.graph.initializers.get(tensor.name)
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if value is not None and value.const_value is not None and (external or tensor.name in large):
            weights[tensor.name] = value.const_value
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    return weights


def _read(proto: onnx.ModelProto, large: Mapping[str, ir.TensorProtocol], emitted: Emitted) -> ir.Model:
    """Returns the model that was written."""
    payloads: dict[int, Payload] = {}
    for ordinal, tensor in enumerate(proto.graph.initializer):
        weight = large.get(tensor.name)
        if weight is not None:
            size = data_bytes(tensor.data_type, tensor.dims) or 0
            payloads[ordinal] = Payload(tensor.SerializeToString(), TensorData(tensor.name, size, weight.tobytes))
    source = Source(proto.SerializeToString(), payloads, folder=emitted.folder)
    try:
        source.check()
    except ModelError as error:
        raise ToolError(f"what it made is no model: {error}") from error
    model = attach(source)
    set_folders(model, emitted.folders)
    for name, weight in large.items():
        model.graph.initializers[name].const_value = weight
    return model


def _leave_out(model: onnx.ModelProto) -> None:
    """Takes out what graphsurgeon cannot hold, and what it takes for a constant though it is none."""
    if model.ir_version >= FREE_INITIALIZERS:
        # An initializer that is an input is the default of one.
        inputs = {value.name for value in model.graph.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name not in inputs]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    bodies: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while bodies:
        body = bodies.pop()
        if isinstance(body, onnx.GraphProto):
            for value in (*body.input, *body.output):
                if not _is_held(value.type):
                    value.ClearField("type")
        infos = [value for value in body.value_info if _is_held(value.type)]
        del body.value_info[:]
        body.value_info.extend(infos)
        for node in body.node:
            held = [attribute for attribute in node.attribute if _attribute_is_held(attribute)]
            if len(held) < len(node.attribute):
                del node.attribute[:]
                node.attribute.extend(held)
            bodies.extend(attribute.g for attribute in node.attribute if attribute.type == A.GRAPH)


def _is_held(type_: onnx.TypeProto) -> bool:
    element = type_.sequence_type.elem_type if type_.HasField("sequence_type") else type_
    return element.HasField("tensor_type") and element.tensor_type.elem_type != onnx.TensorProto.UNDEFINED


def _attribute_is_held(attribute: onnx.AttributeProto) -> bool:
    if attribute.type not in HELD:
        return False
    try:
        for text in (attribute.s, *attribute.strings):
            text.decode()
    except UnicodeDecodeError:
        return False
    return True

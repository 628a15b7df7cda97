"""Writes an `onnx_ir.Model` as protobuf: what nobody touched byte for byte as it came, the rest anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse.errors import ModelError
from onnxfuse.model_io import anew, wire
from onnxfuse.model_io.emit_graph import GraphWriter
from onnxfuse.model_io.emitted import Emitted, emit_source
from onnxfuse.model_io.external import EXTERNAL_MARK, external_tensors, reference
from onnxfuse.model_io.lookup import MODEL_FUNCTIONS, Origins
from onnxfuse.model_io.origin import graph_origin, paused_gc, subgraphs
from onnxfuse.model_io.payload import NUMPY_DTYPES
from onnxfuse.model_io.source import MODEL_GRAPH
from onnxfuse.model_io.state import model_state

__all__ = ["emit", "evaluable", "set_folders"]

# In place of the graph while the fields around it are put in order.
GRAPH_MARK: Final = b"\x3a\x00"


def emit(model: ir.Model) -> Emitted:
    """Serializes `model`.

    A part that equals its origin is emitted as the bytes it was read from. A value_info goes with its value; none is
    invented. What this package did not read is serialized by onnx_ir.

    Raises:
        ModelError: onnx_ir cannot write a part that is new.
    """
    try:
        with paused_gc():
            return _emit(model)
    except ir.serde.SerdeError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ModelError(f"the model cannot be written: {str(cause).splitlines()[0]}") from error


def _emit(model: ir.Model) -> Emitted:
    origins = Origins()
    origin = graph_origin(model.graph)
    if origin is not None and not origin.place.is_main:
        origin = None
    functions = list(model.functions.values())
    graph = GraphWriter(model.graph, origins, model.ir_version, functions).chunks()
    parts: dict[int, list[bytes]] = {}
    for number, state in model_state(model).items():
        if origin is None or origin.model[number] != state:
            parts[number] = anew.model_fields(number, state)
    bodies = [
        wire.field_bytes(MODEL_FUNCTIONS, GraphWriter(function, origins, model.ir_version).message())
        for function in functions
    ]
    if origin is None or bodies != origins.top(origin.source, MODEL_FUNCTIONS):
        parts[MODEL_FUNCTIONS] = bodies
    if origin is not None and graph is None and not parts:
        return emit_source(origin.source)
    if graph is None:
        assert origin is not None  # noqa: S101 - what has no origin has changed
        graph = list(emit_source(origin.source).graph)
    light = memoryview(origin.source.light if origin is not None else b"")
    top = list(wire.splice(light, {**parts, MODEL_GRAPH: [GRAPH_MARK]}))
    at = top.index(GRAPH_MARK)
    return Emitted(
        tuple(top[:at]),
        tuple(graph),
        tuple(top[at + 1 :]),
        folder=origin.source.folder if origin is not None else None,
        # A look at the bytes first: most models have no external data, and there is no need to search those.
        folders=dict(_folders(model)) if any(isinstance(c, bytes) and b"location" in c for c in (*top, *graph)) else {},
    )


def evaluable(emitted: Emitted, folder: Path | None) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Returns a model for a runtime: the light one, and the weights as arrays, mapped where they lie in files.

    Args:
        emitted: The model.
        folder: Where its external data lies, where `emitted` does not know.

    Returns:
        A ModelProto in which large and external initializers of the main graph carry no data, and their arrays by name.

    Raises:
        ModelError: The external data cannot be read.
    """
    arrays = {carried.name: carried.payload.array() for carried in emitted.carried}
    weights = {name: array for name, array in arrays.items() if array is not None}
    # A tensor of any other element type goes into a runtime only as part of the model, and so does a Constant.
    headers = {carried.name: carried.header for carried in emitted.carried if carried.name in weights}
    data = emitted.replaced(headers).data()
    model = onnx.ModelProto.FromString(data)
    if EXTERNAL_MARK not in data:
        return model, weights
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL and tensor.data_type in NUMPY_DTYPES:
            external = _external(tensor, emitted, folder)
            if external is not None:
                weights[tensor.name] = _read(external, external.numpy)
                tensor.ClearField("data_location")
                tensor.ClearField("external_data")
    for tensor in external_tensors(model):
        external = _external(tensor, emitted, folder)
        if external is not None:
            tensor.raw_data = _read(external, external.tobytes)
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    return model, weights


T = TypeVar("T")


def _read(external: ir.ExternalTensor, how: Callable[[], T]) -> T:
    try:
        return how()
    except (OSError, ValueError) as error:
        raise ModelError(f"tensor {external.name!r}: its external data cannot be read: {error}") from error


def _external(tensor: onnx.TensorProto, emitted: Emitted, folder: Path | None) -> ir.ExternalTensor | None:
    """Returns what reads an external tensor, or None where it is not known in which folder its data is."""
    location, offset, length = reference(tensor)
    base = emitted.folders.get(location) or emitted.folder or folder
    if base is None:
        return None
    dtype, shape = ir.DataType(tensor.data_type), ir.Shape(tensor.dims)
    return ir.ExternalTensor(location, offset, length, dtype, shape=shape, name=tensor.name, base_dir=base)


def _folders(model: ir.Model) -> Iterator[tuple[str, Path]]:
    """Yields the locations of external tensors and the folders that these are looked for in.

    Raises:
        ModelError: One location means files in two folders.
    """
    found: dict[str, Path] = {}
    for tensor in _external_tensors(model):
        location, folder = str(tensor.location), Path(tensor.base_dir)
        if not str(tensor.base_dir):
            continue
        if found.setdefault(location, folder).absolute() != folder.absolute():
            raise ModelError(
                f"tensor {tensor.name!r}: its external data file {location} is in {folder}, and that of another tensor, "
                f"of the same name, in {found[location]}"
            )
        yield location, folder


def set_folders(model: ir.Model, folders: Mapping[str, Path]) -> None:
    """Tells external tensors of `model` the folder in which their data is, by their locations."""
    for tensor in _external_tensors(model):
        tensor.base_dir = folders.get(str(tensor.location), tensor.base_dir)


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    while graphs:
        graph = graphs.pop()
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
        for node in graph:
            graphs.extend(subgraphs(node))
            for attribute in node.attributes.values():
                if attribute.ref_attr_name is not None:
                    continue
                if attribute.type is ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                    yield attribute.value
                elif attribute.type is ir.AttributeType.TENSORS:
                    yield from (tensor for tensor in attribute.value if isinstance(tensor, ir.ExternalTensor))

"""What each object of an `onnx_ir.Model` looked like when it was read, so that what nobody touched is written as it came.

`attach` builds the `onnx_ir.Model` of a `Source` and hangs a record of its origin on every graph and node (in `meta`,
which onnx_ir keeps through `clone()` and never writes out). `onnxfuse.model_io.emit` reads these records.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir as ir

from onnxfuse.errors import ModelError
from onnxfuse.model_io import wire
from onnxfuse.model_io.payload import Span
from onnxfuse.model_io.state import (
    GRAPH_TYPES,
    AnnotationState,
    NodeState,
    State,
    TensorState,
    ValueState,
    annotation_states,
    described_values,
    header_state,
    model_state,
    node_state,
    tensor_state,
)
from onnxfuse.model_io.unreadable import readable

if TYPE_CHECKING:
    from onnxfuse.model_io.payload import Payload
    from onnxfuse.model_io.source import Source

__all__ = [
    "KEY",
    "GraphOrigin",
    "NodeOrigin",
    "Place",
    "attach",
    "graph_origin",
    "is_opaque",
    "node_origin",
    "paused_gc",
    "subgraphs",
]

KEY: Final = "onnxfuse.origin"

# Field numbers of onnx.proto.
ATTRIBUTE_GRAPH: Final = 6
ATTRIBUTE_GRAPHS: Final = 11


@dataclass(frozen=True)
class Place:
    """Where a graph stands in a model.

    Attributes:
        node: The node that has it as an attribute, or None for the main graph and a function's body.
        attribute: The ordinal of that attribute among the node's.
        number: The field of AttributeProto that it is in.
        index: The graph's ordinal in that field, or the function's in the model.
        function: Whether it is a function's body.
    """

    node: NodeOrigin | None = None
    attribute: int = 0
    number: int = 0
    index: int = 0
    function: bool = False

    @property
    def is_main(self) -> bool:
        """Whether it is the main graph."""
        return self.node is None and not self.function


@dataclass(frozen=True, eq=False)
class NodeOrigin:
    """Where a node came from.

    Attributes:
        home: The graph it was read in.
        ordinal: Its place among that graph's nodes.
        state: What it said then.
        opaque: It carries something that onnx_ir cannot hold; only its bytes have all of it.
        kept: Its attributes, so that no other object gets their identity.
    """

    home: GraphOrigin
    ordinal: int
    state: NodeState
    opaque: bool = False
    kept: tuple[ir.Attr, ...] = ()


@dataclass(frozen=True, eq=False)
class GraphOrigin:
    """What a graph (or a function's body) looked like when it was read.

    Attributes:
        source: The model it came in.
        place: Where in it.
        header: Its fields that are neither nodes nor values, by their numbers in onnx.proto.
        names: The names of all its values.
        values: The states of those of which something is said.
        annotations: The quantization annotations, by the value's name.
        inputs: Its inputs' names, in order.
        outputs: Its outputs' names, in order.
        tensors: Its initializers by the identity of their tensors: name, ordinal among its initializers, and state.
        kept: The tensors, and a function's attributes, so that no other object gets their identity.
        model: The model's fields that are neither graph nor functions; of the main graph only.
    """

    source: Source
    place: Place
    header: Mapping[int, State]
    names: frozenset[str]
    values: Mapping[str, ValueState]
    annotations: Mapping[str, AnnotationState]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[int, tuple[str, int, TensorState]]
    kept: tuple[object, ...]
    model: Mapping[int, State] = field(default_factory=dict)


@contextmanager
def paused_gc() -> Iterator[None]:
    """Keeps the cyclic garbage collector from scanning a graph over and over while it is being built.

    It makes building 100,000 nodes twice as fast; everything allocated stays alive anyway.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def graph_origin(graph: ir.Graph) -> GraphOrigin | None:
    """Returns the record of where `graph` came from, or None for a graph that this package did not read."""
    origin = graph.meta.get(KEY)
    return origin if isinstance(origin, GraphOrigin) else None


def node_origin(node: ir.Node) -> NodeOrigin | None:
    """Returns the record of where `node` came from, or None for a new one."""
    origin = node.meta.get(KEY)
    return origin if isinstance(origin, NodeOrigin) else None


def is_opaque(node: ir.Node) -> bool:
    """Says whether `node` carries something that onnx_ir cannot hold, so that no rewrite may take it in."""
    origin = node_origin(node)
    return origin is not None and origin.opaque


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yields the graphs in the attributes of `node` (the bodies of If, Loop and Scan)."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and attribute.ref_attr_name is None:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS and attribute.ref_attr_name is None:
            yield from attribute.as_graphs()


def attach(source: Source) -> ir.Model:
    """Builds the `onnx_ir.Model` of `source`, with large initializers as views on where they lie.

    Raises:
        ModelError: onnx_ir cannot hold the model.
    """
    with paused_gc():
        model = _to_ir(source)
        _place_weights(model, source)
        _attach_graph(model.graph, source.proto.graph, source, Place(), model=model_state(model))
        for index, proto in enumerate(source.proto.functions):
            function = model.functions[(proto.domain, proto.name, proto.overload)]
            _attach_graph(function, proto, source, Place(index=index, function=True))
    return model


def _to_ir(source: Source) -> ir.Model:
    # onnx_ir warns of what it does not hold, such as sparse initializers, as of flaws; what is a flaw has been checked.
    logger = logging.getLogger("onnx_ir.serde")
    logger.addFilter(_nothing)
    try:
        return _read(source)
    finally:
        logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _read(source: Source) -> ir.Model:
    try:
        return ir.from_proto(source.proto)
    except Exception:  # noqa: BLE001 - what it says is of no use: the second try says it again
        try:
            return ir.from_proto(readable(source.proto))
        except Exception as error:
            where = f"{source.path}: " if source.path else ""
            raise ModelError(f"{where}onnx_ir cannot hold this model: {_root_cause(error)}") from error


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _place_weights(model: ir.Model, source: Source) -> None:
    """Gives the large initializers their data, where it lies, and external tensors the folder they are looked for in."""
    initializers = source.proto.graph.initializer
    for ordinal, payload in source.payloads.items():
        header = initializers[ordinal]
        model.graph.initializers[header.name].const_value = _tensor(header, payload)
    if source.nodes:
        for ordinal, (node, proto) in enumerate(zip(model.graph, source.proto.graph.node, strict=True)):
            for index, payload in source.nodes[ordinal].tensors.items() if ordinal in source.nodes else ():
                attribute = node.attributes[proto.attribute[index].name]
                tensor = _tensor(proto.attribute[index].t, payload)
                node.attributes.add(ir.AttrTensor(attribute.name, tensor, doc_string=attribute.doc_string))
    if source.folder is not None and b"location" in source.light:
        for graph in [model.graph, *(function.graph for function in model.functions.values())]:
            ir.external_data.set_base_dir(graph, source.folder)


def _tensor(header: onnx.TensorProto, payload: Payload) -> ir.TensorProtocol:
    metadata = {entry.key: entry.value for entry in header.metadata_props} or None
    dtype, shape = ir.DataType(header.data_type), ir.Shape(header.dims)
    doc_string = header.doc_string or None
    array = payload.array() if isinstance(payload.data, Span) else None
    if array is not None:
        return ir.Tensor(
            array, dtype=dtype, shape=shape, name=header.name, doc_string=doc_string, metadata_props=metadata
        )
    # Not as a view on the message itself: a new name would be written into it, and it is the caller's.
    return ir.LazyTensor(
        partial(_parsed, payload),
        dtype=dtype,
        shape=shape,
        name=header.name,
        doc_string=doc_string,
        metadata_props=metadata,
    )


def _parsed(payload: Payload) -> ir.TensorProtocol:
    return ir.serde.TensorProtoTensor(onnx.TensorProto.FromString(wire.payload_of(payload.joined())))


def _attach_graph(
    holder: ir.Graph | ir.Function,
    proto: onnx.GraphProto | onnx.FunctionProto,
    source: Source,
    place: Place,
    model: Mapping[int, State] | None = None,
) -> None:
    graph = holder.graph if isinstance(holder, ir.Function) else holder
    tensors = {str(name): value.const_value for name, value in graph.initializers.items()}
    ordinals = {} if isinstance(proto, onnx.FunctionProto) else {t.name: i for i, t in enumerate(proto.initializer)}
    names = {str(value.name) for value in graph.inputs}
    names.update(tensors)
    names.update(str(value.name) for node in graph for value in node.outputs)
    origin = GraphOrigin(
        source=source,
        place=place,
        header=header_state(holder),
        names=frozenset(names),
        values=described_values(graph),
        annotations=annotation_states(graph),
        inputs=tuple(str(value.name) for value in graph.inputs),
        outputs=tuple(str(value.name) for value in graph.outputs),
        tensors={id(t): (name, ordinals[name], tensor_state(t)) for name, t in tensors.items() if t is not None},
        kept=(*tensors.values(), *(holder.attributes.values() if isinstance(holder, ir.Function) else ())),
        model=model or {},
    )
    graph.meta[KEY] = origin
    for ordinal, (node, node_proto) in enumerate(zip(graph, proto.node, strict=True)):
        opaque = _is_opaque(node, node_proto)
        came = NodeOrigin(origin, ordinal, node_state(node), opaque, tuple(node.attributes.values()))
        node.meta[KEY] = came
        if any(attribute.type in GRAPH_TYPES for attribute in node.attributes.values()):
            _attach_subgraphs(node, node_proto, came)


def _is_opaque(node: ir.Node, proto: onnx.NodeProto) -> bool:
    # The first IR versions did not state an attribute's type, and onnx_ir reads such an attribute as nothing.
    return len(node.attributes) != len(proto.attribute) or any(
        attribute.type == ir.AttributeType.UNDEFINED for attribute in node.attributes.values()
    )


def _attach_subgraphs(node: ir.Node, proto: onnx.NodeProto, came: NodeOrigin) -> None:
    source = came.home.source
    for ordinal, attribute_proto in enumerate(proto.attribute):
        attribute = node.attributes.get(attribute_proto.name)
        if attribute is None or attribute.ref_attr_name is not None:
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            _attach_graph(attribute.as_graph(), attribute_proto.g, source, Place(came, ordinal, ATTRIBUTE_GRAPH))
        elif attribute.type == ir.AttributeType.GRAPHS:
            for index, graph in enumerate(attribute.as_graphs()):
                _attach_graph(
                    graph, attribute_proto.graphs[index], source, Place(came, ordinal, ATTRIBUTE_GRAPHS, index)
                )

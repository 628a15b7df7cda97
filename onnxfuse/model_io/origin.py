"""What each object of an `onnx_ir.Model` looked like when it was read, so that what nobody touched is written as it came.

`attach` builds the `onnx_ir.Model` of a `Source` and hangs a record of its origin on every graph and node (in `meta`,
which onnx_ir keeps through `clone()` and never writes out). `onnxfuse.model_io.emit` reads these records.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import onnx
import onnx_ir as ir

from onnxfuse.errors import ModelError
from onnxfuse.model_io.source import FilePayload, Source

if TYPE_CHECKING:
    from onnxfuse.model_io.source import Payload

__all__ = [
    "GraphOrigin",
    "NodeOrigin",
    "attach",
    "graph_origin",
    "is_opaque",
    "model_state",
    "node_origin",
    "node_state",
    "paused_gc",
    "subgraphs",
    "typed_values",
    "value_state",
]

KEY: Final = "onnxfuse.origin"

State = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class NodeOrigin:
    """Where a node came from.

    Attributes:
        home: The graph it was read in.
        ordinal: Its place among that graph's nodes.
        state: What `node_state` said of it then.
        opaque: It carries something that onnx_ir cannot hold; only its bytes have all of it.
    """

    home: GraphOrigin
    ordinal: int
    state: State
    opaque: bool = False


@dataclass(eq=False)
class GraphOrigin:
    """What a graph (or a function's body) looked like when it was read.

    Attributes:
        state: Name, doc string and metadata.
        values: What `typed_values` said.
        inputs: Its inputs' names, in order.
        outputs: Its outputs' names, in order.
        initializers: Its initializers' names, in order.
        tensors: Its initializers' tensor objects, by name.
        count: How many nodes it had.
        source: The model it came in; of the main graph only.
        model: What `model_state` said; of the main graph only.
        functions: The functions' identifiers, in order; of the main graph only.
    """

    state: State
    values: Mapping[str, State]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: tuple[str, ...]
    tensors: Mapping[str, Any]
    count: int
    source: Source | None = None
    model: Mapping[int, State] = field(default_factory=dict)
    functions: tuple[Any, ...] = ()


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


def node_state(node: ir.Node) -> State:
    """Returns all that a NodeProto says of `node`, comparable; attributes by identity (onnx_ir never changes one in place)."""
    return (
        node.op_type,
        node.domain,
        node.overload,
        node.name,
        node.doc_string,
        tuple([None if value is None else value.name for value in node.inputs]),
        tuple([value.name for value in node.outputs]),
        tuple(
            [
                (name, None if attribute.type in GRAPH_TYPES else attribute)
                for name, attribute in node.attributes.items()
            ]
        ),
        tuple(node.metadata_props.items()) if node.metadata_props else (),
    )


GRAPH_TYPES: Final = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def value_state(value: ir.Value) -> State:
    """Returns all that a ValueInfoProto says of `value`, comparable."""
    return (
        value.name,
        value.type,
        None if value.shape is None else tuple(value.shape),
        value.doc_string,
        tuple(value.metadata_props.items()),
    )


def typed_values(graph: ir.Graph) -> dict[str, State]:
    """Returns the states of the graph's border values and of every value inside that has a type or a shape."""
    states = {str(value.name): value_state(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        for value in node.outputs:
            if value.type is not None or value.shape is not None:
                states[str(value.name)] = value_state(value)
    return states


def model_state(model: ir.Model) -> dict[int, State]:
    """Returns the fields of `model` that are neither graph nor functions, by their numbers in onnx.proto."""
    return {
        1: (model.ir_version,),
        2: (model.producer_name,),
        3: (model.producer_version,),
        4: (model.domain,),
        5: (model.model_version,),
        6: (model.doc_string,),
        8: tuple(model.opset_imports.items()),
        14: tuple(model.metadata_props.items()),
    }


def graph_state(graph: ir.Graph | ir.Function) -> State:
    """Returns name, doc string and metadata of `graph`."""
    return (graph.name, graph.doc_string, tuple(graph.metadata_props.items()))


def attach(source: Source) -> ir.Model:
    """Builds the `onnx_ir.Model` of `source`, with large initializers as views on where they lie.

    Raises:
        ModelError: onnx_ir cannot hold the model.
    """
    with paused_gc():
        model = _to_ir(source)
        _place_weights(model, source)
        _attach_graph(model.graph, source.proto.graph)
        main: GraphOrigin = model.graph.meta[KEY]
        main.source = source
        main.model = model_state(model)
        main.functions = tuple(model.functions)
        for proto in source.proto.functions:
            _attach_graph(model.functions[(proto.domain, proto.name, proto.overload)].graph, proto)
    return model


def _to_ir(source: Source) -> ir.Model:
    try:
        return ir.from_proto(source.proto)
    except ir.serde.SerdeError:
        try:
            return ir.from_proto(_without_the_unreadable(source.proto))
        except ir.serde.SerdeError as error:
            where = f"{source.path}: " if source.path else ""
            raise ModelError(f"{where}onnx_ir cannot hold this model: {_root_cause(error)}") from error


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _place_weights(model: ir.Model, source: Source) -> None:
    """Gives the large initializers their data, where it lies, and external tensors the folder they are looked for in."""
    initializers = list(source.proto.graph.initializer)
    for ordinal, payload in source.payloads.items():
        header = initializers[ordinal]
        value = model.graph.initializers.get(header.name)
        if value is not None:
            value.const_value = _tensor(header, payload)
    if source.path is not None and b"location" in source.light:
        for graph in [*model.graphs(), *(function.graph for function in model.functions.values())]:
            ir.external_data.set_base_dir(graph, source.path.parent)


def _tensor(header: onnx.TensorProto, payload: Payload) -> ir.TensorProtocol:
    if isinstance(payload, FilePayload):
        return ir.Tensor(
            payload.array(tuple(header.dims)),
            dtype=ir.DataType(header.data_type),
            name=header.name,
            doc_string=header.doc_string or None,
        )
    return ir.serde.TensorProtoTensor(payload.message)


def _attach_graph(graph: ir.Graph, proto: onnx.GraphProto | onnx.FunctionProto) -> None:
    origin = GraphOrigin(
        state=graph_state(graph),
        values=typed_values(graph),
        inputs=tuple(str(value.name) for value in graph.inputs),
        outputs=tuple(str(value.name) for value in graph.outputs),
        initializers=() if isinstance(proto, onnx.FunctionProto) else tuple(t.name for t in proto.initializer),
        tensors={name: value.const_value for name, value in graph.initializers.items()},
        count=len(graph),
    )
    graph.meta[KEY] = origin
    for ordinal, (node, node_proto) in enumerate(zip(graph, proto.node, strict=True)):
        opaque = len(node.attributes) != len(node_proto.attribute)
        node.meta[KEY] = NodeOrigin(origin, ordinal, node_state(node), opaque)
        if any(attribute.type in GRAPH_TYPES for attribute in node.attributes.values()):
            _attach_subgraphs(node, node_proto)


def _attach_subgraphs(node: ir.Node, proto: onnx.NodeProto) -> None:
    by_name = {attribute.name: attribute for attribute in proto.attribute}
    for name, attribute in node.attributes.items():
        if attribute.type == ir.AttributeType.GRAPH and attribute.ref_attr_name is None:
            _attach_graph(attribute.as_graph(), by_name[name].g)
        elif attribute.type == ir.AttributeType.GRAPHS and attribute.ref_attr_name is None:
            for graph, graph_proto in zip(attribute.as_graphs(), by_name[name].graphs, strict=True):
                _attach_graph(graph, graph_proto)


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yields the graphs in the attributes of `node` (the bodies of If, Loop and Scan)."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and attribute.ref_attr_name is None:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS and attribute.ref_attr_name is None:
            yield from attribute.as_graphs()


def _without_the_unreadable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy that onnx_ir can read.

    onnx_ir 1.1 has no sparse tensors, no string lists outside UTF-8, and no map types. The bytes of what is left out
    here are carried by the origin, and a node that held such a thing is closed to rewrites.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    stack: list[Iterable[onnx.NodeProto]] = [copy.graph.node, *(function.node for function in copy.functions)]
    while stack:
        for node in stack.pop():
            for index in reversed(range(len(node.attribute))):
                if _unreadable(node.attribute[index]):
                    del node.attribute[index]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append(attribute.g.node)
                stack.extend(graph.node for graph in attribute.graphs)
    for info in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if info.type.HasField("map_type"):
            info.ClearField("type")
    return copy


def _unreadable(attribute: onnx.AttributeProto) -> bool:
    kind = attribute.type
    if kind in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
        return True
    if kind == onnx.AttributeProto.STRINGS:
        return not all(_is_utf8(text) for text in attribute.strings)
    return False


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

"""A `gs.Graph` as a model, and back: the caller's graph is only read, and its weights are shared.

`gs.export_onnx` writes into what it exports (opset imports, names of tensors), copies all weights, and lists a constant
that a subgraph captures once more in the subgraph. So it is given a copy of the graph, in which large constants are
headers without data and captured tensors are names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues
from onnx_graphsurgeon.logger import G_LOGGER
from onnx_graphsurgeon.util.misc import SynchronizedList

from onnxfuse.errors import ModelError
from onnxfuse.model_io import anew, wire
from onnxfuse.model_io.emitted import Emitted
from onnxfuse.model_io.payload import NUMPY_DTYPES, Payload, TensorData
from onnxfuse.model_io.source import Source, payload_of

__all__ = ["graph_of", "same_graph", "source_of"]

# Of a graph that states none: what all runtimes of the last years load, with all that graphsurgeon can hold.
IR_VERSION: Final = 10
# Below, every initializer is an input, too.
SEPARATE_INITIALIZERS_IR: Final = 4
# Its logger prints what the exception says, too.
SILENT: Final = G_LOGGER.CRITICAL + 1
CANNOT: Final = "the gs.Graph cannot be exported"


def same_graph(graph: gs.Graph) -> gs.Graph:
    """Returns a graph that says the same, with nodes and tensors of its own; the values of constants are shared.

    Not by `graph.copy()`: it leaves out the producer, types other than tensors, and whatever else hangs on an object.
    """
    copies: dict[int, Any] = {}
    pending: list[tuple[Any, Any]] = []

    def twin(thing: Any) -> Any:
        if isinstance(thing, (gs.Graph, gs.Node, gs.Tensor)):
            if id(thing) not in copies:
                copies[id(thing)] = object.__new__(type(thing))
                pending.append((thing, copies[id(thing)]))
            return copies[id(thing)]
        if isinstance(thing, dict):
            return type(thing)((key, twin(value)) for key, value in thing.items())
        if isinstance(thing, list):
            if id(thing) not in copies:  # a graph and its subgraphs share the list of functions
                copies[id(thing)] = [twin(value) for value in thing]
            return copies[id(thing)]
        return thing

    result = twin(graph)
    while pending:
        thing, other = pending.pop()
        for name, value in vars(thing).items():
            if isinstance(value, SynchronizedList):
                vars(other)[name] = SynchronizedList(other, value.field_name, [])
                list.extend(vars(other)[name], [twin(each) for each in value])
            else:
                vars(other)[name] = copy.deepcopy(value) if name == "import_domains" else twin(value)
    return result


# ------------------------------------------------------------------------------------------------ in


def source_of(graph: gs.Graph) -> Source:
    """Returns the model that `gs.export_onnx` makes of a graph, with large constants where they are.

    Raises:
        ModelError: graphsurgeon cannot export it, or what it exports is no whole model.
    """
    exported = same_graph(graph)
    payloads: dict[str, Payload] = {}
    with G_LOGGER.suppress(SILENT):
        try:
            _detach(exported, frozenset(), payloads)
            for function in exported.functions:
                _detach(function, frozenset())
            model = gs.export_onnx(exported)
        except ModelError:
            raise
        except Exception as error:  # whatever: a graph may hold anything
            raise ModelError(f"{CANNOT}: {_culprit(exported)}{_said(error)}") from error
    if graph.ir_version is None:
        model.ir_version = max(IR_VERSION, onnx.helper.find_min_ir_version_for(model.opset_import, True))
    if model.ir_version < SEPARATE_INITIALIZERS_IR:
        _list_initializers(model.graph)
    ordinals = {tensor.name: ordinal for ordinal, tensor in enumerate(model.graph.initializer)}
    source = Source(
        model.SerializeToString(), {ordinals[name]: payload for name, payload in payloads.items() if name in ordinals}
    )
    try:
        source.check()
    except ModelError as error:
        raise ModelError(f"the gs.Graph is not whole ({error}): its cleanup() and toposort() may help") from error
    return source


def _detach(graph: gs.Graph, outer: frozenset[int], payloads: dict[str, Payload] | None = None) -> None:
    """Makes a copied graph one that can be exported: its constants as messages of their own, what it captures as names.

    Args:
        graph: The graph, or a function.
        outer: The identities of the tensors of the graphs around it.
        payloads: Where large constants are put, by name; they stay in the graph as headers. None to keep them whole.
    """
    tensors = {id(tensor): tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs)}
    tensors |= {id(tensor): tensor for tensor in (*graph.inputs, *graph.outputs)}
    captured = {key for key in tensors if key in outer} - {id(tensor) for tensor in graph.outputs}
    placed: dict[int, gs.Tensor] = {}
    constants: dict[str, Any] = {}
    for key, tensor in tensors.items():
        if key in captured:
            placed[key] = gs.Variable(tensor.name)
        elif isinstance(tensor, gs.Constant):
            placed[key] = _message_of(tensor, payloads)
            said = constants.setdefault(tensor.name, tensor)
            if said is not tensor and not _same_values(said, tensor):
                raise ModelError(f"{CANNOT}: two constants of other values are called {tensor.name!r}")
        else:
            placed[key] = tensor
    graph.inputs, graph.outputs = ([placed[id(tensor)] for tensor in each] for each in (graph.inputs, graph.outputs))
    for node in graph.nodes:
        for side in (node.inputs, node.outputs):
            # Not to search all readers of a constant for this one.
            for index, tensor in enumerate(side):
                list.__setitem__(side, index, placed[id(tensor)])
        for name, value in node.attrs.items():
            if isinstance(value, gs.Graph):
                _detach(value, outer | tensors.keys())
            elif isinstance(value, gs.Constant):
                node.attrs[name] = _message_of(value)


def _message_of(constant: gs.Constant, payloads: dict[str, Payload] | None = None) -> gs.Constant:
    """Returns a constant whose values are a message of its own; a large one goes to `payloads`, and is a header."""
    values = _values_of(constant)
    if isinstance(values, SparseValues):
        sparse = onnx.SparseTensorProto()
        sparse.CopyFrom(values.tensor)
        sparse.values.name = constant.name
        return gs.Constant(constant.name, SparseValues(sparse))
    try:
        stored = _stored(constant)
    except Exception as error:  # the values may be anything
        raise ModelError(f"{CANNOT}: constant {constant.name!r}: {_said(error)}") from error
    if stored is None:
        return constant
    if isinstance(stored, Payload) and payloads is not None:
        payloads[constant.name] = stored
        stored = onnx.TensorProto.FromString(stored.header)
    elif isinstance(stored, Payload):
        stored = onnx.TensorProto.FromString(wire.payload_of(stored.joined()))
    return gs.Constant(constant.name, LazyValues(stored))


def _stored(constant: gs.Constant) -> Payload | onnx.TensorProto | None:
    """Returns the values of a constant under its name; None where graphsurgeon is to convert them, if it can."""
    values = _values_of(constant)
    if not isinstance(values, LazyValues):
        # Not by graphsurgeon: it writes float8_e4m3fnuz as float8_e4m3fn, and no string and nothing of less than 8 bits.
        if values.dtype == object:
            return onnx.numpy_helper.from_array(values, constant.name)
        tensor = ir.tensor(values, name=constant.name)
        wanted = vars(constant).get("_export_dtype")
        if wanted is not None and wanted not in (int(tensor.dtype), values.dtype):
            return None
        new = anew.new_tensor(constant.name, tensor)
        return new if isinstance(new, Payload) else onnx.TensorProto.FromString(new)
    found = payload_of(values.tensor)
    if found is not None and values.tensor.name == constant.name:
        return found
    message = onnx.TensorProto()
    message.MergeFromString(found.header) if found is not None else message.CopyFrom(values.tensor)
    message.name = constant.name
    return message if found is None else Payload(message.SerializeToString(), found.data)


def _values_of(constant: gs.Constant) -> Any:
    """Returns the values as they are held; the public property reads those that are not read yet."""
    return vars(constant)["_values"]


def _same_values(a: gs.Constant, b: gs.Constant) -> bool:
    if _values_of(a) is _values_of(b):
        return True
    x, y = (values.load() if isinstance(values, LazyValues) else values for values in map(_values_of, (a, b)))
    return bool(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())


def _list_initializers(graph: onnx.GraphProto) -> None:
    """Lists every initializer as an input, which graphsurgeon does not, and which the first IR versions ask for."""
    listed = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in listed:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def _culprit(graph: gs.Graph) -> str:
    """Returns the first node that cannot be exported, for the beginning of a message."""
    for node in graph.nodes:
        try:
            gs.export_onnx(gs.Graph([node], import_domains=[]), do_type_check=False)
        except Exception:  # noqa: BLE001 - it is the one
            return f"node {node.name!r} ({node.op}): "
    return ""


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# ------------------------------------------------------------------------------------------------ out


def graph_of(emitted: Emitted, given: gs.Graph) -> gs.Graph:
    """Returns a model as a graph that shares the large constants of the one that came in.

    Args:
        emitted: The model.
        given: The graph that it was made of.
    """
    shared = {
        carried.name: (carried, values)
        for carried in emitted.carried
        if (values := _shared(carried.payload)) is not None
    }
    headers = {name: carried.header for name, (carried, _) in shared.items()}
    model = onnx.ModelProto.FromString(emitted.replaced(headers).data())
    with G_LOGGER.suppress(SILENT):
        graph = gs.import_onnx(model)
    for constant in _constants(graph):
        carried, values = shared.get(constant.name, (None, None))
        # Not of a subgraph's own constant of that name.
        if carried is not None and _values_of(constant).tensor == onnx.TensorProto.FromString(carried.payload.header):
            constant.values = values
    if given.ir_version is None:
        graph.ir_version = None
    return graph


def _shared(payload: Payload) -> Any:
    """Returns the values of a large initializer as graphsurgeon holds them, where they need not be copied."""
    if payload.message is not None:
        return LazyValues(payload.message)
    plain = onnx.TensorProto.FromString(payload.header).data_type in NUMPY_DTYPES
    return payload.data.array() if plain and isinstance(payload.data, TensorData) else None


def _constants(graph: gs.Graph) -> Iterator[gs.Constant]:
    """Yields the constants that nodes read, those of subgraphs included."""
    for node in graph.nodes:
        yield from (tensor for tensor in node.inputs if isinstance(tensor, gs.Constant))
        for subgraph in node.subgraphs():
            yield from _constants(subgraph)

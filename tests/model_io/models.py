"""Models with all that a ModelProto can say, and bytes that no known field says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxfuse.model_io import wire

FLOAT = TensorProto.FLOAT

# No field of any message in onnx.proto has this number.
UNKNOWN_FIELD = 3001


def chain(weight: np.ndarray | None = None, **fields: Any) -> onnx.ModelProto:
    """Returns a model with a pair of Slices that merge, and a weight of 4 KiB."""
    weight = np.arange(1024, dtype=np.float32).reshape(32, 32) if weight is None else weight
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17], producer_name: "tests">
        chain (float[N, 32] x) => (float[N, 30] y)
        <int64[1] one = {1}, int64[1] minus = {-1}, int64[1] end = {9223372036854775807}, int64[1] axis = {1}> {
            a = MatMul (x, weight)
            b = Slice (a, one, end, axis)
            y = Slice (b, one, end, axis)
            unused = Identity (minus)
        }
        """
    )
    model.graph.initializer.insert(0, numpy_helper.from_array(weight, "weight"))
    for name, value in fields.items():
        setattr(model, name, value)
    return model


def unknown_field(text: bytes) -> bytes:
    """Returns a field of a number that no message has."""
    return wire.field_bytes(UNKNOWN_FIELD, text)


def with_unknown_fields(message: Any, text: str) -> None:
    """Adds a field that the installed onnx does not know to a message, and to those in it that a model carries."""
    message.MergeFromString(unknown_field(text.encode()))


def tensors() -> Iterator[onnx.TensorProto]:
    """Yields tensors of every kind of element type and of storage, each with its name."""
    values = np.arange(8)
    for dtype in (np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_, np.complex64, np.complex128):
        yield numpy_helper.from_array(values.astype(dtype), f"raw_{np.dtype(dtype).name}")
    for name, kind in (
        ("bfloat16", TensorProto.BFLOAT16),
        ("float8", TensorProto.FLOAT8E4M3FN),
        ("int4", TensorProto.INT4),
        ("uint4", TensorProto.UINT4),
    ):
        yield helper.make_tensor(f"listed_{name}", kind, [8], np.arange(8).astype(np.float32))
    for name, dtype in (("float8e5m2", ml_dtypes.float8_e5m2), ("bfloat16", ml_dtypes.bfloat16)):
        yield numpy_helper.from_array(values.astype(dtype), f"raw_{name}")
    yield helper.make_tensor("listed_float", TensorProto.FLOAT, [8], values.astype(np.float32))
    yield helper.make_tensor("listed_complex", TensorProto.COMPLEX64, [2], [1 + 2j, 3 - 4j])
    yield helper.make_tensor("strings", TensorProto.STRING, [2], [b"text", b"\xff\xfe"])
    yield helper.make_tensor("scalar", TensorProto.FLOAT, [], [1.5])
    yield helper.make_tensor("no_elements", TensorProto.FLOAT, [0, 3], [])


def everything() -> onnx.ModelProto:
    """Returns a valid model of IR version 13 in which every field of onnx.proto is used that can be."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 13, opset_import: ["": 21, "ai.onnx.ml": 3, "local": 1, "custom": 1],
         producer_name: "tests", producer_version: "1.2", domain: "example", model_version: -7, doc_string: "a model">
        everything (float[N, 4] x, bool flag) => (float[N, 4] y, float[N, 4] z, float[M] w, float[N, 4] passed) {
            relu = Relu (x)
            other = Sigmoid (relu)
            branched = If (flag) <
                then_branch = then_graph () => (float[N, 4] then_out) {
                    inner = Neg (relu)
                    then_out = Mul (inner, other)
                },
                else_branch = else_graph () => (float[N, 4] else_out) {
                    else_out = Identity (relu)
                }
            >
            y = Add (branched, small)
            z = local.scale <factor: float = 3.0> (relu, other)
            w = Reshape (stored, shape)
            sum = Add (branched, sparse)
            constant = Constant <value = float[2] {1.0, 2.0}> ()
            opaque = custom.Thing <text: string = "x"> (sum, , constant)
            passed = Identity (x)
        }
        <domain: "local", opset_import: ["": 20]>
        scale <factor: float = 2.0, mode> (a, b) => (c) {
            f = Constant <value_float: float = @factor> ()
            t = Mul (a, f)
            c = Add (t, b)
        }
        """
    )
    graph = model.graph
    graph.name, graph.doc_string = "everything", "a graph"
    graph.initializer.extend(tensors())
    graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "small"))
    graph.initializer.append(numpy_helper.from_array(np.arange(2048, dtype=np.float32), "stored"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "shape"))
    _describe_values(graph)
    _annotate(model)
    _add_opaque_things(model)
    return onnx.load_from_string(model.SerializeToString())


def _describe_values(graph: onnx.GraphProto) -> None:
    for name in ("relu", "other", "branched"):
        graph.value_info.append(helper.make_tensor_value_info(name, FLOAT, ["N", 4], doc_string=f"about {name}"))
    graph.value_info.append(helper.make_tensor_value_info("small", FLOAT, [4]))
    graph.value_info.append(helper.make_tensor_value_info("raw_float64", TensorProto.DOUBLE, [8]))
    graph.value_info.append(helper.make_tensor_value_info("nothing", FLOAT, [1]))
    graph.value_info.append(onnx.ValueInfoProto(name="sum", doc_string="only a doc string"))
    graph.value_info[0].metadata_props.add(key="k", value="v")
    shape = graph.input[0].type.tensor_type.shape
    shape.dim[0].denotation = "DATA_BATCH"
    graph.input[0].type.denotation = "IMAGE"
    graph.input[0].doc_string = "the input"
    graph.output[0].doc_string = "the output"
    graph.output[0].metadata_props.add(key="k", value="v")


def _annotate(model: onnx.ModelProto) -> None:
    graph = model.graph
    for place in (model, graph, graph.node[0], graph.initializer[0], model.functions[0], model.functions[0].node[1]):
        for key in ("b", "a"):
            place.metadata_props.add(key=key, value=f"{key} of {place.DESCRIPTOR.name}")
    for node in graph.node:
        node.name = f"node_{node.op_type}_{node.output[0]}"
    graph.node[0].doc_string = "a node"
    graph.node[0].attribute.append(helper.make_attribute("extra", 0.0, doc_string="an attribute"))
    annotation = graph.quantization_annotation.add(tensor_name="relu")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="small")
    graph.quantization_annotation.add(tensor_name="absent")
    configuration = model.configuration.add(name="two", num_devices=2)
    configuration.device.extend(["one", "two"])
    device = graph.node[1].device_configurations.add(configuration_id="two", pipeline_stage=1)
    device.sharding_spec.add(tensor_name="relu", device=[0])
    function = model.functions[0]
    function.doc_string = "a function"
    function.overload = "v1"
    next(node for node in graph.node if node.op_type == "scale").overload = "v1"
    function.value_info.append(helper.make_tensor_value_info("t", FLOAT, ["N", 4], doc_string="inside"))


def _add_opaque_things(model: onnx.ModelProto) -> None:
    graph = model.graph
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "indices"))
    sparse.dims.append(4)
    training = model.training_info.add()
    training.initialization.name = "initialization"
    training.initialization_binding.add(key="small", value="other")
    opaque = next(node for node in graph.node if node.op_type == "Thing")
    opaque.attribute.append(helper.make_attribute("not_text", b"\xff\x00"))
    opaque.attribute.append(helper.make_attribute("not_texts", [b"\xff\x00", b"text"]))
    opaque.attribute.append(helper.make_attribute("sparse", sparse))
    opaque.attribute.append(helper.make_attribute("types", [helper.make_tensor_type_proto(FLOAT, [1])]))
    map_type = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, []))
    opaque.attribute.append(helper.make_attribute("map_kind", map_type))
    zipped = helper.make_node("ZipMap", ["branched"], ["zipped"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])
    graph.node.append(zipped)
    sequence = helper.make_sequence_type_proto(map_type)
    graph.output.append(helper.make_value_info("zipped", sequence, doc_string="probabilities"))
    for place in (
        model,
        graph,
        graph.node[0],
        graph.node[2].attribute[0].g.node[0],
        graph.initializer[-2],
        graph.input[0],
        graph.value_info[1],
        model.functions[0],
        model.functions[0].node[1],
    ):
        with_unknown_fields(place, f"unknown of {place.DESCRIPTOR.name}")


def proto_of(data: bytes) -> onnx.ModelProto:
    """Parses a serialized model."""
    return onnx.load_from_string(data)


def messages(model: onnx.ModelProto) -> dict[str, list[bytes]]:
    """Returns the serialized nodes, tensors and values of a model, in subgraphs and functions too, by what names them."""
    out: dict[str, list[bytes]] = {}

    def note(kind: str, name: str, message: Any) -> None:
        out.setdefault(f"{kind} {name}", []).append(message.SerializeToString(deterministic=True))

    def visit(nodes: Any) -> None:
        for node in nodes:
            graphs = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
            if not any(graph.node for graph in graphs):
                note("node", f"{node.op_type} {'/'.join(node.output)}", node)
            for graph in graphs:
                visit_graph(graph)

    def visit_graph(graph: onnx.GraphProto) -> None:
        visit(graph.node)
        for tensor in graph.initializer:
            note("tensor", tensor.name, tensor)
        for kind in ("input", "output", "value_info"):
            for value in getattr(graph, kind):
                note(kind, value.name, value)

    visit_graph(model.graph)
    for function in model.functions:
        visit(function.node)
    return out


def edited(model: onnx.ModelProto, edit: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    """Returns a copy of `model` with `edit` done to it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    edit(copy)
    return copy

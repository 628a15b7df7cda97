"""Changes to `models.everything`, each done to an `onnx_ir.Model` and, by hand, to the ModelProto: both must say the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from tests.model_io.editing import Edit, all_graphs, drop, infos, ir_node, ir_value, proto_node, set_entries, tensor
from tests.model_io.node_edits import NODE_EDITS

__all__ = ["EDITS"]


# ------------------------------------------------------------------------------------------------ values


def rename(old: str, new: str) -> Edit:
    def on_ir(model: ir.Model) -> None:
        ir_value(model, old).name = new

    def on_proto(model: onnx.ModelProto) -> None:
        for graph in all_graphs(model):
            for node in graph.node:
                node.input[:] = [new if name == old else name for name in node.input]
                node.output[:] = [new if name == old else name for name in node.output]
                for device in node.device_configurations:
                    for spec in device.sharding_spec:
                        spec.tensor_name = new if spec.tensor_name == old else spec.tensor_name
            for initializer in graph.initializer:
                initializer.name = new if initializer.name == old else initializer.name
            for annotation in graph.quantization_annotation:
                annotation.tensor_name = new if annotation.tensor_name == old else annotation.tensor_name
        for info in infos(model, old):
            info.name = new

    return Edit(f"rename {old}", on_ir, on_proto)


def reshape(name: str, dims: list[int | str]) -> Edit:
    def on_ir(model: ir.Model) -> None:
        ir_value(model, name).shape = ir.Shape(dims)

    def on_proto(model: onnx.ModelProto) -> None:
        for info in infos(model, name):
            shape = helper.make_tensor_value_info(name, TensorProto.FLOAT, dims).type.tensor_type.shape
            info.type.tensor_type.shape.CopyFrom(shape)

    return Edit(f"reshape {name}", on_ir, on_proto)


def document(name: str, text: str) -> Edit:
    def on_ir(model: ir.Model) -> None:
        value = ir_value(model, name)
        value.doc_string = text
        value.metadata_props["added"] = text

    def on_proto(model: onnx.ModelProto) -> None:
        for info in infos(model, name):
            info.doc_string = text
            info.metadata_props.add(key="added", value=text)

    return Edit(f"document {name}", on_ir, on_proto)


def _retype_ir(model: ir.Model) -> None:
    ir_value(model, "branched").dtype = ir.DataType.DOUBLE  # in place: the type object is the one that was read


def _retype(model: onnx.ModelProto) -> None:
    for info in infos(model, "branched"):
        info.type.tensor_type.elem_type = TensorProto.DOUBLE


def _forget_ir(model: ir.Model) -> None:
    value = ir_value(model, "other")
    value.type = value.shape = value.doc_string = None


def _describe_ir(model: ir.Model) -> None:
    value = ir_value(model, "inner")
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, 4])


def _describe(model: onnx.ModelProto) -> None:
    then = proto_node(model, "branched").attribute[0].g
    then.value_info.append(helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 4]))


def _annotate_ir(model: ir.Model) -> None:
    ir_value(model, "relu").meta["quant_parameter_tensor_names"] = {"ZERO_POINT_TENSOR": "shape"}
    ir_value(model, "other").meta["quant_parameter_tensor_names"] = {"SCALE_TENSOR": "small"}


def _annotate(model: onnx.ModelProto) -> None:
    set_entries(model.graph.quantization_annotation[0].quant_parameter_tensor_names, ZERO_POINT_TENSOR="shape")
    annotation = model.graph.quantization_annotation.add(tensor_name="other")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="small")


def _fewer_outputs_ir(model: ir.Model) -> None:
    model.graph.outputs[:] = [value for value in reversed(model.graph.outputs) if value.name != "z"]


def _fewer_outputs(model: onnx.ModelProto) -> None:
    # What was said of z as an output is said of it as a value inside.
    (info,) = infos(model, "z")
    model.graph.value_info.append(info)
    outputs = [info for info in reversed(model.graph.output) if info.name != "z"]
    model.graph.ClearField("output")
    model.graph.output.extend(outputs)


def _more_outputs_ir(model: ir.Model) -> None:
    model.graph.outputs.append(ir_value(model, "constant"))


def _more_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.add(name="constant")


VALUE_EDITS = [
    *(rename(name, f"new_{name}") for name in ("relu", "x", "y", "z", "zipped", "small", "stored", "inner", "sum")),
    reshape("x", ["N", 8]),
    reshape("y", [1, "C"]),
    reshape("relu", ["N", 4, 1]),
    document("zipped", "another text"),
    document("sum", "another text"),
    document("relu", "another text"),
    document("x", "another text"),
    Edit("change an element type", _retype_ir, _retype),
    Edit("forget a value_info", _forget_ir, lambda model: drop(model.graph.value_info, "other")),
    Edit("describe a value of a subgraph", _describe_ir, _describe),
    Edit("annotate", _annotate_ir, _annotate),
    Edit("fewer outputs", _fewer_outputs_ir, _fewer_outputs),
    Edit("more outputs", _more_outputs_ir, _more_outputs),
]


# ------------------------------------------------------------------------------------------------ model and graph


def _model_fields_ir(model: ir.Model) -> None:
    model.producer_name, model.producer_version, model.domain = "someone", None, "elsewhere"
    model.model_version, model.doc_string = -(2**63), "another text"


def _model_fields(model: onnx.ModelProto) -> None:
    model.producer_name, model.domain = "someone", "elsewhere"
    model.ClearField("producer_version")
    model.model_version, model.doc_string = -(2**63), "another text"


def _metadata_ir(model: ir.Model) -> None:
    del model.metadata_props["a"]
    model.metadata_props["new"] = ""
    model.graph.metadata_props["new"] = "1"


def _metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[1]
    model.metadata_props.add(key="new", value="")
    model.graph.metadata_props.add(key="new", value="1")


def _graph_fields_ir(model: ir.Model) -> None:
    model.graph.name, model.graph.doc_string = "renamed", None


def _graph_fields(model: onnx.ModelProto) -> None:
    model.graph.name = "renamed"
    model.graph.ClearField("doc_string")


def _devices_ir(model: ir.Model) -> None:
    model.device_configurations += (ir.ModelConfiguration(name="three", num_devices=3),)
    ir_node(model, "other").device_configurations = ()


def _devices(model: onnx.ModelProto) -> None:
    model.configuration.add(name="three", num_devices=3)
    proto_node(model, "other").ClearField("device_configurations")


MODEL_EDITS = [
    Edit("model fields", _model_fields_ir, _model_fields),
    Edit("metadata", _metadata_ir, _metadata),
    Edit("graph fields", _graph_fields_ir, _graph_fields),
    Edit(
        "import an opset",
        lambda model: model.opset_imports.update({"added": 3}),
        lambda model: model.opset_import.add(domain="added", version=3),
    ),
    Edit("ir version", lambda model: setattr(model, "ir_version", 12), lambda model: setattr(model, "ir_version", 12)),
    Edit("device configurations", _devices_ir, _devices),
]


# ------------------------------------------------------------------------------------------------ initializers


def _replace_tensor_ir(model: ir.Model) -> None:
    ir_value(model, "raw_float64").const_value = ir.tensor(np.float32([7]), name="raw_float64")


def _replace_tensor(model: onnx.ModelProto) -> None:
    tensor(model, "raw_float64").CopyFrom(numpy_helper.from_array(np.float32([7]), "raw_float64"))
    # What a value_info says of an initializer is what the initializer says.
    for info in infos(model, "raw_float64"):
        info.CopyFrom(helper.make_tensor_value_info("raw_float64", TensorProto.FLOAT, [1]))


def _add_tensors_ir(model: ir.Model) -> None:
    for name, array in (("few", np.int8([1, 2])), ("many", np.zeros(4096, np.float16))):
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name, doc_string="new"))
        model.graph.register_initializer(value)
    model.graph.register_initializer(ir.Value(name="words", const_value=ir.tensor(["a", "b"], name="words")))


def _add_tensors(model: onnx.ModelProto) -> None:
    for name, array in (("few", np.int8([1, 2])), ("many", np.zeros(4096, np.float16))):
        new = numpy_helper.from_array(array, name)
        new.doc_string = "new"
        model.graph.initializer.append(new)
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"b"]))


def _remove_tensors_ir(model: ir.Model) -> None:
    for name in ("scalar", "strings", "listed_float8"):
        del model.graph.initializers[name]


def _remove_tensors(model: onnx.ModelProto) -> None:
    for name in ("scalar", "strings", "listed_float8"):
        drop(model.graph.initializer, name)


def tensor_metadata(name: str) -> Edit:
    def on_ir(model: ir.Model) -> None:
        value = ir_value(model, name).const_value
        assert value is not None
        value.metadata_props["added"] = "1"

    def on_proto(model: onnx.ModelProto) -> None:
        tensor(model, name).metadata_props.add(key="added", value="1")

    return Edit(f"metadata of {name}", on_ir, on_proto)


def _tensor_doc_ir(model: ir.Model) -> None:
    value = ir_value(model, "stored").const_value
    assert value is not None
    value.doc_string = "another text"


def _tensor_doc(model: onnx.ModelProto) -> None:
    tensor(model, "stored").doc_string = "another text"


TENSOR_EDITS = [
    Edit("another tensor", _replace_tensor_ir, _replace_tensor),
    Edit("add tensors", _add_tensors_ir, _add_tensors),
    Edit("remove tensors", _remove_tensors_ir, _remove_tensors),
    tensor_metadata("raw_float32"),
    tensor_metadata("stored"),
    Edit("a tensor's doc string", _tensor_doc_ir, _tensor_doc),
]


# ------------------------------------------------------------------------------------------------ functions


def _function_fields_ir(model: ir.Model) -> None:
    function = next(iter(model.functions.values()))
    function.doc_string = None
    function.opset_imports["custom"] = 1
    function.metadata_props["new"] = "1"
    function.attributes["added"] = ir.AttrInt64("added", 3)
    function.attributes["required"] = ir.Attr("required", ir.AttributeType.UNDEFINED, None)


def _function_fields(model: onnx.ModelProto) -> None:
    function = model.functions[0]
    function.ClearField("doc_string")
    function.opset_import.add(domain="custom", version=1)
    function.metadata_props.add(key="new", value="1")
    function.attribute_proto.append(helper.make_attribute("added", 3))
    function.attribute.append("required")


def _rename_function_ir(model: ir.Model) -> None:
    key, function = next(iter(model.functions.items()))
    del model.functions[key]
    function.name, function.domain, function.overload = "rescale", "elsewhere", ""
    model.functions[function.identifier()] = function
    function.inputs[0].name = "first"
    function.outputs[0].name = "last"


def _rename_function(model: onnx.ModelProto) -> None:
    function = model.functions[0]
    function.name, function.domain = "rescale", "elsewhere"
    function.ClearField("overload")
    function.input[0] = "first"
    function.output[0] = "last"
    for info in function.value_info:
        info.name = {"a": "first", "c": "last"}.get(info.name, info.name)
    proto_node(model, "t").input[0] = "first"
    proto_node(model, "c").output[0] = "last"


def _function_value_ir(model: ir.Model) -> None:
    function = next(iter(model.functions.values()))
    ir_node(model, "t").outputs[0].shape = ir.Shape([1, 4])
    function.inputs[0].type = ir.TensorType(ir.DataType.FLOAT)


def _function_value(model: onnx.ModelProto) -> None:
    function = model.functions[0]
    shape = helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 4]).type.tensor_type.shape
    function.value_info[0].type.tensor_type.shape.CopyFrom(shape)
    first = function.input[0]
    function.value_info.append(helper.make_tensor_value_info(first, TensorProto.FLOAT, None))


def _add_function_ir(model: ir.Model) -> None:
    value = ir.Value(name="p")
    node = ir.node("Neg", [value], name="neg")
    node.outputs[0].name = "q"
    graph = ir.Graph([value], [node.outputs[0]], nodes=[node], opset_imports={"": 20})
    function = ir.Function("local", "negate", "", graph=graph, attributes=[])
    model.functions[function.identifier()] = function


def _add_function(model: onnx.ModelProto) -> None:
    node = onnx.NodeProto(op_type="Neg", input=["p"], output=["q"], name="neg")
    model.functions.append(helper.make_function("local", "negate", ["p"], ["q"], [node], [helper.make_opsetid("", 20)]))


FUNCTION_EDITS = [
    Edit("function fields", _function_fields_ir, _function_fields),
    Edit("rename a function", _rename_function_ir, _rename_function),
    Edit("values of a function", _function_value_ir, _function_value),
    Edit("add a function", _add_function_ir, _add_function),
]


REMOVE_FUNCTIONS = Edit(
    "remove the functions", lambda model: model.functions.clear(), lambda model: model.ClearField("functions")
)


EDITS = [*VALUE_EDITS, *MODEL_EDITS, *NODE_EDITS, *TENSOR_EDITS, *FUNCTION_EDITS, REMOVE_FUNCTIONS]

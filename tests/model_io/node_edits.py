"""Edits of nodes: each of an onnx_ir model, and as it should show in the protobuf."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from tests.model_io.editing import Edit, all_graphs, drop, ir_node, ir_value, proto_node


def _node_fields_ir(model: ir.Model) -> None:
    node = ir_node(model, "relu")
    node.name, node.doc_string, node.op_type, node.domain, node.overload = "named", None, "Elu", "custom", "v2"
    node.metadata_props.pop("b")


def _node_fields(model: onnx.ModelProto) -> None:
    node = proto_node(model, "relu")
    node.name, node.op_type, node.domain, node.overload = "named", "Elu", "custom", "v2"
    node.ClearField("doc_string")
    del node.metadata_props[0]


def _sign_of_zero_ir(model: ir.Model) -> None:
    ir_node(model, "relu").attributes["extra"] = ir.AttrFloat32("extra", -0.0)


def _sign_of_zero(model: onnx.ModelProto) -> None:
    proto_node(model, "relu").attribute[0].CopyFrom(helper.make_attribute("extra", -0.0))


def _attribute_doc_ir(model: ir.Model) -> None:
    ir_node(model, "z").attributes["factor"].doc_string = "another text"


def _attribute_doc(model: onnx.ModelProto) -> None:
    proto_node(model, "z").attribute[0].doc_string = "another text"


def _opaque_attributes_ir(model: ir.Model) -> None:
    node = ir_node(model, "opaque")
    del node.attributes["text"]
    node.attributes["number"] = ir.AttrInt64("number", 3)
    node.attributes["reference"] = ir.RefAttr("reference", "factor", ir.AttributeType.FLOAT)


def _opaque_attributes(model: onnx.ModelProto) -> None:
    node = proto_node(model, "opaque")
    drop(node.attribute, "text")
    node.attribute.append(helper.make_attribute("number", 3))
    node.attribute.add(name="reference", ref_attr_name="factor", type=onnx.AttributeProto.FLOAT)


def _replace_unreadable_ir(model: ir.Model) -> None:
    ir_node(model, "opaque").attributes["sparse"] = ir.AttrString("sparse", "now a text")


def _replace_unreadable(model: onnx.ModelProto) -> None:
    node = proto_node(model, "opaque")
    index = [attribute.name for attribute in node.attribute].index("sparse")
    node.attribute[index].CopyFrom(helper.make_attribute("sparse", "now a text"))


def _constant_ir(model: ir.Model) -> None:
    ir_node(model, "constant").attributes["value"] = ir.AttrTensor("value", ir.tensor(np.float32([3, 4, 5]), name="t"))


def _constant(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.float32([3, 4, 5]), "t")
    proto_node(model, "constant").attribute[0].CopyFrom(helper.make_attribute("value", value))


def _remove_node_ir(model: ir.Model) -> None:
    node = ir_node(model, "opaque")
    model.graph.remove(node, safe=True)


def _remove_node(model: onnx.ModelProto) -> None:
    node = proto_node(model, "opaque")
    drop(model.graph.node, node.name)


def add_node(after: str) -> Edit:
    new = f"neg_{after}"

    def on_ir(model: ir.Model) -> None:
        node = ir_node(model, after)
        value = node.outputs[0]
        added = ir.node("Neg", [value], name=new, metadata_props={"made": "here"})
        added.outputs[0].name = new
        node.graph.insert_after(node, added)  # type: ignore[union-attr] # it is in a graph

    def on_proto(model: onnx.ModelProto) -> None:
        holders = [*all_graphs(model), *model.functions]
        nodes = next(holder.node for holder in holders if any(after in node.output for node in holder.node))
        place = next(index for index, node in enumerate(nodes) if after in node.output)
        added = onnx.NodeProto(op_type="Neg", input=[after], output=[new], name=new)
        added.metadata_props.add(key="made", value="here")
        nodes.insert(place + 1, added)

    return Edit(f"add a node after {after}", on_ir, on_proto)


def _swap_branches_ir(model: ir.Model) -> None:
    node = ir_node(model, "branched")
    then, other = node.attributes["then_branch"].as_graph(), node.attributes["else_branch"].as_graph()
    node.attributes["then_branch"] = ir.AttrGraph("then_branch", other)
    node.attributes["else_branch"] = ir.AttrGraph("else_branch", then)


def _swap_branches(model: onnx.ModelProto) -> None:
    first, second = proto_node(model, "branched").attribute[:2]
    first.name, second.name = second.name, first.name
    node = proto_node(model, "branched")
    attributes = [second, first]
    node.ClearField("attribute")
    node.attribute.extend(attributes)


def _new_branch_ir(model: ir.Model) -> None:
    relu = ir_value(model, "relu")
    new = ir.node("Abs", [relu], name="abs")
    new.outputs[0].name = "abs_out"
    ir_node(model, "branched").attributes["else_branch"] = ir.AttrGraph(
        "else_branch", ir.Graph([], [new.outputs[0]], nodes=[new], name="new_else")
    )


def _new_branch(model: onnx.ModelProto) -> None:
    node = onnx.NodeProto(op_type="Abs", input=["relu"], output=["abs_out"], name="abs")
    graph = onnx.GraphProto(name="new_else", node=[node], output=[onnx.ValueInfoProto(name="abs_out")])
    proto_node(model, "branched").attribute[1].CopyFrom(helper.make_attribute("else_branch", graph))


NODE_EDITS = [
    Edit("node fields", _node_fields_ir, _node_fields),
    Edit("the sign of a zero", _sign_of_zero_ir, _sign_of_zero),
    Edit("an attribute's doc string", _attribute_doc_ir, _attribute_doc),
    Edit("attributes of an opaque node", _opaque_attributes_ir, _opaque_attributes),
    Edit("replace what cannot be read", _replace_unreadable_ir, _replace_unreadable),
    Edit("a Constant's value", _constant_ir, _constant),
    Edit("remove a node", _remove_node_ir, _remove_node),
    add_node("other"),
    add_node("inner"),
    add_node("t"),
    Edit("swap the branches", _swap_branches_ir, _swap_branches),
    Edit("another branch", _new_branch_ir, _new_branch),
]

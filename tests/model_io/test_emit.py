"""What goes out: the same bytes where nothing changed, and around a change all that it did not touch."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxfuse
from onnxfuse.errors import ModelError
from onnxfuse.model_io import load, open_model, wire
from onnxfuse.model_io.emit import emit, evaluable
from onnxfuse.model_io.origin import is_opaque
from tests.backend.suite import KINDS, load_models
from tests.model_io.editing import ir_node, ir_value, proto_node
from tests.model_io.models import chain, edited, everything, messages, proto_of

PASSES = "merge-sliced,remove-pad"


# ------------------------------------------------------------------------------------------------ nothing changed


@pytest.mark.parametrize("kind", KINDS)
def test_backend_models_come_back_byte_for_byte(kind: str) -> None:
    changed = []
    for model in load_models(kind):
        written = emit(load(model.data)).data()
        if written != model.data:
            changed.append(model.name)

    assert not changed


def test_lengths_written_in_another_way_come_back_as_they_were() -> None:
    data = chain().SerializeToString()
    (graph,) = (entry for entry in wire.fields(memoryview(data)) if entry.number == 7)
    padded = wire.encode_varint(graph.end - graph.payload)
    padded = padded[:-1] + bytes([padded[-1] | 0x80]) + b"\x80\x00"
    odd = data[: graph.start] + b"\x3a" + padded + data[graph.payload :]
    assert proto_of(odd) == proto_of(data)

    model = load(odd)

    assert emit(model).data() == odd
    model.graph.doc_string = "changed"
    assert proto_of(emit(model).data()) == edited(chain(), lambda m: setattr(m.graph, "doc_string", "changed"))


def test_copy_of_a_copy_is_the_same() -> None:
    data = everything().SerializeToString()

    assert emit(load(load(load(data)))).data() == data


# ------------------------------------------------------------------------------------------------ after a rewrite


@pytest.mark.parametrize("given_as", ["bytes", "proto", "ir"])
def test_rewrite_leaves_untouched_messages_as_they_were(given_as: str) -> None:
    def add_slices(model: onnx.ModelProto) -> None:
        slices = chain().graph.node[1:3]
        slices[0].input[0], slices[1].output[0] = "relu", "end_of_chain"
        model.graph.node.extend(slices)
        model.graph.initializer.extend(chain().graph.initializer[1:])
        model.graph.output.add(name="end_of_chain")

    before = edited(everything(), add_slices)
    given = {"bytes": before.SerializeToString(), "proto": before, "ir": load(before)}[given_as]

    result = onnxfuse.apply(given, PASSES, verify="region")

    assert len(result.report.applied) == 1
    data = result.model if given_as == "bytes" else emit(load(result.model)).data()
    after = proto_of(data)
    was, now = messages(before), messages(after)
    gone = {"node Slice b", "node Slice end_of_chain", *(f"tensor {name}" for name in ("one", "end", "axis"))}
    assert {key: now.get(key) for key in was if key not in gone} == {
        key: items for key, items in was.items() if key not in gone
    }
    for field in ("sparse_initializer", "quantization_annotation", "metadata_props", "doc_string", "name"):
        assert getattr(after.graph, field) == getattr(before.graph, field)
    for field in ("training_info", "functions", "configuration", "metadata_props", "opset_import"):
        assert getattr(after, field) == getattr(before, field)


def packed_ints_model() -> bytes:
    """Returns a model with an If in which a node holds its integers packed, as proto3 writers do and onnx's does not."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        g (bool flag, float[2, 3] x) => (float[3, 2] y) {
            y = If (flag) <
                then_branch = t () => (float[3, 2] a) { a = Transpose <perm = [1, 0]> (x) },
                else_branch = e () => (float[3, 2] b) { c = Neg (x) b = Transpose <perm = [1, 0]> (c) }
            >
        }
        """
    )
    for index in (0, 1):
        nodes = model.graph.node[0].attribute[index].g.node
        perm = nodes[-1].attribute[0]
        assert perm.name == "perm"
        perm.ClearField("ints")
        perm.MergeFromString(wire.field_bytes(8, b"\x01\x00"))
    return model.SerializeToString()


def test_nodes_beside_a_changed_one_in_a_subgraph_stay_as_they_were() -> None:
    packed = wire.field_bytes(8, b"\x01\x00")
    data = packed_ints_model()
    if packed not in data:  # protobuf has written it its own way: then there are no such bytes to keep
        unpacked = b"\x40\x01\x40\x00"
        assert len(unpacked) == len(packed)
        data = data.replace(unpacked, packed)
    assert data.count(packed) == 2
    model = load(data)

    ir_node(model, "c").op_type = "Abs"
    written = emit(model).data()

    assert written.count(packed) == 2
    assert proto_node(proto_of(written), "c").op_type == "Abs"


# ------------------------------------------------------------------------------------------------ things that move


def test_inlined_function_keeps_what_its_nodes_carry() -> None:
    model = load(everything())
    model.functions["local", "scale", "v1"].opset_imports[""] = 21

    ir.passes.common.InlinePass()(model)
    written = proto_of(emit(model).data())

    assert not written.functions
    (mul,) = (node for node in written.graph.node if node.op_type == "Mul")
    assert {entry.key for entry in mul.metadata_props} >= {"a", "b"}
    (factor,) = (node for node in written.graph.node if [a.name for a in node.attribute] == ["value_float"])
    assert factor.attribute[0].f == 3.0
    assert factor.attribute[0].ref_attr_name == ""
    assert b"unknown of NodeProto" in mul.SerializeToString()


def test_main_graph_can_become_a_branch_with_its_weights() -> None:
    main = load(chain()).graph
    x = main.inputs.pop()
    flag = ir.Value(name="flag", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    node = ir.node(
        "If", [flag], attributes={"then_branch": main, "else_branch": main.clone(allow_outer_scope_values=True)}
    )
    node.outputs[0].name = "result"
    graph = ir.Graph([flag, x], [node.outputs[0]], nodes=[node], name="outer", opset_imports={"": 17})

    written = proto_of(emit(ir.Model(graph, ir_version=8)).data())

    branches = written.graph.node[0].attribute
    assert [len(branch.g.initializer[0].raw_data) for branch in branches] == [4096, 4096]
    assert branches[0].g.node == chain().graph.node


def test_unchanged_main_graph_in_another_model_has_its_weights() -> None:
    main = load(chain()).graph
    flag = ir.Value(name="flag")
    node = ir.node("If", [flag], attributes={"then_branch": main, "else_branch": main})
    graph = ir.Graph([flag], [node.outputs[0]], nodes=[node], name="outer", opset_imports={"": 17})

    written = proto_of(emit(ir.Model(graph, ir_version=8)).data())

    assert written.graph.node[0].attribute[0].g == chain().graph


def test_subgraph_can_become_the_main_graph() -> None:
    model = load(everything())
    branch = ir_node(model, "branched").attributes["then_branch"].as_graph()
    for node in branch:
        for index, value in enumerate(node.inputs):
            if value is not None and value.graph is not branch:
                twin = next((v for v in branch.inputs if v.name == value.name), None) or ir.Value(name=value.name)
                if twin not in branch.inputs:
                    branch.inputs.append(twin)
                node.replace_input_with(index, twin)

    written = proto_of(emit(ir.Model(branch, ir_version=9)).data())

    assert written.ir_version == 9
    assert [value.name for value in written.graph.input] == ["relu", "other"]
    before = proto_node(everything(), "branched").attribute[0].g
    assert written.graph.node == before.node
    assert written.graph.output == before.output


def test_node_moved_into_a_branch_is_carried() -> None:
    model = load(everything())
    node = ir_node(model, "constant")
    model.graph.remove(node)
    ir_node(model, "opaque").replace_input_with(2, None)
    branch = ir_node(model, "branched").attributes["then_branch"].as_graph()
    branch.insert_before(branch[0], node)

    written = proto_of(emit(model).data())

    then = proto_node(written, "branched").attribute[0].g
    assert then.node[0] == proto_node(everything(), "constant")


def test_tensors_can_be_shared_and_moved_under_new_names() -> None:
    model = load(chain().SerializeToString())
    weight = model.graph.initializers["weight"].const_value
    twin = ir.Value(name="twin", const_value=weight)
    model.graph.initializers["twin"] = twin

    written = proto_of(emit(model).data())

    first, *_, last = written.graph.initializer
    assert (first.name, last.name) == ("weight", "twin")
    assert first.raw_data == last.raw_data == chain().graph.initializer[0].raw_data


# ------------------------------------------------------------------------------------------------ models of others


def without_initializer_infos(model: onnx.ModelProto) -> onnx.ModelProto:
    names = {tensor.name for tensor in model.graph.initializer}
    kept = [info for info in model.graph.value_info if info.name not in names]
    model.graph.ClearField("value_info")
    model.graph.value_info.extend(kept)
    return model


@pytest.mark.parametrize("kind", ["simple", "pytorch-converted", "pytorch-operator"])
def test_model_that_onnx_ir_read_is_written_as_onnx_ir_does(kind: str) -> None:
    for test in load_models(kind):
        model = ir.from_proto(proto_of(test.data))

        written = proto_of(emit(model).data())

        expected = without_initializer_infos(ir.to_proto(model))
        assert sorted(written.graph.value_info, key=str) == sorted(expected.graph.value_info, key=str)
        for proto in (written, expected):
            proto.graph.ClearField("value_info")
        assert written == expected


def test_large_tensors_in_memory_are_copied_one_by_one_and_left_alone() -> None:
    array = np.arange(4096, dtype=np.float32)
    calls = []

    def compute() -> ir.Tensor[np.ndarray]:
        calls.append(1)
        return ir.tensor(array)

    lazy = ir.LazyTensor(compute, dtype=ir.DataType.FLOAT, shape=ir.Shape([4096]), name="other name")
    value = ir.Value(name="w", const_value=lazy)
    node = ir.node("Identity", [value])
    node.outputs[0].name = "y"
    graph = ir.Graph([], [node.outputs[0]], nodes=[node], initializers=[value], opset_imports={"": 17}, name="g")

    emitted = emit(ir.Model(graph, ir_version=8))

    assert not calls
    assert emitted.size > array.nbytes
    assert proto_of(emitted.data()).graph.initializer[0] == numpy_helper.from_array(array, "w")
    assert len(calls) == 1
    assert lazy.name == "other name"


def test_tensor_that_is_not_what_it_says_is_told() -> None:
    lazy = ir.LazyTensor(
        lambda: ir.tensor(np.zeros(3, np.float32)), dtype=ir.DataType.FLOAT, shape=ir.Shape([4096]), name="w"
    )
    model = load(chain())
    model.graph.register_initializer(ir.Value(name="w", const_value=lazy))

    with pytest.raises(ModelError, match="'w' has 12 bytes of data, its shape asks for 16384"):
        emit(model).data()


def test_initializer_without_a_value_is_told() -> None:
    model = load(chain())
    model.graph.initializers["none"] = ir.Value(name="none")

    with pytest.raises(ModelError, match="initializer 'none' has no value"):
        emit(model)


def test_what_onnx_ir_cannot_write_is_told_in_one_line() -> None:
    model = load(chain())
    model.graph[0].attributes["bad"] = ir.Attr("bad", ir.AttributeType.SPARSE_TENSOR, object())

    with pytest.raises(ModelError, match="the model cannot be written: ") as caught:
        emit(model)
    assert "\n" not in str(caught.value)


def test_input_without_a_name_is_told() -> None:
    model = load(chain())
    model.graph[0].replace_input_with(1, ir.Value())

    with pytest.raises(ModelError, match=r"\(MatMul\) reads a value that has no name"):
        emit(model)


def test_metadata_of_tensors_is_written_once() -> None:
    tensor = numpy_helper.from_array(np.float32([1, 2]), "t")
    tensor.metadata_props.add(key="k", value="v")
    model = load(chain())
    model.graph.register_initializer(ir.Value(name="t", const_value=ir.from_proto(tensor)))
    model.graph[0].attributes["t"] = ir.AttrTensor("t", ir.from_proto(tensor))

    written = proto_of(emit(model).data())

    assert written.graph.initializer[-1] == tensor
    assert written.graph.node[0].attribute[-1].t == tensor


# ------------------------------------------------------------------------------------------------ before functions had value_info


def test_value_info_of_functions_before_ir_10_stays_in_the_main_graph() -> None:
    def older(model: onnx.ModelProto) -> None:
        model.ir_version = 9
        function = model.functions[0]
        function.ClearField("overload")
        proto_node(model, "z").ClearField("overload")
        function.ClearField("value_info")
        for name in ("t", "f"):
            info = helper.make_tensor_value_info(f"local::scale/{name}", TensorProto.FLOAT, ["N", 4])
            model.graph.value_info.append(info)

    before = edited(everything(), older)
    model = load(before)
    assert ir_node(model, "t").outputs[0].shape == ir.Shape(["N", 4])

    ir_node(model, "t").doc_string = "changed"
    ir_node(model, "t").outputs[0].name = "renamed"
    written = proto_of(emit(model).data())

    names = [info.name for info in written.graph.value_info]
    assert "local::scale/f" in names
    assert "local::scale/t" not in names
    assert not written.functions[0].value_info


# ------------------------------------------------------------------------------------------------ what a runtime gets


def test_runtime_gets_weights_as_views_and_the_rest_in_the_model() -> None:
    def more(model: onnx.ModelProto) -> None:
        constant = numpy_helper.from_array(np.ones(2048, np.float32))
        model.graph.node.append(helper.make_node("Constant", [], ["c"], value=constant))
        model.graph.initializer.append(
            numpy_helper.from_array(np.ones(4096, helper.tensor_dtype_to_np_dtype(22)), "int4")
        )

    data = edited(chain(), more).SerializeToString()

    model, weights = evaluable(open_model(data).emitted(changed=False), None)

    assert list(weights) == ["weight"]
    assert np.shares_memory(weights["weight"], np.frombuffer(data, np.uint8))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert not tensors["weight"].HasField("raw_data")
    assert len(tensors["int4"].raw_data) == 2048
    assert len(model.graph.node[-1].attribute[0].t.raw_data) == 8192


# ------------------------------------------------------------------------------------------------ what onnx_ir cannot hold


def test_node_with_what_onnx_ir_cannot_hold_is_closed_to_rewrites() -> None:
    model = load(everything())

    assert [node.op_type for node in model.graph if is_opaque(node)] == ["Thing"]


def test_attribute_without_a_type_closes_its_node() -> None:
    model = load(edited(chain(), lambda m: m.graph.node[1].attribute.add(name="axes").ints.extend([1])))

    assert [is_opaque(node) for node in model.graph] == [False, True, False, False]


def test_types_that_onnx_ir_has_not_are_carried_around_a_change() -> None:
    def opaque(model: onnx.ModelProto) -> None:
        model.graph.input.add(name="thing").type.opaque_type.name = "Thing"
        model.graph.input.add(name="future").type.tensor_type.elem_type = 77
        empty = model.graph.input.add(name="nothing").type.sequence_type
        empty.SetInParent()

    before = edited(everything(), opaque)
    model = load(before)

    for name in ("thing", "future", "nothing"):
        ir_value(model, name).doc_string = "changed"
    written = proto_of(emit(model).data())

    assert [info.type for info in written.graph.input] == [info.type for info in before.graph.input]
    assert [info.doc_string for info in written.graph.input[2:]] == ["changed"] * 3

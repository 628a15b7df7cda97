"""Models that do not hold together are told in one line; those that only look odd are let in."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from onnxfuse.errors import ModelError
from onnxfuse.model_io import open_model
from tests.model_io.editing import proto_node
from tests.model_io.models import edited, everything

Model = onnx.ModelProto


def add(model: Model, *nodes: onnx.NodeProto) -> None:
    model.graph.node.extend(nodes)


def node(op_type: str, inputs: list[str], outputs: list[str], **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, outputs, **attributes)


def swap_nodes(model: Model) -> None:
    nodes = [model.graph.node[1], model.graph.node[0], *model.graph.node[2:]]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def tensor_with(**fields: object) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        tensor = model.graph.initializer.add(name="bad")
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)

    return change


def branch(model: Model) -> onnx.GraphProto:
    return proto_node(model, "branched").attribute[0].g


BROKEN: list[tuple[Callable[[Model], object], str]] = [
    # names
    (lambda m: add(m, node("Neg", ["nowhere"], ["n"])), "node 'n' (Neg) reads 'nowhere', which nothing defines"),
    (
        lambda m: add(m, node("Neg", ["x"], ["relu"])),
        "the graph: 'relu' is defined twice, the second time as output of",
    ),
    (lambda m: add(m, node("Split", ["x"], ["p", "p"])), "'p' is defined twice"),
    (lambda m: add(m, node("Neg", ["x"], ["small"])), "'small' is defined twice"),
    (lambda m: m.graph.input.add(name="x"), "the graph: input 'x' is defined twice"),
    (lambda m: m.graph.initializer.add(name="small", data_type=1), "the graph: initializer 'small' is defined twice"),
    (lambda m: m.graph.initializer.add(data_type=1), "the graph has an initializer without a name"),
    (lambda m: m.graph.output.add(name="nowhere"), "the graph: nothing in it computes its output 'nowhere'"),
    (lambda m: branch(m).output.add(name="relu"), "then_branch: nothing in it computes its output 'relu'"),
    (lambda m: add(m, node("Neg", ["inner"], ["n"])), "reads 'inner', which nothing defines"),
    (lambda m: m.functions.append(m.functions[0]), "function local.scale is defined twice"),
    (lambda m: m.functions[0].output.append("x"), "function local.scale: nothing in it computes its output 'x'"),
    (lambda m: m.functions[0].node[1].input.append("x"), "reads 'x', which nothing defines"),
    (lambda m: m.functions[0].input.append("a"), "function local.scale: input 'a' is defined twice"),
    (
        lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0]),
        "node 'node_Relu_relu' (Relu) has the attribute 'extra' twice",
    ),
    # order
    (
        swap_nodes,
        "reads 'relu' before node 'node_Relu_relu' (Relu) computes it: the nodes are not in topological order",
    ),
    (
        lambda m: add(m, node("Add", ["x", "q"], ["p"]), node("Neg", ["p"], ["q"])),
        "node 'p' (Add) reads 'q' before node 'q' (Neg) computes it: the nodes are not in topological order, or form a cycle",
    ),
    (lambda m: add(m, node("Neg", ["p"], ["p"])), "node 'p' (Neg) reads 'p' before node 'p' (Neg) computes it"),
    # tensors
    (tensor_with(data_type=1, dims=[-2]), "initializer 'bad': its shape [-2] has a negative dim"),
    (tensor_with(data_type=0, dims=[1]), "initializer 'bad': unknown element type 0"),
    (tensor_with(data_type=99, dims=[1]), "initializer 'bad': unknown element type 99"),
    (tensor_with(data_type=1, dims=[2], raw_data=b"123"), "it has 3 bytes of data, its shape [2] asks for 8"),
    (tensor_with(data_type=1, dims=[2], float_data=[1.0]), "it has 1 values, its shape [2] asks for 2"),
    (tensor_with(data_type=1, dims=[2], int64_data=[1, 2]), "int64_data is no place for elements of type 1"),
    (tensor_with(data_type=8, dims=[2], string_data=[b"a"]), "it has 1 values, its shape [2] asks for 2"),
    (tensor_with(data_type=8, dims=[1], raw_data=b"a"), "strings cannot be raw data"),
    (tensor_with(data_type=14, dims=[2], float_data=[1.0, 2.0]), "it has 2 values"),
    (tensor_with(data_type=1, dims=[2**40, 2**40], raw_data=b"123"), "has more elements than can be counted"),
    (
        lambda m: proto_node(m, "constant").attribute[0].t.dims.append(7),
        "node 'node_Constant_constant' (Constant): attribute 'value': it has 2 values, its shape [2, 7] asks for 14",
    ),
    # attributes and the rest
    (lambda m: branch(m).node[1].input.append("z"), "then_branch"),
    (
        lambda m: proto_node(m, "branched").attribute[0].ClearField("g"),
        "attribute 'then_branch' does not hold what its type says",
    ),
    (
        lambda m: proto_node(m, "other").device_configurations[0].ClearField("configuration_id"),
        "has a device configuration that names no configuration or no tensor",
    ),
    (lambda m: m.opset_import.add(domain="d", version=2**40), "the model imports opset 1099511627776 of domain 'd'"),
    (lambda m: m.functions[0].opset_import.add(domain="d", version=-1), "function local.scale imports opset -1"),
]


@pytest.mark.parametrize(("change", "says"), BROKEN, ids=[says[:40] for _, says in BROKEN])
def test_broken_model_is_told_in_one_line(change: Callable[[Model], object], says: str) -> None:
    model = edited(everything(), lambda m: change(m) and None)
    for given_as in (model.SerializeToString(), model):
        with pytest.raises(ModelError) as caught:
            open_model(given_as)
        assert "\n" not in str(caught.value)
        if says != "then_branch":  # z is computed after the If that reads it
            assert says in str(caught.value)


ODD: list[Callable[[Model], object]] = [
    lambda m: add(m, node("Dropout", ["x"], ["p", ""])),  # an output that is left out
    lambda m: add(m, node("Resize", ["x", "", "small"], ["p"])),  # an input that is left out
    lambda m: add(m, node("NoSuchOp", ["x"], ["p"], domain="not.imported")),
    lambda m: branch(m).node.append(node("Neg", ["x"], ["y"])),  # a name of the graph outside
    lambda m: m.graph.output.append(m.graph.output[0]),  # an output twice
    lambda m: m.graph.output.append(m.graph.input[0]),  # an input as output
    lambda m: m.graph.output.add(name="small"),  # an initializer as output
    lambda m: m.graph.input.append(helper.make_tensor_value_info("small", TensorProto.FLOAT, [4])),
    lambda m: m.graph.value_info.add(name="relu"),
    lambda m: m.metadata_props.add(key="a", value="again"),
    lambda m: m.opset_import.add(domain="", version=21),
    lambda m: m.ClearField("opset_import"),
    lambda m: tensor_with(data_type=22, dims=[3], int32_data=[1, 2])(m),  # packed
    lambda m: tensor_with(data_type=22, dims=[3], int32_data=[1, 2, 3])(m),  # one by one
    lambda m: tensor_with(data_type=1, dims=[3])(m),  # its weights were taken out
    lambda m: m.graph.ClearField("name"),
]


@pytest.mark.parametrize("change", ODD, ids=range(len(ODD)))
def test_odd_model_is_let_in_and_carried(change: Callable[[Model], object]) -> None:
    data = edited(everything(), lambda m: change(m) and None).SerializeToString()

    opened = open_model(data)

    opened.working_model()
    assert opened.result() == data
    assert opened.unchanged() == data

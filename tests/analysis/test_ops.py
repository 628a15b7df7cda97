from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.defs
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxfuse.analysis.ops import FACTS, is_deterministic, is_deterministic_node, is_index_only, is_pure, op_facts


def nodes(text: str, *, opset: int = 17) -> list[ir.Node]:
    head = f'<ir_version: 8, opset_import: ["": {opset}, "custom": 1]>\n'
    return list(ir.from_proto(onnx.parser.parse_model(head + text)).graph)


ATTRIBUTES: dict[str, dict[str, Any]] = {"BitShift": {"direction": "LEFT"}, "LRN": {"size": 3}}


def infer(op_type: str, shapes: list[list[str | int]]) -> tuple[onnx.TypeProto, onnx.TypeProto]:
    """The type of the first input, of the first kind that the operator accepts, and what onnx infers of the output."""
    schema = onnx.defs.get_schema(op_type)
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    kinds = {"tensor(float)": TensorProto.FLOAT, "tensor(int64)": TensorProto.INT64, "tensor(bool)": TensorProto.BOOL}
    kinds["tensor(uint8)"] = TensorProto.UINT8
    types = {}
    for index, shape in enumerate(shapes):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        possible = allowed.get(formal.type_str, [formal.type_str])
        element = next(element for name, element in kinds.items() if name in possible)
        types[f"x{index}"] = helper.make_tensor_type_proto(element, shape)
    node = onnx.NodeProto(op_type=op_type, input=list(types), output=["y"])
    node.attribute.extend(helper.make_attribute(*item) for item in ATTRIBUTES.get(op_type, {}).items())
    return types["x0"], onnx.shape_inference.infer_node_outputs(schema, node, types)["y"]


def test_every_operator_of_the_table_exists() -> None:
    assert [op_type for op_type in FACTS if not onnx.defs.has(op_type)] == []


@pytest.mark.parametrize("op_type", sorted(op_type for op_type, facts in FACTS.items() if facts.like_first))
def test_like_first_is_what_onnx_infers(op_type: str) -> None:
    whole: list[str | int] = ["N", 3, 4, 5]
    rest: list[str | int] = [3] if op_type in ("BatchNormalization", "InstanceNormalization") else whole
    first, found = infer(op_type, [whole] + [rest] * (onnx.defs.get_schema(op_type).min_input - 1))
    if op_type == "MeanVarianceNormalization":
        first.tensor_type.ClearField("shape")  # onnx infers no shape at all
    assert found == first


@pytest.mark.parametrize("op_type", sorted(op_type for op_type, facts in FACTS.items() if facts.broadcasts))
def test_broadcasting_is_what_onnx_infers(op_type: str) -> None:
    shapes: list[list[str | int]] = [["N", 1], [3], [3]]
    first, found = infer(op_type, shapes[: max(2, onnx.defs.get_schema(op_type).min_input)])
    assert [dim.dim_param or dim.dim_value for dim in found.tensor_type.shape.dim] == ["N", 3]
    if op_facts(op_type).compares:
        assert found.tensor_type.elem_type == TensorProto.BOOL
    elif op_type != "Where":
        assert found.tensor_type.elem_type == first.tensor_type.elem_type


def test_data_inputs_are_told_from_parameters() -> None:
    assert [op_facts("Slice").is_data(index) for index in range(5)] == [True, False, False, False, False]
    assert [op_facts("Pad").is_data(index) for index in range(4)] == [True, False, True, False]
    assert [op_facts("Where").is_data(index) for index in range(3)] == [False, True, True]
    assert op_facts("Concat").is_data(7)
    assert not op_facts("Relu").is_data(0)
    assert is_index_only("Transpose")
    assert not is_index_only("ScatterND")
    assert not is_index_only("NoSuchOperator")


@pytest.mark.parametrize(
    "op_type",
    ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"],
)
def test_random_operators(op_type: str) -> None:
    assert not is_deterministic(op_type)
    assert is_deterministic("Conv")


@pytest.mark.parametrize(
    ("body", "opset", "expected"),
    [
        ("y = Relu(x)", 17, True),
        ("y = RandomNormalLike(x)", 17, False),
        ("y = Bernoulli(x)", 17, False),
        ("y = custom.Relu(x)", 17, False),
        ("y = NoSuchOperator(x)", 17, False),
        ("y = Dropout(x)", 17, True),
        ("y = Dropout(x, ratio)", 17, True),
        ("y = Dropout(x, ratio, no)", 17, True),
        ("y = Dropout(x, ratio, yes)", 17, False),
        ("y = Dropout(x, ratio, mode)", 17, False),
        ("y = Dropout<ratio=0.5>(x)", 10, True),
        ("y = Dropout<ratio=0.5>(x)", 6, False),
        ("y = Dropout<ratio=0.5, is_test=1>(x)", 6, True),
        ("y = BatchNormalization(x, k, k, k, k)", 17, True),
        ("y = BatchNormalization<training_mode=0>(x, k, k, k, k)", 17, True),
        ("y, m, v = BatchNormalization<training_mode=1>(x, k, k, k, k)", 17, False),
        ("y, m, v = BatchNormalization(x, k, k, k, k)", 9, False),
        ("y = BatchNormalization(x, k, k, k, k)", 6, False),
        ("y = BatchNormalization<is_test=1>(x, k, k, k, k)", 6, True),
    ],
)
def test_nodes(body: str, opset: int, expected: bool) -> None:
    (node,) = nodes(
        f"""g (float[N,2,3] x, bool mode) => (float[] y)
        <float ratio = {{0.5}}, bool no = {{0}}, bool yes = {{1}}, float[2] k = {{1.0, 1.0}}> {{ {body} }}""",
        opset=opset,
    )
    assert is_deterministic_node(node) is expected
    assert is_pure(node) is expected


def test_a_mode_that_may_be_overridden_or_has_no_data_is_not_known() -> None:
    (node,) = nodes("g (float[N] x, float r, bool mode) => (float[] y) { y = Dropout(x, r, mode) }")
    mode = node.inputs[2]
    assert mode is not None
    mode.const_value = ir.tensor(np.array(False))
    assert not is_pure(node)
    loose = ir.Value(name="mode", const_value=ir.serde.TensorProtoTensor(TensorProto(data_type=TensorProto.BOOL)))
    assert not is_pure(ir.Node("", "Dropout", [node.inputs[0], node.inputs[1], loose]))


def test_a_constant_node_tells_the_mode() -> None:
    text = "g (float[N] x, float r) => (float[] y) { m = Constant<value = bool {0}>() y = Dropout(x, r, m) }"
    assert [is_pure(node) for node in nodes(text)] == [True, True]


@pytest.mark.parametrize(("inner", "expected"), [("Relu", True), ("RandomNormalLike", False)])
def test_bodies_are_searched(inner: str, expected: bool) -> None:
    text = f"""g (float[N] x, bool c) => (float[] y) {{
        y = If(c) <
            then_branch = a () => (float[] p) {{
                p = If(c) <
                    then_branch = d () => (float[] r) {{ r = {inner}(x) }},
                    else_branch = e () => (float[] s) {{ s = Abs(x) }}
                >
            }},
            else_branch = b () => (float[] q) {{ q = Neg(x) }}
        >
    }}"""
    (node,) = nodes(text)
    assert is_pure(node) is expected

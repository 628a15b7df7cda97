"""convert-opset: what onnx's converter gets right, what is mended of it, and all else as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import onnxfuse
from onnxfuse.testing.oracle import run, same
from tests.passes.converting import agree, attributes, converted, model_at
from tests.passes.running import ops_of, parse

# ---------------------------------------------------------------------------------------------------- what stays


def test_model_at_the_opset_comes_back_byte_for_byte() -> None:
    data = parse(model_at(13, "(float[N] x) => (float[N] y) { y = Relu(x) }")).SerializeToString()
    result = onnxfuse.apply(data, "convert-opset{to=13}")

    assert result.model == data
    assert not result.report.modified
    assert result.report.declined == ()


def test_all_but_the_changed_nodes_stays_byte_for_byte() -> None:
    model = parse(
        model_at(
            11,
            """(float[N, 4] x) => (float[N, 4] y, float[N, 1, 4] z) <float[4] w = {1, 2, 3, 4}> {
                a = Relu(x) b = Mul(a, w) y = Neg(b) z = Unsqueeze<axes = [1]>(b)
            }""",
        )
    )
    model.doc_string, model.producer_name, model.graph.doc_string = "a model", "somebody", "a graph"
    model.metadata_props.add(key="licence", value="none")
    model.graph.metadata_props.add(key="graph", value="it is")
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4]))
    for index, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"node{index}", f"number {index}"
        node.metadata_props.add(key="number", value=str(index))
    after = converted(model)

    assert list(after.graph.node)[:3] == list(model.graph.node)[:3]
    unsqueeze = after.graph.node[3]
    assert (unsqueeze.name, list(unsqueeze.input)) == ("node3", ["b", "z_axes"])
    assert {entry.key: entry.value for entry in unsqueeze.metadata_props}["number"] == "3"
    assert list(after.graph.value_info) == list(model.graph.value_info)
    assert list(after.metadata_props) == list(model.metadata_props)
    assert list(after.graph.metadata_props) == list(model.graph.metadata_props)
    assert [tensor.name for tensor in after.graph.initializer] == ["w", "z_axes"]
    restored = onnx.ModelProto()
    restored.CopyFrom(after)
    del restored.graph.node[3], restored.graph.initializer[1]
    restored.graph.node.append(model.graph.node[3])
    restored.opset_import[0].version = 11
    assert restored == model


def test_other_domains_keep_their_version() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 11, "com.example" : 3]>
        g (float[N, 4] x) => (float[N, 1, 4] y) { a = Unsqueeze<axes = [1]>(x) y = com.example.Look<depth = 2>(a) }"""
    )
    after = converted(model)

    assert {opset.domain: opset.version for opset in after.opset_import} == {"": 13, "com.example": 3}
    assert after.graph.node[1] == model.graph.node[1]


def test_weights_are_the_very_same_file(tmp_path: Any) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    model = onnx.parser.parse_model(
        model_at(
            11,
            "(float[N, 64] x, float[64, 64] w) => (float[N, 1, 64] y) { a = MatMul(x, w) y = Unsqueeze<axes = [1]>(a) }",
        )
    )
    del model.graph.input[1]
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    data = (tmp_path / "model.data").read_bytes()
    result = onnxfuse.apply(tmp_path / "model.onnx", "convert-opset{to=13}")
    onnxfuse.save(result.model, tmp_path / "out.onnx")

    assert result.report.modified
    (tensor,) = [
        t for t in onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer if t.name == "w"
    ]
    assert {entry.key: entry.value for entry in tensor.external_data}["location"] == "model.data"
    assert (tmp_path / "model.data").read_bytes() == data


# ---------------------------------------------------------------------------------------------------- Softmax


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(
    ("shape", "axis"), [(("N", 3, 4), 2), (("N", 3, 4), -1), (("N", 4), None), (("N", "M", "K", "L"), 3), ((5,), 0)]
)
def test_softmax_over_the_last_axis_stays_one(op_type: str, shape: tuple[int | str, ...], axis: int | None) -> None:
    dims = ", ".join(map(str, shape))
    given_axis = "" if axis is None else f"<axis = {axis}>"
    model = parse(model_at(11, f"(float[{dims}] x) => (float[{dims}] y) {{ [node] y = {op_type}{given_axis}(x) }}"))
    after = converted(model)

    assert ops_of(after) == [op_type]
    assert attributes(after.graph.node[0]) == {"axis": -1}
    assert after.graph.node[0].name == "node"
    agree(model, after, *(dim if isinstance(dim, int) else 2 for dim in shape))


def test_softmax_whose_rank_only_our_own_analysis_knows() -> None:
    model = parse(
        model_at(
            11,
            """(float[N, 6] x) => (float[A, B, C] y) <int64[1] zero = {0}, int64[2] rest = {2, 3}> {
                shape = Shape(x) some = Gather(shape, zero) target = Concat<axis = 0>(some, rest)
                cube = Reshape(x, target) y = Softmax<axis = 2>(cube)
            }""",
        )
    )
    assert attributes(converted(model).graph.node[-1]) == {"axis": -1}


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4), 1), (("N", 3, 4), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), -2)])
def test_softmax_over_several_axes(op_type: str, shape: tuple[int | str, ...], axis: int) -> None:
    dims = ", ".join(map(str, shape))
    model = parse(
        model_at(11, f"(float[{dims}] x) => (float[{dims}] y) {{ [node] z = {op_type}<axis = {axis}>(x) y = Neg(z) }}")
    )
    model.graph.node[0].metadata_props.add(key="from", value="here")
    after = converted(model)

    assert sorted(ops_of(after)) == sorted(["Shape", "Flatten", op_type, "Reshape", "Neg"])
    assert [node.name for node in after.graph.node if node.op_type == op_type] == ["node"]
    agree(model, after, *(dim if isinstance(dim, int) else 2 for dim in shape))
    if shape[0] == "N":
        agree(model, after, 0, 3, 4)


# ---------------------------------------------------------------------------------------------------- mended


@pytest.mark.parametrize("opset", [7, 8, 9])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.5, 2.3)])
def test_upsample_reads_its_input_as_it_did(opset: int, mode: str, scales: tuple[float, float]) -> None:
    sizes = f"1.0, 1.0, {scales[0]}, {scales[1]}"
    node = f'Upsample<mode = "{mode}", scales = [{sizes}]>(x)' if opset < 9 else f'Upsample<mode = "{mode}">(x, s)'
    constant = "" if opset < 9 else f"<float[4] s = {{{sizes}}}>"
    model = onnx.parser.parse_model(
        model_at(opset, f"(float[1, 2, 5, 7] x) => (float[A, B, C, D] y) {constant} {{ [up] y = {node} }}")
    )
    after = converted(model)

    assert ops_of(after) == ["Resize"]
    assert after.graph.node[0].name == "up"
    agree(model, after, 1, 2, 5, 7)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2.0, 0.5), (1.5, 2.3), (0.25, 1.0)])
def test_resize_of_opset_10(mode: str, scales: tuple[float, float]) -> None:
    model = onnx.parser.parse_model(
        model_at(
            10,
            f"""(float[1, 2, 8, 8] x) => (float[A, B, C, D] y) <float[4] s = {{1, 1, {scales[0]}, {scales[1]}}}>
            {{ y = Resize<mode = "{mode}">(x, s) }}""",
        )
    )
    after = converted(model)

    assert ops_of(after)[-1] == "Resize"
    agree(model, after, 1, 2, 8, 8)


@pytest.mark.parametrize(("name", "dtype"), [("double", np.float64), ("float16", np.float16), ("float", np.float32)])
def test_values_that_become_inputs_have_the_type_of_the_data(name: str, dtype: type) -> None:
    # onnxruntime 1.31 has no Clip of doubles below opset 11.
    clips = "b = Identity(x)" if name == "double" else "a = Clip<min = -0.5, max = 0.25>(x) b = Clip<max = 0.125>(a)"
    model = parse(
        model_at(10, f"({name}[3, 4] x) => ({name}[5, 4] y) {{ {clips} y = Pad<pads = [1, 0, 1, 0], value = 0.5>(b) }}")
    )
    agree(model, converted(model), 3, 4, dtype=dtype)


def test_initializers_listed_as_inputs_before_ir_4() -> None:
    model = onnx.parser.parse_model(
        model_at(10, "(float[3, 4] x) => (float[5, 4] y) { y = Pad<pads = [1, 0, 1, 0]>(x) }", ir_version=3)
    )
    after = converted(model)

    assert {tensor.name for tensor in after.graph.initializer} <= {value.name for value in after.graph.input}
    agree(model, after, 3, 4)


# ---------------------------------------------------------------------------------------------------- bodies and names


BODIES = """(float[2, 3] x, bool take) => (float[A, B, C] y) {
    y = If<
        then_branch = t () => (float[A, B, C] then_y) { a = Unsqueeze<axes = [0]>(x) then_y = Softmax<axis = 2>(a) },
        else_branch = e () => (float[A, B, C] else_y) { b = Unsqueeze<axes = [2]>(x) else_y = Neg(b) }
    >(take)
}"""


def test_bodies_are_converted() -> None:
    model = parse(model_at(11, BODIES))
    after = converted(model)
    branches = {attribute.name: attribute.g for attribute in after.graph.node[0].attribute}

    assert [node.op_type for node in branches["then_branch"].node if node.op_type != "Constant"] == [
        "Unsqueeze",
        "Softmax",
    ]
    for branch in branches.values():
        (unsqueeze,) = [node for node in branch.node if node.op_type == "Unsqueeze"]
        assert not unsqueeze.attribute
        assert len(unsqueeze.input) == 2
    for take in (True, False):
        feed = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "take": np.array(take)}
        assert same(run(model, [feed])[0]["y"], run(after, [feed])[0]["y"])


def test_new_names_collide_with_none() -> None:
    model = parse(
        model_at(
            11,
            """(float[2, 3] x, bool take) => (float[A, B, C] y, float[C, D] z_axes) {
                _v_4 = Relu(x) z_axes = Neg(_v_4) y_axes = Abs(_v_4) z = Unsqueeze<axes = [0]>(y_axes)
                y = If<
                    then_branch = t () => (float[A, B, C] p) { p = Unsqueeze<axes = [0]>(_v_4) },
                    else_branch = e () => (float[A, B, C] q) { q = Identity(z) }
                >(take)
            }""",
        )
    )
    after = converted(model)
    for take in (True, False):
        feed = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "take": np.array(take)}
        for name, value in run(model, [feed])[0].items():
            assert same(value, run(after, [feed])[0][name])


# ---------------------------------------------------------------------------------------------------- verification


def test_shape_arithmetic_that_is_rewritten_leads_to_an_operator_that_stays() -> None:
    model = parse(
        model_at(
            11,
            """(float[N, 6] x) => (float[A, B, C] y) <int64 one = {1}, int64[1] rest = {-1}, int64[1] two = {2}> {
                shape = Shape(x) width = Gather(shape, one) list = Unsqueeze<axes = [0]>(width)
                half = Div(list, two) target = Concat<axis = 0>(rest, two, half) cube = Reshape(x, target)
                y = ReduceSum<axes = [1]>(cube)
            }""",
        )
    )
    agree(model, converted(model), 4, 6)


def test_operator_that_means_something_else_is_rejected() -> None:
    @dataclass(frozen=True)
    class OnlyTheNumber(onnxfuse.ModelPass):
        name: ClassVar[str] = "only-the-number"
        numerics: ClassVar[onnxfuse.Numerics] = onnxfuse.Numerics.ROUNDING

        def change(self, model: ir.Model, facts: onnxfuse.Facts) -> ir.Model:
            model.graph.opset_imports[""] = 13
            return model

    # Over dims of 1 alone both versions of Hardmax do the same: that says nothing of the second one.
    model = parse(
        model_at(
            11,
            """(float[N, 4, 1] x, float[N, 4, 3] z) => (float[N, 4, 1] y, float[N, 4, 3] w)
            { y = Hardmax<axis = 1>(x) w = Hardmax<axis = 1>(z) }""",
        )
    )
    result = onnxfuse.apply(model, OnlyTheNumber(), verify="region")

    assert not result.report.modified
    (rejected,) = result.report.rejected
    assert "Hardmax" in rejected.reason

"""Passes that make whole models: what they changed is put in region by region."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxfuse
from tests.pipeline.edited import BRANCHES, FUNCTIONS, Edited, chain, drop, lossy, parsed


def test_what_a_tool_loses_stays() -> None:
    model = chain()
    result, report = onnxfuse.apply(model, Edited(lossy))
    assert not report.modified
    assert result.SerializeToString() == model.SerializeToString()


def test_only_what_changed_is_taken() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        lossy(proto)
        drop(proto, "n0", "n2")

    model = chain()
    result, report = onnxfuse.apply(model, Edited(edit))
    assert [node.op_type for node in result.graph.node] == ["Mul", "Relu", "Add"]
    assert [outcome.removed for outcome in report.applied] == [
        (("n0", "Identity"), ("n1", "Mul")),
        (("n2", "Identity"), ("n3", "Relu")),
    ]
    # The Add is as it came, the rest of the model too.
    assert result.graph.node[2].SerializeToString() == model.graph.node[4].SerializeToString()
    assert result.metadata_props == model.metadata_props
    assert [tensor.name for tensor in result.graph.initializer] == ["w", "unused"]
    relu = result.graph.node[1]
    assert relu.name == "n3"
    assert relu.doc_string == "the third"
    assert {entry.key: entry.value for entry in relu.metadata_props} == {"layer": "3", "onnxfuse.pass": "edited"}
    assert report.verdict is not None
    assert report.verdict.equivalent


def test_a_second_run_changes_nothing() -> None:
    once = onnxfuse.apply(chain(), Edited(lambda proto: drop(proto, "n0"))).model
    again = onnxfuse.apply(once, Edited(lossy))
    assert not again.report.modified


@pytest.mark.parametrize("between", [0, 5])
def test_what_a_region_cannot_tell_for_itself_what_is_before_it_does(between: int) -> None:
    # Behind a Softmax a Relu does nothing: but for itself it does. Where the Softmax is far, the whole model tells.
    steps = "".join(f"a{index + 1} = Sqrt(a{index})\n" for index in range(between))
    model = parsed(f"""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2, 4] x) => (float[2, 4] y) {{
            a0 = Softmax(x)
            {steps.replace("Sqrt", "Identity")}
            b = Relu(a{between})
            y = Neg(b)
        }}
    """)
    result, report = onnxfuse.apply(model, Edited(lambda proto: drop(proto, f"n{between + 1}")))
    assert "Relu" not in [node.op_type for node in result.graph.node]
    assert ("the whole model is equivalent" in report.applied[0].evidence) == bool(between)


def test_one_of_two_equal_computations_is_enough() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.node[2].input[0] = "s"
        del proto.graph.node[1]

    model = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[A, B] x) => (int64[2] y) { s = Shape(x) t = Shape(x) u = Neg(t) y = Add(s, u) }
    """)
    result, report = onnxfuse.apply(model, Edited(edit))
    assert [node.op_type for node in result.graph.node] == ["Shape", "Neg", "Add"]
    assert [outcome.grade for outcome in report.applied] == ["exact-for-all-shapes"]


def test_a_folded_constant_takes_the_place_of_what_computed_it() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        del proto.graph.node[:2]
        proto.graph.initializer.append(numpy_helper.from_array(np.array([3, 5], dtype=np.float32), "t"))
        for tensor in list(proto.graph.initializer)[:2]:
            proto.graph.initializer.remove(tensor)

    model = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x) => (float[2] y) <float[2] p = {1, 2}, float[2] q = {2, 3}> {
            s = Identity(p)
            t = Add(s, q)
            y = Mul(x, t)
        }
    """)
    result, _ = onnxfuse.apply(model, Edited(edit))
    onnx.checker.check_model(result, full_check=True)
    assert [node.op_type for node in result.graph.node] == ["Mul"]
    assert [tensor.name for tensor in result.graph.initializer] == ["t"]


def test_new_weights_get_the_name_that_becomes_free() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([2, 4], dtype=np.float32), "w"))
        proto.graph.node[0].output[0] = "y"
        del proto.graph.node[1]

    model = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
            t = Mul(x, w)
            y = Add(t, t)
        }
    """)
    result, _ = onnxfuse.apply(model, Edited(edit))
    assert [(node.name, list(node.input), list(node.output)) for node in result.graph.node] == [
        ("n0", ["x", "w"], ["y"])
    ]
    assert [tensor.name for tensor in result.graph.initializer] == ["w"]


def test_a_change_in_a_body_is_put_into_the_body() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        body = proto.graph.node[1].attribute[0].g
        body.node[1].input[0] = "r"
        del body.node[0]
        # As graphsurgeon does it: what a body captures of the initializers moves into it.
        body.initializer.append(proto.graph.initializer.pop())

    model = parsed(BRANCHES)
    model.graph.node[1].metadata_props.add(key="kept", value="yes")
    model.graph.node[1].attribute[1].g.node[0].doc_string = "kept"
    result, report = onnxfuse.apply(model, Edited(edit))
    assert [outcome.at.scope for outcome in report.applied] == [("n1",)]
    branch = result.graph.node[1]
    assert [node.op_type for node in branch.attribute[0].g.node] == ["Mul"]
    assert not branch.attribute[0].g.initializer
    assert branch.attribute[1].SerializeToString() == model.graph.node[1].attribute[1].SerializeToString()
    assert branch.metadata_props == model.graph.node[1].metadata_props


def test_a_body_that_needs_what_is_new_around_it_goes_with_its_node() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        # The branch reads a value that is not in the old model.
        proto.graph.node.insert(1, helper.make_node("Mul", ["r", "w"], ["fresh"], name="new"))
        body = proto.graph.node[2].attribute[0].g
        del body.node[0]
        body.node[0].CopyFrom(helper.make_node("Identity", ["fresh"], ["u"]))

    result, report = onnxfuse.apply(parsed(BRANCHES), Edited(edit))
    onnx.checker.check_model(result)
    assert [node.op_type for node in result.graph.node] == ["Relu", "Mul", "If"]
    assert "the whole model is equivalent" in report.applied[0].evidence
    assert report.verdict is not None
    assert report.verdict.equivalent


def test_a_change_in_a_function() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        function = proto.functions[0]
        function.node[1].input[0] = "a"
        del function.node[0]

    result, report = onnxfuse.apply(parsed(FUNCTIONS), Edited(edit))
    assert [node.op_type for node in result.functions[0].node] == ["Add"]
    assert [outcome.at.scope for outcome in report.applied] == [("f.twice",)]


def test_a_function_that_the_tool_lost_stays_as_long_as_it_is_called() -> None:
    model = parsed(FUNCTIONS)
    result, report = onnxfuse.apply(model, Edited(lambda proto: proto.ClearField("functions")))
    assert not report.modified
    assert result.functions == model.functions


def test_an_inlined_function_goes() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        del proto.functions[:]
        proto.graph.node[0].CopyFrom(helper.make_node("Add", ["x", "x"], ["t"], name="n0"))

    result, report = onnxfuse.apply(parsed(FUNCTIONS), Edited(edit))
    assert report.modified
    assert not result.functions
    assert [node.op_type for node in result.graph.node] == ["Add", "Relu"]


def test_another_opset_is_verified_operator_by_operator() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = 13

    text = """
        <ir_version: 7, opset_import: ["": 12]>
        g (float[2, 3, 4] x) => (float[2, 3, 4] y) { t = Relu(x) y = Softmax%s(t) }
    """
    right, report = onnxfuse.apply(parsed(text % "<axis = -1>"), Edited(edit))
    assert right.opset_import[0].version == 13
    assert "2 nodes whose operators are defined anew" in report.applied[0].evidence
    model = parsed(text % "<axis = 1>")
    wrong, report = onnxfuse.apply(model, Edited(edit))
    assert "Softmax n1" in report.rejected[0].reason
    assert wrong.SerializeToString() == model.SerializeToString()


def test_an_input_that_the_tool_dropped_stays() -> None:
    model = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x, float[3] z) => (float[2] y) { s = Shape(z) t = Size(z) y = Relu(x) }
    """)

    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.input.pop()
        del proto.graph.node[:2]

    result, report = onnxfuse.apply(model, Edited(edit))
    assert [value.name for value in result.graph.input] == ["x", "z"]
    assert [node.op_type for node in result.graph.node] == ["Relu"]
    assert report.applied[0].evidence == "nothing reads what they compute"


def test_outputs_of_a_body_are_told_apart_by_place() -> None:
    text = """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x, bool c) => (float[2] y, float[2] z) <float[1] two = {2}, float[1] three = {3}> {
            y, z = If (c) <
                then_branch = t () => (float[2] %s, float[2] %s) { %s },
                else_branch = e () => (float[2] r, float[2] s) { r = Neg(x) s = Abs(x) }
            >
        }
    """
    before = parsed(text % ("p", "q", "p = Mul(x, two) q = Mul(x, three)"))
    after = parsed(text % ("q", "p", "q = Add(x, x) p = Add(q, x)"))
    for level in ("off", "region"):
        result, report = onnxfuse.apply(before, Edited(lambda _: after), verify=level)
        assert report.modified
        assert onnxfuse.verify(before, result).equivalent


def test_what_a_body_defines_does_not_hide_what_it_reads() -> None:
    before = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x, bool c) => (float[2] y) <float[1] three = {3}> { t = Relu(x) y = Mul(t, three) }
    """)
    after = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x, bool c) => (float[2] y) {
            u = Relu(x)
            y = If (c) <
                then_branch = a () => (float[2] o) { t = Add(u, u) o = Add(t, u) },
                else_branch = b () => (float[2] p) { s = Add(u, u) p = Add(s, u) }
            >
        }
    """)
    result, report = onnxfuse.apply(before, Edited(lambda _: after))
    assert report.modified
    onnx.checker.check_model(result)


def test_nothing_is_compared_where_verification_is_off() -> None:
    wrong = Edited(lambda proto: setattr(proto.graph.node[3], "op_type", "Abs"))
    result, report = onnxfuse.apply(chain(), wrong, verify="off")
    assert result.graph.node[3].op_type == "Abs"
    assert [outcome.grade for outcome in report.applied] == ["not-run"]

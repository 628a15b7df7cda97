from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.verification.custom_ops import Cut, cut
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import Evaluator
from onnxfuse.verification.model import check_models
from onnxfuse.verification.verdict import Verdict

HEADER = '<ir_version: 10, opset_import: ["" : 21, "my.custom" : 1, "f" : 1]>\n'
BEFORE = """g (float[N,4] x) => (float[N,4] y) <float[N,4] c, float[N,4] d> {
    a = Neg(x)
    b = Neg(a)
    c = my.custom.Warp <radius = 3> (b, x)
    d = my.custom.Warp <radius = 3> (c, a)
    y = Add(d, x)
}"""


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER + text)


def cut_of(before: str, after: str) -> Cut:
    found = cut(EvalModel(parse(before)), EvalModel(parse(after)))
    assert isinstance(found, Cut), found
    return found


def compared(before: str, after: str) -> Verdict:
    """What the whole-model check says of the two models without their custom operators."""
    found = cut_of(before, after)
    return check_models(found.a, found.b, families="full")


def test_what_custom_operators_read_is_compared_and_what_they_give_is_drawn() -> None:
    found = cut_of(BEFORE, BEFORE.replace("b = Neg(a)", "b = Identity(x)"))
    assert found.inputs == ("custom op my.custom::Warp output 0", "custom op my.custom::Warp (2) output 0")
    assert found.outputs == (
        "custom op my.custom::Warp input 0",
        "custom op my.custom::Warp input 1",
        "custom op my.custom::Warp (2) input 0",
        "custom op my.custom::Warp (2) input 1",
    )
    assert "is left out: what it reads is compared, what it gives is drawn" in found.notes[0]
    for model in (found.a, found.b):
        evaluator = Evaluator(model.proto, isolated=True)
        assert evaluator.input_names == ["x", *found.inputs]
        assert evaluator.output_names == ["y", *found.outputs]
        x, c, d = (np.full((1, 4), value, np.float32) for value in (1, 2, 3))
        results = evaluator.run({"x": x, found.inputs[0]: c, found.inputs[1]: d})
        assert [result[0, 0] for result in results] == [4, 1, 1, 2, -1]


def test_models_stay_as_they_were_and_without_custom_operators_nothing_is_cut() -> None:
    model = parse(BEFORE)
    serialized = model.SerializeToString()
    cut(EvalModel(model), EvalModel(model))
    assert model.SerializeToString() == serialized
    plain = EvalModel(parse("g (float[N] x) => (float[N] y) { y = Neg(x) }"))
    assert cut(plain, plain) == Cut(plain, plain)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("b = Neg(a)", "b = Identity(x)"),
        ("a = Neg(x)\n    b = Neg(a)", "b = Identity(x)\n    a = Neg(x)"),
        # Other names; the order of the two cannot change here.
        ("c = my.custom.Warp <radius = 3> (b, x)\n    d = my.custom.Warp <radius = 3> (c, a)",
         "e = my.custom.Warp <radius = 3> (b, x)\n    d = my.custom.Warp <radius = 3> (e, a)"),
    ],
)  # fmt: skip
def test_right_rewrites_around_custom_operators_are_equivalent(old: str, new: str) -> None:
    assert old in BEFORE
    verdict = compared(BEFORE, BEFORE.replace(old, new))
    assert verdict.equivalent, verdict.explain()


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        ("b = Neg(a)", "b = Abs(a)", "custom op my.custom::Warp input 0"),
        ("(b, x)", "(x, a)", "custom op my.custom::Warp input 1"),
        ("y = Add(d, x)", "y = Add(d, c)", "y"),
        ("y = Add(d, x)", "y = Add(c, x)", "y"),
        ("<radius = 3> (c, a)", "<radius = 4> (c, a)", "y"),
        ("Warp <radius = 3> (c, a)", "Other <radius = 3> (c, a)", "y"),
        ("d = my.custom.Warp <radius = 3> (c, a)", "d = Identity(c)", "y"),
    ],
)
def test_wrong_rewrites_around_custom_operators_are_different(old: str, new: str, output: str) -> None:
    assert old in BEFORE
    verdict = compared(BEFORE, BEFORE.replace(old, new))
    different = [one.name for one in verdict.outputs if one.status.value == "different"]
    assert output in different, verdict.explain()


def test_custom_operators_in_another_order_are_paired_by_what_they_compute() -> None:
    text = """g (float[4] x) => (float[4] y) <float[4] a, float[4] b> {{
        n = Neg(x)
        {first}
        {second}
        y = Sub(a, b)
    }}"""
    first, second = "a = my.custom.Warp(x)", "b = my.custom.Warp(n)"
    for other in (second, second.replace("b =", "k =")):
        after = text.format(first=other, second=first).replace("(a, b)", f"(a, {other[0]})")
        verdict = compared(text.format(first=first, second=second), after)
        assert verdict.equivalent, verdict.explain()
    swapped = text.format(first=first.replace("(x)", "(n)"), second=second.replace("(n)", "(x)"))
    assert not compared(text.format(first=first, second=second), swapped).equivalent


def test_a_custom_operator_that_nobody_reads_may_go() -> None:
    text = "g (float[4] x) => (float[4] y) { t = my.custom.Warp(x) y = Neg(x) }"
    verdict = compared(text, text.replace("t = my.custom.Warp(x)", ""))
    assert verdict.equivalent, verdict.explain()


def test_custom_results_that_are_outputs_or_read_in_bodies_keep_their_names() -> None:
    text = """g (bool p, float[4] x) => (float[4] c, float[4] y) {
        c = my.custom.Warp(x)
        y = If (p) <then_branch = t () => (float[4] u) { u = Neg(c) }, else_branch = e () => (float[4] v) { v = Abs(c) }>
    }"""
    found = cut_of(text, text)
    results = Evaluator(found.a.proto, isolated=True).run(
        {"p": np.array(True), "x": np.ones(4, np.float32), found.inputs[0]: np.full(4, 2, np.float32)}
    )
    assert [result[0] for result in results] == [2, -2, 1]
    assert not compared(text, text.replace("Abs(c)", "Neg(c)")).equivalent


def test_a_node_is_cut_whole_where_something_in_it_is_custom() -> None:
    text = """g (bool p, float[4] x) => (float[4] y) <float[4] t, float[4] h> {
        a = Neg(x)
        t = If (p) <then_branch = t () => (float[4] u) { u = my.custom.Warp(a) },
                    else_branch = e () => (float[4] v) { v = Abs(x) }>
        h = f.Half(t)
        y = Neg(h)
    }
    <domain: "f", opset_import: ["" : 21, "my.custom" : 1]> Half (x) => (y) { y = my.custom.Half(x) }
    <domain: "g", opset_import: ["" : 21]> Other (x) => (y) { y = Neg(x) }"""
    found = cut_of(text, text)
    assert len(found.inputs) == 2
    # The If reads its condition, a and x; the function what it is given.
    assert len(found.outputs) == 4
    assert not found.a.proto.functions
    assert {node.op_type for node in found.a.proto.graph.node} == {"Neg", "Identity"}
    assert not compared(text, text.replace("a = Neg(x)", "a = Abs(x)")).equivalent
    assert not compared(text, text.replace("my.custom.Half(x)", "my.custom.Third(x)")).equivalent


def test_operators_that_a_runtime_or_the_model_knows_are_not_cut() -> None:
    header = HEADER.replace('"f" : 1', '"f" : 1, "com.microsoft" : 1, "ai.onnx.ml" : 3')
    text = """g (float[4] x) => (float[4] y, float[4] z, float[4] w) {
        y = com.microsoft.Gelu(x) z = f.Half(x) w = ai.onnx.ml.Binarizer(x)
    }
    <domain: "f", opset_import: ["" : 21]> Half (x) => (y) { y = Neg(x) }"""
    model = EvalModel(onnx.parser.parse_model(header + text))
    assert cut(model, model) == Cut(model, model)


def test_a_result_of_unknown_type_is_declined_with_its_name() -> None:
    text = "g (float[4] x) => (float[4] y) { c = my.custom.Warp(x) y = Neg(c) }"
    found = cut(EvalModel(parse(text)), EvalModel(parse(text)))
    expected = (
        "custom op my.custom::Warp cannot be left out: the model does not say of which type and shape c is; "
        "declare that, or load a library with the operator"
    )
    assert found == expected
    # What one of the two models declares is enough.
    declared = text.replace("{", "<float[4] c> {", 1)
    assert compared(text, declared).equivalent
    assert compared(declared, text).equivalent


def test_weights_go_along() -> None:
    text = "g (float[2] x) => (float[2] y) <float[2] c> { a = Add(x, w) c = my.custom.Warp(a, w) y = Neg(c) }"
    models = []
    for last in (2, 2, 3):
        model = parse(text)
        model.graph.initializer.append(onnx.TensorProto(name="w", dims=[2], data_type=onnx.TensorProto.FLOAT))
        models.append(EvalModel(model, {"w": np.array([1, last], np.float32)}))
    for other, equivalent in ((models[1], True), (models[2], False)):
        found = cut(models[0], other)
        assert isinstance(found, Cut)
        assert check_models(found.a, found.b, families="full").equivalent is equivalent

"""What values and nodes are called after a rewrite."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxfuse import Builder, Facts, Match
from tests.passes.running import assert_same_results
from tests.rewriting.rules import SPLIT, MergeNegs, Replace, nodes, read, rewrite


def test_new_names_derive_from_the_last_node() -> None:
    run = rewrite("g (float[N] x) => (float[N] y) { [neg] y = Neg(x) }", SPLIT, verify="structure")

    assert nodes(run.model) == [
        ("neg", "Mul", "x", "neg_minus", "neg_Mul_output_0"),
        ("neg_Mul", "Mul", "neg_Mul_output_0", "neg_one", "y"),
    ]
    assert [tensor.name for tensor in run.model.graph.initializer] == ["neg_minus", "neg_one"]


def test_name_of_the_last_node_goes_to_one_of_its_kind() -> None:
    def between(match: Match, build: Builder) -> list[ir.Value]:
        first = build.op("Abs", build.op("Abs", match.inputs[0]))
        return [build.op("Neg", build.op("Neg", build.op("Neg", first)))]

    text = "g (float[N] x) => (float[N] y) { [neg] y = Neg(x) }"
    run = rewrite(text, Replace("Neg", between, _negs_of_inputs), verify="structure")

    assert nodes(run.model) == [
        ("neg_Abs_1", "Abs", "x", "neg_Abs_output_0"),
        ("neg_Abs", "Abs", "neg_Abs_output_0", "neg_Abs_output_0_1"),
        ("neg", "Neg", "neg_Abs_output_0_1", "neg_Neg_output_0"),
        ("neg_Neg", "Neg", "neg_Neg_output_0", "neg_Neg_output_0_1"),
        ("neg_Neg_1", "Neg", "neg_Neg_output_0_1", "y"),
    ]


def _negs_of_inputs(node: ir.Node, facts: Facts) -> Match | None:
    return facts.region(node) if node.inputs[0] is not None and node.inputs[0].is_graph_input() else None


def test_new_names_are_unique() -> None:
    model = read(
        """g (float[N] x, float neg_one) => (float[N] y, float[N] w, float[N] neg_one_1) <float neg_minus = {7}> {
            [neg_Mul] neg_Mul_output_0 = Mul(x, neg_minus)
            [other] w = Relu(neg_Mul_output_0)
            [third] neg_one_1 = Add(x, neg_one)
            [neg] y = Neg(x)
        }"""
    )
    run = rewrite(model, SPLIT, verify="structure")

    values = [value for node in run.model.graph.node for value in node.output]
    values += [value.name for value in run.model.graph.input] + [t.name for t in run.model.graph.initializer]
    assert len(set(values)) == len(values)
    names = [node.name for node in run.model.graph.node]
    assert len(set(names)) == len(names)
    assert {"neg_minus_1", "neg_one_2"} <= set(values)
    onnx.checker.check_model(run.model, full_check=True)
    assert_same_results(model, run.model, sign_of_nan=False)


def test_new_names_are_unique_across_bodies_and_functions() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
        g (float[N] x, bool take) => (float[N] y, float[N] z, float[N] w) {
            [if] y = If(take) <
                then_branch = t () => (float[N] a) <float neg_minus = {3}> { [neg_Mul] a = Mul(x, neg_minus) },
                else_branch = e () => (float[N] b) { [neg] b = Neg(x) }
            >
            [neg] z = Neg(x)
            w = local.example.Twice(x)
        }
        <domain: "local.example", opset_import: ["": 17]>
        Twice (x) => (y) { [neg] neg_one = Neg(x) [two] y = Neg(neg_one) }"""
    )
    run = rewrite(model, SPLIT, verify="structure")

    assert len(run.one.applied) == 4
    onnx.checker.check_model(run.model, full_check=True)
    inner = {t.name for a in run.model.graph.node[0].attribute for t in a.g.initializer}
    outer = {tensor.name for tensor in run.model.graph.initializer}
    assert inner.isdisjoint(outer)
    assert "neg_minus" not in outer
    assert_same_results(model, run.model, sign_of_nan=False)


def test_new_names_are_stable() -> None:
    text = "g (float[N] x) => (float[N] y, float[N] w) { w = Relu(x) [neg] y = Neg(x) }"
    other = "g (float[N] x) => (float[N] y, float[N] w) { more = Exp(x) w = Relu(more) [neg] y = Neg(x) }"
    first, second, third = (rewrite(each, SPLIT, verify="structure") for each in (text, text, other))

    assert first.data == second.data
    assert nodes(first.model)[1:] == nodes(third.model)[2:]


def test_node_without_a_name_lends_its_outputs() -> None:
    run = rewrite("g (float[N] x) => (float[N] y) { y = Neg(x) }", SPLIT, verify="structure")

    assert nodes(run.model) == [
        ("y_Mul", "Mul", "x", "y_minus", "y_Mul_output_0"),
        ("y_Mul_1", "Mul", "y_Mul_output_0", "y_one", "y"),
    ]


def test_consumers_read_what_they_read() -> None:
    text = "g (float[N] x) => (float[N] y, float[N] z) { [neg] a = Neg(x) [one] y = Relu(a) [two] z = Exp(a) }"
    run = rewrite(text, SPLIT, verify="structure")
    before = read(text)

    assert run.report.renamed_values == {}
    assert list(run.model.graph.node)[2:] == list(before.graph.node)[1:]


def test_output_keeps_its_name_and_the_value_before_gives_its_own_up() -> None:
    text = """g (float[N] x) => (float[N] y) {
        [relu] a = Relu(x)
        [one] b = Neg(a)
        [two] y = Neg(b)
    }"""
    run = rewrite(text, MergeNegs())

    assert nodes(run.model) == [("relu", "Relu", "x", "y")]
    assert run.report.renamed_values == {"a": "y", "b": None}
    (applied,) = run.one.applied
    assert applied.removed == (("one", "Neg"), ("two", "Neg"))
    assert applied.added == ()
    assert applied.nodes == {"one": (), "two": ()}


def test_renamed_values_follow_several_rewrites() -> None:
    text = "g (float[N] x) => (float[N] y) { a = Relu(x) b = Neg(a) c = Neg(b) d = Neg(c) e = Neg(d) y = Exp(e) }"
    run = rewrite(text, MergeNegs())

    assert nodes(run.model) == [("", "Relu", "x", "a"), ("", "Exp", "a", "y")]
    assert run.report.renamed_values == {"b": None, "c": "a", "d": None, "e": "a"}


def test_renamed_value_that_is_renamed_again() -> None:
    text = """g (float[N] x) => (float[N] y) {
        a = Relu(x)
        b = Neg(a) c = Neg(b)
        d = Neg(c) y = Neg(d)
    }"""
    run = rewrite(text, MergeNegs())

    assert run.ops == ["Relu"]
    assert run.report.renamed_values == {"a": "y", "b": None, "c": "y", "d": None}

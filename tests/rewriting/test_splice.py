"""What a rewrite leaves in the model: its interface, its metadata, and all that it did not touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse import Builder, Facts, Match
from tests.passes.running import assert_same_results
from tests.rewriting.rules import MergeNegs, Replace, as_product, nodes, read, rewrite

# ---------------------------------------------------------------------------------------------------- Identity


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("g (float[N] x) => (float[N] y) { [one] a = Neg(x) [two] y = Neg(a) }", ["Identity"]),
        (
            "g (float[N] x) => (float[N] y, float[N] r) { r = Relu(x) [one] a = Neg(r) [two] y = Neg(a) }",
            ["Relu", "Identity"],
        ),
        ("g () => (float[2] y) <float[2] x = {1, 2}> { [one] a = Neg(x) [two] y = Neg(a) }", ["Identity"]),
    ],
    ids=["input-output", "output-output", "initializer-output"],
)
def test_identity_stands_between_two_names_that_must_survive(text: str, kept: list[str]) -> None:
    run = rewrite(text, MergeNegs())

    assert run.ops == kept
    assert run.model.graph.node[-1].name == "two"
    assert list(run.model.graph.output) == list(read(text).graph.output)
    (applied,) = run.one.applied
    assert applied.added == (("two", "Identity"),)
    assert applied.nodes == {"one": ("two",), "two": ("two",)}
    assert run.report.renamed_values == {"a": None}
    onnx.checker.check_model(run.model, full_check=True)
    assert_same_results(read(text), run.model)


def test_identity_stands_between_a_captured_value_and_a_body_output() -> None:
    text = """g (float[N] x, bool take) => (float[N] y) {
        r = Relu(x)
        [if] y = If(take) <
            then_branch = t () => (float[N] a) { h = Neg(r) [two] a = Neg(h) },
            else_branch = e () => (float[N] b) { i = Neg(r) j = Exp(i) k = Neg(j) l = Neg(k) b = Exp(l) }
        >
    }"""
    run = rewrite(text, MergeNegs())
    branches = {attribute.name: attribute.g for attribute in run.model.graph.node[1].attribute}

    assert [(n.op_type, *n.input, *n.output) for n in branches["then_branch"].node] == [("Identity", "r", "a")]
    assert [n.op_type for n in branches["else_branch"].node] == ["Neg", "Exp", "Exp"]
    onnx.checker.check_model(run.model, full_check=True)
    assert_same_results(read(text), run.model)


def test_one_value_for_two_outputs() -> None:
    text = "g (float[N, 4] x) => (float[N, 2] y, float[N, 2] z) { [at] y, z = Split<axis = 1, num_outputs = 2>(x) }"

    def build(match: Match, build: Builder) -> Sequence[ir.Value]:
        bounds = [build.constant(np.array([number])) for number in (0, 2, 1)]
        minus = build.op("Slice", match.inputs[0], *bounds)
        return [minus, minus]

    run = rewrite(f'<ir_version: 8, opset_import: ["": 18]> {text}', Replace("Split", build), verify="structure")

    assert [value.name for value in run.model.graph.output] == ["y", "z"]
    assert sorted(run.ops) == ["Identity", "Slice"]
    onnx.checker.check_model(run.model, full_check=True)


def test_region_with_two_outputs_keeps_the_order_of_the_graph() -> None:
    text = """g (float[N, 4] x) => (float[N, 2] y, float[N, 2] z) <int64[2] sizes = {2, 2}> {
        [at] a, b = Split<axis = 1>(x, sizes)
        y = Neg(a)
        z = Relu(b)
    }"""

    def build(match: Match, build: Builder) -> Sequence[ir.Value]:
        axis = build.constant(np.array([1]), name="axis")
        cuts = [build.constant(np.array([number]), name=f"at{number}") for number in (0, 2, 4)]
        return [build.op("Slice", match.inputs[0], cuts[i], cuts[i + 1], axis) for i in range(2)]

    run = rewrite(text, Replace("Split", build))

    assert run.ops == ["Slice", "Slice", "Neg", "Relu"]
    assert [list(node.output) for node in run.model.graph.node[:2]] == [["a"], ["b"]]
    assert run.one.applied[0].grade in ("value-tested", "exact-for-all-shapes")
    onnx.checker.check_model(run.model, full_check=True)
    assert_same_results(read(text), run.model)


# ---------------------------------------------------------------------------------------------------- metadata


def test_metadata_of_all_replaced_nodes_is_on_the_new_ones() -> None:
    model = read("g (float[N] x) => (float[N] y) { [one] a = Relu(x) [two] b = Relu(a) y = Neg(b) }")
    one, two = model.graph.node[0], model.graph.node[1]
    one.metadata_props.add(key="module", value="first")
    one.metadata_props.add(key="only", value="in the first")
    one.doc_string = "of the first"
    two.metadata_props.add(key="module", value="second")
    info = model.graph.value_info.add(name="b", doc_string="of the value")
    info.type.CopyFrom(model.graph.input[0].type)
    info.metadata_props.add(key="value", value="kept")

    def find(node: ir.Node, facts: Facts) -> Match | None:
        before = facts.producer(node.inputs[0], "Relu")
        return None if before is None else facts.region(before, node)

    run = rewrite(model, Replace("Relu", lambda match, build: [build.op("Relu", match.inputs[0])], find))
    node = run.model.graph.node[0]

    assert {entry.key: entry.value for entry in node.metadata_props} == {
        "module": "second",
        "only": "in the first",
        "onnxfuse.pass": "replace{op-type=Relu}",
    }
    assert node.doc_string == "of the first"
    assert list(run.model.graph.value_info) == [info]


def test_graph_output_keeps_what_is_declared_of_it() -> None:
    model = read("g (float[N, 4] x) => (float[N, 4] y) { r = Relu(x) a = Neg(r) y = Neg(a) }")
    output = model.graph.output[0]
    output.doc_string = "the logits"
    output.metadata_props.add(key="unit", value="nat")
    before = output.SerializeToString()
    run = rewrite(model, MergeNegs())

    assert run.ops == ["Relu"]
    assert run.model.graph.output[0].SerializeToString() == before


def test_metadata_of_a_value_that_is_renamed_is_kept_beside() -> None:
    model = read("g (float[N] x) => (float[N] y) { r = Relu(x) a = Neg(r) y = Neg(a) z = Exp(r) }")
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N"]))
    info = model.graph.value_info.add(name="r")
    info.type.CopyFrom(model.graph.input[0].type)
    info.metadata_props.add(key="range", value="0..1")
    run = rewrite(model, MergeNegs())

    assert nodes(run.model) == [("", "Relu", "x", "y"), ("", "Exp", "y", "z")]
    assert [value.name for value in run.model.graph.value_info] == []
    onnx.checker.check_model(run.model, full_check=True)


# ---------------------------------------------------------------------------------------------------- the rest


def test_all_that_is_not_touched_stays_byte_for_byte() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "com.example": 2], producer_name: "someone", model_version: 7,
            doc_string: "a model", metadata_props: ["key": "value"]>
        g (float[N] x) => (float[N] y, float[N] z) <float[2] w = {1, 2}, float idle = {3}> {
            [custom] c = com.example.Do<depth = 3, mode = "fast">(x)
            [unused] u = Exp(x)
            z = Relu(c)
            a = Neg(x)
            y = Neg(a)
        }"""
    )
    model.graph.doc_string = "a graph"
    model.graph.node[0].doc_string = "a node"
    model.graph.node[0].metadata_props.add(key="scope", value="model/custom")
    model.graph.value_info.add(name="c", doc_string="what comes out").type.CopyFrom(model.graph.input[0].type)
    run = rewrite(model, MergeNegs())
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    del expected.graph.node[3:]
    expected.graph.node.append(run.model.graph.node[-1])

    assert run.ops == ["Do", "Exp", "Relu", "Identity"]
    assert run.data == expected.SerializeToString()


def test_value_that_a_body_reads_has_a_use() -> None:
    text = """g (float[N] x, bool take) => (float[N] y, float[N] z) {
        a = Neg(x)
        [at] y = Neg(a)
        z = If(take) <
            then_branch = t () => (float[N] p) { p = Exp(a) },
            else_branch = e () => (float[N] q) { q = Identity(x) }
        >
    }"""
    run = rewrite(text, MergeNegs())

    assert [(outcome.at.node, outcome.reason) for outcome in run.one.declined] == [
        ("at", "the first Neg has another use")
    ]


def test_facts_about_uses() -> None:
    text = """g (float[N] x, bool take) => (float[N] y, float[N] b) {
        [a] a = Neg(x)
        [b] b = Neg(a)
        [c] c = Neg(b)
        [d] d = Neg(x)
        [y] y = If(take) <
            then_branch = t () => (float[N] p) { [p] p = Add(a, d) },
            else_branch = e () => (float[N] q) { [q] q = Add(c, c) }
        >
    }"""
    seen = {}

    def find(node: ir.Node, facts: Facts) -> Match | None:
        (value,) = node.outputs
        user = facts.only_user(value)
        seen[node.name] = (
            facts.use_count(value),
            facts.is_captured(value),
            facts.is_graph_output(value),
            user.name if user is not None else None,
        )
        return None

    rewrite(text, Replace("Neg", as_product, find))

    assert seen == {
        "a": (2, True, False, None),
        "b": (1, False, True, None),
        "c": (2, True, False, None),
        "d": (1, True, False, None),
    }


def test_uses_follow_the_rewrites() -> None:
    seen: list[tuple[str, int, int]] = []

    def find(node: ir.Node, facts: Facts) -> Match | None:
        for value in (*node.inputs, *node.outputs):
            assert value is not None
            seen.append((str(value.name), facts.use_count(value), len(list(value.uses()))))
        return MergeNegs().match(node, facts)

    text = """g (float[N] x) => (float[N] y, float[N] z) {
        a = Neg(x) b = Neg(a) c = Neg(b) d = Neg(c) y = Neg(d) z = Exp(b)
    }"""
    run = rewrite(text, Replace("Neg", lambda match, _: [match["data"]], find))

    assert len(run.one.applied) == 2
    assert all(counted == there for _, counted, there in seen)


def test_shapes_and_constants_are_those_of_the_model_as_it_is_now() -> None:
    seen = {}

    def find(node: ir.Node, facts: Facts) -> Match | None:
        if node.op_type == "Slice":
            seen[node.name] = facts.shape(node.inputs[0])  # type: ignore[arg-type]
            return None
        return facts.region(node)

    class Both(Replace):
        ops = frozenset({"Neg", "Slice"})

    text = """g (float[3, 4] x) => (float[A, B] y) <int64[1] s = {1}, int64[1] e = {2}> {
        a = Neg(x) [at] b = Slice(a, s, e) y = Relu(b)
    }"""
    run = rewrite(text, Both("Neg", lambda match, _: [match.inputs[0]], find), verify="structure")

    assert run.ops == ["Slice", "Relu"]
    assert seen == {"at": (3, 4)}


def test_runs_on_an_ir_model_in_place_and_on_a_copy() -> None:
    model = ir.from_proto(read("g (float[N] x) => (float[N] y) { r = Relu(x) a = Neg(r) y = Neg(a) }"))
    copy = onnxfuse.apply(model, MergeNegs()).model
    assert [node.op_type for node in model.graph] == ["Relu", "Neg", "Neg"]
    assert [node.op_type for node in copy.graph] == ["Relu"]

    outcome = MergeNegs()(model)
    assert outcome.modified
    assert outcome.model is model
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert not MergeNegs()(model).modified

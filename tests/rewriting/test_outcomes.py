"""Every candidate ends as exactly one of applied, declined, rejected and failed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse import Builder, Facts, Match
from tests.rewriting.rules import MergeNegs, Replace, read, rewrite


def test_each_candidate_has_exactly_one_outcome() -> None:
    def find(node: ir.Node, facts: Facts) -> Match | None:
        alpha = round(facts.attribute(node, "alpha", 0.01), 2)
        if alpha == 0.1:
            facts.decline("a tenth")
        if alpha == 0.3:
            raise ValueError("three tenths")
        return facts.region(node, alpha=alpha) if alpha in (0.2, 0.4, 1.0) else None

    def build(match: Match, build: Builder) -> list[ir.Value]:
        if match["alpha"] == 0.4:
            raise ValueError("four tenths")
        return [match.inputs[0] if match["alpha"] == 1.0 else build.op("LeakyRelu", match.inputs[0], alpha=0.9)]

    alphas = [1.0, 0.1, 0.2, 0.3, 0.4, 0.5] * 4
    body = " ".join(f"[n{i}] v{i + 1} = LeakyRelu<alpha = {alpha}>(v{i})" for i, alpha in enumerate(alphas))
    run = rewrite(f"g (float[N] v0) => (float[N] v{len(alphas)}) {{ {body} }}", Replace("LeakyRelu", build, find))
    outcomes = {
        kind: sorted(int(outcome.at.node[1:]) % 6 for outcome in getattr(run.one, kind))
        for kind in ("applied", "declined", "rejected", "failed")
    }

    assert outcomes == {"applied": [0] * 4, "declined": [1] * 4, "rejected": [2] * 4, "failed": [3] * 4 + [4] * 4}
    places = Counter(
        outcome.at
        for outcomes in (run.one.applied, run.one.declined, run.one.rejected, run.one.failed)
        for outcome in outcomes
    )
    assert set(places.values()) == {1}
    assert {failed.error for failed in run.one.failed} == {"ValueError: three tenths", "ValueError: four tenths"}
    assert run.report.applied == run.one.applied
    assert run.report.declined == run.one.declined
    assert run.report.rejected == run.one.rejected
    assert run.report.failed == run.one.failed


def test_answers_about_nodes_that_are_gone_are_gone() -> None:
    text = """g (float[N] x) => (float[N] y, float[N] z) {
        a = Neg(x) [b] b = Neg(a) [c] c = Neg(b) y = Relu(c) z = Relu(a)
    }"""
    run = rewrite(text, MergeNegs())

    # [b] cannot go with its first Neg, which has another use; then it goes with [c].
    assert len(run.one.applied) == 1
    assert [removed for applied in run.one.applied for removed in applied.removed] == [("b", "Neg"), ("c", "Neg")]
    assert run.one.declined == ()


def test_node_left_out_by_name_is_declined() -> None:
    text = "g (float[N] x) => (float[N] y) { [one] a = Neg(x) [two] y = Neg(a) }"
    run = rewrite(text, MergeNegs(), exclude=["one"])

    assert [(outcome.at.node, outcome.reason, outcome.culprit) for outcome in run.one.declined] == [
        ("two", "the node is left out by --except", "one")
    ]
    assert run.data == read(text).SerializeToString()


def test_node_that_onnx_ir_cannot_hold_is_declined() -> None:
    sparse = onnx.helper.make_sparse_tensor(
        onnx.helper.make_tensor("", onnx.TensorProto.FLOAT, [1], [2.5]),
        onnx.helper.make_tensor("", onnx.TensorProto.INT64, [1], [3]),
        [4],
    )
    model = read("g (float[4] x) => (float[4] y) { y = Neg(x) }")
    constant = onnx.helper.make_node("Constant", [], ["c"], name="constant", sparse_value=sparse)
    model.graph.node.append(constant)
    model.graph.output.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [4]))
    pass_ = Replace("Constant", lambda _, build: [build.constant(np.zeros(4, np.float32))])
    run = rewrite(model, pass_)

    assert [(outcome.at.node, outcome.reason) for outcome in run.one.declined] == [
        ("constant", "the node carries an attribute that onnx_ir cannot hold")
    ]
    assert run.data == model.SerializeToString()

"""A pass that raises, or builds what does not fit, fails on that candidate, and the graph is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse import Builder, Facts, Match, PassError
from onnxfuse.report.records import Place
from tests.rewriting.rules import Replace, ints, pair, read, rewrite


def fails(error: Exception) -> Any:
    def function(*_: object) -> Any:
        raise error

    return function


@pytest.mark.parametrize("where", ["match", "rewrite"])
def test_pass_that_raises_fails_on_that_candidate(where: str) -> None:
    error = KeyError("no such key")
    pass_ = Replace("Neg", fails(error)) if where == "rewrite" else Replace("Neg", fails(error), fails(error))
    run = rewrite("g (float[N] x) => (float[N] y) { a = Relu(x) [at] y = Neg(a) }", pass_)

    (failed,) = run.one.failed
    assert failed.at == Place("at", "Neg")
    assert failed.error == "KeyError: 'no such key'"
    assert "in function" in failed.traceback
    assert not run.report.modified


def test_pass_that_raises_after_building_leaves_no_uses_behind() -> None:
    def build(match: Match, build: Builder) -> list[ir.Value]:
        build.op("Relu", match["data"], build.op("Neg", match["data"]))
        raise RuntimeError("half way")

    def find(node: ir.Node, facts: Facts) -> Match | None:
        (data,) = node.inputs
        assert data is not None
        assert (facts.use_count(data), len(list(data.uses()))) == (2, 2)
        return facts.region(node, data=data)

    text = "g (float[N] x) => (float[N] y, float[N] z) { a = Relu(x) y = Neg(a) z = Neg(a) }"
    run = rewrite(text, Replace("Neg", build, find))

    assert [failed.error for failed in run.one.failed] == ["RuntimeError: half way"] * 2


def test_apply_raises_where_a_pass_failed() -> None:
    model = read("g (float[N] x) => (float[N] y) { [at] y = Neg(x) }")
    with pytest.raises(PassError, match=r"^replace\{op-type=Neg\} failed at at: ValueError: no$"):
        onnxfuse.apply(model, Replace("Neg", fails(ValueError("no"))))


def test_as_a_pass_of_onnx_ir_it_raises_and_leaves_the_model_alone() -> None:
    model = ir.from_proto(read("g (float[N] x) => (float[N] y) { [at] y = Neg(x) }"))
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(PassError, match="failed at at: ValueError: no"):
        Replace("Neg", fails(ValueError("no")))(model)

    assert ir.to_proto(model).SerializeToString() == before


def elsewhere(node: ir.Node, facts: Facts) -> Match:
    """The region, and a value of the graph that is no input of it."""
    assert isinstance(node.graph, ir.Graph)
    return facts.region(node, other=node.graph.inputs[1])


BROKEN: dict[str, tuple[Replace, str]] = {
    "no value": (Replace("Neg", lambda *_: []), "rewrite returned 0 values for 1 outputs of the region"),
    "too many values": (
        Replace("Neg", lambda match, _: [match.inputs[0]] * 2),
        "rewrite returned 2 values for 1 outputs of the region",
    ),
    "None": (Replace("Neg", lambda *_: None), "TypeError"),  # type: ignore[arg-type]
    "no value but None": (Replace("Neg", lambda *_: [None]), ""),
    "dangling input": (
        Replace("Neg", lambda match, build: [build.op("Add", match.inputs[0], match["other"])], elsewhere),
        "the new Add reads 'z', which is neither an input of the region nor new",
    ),
    "value of another place": (
        Replace("Neg", lambda match, _: [match["other"]], elsewhere),
        "the value for 'y' is neither an input of the region nor new",
    ),
    "value that nothing makes": (
        Replace("Neg", lambda *_: [ir.Value(name="ghost")]),
        "the value for 'y' is neither an input of the region nor new",
    ),
    "value of the region itself": (
        Replace("Neg", lambda match, _: [match.outputs[0]]),
        "the value for 'y' is neither an input of the region nor new",
    ),
    "reads what goes": (
        Replace("Neg", lambda match, build: [build.op("Relu", match.outputs[0])]),
        "the new Relu reads 'y', which is neither an input of the region nor new",
    ),
    "element type": (
        Replace("Neg", lambda match, build: [build.op("Cast", match.inputs[0], to=6)]),
        "the element type of 'y' would change from FLOAT to INT32",
    ),
    "rank": (
        Replace("Neg", lambda match, build: [build.op("Unsqueeze", match.inputs[0], build.constant(ints(0)))]),
        "the rank of 'y' would change from 2 to 3",
    ),
    "dim": (
        Replace("Neg", lambda match, build: [build.op("Concat", match.inputs[0], match.inputs[0], axis=1)]),
        "dim 1 of 'y' would change from 4 to 8",
    ),
    "attribute that there is not": (
        Replace("Neg", lambda match, build: [build.op("Neg", match.inputs[0], sign=1)]),
        "the new Neg is invalid: Unrecognized attribute: sign for operator Neg",
    ),
    "attribute of another type": (
        Replace("Neg", lambda match, build: [build.op("LeakyRelu", match.inputs[0], alpha="much")]),
        "the new LeakyRelu is invalid: Mismatched attribute type in ",
    ),
    "attribute that is missing": (
        Replace("Neg", lambda match, build: [build.op("Concat", match.inputs[0])]),
        "the new Concat is invalid: Required attribute 'axis' is missing.",
    ),
    "op that there is not": (
        Replace("Neg", lambda match, build: [build.op("Nge", match.inputs[0])]),
        "the new Nge is invalid: No Op registered for Nge with domain_version of 17",
    ),
    "op of a later opset": (
        Replace("Neg", lambda match, build: [build.op("Gelu", match.inputs[0])]),
        "the new Gelu is invalid: No Op registered for Gelu with domain_version of 17",
    ),
    "too many inputs": (
        Replace("Neg", lambda match, build: [build.op("Relu", match.inputs[0], match.inputs[0])]),
        "the new Relu is invalid: Node(at) with schema(::Relu:14) has ",
    ),
    "missing input": (
        Replace("Neg", lambda match, build: [build.op("Add", match.inputs[0], None)]),
        "",
    ),
    "too many outputs": (
        Replace("Neg", lambda match, build: [build.op("Relu", match.inputs[0], outputs=2)[0]]),
        "the new Relu is invalid: Node(at) with schema(::Relu:14) has ",
    ),
    "domain that is not imported": (
        Replace("Neg", lambda match, build: [build.op("Neg", match.inputs[0], domain="com.example")]),
        "the new com.example::Neg is of a domain that the model does not import",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("verify", ["structure", "region"])
def test_replacement_that_does_not_fit_fails(case: str, verify: str) -> None:
    pass_, why = BROKEN[case]
    text = "g (float[N, 4] x, float[N, 4] z) => (float[N, 4] y) { a = Add(x, z) [at] y = Neg(a) }"
    run = rewrite(text, pass_, verify=verify)

    assert run.one.applied == ()
    if why or verify == "structure":
        (failed,) = run.one.failed
        assert failed.at == Place("at", "Neg")
        assert failed.error.startswith(why)
        assert "\n" not in failed.error
    assert run.data == read(text).SerializeToString()


def test_region_with_a_body_fails() -> None:
    text = """g (float[N] x, bool take) => (float[N] y) {
        [at] y = If(take) <
            then_branch = t () => (float[N] a) { a = Identity(x) },
            else_branch = e () => (float[N] b) { b = Identity(x) }
        >
    }"""
    run = rewrite(text, Replace("If", lambda match, _: [match.inputs[0]]))

    assert [failed.error for failed in run.one.failed] == ["the region holds a node with a subgraph"]


def test_region_across_graphs_fails() -> None:
    text = """g (float[N] x, bool take) => (float[N] y) {
        h = Neg(x)
        [if] y = If(take) <
            then_branch = t () => (float[N] a) { [at] a = Neg(h) },
            else_branch = e () => (float[N] b) { b = Identity(x) }
        >
    }"""
    run = rewrite(text, Replace("Neg", lambda match, _: [match.inputs[0]], pair))

    assert [(failed.at.node, failed.error) for failed in run.one.failed] == [("at", "the region spans several graphs")]


def with_first(*, last: bool) -> Callable[[ir.Node, Facts], Match | None]:
    """Finds a node with the Neg that it reads first, given in the order of the graph or the other way round."""

    def find(node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(node.inputs[0], "Neg")
        return None if first is None else facts.region(*((node, first) if last else (first, node)))

    return find


def test_replacement_that_would_close_a_circle_fails() -> None:
    text = """g (float[N] x) => (float[N] y) {
        a = Neg(x)
        b = Relu(a)
        [at] y = Add(a, b)
    }"""

    def build(match: Match, build: Builder) -> list[ir.Value]:
        x, b = match.inputs
        return [build.op("Add", x, b), build.op("Add", x, b)]  # the first stands for a, and reads b, which reads a

    run = rewrite(text, Replace("Add", build, with_first(last=False)), verify="structure")

    assert run.one.applied == ()
    assert len(run.one.failed) == 1
    assert run.data == read(text).SerializeToString()


def test_region_given_in_any_order_stays_in_order() -> None:
    text = """g (float[N] x, float[N] z) => (float[N] y) {
        [first] a = Neg(x)
        [between] c = Relu(z)
        [at] y = Add(a, c)
    }"""

    def build(match: Match, build: Builder) -> list[ir.Value]:
        c, x = match.inputs
        return [build.op("Sub", c, x)]

    run = rewrite(text, Replace("Add", build, with_first(last=True)))

    onnx.checker.check_model(run.model, full_check=True)
    assert run.ops == ["Relu", "Sub"] or run.one.failed


def test_region_that_no_one_reads_does_not_fail() -> None:
    text = "g (float[N] x) => (float[N] y) { y = Relu(x) [unused] a = Neg(x) [at] b = Neg(a) }"
    run = rewrite(text, Replace("Neg", lambda match, _: [match.inputs[0]], pair))

    assert run.one.failed == ()
    assert run.one.rejected == ()
    onnx.checker.check_model(run.model, full_check=True)

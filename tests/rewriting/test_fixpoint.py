"""The worklist: who is asked, how often, and when it ends."""

from __future__ import annotations

import itertools
from collections import Counter

import onnx
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse import Builder, Facts, Match, PassError
from tests.rewriting.rules import MergeNegs, Replace, read, rewrite


def negs(count: int, *, start: str = "x", end: str = "y", prefix: str = "v") -> str:
    """Returns text of that many Negs in a row."""
    names = [start, *(f"{prefix}{index}" for index in range(1, count)), end]
    return " ".join(f"[n_{new}] {new} = Neg({old})" for old, new in itertools.pairwise(names))


@pytest.mark.parametrize("count", [2, 3, 8, 9, 51])
def test_rewrites_until_nothing_matches(count: int) -> None:
    run = rewrite(f"g (float[N] x) => (float[N] y) {{ {negs(count)} }}", MergeNegs())

    assert len(run.one.applied) == count // 2
    assert run.ops == ["Neg"] if count % 2 else ["Identity"]
    assert (run.one.declined, run.one.rejected, run.one.failed) == ((), (), ())
    assert [applied.index for applied in run.one.applied] == list(range(1, count // 2 + 1))


def test_what_a_rewrite_uncovers_is_asked_again() -> None:
    def find(node: ir.Node, facts: Facts) -> Match | None:
        if node.op_type == "Identity":
            return facts.region(node, data=node.inputs[0])
        return MergeNegs().match(node, facts)

    # The second Neg is asked first, and has no Neg before it until the Identity is gone.
    text = "g (float[N] x) => (float[N] y) { [one] a = Neg(x) [id] b = Identity(a) [two] c = Neg(b) y = Exp(c) }"
    run = rewrite(text, Replace("Neg Identity", lambda match, _: [match["data"]], find))

    assert run.ops == ["Exp"]
    assert [applied.at.node for applied in run.one.applied] == ["id", "two"]
    assert run.report.renamed_values == {"a": None, "b": None, "c": "x"}


def test_answer_is_replaced_when_the_question_comes_up_again() -> None:
    model = """g (float[N] x) => (float[N] y) {
        a = Neg(x)
        [middle] b = Relu(a)
        [again] c = Relu(b)
        [last] y = Neg(c)
    }"""

    def find(node: ir.Node, facts: Facts) -> Match | None:
        before = facts.producer(node.inputs[0], "Relu")
        if before is None:
            return None
        if facts.producer(before.inputs[0], "Relu") is not None:
            facts.decline("three in a row")
        return facts.region(before, node, data=before.inputs[0])

    three = model.replace("[last] y = Neg(c)", "[third] d = Relu(c) [last] y = Neg(d)")
    pass_ = Replace("Relu", lambda match, build: [build.op("Relu", match["data"])], find)
    run = rewrite(three, pass_)

    # `third` declined first; once the two before it are one, it is asked again.
    assert run.ops == ["Neg", "Relu", "Neg"]
    assert len(run.one.applied) == 2
    assert run.one.declined == ()


@pytest.mark.parametrize(
    "pass_",
    [
        Replace("Add", lambda match, build: [build.op("Add", *reversed(match.inputs))]),
        Replace("Add", lambda match, build: [build.op("Identity", build.op("Add", *match.inputs))]),
    ],
    ids=["turns", "grows"],
)
def test_pass_without_a_fixpoint_is_stopped(pass_: Replace) -> None:
    model = read("g (float[N] x, float[N] z) => (float[N] y) { [sum] y = Add(x, z) }")
    data = model.SerializeToString()

    with pytest.raises(PassError, match=r"^replace\{op-type=Add\} reaches no fixpoint: 64 rewrites, the last at "):
        onnxfuse.apply(model, pass_)

    assert model.SerializeToString() == data


def test_limit_grows_with_the_model() -> None:
    body = " ".join(f"y{i} = Add(x, z)" for i in range(20))
    outputs = ", ".join(f"float[N] y{i}" for i in range(20))
    pass_ = Replace("Add", lambda match, build: [build.op("Add", *reversed(match.inputs))])

    with pytest.raises(PassError, match="160 rewrites"):
        rewrite(f"g (float[N] x, float[N] z) => ({outputs}) {{ {body} }}", pass_, verify="off")


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_each_candidate_that_stays_is_visited_once(count: int) -> None:
    asked: Counter[str] = Counter()

    def find(node: ir.Node, facts: Facts) -> Match | None:
        asked[str(node.name)] += 1
        if node.name and node.name.endswith("0"):
            facts.decline("its name ends in 0")
        return None

    body = " ".join(f"[n{i}] v{i} = Neg(v{i - 1})" for i in range(1, count + 1))
    run = rewrite(f"g (float[N] v0) => (float[N] v{count}) {{ {body} }}", Replace("Neg", lambda *_: [], find))

    assert run.one.visited == count
    assert set(asked.values()) == {1}
    assert len(run.one.declined) == count // 10


def visits(groups: int) -> int:
    """Returns how many nodes are looked at where each of that many pairs is merged."""
    body = " ".join(
        negs(2, start=f"r{i}", end=f"s{i}", prefix=f"p{i}_") + f" r{i + 1} = Relu(s{i})" for i in range(groups)
    )
    run = rewrite(f"g (float[N] r0) => (float[N] r{groups}) {{ {body} }}", MergeNegs(), verify="off")
    assert len(run.one.applied) == groups
    return run.one.visited


def test_visits_grow_with_the_nodes_and_no_faster() -> None:
    few, many, more = visits(10), visits(100), visits(1000)

    assert few <= 3 * 20
    assert many == 10 * few
    assert more == 100 * few


def test_a_chain_that_collapses_costs_a_constant_number_of_visits_a_rewrite() -> None:
    for length in (100, 200, 400):
        run = rewrite(f"g (float[N] x) => (float[N] y) {{ {negs(length)} }}", MergeNegs(), verify="off")
        assert len(run.one.applied) == length // 2
        assert run.one.visited <= length


def test_same_region_is_verified_once() -> None:
    body = " ".join(negs(2, start=f"x{i}", end=f"y{i}", prefix=f"p{i}_") for i in range(8))
    shapes = ["N, 3", "M, 3", "3, 3", "3, 3"] * 2
    inputs = ", ".join(f"float[{shape}] x{i}" for i, shape in enumerate(shapes))
    outputs = ", ".join(f"float[A, B] y{i}" for i in range(8))
    run = rewrite(f"g ({inputs}) => ({outputs}) {{ {body} }}", MergeNegs())

    # A symbol's name does not matter; a known dim does.
    assert len(run.one.applied) == 8
    assert run.one.sessions == 2


@pytest.mark.parametrize(("other", "sessions"), [("float", 1), ("double", 2)])
def test_regions_of_other_types_are_others(other: str, sessions: int) -> None:
    body = negs(2, start="a", end="y", prefix="p") + " " + negs(2, start="b", end="z", prefix="q")
    run = rewrite(f"g (float[N] a, {other}[N] b) => (float[N] y, {other}[N] z) {{ {body} }}", MergeNegs())

    assert run.one.sessions == sessions


def test_constants_tell_regions_apart() -> None:
    def find(node: ir.Node, facts: Facts) -> Match | None:
        return facts.region(node) if facts.constant(node.inputs[1]) is not None else None

    pass_ = Replace(
        "Sub", lambda match, build: [build.op("Add", match.inputs[0], build.op("Neg", match.inputs[1]))], find
    )
    text = """g (float[N] x) => (float[N] y, float[N] z, float[N] w)
    <float[1] a = {1}, float[1] b = {2}, float[1] c = {1}> {
        y = Sub(x, a) z = Sub(x, b) w = Sub(x, c)
    }"""
    run = rewrite(text, pass_)

    assert len(run.one.applied) == 3
    assert run.one.sessions == 2


def test_sessions_of_each_pass_are_counted_by_themselves() -> None:
    body = f"{negs(2)} {negs(2, start='z', end='w', prefix='q')}"
    text = f"g (float[N] x, float[N] z) => (float[N] y, float[N] w) {{ {body} }}"
    report = onnxfuse.apply(read(text), [MergeNegs(), MergeNegs()], verify="region").report

    assert [each.sessions for each in report.passes] == [1, 0]
    assert [each.visited for each in report.passes][1] == 0


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    body = negs(201)
    onnxfuse.apply(
        read(f"g (float[N] x) => (float[N] y) {{ {body} }}"),
        MergeNegs(),
        verify="off",
        progress=lambda *step: told.append(step),
    )

    assert told
    assert all(name == "merge-negs" and 0 < done <= total == 201 for name, done, total in told)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_nodes_of_bodies_and_functions_are_asked_with_their_scope() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
        g (float[N] x, bool take) => (float[N] y) {
            [call] f = local.example.Twice(x)
            [if] y = If(take) <
                then_branch = then_graph () => (float[N] t) {
                    [inner] t = If(take) <
                        then_branch = tt () => (float[N] a) { [deep] a = Neg(f) },
                        else_branch = te () => (float[N] b) { b = Identity(f) }
                    >
                },
                else_branch = else_graph () => (float[N] e) { [shallow] e = Neg(x) }
            >
        }
        <domain: "local.example", opset_import: ["": 17]>
        Twice (x) => (y) { [one] h = Neg(x) [two] y = Neg(h) }"""
    )

    def find(_: ir.Node, facts: Facts) -> Match | None:
        facts.decline("only asking")

    run = rewrite(model, Replace("Neg", lambda *_: [], find))

    assert {str(outcome.at) for outcome in run.one.declined} == {
        "if/inner/deep",
        "if/shallow",
        "local.example.Twice/one",
        "local.example.Twice/two",
    }


def test_builder_is_asked_for_nothing_where_nothing_matches() -> None:
    def build(match: Match, build: Builder) -> list[ir.Value]:
        raise AssertionError((match, build))

    run = rewrite("g (float[N] x) => (float[N] y) { y = Neg(x) }", Replace("Neg", build, lambda *_: None))

    assert not run.report.modified
    assert run.one.visited == 1

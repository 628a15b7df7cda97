"""The pass, then the rewrite, then the region that breaks a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxfuse
from onnxfuse import Builder, Facts, Match, Numerics, Pass, PassError, Repeat, UsageError
from onnxfuse.pipeline.bisect import Answer, Bisection, Judge, Judgement, bisect, turning_point, verify_judge
from onnxfuse.pipeline.manager import _Run
from onnxfuse.pipeline.reproduce import difference_of
from onnxfuse.report.records import PassReport
from tests.rewriting.rules import Replace, nodes, read

GOOD, BAD, UNKNOWN = Answer


def chain(count: int, op: str = "Neg") -> onnx.ModelProto:
    """Integers, so that nothing rounds."""
    lines = [f"[n{i}] v{i + 1} = {op}(v{i})" for i in range(count)]
    return read(f"g (int32[N] v0) => (int32[N] v{count}) {{ {' '.join(lines)} }}")


def right(match: Match, build: Builder) -> Sequence[ir.Value]:
    """Neg as a product."""
    return [build.op("Mul", match.inputs[0], build.constant(np.array(-1, np.int32)))]


def wrong_at(*names: str) -> Callable[[Match, Builder], Sequence[ir.Value]]:
    """Neg as a product, at some nodes with another number."""

    def rewrite(match: Match, build: Builder) -> Sequence[ir.Value]:
        factor = -3 if match.nodes[-1].name in names else -1
        return [build.op("Mul", match.inputs[0], build.constant(np.array(factor, np.int32)))]

    return rewrite


def only(*names: str) -> Callable[[ir.Node, Facts], Match | None]:
    """Finds the nodes of these names."""
    return lambda node, facts: facts.region(node) if node.name in names else None


RIGHT = Replace("Neg", right)
DROP_CLIP = Replace("Clip", lambda match, build: [match.inputs[0]])
CLIPS = """g (int32[N] x) => (int32[N] y) <int32 low = {0}, int32 high = {6}> {
    [a] h = Clip(x, low, high) [b] y = Clip(h, low, high)
}"""


# ---- the search itself


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(list(Answer)), max_size=40))
def test_a_turning_point_is_one_whatever_the_answers(answers: list[Answer]) -> None:
    asked: list[int] = []

    def ask(step: int) -> Answer:
        asked.append(step)
        return answers[step - 1]

    count = len(answers) + 1
    good, bad = turning_point(count, ask)
    known = [GOOD, *answers, BAD]
    assert good < bad
    assert (known[good], known[bad]) == (GOOD, BAD)
    assert set(known[good + 1 : bad]) <= {UNKNOWN}
    assert set(asked) <= set(range(1, count))
    if UNKNOWN not in answers:
        assert bad - good == 1
        assert len(asked) <= math.ceil(math.log2(count))


# ---- the culprit


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_one_wrong_rewrite_is_found(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    wrong = data.draw(st.integers(0, count - 1))
    rest = [f"n{i}" for i in range(count) if i != wrong]
    first, last = data.draw(st.sets(st.sampled_from(rest)) if rest else st.just(set())), set(rest)
    culprit = Replace("Neg", wrong_at(f"n{wrong}"))
    several = (Replace("Neg", right, only(*first)), culprit, Replace("Neg", right, only(*last)))
    passes: list[Pass | Repeat] = [Repeat(several)] if data.draw(st.booleans()) else list(several)
    model = chain(count)
    before = model.SerializeToString()
    found = bisect(model, passes)
    assert model.SerializeToString() == before
    assert found.answer is BAD
    (rewrite,) = found.rewrites
    assert rewrite.removed == ((f"n{wrong}", "Neg"),)
    assert found.passes == (culprit,)
    assert found.partner is None
    everything = onnxfuse.apply(model, passes, verify="off").report.applied
    assert everything[rewrite.index - 1] == rewrite
    # The models around it differ in that rewrite, and in no other.
    assert len(set(nodes(found.before)) ^ set(nodes(found.after))) == 2
    assert onnxfuse.verify(model, found.before).equivalent
    assert onnxfuse.verify(model, found.after).status == "different"
    difference = difference_of(found, model)
    assert [node.op_type for node in difference.before.proto.graph.node] == ["Neg"]
    assert [node.op_type for node in difference.after.proto.graph.node] == ["Mul"]
    assert [value.size for value in difference.feeds.values()] == [1]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_wrong_pass_first_last_and_between(place: int) -> None:
    passes = [Replace("Neg", right, only(f"n{i}", f"n{i + 3}")) for i in range(3)]
    passes[place] = Replace("Neg", wrong_at(f"n{place}"), passes[place].find)
    found = bisect(chain(6), passes)
    assert (found.answer, found.passes) == (BAD, (passes[place],))
    assert found.rewrites[0].index == 2 * place + 2
    judged = [(trial.passes, trial.rewrites) for trial in found.trials]
    assert judged[:2] == [(0, 0), (3, 6)]


def test_two_that_are_wrong_only_together() -> None:
    model = read(CLIPS)
    found = bisect(model, DROP_CLIP)
    assert found.answer is BAD
    assert found.partner is not None
    assert [one.removed for one in (found.partner, *found.rewrites)] == [(("b", "Clip"),), (("a", "Clip"),)]
    difference = difference_of(found, model)
    assert difference.facts["needs"]["index"] == 1


def test_the_partner_is_found_among_many() -> None:
    # The other rewrites have no part in it.
    text = CLIPS.replace("[a]", "[n0] w = Neg(x) [n1] z = Neg(w) [a]").replace("Clip(x", "Clip(z")
    found = bisect(read(text), [RIGHT, DROP_CLIP])
    assert found.partner is not None
    assert (found.partner.index, found.partner.removed) == (3, (("b", "Clip"),))
    assert found.rewrites[0].removed == (("a", "Clip"),)


def test_a_later_wrong_rewrite_that_undoes_an_earlier_one_is_not_needed() -> None:
    # Both together are right: nothing to find.
    assert bisect(chain(2), Replace("Neg", lambda match, build: [match.inputs[0]])).answer is GOOD
    # Three are not: one of them is where it turns.
    found = bisect(chain(3), Replace("Neg", lambda match, build: [match.inputs[0]]))
    assert found.answer is BAD
    assert found.rewrites[0].index in (1, 3)


def test_in_a_subgraph() -> None:
    model = read("""g (int32[N] x, bool c) => (int32[N] y) {
        [if] y = If(c) <
            then_branch = then () => (int32[N] t) { [n0] t = Neg(x) },
            else_branch = otherwise () => (int32[N] e) { [n1] f = Neg(x) [n2] e = Neg(f) }>
    }""")
    found = bisect(model, Replace("Neg", wrong_at("n2")))
    assert (found.answer, str(found.rewrites[0].at)) == (BAD, "if/n2")
    difference = difference_of(found, model)
    assert [node.op_type for node in difference.before.proto.graph.node] == ["Neg"]


def test_a_model_that_does_not_run_any_more() -> None:
    five = np.array([5], np.int64)
    passes = Replace("Neg", lambda match, build: [build.op("Reshape", match.inputs[0], build.constant(five))])
    found = bisect(chain(3), passes)
    assert (found.answer, found.rewrites[0].index) == (BAD, 1)
    assert "fails where the first one runs" in difference_of(found, chain(3)).what


@dataclass(frozen=True)
class Foreign(Pass):
    """A pass of another kind: it changes the model as a whole."""

    op: str = "Neg"
    name: ClassVar[str] = "foreign"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Puts a node before the first output."""
        (output,) = model.graph.outputs
        node = ir.node(self.op, [output], name=self.op)
        node.outputs[0].type, node.outputs[0].shape = output.type, output.shape
        name, output.name = output.name, "inner"
        node.outputs[0].name = name
        model.graph.append(node)
        model.graph.outputs[0] = node.outputs[0]
        return ir.passes.PassResult(model, modified=True)


@pytest.fixture
def foreigners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the manager run them, as one that takes foreign passes would."""
    run = _Run._run

    def any_pass(self: _Run, pass_: Pass) -> PassReport:
        if not isinstance(pass_, Foreign):
            return run(self, pass_)
        pass_.call(self.opened.working_model())
        self.modified = True
        return PassReport(str(pass_), str(pass_.numerics))

    monkeypatch.setattr(_Run, "_run", any_pass)


@pytest.mark.usefixtures("foreigners")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_foreign_pass_is_as_far_as_it_goes(place: int) -> None:
    passes: list[Pass] = [Replace("Neg", right, only(f"n{i}")) for i in range(2)]
    passes.insert(place, Foreign())
    found = bisect(chain(3), passes)
    assert (found.answer, found.passes, found.rewrites) == (BAD, (Foreign(),), ())
    assert [node.op_type for node in found.after.graph.node][-1] == "Neg"
    assert len(found.after.graph.node) == len(found.before.graph.node) + 1
    difference = difference_of(found, chain(3))
    assert difference.what.startswith("foreign gives other results: v3: different")
    assert len(difference.before.proto.graph.node) == 3


@pytest.mark.usefixtures("foreigners")
def test_a_rewrite_after_a_foreign_pass_is_found() -> None:
    passes = [Foreign("Identity"), Replace("Neg", wrong_at("n1"))]
    found = bisect(chain(3), passes)
    assert (found.passes, found.rewrites[0].removed) == ((passes[1],), (("n1", "Neg"),))


# ---- what shows it


def test_a_region_that_differs_only_on_what_the_model_gives_it() -> None:
    model = read("""g (int32[N] x) => (bool[N] y) <int32 one = {1}, int32 key = {123457}> {
        [up] v = Add(x, one) [same] y = Equal(v, key)
    }""")
    never = Replace("Equal", lambda match, build: [build.op("Less", match.inputs[0], match.inputs[0])])
    data = [{"x": np.array([0, 123456], np.int32)}]
    found = bisect(model, never, judge=verify_judge(input_data=data))
    assert found.answer is BAD
    difference = difference_of(found, model)
    assert [node.op_type for node in difference.before.proto.graph.node] == ["Equal"]
    assert 123457 in difference.feeds["v"]


def test_only_the_output_that_differs_is_kept() -> None:
    model = read("g (int32[N,4] x) => (int32[N,2] y, int32[N,2] z) { [at] y, z = Split<axis = 1>(x) }")

    def split(match: Match, build: Builder) -> Sequence[ir.Value]:
        return [
            build.op("Slice", match.inputs[0], *(build.constant(np.array([at], np.int64)) for at in (start, end, 1)))
            for start, end in ((0, 2), (1, 3))
        ]

    found = bisect(model, Replace("Split", split))
    difference = difference_of(found, model)
    assert [value.name for value in difference.before.proto.graph.output] == ["z"]
    assert difference.feeds["x"].shape == (1, 4)
    verdict = onnxfuse.verify(difference.before.proto, difference.after.proto, input_data=[difference.feeds])
    assert verdict.status == "different"


def test_a_judge_that_sees_more_than_verify() -> None:
    # The rewrite is right; the judge does not want products.
    def judge(_: object, result: onnx.ModelProto) -> Judgement:
        count = sum(node.op_type == "Mul" for node in result.graph.node)
        return Judgement(BAD, f"{count} products") if count > 2 else Judgement(GOOD)

    model = chain(6)
    found = bisect(model, RIGHT, judge=judge)
    assert (found.answer, found.why, found.rewrites[0].index) == (BAD, "3 products", 3)
    difference = difference_of(found, model)
    assert difference.what.endswith("the judge says no: 3 products; onnxfuse verify sees no difference")
    assert difference.before.proto.SerializeToString() == found.before.SerializeToString()
    assert difference.after.proto.SerializeToString() == found.after.SerializeToString()


# ---- no culprit


def test_nothing_to_find() -> None:
    assert bisect(chain(3), RIGHT).why == "the pipeline does no harm"
    assert bisect(chain(3), Replace("Relu", right)).why == "the pipeline rewrites nothing"
    assert bisect(chain(3), Replace("Neg", wrong_at("n1")), exclude=["n1"]).answer is GOOD
    assert bisect(chain(3), Replace("Neg", wrong_at("n1")), limit=1).answer is GOOD
    # Verification keeps it out.
    assert bisect(chain(3), Replace("Neg", wrong_at("n1")), verify="region").answer is GOOD


def count_judge(answers: Callable[[int], Answer]) -> Judge:
    return lambda _, result: Judgement(answers(sum(node.op_type == "Mul" for node in result.graph.node)), "so be it")


def test_what_cannot_be_told_is_skipped() -> None:
    found = bisect(chain(9), RIGHT, judge=count_judge(lambda n: UNKNOWN if n in (4, 5) else BAD if n > 6 else GOOD))
    assert (found.answer, found.rewrites[0].index) == (BAD, 7)


def test_a_culprit_behind_what_cannot_be_told() -> None:
    found = bisect(chain(9), RIGHT, judge=count_judge(lambda n: UNKNOWN if n in (4, 5) else BAD if n > 4 else GOOD))
    assert found.answer is UNKNOWN
    assert found.why == "the judge cannot tell between these rewrites"
    assert [rewrite.index for rewrite in found.rewrites] == [4, 5, 6]


def test_a_pass_behind_what_cannot_be_told() -> None:
    passes = [Replace("Neg", right, only(f"n{i}")) for i in range(3)]
    found = bisect(chain(3), passes, judge=count_judge(lambda n: (GOOD, UNKNOWN, UNKNOWN, BAD)[n]))
    assert (found.answer, found.passes) == (UNKNOWN, tuple(passes))
    assert found.why == "the judge cannot tell between these passes"


def test_a_whole_that_cannot_be_told() -> None:
    found = bisect(chain(3), RIGHT, judge=count_judge(lambda n: UNKNOWN if n else GOOD))
    assert (found.answer, found.why) == (UNKNOWN, "what the whole pipeline makes cannot be judged: so be it")


def test_an_original_that_cannot_be_told() -> None:
    found = bisect(chain(3), RIGHT, judge=count_judge(lambda n: UNKNOWN))
    assert (found.answer, found.why) == (UNKNOWN, "the model cannot be judged as it came: so be it")


def test_a_judge_that_changes_its_mind() -> None:
    asked: dict[int, int] = {}

    def answer(count: int) -> Answer:
        asked[count] = asked.get(count, 0) + 1
        return BAD if count > 4 and asked[count] == 1 else GOOD

    found: Bisection = bisect(chain(9), RIGHT, judge=count_judge(answer))
    assert found.answer is UNKNOWN
    assert found.why == "the judge does not say the same of the same model when it is asked again"


# ---- mistakes


def test_an_original_that_is_bad() -> None:
    with pytest.raises(UsageError, match="the model is bad as it came, before any pass: so be it"):
        bisect(chain(3), RIGHT, judge=count_judge(lambda n: BAD))


def test_the_whole_model_check_is_the_judge() -> None:
    with pytest.raises(UsageError, match="verify='model': the judge looks at the whole model"):
        bisect(chain(3), RIGHT, verify="model")


def test_a_pass_that_breaks_is_no_culprit() -> None:
    def raises(match: Match, build: Builder) -> Sequence[ir.Value]:
        raise ValueError("no")

    with pytest.raises(PassError, match="failed at n2: ValueError: no"):
        bisect(chain(3), Replace("Neg", raises))

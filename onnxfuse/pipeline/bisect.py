"""Finding the culprit: the pass, then the rewrite, then the smallest region that breaks a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.errors import UsageError
from onnxfuse.model_io import ModelLike, Opened, open_model
from onnxfuse.pipeline.base import Pass, RewritePass
from onnxfuse.pipeline.manager import PassManager, VerifyLevel, raise_on_failure, verify
from onnxfuse.pipeline.pipeline import Pipeline, PipelineLike
from onnxfuse.report.records import Applied, PassReport, Report
from onnxfuse.verification.verdict import Status, Verdict

if TYPE_CHECKING:
    from onnxfuse.rewriting.engine import Admit
    from onnxfuse.verification.input_data import InputData
    from onnxfuse.verification.region_pair import RegionPair

__all__ = ["Answer", "Bisection", "Judge", "Judgement", "Trial", "bisect", "turning_point", "verify_judge"]


FICKLE: Final = "the judge does not say the same of the same model when it is asked again"


class Answer(StrEnum):
    """What a judge says of a model."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Judgement:
    """What a judge found.

    Attributes:
        answer: The answer.
        why: What it rests on, as a sentence.
        verdict: The comparison, where there was one.
    """

    answer: Answer
    why: str = ""
    verdict: Verdict | None = None


Judge = Callable[[ModelLike, ModelLike], Judgement]
"""Looks at the original and at what came of it, both of the kind that was given (for a path: an `onnx_ir.Model`)."""


@dataclass(frozen=True)
class Trial:
    """One model that was judged.

    Attributes:
        passes: How many passes had run.
        rewrites: How many rewrites were in it.
        judgement: The answer.
    """

    passes: int
    rewrites: int
    judgement: Judgement

    def __str__(self) -> str:
        count = f"{self.passes} pass{'es' * (self.passes != 1)}, {self.rewrites} rewrite{'s' * (self.rewrites != 1)}"
        why = f": {self.judgement.why}" if self.judgement.why else ""
        return f"{count}: {self.judgement.answer}{why}"


@dataclass(frozen=True)
class Bisection:
    """What came of a search.

    Attributes:
        answer: Bad where a culprit was found, good where the pipeline does no harm.
        why: What differs first, or why nothing was found, as a sentence.
        pipeline: What was run.
        passes: The passes in question: one, or those among which the judge cannot tell.
        rewrites: The rewrites in question, likewise; none of a pass that counts no rewrites.
        partner: An earlier rewrite without which the culprit does no harm.
        evidence: What the judge found with the culprit in the model.
        region: The culprit's region, before and after, where it can be taken out of the model.
        before: The model just before the culprit, and
        after: just after it.
        trials: All that was judged, in order.
    """

    answer: Answer
    why: str
    pipeline: str
    passes: tuple[Pass, ...] = ()
    rewrites: tuple[Applied, ...] = ()
    partner: Applied | None = None
    evidence: Judgement | None = None
    region: RegionPair | None = field(default=None, repr=False)
    before: ModelLike = field(default=None, repr=False)
    after: ModelLike = field(default=None, repr=False)
    trials: tuple[Trial, ...] = field(default=(), repr=False)


def turning_point(count: int, ask: Callable[[int], Answer]) -> tuple[int, int]:
    """Finds where good turns bad, with as few questions as bisection needs; there may be several such places.

    Args:
        count: How many steps there are. Before the first it is good, after the last bad: neither is asked.
        ask: Says what it is after so many steps.

    Returns:
        A number of steps after which it is good, and a larger one after which it is bad: the next, unless nothing
        could be told in between.
    """
    good, bad = 0, count
    while bad - good > 1:
        middle = (good + bad) // 2
        for steps in sorted(range(good + 1, bad), key=lambda step: abs(step - middle)):
            answer = ask(steps)
            if answer is Answer.GOOD:
                good = steps
            elif answer is Answer.BAD:
                bad = steps
            else:
                continue
            break
        else:
            break
    return good, bad


def verify_judge(
    *,
    dims: Mapping[str, int] | None = None,
    input_data: Sequence[InputData] | None = None,
    seed: int = 0,
    custom_op_library: str | None = None,
    budget: float | None = None,
) -> Judge:
    """Returns the judge that compares the models as `onnxfuse.verify` does; see there for the arguments.

    Once a normal input has shown a difference, only that input is looked at: it is this difference that is searched.
    """
    shown: list[Mapping[str, Any]] = []
    compare = partial(verify, seed=seed, custom_op_library=custom_op_library, budget=budget)

    def judge(original: ModelLike, result: ModelLike) -> Judgement:
        from onnxfuse.verification.reproducer import first_difference

        if shown:
            verdict = compare(original, result, input_data=shown)
        else:
            # Most differences show on a normal input, and the whole plan takes long on a large model.
            verdict = compare(original, result, dims=dims, input_data=input_data, families=["normal"])
            if verdict.status is not Status.DIFFERENT and input_data is None:
                verdict = compare(original, result, dims=dims)
            if verdict.inputs and _all_normal(verdict):
                shown.append(verdict.inputs)
        if verdict.status is Status.EQUIVALENT:
            return Judgement(Answer.GOOD, verdict=verdict)
        answer = Answer.BAD if verdict.status is Status.DIFFERENT else Answer.UNKNOWN
        return Judgement(answer, first_difference(verdict), verdict)

    return judge


def _all_normal(verdict: Verdict) -> bool:
    """Says whether the inputs of a verdict are of the kind on which a user's own inputs are judged."""
    draws = [output.draw or "" for output in verdict.outputs if output.status is Status.DIFFERENT]
    return all(draw.startswith("normal ") for draw in draws)


def bisect(
    model: ModelLike,
    passes: PipelineLike = "default",
    *,
    judge: Judge | None = None,
    verify: VerifyLevel | str = VerifyLevel.OFF,
    skip: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Bisection:
    """Finds the pass, and of it the rewrite, with which a pipeline breaks a model.

    Args:
        model: The model, of any kind that `load` takes.
        passes: The pipeline.
        judge: Says of a model whether it is good; by default, whether it is equivalent to the original.
        verify: How much is verified as rewrites are applied. By default nothing, so that a wrong one gets in.
        skip: Names of passes to leave out.
        exclude: Names of nodes that no rewrite may touch.
        limit: How many rewrites to apply at the most; None for all.
        progress: Told each thing that was tried, as a sentence.

    Returns:
        What was found.

    Raises:
        ModelError: The model cannot be read.
        UsageError: The pipeline is wrong, or the judge says no to the model as it came.
        PassError: A pass broke its contract.
    """
    if VerifyLevel(verify) is VerifyLevel.MODEL:
        raise UsageError("verify='model': the judge looks at the whole model here; one of off, structure, region")
    pipeline = Pipeline.of(passes).without(skip)
    search = _Search(model, pipeline, judge or verify_judge(), VerifyLevel(verify), exclude, limit, progress)
    return search.run()


@dataclass
class _Made:
    """A model that some of the passes and rewrites made."""

    opened: Opened
    report: Report
    ran: list[tuple[Pass, PassReport]]

    @property
    def model(self) -> ModelLike:
        return self.opened.result() if any(starmap(_may_change, self.ran)) else self.opened.unchanged()


@dataclass
class _Search:
    """One search."""

    original: ModelLike
    pipeline: Pipeline
    judge: Judge
    level: VerifyLevel
    exclude: Sequence[str]
    limit: int | None
    progress: Callable[[str], None] | None
    trials: list[Trial] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)

    def run(self) -> Bisection:
        """Searches."""
        unchanged = self._judge(self._make(Pipeline()))
        if unchanged.answer is Answer.BAD:
            raise UsageError(f"the model is bad as it came, before any pass: {unchanged.why}")
        if unchanged.answer is Answer.UNKNOWN:
            return self._end(Answer.UNKNOWN, f"the model cannot be judged as it came: {unchanged.why}")
        whole = self._make(self.pipeline, self.limit)
        self.passes = [pass_ for pass_, _ in whole.ran]
        if not any(starmap(_may_change, whole.ran)):
            return self._end(Answer.GOOD, "the pipeline rewrites nothing")
        found = self._judge(whole)
        if found.answer is Answer.GOOD:
            return self._end(Answer.GOOD, "the pipeline does no harm", evidence=found)
        if found.answer is Answer.UNKNOWN:
            return self._end(Answer.UNKNOWN, f"what the whole pipeline makes cannot be judged: {found.why}")
        ends = [0, *(count for count, one in enumerate(whole.ran, 1) if _may_change(*one))]
        good, bad = turning_point(len(ends) - 1, lambda step: self._ask(ends[step], None))
        if bad - good > 1:
            among = tuple(self.passes[end - 1] for end in ends[good + 1 : bad + 1])
            return self._end(Answer.UNKNOWN, "the judge cannot tell between these passes", passes=among)
        if isinstance(self.passes[ends[bad] - 1], RewritePass):
            return self._rewrites(whole, ends[bad])
        return self._foreign(ends[bad])

    def _foreign(self, count: int) -> Bisection:
        """Ends at the last of so many passes: it has no rewrites to search among."""
        pass_ = self.passes[count - 1]
        before, after = self._made(count - 1, None), self._made(count, None)
        found = self._again(before, after)
        if found is None:
            return self._end(Answer.UNKNOWN, FICKLE, passes=(pass_,))
        return self._end(Answer.BAD, found.why, passes=(pass_,), evidence=found, before=before.model, after=after.model)

    def _again(self, before: _Made, after: _Made) -> Judgement | None:
        """Judges the models around the culprit once more; None where the answers are not what they were.

        What a judge says from one run to the next is nothing to build on unless it is the same.
        """
        if self._judge(before).answer is not Answer.GOOD:
            return None
        found = self._judge(after)
        return found if found.answer is Answer.BAD else None

    def _rewrites(self, whole: _Made, count: int) -> Bisection:
        """Searches among the rewrites of the last of so many passes."""
        pass_ = self.passes[count - 1]
        applied = whole.ran[count - 1][1].applied
        first = applied[0].index - 1
        good, bad = turning_point(len(applied), lambda step: self._ask(count, first + step))
        if bad - good > 1:
            why = "the judge cannot tell between these rewrites"
            return self._end(Answer.UNKNOWN, why, passes=(pass_,), rewrites=applied[good:bad])
        culprit = applied[bad - 1]
        before = self._made(count, culprit.index - 1)
        after, region = self._captured(count, culprit.index)
        found = self._again(before, after)
        if found is None:
            return self._end(Answer.UNKNOWN, FICKLE, passes=(pass_,), rewrites=(culprit,))
        return self._end(
            Answer.BAD,
            found.why,
            passes=(pass_,),
            rewrites=(culprit,),
            partner=self._partner(whole, count, culprit),
            evidence=found,
            region=region,
            before=before.model,
            after=after.model,
        )

    def _partner(self, whole: _Made, count: int, culprit: Applied) -> Applied | None:
        """Returns an earlier rewrite without which the culprit does no harm."""
        earlier = [one for one in whole.report.applied if one.index < culprit.index]
        if not earlier:
            return None
        reached = True

        def ask(left_out: int) -> Answer:
            nonlocal reached
            keep = {_nodes_of(one) for one in (*earlier[left_out:], culprit)}
            made = self._made(count, None, lambda _index, region, _evidence: tuple(map(_label, region.before)) in keep)
            reached = any(_nodes_of(one) == _nodes_of(culprit) for one in made.report.applied)
            return self._judge(made).answer if reached else Answer.UNKNOWN

        # Here `bad` is what does no harm any more.
        if ask(len(earlier)) is not Answer.GOOD or not reached:
            return None
        flipped = {Answer.GOOD: Answer.BAD, Answer.BAD: Answer.GOOD, Answer.UNKNOWN: Answer.UNKNOWN}
        harmful, harmless = turning_point(len(earlier), lambda left_out: flipped[ask(left_out)])
        return earlier[harmless - 1] if harmless - harmful == 1 else None

    # ------------------------------------------------------------------ making and judging models

    def _ask(self, passes: int, rewrites: int | None) -> Answer:
        return self._judge(self._made(passes, rewrites)).answer

    def _made(self, passes: int, rewrites: int | None, admit: Admit | None = None) -> _Made:
        return self._make(Pipeline(*self.passes[:passes]), rewrites, admit)

    def _make(self, pipeline: Pipeline, limit: int | None = None, admit: Admit | None = None) -> _Made:
        opened = open_model(self.original)
        ran: list[tuple[Pass, PassReport]] = []
        manager = PassManager(
            pipeline,
            self.level,
            self.exclude,
            limit=limit,
            admit=admit,
            on_pass=lambda pass_, report: ran.append((pass_, report)),
        )
        report = manager.run(opened)
        raise_on_failure(report)
        return _Made(opened, report, ran)

    def _captured(self, passes: int, index: int) -> tuple[_Made, RegionPair | None]:
        """Makes the model with the rewrite of this number, the last one; returns it with that one's region."""
        from onnxfuse.verification.region_pair import RegionPair, region_pair

        found: list[RegionPair | str] = []

        def admit(number: int, region: Any, evidence: Any) -> bool:
            if number == index and evidence.grade != "rejected":
                found[:] = [region_pair(region)]  # now: soon the region is taken apart
            return True

        made = self._made(passes, index, admit)
        return made, next((pair for pair in found if isinstance(pair, RegionPair)), None)

    def _judge(self, made: _Made) -> Judgement:
        judgement = self.judge(self.original, made.model)
        trial = Trial(len(made.ran), len(made.report.applied), judgement)
        self.trials.append(trial)
        if self.progress is not None:
            self.progress(str(trial))
        return judgement

    def _end(self, answer: Answer, why: str, **found: Any) -> Bisection:
        return Bisection(answer, why, str(self.pipeline), trials=tuple(self.trials), **found)


def _may_change(pass_: Pass, report: PassReport) -> bool:
    """Says whether a pass may have changed the model: of one that is no rewrite pass, nobody counts the rewrites."""
    return bool(report.applied) or not isinstance(pass_, RewritePass)


def _label(node: Any) -> str:
    from onnxfuse.rewriting.match import node_label

    return node_label(node)


def _nodes_of(applied: Applied) -> tuple[str, ...]:
    return tuple(name for name, _ in applied.removed)

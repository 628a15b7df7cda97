"""What rejected rewrites and culprits leave behind, as differences of which a reproducer can be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx

from onnxfuse.model_io import ModelLike, open_model
from onnxfuse.pipeline.base import Numerics, Pass
from onnxfuse.pipeline.bisect import Bisection
from onnxfuse.pipeline.evaluable import evaluable_before, evaluable_of
from onnxfuse.pipeline.manager import PassManager, VerifyLevel
from onnxfuse.pipeline.pipeline import Pipeline
from onnxfuse.report.json import applied_dict
from onnxfuse.report.records import PassReport
from onnxfuse.rewriting.match import node_label
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.region import Evidence
from onnxfuse.verification.region_model import Region
from onnxfuse.verification.region_pair import RegionPair, region_pair
from onnxfuse.verification.reproducer import Difference, Rebuild, compared, first_difference
from onnxfuse.verification.shrink import shrunk
from onnxfuse.verification.verdict import Status

__all__ = ["Rejections", "difference_of"]


@dataclass(frozen=True)
class _Rejected:
    pair: RegionPair
    evidence: Evidence
    at: list[str]


@dataclass
class Rejections:
    """Keeps what verification said no to, while a pipeline runs: `admit` and `on_pass` are for its manager.

    Equal regions are kept once: the evidence is the same.

    Attributes:
        pipeline: What runs.
        lost: Why there is no difference of some, as sentences.
    """

    pipeline: Pipeline
    lost: list[str] = field(default_factory=list)
    _pending: list[_Rejected] = field(default_factory=list)
    _found: list[tuple[Pass, _Rejected]] = field(default_factory=list)

    def admit(self, index: int, region: Region, evidence: Evidence) -> bool:
        """Takes down a region that was rejected; lets everything pass."""
        del index
        if evidence.grade != "rejected":
            return True
        at = node_label(region.before[-1])
        # The verifier looks at equal regions once, so that they have one set of inputs.
        same = (one for one in self._pending if evidence.feeds and one.evidence.feeds is evidence.feeds)
        known = next(same, None)
        if known is not None:
            if at not in known.at:
                known.at.append(at)
            return True
        pair = region_pair(region, evidence.feeds)
        if isinstance(pair, str):
            self.lost.append(f"no reproducer of what was rejected at {at}: {pair}")
        else:
            self._pending.append(_Rejected(pair, evidence, [at]))
        return True

    def on_pass(self, pass_: Pass, report: PassReport) -> None:
        """Takes down whose regions these were."""
        del report
        self._found += [(pass_, one) for one in self._pending]
        self._pending.clear()

    def differences(self) -> Iterator[Difference]:
        """Yields a difference for each, as small as it gets."""
        for pass_, one in self._found:
            facts = {
                "pipeline": str(self.pipeline),
                "pass": str(pass_),
                "at": one.at,
                "evidence": dict(one.evidence.details),
            }
            what = f"{pass_} at {one.at[0]} was rejected: {one.evidence.text}"
            if len(one.at) > 1:
                what += f" (and at {len(one.at) - 1} more nodes the same)"
            verdict = compared(one.pair.before, one.pair.after, one.pair.feeds)
            pair = shrunk(one.pair, verdict)[0] if verdict.status is Status.DIFFERENT else one.pair
            exact = pass_.numerics is Numerics.EXACT
            yield Difference(pair.before, pair.after, what, pair.feeds, facts, _rebuild(pass_), exact)


def difference_of(found: Bisection, original: ModelLike) -> Difference:
    """Returns the smallest difference that shows a culprit: its region; else the models around it.

    Args:
        found: A search that found a rewrite, or a pass.
        original: The model that was searched on.
    """
    pass_ = found.passes[0]
    inputs = (
        found.evidence.verdict.inputs if found.evidence is not None and found.evidence.verdict is not None else None
    )
    before = evaluable_before(open_model(found.before))
    pairs = [RegionPair(before, evaluable_before(open_model(found.after)), inputs or {})]
    if found.region is not None:
        pairs.insert(0, found.region)
        border = _border_values(before, found.region, inputs)
        if border is not None:
            pairs.insert(1, replace(found.region, feeds=border))
    pairs.append(replace(pairs[-1], before=evaluable_before(open_model(original))))
    facts = {
        "pipeline": found.pipeline,
        "pass": str(pass_),
        "rewrite": applied_dict(found.rewrites[0]) if found.rewrites else None,
        "needs": applied_dict(found.partner) if found.partner is not None else None,
        "judge": found.why,
    }
    where = f"{pass_} at {found.rewrites[0].at} (rewrite {found.rewrites[0].index})" if found.rewrites else str(pass_)
    for pair in pairs:
        verdict = compared(pair.before, pair.after, pair.feeds)
        if verdict.status is Status.DIFFERENT:
            if pair.before is not before and found.region is not None and pair.after is found.region.after:
                pair, verdict = shrunk(pair, verdict)  # noqa: PLW2901
            what = f"{where} gives other results: {first_difference(verdict)}"
            feeds = pair.feeds or verdict.inputs or {}
            return Difference(pair.before, pair.after, what, feeds, facts, _rebuild(pass_))
    what = f"with {where} the judge says no: {found.why}; onnxfuse verify sees no difference"
    return Difference(before, pairs[-1].after, what, {}, facts, _rebuild(pass_))


def _rebuild(pass_: Pass) -> Rebuild:
    """Returns what runs the pass once on another model, to fold its weights anew."""

    def rebuild(before: onnx.ModelProto) -> EvalModel | None:
        opened = open_model(before)
        report = PassManager(Pipeline(pass_), VerifyLevel.OFF, limit=1).run(opened)
        return evaluable_of(opened.working_model(), opened) if report.applied else None

    return rebuild


def _border_values(model: EvalModel, region: RegionPair, inputs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns what comes into a region when the model runs on `inputs`; None where that cannot be had."""
    names = [value.name for value in region.before.proto.graph.input]
    produced = {name for node in model.proto.graph.node for name in node.output}
    if inputs is None or not all(name in produced or name in inputs for name in names):
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name in produced)
    if not proto.graph.output:
        return {name: inputs[name] for name in names}
    try:
        results = Evaluator(proto, weights=model.weights, expose=True).run(inputs)
    except EvaluationError:
        return None
    computed = dict(zip([value.name for value in proto.graph.output], results, strict=True))
    return {name: computed[name] if name in computed else inputs[name] for name in names}

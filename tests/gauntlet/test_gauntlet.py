"""The pipelines on the gauntlet: nothing is broken, and what is within reach is reached."""

from __future__ import annotations

import pytest

import onnxfuse
from tests.gauntlet.judge import Outcome
from tests.gauntlet.runner import CASES, Case, Runner

EXACT_PIPELINES = ("merge-sliced", "remove-pad")
"""Single passes of the numerics class EXACT: their results are held to the same bits, signed zeros included."""

OTHER_PIPELINES = (
    "default",
    "ascend",
    "transpose-around-softmax",
    "transpose-around-softmax{min-rank=1,gate=always}",
    "transpose-around-softmax{axis=-1,min-rank=1,gate=always}",
)

IDEALS = sorted(
    name
    for name, case in CASES.items()
    if (case.ideal and case.category == "slice") or name in ("pad_nop", "pad_reflect_partial")
)
"""Cases that the presets must bring down to the fewest nodes possible."""


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
@pytest.mark.parametrize("pipeline", [*EXACT_PIPELINES, *OTHER_PIPELINES])
def test_pipeline_keeps_the_model_equivalent(pipeline: str, case: Case, runner: Runner) -> None:
    modified = []

    def transform(data: bytes) -> bytes:
        result = onnxfuse.apply(data, pipeline)
        modified.append(result.report.modified)
        rewritten: bytes = result.model
        return rewritten

    score = runner.score(case, transform, exact=pipeline in EXACT_PIPELINES)

    assert score.verdict.outcome is Outcome.EQUIVALENT, f"{case.trap}: {score.verdict}"
    # A model that no pass changed comes back byte for byte, and then there is nothing to run.
    assert modified == [score.result != case.data]
    assert modified == [score.verdict.kind != "identical"]


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_newer_opset_keeps_the_model_equivalent_even_unverified(case: Case, runner: Runner) -> None:
    score = runner.score(case, lambda data: onnxfuse.apply(data, "convert-opset{to=21}", verify="off").model)

    assert score.verdict.outcome is Outcome.EQUIVALENT, f"{case.trap}: {score.verdict}"


@pytest.mark.parametrize("name", IDEALS)
@pytest.mark.parametrize("preset", ["default", "ascend"])
def test_preset_reaches_the_ideal(preset: str, name: str, runner: Runner) -> None:
    score = runner.score(CASES[name], lambda data: onnxfuse.apply(data, preset).model)

    assert score.ideal_reached, f"{score.verdict}; at most {dict(CASES[name].ideal)} wanted"

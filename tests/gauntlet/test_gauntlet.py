"""The pipelines on the gauntlet: nothing is broken, and what is within reach is reached."""

from __future__ import annotations

import pytest

import onnxfuse
from tests.gauntlet.judge import Outcome
from tests.gauntlet.runner import CASES, Case, Runner

EXACT_PIPELINES = ("merge-sliced", "remove-pad")
"""Single passes of the numerics class EXACT: their results are held to the same bits, signed zeros included."""

IDEALS = sorted(
    name
    for name, case in CASES.items()
    if (case.ideal and case.category == "slice") or name in ("pad_nop", "pad_reflect_partial")
)
"""Cases that `default` must bring down to the fewest nodes possible."""


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
@pytest.mark.parametrize("pipeline", [*EXACT_PIPELINES, "default"])
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


@pytest.mark.parametrize("name", IDEALS)
def test_default_reaches_the_ideal(name: str, runner: Runner) -> None:
    score = runner.score(CASES[name], lambda data: onnxfuse.apply(data, "default").model)

    assert score.ideal_reached, f"{score.verdict}; at most {dict(CASES[name].ideal)} wanted"

"""The comparison of whole models on the gauntlet: rewrites by published tools, and every original against itself."""

from __future__ import annotations

import onnx
import pytest

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.model import check_models
from tests.gauntlet.runner import CASES, PAIRS, Case, Pair
from tests.verification.renamed import renamed

RUN = "dropout_training_ratio0"
"""Its random operator draws nothing: that needs a run."""


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.other.removesuffix(".onnx"))
def test_a_rewrite_is_told_right(pair: Pair) -> None:
    before, after = (onnx.load_from_string(data) for data in (CASES[pair.case].data, pair.data))
    verdict = check_models(EvalModel(before), EvalModel(after), families="full")
    assert verdict.status == pair.truth, f"{pair.why} {pair.detail}\n{verdict.explain()}"


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_a_model_is_proven_to_compute_what_its_copy_computes(case: Case) -> None:
    model = onnx.load_from_string(case.data)
    copy = renamed(model)
    assert copy.SerializeToString() != case.data
    verdict = check_models(EvalModel(model), EvalModel(copy), families="full")
    assert verdict.equivalent, verdict.explain()
    bases = {output.basis for output in verdict.outputs}
    assert bases <= {"structure", "random", *(["bits"] if case.name == RUN else [])}
    assert verdict.draws > 0 or "bits" not in bases

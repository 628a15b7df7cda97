"""What cannot be run, or only by the reference evaluator: never a pass."""

from __future__ import annotations

import pytest

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.model import check_models
from onnxfuse.verification.verdict import Status
from tests.verification.texts import HEADER, parse
from tests.verification.whole_models import detour, full, pair, quick


def test_an_original_that_does_not_load_is_not_run() -> None:
    header = HEADER.replace('"f"', '"mine"')
    before = "g (float[N] x) => (float[K] y) { z = mine.Op(x) y = Relu(z) }"
    verdict = check_models(*pair(before, detour(before, header), header), families="quick")
    assert verdict.status is Status.NOT_RUN
    assert any("cannot be left out" in note for note in verdict.notes)
    assert "the first model cannot be loaded" in verdict.not_run[0]
    assert "mine:Op(-1) is not a registered function/op" in verdict.not_run[0]
    assert verdict.outputs[0].why == verdict.not_run[0]


def test_a_second_model_with_a_custom_operator_is_not_run_and_a_broken_one_is_different() -> None:
    header = HEADER.replace('"f"', '"mine"')
    before = "g (float[N] x) => (float[N] y) { y = Relu(x) }"
    custom = check_models(*pair(before, "g (float[N] x) => (float[N] y) { y = mine.Op(x) }", header), families="quick")
    assert custom.status is Status.NOT_RUN
    assert "the second model cannot be loaded" in custom.not_run[0]
    broken = quick(before, "g (float[N] x) => (float[N] y) { y = Relu(nowhere) }")
    assert broken.status is Status.DIFFERENT
    assert "value: the second model cannot be loaded: " in (broken.outputs[0].why or "")
    # The reference evaluator does not mind an attribute that the opset does not have.
    lax = "g (float[N] x) => (float[N] y) <int64 z = {0}> { u = Unsqueeze(x, z) y, q = Split<num_outputs = 2>(x) }"
    refused = check_models(*pair(before, lax, HEADER.replace("21", "13")), families="quick")
    assert "onnxruntime, which loads the first one, says" in (refused.outputs[0].why or "")


def test_an_original_that_runs_at_no_size_is_not_run_with_the_reason() -> None:
    text = "g (float[N] x) => (float[K] y) <int64[2] s = {100, 1}> { y = Reshape(x, s) }"
    verdict = quick(text, detour(text))
    assert verdict.status is Status.NOT_RUN
    assert (
        "the first model does not run with its symbolic dims (N) at any size tried from 1 to 64" in verdict.not_run[0]
    )
    assert "Reshape" in verdict.not_run[0]
    assert quick(text, detour(text), dims={"N": 100}).equivalent


def test_an_input_without_a_rank_is_not_run() -> None:
    models = []
    for text in ("y = Relu(x)", "z = Relu(x) y = Relu(z)"):
        model = parse(f"g (float[N] x) => (float[K] y) {{ {text} }}")
        model.graph.input[0].type.tensor_type.ClearField("shape")
        models.append(EvalModel(model))
    verdict = check_models(*models, families="quick")
    assert verdict.not_run == ("input x has no declared rank, so nothing can be drawn for it: give input data",)


@pytest.mark.parametrize("families", ["quick", "full"])
def test_what_only_the_reference_evaluator_runs_is_run_there(families: str) -> None:
    header = '<ir_version: 13, opset_import: ["" : 28]>\n'
    before, after = pair(
        "g (float[N] x) => (float[K] y) { a = Neg(x) y = Neg(a) }",
        "g (float[N] x) => (float[K] y) { y = Identity(x) }",
        header,
    )
    verdict = check_models(before, after, families=families)  # type: ignore[arg-type]
    assert verdict.equivalent, verdict.explain()
    assert verdict.backend == "reference"
    assert "run by the reference evaluator: " in verdict.notes[0]


def test_where_onnxruntime_loads_only_the_first_both_go_to_the_reference_evaluator() -> None:
    before = EvalModel(parse("g (float[N] x) => (float[N] y) { y = Relu(x) }"))
    text = "g (float[N] x) => (float[N] y) { z = Relu(x) y = Relu(z) }"
    after = EvalModel(parse(text, '<ir_version: 14, opset_import: ["" : 28]>'))
    verdict = check_models(before, after, families="full")
    assert verdict.equivalent, verdict.explain()
    assert verdict.backend == "reference"
    assert "onnxruntime does not load the second model: " in verdict.notes[0]


def test_inputs_that_end_the_process_with_the_first_model_are_dropped_and_counted() -> None:
    text = "g (int64[60] x) => (int64[60] y) <int64 m = {-1}> { y = Div(x, m) }"
    verdict = full(text, detour(text))
    assert verdict.equivalent, verdict.explain()
    assert (verdict.backend, verdict.dropped > 0) == ("onnxruntime", True)
    assert "the process that ran the model died of SIGFPE" in verdict.notes[0]


def test_what_ends_the_process_only_with_the_second_model_is_a_difference() -> None:
    text = "g (int64[60] x) => (int64[60] y) <int64 m = {-1}> { y = Mul(x, m) }"
    verdict = full(text, text.replace("Mul", "Div"))
    assert verdict.status is Status.DIFFERENT
    assert "fails where the first one runs: the process that ran the model died of SIGFPE" in verdict.explain()

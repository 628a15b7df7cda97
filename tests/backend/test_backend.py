"""The onnx package's own models through pipelines, and a check that the suite can fail."""

from __future__ import annotations

import os

import onnx
import pytest

import onnxfuse
from tests.backend import suite
from tests.backend.suite import KINDS, load_models, score_models
from tests.gauntlet.judge import Outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("pipeline", "exact"),
    [("default", True), ("ascend", False), ("transpose-around-softmax{min-rank=1,gate=always}", False)],
)
def test_pipeline_breaks_no_model(pipeline: str, exact: bool, kind: str) -> None:
    modified = []

    def transform(data: bytes) -> bytes:
        result = onnxfuse.apply(data, pipeline)
        modified.append(result.report.modified)
        rewritten: bytes = result.model
        return rewritten

    models = load_models(kind)
    scores = score_models(models, transform, exact=exact)

    broken = {score.model.name: str(score.verdict) for score in scores if score.verdict.outcome != Outcome.EQUIVALENT}
    assert not broken
    # A model that no pass changed comes back byte for byte.
    assert modified == [score.changed for score in scores]
    assert len(scores) == len(models) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_newer_opset_breaks_no_model_even_unverified(kind: str) -> None:
    scores = score_models(
        load_models(kind), lambda data: onnxfuse.apply(data, "convert-opset{to=21}", verify="off").model
    )

    # No oracle has the operators for training; pictures are decoded only where there is a library for it.
    fair = {Outcome.EQUIVALENT, Outcome.NOT_RUN}
    broken = {score.model.name: str(score.verdict) for score in scores if score.verdict.outcome not in fair}
    assert not broken
    not_run = [score.model.name for score in scores if score.verdict.outcome == Outcome.NOT_RUN]
    assert all("gradient" in name or "image_decoder" in name for name in not_run), not_run
    assert any(score.changed for score in scores)


def rename_producer(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    model.producer_name = "someone else"
    serialized: bytes = model.SerializeToString()
    return serialized


def drop_first_node(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    del model.graph.node[0]
    serialized: bytes = model.SerializeToString()
    return serialized


def negate_output(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["positive" if name == output else name for name in node.output]
        node.input[:] = ["positive" if name == output else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Neg", ["positive"], [output]))
    serialized: bytes = model.SerializeToString()
    return serialized


@pytest.mark.parametrize("kind", ["simple", "pytorch-operator", "pytorch-converted"])
def test_model_that_is_only_stored_differently_passes(kind: str) -> None:
    scores = score_models(load_models(kind), rename_producer, exact=True)

    assert all(score.changed for score in scores)
    assert {score.verdict.outcome for score in scores} <= {Outcome.EQUIVALENT, Outcome.NOT_RUN}
    assert sum(score.verdict.outcome is Outcome.EQUIVALENT for score in scores) > 0.9 * len(scores)


def test_broken_models_are_told() -> None:
    models = load_models("pytorch-converted")

    dropped = score_models(models, drop_first_node)
    negated = score_models(models, negate_output)

    assert {score.verdict.outcome for score in dropped} == {Outcome.INVALID}
    assert {(score.verdict.outcome, score.verdict.kind) for score in negated} == {(Outcome.MISCOMPILED, "value")}


def test_rewriter_that_raises_is_told() -> None:
    def transform(data: bytes) -> bytes:
        raise ValueError(f"{len(data)} bytes")

    scores = score_models(load_models("light"), transform)

    assert {score.verdict.outcome for score in scores} == {Outcome.CRASH}
    assert not any(score.changed for score in scores)


def test_runtime_that_dies_of_a_result_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "_judge_changed", _die)

    first, second = score_models(load_models("simple")[:2], rename_producer)

    assert first.verdict.kind == second.verdict.kind == "runtime-died"
    assert first.verdict.outcome is Outcome.INVALID


def _die(*_: object) -> None:
    os._exit(3)


def test_table_counts() -> None:
    scores = score_models(load_models("light")[:3], lambda data: data)

    assert suite.table(scores).splitlines()[-1].split() == ["all", "3", "0", "3", "0", "0", "0", "0"]

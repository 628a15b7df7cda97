"""Passes that make whole models, on generated models: what is right is taken, what is wrong never is, nothing is lost."""

from __future__ import annotations

from random import Random

import onnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import onnxfuse
from onnxfuse.testing.oracle import RunError
from onnxfuse.testing.strategies import models
from tests.generated.edits import NEUTRAL, Edit, broken, edits_of, permuted
from tests.generated.oracle import differences, feeds_of, run
from tests.pipeline.edited import Edited
from tests.profile import ASKED, EXAMPLES

COUNT = settings(EXAMPLES, max_examples=ASKED or 10)


@COUNT
@given(model=models(max_nodes=6), name=st.sampled_from(list(NEUTRAL)), seed=st.integers(0, 99))
def test_what_computes_the_same_is_no_change(model: onnx.ModelProto, name: str, seed: int) -> None:
    result, report = onnxfuse.apply(model, Edited(lambda proto: NEUTRAL[name](proto, Random(seed))))
    assert not report.rejected, report.rejected[0].reason
    assert not report.modified
    assert result.SerializeToString() == model.SerializeToString()


def _edited(model: onnx.ModelProto, edit: Edit, seed: int | None) -> onnx.ModelProto:
    """The model with a fault, and perhaps with names that mean other values than they did."""
    other = broken(model, edit)
    return other if seed is None else permuted(other, Random(seed))


@COUNT
@given(model=models(max_nodes=6), seed=st.integers(0, 99))
def test_names_that_mean_something_else_change_nothing_that_is_computed(model: onnx.ModelProto, seed: int) -> None:
    result, report = onnxfuse.apply(model, Edited(lambda proto: permuted(proto, Random(seed))), verify="region")
    assert not report.rejected, report.rejected[0].reason
    feeds = list(feeds_of(model, special=False))
    for one, two in zip(run(model, feeds), run(result, feeds), strict=True):
        assert isinstance(one, str) or (isinstance(two, dict) and not differences(one, two))


@COUNT
@given(model=models(max_nodes=6), data=st.data())
def test_what_is_put_in_computes_what_the_tool_made(model: onnx.ModelProto, data: st.DataObject) -> None:
    edits = edits_of(model)
    assume(edits)
    name, edit = data.draw(st.sampled_from(edits), "edit")
    seed = data.draw(st.none() | st.integers(0, 99), "permuted")
    other = _edited(model, edit, seed)
    try:
        onnx.checker.check_model(other, full_check=True)
        feeds = list(feeds_of(model))
        wanted = run(other, feeds)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RunError):
        return
    result, report = onnxfuse.apply(model, Edited(lambda proto: _edited(proto, edit, seed)), verify="off")
    if report.rejected:
        assert "has another default" in report.rejected[0].reason  # which is part of the interface
        assert result.SerializeToString() == model.SerializeToString()
        return
    for one, two in zip(wanted, run(result, feeds), strict=True):
        if isinstance(one, str) or isinstance(two, str):
            assert isinstance(one, str) == isinstance(two, str), (name, one, two)
        else:
            assert not differences(one, two), (name, report.applied)


@COUNT
@given(model=models(max_nodes=6), data=st.data())
def test_what_is_wrong_is_never_taken(model: onnx.ModelProto, data: st.DataObject) -> None:
    edits = edits_of(model)
    assume(edits)
    name, edit = data.draw(st.sampled_from(edits), "edit")
    seed = data.draw(st.none() | st.integers(0, 99), "permuted")
    result, report = onnxfuse.apply(model, Edited(lambda proto: _edited(proto, edit, seed)), verify="region")
    if report.rejected:
        assert result.SerializeToString() == model.SerializeToString()
        return
    feeds = list(feeds_of(model, special=False))
    for one, two in zip(run(model, feeds), run(result, feeds), strict=True):
        if isinstance(one, dict):
            assert isinstance(two, dict), (name, two)
            assert not differences(one, two), (name, [outcome.evidence for outcome in report.applied])

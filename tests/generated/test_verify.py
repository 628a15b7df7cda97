"""`verify` on generated models: copies are equivalent, and of a model with a fault it is not said."""

from __future__ import annotations

from collections import Counter
from random import Random

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxfuse
from onnxfuse.testing.oracle import Results, RunError
from onnxfuse.testing.strategies import models
from onnxfuse.verification.verdict import Status
from tests.generated.edits import NEUTRAL, broken, edits_of
from tests.generated.oracle import differences, feeds_of, run
from tests.profile import ASKED, EXAMPLES

COUNT = settings(EXAMPLES, max_examples=ASKED or 30)


@COUNT
@given(model=models(max_nodes=5), name=st.sampled_from(list(NEUTRAL)), seed=st.integers(0, 99))
def test_a_copy_is_equivalent(model: onnx.ModelProto, name: str, seed: int) -> None:
    copy = NEUTRAL[name](model, Random(seed))
    onnx.checker.check_model(copy, full_check=True)
    verdict = onnxfuse.verify(model, copy)
    assert verdict.equivalent, verdict.explain()


def seen(model: onnx.ModelProto, other: onnx.ModelProto) -> list[str] | None:
    """Returns the outputs that differ on some ordinary or special feed; None where the other model is none."""
    try:
        onnx.checker.check_model(other, full_check=True)
        feeds = list(feeds_of(model))
        after = run(other, feeds)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RunError):
        return None
    found: list[str] = []
    for one, two in zip(run(model, feeds), after, strict=True):
        if isinstance(one, dict):
            found += differences(one, two) if isinstance(two, dict) else [str(two)]
    return found


def test_a_fault_is_told() -> None:
    told: Counter[str] = Counter()
    missed: list[str] = []

    @COUNT
    @given(model=models(max_nodes=4, bodies=False, functions=False), draw=st.integers(0, 999))
    def test(model: onnx.ModelProto, draw: int) -> None:
        faults = edits_of(model)
        if not faults:
            return
        words, edit = faults[draw % len(faults)]
        other = broken(model, edit)
        differs = seen(model, other)
        if differs is None:
            return
        verdict = onnxfuse.verify(model, other)
        told[f"{'differs' if differs else 'same'}: {verdict.status}"] += 1
        if differs and verdict.status is Status.EQUIVALENT:
            missed.append(f"{words}: {differs}\n{verdict.explain()}")

    test()
    assert told["differs: different"] > told["differs: not-run"]
    # Below the resolution of the rule for rounding: a Sign of exactly 0, a normalization of what is all the same. And
    # a node that no one reads and that fails is no part of the comparison. They are few.
    assert len(missed) <= told.total() // 25, "\n\n".join(missed)


def test_results_of_a_run_are_told_apart() -> None:
    """The oracle itself sees what it must see."""
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y)'
    one, other = (onnx.parser.parse_model(f"{head} {{ y = {op}(x) }}") for op in ("Abs", "Relu"))
    feeds = list(feeds_of(one))
    results: list[Results | str] = run(one, feeds)
    assert all(isinstance(result, dict) for result in results)
    assert seen(one, one) == []
    assert set(seen(one, other) or []) == {"y"}

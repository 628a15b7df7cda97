"""Inputs and weights moved by a little, which stand in for a twin where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxfuse import Builder, Facts, Match, Numerics, RewritePass
from onnxfuse.verification import twin_ops
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, EvaluationTimeoutError, Evaluator
from onnxfuse.verification.jitter import jittered, jittered_model
from onnxfuse.verification.model import check_models
from onnxfuse.verification.verdict import Status
from tests.rewriting.rules import Run, rewrite
from tests.verification.texts import parse
from tests.verification.whole_models import full, quick


def floats(model: EvalModel) -> dict[str, np.ndarray]:
    """All that may be moved, by name."""
    stored = [tensor for tensor in model.proto.graph.initializer if tensor.name not in model.weights]
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}
    for node in model.proto.graph.node:
        if node.op_type == "Constant":
            (attribute,) = node.attribute
            held = onnx.helper.get_attribute_value(attribute)
            found[node.output[0]] = onnx.numpy_helper.to_array(held) if attribute.HasField("t") else np.asarray(held)
    return {**found, **model.weights}


def test_weights_are_moved_by_little_and_all_else_stays() -> None:
    text = """g (float[1,1,4,4] x) => (float[] y, float[] z)
    <float[2] w = {1, -3}, int64[1] i = {7}, float[4] scales = {1, 1, 2, 2}, float p = {2},
     float lowest = {-3.4028234663852886e38}, double d = {5}, float zero = {0}> {
        one = Constant<value_float = 1.0>()
        more = Constant<value_floats = [1.0, 2.5]>()
        tensor = Constant<value = float[2] {1, 4}>()
        count = Constant<value_ints = [3, 4]>()
        carried = Identity(scales)
        y = Resize(x, , carried)
        z = Pow(x, p)
    }"""
    proto = parse(text)
    proto.graph.initializer.append(onnx.helper.make_tensor("half", onnx.TensorProto.BFLOAT16, [2], [1.0, 3.0]))
    proto.graph.initializer.append(onnx.TensorProto(name="large", data_type=onnx.TensorProto.FLOAT, dims=[3]))
    model = EvalModel(proto, {"large": np.array([1, 10, 100], np.float32)})
    serialized = model.proto.SerializeToString()

    was = floats(model)
    moved: set[str] = set()
    for seed in range(8):
        result, again = (jittered_model(model, np.random.default_rng(seed)) for _ in range(2))
        now = floats(result)
        assert result.proto == again.proto
        assert np.array_equal(now["large"], again.weights["large"])
        assert np.isfinite(now["lowest"])
        for name in was:
            assert now[name].dtype == was[name].dtype
            if not np.array_equal(was[name], now[name]):
                moved.add(name)
                u = {"d": 2.0**-53, "half": 2.0**-8}.get(name, 2.0**-24)
                ratio = now[name].astype(np.float64) / was[name].astype(np.float64) - 1
                assert np.abs(ratio).max() < 12 * u, name
    assert moved == {"w", "d", "one", "more", "tensor", "half", "large", "lowest"}
    assert model.proto.SerializeToString() == serialized
    assert np.array_equal(model.weights["large"], [1, 10, 100])


def test_inputs_are_moved_and_integers_stay() -> None:
    feeds: dict[str, Any] = {"x": np.ones(100, np.float16), "i": np.arange(3), "s": [np.ones(2, np.float32)], "n": None}
    moved = jittered(feeds, np.random.default_rng(0))
    assert 1e-4 < np.std(moved["x"].astype(np.float64)) < 2e-3
    assert np.array_equal(moved["i"], feeds["i"])
    assert moved["s"][0].tolist() != [1.0, 1.0]
    assert moved["n"] is None


# Adding a large number and taking it away rounds to its own grid: only who moves both sees that.
GRID = """g (float[4] x) => (float[4] y) <float a = {10000}, float b = {-10000}> {
    s = SequenceConstruct(x, x)
    m = SequenceMap (s) <body = e (float[4] v) => (float[4] w) { w = Neg(v) }>
    z = Constant<value_int = 0>()
    q = SequenceAt(m, z)
    p = Add(q, a) y = Add(p, b)
}"""


@pytest.mark.parametrize("check", [quick, full])
def test_without_a_twin_what_weights_round_to_counts(check: Any) -> None:
    right = check(GRID, GRID.replace("p = Add(q, a) y = Add(p, b)", "y = Identity(q)"))
    assert any("judged without its float64 twin: SequenceMap has no twin" in note for note in right.notes)
    assert right.equivalent, right.explain()
    wrong = check(GRID, GRID.replace("-10000", "-10000.25"))
    assert wrong.status is Status.DIFFERENT, wrong.explain()
    assert "more than 8 times the spread under jitter" in (wrong.outputs[0].why or "")


def test_a_first_model_that_no_moved_weights_suit_leaves_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Evaluator.__init__
    texts = (GRID, GRID.replace("p = Add(q, a) y = Add(p, b)", "y = Identity(q)"))

    def refuses(self: Evaluator, model: onnx.ModelProto, **options: Any) -> None:
        if not any(model.graph == parse(text).graph for text in texts):
            raise EvaluationError("other weights are refused")
        real(self, model, **options)

    monkeypatch.setattr(Evaluator, "__init__", refuses)
    verdict = quick(*texts)
    assert verdict.status is Status.NOT_RUN
    assert verdict.outputs[0].why == "a second run on normal 0 failed: other weights are refused"


def test_a_second_model_that_is_not_loaded_in_time_is_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Evaluator.__init__
    before, after = EvalModel(parse(GRID)), EvalModel(parse(GRID.replace("10000", "20000")))

    def slow(self: Evaluator, model: onnx.ModelProto, **options: Any) -> None:
        if model.graph == after.proto.graph:
            raise EvaluationTimeoutError("it took longer than 1 s")
        real(self, model, **options)

    monkeypatch.setattr(Evaluator, "__init__", slow)
    verdict = check_models(before, after, families="quick")
    assert verdict.status is Status.NOT_RUN, verdict.explain()


@dataclass(frozen=True)
class DropGrid(RewritePass):
    """Takes Clip, Add and Add for the Clip alone."""

    name: ClassVar[str] = "drop-grid"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Add"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(node.inputs[0], "Add")
        clip = None if first is None else facts.producer(first.inputs[0], "Clip")
        return None if first is None or clip is None else facts.region(clip, first, node)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Clip", match.inputs[0])]


def drop_grid(second: str) -> Run:
    text = f"""g (float[N] x) => (float[N] y) <float a = {{10000}}, float b = {{{second}}}> {{
        c = Clip(x) p = Add(c, a) y = Add(p, b)
    }}"""
    return rewrite(text, DropGrid())


def test_regions_without_a_twin_are_judged_with_moved_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(twin_ops.KERNELS, "Clip", lambda _a, inputs, _o: inputs[0] + 1e6)  # too far to be its twin
    assert [outcome.grade for outcome in drop_grid("-10000").one.applied] == ["value-tested"]
    (rejected,) = drop_grid("-10000.25").one.rejected
    assert "more than 8 times the spread under jitter" in str(rejected.evidence)

"""The rounding rule: what two models may differ by, and what is left out or left open."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.verification.disturb import Marks, Noise
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationTimeoutError, Evaluator
from onnxfuse.verification.input_sets import InputSet
from onnxfuse.verification.inputs import Binding
from onnxfuse.verification.model import Tolerance, check_models
from onnxfuse.verification.tolerance import RoundingRule
from onnxfuse.verification.twin import Twin
from onnxfuse.verification.verdict import OutputVerdict, Status, Verdict
from tests.verification.texts import parse


def verdict(before: str, after: str, *, families: Any = "full", **options: Any) -> Verdict:
    return check_models(EvalModel(parse(before)), EvalModel(parse(after)), families=families, **options)


def only(found: Verdict) -> OutputVerdict:
    (output,) = found.outputs
    return output


def head(kind: str = "float", *, out: str | None = None) -> str:
    return f"g ({kind}[N, 8] x) => ({out or kind}[N, 8] y)"


def typed(text: str, kind: str) -> EvalModel:
    """A model whose constants `{t}` are of that type too; onnx reads no float16 from text."""
    model = parse(f"{head(kind)} {text.replace('{t}', 'double')}")
    dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
    for tensor in model.graph.initializer:
        if tensor.data_type == tensor.DOUBLE:
            array = onnx.numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return EvalModel(model)


# ---- right and wrong rewrites, with effects of a few rounding errors

PAIRS = {
    "a product of factors": (
        "<{t} a = {0.1}, {t} b = {3}> { p = Mul(x, a) y = Mul(p, b) }",
        "<{t} b = {3}, {t} a = {0.1}> { c = Mul(a, b) y = Mul(x, c) }",
        "<{t} b = {3.1}, {t} a = {0.1}> { c = Mul(a, b) y = Mul(x, c) }",
    ),
    "a sum in another order": (
        "<{t} a = {1.7}> { p = Mul(x, x) q = Add(p, a) y = Add(q, x) }",
        "<{t} a = {1.7}> { p = Mul(x, x) q = Add(x, a) y = Add(q, p) }",
        "<{t} a = {1.74}> { p = Mul(x, x) q = Add(x, a) y = Add(q, p) }",
    ),
    "a division as a product": (
        "<{t} a = {3}> { y = Div(x, a) }",
        "<{t} a = {3}> { r = Reciprocal(a) y = Mul(x, r) }",
        "<{t} a = {2.9}> { r = Reciprocal(a) y = Mul(x, r) }",
    ),
    "a softmax": (
        "{ y = Softmax(x) }",
        "<int64[1] k = {1}> { m = ReduceMax(x, k) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, k) y = Div(e, s) }",
        """<int64[1] k = {1}, {t} o = {0.05}> {
            m = ReduceMax(x, k) d = Sub(x, m) e = Exp(d) u = ReduceSum(e, k) s = Add(u, o) y = Div(e, s) }""",
    ),
}


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
@pytest.mark.parametrize(("before", "right", "wrong"), PAIRS.values(), ids=PAIRS)
def test_right_rewrites_pass_and_wrong_ones_do_not(kind: str, before: str, right: str, wrong: str) -> None:
    models = [typed(text, kind) for text in (before, right, wrong)]
    passed = check_models(models[0], models[1], families="full")
    assert passed.equivalent, passed.explain()
    assert (only(passed).sigmas or 0) <= 8
    failed = check_models(models[0], models[2], families="quick")
    assert failed.status is Status.DIFFERENT, failed.explain()
    assert (only(failed).sigmas or 0) > 8


@pytest.mark.parametrize(
    ("before", "after", "family"),
    [
        ("{ y = Mul(x, x) }", "<float m = {300}> { a = Abs(x) c = Min(a, m) y = Mul(c, a) }", "ladder"),
        ("{ y = Mul(x, x) }", "<float m = {500}> { a = Abs(x) c = Min(a, m) y = Mul(c, a) }", "offset"),
        (
            "<float m = {-1e-4}> { a = Neg(x) b = Relu(a) y = Mul(b, m) }",
            """<float m = {-1e-4}, float z = {0}> {
                c = Add(x, z) e = Less(c, z) p = Mul(c, m) n = Neg(p) o = Mul(z, m) y = Where(e, n, o) }""",
            "",
        ),
    ],
    ids=["ladder", "offset", "right"],
)
def test_every_family_is_judged(before: str, after: str, family: str) -> None:
    found = verdict(f"{head()} {before}", f"{head()} {after}", selected=["normal", family] if family else None)
    assert (found.status is Status.DIFFERENT) == bool(family), found.explain()
    assert (only(found).draw or "").startswith(family)


def test_an_epsilon_that_is_seen_only_where_the_variance_is_small() -> None:
    text = f"{head()} <float[8] s = {{1, 1, 1, 1, 1, 1, 1, 1}}> {{ y = LayerNormalization<epsilon = 1.0e-5>(x, s) }}"
    found = verdict(text, text.replace("1.0e-5", "2.0e-5"))
    assert found.status is Status.DIFFERENT


# ---- noise


def test_the_noise_does_not_hang_on_names() -> None:
    text = f"{head()} <float a = {{0.3}}> {{ b = Mul(x, a) c = Tanh(b) y = Add(c, x) }}"
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
    one, two = (
        Twin(EvalModel(parse(source))).run(feeds, Noise(np.random.default_rng(5)))[0]
        for source in (text, text.replace("b = ", "q = ").replace("Tanh(b)", "Tanh(q)"))
    )
    assert np.array_equal(one, two)


def test_the_answer_does_not_hang_on_the_seed() -> None:
    before, right, wrong = (f"{head()} {text.replace('{t}', 'float')}" for text in PAIRS["a softmax"])
    for seed in range(6):
        assert verdict(before, right, families="quick", seed=seed).equivalent
        assert verdict(before, wrong, families="quick", seed=seed).status is Status.DIFFERENT


# ---- what overflows or is no number


def test_what_overflows_on_the_way_is_left_out_and_counted() -> None:
    before = f"{head()} <float a = {{3}}> {{ p = Mul(x, x) q = Mul(p, a) y = Add(q, x) }}"
    after = f"{head()} <float a = {{3}}> {{ p = Mul(x, a) q = Mul(p, x) y = Add(q, x) }}"
    found = verdict(before, after)
    assert found.equivalent, found.explain()
    assert only(found).basis == "rounding"


def test_an_infinite_mask_is_not_what_is_left_out() -> None:
    right = "0, 0, -inf, 0, 0, -inf, 0, 0"
    models = []
    for values in (right, right.replace("-inf, 0, 0, -inf", "0, -inf, 0, -inf")):
        model = parse(f"{head()} {{ a = Add(x, m) y = Softmax(a) }}")
        array = np.array([float(item) for item in values.split(",")], np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, "m"))
        models.append(EvalModel(model))
    assert check_models(*models, families="quick").status is Status.DIFFERENT


def test_a_nan_that_is_lost_where_nothing_else_differs_is_different() -> None:
    before = f"{head()} <float z = {{0}}> {{ y = Mul(x, z) }}"
    found = verdict(before, f"{head()} <float z = {{0}}> {{ s = Shape(x) y = Expand(z, s) }}")
    assert found.status is Status.DIFFERENT
    assert "but what overflows, or comes from NaN or infinity, differs" in (only(found).why or "")


def test_a_pole_is_not_left_out() -> None:
    before = f"{head()} {{ y = Reciprocal(x) }}"
    after = (
        f"{head()} <float e = {{1e-30}}, float o = {{1}}> {{ s = Sign(x) q = Mul(s, e) p = Add(x, q) y = Div(o, p) }}"
    )
    assert verdict(before, after).status is Status.DIFFERENT


def test_marks_stay_where_they_were_set() -> None:
    model = EvalModel(parse(f"{head()} {{ y = Tanh(x) }}"))
    x = np.zeros((2, 8), np.float32)
    x[0, 3], x[1, 5] = np.inf, 1e20
    for number in range(2):
        (y,) = Twin(model).run({"x": x}, Marks(np.random.default_rng(0), number, overflows=False))
        moved = ~(y == np.tanh(x.astype(np.float64)))
        assert np.argwhere(moved).tolist() == [[0, 3], [1, 5]]


# ---- thresholds


STEPS = """g (float[4096] x) => (int64[4096] y) <float a = {%s}, float b = {%s}> {
    p = Mul(x, a) q = Mul(p, b) r = Floor(q) y = Cast<to = 7>(r) }"""


def test_where_nearly_all_hangs_on_thresholds_nothing_is_said() -> None:
    # Rounding decides whether integers times 0.7 times 1/0.7 stay what they are.
    data = [{"x": np.arange(1, 4097, dtype=np.float32)}]
    found = verdict(STEPS % ("0.7", "1.4285715"), STEPS % ("1.4285715", "0.7"), data=data)
    assert found.status is Status.NOT_RUN, found.explain()
    assert only(found).why == "most of it hangs on a threshold, where rounding decides between whole steps"


def test_few_steps_are_rounding_and_are_counted() -> None:
    x = np.random.default_rng(0).standard_normal(4096).astype(np.float32) * 20
    x[:8] = np.arange(20, 28)
    found = verdict(STEPS % ("0.7", "1.4285715"), STEPS % ("1.4285715", "0.7"), data=[{"x": x}])
    assert found.equivalent, found.explain()
    assert 0 < only(found).skipped < 9
    wrong = verdict(STEPS % ("0.7", "1.4285715"), STEPS % ("1.43", "0.7"), data=[{"x": x}])
    assert wrong.status is Status.DIFFERENT
    assert "rounding does not change these values" in (only(wrong).why or "")


# ---- kinds of outputs, and models without twins


def test_sequences_are_judged_tensor_by_tensor() -> None:
    text = """g (float[6] x) => (seq(float[K]) y) <float a = {%s}, float b = {%s}> {
        p = Mul(x, a) q = Mul(p, b) n = Constant<value_int = 2>() y = SplitToSequence(q, n) }"""
    found = verdict(text % ("0.1", "3"), text % ("3", "0.1"))
    assert found.equivalent, found.explain()
    assert only(found).basis == "rounding"
    wrong = verdict(text % ("0.1", "3"), text % ("3", "0.11"), families="quick")
    assert wrong.status is Status.DIFFERENT


def test_complex_outputs_are_judged_by_their_parts() -> None:
    text = """g (float[1, 16, 1] x) => (float[1, 16, 2] y) <float a = {%s}, float b = {%s}, int64 k = {1}> {
        p = Mul(x, a) q = Mul(p, b) y = DFT(q, "", k) }"""
    found = verdict(text % ("0.1", "3"), text % ("3", "0.1"), families="quick")
    assert found.equivalent, found.explain()
    assert verdict(text % ("0.1", "3"), text % ("3", "0.12"), families="quick").status is Status.DIFFERENT


def test_float64_outputs_have_limits_of_their_own() -> None:
    text = f"{head('double')} <double a = {{%s}}, double b = {{%s}}> {{ p = Mul(x, a) y = Mul(p, b) }}"
    found = verdict(text % ("0.1", "3"), text % ("3", "0.1"))
    assert found.equivalent, found.explain()
    assert 0 < (only(found).max_rel or 0) < 1e-14
    assert verdict(text % ("0.1", "3"), text % ("3", "0.1000000000001"), families="quick").status is Status.DIFFERENT


def test_without_a_twin_the_jitter_of_the_first_model_decides() -> None:
    # onnx has no float64 implementation of a sequence map that a twin could take.
    text = """g (float[4] x) => (float[4] y) <float a = {%s}, float b = {%s}> {
        s = SequenceConstruct(x, x)
        m = SequenceMap (s) <body = e (float[4] v) => (float[4] w) { p = Mul(v, a) w = Mul(p, b) }>
        z = Constant<value_int = 0>()
        y = SequenceAt(m, z) }"""
    found = verdict(text % ("0.1", "3"), text % ("3", "0.1"), families="quick")
    assert any("judged without its float64 twin: SequenceMap has no twin" in note for note in found.notes), (
        found.explain()
    )
    assert found.equivalent, found.explain()
    wrong = verdict(text % ("0.1", "3"), text % ("3", "0.101"), families="quick")
    assert wrong.status is Status.DIFFERENT
    assert "more than 8 times the spread under jitter" in (only(wrong).why or "")


def test_a_twin_that_is_far_from_its_model_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxfuse.verification import twin_ops

    monkeypatch.setitem(twin_ops.KERNELS, "Clip", lambda _a, inputs, _o: inputs[0] + 1.0)
    text = f"{head()} <float a = {{%s}}, float b = {{%s}}> {{ c = Clip(x) p = Mul(c, a) y = Mul(p, b) }}"
    found = verdict(text % ("0.1", "3"), text % ("3", "0.1"), families="quick")
    assert any("judged without its float64 twin: its results are too far from it" in note for note in found.notes)
    assert found.equivalent, found.explain()
    assert verdict(text % ("0.1", "3"), text % ("3", "0.2"), families="quick").status is Status.DIFFERENT


# ---- a user's own tolerance


@pytest.mark.parametrize(("rtol", "equivalent"), [(0.05, True), (0.01, False)])
def test_a_tolerance_of_ones_own(rtol: float, *, equivalent: bool) -> None:
    text = f"{head()} <float a = {{%s}}> {{ y = Mul(x, a) }}"
    found = verdict(text % "0.3", text % "0.31", families="quick", tolerances={"y": Tolerance(rtol=rtol)})
    assert found.equivalent is equivalent
    if equivalent:
        assert only(found).basis == "tolerance"
        assert (only(found).needed or 0) > 0
    else:
        assert "that is not within rtol 0.01 and atol 0, as asked for" in (only(found).why or "")


def test_what_overflows_decides_only_once_all_was_judged() -> None:
    # Of the first set nothing but what overflows differs; the second, which shows that it is rounding, is not finished.
    before = EvalModel(parse(f"{head()} <float a = {{1e30}}, float b = {{1e-30}}> {{ p = Mul(x, a) y = Mul(p, b) }}"))
    after = EvalModel(parse(f"{head()} {{ y = Identity(x) }}"))
    models = [Evaluator(model.proto) for model in (before, after)]
    sets = [
        InputSet(f"ladder {size:g}", "ladder", Binding({}), partial(dict, x=np.full((1, 8), size, np.float32)))
        for size in (1e20, 0.7)
    ]

    def run(feeds: Mapping[str, Any], *, most: float) -> tuple[list[Any], list[Any]]:
        if np.abs(feeds["x"]).max() < most:
            raise EvaluationTimeoutError("the time is up")
        return models[0].run(feeds), models[1].run(feeds)

    def rerun(model: EvalModel, feeds: Mapping[str, Any]) -> list[Any]:
        return Evaluator(model.proto).run(feeds)

    (judgement,) = RoundingRule(before, after, partial(run, most=1.0), rerun).decide(sets, [])
    assert (judgement.why, judgement.skipped_differs) == (None, "ladder 1e+20")
    assert judgement.undecided == "whether the difference is rounding was not decided in time"
    (judgement,) = RoundingRule(before, after, partial(run, most=0.0), rerun).decide(sets[:1], [])
    assert "nothing is rounded otherwise" in (judgement.why or "")

"""What two whole models compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.errors import UsageError
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.model import check_models
from onnxfuse.verification.verdict import Status
from tests.verification.texts import parse
from tests.verification.whole_models import detour, full, quick

# ---- values


def test_a_slice_off_by_one_is_different() -> None:
    before = "g (float[8] x) => (float[3] y) <int64[1] s = {1}, int64[1] e = {4}> { y = Slice(x, s, e) }"
    verdict = quick(before, before.replace("{1}", "{2}").replace("{4}", "{5}"))
    (output,) = verdict.outputs
    assert output.status is Status.DIFFERENT
    assert (output.why or "").startswith("value: 3 of 3 values differ")
    assert "no operator that it comes from rounds" in (output.why or "")
    assert output.draw == "normal 0"
    assert output.max_abs is not None
    assert output.max_abs > 0
    shorter = quick(before, before.replace("{4}", "{3}"))
    assert (shorter.outputs[0].why or "").startswith("shape: [3] before, [2] after")


def test_merged_slices_are_equivalent() -> None:
    verdict = full(
        """g (float[N, 9] x) => (float[K, 2] y)
        <int64[1] s = {1}, int64[1] e = {5}, int64[1] a = {1}, int64[1] t = {3}> {
            p = Slice(x, s, e, a) y = Slice(p, s, t, a)
        }""",
        """g (float[N, 9] x) => (float[K, 2] y)
        <int64[1] s = {2}, int64[1] e = {4}, int64[1] a = {1}> { y = Slice(x, s, e, a) }""",
    )
    assert verdict.equivalent, verdict.explain()
    # 29 at N=2 (the ladder in 12), and 5 at each of 7, 1, 3, 0 and 4.
    assert (verdict.draws, verdict.dropped, verdict.backend) == (54, 0, "onnxruntime")


def test_casts_that_saturate_differ_only_on_the_ladder() -> None:
    before = "g (double[4] x) => (int8[4] y) { i = Cast<to = 7>(x) y = Cast<to = 3>(i) }"
    after = "g (double[4] x) => (int8[4] y) { y = Cast<to = 3>(x) }"
    assert quick(before, after).equivalent
    verdict = full(before, after)
    assert verdict.status is Status.DIFFERENT
    assert (verdict.outputs[0].draw or "").startswith("ladder")


def test_a_lost_sign_of_zero_is_rounding_only_where_something_rounds() -> None:
    # x + 0 is what drops it; that a sum rounds is known, and by how much a zero may be off.
    verdict = full(
        "g (float[3] x) => (float[3] y) <float z = {0}> { y = Add(x, z) }",
        "g (float[3] x) => (float[3] y) { y = Identity(x) }",
    )
    (output,) = verdict.outputs
    assert (output.status, output.basis) == (Status.EQUIVALENT, "rounding"), verdict.explain()
    assert (output.max_abs, output.max_ulp, output.sigmas) == (0.0, 0, 0.0)
    moved = full(
        "g (float[3] x) => (float[3] y) { a = Neg(x) y = Abs(a) }",
        "g (float[3] x) => (float[3] y) { a = Abs(x) y = Neg(a) }",
        data=[{"x": np.zeros(3, np.float32)}],
    )
    assert moved.status is Status.DIFFERENT
    assert "in the sign of a zero at (0,)" in (moved.outputs[0].why or "")
    assert (moved.outputs[0].max_abs, moved.outputs[0].max_ulp) == (0.0, 1)


def test_a_lost_sign_of_zero_that_is_divided_by_is_different() -> None:
    verdict = full(
        "g (float[3] x) => (float[3] y) <float z = {0}> { a = Add(x, z) y = Reciprocal(a) }",
        "g (float[3] x) => (float[3] y) { y = Reciprocal(x) }",
    )
    assert verdict.status is Status.DIFFERENT, verdict.explain()
    assert "NaN and infinities must be at the same positions" in (verdict.outputs[0].why or "")


def test_a_lost_nan_is_different() -> None:
    verdict = full(
        "g (float[3] x) => (float[3] y) <float one = {1}> { y = Max(x, x) }",
        "g (float[3] x) => (float[3] y) <float low = {-3.4028235e38}> { n = IsNaN(x) y = Where(n, low, x) }",
    )
    assert verdict.status is Status.DIFFERENT
    (output,) = verdict.outputs
    assert (output.why or "").startswith(
        "value: nothing is rounded otherwise, but what overflows, or comes from NaN or infinity, differs, on ladder "
    )
    assert (output.draw or "").startswith("ladder ")
    assert (output.max_abs, output.needed) == (0.0, 0.0)


def test_a_nan_on_a_normal_input_is_different() -> None:
    verdict = quick(
        "g (float[30] x) => (float[30] y) { a = Abs(x) y = Sqrt(a) }",
        "g (float[30] x) => (float[30] y) { y = Sqrt(x) }",
    )
    assert verdict.status is Status.DIFFERENT
    assert "NaN and infinities" in (verdict.outputs[0].why or "")


def test_rounding_is_told_with_its_size() -> None:
    before = "g (float[N, 8] x) => (float[N, 8] y) <float a = {0.1}, float b = {3}> { p = Mul(x, a) y = Mul(p, b) }"
    after = "g (float[N, 8] x) => (float[N, 8] y) <float c = {0.3}> { y = Mul(x, c) }"
    for check in (quick, full):
        verdict = check(before, after)
        assert verdict.equivalent, verdict.explain()
        (output,) = verdict.outputs
        assert output.basis == "rounding"
        assert (output.tolerance or "").startswith("rounding: 0.")
        assert (output.tolerance or "").endswith(" of at most 8 times what rounding explains")
        assert (output.why, output.at, output.draw, output.skipped) == (None, None, None, 0)
        assert 1 <= (output.max_ulp or 0) <= 4
        assert 0 < (output.max_rel or 0) < 1e-6
        assert 0 < (output.needed or 0) <= (output.max_abs or 0) < 1e-6
        assert 0 < (output.sigmas or 0) < 2
        assert (verdict.layers, verdict.first_diverging, verdict.inputs) == ((), None, None)


def test_more_than_rounding_is_different() -> None:
    verdict = quick(
        "g (float[8] x) => (float[8] y) <float a = {0.3}> { y = Mul(x, a) }",
        "g (float[8] x) => (float[8] y) <float a = {0.31}> { y = Mul(x, a) }",
    )
    assert verdict.status is Status.DIFFERENT
    (output,) = verdict.outputs
    assert (output.why or "").startswith("value: 8 of 8 float32 values differ, ")
    assert "the exact results are apart by 2.44e+05 times what rounding explains, and the limit is 8" in (
        output.why or ""
    )
    assert output.max_rel == pytest.approx(1 / 30, rel=1e-4)
    assert (output.sigmas or 0) > 1e5
    assert (output.at, output.draw) == ((0,), "normal 0")
    assert verdict.inputs is not None
    assert verdict.inputs["x"].shape == (8,)


def test_a_difference_far_below_the_usual_tolerances_is_found() -> None:
    before = "g (float[8] x) => (float[8] y) <float a = {0.3}> { y = Mul(x, a) }"
    verdict = quick(before, before.replace("0.3}", "0.30001}"))
    assert verdict.status is Status.DIFFERENT
    assert (verdict.outputs[0].needed or 1) < 1e-4


def test_one_step_of_a_quantizer_may_be_rounding_and_a_shift_is_not() -> None:
    before = """g (float[5000] x) => (uint8[5000] q, float[5000] y)
    <float s = {0.05}, uint8 z = {128}, float k = {1.5}> {
        m = Mul(x, k) q = QuantizeLinear(m, s, z) y = DequantizeLinear(q, s, z)
    }"""
    three = before.replace("float k = {1.5}", "float k = {0.7}, float l = {0.3}, float o = {7.142857}")
    three = three.replace("m = Mul(x, k)", "a = Mul(x, k) b = Mul(a, l) m = Mul(b, o)")
    drawn = quick(before, three)
    assert drawn.equivalent, drawn.explain()
    for factor in ("{1.5001}", "{1.6}"):
        shifted = quick(before, before.replace("{1.5}", factor))
        assert [output.status for output in shifted.outputs] == [Status.DIFFERENT, Status.DIFFERENT]
        assert "rounding does not change these values" in (shifted.outputs[0].why or "")


def test_integers_that_differ_are_different() -> None:
    verdict = quick(
        "g (int64[8] x) => (int64[8] y) <int64 a = {2}> { y = Add(x, a) }",
        "g (int64[8] x) => (int64[8] y) <int64 a = {3}> { y = Add(x, a) }",
    )
    assert verdict.status is Status.DIFFERENT
    assert "8 of 8 int64 values differ" in (verdict.outputs[0].why or "")
    assert verdict.outputs[0].at == (0,)


def test_only_the_output_that_differs_is_different() -> None:
    verdict = full(
        "g (float[4] x) => (float[4] y, float[4] z) { y = Neg(x) z = Identity(x) }",
        "g (float[4] x) => (float[4] y, float[4] z) { y = Identity(x) z = Identity(x) }",
    )
    assert [output.status for output in verdict.outputs] == [Status.DIFFERENT, Status.EQUIVALENT]
    assert verdict.status is Status.DIFFERENT
    assert [output.basis for output in verdict.outputs] == [None, "structure"]
    # What is known to differ is not run on, and what is computed identically is not run at all.
    assert verdict.draws == 1
    assert "1 of 2 outputs are computed identically, and need no run" in verdict.notes
    more = full(
        "g (float[4] x) => (float[4] y, float[4] z) { y = Neg(x) z = Identity(x) }",
        "g (float[4] x) => (float[4] y, float[4] z) { y = Identity(x) z = Concat<axis = 0>(x) }",
    )
    assert [(output.status, output.basis) for output in more.outputs] == [
        (Status.DIFFERENT, None),
        (Status.EQUIVALENT, "bits"),
    ]
    assert more.draws == 3 + 25 + 14


def test_failing_where_the_first_runs_is_different() -> None:
    before = "g (float[N] x) => (float[N] y) { y = Identity(x) }"
    after = "g (float[N] x) => (float[N] y) <int64[1] s = {1}> { y = Reshape(x, s) }"
    verdict = full(before, after)
    assert (verdict.outputs[0].why or "").startswith("value: the second model fails where the first one runs: ")
    assert verdict.outputs[0].draw == "normal 0 at N=2"
    assert verdict.draws == 1


def test_input_sets_on_which_the_first_fails_are_dropped_and_counted() -> None:
    before = "g (float[N] x) => (float[K] y) <int64[2] s = {2, -1}> { r = Reshape(x, s) y = Flatten(r) }"
    verdict = full(before, detour(before))
    assert verdict.equivalent, verdict.explain()
    assert verdict.dropped == 3
    assert verdict.notes[0].startswith(
        "not compared at N=1; N=3; N=7, since the first model does not run there: Non-zero status code"
    )
    verdict = full(before, detour(before), dims={"N": 4})
    assert (verdict.draws, verdict.dropped) == (3 + 25 + 14, 0)
    fails = """g (float[4] x) => (float[K] y) <float m = {0.001}> {
        s = ReduceSum(x) t = Mul(s, m) i = Cast<to = 7>(t) y = Gather(x, i)
    }"""
    verdict = full(fails, detour(fails))
    assert verdict.equivalent
    assert verdict.dropped > 3
    assert any("input sets dropped, since the first model does not run on them: " in note for note in verdict.notes)


def test_full_tries_many_bindings() -> None:
    text = "g (float[A, B] x, float[B] z) => (float[K, L] y) { y = Mul(x, z) }"
    labels: list[str] = []
    verdict = full(text, detour(text), progress=lambda label, *_: labels.append(label))
    assert verdict.equivalent
    assert labels[:3] == [f"normal {index} at A=2, B=3" for index in range(3)]
    assert sum(label.startswith("ladder") and label.endswith("A=2, B=3") for label in labels) == 12
    assert {label.partition(" at ")[2] for label in labels} == {
        *("A=2, B=3", "A=6, B=7", "A=1, B=1", "A=7, B=7", "A=3, B=3", "A=2, B=2"),
        *("A=1, B=3", "A=3, B=1", "A=0, B=0", "A=0, B=3"),
    }


def test_what_is_right_at_one_size_only_is_found() -> None:
    before = "g (float[A, B] x) => (float[K, L] y) { y = Transpose(x) }"
    after = """g (float[A, B] x) => (float[K, L] y) {
        s = Shape(x) r = Slice(s, one, end, zero, minus) y = Reshape(x, r)
    }"""
    second = parse(after)
    for name, value in (("one", 1), ("end", -9), ("zero", 0), ("minus", -1)):
        second.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    assert check_models(EvalModel(parse(before)), EvalModel(second), families="quick").equivalent
    verdict = check_models(EvalModel(parse(before)), EvalModel(second), families="full")
    assert verdict.status is Status.DIFFERENT
    assert verdict.outputs[0].draw == "normal 0 at A=2, B=3"


# ---- the user's own inputs


def test_the_users_input_sets_are_used_instead_of_drawn_ones() -> None:
    before = "g (float[N] x) => (float[N] y) { y = Relu(x) }"
    after = "g (float[N] x) => (float[N] y) { y = Identity(x) }"
    positive, negative = {"x": np.array([1, 2], np.float32)}, {"x": np.array([-1], np.float32)}
    assert quick(before, after, data=[positive]).equivalent
    verdict = quick(before, after, data=[positive, negative])
    assert verdict.status is Status.DIFFERENT
    assert (verdict.draws, verdict.outputs[0].draw) == (2, "data 1")


@pytest.mark.parametrize(
    ("data", "message"),
    [({}, "input set 0 has nothing for input x"), ({"x": [], "z": []}, "input set 0 has z, which is no input")],
)
def test_input_sets_that_do_not_fit_are_the_users_mistake(data: dict[str, Any], message: str) -> None:
    text = "g (float[N] x) => (float[K] y) { y = Relu(x) }"
    with pytest.raises(UsageError, match=message):
        quick(text, detour(text), data=[data])


def test_input_sets_that_the_first_model_refuses_are_not_run() -> None:
    text = "g (int64[N] x) => (float[N] y) <float[2] w = {1, 2}> { z = Gather(w, x) y = Relu(z) }"
    verdict = quick(text, detour(text), data=[{"x": np.array([7])}])
    assert verdict.status is Status.NOT_RUN
    assert verdict.dropped == 1
    assert "the first model runs on no input set: data 0:" in (verdict.outputs[0].why or "")


# ---- limits


def test_a_model_without_inputs_is_run_once() -> None:
    text = "g () => (float[K] y) <float[2] w = {1, 2}> { y = Neg(w) }"
    verdict = full(text, detour(text))
    assert verdict.equivalent
    assert verdict.draws == 1


def test_the_verdict_is_the_same_every_time() -> None:
    before = "g (float[N, 8] x) => (float[N, 8] y) { y = Softmax(x) }"
    after = "g (float[N, 8] x) => (float[N, 8] y) { l = LogSoftmax(x) y = Exp(l) }"
    first, second = full(before, after, seed=5), full(before, after, seed=5)
    assert first.outputs == second.outputs
    assert first.outputs[0].basis == "rounding", first.explain()
    assert (first.outputs[0].max_ulp or 0) > 0


def test_what_no_output_reads_must_run_too() -> None:
    before = "g (float[N] x) => (float[N] y) { y = Relu(x) }"
    after = "g (float[N] x) => (float[N] y) <int64[2] s = {5, 7}> { y = Relu(x) z = Reshape(x, s) }"
    verdict = full(before, after)
    assert verdict.status is Status.DIFFERENT, verdict.explain()
    assert "the second model fails where the first one runs" in (verdict.outputs[0].why or "")
    harmless = full(before, "g (float[N] x) => (float[N] y) { y = Relu(x) z = Neg(x) }")
    assert harmless.equivalent, harmless.explain()
    assert harmless.outputs[0].basis == "structure"
    assert harmless.draws == 3


def test_a_lost_sign_of_zero_is_called_that() -> None:
    before = "g (float[N] x) => (float[N] y) <float z = {0}> { y = Add(x, z) }"
    verdict = full(before, "g (float[N] x) => (float[N] y) { y = Identity(x) }")
    assert verdict.equivalent
    assert (verdict.outputs[0].tolerance, verdict.outputs[0].skipped) == ("only signs of zeros differ", 0)


def test_differences_that_were_all_left_out_are_not_called_signs_of_zeros() -> None:
    # Powers of two round nothing: only what overflows on the way differs, and with a Floor that is no evidence.
    before = """g (float[N] x) => (float[N] y, float[N] z) <float a = {1.2379400392853803e27}, float b = {8.0779356694631609e-28}> {
        p = Mul(x, a) y = Mul(p, b) z = Floor(y)
    }"""
    verdict = full(before, before.replace("p = Mul(x, a) y = Mul(p, b)", "y = Identity(x)"))
    assert verdict.equivalent, verdict.explain()
    for output in verdict.outputs:
        assert output.tolerance == "what differs was left out, or is the sign of a zero"
        assert output.skipped > 0
        assert f"{output.skipped} positions left out, which overflow or hang on a threshold" in str(output)

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.errors import UsageError
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import Evaluator
from onnxfuse.verification.input_sets import Feeds
from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.model import check_models
from onnxfuse.verification.pair import Pair
from onnxfuse.verification.verdict import Status, Verdict

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'


def parse(text: str, header: str = HEADER) -> onnx.ModelProto:
    return onnx.parser.parse_model(header + text)


def detour(text: str, header: str = HEADER) -> onnx.ModelProto:
    """The same model, its outputs passed through what changes no bit: told equal by a run, and not by its structure."""
    model = parse(text, header)
    names = {value.name: f"before {value.name}" for value in model.graph.output}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    model.graph.node.extend(onnx.helper.make_node("Concat", [old], [new], axis=0) for new, old in names.items())
    return model


def pair(before: str, after: str | onnx.ModelProto, header: str = HEADER) -> tuple[EvalModel, EvalModel]:
    return EvalModel(parse(before, header)), EvalModel(parse(after, header) if isinstance(after, str) else after)


def full(before: str, after: str | onnx.ModelProto, **options: Any) -> Verdict:
    return check_models(*pair(before, after), families="full", **options)


def quick(before: str, after: str | onnx.ModelProto, **options: Any) -> Verdict:
    return check_models(*pair(before, after), families="quick", **options)


# ---- interface


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (float[N] z) => (float[N] y) { y = Neg(z) }",
            "input x is gone",
        ),
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (float[N] x, float[N] z) => (float[N] y) { y = Neg(x) }",
            "input z is new",
        ),
        (
            "g (float[N] x, float[N] z) => (float[N] y) { y = Sub(x, z) }",
            "g (float[N] z, float[N] x) => (float[N] y) { y = Sub(x, z) }",
            "inputs are in another order: z, x",
        ),
        (
            "g (float[N] x) => (float[N] y, float[N] z) { y = Neg(x) z = Abs(x) }",
            "g (float[N] x) => (float[N] z, float[N] y) { y = Neg(x) z = Abs(x) }",
            "outputs are in another order: z, y",
        ),
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (double[N] x) => (float[N] y) { y = Cast<to = 1>(x) }",
            "input x is tensor(DOUBLE), it was tensor(FLOAT)",
        ),
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (float[N] x) => (double[N] y) { y = Cast<to = 11>(x) }",
            "output y is tensor(DOUBLE), it was tensor(FLOAT)",
        ),
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (float[4] x) => (float[4] y) { y = Neg(x) }",
            "input x accepts only 4 along axis 0, it was N",
        ),
        (
            "g (float[N,M] x) => (float[N,M] y) { y = Neg(x) }",
            "g (float[N,N] x) => (float[N,N] y) { y = Neg(x) }",
            "input x needs N along axis 1 now, it was M",
        ),
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (float[N,1] x) => (float[N,1] y) { y = Neg(x) }",
            "input x has rank 2, it had 1",
        ),
        (
            "g (seq(float[N]) x) => (seq(float[N]) y) { y = Identity(x) }",
            "g (seq(double[N]) x) => (seq(double[N]) y) { y = Identity(x) }",
            "input x is sequence(tensor(DOUBLE)), it was sequence(tensor(FLOAT))",
        ),
    ],
)
def test_a_changed_interface_is_a_difference(before: str, after: str, difference: str) -> None:
    verdict = full(before, after)
    assert verdict.status is Status.DIFFERENT
    assert difference in verdict.interface
    assert verdict.draws == 0
    assert not verdict.equivalent


def test_an_output_that_is_gone_is_different_and_the_others_are_not_compared() -> None:
    verdict = full(
        "g (float[N] x) => (float[N] y, float[N] z) { y = Neg(x) z = Abs(x) }",
        "g (float[N] x) => (float[N] z) { z = Abs(x) }",
    )
    assert [(output.status, output.why) for output in verdict.outputs] == [
        (Status.DIFFERENT, "interface: output y is gone"),
        (Status.NOT_RUN, "not compared, since the interfaces differ"),
    ]


def test_accepting_more_and_declaring_otherwise_are_notes() -> None:
    before, after = pair(
        "g (float[4] x, float[N] z) => (float[N] y) { y = Neg(z) }",
        "g (float[K] x, float[M] z) => (float[M] y) { y = Neg(z) }",
    )
    assert compare_interface(before.proto, after.proto) == (
        [],
        [
            "input x accepts any size along axis 0, it was 4",
            "input z calls its axis 0 M now, it was N",
            "output y is declared [M], it was [N]",
        ],
    )


def _with_weight(ir_version: int, *, as_input: bool, value: float = 1.0, stored: bool = True) -> EvalModel:
    inputs = "float[2] x, float[2] w" if as_input else "float[2] x"
    header = f'<ir_version: {ir_version}, opset_import: ["" : 10]>\n'
    proto = parse(f"g ({inputs}) => (float[2] y) {{ y = Add(x, w) }}", header)
    if not stored:
        return EvalModel(proto)
    proto.graph.initializer.append(onnx.TensorProto(name="w", dims=[2], data_type=onnx.TensorProto.FLOAT))
    return EvalModel(proto, {"w": np.full(2, value, np.float32)})


def test_an_overridable_initializer_must_stay_one_from_ir_4_on() -> None:
    gone = check_models(_with_weight(8, as_input=True), _with_weight(8, as_input=False), families="full")
    assert gone.interface == ("input w is gone",)
    required = check_models(
        _with_weight(8, as_input=True), _with_weight(8, as_input=True, stored=False), families="full"
    )
    assert required.interface == ("input w had a default, and must now be fed",)
    added = check_models(_with_weight(8, as_input=False), _with_weight(8, as_input=True), families="full")
    assert added.equivalent
    assert "input w is new, and has a default" in added.notes


def test_below_ir_4_initializers_are_no_inputs() -> None:
    verdict = check_models(_with_weight(3, as_input=True), _with_weight(8, as_input=False), families="full")
    assert verdict.equivalent, verdict.explain()


def test_the_default_of_an_overridable_input_is_replaced_too() -> None:
    # Folding the default in is right only as long as nobody replaces it.
    folded = _with_weight(8, as_input=True)
    folded.proto.graph.node[0].input[1] = "kept"
    folded.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "kept"))
    original = _with_weight(8, as_input=True)
    assert check_models(original, folded, families="quick").equivalent
    verdict = check_models(original, folded, families="full")
    assert verdict.status is Status.DIFFERENT
    assert verdict.outputs[0].draw == "normal 0 with replaced defaults"


# ---- identical


def test_identical_files_are_equivalent_without_a_run() -> None:
    original, copy = _with_weight(8, as_input=False), _with_weight(8, as_input=False)
    verdict = check_models(original, copy, families="full")
    assert verdict.equivalent
    assert (verdict.notes, verdict.draws, verdict.backend) == (("the files are identical",), 0, None)
    other = check_models(original, _with_weight(8, as_input=False, value=2.0), families="full")
    assert other.status is Status.DIFFERENT
    assert other.draws > 0


def test_identical_weights_have_the_same_bits() -> None:
    def notes(first: float, second: float) -> tuple[str, ...]:
        models = (_with_weight(8, as_input=False, value=value) for value in (first, second))
        return check_models(*models, families="full").notes

    assert notes(float("nan"), float("nan")) == ("the files are identical",)
    assert "the files are identical" not in notes(0.0, -0.0)


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


# ---- what cannot be run


def test_an_original_that_does_not_load_is_not_run() -> None:
    header = HEADER.replace("21]", '21, "mine" : 1]')
    before = "g (float[N] x) => (float[K] y) { z = mine.Op(x) y = Relu(z) }"
    verdict = check_models(*pair(before, detour(before, header), header), families="quick")
    assert verdict.status is Status.NOT_RUN
    assert any("cannot be left out" in note for note in verdict.notes)
    assert "the first model cannot be loaded" in verdict.not_run[0]
    assert "mine:Op(-1) is not a registered function/op" in verdict.not_run[0]
    assert verdict.outputs[0].why == verdict.not_run[0]


def test_a_second_model_with_a_custom_operator_is_not_run_and_a_broken_one_is_different() -> None:
    header = HEADER.replace("21]", '21, "mine" : 1]')
    before = "g (float[N] x) => (float[N] y) { y = Relu(x) }"
    custom = check_models(*pair(before, "g (float[N] x) => (float[N] y) { y = mine.Op(x) }", header), families="quick")
    assert custom.status is Status.NOT_RUN
    assert "the second model cannot be loaded" in custom.not_run[0]
    broken = quick(before, "g (float[N] x) => (float[N] y) { y = Relu(nowhere) }")
    assert broken.status is Status.DIFFERENT
    assert "value: the second model cannot be loaded: " in (broken.outputs[0].why or "")
    # The reference evaluator does not mind an attribute that the opset does not have.
    lax = "g (float[N] x) => (float[N] y) <int64 z = {0}> { u = Unsqueeze(x, z) y, q = Split<num_outputs = 2>(x) }"
    refused = check_models(*pair(before, lax, HEADER.replace("21]", "13]")), families="quick")
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


# ---- random operators


def test_random_outputs_need_the_same_operators_and_the_same_use_of_them() -> None:
    before = "g (float[8] x) => (float[8] y, float[8] z) { r = RandomNormalLike(x) y = Add(x, r) z = Neg(x) }"
    verdict = full(before, detour(before))
    assert [(output.status, output.basis) for output in verdict.outputs] == [
        (Status.EQUIVALENT, "random"),
        (Status.EQUIVALENT, "bits"),
    ]
    assert verdict.draws > 0
    assert verdict.outputs[0].max_abs == 0.0  # both are given the same numbers
    copied = full(before, before.replace("{ r = ", "{ s = ").replace("(x, r)", "(x, s)"))
    assert [output.basis for output in copied.outputs] == ["random", "structure"]


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        ("y = Identity(x)", "1 before, 0 after"),
        ("r = RandomNormalLike(x) s = RandomNormalLike(x) t = Add(r, s) y = Add(x, t)", "1 before, 2 after"),
        ("r = RandomUniformLike(x) y = Add(x, r)", "1 before, 1 after"),
        ("r = RandomNormalLike<scale = 2.0>(x) y = Add(x, r)", "1 before, 1 after"),
    ],
    ids=["gone", "one more", "another", "other attributes"],
)
def test_an_output_with_other_random_operators_is_different(after: str, counts: str) -> None:
    head = "g (float[8] x) => (float[8] y)"
    verdict = full(f"{head} {{ r = RandomNormalLike(x) y = Add(x, r) }}", f"{head} {{ {after} }}")
    assert verdict.status is Status.DIFFERENT
    assert verdict.outputs[0].why == (f"random: the random operators that it comes from are not the same ({counts})")
    assert verdict.draws == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_random_output_that_does_not_vary_any_more_is_different(known: bool) -> None:
    # Where the shape of the numbers is not known they cannot be fed, and only whether they vary can be seen.
    head = "g (float[8] x, int64[1] s) => (float[K] y) <float z = {0}>"
    shaped = "p = Identity(x)" if known else "p = Reshape(x, s)"
    still = f"{head} {{ {shaped} r = RandomNormalLike(p) n = Mul(r, z) a = Abs(n) y = Add(p, a) }}"
    moving = f"{head} {{ {shaped} r = RandomNormalLike(p) y = Add(p, r) }}"
    for before, after, words in (
        (moving, still, "it varied before, and does not any more"),
        (still, moving, "it varied now, and did not before"),
    ):
        verdict = full(before, after)
        assert verdict.status is Status.DIFFERENT
        why = verdict.outputs[0].why or ""
        assert why.startswith("value: ") if known else why == f"random: two runs on the same inputs show that {words}"
        assert (verdict.outputs[0].draw or "").startswith("normal 0")
    assert full(still, detour(still)).equivalent


def test_what_is_made_of_random_numbers_is_compared() -> None:
    before = "g (float[N] x) => (float[N] y) <float k = {2}> { r = RandomNormalLike(x) s = Mul(r, k) y = Add(x, s) }"
    assert full(before, before.replace("Mul(r, k)", "Mul(k, r)")).equivalent
    verdict = full(before, before.replace("{2}", "{3}"))
    assert verdict.status is Status.DIFFERENT, verdict.explain()
    assert [output.name for output in verdict.outputs] == ["y"]


def test_random_values_that_do_not_reach_the_output_do_not_matter() -> None:
    verdict = full(
        "g (float[8] x) => (int64[1] y) { r = RandomNormalLike(x) y = Shape(r) }",
        "g (float[8] x) => (int64[1] y) { y = Shape(x) }",
    )
    assert verdict.equivalent, verdict.explain()


# ---- limits

NEVER = """g (float[2] x) => (float[K] y) <int64 n = {9223372036854775807}, bool c = {1}> {
    y = Loop (n, c, x) <body = b (int64 i, bool k, float[2] v) => (bool o, float[2] w) { o = Identity(k) w = Abs(v) }>
}"""


def test_a_budget_that_is_used_up_is_not_a_pass() -> None:
    text = "g (float[N] x) => (float[K] y) { y = Relu(x) }"
    for families in ("quick", "full"):
        verdict = check_models(*pair(text, detour(text)), families=families, budget_s=0.0)
        assert verdict.status is Status.NOT_RUN
        assert "within the budget of 0 s" in verdict.not_run[0]
        assert verdict.draws == 0


def test_what_the_budget_cut_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "g (float[4] x) => (float[K] y) { y = Relu(x) }"
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def progress(_label: str, done: int, _total: int) -> None:
        clock[0] = 0.0 if done < 4 else 100.0

    verdict = full(text, detour(text), budget_s=60.0, progress=progress)
    assert verdict.draws == 4
    assert verdict.not_run == ("38 of 42 input sets were not finished within the budget of 60 s",)
    assert verdict.outputs[0].status is Status.EQUIVALENT
    assert verdict.status is Status.NOT_RUN


def test_a_run_that_does_not_end_is_stopped_by_the_budget() -> None:
    verdict = quick(NEVER, detour(NEVER), budget_s=0.3)
    assert verdict.status is Status.NOT_RUN
    assert "within the budget of 0.3 s" in verdict.not_run[0]
    assert verdict.seconds < 30


def test_a_loop_that_does_not_end_is_stopped_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxfuse.verification.pair.LOOP_LIMIT_S", 0.05)
    verdict = quick(NEVER, detour(NEVER))
    assert verdict.status is Status.NOT_RUN
    assert "the first model does not run: the run took longer than 0.25 s" in verdict.not_run[0]
    runs: list[int] = []
    original = Pair.first

    def first(pair: Pair, feeds: Feeds) -> list[Any]:
        runs.append(len(feeds["x"]))
        return original(pair, feeds)

    monkeypatch.setattr(Pair, "first", first)
    text = NEVER.replace("float[2]", "float[N]")
    symbolic = full(text, detour(text))
    assert runs == [2, 1, 2]
    assert "with its symbolic dims (N) at any size tried from 1 to 2: the run took" in symbolic.not_run[0]
    ends = NEVER.replace("9223372036854775807", "3")
    second = quick(ends, NEVER)
    assert second.status is Status.NOT_RUN
    assert "the second model on normal 0: the run took longer than" in second.not_run[0]


def test_intermediates_that_do_not_fit_are_not_exposed_and_it_is_said() -> None:
    before = "g (double[4] x) => (int8[4] y) { i = Cast<to = 7>(x) y = Cast<to = 3>(i) }"
    after = "g (double[4] x) => (int8[4] y) { y = Cast<to = 3>(x) }"
    data = [{"x": np.array([5.0, 4294967301.0, 1.0, 2.0])}]
    assert quick(before, after, data=data).status is Status.DIFFERENT
    hidden = quick(before, after, data=data, memory_limit=35)
    assert hidden.equivalent
    (note,) = hidden.notes
    assert "intermediates are not exposed, so onnxruntime may rewrite across them" in note


def test_sizes_that_are_not_known_are_measured() -> None:
    text = "g (float[100] x) => (float[K] y) { i = NonZero(x) t = Transpose(i) y = GatherND(x, t) }"
    within = quick(text, detour(text), memory_limit=2 * 800 + 400)
    assert not any("not exposed" in note for note in within.notes)
    above = quick(text, detour(text), memory_limit=2 * 800 + 399)
    assert any("not exposed" in note for note in above.notes)
    assert above.equivalent


def test_quick_runs_each_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    real = Evaluator.run

    def counted(self: Evaluator, *args: Any, **options: Any) -> list[object]:
        runs.append(self)
        return real(self, *args, **options)

    monkeypatch.setattr(Evaluator, "run", counted)
    text = "g (float[N] x) => (float[K] y) { y = Relu(x) }"
    assert quick(text, detour(text)).draws == 1
    assert len(runs) == len(set(map(id, runs))) == 2


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
    assert verdict.outputs[0].tolerance == "only signs of zeros differ"

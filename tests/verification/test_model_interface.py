"""What is told of two models without running them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.model import check_models
from onnxfuse.verification.verdict import Status
from tests.verification.whole_models import full, pair, with_weight

# ---- interface


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "g (float[N] z) => (float[N] y) { y = Neg(z) }",
            "input x is gone; z, of the same type, is in its place: renamed?",
        ),
        (
            "g (float[N] x, float[2] w) => (float[N] y) { y = Neg(x) }",
            "g (float[N] x) => (float[N] y) { y = Neg(x) }",
            "input w is gone",
        ),
        (
            "g (float[N] x, float[2] w) => (float[N] y) { y = Neg(x) }",
            "g (float[N] x, float[3] v) => (float[N] y) { y = Neg(x) }",
            "input w is gone",
        ),
        (
            "g (float[N] x, float[2] w) => (float[N] y) { y = Neg(x) }",
            "g (float[N] x, float[2] v) => (float[N] y) { w = Constant<value_floats = [1.0, 2.0]>() y = Neg(x) }",
            "input w is gone: it is a constant now",
        ),
        (
            "g (float[N] x) => (float[N] y, float[N] z) { y = Neg(x) z = Abs(x) }",
            "g (float[N] x) => (float[N] y, float[N] w) { y = Neg(x) w = Abs(x) }",
            "output z is gone; w, of the same type, is in its place: renamed?",
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


def test_an_overridable_initializer_must_stay_one_from_ir_4_on() -> None:
    gone = check_models(with_weight(8, as_input=True), with_weight(8, as_input=False), families="full")
    assert gone.interface == ("input w is gone: it is a constant now",)
    required = check_models(with_weight(8, as_input=True), with_weight(8, as_input=True, stored=False), families="full")
    assert required.interface == ("input w had a default, and must now be fed",)
    added = check_models(with_weight(8, as_input=False), with_weight(8, as_input=True), families="full")
    assert added.equivalent
    assert "input w is new, and has a default" in added.notes


def test_below_ir_4_initializers_are_no_inputs() -> None:
    verdict = check_models(with_weight(3, as_input=True), with_weight(8, as_input=False), families="full")
    assert verdict.equivalent, verdict.explain()


def test_the_default_of_an_overridable_input_is_replaced_too() -> None:
    # Folding the default in is right only as long as nobody replaces it.
    folded = with_weight(8, as_input=True)
    folded.proto.graph.node[0].input[1] = "kept"
    folded.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "kept"))
    original = with_weight(8, as_input=True)
    assert check_models(original, folded, families="quick").equivalent
    verdict = check_models(original, folded, families="full")
    assert verdict.status is Status.DIFFERENT
    assert verdict.outputs[0].draw == "normal 0 with replaced defaults"


# ---- identical


def test_identical_files_are_equivalent_without_a_run() -> None:
    original, copy = with_weight(8, as_input=False), with_weight(8, as_input=False)
    verdict = check_models(original, copy, families="full")
    assert verdict.equivalent
    assert (verdict.notes, verdict.draws, verdict.backend) == (("the files are identical",), 0, None)
    other = check_models(original, with_weight(8, as_input=False, value=2.0), families="full")
    assert other.status is Status.DIFFERENT
    assert other.draws > 0


def test_identical_weights_have_the_same_bits() -> None:
    def notes(first: float, second: float) -> tuple[str, ...]:
        models = (with_weight(8, as_input=False, value=value) for value in (first, second))
        return check_models(*models, families="full").notes

    assert notes(float("nan"), float("nan")) == ("the files are identical",)
    assert "the files are identical" not in notes(0.0, -0.0)

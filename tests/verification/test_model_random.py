"""Models that draw random numbers."""

from __future__ import annotations

import pytest

from onnxfuse.verification.verdict import Status
from tests.verification.whole_models import detour, full


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


def test_random_operators_that_changed_places_are_different() -> None:
    before = """g (float[8] x) => (float[8] y, float[8] z) {
        r = RandomNormalLike<scale = 1.0>(x) s = RandomNormalLike<scale = 2.0>(x) y = Add(x, r) z = Add(x, s)
    }"""
    verdict = full(before, before.replace("y = Add(x, r) z = Add(x, s)", "y = Add(x, s) z = Add(x, r)"))
    assert [output.status for output in verdict.outputs] == [Status.DIFFERENT] * 2, verdict.explain()
    assert all((output.why or "").startswith("value: ") for output in verdict.outputs)


def test_one_draw_instead_of_two_is_different() -> None:
    head = "g (float[N] x) => (float[N] y)"
    draws = "r = RandomNormalLike(x) s = RandomNormalLike(x)"
    before = f"{head} {{ {draws} a = Mul(x, r) y = Sub(a, s) }}"
    once = full(before, f"{head} {{ r = RandomNormalLike(x) a = Mul(x, r) y = Sub(a, r) }}")
    assert once.status is Status.DIFFERENT
    assert "2 before, 1 after" in (once.outputs[0].why or "")
    assert full(
        before, f"{head} {{ r = RandomNormalLike(x) a = Mul(r, x) s = RandomNormalLike(x) y = Sub(a, s) }}"
    ).equivalent

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from onnxfuse.verification.compare import Difference, compare_values
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.verdict import Layer, OutputVerdict, Status, Verdict
from tests.imports import loaded_after
from tests.verification.texts import parse


def differing(a: object, b: object) -> Difference:
    difference = compare_values(a, b)
    assert difference is not None
    return difference


def test_verdict_is_free_to_import() -> None:
    assert not loaded_after("import onnxfuse.verification.verdict")


def test_to_dict_is_plain_json_even_for_nan_and_infinities() -> None:
    output = OutputVerdict(
        "y",
        Status.DIFFERENT,
        "value: x",
        max_abs=float("nan"),
        max_rel=float("inf"),
        max_ulp=3,
        needed=0.25,
        sigmas=float("-inf"),
        skipped=2,
        at=(0, 1),
        draw="normal 0",
    )
    layer = Layer("h", "Relu", diverges=True, text="1 of 2 values differ", max_abs=0.5, max_ulp=7)
    verdict = Verdict(
        Status.DIFFERENT,
        (output,),
        notes=("a note",),
        draws=1,
        seconds=0.5,
        layers=(layer,),
        inputs={"x": np.zeros(2)},
    )
    plain = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert plain["status"] == "different"
    assert plain["outputs"][0] == {
        "name": "y",
        "status": "different",
        "why": "value: x",
        "basis": None,
        "tolerance": None,
        "max_abs": "nan",
        "max_rel": "inf",
        "max_ulp": 3,
        "needed": 0.25,
        "sigmas": "-inf",
        "skipped": 2,
        "at": [0, 1],
        "draw": "normal 0",
    }
    assert plain["layers"] == [
        {
            "name": "h",
            "op_type": "Relu",
            "diverges": True,
            "text": "1 of 2 values differ",
            "max_abs": 0.5,
            "max_rel": None,
            "max_ulp": 7,
        }
    ]
    assert "inputs" not in plain
    assert plain["backend"] is None
    assert plain["notes"] == ["a note"]


def test_explain_names_what_differs_and_leaves_out_what_one_reason_covers() -> None:
    outputs = (
        OutputVerdict("y", Status.DIFFERENT, "shape: [2] before, [3] after"),
        OutputVerdict("z", Status.NOT_RUN, "the first model does not run"),
    )
    verdict = Verdict(
        Status.DIFFERENT, outputs, draws=1, dropped=2, not_run=("the first model does not run",), backend="onnxruntime"
    )
    assert verdict.explain().splitlines() == [
        "different (1 input set compared, 2 dropped, onnxruntime, 0.00 s)",
        "  y: different: shape: [2] before, [3] after",
        "  not run: the first model does not run",
    ]
    assert not verdict.equivalent
    assert Verdict(Status.EQUIVALENT).equivalent


def test_explain_tells_what_an_answer_rests_on() -> None:
    outputs = (
        OutputVerdict("a", Status.EQUIVALENT, basis="structure"),
        OutputVerdict(
            "b", Status.EQUIVALENT, basis="bits", tolerance="equal bits", max_abs=0.0, max_rel=0.0, max_ulp=0
        ),
        OutputVerdict(
            "c",
            Status.EQUIVALENT,
            basis="rounding",
            tolerance="so much",
            max_abs=0.5,
            max_rel=0.25,
            max_ulp=3,
            skipped=2,
        ),
        OutputVerdict("d", Status.EQUIVALENT, basis="random"),
    )
    left = "2 positions left out, which overflow or hang on a threshold"
    assert Verdict(Status.EQUIVALENT, outputs, draws=2).explain().splitlines() == [
        "equivalent (2 input sets compared, 0.00 s)",
        "  a: equivalent (computed identically)",
        "  b: equivalent (all bits equal)",
        f"  c: equivalent (so much; max abs 0.5, max rel 0.25, 3 ulp; {left})",
        "  d: equivalent (the same random operators)",
    ]


def test_explain_shows_where_the_models_begin_to_differ() -> None:
    layers = [
        *(Layer(f"a{index}", "Neg", diverges=False, text="equal") for index in range(5)),
        Layer("b", "MatMul", diverges=False, text="1 of 2 values differ", max_abs=1e-7, max_rel=1e-6),
        Layer("c", "Softmax", diverges=True, text="2 of 2 values differ", max_abs=0.5, max_rel=0.25),
        *(Layer(f"d{index}", "Relu", diverges=index > 3, text="values differ") for index in range(20)),
    ]
    output = OutputVerdict("y", Status.DIFFERENT, "value: more than rounding")
    verdict = Verdict(Status.DIFFERENT, (output,), draws=1, layers=tuple(layers))
    assert verdict.first_diverging is layers[6]
    lines = verdict.explain().splitlines()
    assert lines[2] == "  first diverging value: c (Softmax)"
    assert [line.split() for line in lines[3:7]] == [
        ["value", "op", "max", "abs", "max", "rel"],
        ["a4", "Neg", "-", "-", "equal"],
        ["b", "MatMul", "1e-07", "1e-06", "rounding"],
        ["c", "Softmax", "0.5", "0.25", "diverges"],
    ]
    shown = [line.split()[0] for line in lines[4:-1]]
    assert shown == [layer.name for layer in layers[4:][: len(shown)]]
    assert lines[-1] == f"    and {len(layers) - 4 - len(shown)} more"
    only_rounding = Verdict(Status.DIFFERENT, (output,), layers=tuple(layers[:6]))
    assert only_rounding.first_diverging is None
    assert "diverging" not in only_rounding.explain()


def test_any_nan_equals_any_nan() -> None:
    payloads = np.array([0x7FC00000, 0xFFC00001], np.uint32).view(np.float32)
    assert compare_values(payloads[:1], payloads[1:]) is None


def test_minus_zero_differs_from_zero_by_one_representable_value() -> None:
    difference = differing(np.array([1, 0.0], np.float32), np.array([1, -0.0], np.float32))
    assert (difference.kind, difference.at, difference.max_abs, difference.max_ulp) == ("value", (1,), 0.0, 1)
    assert difference.is_float
    assert not difference.nonfinite
    assert "sign of a zero" in difference.text


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_one_bit_is_seen_and_measured_in_every_float_type(dtype: type) -> None:
    a: np.ndarray = np.array([[1.0, -2.0, 0.5]], dtype)
    b = a.copy()
    bits = b.view(f"u{b.dtype.itemsize}")
    bits[0, 1] += 1
    difference = differing(a, b)
    assert difference.max_ulp == 1
    assert difference.at == (0, 1)
    assert difference.max_abs == abs(float(a[0, 1]) - float(b[0, 1])) > 0
    assert difference.max_rel == pytest.approx(difference.max_abs / 2)
    assert difference.needed == pytest.approx(difference.max_abs / 3)


def test_ulps_are_counted_across_zero_without_overflow() -> None:
    tiny = np.array([5e-324], np.float64)
    assert differing(tiny, -tiny).max_ulp == 3
    huge = np.array([np.finfo(np.float64).max], np.float64)
    assert differing(huge, -huge).max_ulp == 2 * 0x7FEFFFFFFFFFFFFF + 1


def test_a_differing_infinity_is_what_is_reported() -> None:
    difference = differing(np.array([1, 2, np.inf], np.float32), np.array([5, 2, -np.inf], np.float32))
    assert difference.nonfinite
    assert difference.at == (2,)
    assert difference.max_abs == 4
    assert difference.scale == 2


def test_the_needed_tolerance_is_absolute_and_relative_in_one() -> None:
    a = np.array([100, 0, 0], np.float32)
    assert differing(a, a + np.array([1, 0, 0], np.float32)).needed == pytest.approx(1 / 101)
    assert differing(a, a + np.array([1, 0.5, 0], np.float32)).needed == 0.5
    b = a + np.array([1, 0.5, 0], np.float32)
    for factor, close in ((1.001, True), (0.999, False)):
        needed = (differing(a, b).needed or 0) * factor
        assert np.isclose(b, a, rtol=needed, atol=needed).all() == close
    infinite = np.array([1, np.inf], np.float32)
    assert differing(infinite, np.array([2, 0], np.float32)).needed == 0.5
    assert differing(infinite[1:], -infinite[1:]).needed is None


@pytest.mark.parametrize(
    ("a", "b", "kind", "text", "at"),
    [
        (
            np.array([1, 2], np.int64),
            np.array([1, 3], np.int64),
            "value",
            "1 of 2 int64 values differ, 2 and 3 at (1,)",
            (1,),
        ),
        (np.array([1], np.int8), np.array([1], np.int64), "dtype", "int8 before, int64 after", None),
        (np.zeros((2, 0)), np.zeros((0, 2)), "shape", "[2, 0] before, [0, 2] after", None),
        (np.array(True), np.array(False), "value", "1 of 1 bool values differ, True and False at ()", ()),
        (np.array(["a"], object), np.array(["b"]), "value", "1 of 1 string values differ, a and b at (0,)", (0,)),
        (np.array([1], ml_dtypes.int4), np.array([2], ml_dtypes.int4), "value", "1 of 1 int4 values", (0,)),
        ([np.array([1], np.int64)], [], "shape", "a sequence of 1 before, of 0 after", None),
        ([np.array([1], np.int64)], np.array([1], np.int64), "dtype", "a sequence in one only", None),
        (
            [np.array([1], np.int64), np.array([1], np.int64)],
            [np.array([1], np.int64), np.array([2], np.int64)],
            "value",
            "in element 1",
            (1, 0),
        ),
        (None, np.array([1], np.int64), "value", "the optional is empty in one only", None),
    ],
)
def test_what_differs_is_said(a: object, b: object, kind: str, text: str, at: tuple[int, ...] | None) -> None:
    difference = differing(a, b)
    assert difference.kind == kind
    assert text in difference.text
    assert difference.at == at


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, 2], np.int64),
        np.float32(3),
        np.array(["a", "b"], object),
        [np.array([1], np.float32)],
        None,
        np.zeros((0, 3)),
    ],
)
def test_equal_values_do_not_differ(value: object) -> None:
    assert compare_values(value, value) is None


def test_complex_values_compare_by_their_parts() -> None:
    difference = differing(np.array([1 + 2j], np.complex64), np.array([1 + 3j], np.complex64))
    assert difference.max_abs == 1


def _facts(text: str) -> GraphFacts:
    return GraphFacts(parse(text))


def test_rounded_is_what_an_operator_that_may_round_reaches() -> None:
    facts = _facts(
        """g (float[3] x, int64[3] i) => (float[3] y, int64[3] j, float[3] z) {
            t = Transpose(x)  y = Cast<to = 1>(t)  j = Add(i, i)  s = Softmax(t)  z = Identity(s)
        }"""
    )
    assert facts.rounded == {"s", "z"}


def test_rounded_follows_captures_into_bodies_and_calls_into_functions() -> None:
    text = """g (bool c, float[3] x) => (float[3] y, float[3] w, float[3] v) {
        s = Exp(x)
        y = If (c) <then_branch = t () => (float[3] a) { a = Identity(s) },
                    else_branch = e () => (float[3] b) { b = Identity(x) }>
        w = f.Rounds(x)
        v = f.Moves(x)
    }
    <domain: "f", opset_import: ["" : 21]> Rounds (x) => (y) { y = Tanh(x) }
    <domain: "f", opset_import: ["" : 21]> Moves (x) => (y) { y = Transpose(x) }"""
    assert _facts(text).rounded == {"s", "y", "w"}


def test_random_looks_into_functions_and_at_the_training_mode() -> None:
    facts = _facts(
        """g (float[3] x) => (float[3] y, float[3] z, float[3] w) <float r = {0.5}, bool off = {0}, bool on = {1}> {
            y = f.Noise(x)  z = Dropout(x, r, off)  w = Dropout(x, r, on)
        }
        <domain: "f", opset_import: ["" : 21]> Noise (x) => (y) { n = RandomNormalLike(x) y = Add(x, n) }"""
    )
    assert facts.random == {"y", "w"}


def test_discrete_asks_for_a_float_that_reaches_a_discrete_operator() -> None:
    assert _facts("g (float[3] x) => (float[3] y) { y = Round(x) }").discrete
    assert not _facts("g (int64[3] x) => (float[3] y) { y = Cast<to = 1>(x) }").discrete
    assert not _facts("g (int64[3] x) => (bool[3] y) { y = Equal(x, x) }").discrete
    assert _facts("g (float[3] x) => (int64[3] y) { y = Cast<to = 7>(x) }").discrete

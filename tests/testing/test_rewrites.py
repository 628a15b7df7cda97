"""check_rewrite and check_declines: what they accept, and what they say."""

from __future__ import annotations

import re

import onnx
import pytest

from onnxfuse import UsageError
from onnxfuse.testing import check_declines, check_rewrite
from onnxfuse.testing.canonical import canonical, text_diff
from tests.testing.broken import AFTER, BEFORE, Corrupting, Deaf, MergeRelus, Wrong

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
TWO_USES = BEFORE.replace("y = Add(b, w)", "c = Add(b, w)\n y = Add(c, a)")


def failure_of(*arguments: object, check: object = check_rewrite) -> str:
    assert callable(check)
    with pytest.raises(AssertionError) as failure:
        check(*arguments)
    return str(failure.value)


def test_a_rewrite_whatever_the_names_and_the_order() -> None:
    result = check_rewrite(BEFORE, AFTER, MergeRelus())
    assert len(result.report.applied) == 1
    assert result.report.verdict is not None
    assert result.report.verdict.equivalent
    check_rewrite(onnx.parser.parse_model(BEFORE), onnx.parser.parse_model(AFTER), MergeRelus(), verify="region")


def test_the_difference_is_shown_and_names_are_no_difference() -> None:
    said = failure_of(BEFORE, AFTER.replace("Add(r, w)", "Sub(r, w)"), MergeRelus())
    assert said.startswith("merge-relus: the result is not what was expected:\n--- expected\n+++ got\n")
    changed = [line for line in said.splitlines()[3:] if line[0] in "+-"]
    assert changed == ["-   y = Sub (r, w)", "+   y = Add (r, w)"]


def test_other_contents_are_shown() -> None:
    said = failure_of(BEFORE, AFTER.replace("{2}", "{3}"), MergeRelus())
    assert "{3}" in said
    assert "{2}" in said


def test_nothing_rewritten_lists_the_reasons() -> None:
    said = failure_of(TWO_USES, AFTER, MergeRelus())
    assert said.startswith("merge-relus: nothing was rewritten\n  declined at b: the first Relu has another use\n")
    assert "did not run: the model has no Pad" in failure_of(BEFORE, AFTER, "remove-pad")


def test_a_rejected_rewrite_says_why() -> None:
    assert "  rejected at b: the replacement differs at s" in failure_of(BEFORE, AFTER, Wrong())


def test_a_pass_that_fails() -> None:
    assert "the new Relu is invalid" in failure_of(BEFORE, AFTER, Corrupting())
    assert "rewrite returned 1 values for 2 outputs" in failure_of(
        TWO_USES, Deaf(), "another use", check=check_declines
    )


def test_declines_by_a_part_of_the_reason_or_a_pattern() -> None:
    report = check_declines(TWO_USES, MergeRelus(), "has another use")
    assert [outcome.reason for outcome in report.declined] == ["the first Relu has another use"]
    check_declines(onnx.parser.parse_model(TWO_USES), MergeRelus(), re.compile(r"first \w+ has"))


def test_declines_shows_the_reasons_that_were_given() -> None:
    said = failure_of(TWO_USES, MergeRelus(), "is too large", check=check_declines)
    assert said == "merge-relus was to decline with 'is too large'\n  declined at b: the first Relu has another use"
    # What looks like a pattern is none as long as it is a string.
    assert "was to decline" in failure_of(TWO_USES, MergeRelus(), "has .* use", check=check_declines)


def test_declines_where_the_pattern_is_absent_or_there_is_nothing_to_decline() -> None:
    assert "it gave no reason at all: the pattern is absent" in failure_of(
        AFTER, MergeRelus(), "use", check=check_declines
    )
    assert failure_of(BEFORE, MergeRelus(), "use", check=check_declines) == (
        "merge-relus was to decline, but it rewrote b (Relu)"
    )


def test_a_wrong_call_is_the_callers() -> None:
    with pytest.raises(UsageError, match="the text is no ONNX model"):
        check_rewrite("g (float[N] x", AFTER, MergeRelus())
    with pytest.raises(UsageError, match="there is no pass 'merge-slices': did you mean merge-sliced"):
        check_declines(BEFORE, "merge-slices", "use")


def model(body: str, *, head: str = HEAD) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{head} g (float[N] x) => (float[N] y) {body}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{ y = Sub(x, x) }", "<float[1] x2 = {1}> { y = Sub(x, x2) }"),
        ("<float[1] a = {1}> { y = Sub(x, a) }", "<float[1] a = {1}> { y = Sub(a, x) }"),
        ("{ y = Elu <alpha = 0.5> (x) }", "{ y = Elu <alpha = 0.25> (x) }"),
        ("{ a = Abs(x)\n b = Abs(a)\n y = Add(a, b) }", "{ a = Abs(x)\n b = Abs(x)\n y = Add(a, b) }"),
        ("{ a = Abs(x)\n y = Add(a, a) }", "{ a = Abs(x)\n b = Abs(x)\n y = Add(a, b) }"),
    ],
)
def test_models_that_say_something_else(one: str, other: str) -> None:
    assert canonical(model(one)) != canonical(model(other))
    assert text_diff(model(one), model(other))


def test_a_default_that_can_be_overridden_is_no_constant() -> None:
    constant = onnx.parser.parse_model(
        f"{HEAD} g (float[1] x) => (float[1] y) <float[1] a = {{1}}> {{ y = Sub(x, a) }}"
    )
    free = onnx.ModelProto()
    free.CopyFrom(constant)
    free.graph.input.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [1]))
    assert canonical(constant) != canonical(free)
    assert canonical(constant).outputs != canonical(free).outputs


def test_models_that_say_the_same() -> None:
    one = model("<float[1] k = {1}> { a = Abs(x)\n b = Neg(x)\n c = Add(a, k)\n y = Add(c, b) }")
    other = model("<float[1] m = {1}> { q = Neg(x)\n p = Abs(x)\n r = Add(p, m)\n y = Add(r, q) }")
    assert canonical(one) == canonical(other)
    assert "-   y = " not in text_diff(one, other)

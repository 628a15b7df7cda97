"""What a pass must do to one model, and what it must leave alone."""

from __future__ import annotations

import re

from onnxfuse.errors import OnnxfuseError
from onnxfuse.pipeline.manager import Result, VerifyLevel, apply
from onnxfuse.pipeline.pipeline import PipelineLike
from onnxfuse.report.records import Report
from onnxfuse.testing.canonical import canonical, text_diff
from onnxfuse.testing.examples import ModelText, read_model

__all__ = ["check_declines", "check_rewrite"]


def check_rewrite(
    before: ModelText, after: ModelText, pass_: PipelineLike, *, verify: VerifyLevel | str = VerifyLevel.MODEL
) -> Result:
    """Asserts that a pass turns one model into another, and that verification agrees.

    Names of inner values and of nodes, and the order of nodes, may be others; nothing else.

    Args:
        before: What goes in, as ONNX text or a `ModelProto`.
        after: What must come out.
        pass_: A pass, its name, or a whole pipeline.
        verify: How much is verified: `off`, `structure`, `region` or `model`.

    Returns:
        The model that came out, and the report, for more assertions.

    Raises:
        AssertionError: Nothing was rewritten (it lists the reasons), a rewrite was rejected, or the result is another
            model (it shows the difference of the texts).
        UsageError: A text is no model, or there is no such pass.
    """
    __tracebackhide__ = True
    given, wanted = read_model(before), read_model(after)
    result = _applied(given, pass_, VerifyLevel(verify))
    report = result.report
    problems = [] if report.applied else ["nothing was rewritten"]
    if not report.applied or report.rejected:
        problems += _reasons(report)
    if canonical(result.model) != canonical(wanted):
        difference = text_diff(wanted, result.model) or "the texts are the same: a type or the contents differ"
        problems.append(f"the result is not what was expected:\n{difference}")
    if problems:
        raise AssertionError(f"{report.pipeline}: " + "\n".join(problems))
    return result


def check_declines(model: ModelText, pass_: PipelineLike, reason: str | re.Pattern[str]) -> Report:
    """Asserts that a pass leaves a model alone, byte for byte, and says why.

    Args:
        model: As ONNX text or a `ModelProto`.
        pass_: A pass, its name, or a whole pipeline.
        reason: What one of the reasons must contain; a compiled pattern is searched for.

    Returns:
        The report, for more assertions.

    Raises:
        AssertionError: The pass rewrote something, or gave other reasons (it lists them).
        UsageError: The text is no model, or there is no such pass.
    """
    __tracebackhide__ = True
    data = read_model(model).SerializeToString()
    result = _applied(data, pass_, VerifyLevel.REGION)
    report = result.report
    if report.applied:
        places = ", ".join(f"{outcome.at} ({outcome.at.op_type})" for outcome in report.applied)
        raise AssertionError(f"{report.pipeline} was to decline, but it rewrote {places}")
    if result.model != data:
        raise AssertionError(f"{report.pipeline} says that it rewrote nothing, but the bytes are not the same")
    if not any(_matches(reason, outcome.reason) for outcome in report.declined):
        wanted = reason.pattern if isinstance(reason, re.Pattern) else reason
        said = "\n".join(_reasons(report)) or "it gave no reason at all: the pattern is absent"
        raise AssertionError(f"{report.pipeline} was to decline with {wanted!r}\n{said}")
    return report


def _applied(model: object, pass_: PipelineLike, level: VerifyLevel) -> Result:
    __tracebackhide__ = True
    try:
        return apply(model, pass_, verify=level)
    except OnnxfuseError as error:
        if error.exit_code == OnnxfuseError.exit_code:
            raise  # the call is wrong, not the pass
        raise AssertionError(f"{pass_}: {error}") from error


def _matches(wanted: str | re.Pattern[str], reason: str) -> bool:
    return wanted in reason if isinstance(wanted, str) else wanted.search(reason) is not None


def _reasons(report: Report) -> list[str]:
    """Returns a line for each candidate that was left alone."""
    lines = [f"  declined at {outcome.at}: {outcome.reason}" for outcome in report.declined]
    lines += [f"  rejected at {outcome.at}: {outcome.reason}" for outcome in report.rejected]
    return lines + [f"  {item.name} did not run: {item.skipped}" for item in report.passes if item.skipped]

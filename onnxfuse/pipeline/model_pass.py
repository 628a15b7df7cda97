"""Runs a pass that makes a whole model of a whole model: what it changed is verified before it is taken over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from onnxfuse.errors import ToolError
from onnxfuse.model_io import Opened, copy_of
from onnxfuse.pipeline.base import ModelPass
from onnxfuse.pipeline.evaluable import evaluable_of
from onnxfuse.report.records import Applied, Declined, PassReport, Place, Rejected
from onnxfuse.verification.verdict import Status

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["run_model_pass"]

WHOLE = Place("(model)", "")


def run_model_pass(
    pass_: ModelPass, opened: Opened, level: str, budget: float, index: int
) -> tuple[PassReport, ir.Model | None]:
    """Runs the pass on a copy of the working model.

    Returns:
        What it did, and the new model where it is to be taken.
    """
    from onnxfuse.rewriting.match import Decline, Facts
    from onnxfuse.verification.model import check_models

    start = time.perf_counter()
    working = opened.working_model()
    copy = copy_of(working)
    report = PassReport(str(pass_), str(pass_.numerics))
    changed: ir.Model | None = None
    try:
        changed = pass_.change(copy, Facts(copy))
    except Decline as decline:
        report = PassReport(report.name, report.numerics, declined=(Declined(WHOLE, decline.reason),))
    except ToolError as error:
        report = PassReport(report.name, report.numerics, rejected=(Rejected(WHOLE, str(error)),))
    if changed is None:
        return report, None
    verified = time.perf_counter()
    evidence, grade = "verification is off", "not-run"
    if level in ("region", "model"):
        verdict = check_models(
            evaluable_of(working, opened), evaluable_of(changed, opened), families="full", budget_s=budget
        )
        if verdict.status is not Status.EQUIVALENT:
            rejected = Rejected(WHOLE, verdict.explain())
            return PassReport(report.name, report.numerics, rejected=(rejected,)), None
        evidence, grade = verdict.explain(), "value-tested"
    end = time.perf_counter()
    applied = Applied(index, WHOLE, (), (), grade, evidence, None, {}, {})
    return (
        PassReport(
            report.name, report.numerics, (applied,), seconds=end - start, verify_seconds=end - verified, visited=1
        ),
        changed,
    )

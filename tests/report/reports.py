"""Reports made by hand, of runs that went every way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from onnxfuse.report.records import Applied, Declined, Failed, ModelFacts, PassReport, Place, Rejected, Report
from onnxfuse.verification.verdict import OutputVerdict, Status, Verdict

__all__ = ["DIFFERENT", "EQUIVALENT", "NOT_RUN", "applied", "eventful", "report"]

EQUIVALENT: Final = Verdict(
    Status.EQUIVALENT, (OutputVerdict("y", Status.EQUIVALENT),), draws=1, backend="onnxruntime", seconds=0.25
)
NOT_RUN: Final = Verdict(
    Status.NOT_RUN, (OutputVerdict("y", Status.NOT_RUN, "no kernel"),), not_run=("no kernel",), seconds=0.25
)
DIFFERENT: Final = Verdict(
    Status.DIFFERENT,
    (OutputVerdict("y", Status.DIFFERENT, "value: NaN", max_abs=float("nan"), max_rel=float("inf"), at=(0, 1)),),
    draws=1,
    backend="onnxruntime",
    seconds=0.25,
)


def applied(
    index: int, grade: str, *, error: float | None = 0.0, values: Mapping[str, str | None] | None = None
) -> Applied:
    """A rewrite of two Slices into one."""
    return Applied(
        index=index,
        at=Place(f"s{index}", "Slice"),
        removed=((f"r{index}", "Slice"), (f"s{index}", "Slice")),
        added=((f"s{index}", "Slice"),),
        grade=grade,
        evidence="equal index maps on 3 shapes",
        max_error=error,
        values=values or {},
        nodes={f"r{index}": (f"s{index}",), f"s{index}": (f"s{index}",)},
    )


def report(*passes: PassReport, **more: Any) -> Report:
    """A report of a run that took 12 nodes down to 10."""
    facts: dict[str, Any] = {
        "pipeline": ",".join(item.name for item in passes),
        "verify": "model",
        "before": ModelFacts(12, {"Relu": 2, "Slice": 10}),
        "after": ModelFacts(10, {"Relu": 2, "Slice": 8}),
        "verdict": EQUIVALENT,
        "seconds": 1.5,
        "version": "1.2.3",
    }
    return Report(passes=passes, **{**facts, **more})


def eventful() -> Report:
    """A report in which everything happened."""
    rejected = Rejected(
        Place("bad", "Relu", ("loop", "body")),
        "the replacement differs at x [2]: value: 1 of 2 values differ",
        {"shapes": {"x": [2]}, "inputs": {"x": [0.1234567890123, "nan"]}, "difference": "value"},
    )
    return report(
        PassReport(
            "merge-sliced",
            "exact",
            applied=(
                applied(1, "exact-for-all-shapes", values={"a": "b", "gone": None}),
                applied(2, "value-tested", error=3e-7, values={"b": "c"}),
            ),
            declined=(
                Declined(Place("s7", "Slice"), "the starts are not constant", "starts"),
                Declined(Place("s8", "Slice"), "the starts are not constant", "other"),
            ),
            seconds=1.234,
            verify_seconds=0.5,
            visited=10,
            sessions=2,
        ),
        PassReport(
            "swap{to=-1}",
            "approximate",
            rejected=(rejected,),
            failed=(Failed(Place("worse", "Relu"), "ValueError: no", "Traceback ..."),),
            seconds=0.01,
        ),
        PassReport("remove-pad", "exact", skipped="the model has no Pad"),
        notes=("something else",),
    )

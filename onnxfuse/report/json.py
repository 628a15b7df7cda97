"""The report as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from onnxfuse.report.records import SCHEMA, Applied, Declined, Failed, PassReport, Place, Rejected, Report

__all__ = ["applied_dict", "report_dict", "report_json"]


def report_json(report: Report) -> str:
    """Returns the report as JSON text."""
    return json.dumps(report_dict(report), indent=2, ensure_ascii=False, allow_nan=False)


def report_dict(report: Report) -> dict[str, Any]:
    """Returns the report as JSON-able dicts, with its schema version."""
    return {
        "schema": SCHEMA,
        "onnxfuse": report.version,
        "pipeline": report.pipeline,
        "modified": report.modified,
        "before": {"nodes": report.before.nodes, "ops": dict(report.before.ops)},
        "after": {"nodes": report.after.nodes, "ops": dict(report.after.ops)},
        "passes": [_pass_dict(item) for item in report.passes],
        "verification": {
            "level": report.verify,
            "model": report.verdict.to_dict() if report.verdict is not None else None,
        },
        "renamed_values": report.renamed_values,
        "notes": list(report.notes),
        "seconds": round(report.seconds, 6),
    }


def _pass_dict(report: PassReport) -> dict[str, Any]:
    return {
        "pass": report.name,
        "numerics": report.numerics,
        "skipped": report.skipped,
        "applied": [applied_dict(outcome) for outcome in report.applied],
        "declined": [_declined_dict(outcome) for outcome in report.declined],
        "rejected": [_rejected_dict(outcome) for outcome in report.rejected],
        "failed": [_failed_dict(outcome) for outcome in report.failed],
        "visited": report.visited,
        "sessions": report.sessions,
        "seconds": round(report.seconds, 6),
        "verify_seconds": round(report.verify_seconds, 6),
    }


def _place_dict(place: Place) -> dict[str, Any]:
    return {"node": place.node, "op_type": place.op_type, "scope": list(place.scope)}


def applied_dict(outcome: Applied) -> dict[str, Any]:
    """Returns a rewrite as a JSON-able dict."""
    return {
        "index": outcome.index,
        "at": _place_dict(outcome.at),
        "removed": [{"node": name, "op_type": op_type} for name, op_type in outcome.removed],
        "added": [{"node": name, "op_type": op_type} for name, op_type in outcome.added],
        "grade": outcome.grade,
        "evidence": outcome.evidence,
        "max_error": _number(outcome.max_error),
        "values": dict(outcome.values),
        "nodes": {old: list(new) for old, new in outcome.nodes.items()},
    }


def _number(value: float | None) -> float | str | None:
    """Returns a number as JSON knows it; NaN and the infinities are the strings `nan`, `inf` and `-inf`."""
    return value if value is None or math.isfinite(value) else str(value)


def _declined_dict(outcome: Declined) -> dict[str, Any]:
    return {"at": _place_dict(outcome.at), "reason": outcome.reason, "culprit": outcome.culprit}


def _rejected_dict(outcome: Rejected) -> dict[str, Any]:
    return {"at": _place_dict(outcome.at), "reason": outcome.reason, "evidence": dict(outcome.evidence)}


def _failed_dict(outcome: Failed) -> dict[str, Any]:
    return {"at": _place_dict(outcome.at), "error": outcome.error, "traceback": outcome.traceback}

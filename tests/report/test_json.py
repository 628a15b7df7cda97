"""The report as JSON: strict, complete, and of a form that others can rely on."""

from __future__ import annotations

import json
from typing import Any

from onnxfuse.report.json import report_dict, report_json
from onnxfuse.report.records import SCHEMA, PassReport
from tests.report.reports import DIFFERENT, applied, eventful, report


def strict(text: str) -> Any:
    """Reads JSON, and no more than JSON: NaN is none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_round_trip() -> None:
    assert strict(report_json(eventful())) == report_dict(eventful())
    assert eventful().to_json() == report_json(eventful())


def test_the_schema() -> None:
    found = report_dict(eventful())
    assert found["schema"] == SCHEMA == 1
    assert list(found) == [
        "schema",
        "onnxfuse",
        "pipeline",
        "modified",
        "before",
        "after",
        "passes",
        "verification",
        "renamed_values",
        "notes",
        "seconds",
    ]
    assert found["onnxfuse"] == "1.2.3"
    assert found["pipeline"] == "merge-sliced,swap{to=-1},remove-pad"
    assert found["modified"] is True
    assert found["before"] == {"nodes": 12, "ops": {"Relu": 2, "Slice": 10}}
    assert found["after"] == {"nodes": 10, "ops": {"Relu": 2, "Slice": 8}}
    assert found["notes"] == ["something else"]
    assert found["seconds"] == 1.5


def test_passes() -> None:
    merged, swapped, skipped = report_dict(eventful())["passes"]
    assert merged == {
        "pass": "merge-sliced",
        "numerics": "exact",
        "skipped": None,
        "applied": merged["applied"],
        "declined": [
            {
                "at": {"node": "s7", "op_type": "Slice", "scope": []},
                "reason": "the starts are not constant",
                "culprit": "starts",
            },
            {
                "at": {"node": "s8", "op_type": "Slice", "scope": []},
                "reason": "the starts are not constant",
                "culprit": "other",
            },
        ],
        "rejected": [],
        "failed": [],
        "visited": 10,
        "sessions": 2,
        "seconds": 1.234,
        "verify_seconds": 0.5,
    }
    assert merged["applied"][0] == {
        "index": 1,
        "at": {"node": "s1", "op_type": "Slice", "scope": []},
        "removed": [{"node": "r1", "op_type": "Slice"}, {"node": "s1", "op_type": "Slice"}],
        "added": [{"node": "s1", "op_type": "Slice"}],
        "grade": "exact-for-all-shapes",
        "evidence": "equal index maps on 3 shapes",
        "max_error": 0.0,
        "values": {"a": "b", "gone": None},
        "nodes": {"r1": ["s1"], "s1": ["s1"]},
    }
    (rejected,) = swapped["rejected"]
    assert rejected["at"] == {"node": "bad", "op_type": "Relu", "scope": ["loop", "body"]}
    assert rejected["evidence"]["inputs"] == {"x": [0.1234567890123, "nan"]}
    assert swapped["failed"] == [
        {
            "at": {"node": "worse", "op_type": "Relu", "scope": []},
            "error": "ValueError: no",
            "traceback": "Traceback ...",
        }
    ]
    assert skipped["skipped"] == "the model has no Pad"


def test_numbers_that_json_does_not_have_are_strings() -> None:
    odd = tuple(applied(1, "value-tested", error=error) for error in (float("nan"), float("inf"), None, 0.5))
    found = strict(report_json(report(PassReport("p", "exact", applied=odd), verdict=DIFFERENT)))
    assert [item["max_error"] for item in found["passes"][0]["applied"]] == ["nan", "inf", None, 0.5]
    (output,) = found["verification"]["model"]["outputs"]
    assert (output["max_abs"], output["max_rel"], output["at"]) == ("nan", "inf", [0, 1])


def test_verification() -> None:
    found = report_dict(eventful())["verification"]
    assert found["level"] == "model"
    assert found["model"]["status"] == "equivalent"
    assert found["model"]["backend"] == "onnxruntime"
    assert report_dict(report(PassReport("p", "exact"), verdict=None))["verification"]["model"] is None


def test_renamed_values_follow_chains() -> None:
    # a became b, and then b became c.
    assert report_dict(eventful())["renamed_values"] == {"a": "c", "gone": None, "b": "c"}


def test_names_stay_readable() -> None:
    named = report(PassReport("p", "exact", skipped="the model has no 卷积"))
    assert "卷积" in report_json(named)

"""The report as text: the table, the counts, and what was and was not verified."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from onnxfuse.report.records import Declined, ModelFacts, PassReport, Place, Rejected, Report
from onnxfuse.report.text import report_text, table, why_text
from onnxfuse.verification.verdict import Verdict
from tests.report.reports import DIFFERENT, EQUIVALENT, NOT_RUN, applied, eventful, report

REGION: Final = "verified: 1 region (1 session, 0.00 s)"


def test_everything() -> None:
    assert report_text(eventful()) == (
        "pass          applied  declined  rejected  largest error  grade           time\n"
        "merge-sliced        2         2         0          3e-07  value-tested  1.23 s\n"
        "swap{to=-1}         0         0         1                               0.01 s\n"
        "remove-pad          -         -         -\n"
        "  remove-pad did not run: the model has no Pad\n"
        "\n"
        "nodes 12 -> 10\n"
        "  Slice 10 -> 8\n"
        "rejected: swap{to=-1} at loop/body/bad: the replacement differs at x [2]: value: 1 of 2 values differ\n"
        "  with x [2]: 0.123457, nan\n"
        "failed: swap{to=-1} at worse: ValueError: no\n"
        "declined 2: the starts are not constant\n"
        "verified: 2 regions (2 sessions, 0.50 s);"
        " the whole model: equivalent (1 input set compared, onnxruntime, 0.25 s)\n"
        "  y: equivalent\n"
        "note: something else"
    )


def test_str_is_the_text() -> None:
    assert str(eventful()) == report_text(eventful())


@pytest.mark.parametrize(
    ("grades", "shown"),
    [
        (["exact-for-all-shapes"], "exact-for-all-shapes"),
        (["exact-for-all-shapes", "exact-for-this-shape"], "exact-for-this-shape"),
        (["exact-for-this-shape", "integer-exact"], "integer-exact"),
        (["integer-exact", "value-tested", "exact-for-all-shapes"], "value-tested"),
        (["value-tested", "not-run"], "not-run"),
    ],
)
def test_the_grade_of_a_pass_is_its_weakest(grades: list[str], shown: str) -> None:
    rewrites = tuple(applied(index, grade) for index, grade in enumerate(grades, 1))
    row = report_text(report(PassReport("p", "exact", applied=rewrites))).splitlines()[1]
    assert row.split()[5] == shown


@pytest.mark.parametrize(
    ("errors", "shown"), [([None], ""), ([0.0], "0"), ([0.0, 3e-6, None], "3e-06"), ([0.0, float("nan")], "nan")]
)
def test_the_largest_error_of_a_pass(errors: list[float | None], shown: str) -> None:
    rewrites = tuple(applied(index, "value-tested", error=error) for index, error in enumerate(errors, 1))
    header, row = report_text(report(PassReport("p", "exact", applied=rewrites))).splitlines()[:2]
    end = header.index("largest error") + len("largest error")
    assert row[header.index("rejected") + len("rejected") : end].strip() == shown


@pytest.mark.parametrize(
    ("level", "verdict", "line"),
    [
        ("off", None, "verified: not-run (--verify off)"),
        ("structure", None, "verified: the structure of 1 rewrite; what it computes: not-run (--verify structure)"),
        ("region", None, f"{REGION}; the whole model: not-run (--verify region)"),
        (
            "model",
            EQUIVALENT,
            f"{REGION}; the whole model: equivalent (1 input set compared, onnxruntime, 0.25 s)",
        ),
        (
            "model",
            NOT_RUN,
            f"{REGION}; the whole model: not-run (0 input sets compared, 0.25 s)",
        ),
        (
            "model",
            DIFFERENT,
            f"{REGION}; the whole model: different (1 input set compared, onnxruntime, 0.25 s)",
        ),
    ],
)
def test_what_was_verified(level: str, verdict: Verdict | None, line: str) -> None:
    one = PassReport("p", "exact", applied=(applied(1, "value-tested"),), sessions=1)
    assert line in report_text(report(one, verify=level, verdict=verdict)).splitlines()


def unchanged(*passes: PassReport) -> Report:
    facts = ModelFacts(3, {"Relu": 3})
    return report(*passes, before=facts, after=facts, verdict=None)


def test_an_unchanged_model() -> None:
    lines = report_text(unchanged(PassReport("p", "exact"))).splitlines()
    assert lines[3:] == ["nothing matched: the model is unchanged", "nodes 3", "verified: nothing to verify"]


@pytest.mark.parametrize(
    "candidates",
    [
        {"declined": (Declined(Place("a", "Relu"), "no"),)},
        {"rejected": (Rejected(Place("a", "Relu"), "no"),)},
    ],
)
def test_what_matched_and_was_not_rewritten_is_not_called_no_match(candidates: dict[str, tuple[object]]) -> None:
    text = report_text(unchanged(PassReport("p", "exact", **candidates)))  # type: ignore[arg-type]
    assert "nothing was rewritten: the model is unchanged" in text
    assert "nothing matched" not in text


def test_an_empty_pipeline() -> None:
    assert report_text(unchanged()) == "no pass ran: the pipeline is empty"


def test_only_the_commonest_reasons() -> None:
    reasons = [reason for count, reason in ((4, "a"), (3, "b"), (2, "c"), (1, "d"), (1, "e")) for _ in range(count)]
    declined = tuple(Declined(Place(f"n{i}", "Pad"), reason) for i, reason in enumerate(reasons))
    lines = report_text(unchanged(PassReport("p", "exact", declined=declined))).splitlines()
    assert [line for line in lines if line.startswith("declined")] == [
        "declined 4: a",
        "declined 3: b",
        "declined 2: c",
        "declined 2: for 2 other reasons (--why lists every candidate)",
    ]


def test_long_inputs_of_a_rejection_are_cut() -> None:
    evidence = {"shapes": {"x": [20]}, "inputs": {"x": list(range(20))}}
    rejected = Rejected(Place("a", "Relu"), "it differs", evidence)
    text = report_text(unchanged(PassReport("p", "exact", rejected=(rejected,))))
    assert "  with x [20]: 0, 1, 2, 3, 4, 5, 6, 7, ..." in text.splitlines()


def test_why() -> None:
    assert why_text(eventful()).splitlines() == [
        "merge-sliced declined at s7: the starts are not constant (starts)",
        "merge-sliced declined at s8: the starts are not constant (other)",
    ]
    assert why_text(eventful(), "remove-pad") == "remove-pad did not run: the model has no Pad"
    # A pass is found by its name, whatever its options.
    swapped = replace(eventful().passes[0], name="swap{to=-1}")
    assert why_text(report(swapped), "swap").startswith("swap{to=-1} declined at s7: ")


def test_why_of_nothing() -> None:
    assert why_text(report(PassReport("p", "exact"))) == "no candidate was declined"
    assert why_text(report(PassReport("p", "exact")), "p") == "p declined no candidate"


def test_table() -> None:
    lines = table(("name", "count"), [("a", "1"), ("longer name", "10000000")], right=(1,))
    assert lines == ["name            count", "a                   1", "longer name  10000000"]
    assert table(("a", "b"), []) == ["a  b"]

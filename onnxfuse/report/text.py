"""The report as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from onnxfuse.report.records import Applied, PassReport, Report

__all__ = ["report_text", "table", "why_text"]

WEAKEST_FIRST = ("not-run", "value-tested", "integer-exact", "exact-for-this-shape", "exact-for-all-shapes")


def report_text(report: Report) -> str:
    """Returns a table of the passes, the op counts that changed, and what the whole-model check said."""
    header = ("pass", "applied", "declined", "rejected", "largest error", "grade", "time")
    rows = [_row(item) for item in report.passes]
    lines = table(header, rows, right=(1, 2, 3, 4, 6))
    lines += [f"  {item.name} did not run: {item.skipped}" for item in report.passes if item.skipped]
    lines += ["", *_op_lines(report)]
    for item in report.passes:
        lines += [f"rejected: {item.name} at {o.at}: {o.reason}" for o in item.rejected]
        lines += [f"failed: {item.name} at {o.at}: {o.error}" for o in item.failed]
    if report.declined:
        counts = Counter(outcome.reason for outcome in report.declined)
        lines += [f"declined {count}: {reason}" for reason, count in counts.most_common(3)]
        if len(counts) > 3:
            lines.append(f"declined for {len(counts) - 3} other reasons (--why lists every candidate)")
    lines.append(_verified(report))
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def _row(report: PassReport) -> tuple[str, ...]:
    if report.skipped:
        return (report.name, "-", "-", "-", "", "", "")
    return (
        report.name,
        str(len(report.applied)),
        str(len(report.declined)),
        str(len(report.rejected)),
        _largest_error(report.applied),
        _weakest_grade(report.applied),
        f"{report.seconds:.2f} s",
    )


def _largest_error(applied: Sequence[Applied]) -> str:
    errors = [outcome.max_error for outcome in applied if outcome.max_error is not None]
    if not errors:
        return ""
    return "0" if max(errors) == 0 else f"{max(errors):.2g}"


def _weakest_grade(applied: Sequence[Applied]) -> str:
    grades = {outcome.grade for outcome in applied}
    return next((grade for grade in WEAKEST_FIRST if grade in grades), "")


def _op_lines(report: Report) -> list[str]:
    lines = [f"nodes {report.before.nodes} -> {report.after.nodes}"]
    if not report.modified:
        return ["nothing matched: the model is unchanged", f"nodes {report.before.nodes}"]
    names = sorted({*report.before.ops, *report.after.ops})
    changed = [
        f"{name} {report.before.ops.get(name, 0)} -> {report.after.ops.get(name, 0)}"
        for name in names
        if report.before.ops.get(name, 0) != report.after.ops.get(name, 0)
    ]
    return [*lines, *(f"  {line}" for line in changed)]


def _verified(report: Report) -> str:
    if not report.modified:
        return "verified: nothing to verify"
    sessions = sum(item.sessions for item in report.passes)
    seconds = sum(item.verify_seconds for item in report.passes)
    if report.verify == "off":
        return "verified: not-run (--verify off)"
    if report.verify == "structure":
        return f"verified: the structure of {len(report.applied)} rewrites; their results: not-run (--verify structure)"
    count = len(report.applied)
    regions = f"{count} region{'s' * (count != 1)} ({sessions} distinct, {seconds:.2f} s)"
    if report.verdict is None:
        return f"verified: {regions}; the whole model: not-run (--verify region)"
    return f"verified: {regions}; the whole model: {report.verdict.explain()}"


def why_text(report: Report, pass_name: str | None = None) -> str:
    """Returns every declined candidate with its place and reason, of all passes or of one."""
    lines = []
    for item in report.passes:
        if pass_name and item.name.partition("{")[0] != pass_name:
            continue
        if item.skipped:
            lines.append(f"{item.name}: did not run: {item.skipped}")
        for outcome in item.declined:
            culprit = f" ({outcome.culprit})" if outcome.culprit else ""
            lines.append(f"{item.name} at {outcome.at}: {outcome.reason}{culprit}")
    return "\n".join(lines) if lines else "no candidate was declined"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Returns the lines of a table; the columns in `right` are aligned to the right."""
    body = [tuple(header), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in body) for column in range(len(header))]
    lines = []
    for row in body:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines

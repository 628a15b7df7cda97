"""The report as text for a terminal."""

from __future__ import annotations

import math
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from onnxfuse.report.records import Applied, PassReport, Report

__all__ = ["command_text", "counted", "one_line", "report_text", "table", "why_text"]

REASONS: Final = 3
LONGEST: Final = 20_000
WIDEST: Final = 200
ELEMENTS: Final = 8
WEAKEST_FIRST: Final = ("not-run", "value-tested", "integer-exact", "exact-for-this-shape", "exact-for-all-shapes")


def report_text(report: Report) -> str:
    """Returns a table of the passes, the op counts that changed, and what the whole-model check said."""
    if not report.passes:
        return "no pass ran: the pipeline is empty"
    header = ("pass", "applied", "declined", "rejected", "largest error", "grade", "time")
    rows = [_row(item) for item in report.passes]
    lines = table(header, rows, right=(1, 2, 3, 4, 6))
    lines += [f"  {item.name} did not run: {item.skipped}" for item in report.passes if item.skipped]
    lines += ["", *_op_lines(report)]
    for item in report.passes:
        for rejected in item.rejected:
            lines.append(f"rejected: {item.name} at {rejected.at}: {rejected.reason}")
            lines += [f"  {line}" for line in _evidence_lines(rejected.evidence)]
        lines += [f"failed: {item.name} at {o.at}: {o.error}" for o in item.failed]
    lines += _declined_lines(report)
    notes = [one_line(f"note: {note}") for note in report.notes]
    return "\n".join([*map(one_line, lines), _verified(report), *notes])


def _declined_lines(report: Report) -> list[str]:
    counts = Counter(outcome.reason for outcome in report.declined)
    first = counts.most_common(REASONS)
    lines = [f"declined {count}: {reason}" for reason, count in first]
    if len(counts) > REASONS:
        rest = counts.total() - sum(count for _, count in first)
        reasons = counted(len(counts) - REASONS, "other reason")
        lines.append(f"declined {rest}: for {reasons} (--why lists every candidate)")
    return lines


def _evidence_lines(evidence: Mapping[str, Any]) -> list[str]:
    """Returns the inputs that show a difference, as far as they are short."""
    lines = []
    for name, values in evidence.get("inputs", {}).items():
        shape = evidence.get("shapes", {}).get(name, "?")
        shown = ", ".join(map(_element, values[:ELEMENTS])) + (", ..." if len(values) > ELEMENTS else "")
        lines.append(f"with {name} {shape}: {shown}")
    return lines


def _element(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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
    if any(map(math.isnan, errors)):
        return "nan"  # max() would pass over it
    return "0" if max(errors) == 0 else f"{max(errors):.2g}"


def _weakest_grade(applied: Sequence[Applied]) -> str:
    grades = {outcome.grade for outcome in applied}
    return next((grade for grade in WEAKEST_FIRST if grade in grades), "")


def _op_lines(report: Report) -> list[str]:
    if not report.modified:
        tried = report.declined or report.rejected or report.failed
        what = "nothing was rewritten" if tried else "nothing matched"
        return [f"{what}: the model is unchanged", f"nodes {report.before.nodes}"]
    names = sorted({*report.before.ops, *report.after.ops})
    changed = [
        f"{name} {report.before.ops.get(name, 0)} -> {report.after.ops.get(name, 0)}"
        for name in names
        if report.before.ops.get(name, 0) != report.after.ops.get(name, 0)
    ]
    return [f"nodes {report.before.nodes} -> {report.after.nodes}", *(f"  {line}" for line in changed)]


def _verified(report: Report) -> str:
    if not report.modified:
        return "verified: nothing to verify"
    if report.verify == "off":
        return "verified: not-run (--verify off)"
    if report.verify == "structure":
        count = len(report.applied)
        what = "what it computes" if count == 1 else "what they compute"
        return f"verified: the structure of {counted(count, 'rewrite')}; {what}: not-run (--verify structure)"
    sessions = sum(item.sessions for item in report.passes)
    seconds = sum(item.verify_seconds for item in report.passes)
    regions = f"{counted(len(report.applied), 'region')} ({counted(sessions, 'session')}, {seconds:.2f} s)"
    if report.verdict is None:
        return f"verified: {regions}; the whole model: not-run (--verify region)"
    return f"verified: {regions}; the whole model: {report.verdict.explain()}"


def why_text(report: Report, pass_name: str | None = None) -> str:
    """Returns every declined candidate with its place and reason, of all passes or of one.

    That a pass did not run is in `report_text` too: it is said again only of the one that is asked for.
    """
    lines = []
    for item in report.passes:
        if pass_name and pass_name not in (item.name, item.name.partition("{")[0], item.name.partition(":")[0]):
            continue
        if item.skipped and pass_name:
            lines.append(f"{item.name} did not run: {item.skipped}")
        for outcome in item.declined:
            culprit = f" ({outcome.culprit})" if outcome.culprit else ""
            lines.append(f"{item.name} declined at {outcome.at}: {outcome.reason}{culprit}")
    if not lines:
        return f"{pass_name} declined no candidate" if pass_name else "no candidate was declined"
    return "\n".join(map(one_line, lines))


def command_text(words: Iterable[str]) -> str:
    """Returns a command as one line that a shell reads back as the same words, whatever is in them.

    A word with signs that act on a terminal stands in bash's own quotes, those signs as octal numbers.
    """
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_shell_sign, word)) + "'"


def _shell_sign(sign: str) -> str:
    if sign in "'\\":
        return f"\\{sign}"
    # Always three octal digits: no digit that follows can be taken for one of them.
    return sign if sign.isprintable() else "".join(f"\\{byte:03o}" for byte in os.fsencode(sign))


def one_line(text: str) -> str:
    """Returns a line in which names of the model end no line, and are no longer than can be read."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return text.replace("\n", "\\n")


def counted(count: int, what: str) -> str:
    """Returns `1 region`, `2 regions`."""
    return f"{count} {what}{'s' * (count != 1)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Returns the lines of a table; the columns in `right` are aligned to the right."""
    # One very long cell would make all others as wide.
    body = [tuple(cell if len(cell) <= WIDEST else f"{cell[:WIDEST]}..." for cell in row) for row in (header, *rows)]
    widths = [max(len(row[column]) for row in body) for column in range(len(header))]
    lines = []
    for row in body:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines

"""What was measured, as data, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

__all__ = ["Bar", "Column", "Group", "as_json", "as_text"]

Unit = Literal["text", "seconds", "bytes", "ratio", "count", "power"]

MISSING: Final = "-"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Of the rows.
        title: Its heading.
        unit: How a number is written; it is kept in seconds and bytes.
    """

    key: str
    title: str
    unit: Unit = "text"


@dataclass(frozen=True)
class Bar:
    """What onnxfuse has to reach.

    Attributes:
        claim: A sentence.
        value: What was measured; None where it could not be.
        limit: What it may be at most.
        unit: Of both.
    """

    claim: str
    value: float | None
    limit: float
    unit: Unit = "ratio"

    @property
    def status(self) -> str:
        """`pass`, `fail`, or `not-run`, which is no pass."""
        if self.value is None:
            return "not-run"
        return "pass" if self.value <= self.limit else "fail"


@dataclass(frozen=True)
class Group:
    """The results of one benchmark.

    Attributes:
        name: As `--only` takes it.
        title: What was measured.
        columns: Of the table.
        rows: By the columns' keys; what has no column is in the JSON only. `note` says what went wrong.
        bars: What onnxfuse has to reach, and whether it does.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    bars: tuple[Bar, ...] = ()


def as_json(group: Group) -> dict[str, Any]:
    """Returns a group as what `json.dumps` takes."""
    return {
        "name": group.name,
        "title": group.title,
        "rows": [dict(row) for row in group.rows],
        "bars": [asdict(bar) | {"status": bar.status} for bar in group.bars],
    }


def as_text(group: Group) -> str:
    """Returns a group as a table that reads well in a terminal and in Markdown."""
    columns = list(group.columns)
    if any(row.get("note") for row in group.rows):
        columns.append(Column("note", "note"))
    cells = [[_written(row.get(column.key), column.unit) for column in columns] for row in group.rows]
    lines = [f"## {group.name}", "", group.title, "", *_table(columns, cells)]
    if group.bars:
        lines.append("")
        lines += [f"- {bar.status}: {bar.claim}: {_value(bar)}" for bar in group.bars]
    return "\n".join(lines)


def _value(bar: Bar) -> str:
    return f"{_written(bar.value, bar.unit)} (at most {_written(bar.limit, bar.unit)})"


def _table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [
        max(len(column.title), 3, *(len(row[index]) for row in cells)) if cells else len(column.title)
        for index, column in enumerate(columns)
    ]
    left = [column.unit == "text" for column in columns]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if is_left else text.rjust(width)
            for text, width, is_left in zip(texts, widths, left, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if is_left else f"{'-' * (width - 1)}:" for width, is_left in zip(widths, left, strict=True)]
    return [line([column.title for column in columns]), line(rule), *map(line, cells)]


def _written(value: Any, unit: Unit) -> str:
    if value is None:
        return MISSING
    if unit == "seconds":
        return f"{value:.3f}" if value < 1 else f"{value:.2f}"
    if unit == "bytes":
        return f"{value / 2**20:.0f}"
    if unit in ("ratio", "power"):
        return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    if unit == "count":
        return f"{value:,.0f}"
    return str(value)

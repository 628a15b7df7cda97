"""Reads msprof's `op_summary_*.csv`: the time of every operator that ran, of either generation of headers."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import Final, NamedTuple

from onnxfuse.drivers.performance import MOST
from onnxfuse.errors import UsageError

__all__ = ["Op", "OpSummary", "read"]

LARGEST: Final = 512 << 20
LONGEST_FIELD: Final = 1 << 20
SHOWN: Final = 60
UNNAMED: Final = "N/A"

# By what a header is without its case and spaces; the first that is there is taken.
NAME: Final = ("opname",)
TYPE: Final = ("optype",)
TIME: Final = ("taskduration(us)", "taskduration", "aicore_time(us)")
START: Final = ("taskstarttime(us)", "taskstarttime")
MODEL: Final = ("modelid", "modelname")
DEVICE: Final = ("device_id", "deviceid")
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "name": NAME,
    "type": TYPE,
    "time": TIME,
    "start": START,
    "model": MODEL,
    "device": DEVICE,
}
SHAPES: Final = ("inputshapes",)
FORMATS: Final = ("inputformats", "outputformats")


class _Row(NamedTuple):
    """A row of the file, and the line where it stands."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Op:
    """One operator of the compiled model.

    Attributes:
        name: Its name there.
        type: Its type, of Ascend's own: `StridedSliceD`.
        time: us of one run, the mean over the runs.
        runs: How often it ran.
        shapes: Of its inputs, as the file has them; empty where it does not.
        formats: Of its inputs and outputs, likewise.
    """

    name: str
    type: str
    time: float
    runs: int
    shapes: str = ""
    formats: str = ""


@dataclass(frozen=True)
class OpSummary:
    """What a file says.

    Attributes:
        ops: The operators in the order in which they ran first.
        duration: The column that the times are from.
        notes: What was left out, and why.
    """

    ops: tuple[Op, ...]
    duration: str
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """The time of one run of all of them, in us."""
        return math.fsum(op.time for op in self.ops)


def read(path: Path, *, model_id: str | None = None, device_id: str | None = None) -> OpSummary:
    """Reads an op_summary.

    Args:
        path: The file.
        model_id: Of the model whose rows are meant, where the file has those of several.
        device_id: Of the device, likewise.

    Returns:
        Its operators; those of several runs averaged by name.

    Raises:
        UsageError: It is none, has no times, or has several models or devices and none of them is chosen.
    """
    rows = list(_rows(_text(path), path))
    header = rows[0].cells if rows else []
    body: Sequence[_Row] = rows[1:]
    places = _places(header, path)
    for what, wanted in (("model", model_id), ("device", device_id)):
        body = _only(body, places.get(what), what, wanted, path)
    kept, notes = _timed(body, places, path)
    grouped: dict[tuple[str, str], list[tuple[float, _Row]]] = {}
    for time, row in kept:
        grouped.setdefault((_cell(row, places["name"]) or UNNAMED, _cell(row, places["type"]) or UNNAMED), []).append(
            (time, row)
        )
    counts = [len(found) for (name, _), found in grouped.items() if name != UNNAMED]
    usual = mode(counts) if counts else 1
    ops = [_op(name, kind, found, header, usual) for (name, kind), found in grouped.items()]
    runs = set(counts)
    if len(runs) > 1:
        notes.append(
            f"operators ran between {min(runs)} and {max(runs)} times: each time is the mean over its own runs"
        )
    return OpSummary(tuple(ops), header[places["time"]].strip(), tuple(notes))


def _op(name: str, kind: str, found: Sequence[tuple[float, _Row]], header: Sequence[str], usual: int) -> Op:
    """One operator; those without a name cannot be told apart, and count as one that ran as often as most did."""
    row = found[0][1]
    runs = usual if name == UNNAMED else len(found)
    time = math.fsum(time for time, _ in found) / runs
    shapes = _cell(row, _place(header, SHAPES))
    formats = " -> ".join(filter(None, (_cell(row, _place(header, (name,))) for name in FORMATS)))
    return Op(name, kind, time, runs, shapes.strip('"'), formats)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is no text") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path}: is larger than {LARGEST >> 20} MiB")
    if "\0" in text:
        raise UsageError(f"{path}: is no text")
    return text


def _rows(text: str, path: Path) -> Iterator[_Row]:
    limit = csv.field_size_limit(LONGEST_FIELD)
    line = 1
    try:
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        for cells in reader:
            # A quote that is not closed takes the rows behind it into its cell; no cell of msprof's has several lines.
            if reader.line_num > line:
                raise UsageError(f"{path}, line {line}: is no CSV: a quote is not closed in its line")
            if any(cell.strip() for cell in cells):
                yield _Row(line, cells)
            line += 1
    except csv.Error as error:
        raise UsageError(f"{path}, line {line}: is no CSV: {_csv_fault(error)}") from error
    finally:
        csv.field_size_limit(limit)


def _csv_fault(error: csv.Error) -> str:
    return "a quote is not closed" if "unexpected end of data" in str(error) else str(error)


def _plain(header: str) -> str:
    return "".join(unicodedata.normalize("NFKC", header).casefold().split())


def _place(header: Sequence[str], names: Sequence[str]) -> int | None:
    known = [_plain(cell) for cell in header]
    return next((known.index(name) for name in names if name in known), None)


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    places = {what: _place(header, names) for what, names in COLUMNS.items()}
    found = {what: place for what, place in places.items() if place is not None}
    if {"name", "type", "time"} <= found.keys():
        return found
    if "type" in found and _place(header, ("totaltime(us)",)) is not None:
        raise UsageError(f"{path}: is an op_statistic, which has no operators; give op_summary_*.csv beside it")
    if len(header) == 1 and ";" in header[0]:
        raise UsageError(f"{path}: its columns are separated by semicolons; msprof writes commas")
    missing = {"name": "Op Name", "type": "OP Type", "time": "Task Duration(us)"}
    lacks = ", ".join(text for what, text in missing.items() if what not in found)
    raise UsageError(f"{path}: is no op_summary of msprof: it has no column {lacks}")


def _cell(row: _Row, place: int | None) -> str:
    """A cell without what surrounds it; empty where there is none."""
    if place is None or place >= len(row.cells):
        return ""
    text = row.cells[place].strip().strip("\t")
    return "" if text.upper() in ("N/A", "NA") else text


def _only(rows: Sequence[_Row], place: int | None, what: str, wanted: str | None, path: Path) -> Sequence[_Row]:
    """The rows of one model, or of one device; all where there is no other."""
    there = dict.fromkeys(found for row in rows if (found := _cell(row, place)))
    if wanted is None and len(there) <= 1:
        return rows
    if wanted not in there:
        found = f"has rows of several {what}s" if wanted is None else f"has no rows of {what} {wanted}"
        raise UsageError(
            f"{path}: {found}; give one of them: --{what}-id {', '.join(list(there)[:8]) or '(none has an id)'}"
        )
    return [row for row in rows if _cell(row, place) == wanted]


def _timed(rows: Sequence[_Row], places: Mapping[str, int], path: Path) -> tuple[list[tuple[float, _Row]], list[str]]:
    """The rows that have a time, in the order of their start where all have one."""
    kept: list[tuple[float, _Row]] = []
    wrong: list[str] = []
    without = 0
    for row in rows:
        text = _cell(row, places["time"])
        if not text:
            without += 1
            continue
        time = _number(text)
        if time is not None and time > MOST:
            raise UsageError(f"{path}, line {row.line}: {text[:SHOWN]!r} is a time that no operator takes")
        if time is None:
            wrong.append(text[:SHOWN])
        else:
            kept.append((time, row))
    comma = ": a number with a comma; msprof writes a point" if wrong and "," in wrong[0] else ""
    if not kept:
        said = f"{wrong[0]!r} is no time{comma}" if wrong else "no row has a time"
        raise UsageError(f"{path}: {said}")
    notes = []
    if wrong:
        notes.append(f"{len(wrong)} rows were left out: {wrong[0]!r} is no time{comma}")
    if without:
        notes.append(f"{without} rows without a time were left out")
    starts = [_number(_cell(row, places.get("start"))) for _, row in kept]
    if all(start is not None for start in starts):
        order = sorted(range(len(kept)), key=lambda index: starts[index] or 0.0)
        kept = [kept[index] for index in order]
    return kept, notes


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 else None

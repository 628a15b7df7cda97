"""A model of 3 GiB whose weights are in a file of their own: one rewrite, saved beside the original."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import onnx

from benchmarks.file_to_file import apply_command
from benchmarks.measure import Command, alternate_commands
from benchmarks.models import external
from benchmarks.results import Bar, Column, Group

__all__ = ["run"]

PEAK_LIMIT: Final = 400 << 20

COLUMNS: Final = (
    Column("case", "data file"),
    Column("weights", "weights MiB", "bytes"),
    Column("time", "s", "seconds"),
    Column("cpu", "CPU s", "seconds"),
    Column("peak", "peak RSS MiB", "bytes"),
    Column("most_peak", "highest MiB", "bytes"),
    Column("size", "output bytes", "count"),
    Column("untouched", "data untouched"),
)


def run(workdir: Path, runs: int, *, real: bool) -> Group:
    """Measures.

    Args:
        workdir: Where models are kept and written.
        runs: How often each case is run.
        real: Whether a data file full of numbers, which takes 3 GiB of disk, is measured beside the sparse one.
    """
    commands: dict[str, Command] = {}
    before: dict[str, tuple[int, int, int]] = {}
    data: dict[str, Path] = {}
    for kind in ("sparse", "real") if real else ("sparse",):
        model = external(workdir, real=kind == "real")
        data[kind] = model.with_name(model.name + ".data")
        before[kind] = _identity(data[kind])
        target = model.with_name(f"out-{model.name}")
        commands[kind] = Command(f"external data, {kind}", apply_command(model, target), target)
    alternate_commands(list(commands.values()), runs)
    rows = [_row(kind, command, data[kind], before[kind]) for kind, command in commands.items()]
    for command in commands.values():
        if command.output is not None:
            command.output.unlink(missing_ok=True)
    return Group(
        "external-data",
        "A model with external data, `onnxfuse apply -p merge-sliced --verify region`, one rewrite, saved beside it: "
        f"whole processes, medians of {runs} runs.",
        COLUMNS,
        tuple(rows),
        tuple(_bars(rows)),
    )


def _identity(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _row(kind: str, command: Command, data: Path, before: tuple[int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {"case": kind, "note": command.problem, "weights": before[2]}
    if command.problem or command.output is None:
        return row
    untouched = _identity(data) == before and _refers_to(command.output, data)
    return row | {
        "time": command.series.wall,
        "time_samples": command.series.walls,
        "cpu": command.series.cpu,
        "peak": command.series.peak,
        "most_peak": max(sample.peak or 0 for sample in command.series.samples),
        "size": command.output.stat().st_size,
        "untouched": "yes" if untouched else "NO",
    }


def _refers_to(model: Path, data: Path) -> bool:
    """Says whether all external tensors of `model` are in `data`."""
    tensors = onnx.load(model, load_external_data=False).graph.initializer
    locations = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return locations == {data.name}


def _bars(rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    bars = []
    for row in rows:
        bars.append(Bar(f"{row['case']}: highest peak RSS in MiB", row.get("most_peak"), PEAK_LIMIT, "bytes"))
        touched = None if row.get("untouched") is None else float(row["untouched"] != "yes")
        claim = f"{row['case']}: data files touched (inode, mtime, size)"
        bars.append(Bar(claim, touched, 0, "count"))
    return bars

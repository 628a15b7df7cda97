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

# Rows of every activation, of 16 KiB each: verification runs the region at its own size where that is known.
SMALL: Final = 64
LARGE: Final = 4096

COLUMNS: Final = (
    Column("case", "case"),
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
    models = {
        "sparse data file": external(workdir, rows=SMALL),
        "sparse data file, activations of 64 MiB": external(workdir, rows=LARGE),
    }
    if real:
        models["data file full of numbers"] = external(workdir, rows=SMALL, real=True)
    before = {name: _identity(_data(model)) for name, model in models.items()}
    commands = []
    for name, model in models.items():
        target = model.with_name(f"out-{model.name}")
        commands.append(Command(name, apply_command(model, target), target))
    alternate_commands(commands, runs)
    rows = [_row(command, _data(models[command.name]), before[command.name]) for command in commands]
    for command in commands:
        command.clear()
    return Group(
        "external-data",
        "A model with 3 GiB of external data, `onnxfuse apply -p merge-sliced --verify region`, one rewrite, saved "
        f"beside it: whole processes, medians of {runs} runs.",
        COLUMNS,
        tuple(rows),
        tuple(_bars(rows)),
    )


def _data(model: Path) -> Path:
    return model.with_name(model.name + ".data")


def _identity(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _row(command: Command, data: Path, before: tuple[int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {"case": command.name, "note": command.problem, "weights": before[2]}
    if command.problem or command.output is None:
        return row
    untouched = _identity(data) == before and _refers_to(command.output, data)
    return row | {
        "time": command.series.wall,
        "time_samples": command.series.walls,
        "cpu": command.series.cpu,
        "peak": command.series.peak,
        "most_peak": max(sample.peak or 0 for sample in command.series.samples),
        "size": sum(file.stat().st_size for file in command.files),
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
        bars.append(Bar(f"{row['case']}: data files touched (inode, mtime, size)", touched, 0, "count"))
    return bars

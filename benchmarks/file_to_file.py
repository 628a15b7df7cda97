"""From a file to a file: whole processes, with their start, loading and saving."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import onnx

from benchmarks.measure import Command, alternate_commands, entry_point
from benchmarks.models import nasnet
from benchmarks.peers import ONNXRUNTIME, ONNXSIM, ONNXSLIM, Peer
from benchmarks.results import Bar, Column, Group

__all__ = ["apply_command", "run"]

PEERS: Final = (ONNXSIM, ONNXSLIM, ONNXRUNTIME)
NAMES: Final = {ONNXRUNTIME.name: "onnxruntime, offline, basic level"}
BARS: Final = (ONNXSIM, ONNXSLIM)
OURS: Final = "onnxfuse apply --verify region"

COLUMNS: Final = (
    Column("case", "case"),
    Column("time", "s", "seconds"),
    Column("least", "least s", "seconds"),
    Column("most", "most s", "seconds"),
    Column("ratio", "onnxfuse / this", "ratio"),
    Column("cpu", "CPU s", "seconds"),
    Column("peak", "peak RSS MiB", "bytes"),
    Column("size", "output MiB", "bytes"),
    Column("nodes", "nodes", "count"),
    Column("slices", "Slices", "count"),
)


def apply_command(source: Path, target: Path) -> list[str]:
    """Returns the command line of `onnxfuse apply` with the pass `merge-sliced`, regions verified."""
    options = ["-o", str(target), "-p", "merge-sliced", "--verify", "region"]
    return entry_point("onnxfuse.cli.main", "apply", str(source), *options)


def run(workdir: Path, runs: int) -> Group:
    """Measures.

    Args:
        workdir: Where models are kept and written.
        runs: How often each case is run.
    """
    path = nasnet(workdir)
    path.read_bytes()  # all find it in the page cache
    out = {name: workdir / f"file-to-file-{name}.onnx" for name in ("onnxfuse", *(peer.name for peer in PEERS))}
    commands = [Command(OURS, apply_command(path, out["onnxfuse"]), out["onnxfuse"])]
    commands += [_command(peer, path, out[peer.name]) for peer in PEERS]
    alternate_commands(commands, runs)
    rows = [_row(command) for command in commands]
    for command in commands:
        command.clear()
    ours = rows[0].get("time")
    for row in rows:
        if ours is not None and row.get("time") is not None:
            row["ratio"] = ours / row["time"]
    return Group(
        "file-to-file",
        f"NASNet-A-Large (355 MB) from a file to a file, whole processes; medians of {runs} alternating runs.",
        COLUMNS,
        tuple(rows),
        tuple(_bars(rows)),
    )


def _command(peer: Peer, source: Path, target: Path) -> Command:
    return Command(NAMES.get(peer.name, peer.name), peer.command(source, target), target, problem=peer.problem)


def _row(command: Command) -> dict[str, Any]:
    row: dict[str, Any] = {"case": command.name, "note": command.problem}
    if command.problem or command.output is None:
        return row
    series = command.series
    ops = Counter(node.op_type for node in onnx.load(command.output, load_external_data=False).graph.node)
    return row | {
        "time": series.wall,
        "time_samples": series.walls,
        "least": min(series.walls),
        "most": max(series.walls),
        "cpu": series.cpu,
        "peak": series.peak,
        "size": sum(file.stat().st_size for file in command.files),
        "nodes": ops.total() - ops["Constant"],
        "slices": ops["Slice"],
    }


def _bars(rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    by_name = {row["case"]: row for row in rows}
    return [Bar(f"onnxfuse, of the time of {peer.name}", by_name[peer.name].get("ratio"), 1.0) for peer in BARS]

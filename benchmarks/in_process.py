"""One pass on NASNet that is in memory already, until the new model object exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import onnx

import onnxfuse
from benchmarks.measure import Case, Command, alternate, alternate_commands, python
from benchmarks.models import nasnet, tiny
from benchmarks.peers import ONNXSIM, ONNXSLIM, Peer
from benchmarks.results import Bar, Column, Group

__all__ = ["run"]

PASS: Final = "merge-sliced"
PEERS: Final = (ONNXSIM, ONNXSLIM)

# Of the time of the faster peer.
LIMITS: Final = {"off": 0.1, "region": 0.5}
KINDS: Final = ("onnx_ir.Model", "ModelProto")

# What every tool pays that returns a ModelProto of its own: the weights are copied.
COPY: Final = "ModelProto.CopyFrom, nothing else"

COLUMNS: Final = (
    Column("case", "case"),
    Column("time", "s", "seconds"),
    Column("least", "least s", "seconds"),
    Column("most", "most s", "seconds"),
    Column("ratio", "of the faster peer", "ratio"),
    Column("start", "start-up s", "seconds"),
    Column("load", "load s", "seconds"),
    Column("save", "save s", "seconds"),
    Column("nodes", "nodes", "count"),
    Column("slices", "Slices", "count"),
)

# A whole process: the interpreter, what is imported when, and one run on a model of four nodes.
FIRST_USE: Final = """\
import sys
import onnxfuse

onnxfuse.apply(onnxfuse.load(sys.argv[1]), sys.argv[2], verify=sys.argv[3])
"""


def run(workdir: Path, runs: int) -> Group:
    """Measures.

    Args:
        workdir: Where models are kept and written.
        runs: How often each case is run.
    """
    path, out = nasnet(workdir), workdir / "in-process.onnx"
    _warm_up()
    cases = [_onnxfuse(path, out, level, kind) for level in LIMITS for kind in KINDS]
    cases += [_peer(path, out, peer) for peer in PEERS]
    cases.append(Case(COPY, {"load": lambda _: onnx.load(path), "run": _copied}))
    alternate(cases, runs)
    out.unlink(missing_ok=True)
    starts = _start_ups(workdir, runs)
    rows = _rows(cases, starts)
    return Group(
        "in-process",
        f"NASNet-A-Large in memory, `{PASS}` until the new model object exists; medians of {runs} alternating runs. "
        "Loading, saving and the start of a process with all imports are not in the time.",
        COLUMNS,
        tuple(rows),
        tuple(_bars(rows)),
    )


def _warm_up() -> None:
    """Has every tool import what it imports late."""
    for level in LIMITS:
        onnxfuse.apply(tiny(), PASS, verify=level)
    for peer in PEERS:
        if not peer.problem:
            peer.simplified(tiny())


def _onnxfuse(path: Path, out: Path, level: str, kind: str) -> Case:
    is_ir = kind == "onnx_ir.Model"
    return Case(
        f"onnxfuse, {kind}, verify {level}",
        {
            "load": lambda _: onnxfuse.load(path) if is_ir else onnx.load(path),
            "run": lambda model: onnxfuse.apply(model, PASS, verify=level).model,
            "save": lambda model: onnxfuse.save(model, out) if is_ir else onnx.save(model, out),
        },
        look=lambda results: _counts(node.op_type for node in _nodes(results["run"])),
    )


def _peer(path: Path, out: Path, peer: Peer) -> Case:
    return Case(
        peer.name,
        {
            "load": lambda _: onnx.load(path),
            "run": peer.simplified,
            "save": lambda model: onnx.save(model, out),
        },
        look=lambda results: _counts(node.op_type for node in _nodes(results["run"])),
        problem=peer.problem,
    )


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _nodes(model: Any) -> Iterable[Any]:
    return model.graph.node if isinstance(model, onnx.ModelProto) else model.graph


def _counts(ops: Iterable[str]) -> dict[str, int]:
    counts = Counter(ops)
    return {"nodes": counts.total() - counts["Constant"], "slices": counts["Slice"]}


def _start_ups(workdir: Path, runs: int) -> dict[str, float | None]:
    """Returns the seconds that a whole process takes on a model of four nodes, by the case."""
    small = workdir / "tiny.onnx"
    onnx.save(tiny(), small)
    commands = {
        level: Command(f"start, verify {level}", python(FIRST_USE, str(small), PASS, level)) for level in LIMITS
    }
    of_case = {f"onnxfuse, {kind}, verify {level}": commands[level] for level in LIMITS for kind in KINDS}
    for peer in PEERS:
        if not peer.problem:
            of_case[peer.name] = commands[peer.name] = Command(f"start, {peer.name}", peer.first_use(small))
    alternate_commands(list(commands.values()), runs)
    return {name: command.series.wall for name, command in of_case.items()}


def _rows(cases: Iterable[Case], starts: Mapping[str, float | None]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for case in cases:
        row: dict[str, Any] = {"case": case.name, "note": case.problem, "start": starts.get(case.name), **case.facts}
        for key, stage in (("time", "run"), ("load", "load"), ("save", "save")):
            if stage in case.series:
                row[key] = case.series[stage].wall
                row[f"{key}_samples"] = case.series[stage].walls
        if "time_samples" in row:
            row["least"], row["most"] = min(row["time_samples"]), max(row["time_samples"])
        rows.append(row)
    names = {peer.name for peer in PEERS}
    fastest = min((row["time"] for row in rows if row["case"] in names and "time" in row), default=None)
    for row in rows:
        if fastest is not None and "time" in row:
            row["ratio"] = row["time"] / fastest
    return rows


def _bars(rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    by_name = {row["case"]: row for row in rows}
    bars = []
    for level, limit in LIMITS.items():
        for kind in KINDS:
            name = f"onnxfuse, {kind}, verify {level}"
            bars.append(Bar(f"{name}, of the time of the faster peer", by_name[name].get("ratio"), limit))
    return bars

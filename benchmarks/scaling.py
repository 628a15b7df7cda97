"""How time grows with the graph: half of all nodes match, nothing is verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

import onnxfuse
from benchmarks.measure import Case, alternate, exponent
from benchmarks.models import Constants, Topology, synthetic, tiny
from benchmarks.results import Bar, Column, Group

__all__ = ["SIZES", "run"]

SIZES: Final = (1_000, 10_000, 100_000)
# Short runs catch the moods of a shared machine, so there are more of them: as many times the runs asked for. The
# largest graphs take half a minute a run, so there are at most so many.
MORE: Final = (4, 2)
MOST_OF_LARGEST: Final = 3
KINDS: Final = ("bytes", "onnx_ir.Model")
LIMIT: Final = 1.1
PASS: Final = "merge-sliced"

COLUMNS: Final = (
    Column("graph", "graph"),
    Column("constants", "constants"),
    Column("kind", "in and out"),
    *(Column(f"cpu_{size}", f"CPU s, {size:,}", "seconds") for size in SIZES),
    Column("exponent", "exponent", "power"),
    Column("last", "of the last step", "power"),
    Column("wall_exponent", "by the clock", "power"),
    *(Column(f"visited_{size}", f"visited, {size:,}", "count") for size in SIZES),
)


def run(runs: int) -> Group:
    """Measures.

    Args:
        runs: How often each case is run; small graphs more often, the largest at most three times.
    """
    for kind in KINDS:
        onnxfuse.apply(_loaded(tiny().SerializeToString(), kind), PASS, verify="off")
    variants = [
        (topology, constants, kind)
        for topology in get_args(Topology)
        for constants in get_args(Constants)
        for kind in KINDS
    ]
    counts = [runs * more for more in MORE] + [min(runs, MOST_OF_LARGEST)]
    rows = []
    for variant in variants:
        cases = [_case(*variant, size, count) for size, count in zip(SIZES, counts, strict=True)]
        alternate(cases, runs)
        rows.append(_row(variant, cases))
    sizes = ", ".join(f"{size:,}" for size in SIZES)
    return Group(
        "scaling",
        f"`{PASS}` on graphs of {sizes} nodes, half of them Slices in pairs that merge, `verify='off'`; CPU seconds, "
        f"medians of {', '.join(map(str, counts))} runs in turns.",
        COLUMNS,
        tuple(rows),
        tuple(_bars(rows)),
    )


def _case(topology: Topology, constants: Constants, kind: str, size: int, runs: int) -> Case:
    data = synthetic(size, topology, constants).SerializeToString()
    return Case(
        f"{topology}, {constants} constants, {kind}, {size:,} nodes",
        {
            "load": lambda _: _loaded(data, kind),
            "run": lambda model: onnxfuse.apply(model, PASS, verify="off"),
        },
        look=lambda results: _facts(results["run"].report),
        runs=runs,
    )


def _loaded(data: bytes, kind: str) -> Any:
    return data if kind == "bytes" else onnxfuse.load(data)


def _facts(report: onnxfuse.Report) -> dict[str, int]:
    return {
        "visited": report.passes[0].visited,
        "applied": len(report.applied),
        "before": report.before.nodes,
        "after": report.after.nodes,
    }


def _row(variant: tuple[str, str, str], cases: Sequence[Case]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("graph", "constants", "kind"), variant, strict=True))
    row["note"] = next((case.problem for case in cases if case.problem), "")
    for size, case in zip(SIZES, cases, strict=True):
        if "run" in case.series:
            series = case.series["run"]
            row |= {f"cpu_{size}": series.cpu, f"wall_{size}": series.wall, f"wall_samples_{size}": series.walls}
            row |= {f"{key}_{size}": count for key, count in case.facts.items()}
    if not row["note"]:
        row["exponent"] = _exponent(row, "cpu", SIZES)
        row["last"] = _exponent(row, "cpu", SIZES[-2:])
        row["wall_exponent"] = _exponent(row, "wall", SIZES)
        row["visited_exponent"] = _exponent(row, "visited", SIZES)
    return row


def _exponent(row: Mapping[str, Any], key: str, sizes: Sequence[int]) -> float:
    return exponent(sizes, [row[f"{key}_{size}"] for size in sizes])


def _bars(rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    bars = []
    for row in rows:
        name = f"{row['graph']}, {row['constants']} constants, {row['kind']}"
        bars.append(Bar(f"{name}: exponent of the CPU time", row.get("exponent"), LIMIT, "power"))
        # Exactly linear but for the rounding of the graphs' sizes.
        bars.append(Bar(f"{name}: exponent of the nodes visited", row.get("visited_exponent"), 1.001, "power"))
    return bars

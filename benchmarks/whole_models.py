"""Verification on models of real size: its share of `apply`, and the comparison of two whole models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Command, progress, python
from benchmarks.results import Bar, Column, Group

__all__ = ["run"]

BUDGET_S: Final = 60.0

COLUMNS: Final = (
    Column("model", "model"),
    Column("case", "case"),
    Column("says", "says"),
    Column("time", "s", "seconds"),
    Column("check", "of these whole-model check", "seconds"),
    Column("regions", "of these regions", "seconds"),
    Column("rewrites", "rewrites", "count"),
    Column("sessions", "sessions", "count"),
    Column("draws", "input sets", "count"),
    Column("peak", "peak RSS, MiB", "bytes"),
    Column("cut", "not run"),
)

APPLY: Final = """\
import json, sys, time
import onnxfuse

path, out, level = sys.argv[1:4]
model = onnxfuse.load(path)
onnxfuse.apply(onnxfuse.load(path), "remove-pad", verify="off")  # imports and the first reading of the file
start = time.perf_counter()
_, report = onnxfuse.apply(model, "default", verify=level)
seconds = time.perf_counter() - start
verdict = report.verdict
facts = {
    "says": "nothing to rewrite" if not report.applied else str(verdict.status) if verdict else "verified on regions",
    "time": seconds,
    "check": verdict.seconds if verdict else None,
    "regions": sum(one.verify_seconds for one in report.passes),
    "rewrites": len(report.applied),
    "sessions": sum(one.sessions for one in report.passes),
    "draws": verdict.draws if verdict else None,
    "cut": "; ".join(verdict.not_run) if verdict else "",
}
json.dump(facts, open(out, "w"))
"""

# y becomes 3 y / 3 after the first node: another rounding everywhere behind it, or what only looks different.
VERIFY: Final = """\
import json, sys, time
import numpy as np, onnx
from onnx import helper, numpy_helper
import onnxfuse

path, out, change, budget = sys.argv[1:5]
other = onnx.load(path)
graph = other.graph
if change == "rounding":
    first = next(node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul"))
    inner, tripled = first.output[0] + "_before", first.output[0] + "_tripled"
    nodes = [
        helper.make_node("Mul", [inner, "three"], [tripled], name="tripled"),
        helper.make_node("Div", [tripled, "three"], [first.output[0]], name="divided"),
    ]
    first.output[0] = inner
    at = list(graph.node).index(first) + 1
    rest = list(graph.node)[at:]
    del graph.node[at:]
    graph.node.extend([*nodes, *rest])
    graph.initializer.append(numpy_helper.from_array(np.float32(3), "three"))
else:
    for number, node in enumerate(graph.node):
        node.name, node.doc_string = f"renamed_{number}", "another one"
other_path = out + ".onnx"
onnx.save(other, other_path)
del other, graph
start = time.perf_counter()
verdict = onnxfuse.verify(path, other_path, budget=float(budget))
facts = {
    "says": str(verdict.status),
    "time": time.perf_counter() - start,
    "draws": verdict.draws,
    "cut": "; ".join(verdict.not_run),
    "why": [str(output) for output in verdict.outputs],
}
json.dump(facts, open(out, "w"))
"""


def run(paths: Sequence[Path], workdir: Path) -> Group:
    """Measures, each case in a process of its own.

    Args:
        paths: Model files.
        workdir: Where results and changed models are written.
    """
    rows = [row for path in paths for row in _rows(path, workdir)]
    if not rows:
        rows = [{"model": "-", "case": "-", "note": "not-run: no --model was given"}]
    return Group(
        "whole-models",
        "`apply` with the preset `default`, and `verify` of the model and a changed copy of it: with other names and doc "
        f"strings, or with y as 3 y / 3 behind its first product. The budget is {BUDGET_S:g} s. The peak is of the whole "
        "process, which for `verify` also makes the copy.",
        COLUMNS,
        tuple(rows),
        tuple(_bars(rows)),
    )


def _rows(path: Path, workdir: Path) -> Iterator[dict[str, Any]]:
    cases = [(f"apply, verify={level}", python(APPLY, str(path), "{out}", level)) for level in ("region", "model")]
    cases += [
        (f"verify, {what}", python(VERIFY, str(path), "{out}", change, str(BUDGET_S)))
        for change, what in (("names", "other names"), ("rounding", "another rounding"))
    ]
    for number, (case, arguments) in enumerate(cases):
        out = workdir / f"whole-{path.stem}-{number}.json"
        command = Command(case, [argument.replace("{out}", str(out)) for argument in arguments], out)
        progress(f"{path.stem}: {case}")
        command.run()
        row: dict[str, Any] = {"model": path.stem, "case": case}
        if command.problem:
            row["note"] = command.problem
        else:
            row |= json.loads(out.read_text(encoding="utf-8")) | {"peak": command.series.peak}
        yield row
        command.clear()


def _bars(rows: Sequence[dict[str, Any]]) -> Iterator[Bar]:
    for row in rows:
        if row["case"].startswith("verify"):
            wrong = None if row.get("says") is None else int(row["says"] == "different")
            yield Bar(f"{row['model']}: {row['case']}: told different", wrong, 0, "count")

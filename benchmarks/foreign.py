"""What other tools make of the gauntlet by themselves, and what is left of it when they run as passes.

    python -m benchmarks.foreign onnxsim onnxslim --json figures.json

Every case goes through the tool once. What it wrote is judged as it is, and what onnxfuse took over of it is judged too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir

import onnxfuse
from benchmarks.peers import version
from onnxfuse import Facts, ModelPass, Numerics, ToolError
from onnxfuse.adapters import ExecPass, Onnxsim
from onnxfuse.model_io.emit import emit
from tests.gauntlet.judge import Outcome
from tests.gauntlet.runner import CASES, Case, Runner, Score

__all__ = ["Row", "main", "row_of", "rows_of", "summary", "tool"]


@dataclass(frozen=True)
class Kept(ModelPass):
    """Another pass, of which is kept what it made.

    Attributes:
        inner: The pass.
        made: What it made, serialized; nothing where it failed.
    """

    name: ClassVar[str] = "kept"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    inner: ModelPass
    made: list[bytes] = field(default_factory=list)

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Runs the pass."""
        made = self.inner.change(model, facts)
        self.made.append(emit(made).data())
        return made


@dataclass(frozen=True)
class Row:
    """What came of a case.

    Attributes:
        case: Its name.
        category: What it is about.
        severity: How bad a failure is.
        alone: The verdict on what the tool made by itself.
        why: What is to be said of it.
        verified: The verdict on what onnxfuse made with the tool as a pass.
        outcome: What onnxfuse did with the tool's result: `applied`, `rejected`, `declined`, `unchanged`, or `stopped`
            where only the check of the whole model said no, and nothing came out.
        reason: Why it was rejected.
        ideal_alone: Whether the tool reached the ideal by itself; None where the case has none.
        ideal_verified: Whether it was reached with the tool as a pass.
    """

    case: str
    category: str
    severity: str
    alone: str
    why: str
    verified: str
    outcome: str
    reason: str
    ideal_alone: bool | None
    ideal_verified: bool | None

    @property
    def good(self) -> bool:
        """Whether nothing wrong is in the output, and nothing that was right is lost."""
        return (
            self.verified == Outcome.EQUIVALENT
            and self.outcome != "stopped"
            and not (self.ideal_alone and not self.ideal_verified)
        )


def tool(name: str) -> ModelPass:
    """Returns the pass of a tool: a name in a pipeline, or the name of a command that takes two paths.

    Raises:
        LookupError: There is no such command.
    """
    if name == "onnxsim":
        return Onnxsim(timeout=600)
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        raise LookupError(f"there is no command {name}")
    return ExecPass(f"{path} {{in}} {{out}}", timeout=600)


def row_of(case: Case, inner: ModelPass, runner: Runner) -> Row:
    """Runs a tool on a case, by itself and as a pass."""
    kept = Kept(inner)
    stopped = ""
    try:
        result, report = onnxfuse.apply(case.data, kept)
    except onnxfuse.VerificationError as error:  # the whole model differs though each region was equivalent
        result, report, stopped = case.data, error.report, str(error)

    def alone(_: bytes) -> bytes:
        if not kept.made:
            raise ToolError(report.rejected[0].reason)
        return kept.made[0]

    by_itself = runner.score(case, alone, declared_shapes=False)
    verified: Score = runner.score(case, lambda _: result)
    did = [name for name in ("applied", "rejected", "declined") if getattr(report, name)]
    return Row(
        case=case.name,
        category=case.category,
        severity=case.severity,
        alone=str(by_itself.verdict.outcome),
        why=str(by_itself.verdict),
        verified=str(verified.verdict.outcome),
        outcome="stopped" if stopped else did[0] if did else "unchanged",
        reason=stopped or (report.rejected[0].reason if report.rejected else ""),
        ideal_alone=by_itself.ideal_reached,
        ideal_verified=verified.ideal_reached,
    )


def rows_of(name: str, cases: Sequence[Case]) -> Iterator[Row]:
    """Runs a tool on cases."""
    inner = tool(name)
    with Runner() as runner:
        for case in cases:
            yield row_of(case, inner, runner)


def summary(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Counts the verdicts and the ideals, of the tool by itself and as a pass."""
    found: dict[str, dict[str, int]] = {}
    for side in ("alone", "verified"):
        counts = Counter(getattr(row, side) for row in rows)
        found[side] = {str(outcome): counts[outcome] for outcome in Outcome}
        found[side]["ideals"] = sum(bool(getattr(row, f"ideal_{side}")) for row in rows)
    found["taken"] = dict(Counter(row.outcome for row in rows))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tools, prints what was rolled back of each, and writes all as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foreign", description=__doc__)
    parser.add_argument("tools", nargs="+", metavar="TOOL", help="onnxsim, or a command that takes two paths: onnxslim")
    parser.add_argument("--only", default="", help="only the cases whose names have this in them")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args(argv)
    cases = [case for case in CASES.values() if arguments.only in case.name]
    figures = {}
    bad = False
    for name in arguments.tools:
        rows = []
        for row in rows_of(name, cases):
            rows.append(row)
            bad |= not row.good
            if row.outcome == "rejected" or row.alone != Outcome.EQUIVALENT or not row.good:
                mark = "" if row.good else "   <-- WRONG"
                print(
                    f"{name}  {row.case} [{row.severity}]  alone: {row.why}  {row.outcome}: {row.reason:.160}{mark}",
                    flush=True,
                )
        figures[name] = {"version": version(name), "summary": summary(rows), "cases": [asdict(row) for row in rows]}
        print(f"{name}: {json.dumps(figures[name]['summary'])}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main())

"""What came of a comparison of a device's results: by output, and what could not be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from onnxfuse.verification.verdict import Status

__all__ = ["OutputResult", "OutputsVerdict"]

LISTED: Final = 5


@dataclass(frozen=True)
class OutputResult:
    """How one output compares over all samples.

    Attributes:
        name: The output's name, or its number where no model tells it.
        samples: How many were compared.
        equal: In how many of them all bits are equal.
        different: In how many it is beyond the tolerance.
        error: The largest |x - y|; NaN and infinities at other positions are no number.
        ratio: The largest share of what is allowed; above 1 is different.
        cosine: The least cosine of the angle between x and y; None where a result is 0 or not finite.
        worst: The sample of that ratio.
        why: The first difference, with its sample; None where there is none.
    """

    name: str
    samples: int
    equal: int
    different: int
    error: float
    ratio: float
    cosine: float | None
    worst: str | None
    why: str | None


@dataclass(frozen=True)
class OutputsVerdict:
    """The answer.

    Attributes:
        status: `different` where a result is; `not-run` where none is, but something could not be compared.
        outputs: One for each output.
        not_run: What was not compared, a sentence each: a file that is missing or cannot be read.
        notes: What else is to be known: how results were read, which tolerance was used.
    """

    status: Status
    outputs: tuple[OutputResult, ...]
    not_run: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def explain(self) -> str:
        """Returns the table, what differs, and what was not compared."""
        from onnxfuse.report.text import one_line, table

        header = ("output", "samples", "bit-equal", "different", "largest error", "of what is allowed", "least cosine")
        lines = table(header, [_row(result) for result in self.outputs], right=(1, 2, 3, 4, 5, 6))
        lines += [f"different: output {result.name}, {result.why}" for result in self.outputs if result.why]
        lines += [f"not compared: {sentence}" for sentence in self.not_run[:LISTED]]
        if len(self.not_run) > LISTED:
            lines.append(f"not compared: {len(self.not_run) - LISTED} more (--json lists all)")
        lines += [f"note: {note}" for note in self.notes]
        word = {Status.EQUIVALENT: "equivalent", Status.DIFFERENT: "different", Status.NOT_RUN: "could not decide"}
        return "\n".join(map(one_line, [*lines, word[self.status]]))

    def to_dict(self) -> dict[str, Any]:
        """Returns it for JSON; a number that JSON has not is None."""
        outputs = [
            {
                "name": r.name,
                "samples": r.samples,
                "bit_equal": r.equal,
                "different": r.different,
                "largest_error": r.error if math.isfinite(r.error) else None,
                "of_allowed": r.ratio if math.isfinite(r.ratio) else None,
                "least_cosine": r.cosine,
                "worst_sample": r.worst,
                "why": r.why,
            }
            for r in self.outputs
        ]
        return {
            "status": str(self.status),
            "outputs": outputs,
            "not_run": list(self.not_run),
            "notes": list(self.notes),
        }


def _row(result: OutputResult) -> tuple[str, ...]:
    cosine = "" if result.cosine is None else f"{result.cosine:.6f}"
    ratio = f"{100 * result.ratio:.3g} %" if result.ratio else "0"
    counts = (str(number) for number in (result.samples, result.equal, result.different))
    return (result.name, *counts, f"{result.error:.3g}", ratio, cosine)

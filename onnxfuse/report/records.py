"""What a run did, as data: every candidate with its outcome and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from onnxfuse.verification.verdict import Verdict

__all__ = [
    "SCHEMA",
    "Applied",
    "Declined",
    "Failed",
    "ModelFacts",
    "Outcome",
    "PassReport",
    "Place",
    "Rejected",
    "Report",
]

SCHEMA: Final = 1
"""Version of the JSON form; it grows by one when a field changes its meaning or goes away."""


@dataclass(frozen=True)
class Place:
    """Where in a model something is.

    Attributes:
        node: The node's name; where it has none, the name of its first output.
        op_type: Its op_type.
        scope: The graph it is in: empty for the main graph, else the names of the nodes (or the function) around it.
    """

    node: str
    op_type: str
    scope: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((*self.scope, self.node))


@dataclass(frozen=True)
class Applied:
    """A rewrite that is in the model.

    Attributes:
        index: Its number in the run, from 1; stable for the same model and pipeline.
        at: The last node of the region that was replaced.
        removed: Names and op_types of the nodes it replaced.
        added: Names and op_types of the nodes that took their place.
        grade: The grade of the evidence (`exact-for-all-shapes`, ...), or `not-run`.
        evidence: What was compared, or why nothing was.
        max_error: Largest absolute difference seen, in the units of the outputs.
        values: Values that are gone, each with the value that holds the same content now, or None.
        nodes: Nodes that are gone, each with the nodes that stand for it now.
    """

    index: int
    at: Place
    removed: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]
    grade: str
    evidence: str
    max_error: float | None
    values: Mapping[str, str | None]
    nodes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Declined:
    """A candidate whose precondition is not met.

    Attributes:
        at: The candidate.
        reason: A sentence.
        culprit: What the reason is about, where it is not the candidate itself.
    """

    at: Place
    reason: str
    culprit: str | None = None


@dataclass(frozen=True)
class Rejected:
    """A rewrite that verification said no to; the model is as it was.

    Attributes:
        at: The candidate.
        reason: What differs, or what could not be decided.
        evidence: The inputs and outputs that show it, JSON-able.
    """

    at: Place
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A candidate on which the pass itself broke; the model is as it was.

    Attributes:
        at: The candidate.
        error: The exception, one line.
        traceback: Where it was raised.
    """

    at: Place
    error: str
    traceback: str = ""


Outcome = Applied | Declined | Rejected | Failed


@dataclass(frozen=True)
class PassReport:
    """What one pass did.

    Attributes:
        name: The pass with its options, as in a pipeline.
        numerics: Its numerics class.
        applied: In the order in which they were applied.
        declined: What still stands in the final graph of this pass.
        rejected: Likewise.
        failed: Likewise.
        seconds: Time for the whole pass.
        verify_seconds: Of these, the time spent on verification.
        skipped: Why it did not run at all, where it did not.
        visited: How many candidate nodes were looked at.
        sessions: How many runtime sessions verification made.
    """

    name: str
    numerics: str
    applied: tuple[Applied, ...] = ()
    declined: tuple[Declined, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    failed: tuple[Failed, ...] = ()
    seconds: float = 0.0
    verify_seconds: float = 0.0
    skipped: str | None = None
    visited: int = 0
    sessions: int = 0


@dataclass(frozen=True)
class ModelFacts:
    """A model in numbers.

    Attributes:
        nodes: Nodes of all graphs and functions, Constant nodes included.
        ops: How many of each op_type; another domain's as `domain::op_type`.
    """

    nodes: int
    ops: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        pipeline: The pipeline, as a string that parses back.
        verify: The verification level.
        passes: What each pass did, in order; a repeated one once a round.
        before: The model as it came.
        after: The model as it left.
        verdict: What the whole-model check found; None where it was not asked for or nothing was rewritten.
        notes: What else a user should know.
        seconds: Time for the run, without loading and saving.
        version: onnxfuse's.
    """

    pipeline: str
    verify: str
    passes: tuple[PassReport, ...]
    before: ModelFacts
    after: ModelFacts
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    version: str = ""

    @property
    def applied(self) -> tuple[Applied, ...]:
        """All rewrites that are in the model, in the order in which they were applied."""
        return tuple(outcome for report in self.passes for outcome in report.applied)

    @property
    def declined(self) -> tuple[Declined, ...]:
        """All candidates that a precondition ruled out."""
        return tuple(outcome for report in self.passes for outcome in report.declined)

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """All rewrites that verification said no to."""
        return tuple(outcome for report in self.passes for outcome in report.rejected)

    @property
    def failed(self) -> tuple[Failed, ...]:
        """All candidates on which a pass broke."""
        return tuple(outcome for report in self.passes for outcome in report.failed)

    @property
    def modified(self) -> bool:
        """Whether the model differs from the one that came in."""
        return bool(self.applied)

    @property
    def renamed_values(self) -> dict[str, str | None]:
        """Every value that is gone, with the value that holds its content now, or None; chains of rewrites followed."""
        return _followed([outcome.values for outcome in self.applied])

    def to_json(self) -> str:
        """Returns the report as JSON, with its schema version."""
        from onnxfuse.report.json import report_json

        return report_json(self)

    def __str__(self) -> str:
        from onnxfuse.report.text import report_text

        return report_text(self)


def _followed(steps: list[Mapping[str, str | None]]) -> dict[str, str | None]:
    """Composes maps that came about one after the other."""
    final: dict[str, str | None] = {}
    for step in reversed(steps):
        for old, new in step.items():
            final[old] = final.get(new, new) if new is not None else None
    return final

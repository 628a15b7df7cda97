"""What is known of one output while two models are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxfuse.verification.compare import Difference
from onnxfuse.verification.element_types import is_inexact
from onnxfuse.verification.input_sets import InputSet
from onnxfuse.verification.judgement import Judgement, Tolerance
from onnxfuse.verification.tolerance import TWIN_LIMIT
from onnxfuse.verification.verdict import OutputVerdict, Status

__all__ = ["Tally"]


@dataclass
class Tally:
    """What is known so far of one output.

    Attributes:
        name: Its name.
        tolerance: The user's own.
        proven: Why no run is needed of it: the basis of the answer.
        random: Whether random operators reach it.
        different: The answer, once it is known to differ.
        differing: Input sets on which bits differ and that are still to be judged.
        judgements: What the rounding rule said of others.
        tolerated: Whether bits differ within the user's own tolerance.
        rounded: Whether more than the sign of a zero does.
        sizes: The largest differences over all normal input sets.
    """

    name: str
    tolerance: Tolerance | None
    proven: str | None = None
    random: bool = False
    different: OutputVerdict | None = None
    undecided: str | None = None
    differing: list[InputSet] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    tolerated: bool = False
    rounded: bool = False
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether running can still tell something of it."""
        return self.different is None and self.proven is None

    def fail(self, why: str, *, at: tuple[int, ...] | None = None, draw: str | None = None) -> None:
        """Keeps the first reason for `different`."""
        self.different = self.different or OutputVerdict(self.name, Status.DIFFERENT, why, at=at, draw=draw)

    def note(self, result: Any, difference: Difference | None) -> None:
        """Keeps the largest differences over all normal input sets."""
        if difference is None and isinstance(result, np.ndarray) and is_inexact(result.dtype):
            for key in ("max_abs", "max_rel", "needed"):
                self.sizes.setdefault(key, 0.0)
            self.sizes.setdefault("max_ulp", 0)
        for key in ("max_abs", "max_rel", "max_ulp", "needed"):
            size = getattr(difference, key, None)
            if size is not None:
                self.sizes[key] = max(size, self.sizes.get(key, size))

    def verdict(self, nothing: str | None) -> OutputVerdict:
        """The answer; `nothing` says why nothing was compared."""
        if self.different is not None:
            found = self.different
            sigmas = max((judgement.sigmas for judgement in self.judgements), default=None)
            return OutputVerdict(
                self.name, found.status, found.why, **self.sizes, sigmas=sigmas, at=found.at, draw=found.draw
            )
        if self.proven is not None:
            return OutputVerdict(self.name, Status.EQUIVALENT, basis=self.proven)
        why = self.undecided or nothing
        if why is not None:
            return OutputVerdict(self.name, Status.NOT_RUN, why, **self.sizes)
        if not self.judgements:
            basis, text = ("tolerance", str(self.tolerance)) if self.tolerated else ("bits", "equal bits")
            return OutputVerdict(self.name, Status.EQUIVALENT, basis=basis, tolerance=text, **self.sizes)
        sigmas = max(judgement.sigmas for judgement in self.judgements)
        text = f"rounding: {sigmas:.2g} of at most {TWIN_LIMIT:g} times what rounding explains"
        skipped = sum(judgement.skipped for judgement in self.judgements)
        if not any(judgement.kept_differs for judgement in self.judgements):
            text = "what differs was left out, or is the sign of a zero" if skipped else "only signs of zeros differ"
        return OutputVerdict(
            self.name,
            Status.EQUIVALENT,
            basis="tolerance" if self.tolerance else "rounding",
            tolerance=f"{self.tolerance}; where values overflow, by the rounding rule" if self.tolerance else text,
            **self.sizes,
            sigmas=sigmas,
            skipped=skipped,
        )

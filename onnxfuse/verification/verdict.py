"""What a comparison of two models says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

__all__ = ["OutputVerdict", "Status", "Verdict"]


class Status(StrEnum):
    """The three answers; what could not be run or decided is never `equivalent`."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class OutputVerdict:
    """The answer for one graph output.

    Attributes:
        name: The output's name in the first model.
        status: The answer.
        why: None for equivalent. For different it begins with the kind: `interface`, `shape`, `dtype` or `value`.
        max_abs: Largest |a - b| seen where both are finite, in the units of the output; None where all bits were equal.
        max_rel: Largest |a - b| / |a| seen where both are finite and a is not 0.
        max_ulp: Largest distance in representable values of the output's own type.
        at: The position of the difference that `why` speaks of; within a sequence its first number is the element.
        draw: The input set of that difference, such as `ladder 3 at N=2`.
    """

    name: str
    status: Status
    why: str | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    at: tuple[int, ...] | None = None
    draw: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Verdict:
    """The answer for a pair of models.

    Attributes:
        status: Different if anything differs, else not-run if anything could not be run or decided, else equivalent.
        outputs: One entry for each output of the first model, in order.
        interface: The differences of the interfaces, as sentences.
        notes: What does not change the answer but belongs to it.
        draws: How many input sets both models were compared on.
        dropped: How many input sets the first model itself does not run on.
        not_run: What was not run, and why.
        backend: `onnxruntime` or `reference`; None where nothing was run.
        seconds: Wall time.
        inputs: The first input set that shows a difference, by the names of the inputs; None where nothing differs or
            no input is needed to see it.
    """

    status: Status
    outputs: tuple[OutputVerdict, ...] = ()
    interface: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    draws: int = 0
    dropped: int = 0
    not_run: tuple[str, ...] = ()
    backend: str | None = None
    seconds: float = 0.0
    inputs: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def equivalent(self) -> bool:
        """Whether the answer is `equivalent`: everything was run, and nothing differs."""
        return self.status is Status.EQUIVALENT

    def explain(self) -> str:
        """Returns the answer as text of several lines: a summary, then what differs, is open, or was noted."""
        sets = f"{self.draws} input set{'' if self.draws == 1 else 's'} compared"
        if self.dropped:
            sets += f", {self.dropped} dropped"
        facts = [sets] + ([self.backend] if self.backend else []) + [f"{self.seconds:.2f} s"]
        lines = [f"{self.status} ({', '.join(facts)})"]
        lines += [f"  interface: {sentence}" for sentence in self.interface]
        # An output that was not compared for the reason below is not worth a line.
        lines += [f"  {output}" for output in self.outputs if output.why is None or output.why not in self.not_run]
        lines += [f"  not run: {sentence}" for sentence in self.not_run]
        lines += [f"  note: {sentence}" for sentence in self.notes]
        # A name may hold a newline.
        return "\n".join(line.replace("\n", "\\n") for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns the answer in JSON's own types; NaN and the infinities are the strings `nan`, `inf` and `-inf`.

        `inputs` is not part of it.
        """
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and floats as JSON's own types."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str) or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.repr}

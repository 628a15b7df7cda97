"""What a comparison of two models says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

__all__ = ["Layer", "OutputVerdict", "Status", "Verdict"]

SHOWN_LAYERS = 8


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
        why: None for equivalent. For different it begins with the kind: `interface`, `shape`, `dtype`, `value` or
            `random`.
        basis: What an answer of equivalent rests on: `structure` (computed identically), `bits` (all equal), `rounding`
            (the rounding rule), `tolerance` (the user's own), or `random` (structure, and that it varies).
        tolerance: What was allowed, in words.
        max_abs: Largest |a - b| on normal draws and the user's own data where both are finite, in the units of the
            output; None where nothing was compared, or what is compared is no float.
        max_rel: Largest |a - b| / |a| likewise, where a is not 0.
        max_ulp: Largest distance likewise, in representable values of the output's own type.
        needed: The tolerance that would have been needed likewise: the largest |a - b| / (1 + |a|).
        sigmas: What the rounding rule found, in units of what rounding explains; its limit is 8.
        skipped: Differing positions that the rounding rule left out: they hang on what overflows or on a threshold.
        at: The position of the difference that `why` speaks of; within a sequence its first number is the element.
        draw: The input set of that difference, such as `ladder 3 at N=2`.
    """

    name: str
    status: Status
    why: str | None = None
    basis: str | None = None
    tolerance: str | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    needed: float | None = None
    sigmas: float | None = None
    skipped: int = 0
    at: tuple[int, ...] | None = None
    draw: str | None = None

    def __str__(self) -> str:
        text = f"{self.name}: {self.status}"
        if self.why:
            return f"{text}: {self.why}"
        return f"{text} ({self._basis_text()})" if self.basis else text

    def _basis_text(self) -> str:
        words = {
            "structure": "computed identically",
            "bits": "all bits equal",
            "random": "the same random operators",
        }
        if self.basis in words:
            return words[self.basis]
        facts = [self.tolerance or ""]
        if self.max_abs is not None:
            facts.append(f"max abs {self.max_abs:.3g}, max rel {self.max_rel or 0:.3g}, {self.max_ulp or 0} ulp")
        if self.skipped:
            facts.append(f"{self.skipped} positions left out, which overflow or hang on a threshold")
        return "; ".join(facts)


@dataclass(frozen=True)
class Layer:
    """How one value inside both models differs, on the inputs that show a difference.

    Attributes:
        name: Its name, in both models.
        op_type: What computes it in the first.
        diverges: Whether that is more than rounding at a glance: above 128 unit roundoffs of its largest |a|.
        text: What differs.
        max_abs: As in `OutputVerdict`, on these inputs.
        max_rel: Likewise.
        max_ulp: Likewise.
    """

    name: str
    op_type: str
    diverges: bool
    text: str
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None


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
        layers: Where something differs: every value inside that both models have by name and do not compute
            identically, in the order of the first model.
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
    layers: tuple[Layer, ...] = ()
    inputs: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def equivalent(self) -> bool:
        """Whether the answer is `equivalent`: everything was run, and nothing differs."""
        return self.status is Status.EQUIVALENT

    @property
    def first_diverging(self) -> Layer | None:
        """The first value inside that differs by more than rounding; None where no such value is known."""
        return next((layer for layer in self.layers if layer.diverges), None)

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
        lines += self._layer_lines()
        lines += [f"  not run: {sentence}" for sentence in self.not_run]
        lines += [f"  note: {sentence}" for sentence in self.notes]
        # A name may hold a newline.
        return "\n".join(line.replace("\n", "\\n") for line in lines)

    def _layer_lines(self) -> list[str]:
        """The table of values inside: from just before the first that diverges on."""
        first = self.first_diverging
        if first is None:
            return []
        index = self.layers.index(first)
        shown = self.layers[max(index - 2, 0) : index - 2 + SHOWN_LAYERS]
        rows = [
            (
                layer.name,
                layer.op_type,
                "-" if layer.max_abs is None else f"{layer.max_abs:.3g}",
                "-" if layer.max_rel is None else f"{layer.max_rel:.3g}",
                "diverges" if layer.diverges else "equal" if layer.text == "equal" else "rounding",
            )
            for layer in shown
        ]
        table = [("value", "op", "max abs", "max rel", ""), *rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        cells = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        left = len(self.layers) - index - len(shown) + min(index, 2)
        more = [f"    and {left} more"] if left > 0 else []
        return [f"  first diverging value: {first.name} ({first.op_type})", *(f"    {line}" for line in cells), *more]

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

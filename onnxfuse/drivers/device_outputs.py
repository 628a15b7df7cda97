"""Are two folders of results of a device the same, as far as the float16 that it computes in can tell?

The device rounds to float16 (unit roundoff u = 2^-11) on the way, whatever the type of its results. Two results x and y
of one output agree where |x - y| <= slack * max|x| + 16 u |x| + 4 eta, eta being the smallest number of float16:
the rule that `onnxfuse verify` has for models without a float64 twin. Of two devices the slack is 16 u. Against the model
itself it is measured: 8 times what noise of 2 u on its inputs and weights moves that output by (`device_reference`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from onnxfuse.drivers.output_files import OutputFolder, UnreadableError, elements, find, is_exact
from onnxfuse.errors import UsageError
from onnxfuse.verification.element_types import format_of
from onnxfuse.verification.judgement import Tolerance
from onnxfuse.verification.leaves import class_of
from onnxfuse.verification.verdict import Status

__all__ = ["SLACK", "OutputResult", "OutputsVerdict", "Tally", "U", "compare", "dtype_named"]

U: Final = 2.0**-11
SLACK: Final = 16 * U
RELATIVE: Final = 16 * U
ETA: Final = format_of(np.dtype(np.float16)).smallest
LISTED: Final = 5

Progress = Callable[[str, int, int], None]


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


@dataclass
class Tally:
    """One output, sample by sample.

    Attributes:
        name: As in `OutputResult`.
        own: The user's tolerance; None for that of the device.
        slack: Of the rule, relative to the largest |x|.
    """

    name: str
    own: Tolerance | None = None
    slack: float = SLACK
    samples: int = 0
    equal: int = 0
    different: int = 0
    error: float = 0.0
    ratio: float = 0.0
    cosine: float | None = None
    worst: str | None = None
    why: str | None = None

    def take(self, sample: str, x: np.ndarray, y: np.ndarray) -> None:
        """Compares the results of one sample, flat: `x` is what is compared with."""
        self.samples += 1
        if x.size != y.size:
            self._fail(sample, f"{x.size} elements and {y.size}")
            return
        if x.dtype == y.dtype and x.tobytes() == y.tobytes():
            self.equal += 1
            return
        exact = self.own is None and is_exact(x.dtype) and is_exact(y.dtype)
        a, b = x.astype(np.float64), y.astype(np.float64)
        with np.errstate(all="ignore"):
            classes = class_of(a) != class_of(b)
            finite = np.isfinite(a) & np.isfinite(b)
            apart = np.where(finite, np.abs(a - b), 0.0)
            if exact:  # float64 does not hold every int64
                apart = np.where(x != y, np.maximum(apart, 1.0), 0.0)
            allowed = np.zeros(a.shape) if exact else self._allowed(a)
            shares = np.where(apart > 0, apart / allowed, 0.0)
        error, share = (float(values.max(initial=0.0)) for values in (apart, shares))
        self.error = max(self.error, error)
        if share > self.ratio or self.worst is None:
            self.ratio, self.worst = max(share, self.ratio), sample
        self._angle(a, b)
        wrong = classes | (shares > 1)
        if wrong.any():
            at = int(np.argmax(classes if classes.any() else shares))
            what = (
                "NaN and infinities must be at the same positions"
                if classes.any()
                else self._rule(float(shares[at]), exact)
            )
            self._fail(sample, f"{int(np.count_nonzero(wrong))} of {x.size} values differ, "
                               f"{x[at]!s} and {y[at]!s} at {at}: {what}")  # fmt: skip

    def _allowed(self, a: np.ndarray) -> np.ndarray:
        if self.own is not None:
            return np.asarray(self.own.atol + self.own.rtol * np.abs(a))
        largest = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        return np.asarray(self.slack * largest + RELATIVE * np.abs(a) + 4 * ETA)

    def _rule(self, share: float, exact: bool) -> str:
        if exact:
            return "rounding does not change these values"
        return f"{share:.3g} times what is allowed" if math.isfinite(share) else "no difference is allowed"

    def _angle(self, a: np.ndarray, b: np.ndarray) -> None:
        sizes = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        if 0 < sizes < math.inf:
            cosine = min(1.0, float(a @ b) / sizes)
            self.cosine = cosine if self.cosine is None else min(self.cosine, cosine)

    def _fail(self, sample: str, why: str) -> None:
        self.different += 1
        self.why = self.why or f"sample {sample}: {why}"

    def result(self) -> OutputResult:
        """Returns what came out."""
        return OutputResult(
            **{name: getattr(self, name) for name in OutputResult.__dataclass_fields__}  # the same words
        )


@dataclass
class Comparison:
    """A comparison as it goes.

    Attributes:
        dtypes: The types of raw files of the first and the second side; None for what their size says.
        tallies: By the place of the output.
    """

    dtypes: tuple[np.dtype[Any] | None, np.dtype[Any] | None] = (None, None)
    tallies: dict[int, Tally] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self, side: int, file: Path, like: np.ndarray | None) -> np.ndarray | None:
        """Reads a file, or notes why it cannot be read."""
        try:
            return elements(file, like, self.dtypes[side])
        except UnreadableError as error:
            self.not_run.append(f"{file}: {error}")
            return None

    def verdict(self) -> OutputsVerdict:
        """The answer from all that was compared."""
        outputs = tuple(self.tallies[place].result() for place in sorted(self.tallies))
        compared = sum(result.samples for result in outputs)
        status = Status.EQUIVALENT
        if any(result.different for result in outputs):
            status = Status.DIFFERENT
        elif self.not_run or not compared:
            status = Status.NOT_RUN
        return OutputsVerdict(status, outputs, tuple(self.not_run), tuple(self.notes))


def compare(
    a: Path,
    b: Path,
    *,
    dtypes: tuple[np.dtype[Any] | None, np.dtype[Any] | None] = (None, None),
    tolerances: Mapping[str | None, Tolerance] | None = None,
    progress: Progress | None = None,
) -> OutputsVerdict:
    """Compares two folders of results, sample by sample.

    Args:
        a: What is compared with.
        b: What should be the same; it may be numbered otherwise, and of another format.
        dtypes: The types of the raw files of each; None for float32.
        tolerances: The user's own, by the number of the output, from 0; None for all others.
        progress: Told of every sample.

    Raises:
        UsageError: One is no folder of results, or a tolerance is for an output that is not there.
    """
    first, second = find(a), find(b)
    places = sorted({place for folder in (first, second) for files in folder.files.values() for place in files})
    tolerances = tolerances or {}
    unknown = [name for name in tolerances if name is not None and name not in map(str, places)]
    if unknown:
        raise UsageError(f"a tolerance is given for {unknown[0]!r}, which is no output; there are "
                         f"{', '.join(map(str, places))}")  # fmt: skip
    found = Comparison(dtypes)
    found.tallies = {place: Tally(str(place), tolerances.get(str(place), tolerances.get(None))) for place in places}
    _note_types(found, (first, second))
    if not tolerances:
        found.notes.append("tolerance of float16 on a device: |x - y| <= 2^-7 (|x| + max |x|)")
    samples = sorted(first.files.keys() | second.files.keys())
    for done, sample in enumerate(samples):
        if progress is not None:
            progress(f"sample {sample}", done, len(samples))
        mine, theirs = first.files.get(sample), second.files.get(sample)
        if mine is None or theirs is None:
            found.not_run.append(f"sample {sample} is in {(b if mine is None else a)} only")
            continue
        for place in sorted(mine.keys() | theirs.keys()):
            if place not in mine or place not in theirs:
                folder = a if place in mine else b
                found.not_run.append(f"output {place} of sample {sample} is in {folder} only")
                continue
            x, y = found.read(0, mine[place], None), found.read(1, theirs[place], None)
            if x is not None and y is not None:
                found.tallies[place].take(sample, x, y)
    return found.verdict()


def _note_types(found: Comparison, folders: Sequence[OutputFolder]) -> None:
    for dtype, folder in zip(found.dtypes, folders, strict=True):
        raw = any(file.suffix == ".bin" for files in folder.files.values() for file in files.values())
        if raw and dtype is None:
            found.notes.append(f"{folder.path}: raw files are read as float32 (--dtype says otherwise)")
        if folder.first:
            found.notes.append(f"{folder.path}: numbers its outputs from 1; here they count from 0")


def dtype_named(name: str) -> np.dtype[Any]:
    """The type of a name, as `--dtype` takes it.

    Raises:
        UsageError: It is none that a raw file holds.
    """
    known = ("float16", "float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)), "bool")
    if name not in (*known, "bfloat16"):
        raise UsageError(f"there is no type {name}; there are {', '.join(known)} and bfloat16")
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    return found

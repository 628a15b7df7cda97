"""Are two folders of results of a device the same, as far as the float16 that it computes in can tell?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from onnxfuse.drivers.outputs.files import NUMBERING, OutputFolder, RawFloats, UnreadableError, elements, find, is_exact
from onnxfuse.drivers.outputs.rule import Judged, judge, small_values
from onnxfuse.drivers.outputs.verdict import OutputResult, OutputsVerdict
from onnxfuse.errors import UsageError
from onnxfuse.verification.judgement import Tolerance
from onnxfuse.verification.verdict import Status

__all__ = ["Comparison", "Dtypes", "Progress", "Tally", "compare", "of_output"]

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
Dtypes = Mapping[str | None, tuple[np.dtype[Any], np.dtype[Any]]]
"""The types of raw files of the first and the second side, by output; under None of all others."""

UNLIKE: Final = 0.25
"""Of the values that agree only since the largest of their result is so large, so many may be unlike."""


def of_output(given: Mapping[str | None, T], name: str) -> T | None:
    """What is given for an output by its name, else for all."""
    return given.get(name, given.get(None))


@dataclass
class Tally:
    """One output, sample by sample.

    Attributes:
        name: As in `OutputResult`.
        own: The user's tolerance; None for that of the device.
    """

    name: str
    own: Tolerance | None = None
    samples: int = 0
    equal: int = 0
    different: int = 0
    error: float = 0.0
    ratio: float = 0.0
    cosine: float | None = None
    worst: str | None = None
    why: str | None = None

    def take(self, sample: str, judged: Judged) -> None:
        """Counts a sample."""
        self.samples += 1
        self.equal += judged.equal
        self.error = max(self.error, judged.error)
        if not judged.equal and (judged.share > self.ratio or self.worst is None):
            self.ratio, self.worst = max(judged.share, self.ratio), sample
        if judged.cosine is not None:
            self.cosine = judged.cosine if self.cosine is None else min(self.cosine, judged.cosine)
        if judged.why:
            self.different += 1
            self.why = self.why or f"sample {sample}: {judged.why}"

    def result(self) -> OutputResult:
        """Returns what came out."""
        return OutputResult(
            **{name: getattr(self, name) for name in OutputResult.__dataclass_fields__}  # the same words
        )


@dataclass
class Comparison:
    """A comparison as it goes.

    Attributes:
        tallies: By the place of the output.
        not_run: What was not compared, a sentence each.
        notes: What else is to be known.
    """

    tallies: dict[int, Tally] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self, file: Path, like: np.ndarray | None, dtype: np.dtype[Any] | None) -> np.ndarray | None:
        """Reads a file, or notes why it cannot be read."""
        try:
            return elements(file, like, dtype)
        except UnreadableError as error:
            self.not_run.append(f"{file}: {error}")
            return None

    def is_empty(self, place: int, sample: str, x: np.ndarray, y: np.ndarray) -> bool:
        """Notes results that hold nothing to compare; says whether that is so."""
        for what, found in (("value", x.size or y.size), ("finite value", _is_finite(x) or _is_finite(y))):
            if not found:
                name = self.tallies[place].name
                self.not_run.append(f"output {name} of sample {sample} has no {what} on either side")
                return True
        return False

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


def _is_finite(x: np.ndarray) -> bool:
    return bool(np.isfinite(x.astype(np.float64)).any())


def compare(
    a: Path,
    b: Path,
    *,
    dtypes: Dtypes | None = None,
    tolerances: Mapping[str | None, Tolerance] | None = None,
    progress: Progress | None = None,
) -> OutputsVerdict:
    """Compares two folders of results, sample by sample.

    Args:
        a: What is compared with.
        b: What should be the same; it may be numbered otherwise, and of another format.
        dtypes: The types of raw files, by the number of the output from 0; without one they are read as float32.
        tolerances: The user's own, by the number of the output; under None for all others.
        progress: Told of every sample.

    Raises:
        UsageError: One is no folder of results, or a type or a tolerance is for an output that is not there.
    """
    folders = find(a), find(b)
    places = sorted(folders[0].places | folders[1].places)
    dtypes, tolerances = dtypes or {}, tolerances or {}
    for what, given in (("type", dtypes), ("tolerance", tolerances)):
        unknown = [name for name in given if name is not None and name not in map(str, places)]
        if unknown:
            raise UsageError(f"a {what} is given for {unknown[0]!r}, which is no output; there are "
                             f"{', '.join(map(str, places))}")  # fmt: skip
    found = Comparison({place: Tally(str(place), of_output(tolerances, str(place))) for place in places})
    if folders[0].first != folders[1].first and folders[0].places != folders[1].places:
        found.not_run.append(f"{a if folders[0].first else b}: {NUMBERING}")
        return found.verdict()
    _note_types(found, folders, dtypes)
    if not tolerances:
        found.notes.append("tolerance of float16 on a device: |x - y| <= 2^-7 (|x| + max |x|)")
    outputs = {place: _Output(place, of_output(dtypes, str(place)), found) for place in places}
    samples = sorted(folders[0].files.keys() | folders[1].files.keys())
    for done, sample in enumerate(samples):
        if progress is not None:
            progress(f"sample {sample}", done, len(samples))
        mine, theirs = (folder.files.get(sample) for folder in folders)
        if mine is None or theirs is None:
            found.not_run.append(f"sample {sample} is in {(b if mine is None else a)} only")
            continue
        for place in sorted(mine.keys() | theirs.keys()):
            if place in mine and place in theirs:
                outputs[place].take(sample, mine[place], theirs[place])
            else:
                found.not_run.append(f"output {place} of sample {sample} is in {a if place in mine else b} only")
    for output in outputs.values():
        output.doubt(folders)
    return found.verdict()


@dataclass
class _Output:
    """One output of two folders, and what speaks against taking its samples' agreement for an answer."""

    place: int
    dtypes: tuple[np.dtype[Any], np.dtype[Any]] | None
    found: Comparison
    raw: tuple[RawFloats, RawFloats] = field(default_factory=lambda: (RawFloats(), RawFloats()))
    values: int = 0
    small: int = 0
    unlike: int = 0

    def take(self, sample: str, *files: Path) -> None:
        """Compares a sample."""
        read = [self.found.read(file, None, self.dtypes and self.dtypes[side]) for side, file in enumerate(files)]
        x, y = read
        if x is None or y is None or self.found.is_empty(self.place, sample, x, y):
            return
        tally = self.found.tallies[self.place]
        guessed = [self.dtypes is None and file.suffix == ".bin" for file in files]
        if x.size != y.size:
            counts = f"{x.size} elements and {y.size}"
            if any(guessed) and max(x.size, y.size) in {times * min(x.size, y.size) for times in (2, 4)}:
                hint = f"if they are of different types, say so with --dtype {self.place}=float32,float16"
                self.found.not_run.append(f"output {self.place} of sample {sample} has {counts}: {hint}")
            else:
                tally.take(sample, Judged(why=counts))
            return
        judged = judge(x, y, own=tally.own)
        if judged.why and self.dtypes is None and is_exact(x.dtype) and is_exact(y.dtype):
            as_floats = judge(x.astype(np.float64), y.astype(np.float64), own=tally.own)
            if not as_floats.why and any(file.suffix == ".txt" for file in files):
                hint = f"say which with --dtype {self.place}=float32 or {self.place}=int64"
                self.found.not_run.append(
                    f"output {self.place} of sample {sample} differs if it is of integers: {hint}"
                )
                return
        tally.take(sample, judged)
        for side, array in enumerate((x, y)):
            if guessed[side]:
                self.raw[side].take(array)
        if tally.own is None:
            small, unlike = small_values(x, y)
            self.values, self.small, self.unlike = self.values + x.size, self.small + small, self.unlike + unlike

    def doubt(self, folders: Sequence[OutputFolder]) -> None:
        """Notes what the comparison of the samples cannot have told."""
        for folder, raw in zip(folders, self.raw, strict=True):
            other = raw.other_type()
            if other:
                self.found.not_run.append(
                    f"output {self.place} in {folder.path}: as float32 its values are no ordinary numbers; are they "
                    f"{other}? say so with --dtype {self.place}={other.split()[0]}"
                )
        if self.unlike > UNLIKE * self.small:
            self.found.not_run.append(
                f"output {self.place}: {self.small} of {self.values} values are less than a hundredth of the largest beside "
                f"them, where two devices may differ, and {self.unlike} of these are not alike: compare with the model, or "
                "give --atol"
            )


def _note_types(found: Comparison, folders: Sequence[OutputFolder], dtypes: Dtypes) -> None:
    for folder in folders:
        raw = any(
            file.suffix == ".bin" and of_output(dtypes, str(place)) is None
            for files in folder.files.values()
            for place, file in files.items()
        )
        if raw:
            found.notes.append(f"{folder.path}: raw files are read as float32 (--dtype says otherwise)")
        if folder.first:
            found.notes.append(f"{folder.path}: numbers its outputs from 1; here they count from 0")

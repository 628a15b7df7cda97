"""What a device wrote: one file for each sample and output, raw, as text, or as numpy's arrays."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from onnxfuse.errors import UsageError
from onnxfuse.verification.element_types import is_bool, is_float, is_integer

__all__ = [
    "NUMBERING",
    "OutputFolder",
    "RawFloats",
    "UnreadableError",
    "dtype_named",
    "elements",
    "find",
    "is_exact",
    "widths",
]

# benchmark: <sample>_1.bin; ais_bench: <sample>_0.bin; msame: <sample>_output_0.bin.
NAME: Final = re.compile(r"^(?P<sample>.+)_(?P<number>\d{1,4})\.(?:bin|txt|npy)$")
OF_MSAME: Final = "_output"
LARGEST: Final = 2 << 30
PATTERNS: Final = 64
HUGE: Final = 27
"""So many different halves are not the ends of float32 if none has an exponent from that on, as 4096 has: (27/32)^64 is 2e-5."""
NUMBERING: Final = "which output is which cannot be told: they are numbered from 1 on, or number 0 is missing"
SHOWN: Final = 40


class UnreadableError(Exception):
    """A file holds no results; the message is one line, without the file's name."""


@dataclass(frozen=True)
class OutputFolder:
    """A folder with results.

    Attributes:
        path: The folder.
        files: By sample and by the place of the output among the outputs, from 0.
        first: The number that the tool gives the first output: 0 or 1.
    """

    path: Path
    files: Mapping[str, Mapping[int, Path]]
    first: int

    @property
    def places(self) -> set[int]:
        """The outputs that are there for any sample."""
        return {place for files in self.files.values() for place in files}


def find(folder: Path, samples: Collection[str] = ()) -> OutputFolder:
    """Finds the results in a folder, whichever of the tools wrote them.

    Args:
        folder: The folder.
        samples: What its samples are called, where that is known.

    Raises:
        UsageError: It is no folder, has none, or has one of them twice.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: is no folder of outputs: {error.strerror}") from error
    named = [(match, entry) for entry in entries if (match := NAME.match(entry.name)) and entry.is_file()]
    # A sample's own name may end so; msame's files all do.
    names = {match["sample"] for match, _ in named}
    ending = OF_MSAME if all(name.endswith(OF_MSAME) and name not in samples for name in names) else ""
    found: dict[str, dict[int, Path]] = {}
    for match, entry in named:
        numbered = found.setdefault(match["sample"].removesuffix(ending), {})
        other = numbered.setdefault(int(match["number"]), entry)
        if other is not entry:
            raise UsageError(f"{folder}: {other.name} and {entry.name} are the same output of a sample: keep one")
    if not found:
        below = [entry.name for entry in entries if entry.is_dir() and any(map(NAME.match, _names(entry)))]
        hint = f"; {', '.join(below[:3])} in it has some" if below else ""
        raise UsageError(f"{folder}: holds no outputs: files <sample>_<number>.bin, .txt or .npy are expected{hint}")
    first = min(1, *map(min, found.values()))
    placed = {sample: {number - first: file for number, file in files.items()} for sample, files in found.items()}
    return OutputFolder(folder, placed, first)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []  # it is only looked into for a hint


def elements(file: Path, like: np.ndarray | None, dtype: np.dtype[Any] | None) -> np.ndarray:
    """Reads one result.

    Args:
        file: The file.
        like: What it should be like, where that is known: it tells the type of a raw file by the file's size.
        dtype: The type of a raw file or of a text, where the user says so.

    Returns:
        The elements, flat.

    Raises:
        UnreadableError: It cannot be read, is too large, or is not of a size or a text that fits.
    """
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise UnreadableError(f"is larger than {LARGEST >> 30} GiB")
        if file.suffix == ".npy":
            return _of_numpy(file)
        if file.suffix == ".txt":
            return _text(file.read_text(encoding="ascii"), dtype or (None if like is None else like.dtype))
        return _load(file, dtype or _fitting(size, like))
    except UnreadableError:
        raise
    except UnicodeDecodeError:
        raise UnreadableError("is no text") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or 'it is no array of numpy'}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise UnreadableError(f"is no array of numpy: {str(error).splitlines()[0][:SHOWN]}") from error


def _of_numpy(file: Path) -> np.ndarray:
    with file.open("rb") as stream:
        array = np.asarray(np.load(stream, allow_pickle=False)).reshape(-1)
    if array.dtype.fields is not None or not (is_float(array.dtype) or is_exact(array.dtype)):
        raise UnreadableError(f"holds {array.dtype}, which cannot be compared: floats, integers or booleans can")
    return array


def _load(file: Path, dtype: np.dtype[Any]) -> np.ndarray:
    """Reads a raw file: little-endian, without a header."""
    data = file.read_bytes()
    if len(data) % dtype.itemsize:
        raise UnreadableError(f"has {len(data)} bytes, which is no number of {dtype} elements")
    plain = dtype.newbyteorder("<") if dtype.isbuiltin == 1 else dtype
    return np.frombuffer(data, plain).astype(dtype)


def widths(dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Bytes that a device may write for an element that the model declares to be of a type, in rising order.

    A device narrows float64 and int64. It may be told to write floats as float16 or float32, and integers as narrower ones; no
    integer becomes wider.
    """
    found = {dtype.itemsize}
    if is_float(dtype):
        found |= {2, 4}
    elif is_integer(dtype):
        found |= {width for width in (1, 2, 4) if width < dtype.itemsize}
    return tuple(sorted(found))


def _fitting(size: int, like: np.ndarray | None) -> np.dtype[Any]:
    """The type of a raw file: of the kind of what it should be like, and as wide as its size says."""
    if like is None:
        return np.dtype(np.float32)
    if not like.size:
        return like.dtype
    width, rest = divmod(size, like.size)
    if not rest and width == like.dtype.itemsize:
        return like.dtype
    if not rest and width in widths(like.dtype):
        kind = "f" if is_float(like.dtype) else like.dtype.kind if like.dtype.kind in "iu" else "i"
        return np.dtype(f"{kind}{width}")
    also = ", or half of it in float16" if is_float(like.dtype) and like.dtype.itemsize == 4 else ""
    raise UnreadableError(f"has {size} bytes, and {like.size} elements of {like.dtype} take {like.nbytes}{also}")


def _text(text: str, dtype: np.dtype[Any] | None) -> np.ndarray:
    """The numbers of a text, separated by spaces and line breaks, as integers where that is their type.

    Without a type they are integers where all are written so.
    """
    words = text.split()
    exact = _integers(words) and (dtype is None or is_exact(dtype))
    try:
        return np.array([int(word) for word in words], np.int64) if exact else np.array(words, np.float64)
    except (ValueError, OverflowError):
        wrong = next((word for word in words if not _is_number(word)), "")
        cure = ": a number with a comma" if "," in wrong else ""
        raise UnreadableError(f"has {wrong[:SHOWN]!r} where a number is expected{cure}") from None


def _integers(words: list[str]) -> bool:
    return bool(words) and all(len(word) <= 18 and word.lstrip("-").isdecimal() for word in words)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Whether elements of a type are compared exactly: rounding does not change them."""
    return is_integer(dtype) or is_bool(dtype)


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


@dataclass
class RawFloats:
    """Raw values that nobody said the type of, read as float32: are they that?

    Small integers are denormal numbers then, or NaNs of a kind that no device makes. Of two numbers in float16 the second is
    the half of a float32 that decides; the first is an ordinary number of float16 too, while the last 16 bits of a float32
    are any: 5 in 32 of them would be above 4096, an infinity or a NaN.
    """

    nonzero: int = 0
    odd: int = 0
    halves: int = 0
    huge: int = 0
    round: int = 0
    patterns: set[int] = field(default_factory=set)

    def take(self, values: np.ndarray) -> None:
        """Looks at more of them."""
        bits = values.astype("<f4").view("<u4")
        size = bits & 0x7FFFFFFF
        self.nonzero += int(np.count_nonzero(size))
        self.odd += int(np.count_nonzero((size > 0) & (size < 0x00800000)))
        self.odd += int(np.count_nonzero((size > 0x7F800000) & (size != 0x7FC00000)))
        low = bits & 0xFFFF
        self.halves += low.size
        self.huge += int(np.count_nonzero((low >> 10 & 31) >= HUGE))
        self.round += int(np.count_nonzero((low & 0x1FFF) == 0))
        if len(self.patterns) < PATTERNS:
            self.patterns.update(np.unique(low)[:PATTERNS].tolist())

    def other_type(self) -> str:
        """What they seem to be instead; empty where they seem to be float32."""
        if self.odd > self.nonzero / 2:
            return "int32 or int64"
        # What was made from float16 or from integers has few bits.
        if len(self.patterns) >= PATTERNS and not self.huge and self.round < self.halves / 2:
            return "float16"
        return ""

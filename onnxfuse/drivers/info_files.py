"""`.info` lists of a dataset: written, read back, and checked against what a model takes before it runs.

What a line holds is `onnxfuse.verification.info_list`'s to read; three forms of lists are written:

    0 data/a.bin 224 224            a raw tensor, and the width and height of all of them
    0 data/a.jpg 500 375            a picture, and its own width and height: a sample of its own, whatever its index
    0 data/a_ids.bin                a model of several inputs: the same index once for each, in the model's order
    0 data/a_mask.bin
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from onnxfuse.errors import UsageError
from onnxfuse.verification.info_list import PICTURES, InfoLine, by_sample, check_files, read_list, shape_of
from onnxfuse.verification.inputs import Binding, InputSpec

__all__ = ["Sample", "check", "jpeg_size", "of_one", "read", "samples_in", "write"]

HEAD: Final = 1 << 20
"""Bytes of a picture within which its size stands; a large thumbnail or colour profile comes before it."""


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset.

    Attributes:
        files: Its files as they are in the list, from the list's folder: one for each input of the model.
        size: Width and height, behind each of the files; None where there is more than one file.
        lines: Where it was read from.
    """

    files: tuple[str, ...]
    size: tuple[int, int] | None = None
    lines: tuple[InfoLine, ...] = field(default=(), compare=False, repr=False)

    @property
    def stem(self) -> str:
        """What its outputs are called by: the first file's name without folder and ending."""
        return Path(self.files[0]).stem


def write(path: Path, samples: Iterable[Sample]) -> None:
    """Writes a list whose indices count from 0; as a whole or not at all.

    Args:
        path: The list; the files of the samples are found from its folder.
        samples: One or more, all of one form.

    Raises:
        UsageError: They are not of one form, a file is not there or not in the folder, a name cannot stand in a list, two
            samples would have outputs of one name, or the list cannot be written.
    """
    found = list(samples)
    if not found:
        raise UsageError(f"{path}: a list needs a sample or more")
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"{path}: cannot be written: {'it' if path.is_dir() else path.parent} is "
                         f"{'a' if path.is_dir() else 'no'} folder")  # fmt: skip
    if len({(len(sample.files), sample.size is None) for sample in found}) > 1 or not found[0].files:
        raise UsageError(f"{path}: the samples have different numbers of files, or a size in some only")
    stems: dict[str, str] = {}
    for sample in found:
        if len(sample.files) > 1 and any(Path(name).suffix.lower() in PICTURES for name in sample.files):
            raise UsageError(
                f"{path}: {sample.files[0]}: a picture is a sample of its own, and goes with no other file"
            )
        if sample.stem in stems:
            raise UsageError(f"{path}: {stems[sample.stem]} and {sample.files[0]} would have outputs of one name")
        stems[sample.stem] = sample.files[0]
        for name in sample.files:
            _check_name(path, name)
    size_of = [("" if sample.size is None else f" {sample.size[0]} {sample.size[1]}") for sample in found]
    text = "".join(
        f"{index} {name}{size}\n"
        for index, (sample, size) in enumerate(zip(found, size_of, strict=True))
        for name in sample.files
    )
    # Read back from beside its place: what stands there is what a reader accepts.
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        read_list(draft)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(str(error).replace(f"input data {draft}", str(path), 1)) from error
    finally:
        draft.unlink(missing_ok=True)


def _check_name(path: Path, name: str) -> None:
    """A list has no quotes: what would split a name, or end a line, cannot be in it."""
    if not name or name != "".join(name.split()) or not name.isprintable():
        raise UsageError(f"{path}: {name[:100]!r} cannot stand in a list: it has a space or a control character")


def samples_in(folder: Path, path: Path, *, size: tuple[int, int] | None = None) -> list[Sample]:
    """Makes samples of the files of a folder, for a model of one input.

    Args:
        folder: Where they lie: the list's folder, or one in it.
        path: The list that is to be written.
        size: Width and height of raw tensors. Without it the folder's pictures are taken, each with its own size.

    Returns:
        The samples in the order of their names: all `.bin`, or all `.jpg` and `.jpeg`.

    Raises:
        UsageError: The folder is elsewhere, has none, or a picture is no JPEG.
    """
    root = path.parent.resolve()
    endings = (".bin",) if size is not None else (".jpg", ".jpeg")
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in endings and file.is_file())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}") from error
    if not files:
        raise UsageError(f"{folder}: holds no {' and no '.join(endings)} files")
    if not folder.resolve().is_relative_to(root):
        raise UsageError(f"{folder}: is outside of {root}, where the list is")
    below = folder.resolve().relative_to(root)
    return [Sample((f"./{(below / file.name).as_posix()}",), size or jpeg_size(file)) for file in files]


def read(path: Path) -> list[Sample]:
    """Reads a list of any of the three forms; the indices may be any, in the order in which they come first.

    Raises:
        UsageError: It is no list, or a file in it is not in its folder.
    """
    return [_sample(lines) for lines in by_sample(read_list(path))]


def _sample(lines: Sequence[InfoLine]) -> Sample:
    columns = lines[0].columns
    size = (columns[0], columns[1]) if len(lines) == 1 and len(columns) == 2 and not lines[0].is_shape else None
    return Sample(tuple(line.name for line in lines), size, tuple(lines))


def check(samples: Sequence[Sample], inputs: Sequence[InputSpec], *, batch: int = 1) -> None:
    """Checks every file of a list against what a model takes: before minutes of a run, not after.

    Args:
        samples: The list, as it was read.
        inputs: The model's inputs; those with a default are not fed.
        batch: Samples that one run takes: the tool puts so many files together, and each is one of them.

    Raises:
        UsageError: A file has another size than one sample of its input, is no picture of the size in its line, or a
            sample has not as many files as the model takes inputs; with the line.
    """
    if batch < 1:
        raise UsageError(f"a batch is 1 or more, not {batch}")
    fed = [of_one(spec, batch) for spec in inputs if not spec.overridable]
    for sample in samples:
        check_files(sample.lines, fed)
        for spec, line in zip(fed, sample.lines, strict=True):
            if line.is_picture:
                _check_picture(line)
            else:
                shape_of(spec, line, Binding({}))


def of_one(spec: InputSpec, batch: int) -> InputSpec:
    """The input as one sample of a batch is: 1 along the first axis.

    Raises:
        UsageError: The model's batch is another.
    """
    if not spec.dims:
        return spec
    first = spec.dims[0]
    if batch == 1 and isinstance(first, int):
        return spec
    if isinstance(first, int) and first != batch:
        raise UsageError(f"input {spec.name} has a batch of {first}, and {batch} was given")
    return replace(spec, dims=(1, *spec.dims[1:]))


def _check_picture(line: InfoLine) -> None:
    if len(line.columns) != 2 or line.is_shape:
        raise UsageError(f"{line.at}: the width and height of {line.name} are missing")
    if line.file.suffix.lower() not in (".jpg", ".jpeg"):
        raise UsageError(f"{line.at}: {line.name} is no .jpg, which is what the tool decodes")
    try:
        width, height = jpeg_size(line.file)
    except UsageError as error:
        raise UsageError(f"{line.at}: {error}") from error
    if (width, height) != line.columns:
        raise UsageError(f"{line.at}: {line.name} is {width} x {height}, and the list says {line.columns[0]} x "
                         f"{line.columns[1]}")  # fmt: skip


def jpeg_size(file: Path) -> tuple[int, int]:
    """Reads the width and height of a JPEG from its frame header (ITU-T T.81, B.2.2).

    Raises:
        UsageError: It cannot be read, or is no JPEG.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(HEAD)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        # Start of frame, whatever the coding; C4, C8 and CC are tables between them.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[k : k + 2], "big") for k in (at + 5, at + 7))
            if width and height:
                return width, height
            break
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    raise UsageError(f"{file.name} is no JPEG whose size can be read")

"""The user's own inputs, as files: archives, folders of arrays, and the lists that Ascend's benchmark tool takes."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxfuse.errors import UsageError
from onnxfuse.verification.element_types import is_string, numpy_dtype
from onnxfuse.verification.inputs import Binding, InputSpec

__all__ = ["DataSet", "InputData", "data_sets"]

InputData = Mapping[str, np.ndarray] | str | os.PathLike[str]
"""One input set by name; or where some lie: an `.npz`, a folder, or an `.info` list."""

PICTURES: Final = frozenset((".jpg", ".jpeg", ".png", ".bmp"))
_UNREADABLE: Final = (
    OSError,
    EOFError,
    ValueError,
    AttributeError,
    TypeError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises for a file that is no archive or no array."""


@dataclass(frozen=True)
class DataSet:
    """One input set.

    Attributes:
        names: The inputs that it is for.
        make: Reads it.
    """

    names: tuple[str, ...]
    make: Callable[[], Mapping[str, Any]]


def data_sets(source: InputData, inputs: Sequence[InputSpec], binding: Binding | None = None) -> list[DataSet]:
    """Finds input sets; their arrays are read when they are made.

    Args:
        source: A mapping by name is one set. A path is that of an `.npz` with an array for each input, of a folder of
            `.npz` files and of folders with one `NAME.npy` for each input, or of an `.info` list: lines of an index
            and a raw file, one line for each input in the model's order, and the shape or the width and height.
        inputs: What the model takes; an `.info` list needs it.
        binding: Sizes of symbolic dims, for what an `.info` list does not say.

    Returns:
        The sets, in the order of their names in a folder, or of their lines.

    Raises:
        UsageError: If a file is not there or is none of these; `make` raises it too.
    """
    if isinstance(source, Mapping):
        return [DataSet(tuple(source), partial(dict, source))]
    path = Path(source)
    if not path.exists():
        raise UsageError(f"input data {path}: no such file")
    if path.is_dir():
        return _folder(path, inputs)
    return _List(path, inputs, binding or Binding({})).sets() if path.suffix == ".info" else [_archive(path)]


def _archive(path: Path) -> DataSet:
    def read(keep: Callable[[Any], Any]) -> Any:
        try:
            # Opened here: numpy leaves a file that is no archive open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return keep(archive)
        except _UNREADABLE as error:
            raise UsageError(f"input data {path}: is no .npz archive of plain arrays") from error

    names = read(lambda archive: tuple(archive.files))
    return DataSet(names, lambda: read(lambda archive: {name: archive[name] for name in archive.files}))


def _folder(path: Path, inputs: Sequence[InputSpec]) -> list[DataSet]:
    if any(path.glob("*.npy")):
        return [_arrays(path, inputs)]
    sets: list[DataSet] = []
    for entry in sorted(path.iterdir()):
        if entry.suffix == ".npz":
            sets.append(_archive(entry))
        elif entry.is_dir() and any(entry.glob("*.npy")):
            sets.append(_arrays(entry, inputs))
    if not sets:
        raise UsageError(f"input data {path}: holds neither .npz files nor folders with one .npy for each input")
    return sets


def _arrays(folder: Path, inputs: Sequence[InputSpec]) -> DataSet:
    """One input set: a `.npy` for each input, whose name may have `_` where a file's cannot have what the input's has."""
    spelled = {spec.name.replace("/", "_").replace(":", "_"): spec.name for spec in inputs}
    files = {spelled.get(file.stem, file.stem): file for file in sorted(folder.glob("*.npy"))}
    return DataSet(tuple(files), lambda: {name: _array(file) for name, file in files.items()})


def _array(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file, allow_pickle=False)
    except _UNREADABLE as error:
        raise UsageError(f"input data {file}: is no array in numpy's format") from error
    return array


@dataclass(frozen=True)
class _Line:
    """One line of a list."""

    at: str
    index: str
    file: Path
    columns: tuple[int, ...]
    is_shape: bool


class _List:
    """An `.info` list."""

    def __init__(self, path: Path, inputs: Sequence[InputSpec], binding: Binding) -> None:
        self._path = path
        self._root = path.parent.resolve()
        self._inputs = [spec for spec in inputs if not spec.overridable]
        self._binding = binding

    def sets(self) -> list[DataSet]:
        """One set an index."""
        grouped: dict[str, list[_Line]] = {}
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"input data {self._path}: cannot be read as text") from error
        for number, text in enumerate(lines, start=1):
            if text.strip():
                line = self._line(text, f"input data {self._path}, line {number}")
                grouped.setdefault(line.index, []).append(line)
        if not grouped:
            raise UsageError(f"input data {self._path}: has no lines")
        return [self._set(group) for group in grouped.values()]

    def _line(self, text: str, at: str) -> _Line:
        index, *rest = text.split()
        columns = "".join(rest[1:]) if len(rest) > 1 and rest[1].startswith("(") else " ".join(rest[1:])
        is_shape = columns.startswith("(") and columns.endswith(")")
        sizes = [size for size in columns.strip("()").replace(",", " ").split() if size]
        if not (index.isdecimal() and rest and all(size.isascii() and size.isdecimal() for size in sizes)):
            raise UsageError(f"{at}: <index> <file.bin>, and <width> <height> or the shape, is expected")
        file = (self._root / rest[0]).resolve()
        if file.suffix.lower() in PICTURES:
            raise UsageError(
                f"{at}: {rest[0]} is a picture, and how it is scaled and normalized is not in the list: "
                "list raw tensors (.bin) instead"
            )
        if not file.is_relative_to(self._root):
            raise UsageError(f"{at}: {rest[0]} is outside of the folder of the list")
        if not file.is_file():
            raise UsageError(f"{at}: {rest[0]}: no such file in the folder of the list")
        return _Line(at, index, file, tuple(map(int, sizes)), is_shape)

    def _set(self, group: list[_Line]) -> DataSet:
        if len(group) != len(self._inputs):
            names = ", ".join(spec.name for spec in self._inputs) or "none"
            raise UsageError(
                f"{group[-1].at}: index {group[0].index} has {len(group)} file{'s' * (len(group) != 1)}, "
                f"and the model takes {len(self._inputs)}: {names}"
            )
        parts = [(spec, line, self._shape(spec, line)) for spec, line in zip(self._inputs, group, strict=True)]
        return DataSet(
            tuple(spec.name for spec in self._inputs),
            lambda: {spec.name: self._read(spec, line, shape) for spec, line, shape in parts},
        )

    def _shape(self, spec: InputSpec, line: _Line) -> tuple[int, ...]:
        """The shape of a raw file: what the line says, what is declared, and what its size leaves for one dim."""
        dtype = self._dtype(spec, line)
        size = line.file.stat().st_size
        dims = self._declared(spec, line)
        unknown = [axis for axis, dim in enumerate(dims) if dim is None]
        known = math.prod(dim for dim in dims if dim is not None) * dtype.itemsize
        if len(unknown) == 1 and known and size % known == 0:
            dims[unknown[0]] = size // known
        elif unknown:
            raise UsageError(
                f"{line.at}: {size} bytes of {dtype} do not tell the shape of input {spec.name}, {_text(dims)}: "
                "put the shape behind the file, as (1,3,224,224)"
            )
        shape = tuple(dim for dim in dims if dim is not None)
        if math.prod(shape) * dtype.itemsize != size:
            raise UsageError(
                f"{line.at}: {line.file.name} has {size} bytes, and input {spec.name}, {_text(dims)} of {dtype}, "
                f"takes {math.prod(shape) * dtype.itemsize}"
            )
        return shape

    def _dtype(self, spec: InputSpec, line: _Line) -> np.dtype[Any]:
        dtype = numpy_dtype(spec.dtype) if spec.kind == "tensor" else None
        if dtype is None or is_string(dtype) or dtype.name in ("int4", "uint4", "int2", "uint2", "float4_e2m1fn"):
            raise UsageError(f"{line.at}: input {spec.name} is of a type that no raw file can hold")
        return dtype

    def _declared(self, spec: InputSpec, line: _Line) -> list[int | None]:
        """The dims that are known without the size of the file."""
        declared: list[int | None] = [
            dim if isinstance(dim, int) else self._binding.sizes.get(dim or f"{spec.name}.{axis}")
            for axis, dim in enumerate(spec.dims or ())
        ]
        said = line.columns
        if line.is_shape or (said and (spec.dims is None or len(said) == len(declared))):
            fits = spec.dims is None or (
                len(said) == len(declared)
                and all(not isinstance(dim, int) or dim == size for dim, size in zip(spec.dims, said, strict=True))
            )
            if not fits:
                raise UsageError(f"{line.at}: the shape {_text(list(said))} is not that of input {spec.name}, "
                                 f"{_text(declared)}")  # fmt: skip
            return list(said)
        if spec.dims is None:
            raise UsageError(f"{line.at}: input {spec.name} has no declared rank: put the shape behind the file")
        if said and (len(said) != 2 or len(declared) < 3):
            raise UsageError(
                f"{line.at}: {len(said)} sizes behind the file are neither the shape of input {spec.name}, "
                f"{_text(declared)}, nor a width and a height"
            )
        if said:
            self._place_image(declared, (said[1], said[0]), spec, line)
        return declared

    def _place_image(self, dims: list[int | None], image: tuple[int, int], spec: InputSpec, line: _Line) -> None:
        """Puts height and width in their place: behind the channels, or before them."""
        rank = len(dims)
        for first in (rank - 2, rank - 3) if rank == 4 else (rank - 2,):
            if all(dim in (None, size) for dim, size in zip(dims[first : first + 2], image, strict=True)):
                dims[first : first + 2] = image
                return
        raise UsageError(
            f"{line.at}: a width of {image[1]} and a height of {image[0]} are not those of input {spec.name}, "
            f"{_text(dims)}"
        )

    def _read(self, spec: InputSpec, line: _Line, shape: tuple[int, ...]) -> np.ndarray:
        dtype = self._dtype(spec, line)
        try:
            data = line.file.read_bytes()
        except OSError as error:
            raise UsageError(f"{line.at}: {line.file.name} cannot be read: {error.strerror}") from error
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise UsageError(f"{line.at}: {line.file.name} has changed since it was listed")
        # Raw files are little-endian, whatever this machine is.
        plain = dtype.newbyteorder("<") if dtype.kind in "iufc" and dtype.isbuiltin == 1 else dtype
        return np.frombuffer(data, plain).astype(dtype).reshape(shape)


def _text(dims: Sequence[int | None]) -> str:
    return f"[{','.join('?' if dim is None else str(dim) for dim in dims)}]"

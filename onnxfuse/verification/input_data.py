"""The user's own inputs, as files: archives, folders of arrays, and the lists that Ascend's benchmark tool takes."""

from __future__ import annotations

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
from onnxfuse.verification.info_list import InfoLine, grouped, read_list, read_raw, shape_of
from onnxfuse.verification.inputs import Binding, InputSpec

__all__ = ["DataSet", "InputData", "data_sets"]

InputData = Mapping[str, np.ndarray] | str | os.PathLike[str]
"""One input set by name; or where some lie: an `.npz`, a folder, or an `.info` list."""

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
    return _listed(path, inputs, binding or Binding({})) if path.suffix == ".info" else [_archive(path)]


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


def _listed(path: Path, inputs: Sequence[InputSpec], binding: Binding) -> list[DataSet]:
    """The sets of an `.info` list: one an index."""
    fed = [spec for spec in inputs if not spec.overridable]
    lines = read_list(path)
    for line in lines:
        if line.is_picture:
            raise UsageError(
                f"{line.at}: {line.name} is a picture, and how it is scaled and normalized is not in the list: "
                "list raw tensors (.bin) instead"
            )
    return [_set(group, fed, binding) for group in grouped(lines, fed)]


def _set(group: Sequence[InfoLine], inputs: Sequence[InputSpec], binding: Binding) -> DataSet:
    parts = [(spec, line, shape_of(spec, line, binding)) for spec, line in zip(inputs, group, strict=True)]
    return DataSet(
        tuple(spec.name for spec in inputs),
        lambda: {spec.name: read_raw(spec, line, shape) for spec, line, shape in parts},
    )

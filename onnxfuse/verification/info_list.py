"""`.info` lists, which Ascend's benchmark tool takes: an index and a file in each line, one line for each input.

A list comes from elsewhere, so no line of it opens a file outside of the list's folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxfuse.errors import UsageError
from onnxfuse.verification.element_types import is_string, numpy_dtype
from onnxfuse.verification.inputs import Binding, InputSpec

__all__ = ["PICTURES", "InfoLine", "by_sample", "check_files", "grouped", "read_list", "read_raw", "shape_of"]

PICTURES: Final = frozenset((".jpg", ".jpeg", ".png", ".bmp"))
LARGEST: Final = 256 << 20
"""Bytes of a list: ImageNet's 50,000 lines have 3 MB."""
DIGITS: Final = 18
SHOWN: Final = 100


@dataclass(frozen=True)
class InfoLine:
    """One line of a list.

    Attributes:
        at: Which it is, for messages.
        index: The sample that it belongs to.
        name: The file, as it is written there.
        file: Where that is: a regular file in the list's folder.
        columns: What is behind it: width and height, or a shape, or nothing.
        is_shape: Whether that is in parentheses.
    """

    at: str
    index: int
    name: str
    file: Path
    columns: tuple[int, ...]
    is_shape: bool

    @property
    def is_picture(self) -> bool:
        """Whether the file is a picture, by its name."""
        return self.file.suffix.lower() in PICTURES


def read_list(path: Path) -> list[InfoLine]:
    """Reads a list.

    Args:
        path: The list; its files are found from its folder.

    Returns:
        Its lines, one or more, in order.

    Raises:
        UsageError: It cannot be read, has no lines, a line is none of a list, or names a file that is not in the folder.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"input data {path}: cannot be read as text") from error
    if len(data) > LARGEST:
        raise UsageError(f"input data {path}: is larger than {LARGEST >> 20} MiB: no .info list")
    root = path.parent.resolve()
    # Only line feeds end a line: a name may have what else Python takes for an end.
    lines = [
        _line(line, f"input data {path}, line {number}", root)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not lines:
        raise UsageError(f"input data {path}: has no lines")
    return lines


def _line(text: str, at: str, root: Path) -> InfoLine:
    index, *rest = text.split()
    columns = "".join(rest[1:]) if len(rest) > 1 and rest[1].startswith("(") else " ".join(rest[1:])
    is_shape = columns.startswith("(") and columns.endswith(")")
    sizes = (columns[1:-1] if is_shape else columns).replace(",", " ").split()
    if not (rest and all(size.isascii() and size.isdecimal() and len(size) <= DIGITS for size in (index, *sizes))):
        raise UsageError(f"{at}: <index> <file.bin>, and <width> <height> or the shape, is expected")
    name = rest[0]
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}..."
    try:
        file = (root / name).resolve()
        inside, there = file.is_relative_to(root), file.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a link to itself, a name too long
        raise UsageError(f"{at}: {shown!r} is no name of a file") from error
    if not inside:
        raise UsageError(f"{at}: {shown} is outside of the folder of the list")
    if not there:
        raise UsageError(f"{at}: {shown}: no such file in the folder of the list")
    return InfoLine(at, int(index), name, file, tuple(map(int, sizes)), is_shape)


def by_sample(lines: Sequence[InfoLine]) -> list[list[InfoLine]]:
    """Puts the lines of one index together, in the order in which they come first.

    A picture is a sample of its own: lists of them begin their indices anew for each ending of files.
    """
    found: dict[tuple[int, int | None], list[InfoLine]] = {}
    for number, line in enumerate(lines):
        found.setdefault((line.index, number if line.is_picture else None), []).append(line)
    return list(found.values())


def grouped(lines: Sequence[InfoLine], inputs: Sequence[InputSpec]) -> list[list[InfoLine]]:
    """Puts the lines of one sample together, in the order of the inputs.

    Raises:
        UsageError: A sample has not as many lines as the model takes inputs.
    """
    found = by_sample(lines)
    for group in found:
        check_files(group, inputs)
    return found


def check_files(group: Sequence[InfoLine], inputs: Sequence[InputSpec]) -> None:
    """Checks that a sample has a file for each input.

    Raises:
        UsageError: It has not.
    """
    if len(group) != len(inputs):
        names = ", ".join(spec.name for spec in inputs) or "none"
        raise UsageError(
            f"{group[-1].at}: index {group[0].index} has {len(group)} file{'s' * (len(group) != 1)}, "
            f"and the model takes {len(inputs)}: {names}"
        )


def shape_of(spec: InputSpec, line: InfoLine, binding: Binding) -> tuple[int, ...]:
    """The shape of a raw file: what its line says, what is declared, and what its size leaves for one dim.

    Args:
        spec: The input that it is for.
        line: Its line.
        binding: Sizes of symbolic dims.

    Raises:
        UsageError: The file has another size, or its shape cannot be told.
    """
    dtype = _dtype(spec, line)
    size = line.file.stat().st_size
    dims = _declared(spec, line, binding)
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


def _dtype(spec: InputSpec, line: InfoLine) -> np.dtype[Any]:
    dtype = numpy_dtype(spec.dtype) if spec.kind == "tensor" else None
    if dtype is None or is_string(dtype) or dtype.name in ("int4", "uint4", "int2", "uint2", "float4_e2m1fn"):
        raise UsageError(f"{line.at}: input {spec.name} is of a type that no raw file can hold")
    return dtype


def _declared(spec: InputSpec, line: InfoLine, binding: Binding) -> list[int | None]:
    """The dims that are known without the size of the file."""
    declared: list[int | None] = [
        dim if isinstance(dim, int) else binding.sizes.get(dim or f"{spec.name}.{axis}")
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
        _place_image(declared, (said[1], said[0]), spec, line)
    return declared


def _place_image(dims: list[int | None], image: tuple[int, int], spec: InputSpec, line: InfoLine) -> None:
    """Puts height and width in their place: behind the channels, or before them."""
    rank = len(dims)
    for first in (rank - 2, rank - 3) if rank == 4 else (rank - 2,):
        if all(dim in (None, size) for dim, size in zip(dims[first : first + 2], image, strict=True)):
            dims[first : first + 2] = image
            return
    raise UsageError(
        f"{line.at}: a width of {image[1]} and a height of {image[0]} are not those of input {spec.name}, {_text(dims)}"
    )


def read_raw(spec: InputSpec, line: InfoLine, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a raw file.

    Raises:
        UsageError: It cannot be read, or no longer has the size of this shape.
    """
    dtype = _dtype(spec, line)
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

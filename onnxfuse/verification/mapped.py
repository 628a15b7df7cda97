"""Which file an array is a view of: another process can then map it too, where it would have to be sent a copy."""

from __future__ import annotations

import bisect
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

__all__ = ["MappedFiles"]

# Smaller arrays are copied wherever they lie: it costs less than a look at what is mapped.
_WORTH: Final = 1 << 16
# A process may often have no more than 1024 files open.
_MOST_FILES: Final = 200


@dataclass(frozen=True)
class _Mapping:
    """A stretch of memory that is a file's: what is in one is in the other.

    Attributes:
        start: Its first address.
        end: The address after its last.
        offset: Where it begins in the file.
        file: The kernel's numbers of device and file.
        path: The file's path when it was mapped; another file may be there now.
    """

    start: int
    end: int
    offset: int
    file: tuple[str, str]
    path: str


class MappedFiles:
    """The files behind some arrays, opened as they are asked for, and closed at the end of the `with`.

    Attributes:
        opened: Descriptors, by what identifies the file and its content.
    """

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self.opened: dict[str, int] = {}
        self._mappings = _mappings() if any(array.nbytes >= _WORTH for array in arrays) else []
        self._starts = [mapping.start for mapping in self._mappings]
        self._known: dict[tuple[str, tuple[str, str]], str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for descriptor in self.opened.values():
            os.close(descriptor)

    def place(self, array: np.ndarray) -> tuple[str, int] | None:
        """The key in `opened` of the file that an array is a view of, and its offset there; None where it is of none."""
        if array.nbytes < _WORTH or not array.flags.c_contiguous or array.dtype.hasobject:
            return None
        address = array.__array_interface__["data"][0]
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0 or address + array.nbytes > self._mappings[index].end:
            return None
        mapping = self._mappings[index]
        key = (mapping.path, mapping.file)
        if key not in self._known:
            self._known[key] = self._open(mapping)
        file = self._known[key]
        return None if file is None else (file, mapping.offset + address - mapping.start)

    def _open(self, mapping: _Mapping) -> str | None:
        """Opens a mapping's file, unless another one is there now, or too many are open; returns its key."""
        if len(self.opened) >= _MOST_FILES:
            return None
        try:
            descriptor = os.open(mapping.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            same = _kernels_file(descriptor) == mapping.file
            status = os.fstat(descriptor)
        except (OSError, ValueError):  # it cannot be mapped: a pipe, or an empty file
            same = False
        if not same:
            os.close(descriptor)
            return None
        file = f"{status.st_dev}:{status.st_ino}:{status.st_mtime_ns}:{status.st_size}"
        if file in self.opened:
            os.close(descriptor)
        else:
            self.opened[file] = descriptor
        return file


def _kernels_file(descriptor: int) -> tuple[str, str] | None:
    """The kernel's numbers of an open file, as `/proc/self/maps` has them: on some file systems fstat's differ."""
    with mmap.mmap(descriptor, 1, access=mmap.ACCESS_READ) as probe:
        address = np.frombuffer(probe, np.uint8).__array_interface__["data"][0]
        return next((mapping.file for mapping in _mappings() if mapping.start <= address < mapping.end), None)


def _mappings() -> list[_Mapping]:
    """What this process has mapped of files, by address; nothing that it may have changed for itself alone."""
    found = []
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        span, mode, offset, device, inode, *path = line.split(maxsplit=5)
        # A path with a line break in it is escaped there, and is not found; so is that of a file that is gone.
        if mode[3] == "s" and path and path[0].startswith("/"):
            start, end = (int(address, 16) for address in span.split("-"))
            found.append(_Mapping(start, end, int(offset, 16), (device, inode), path[0]))
    return found

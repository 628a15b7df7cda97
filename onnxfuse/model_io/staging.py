"""Files that appear together, each whole, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from onnxfuse.errors import ModelError
from onnxfuse.model_io.payload import Data, Span

__all__ = ["Staging", "write_pieces"]

# Linux's ioctl that makes a file share another's blocks; where the file system cannot, it fails at once.
FICLONE: Final = 0x40049409

BLOCK: Final = 1 << 20


class Staging:
    """Writes files beside their destinations and puts them in place together.

    Every file is written to a temporary one in the same folder and synced; `commit` renames them in the order in which
    they were written. Without it, or where it fails, what was made is removed again. A symbolic link is replaced, not
    followed: what it names belongs to somebody else.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []
        self._made: list[Path] = []  # folders, and files in places where there was none

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for temporary, _ in self._staged:
            temporary.unlink(missing_ok=True)
        for path in reversed(self._made):
            with contextlib.suppress(OSError):  # somebody has put something in the folder
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def file(self, path: Path) -> Iterator[BinaryIO]:
        """Opens the temporary file that is to become `path`."""
        temporary = path.with_name(f".onnxfuse-{secrets.token_hex(8)}.tmp")
        self._staged.append((temporary, path))
        # The kernel applies the umask; a file that is replaced keeps its mode.
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            status = path.lstat() if os.path.lexists(path) else None
            if status is not None and stat.S_ISREG(status.st_mode):
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.fsync(descriptor)

    def make_folder(self, path: Path) -> None:
        """Makes a folder, with those above it."""
        missing = []
        while not path.exists():
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            folder.mkdir()
            self._made.append(folder)

    def copy(self, source: Path, destination: Path) -> str:
        """Copies a file the cheapest way that the file system offers; returns the way, for a report.

        Raises:
            ModelError: The source cannot be read.
        """
        try:
            reader = source.open("rb")
        except OSError as error:
            raise ModelError(f"{source}: cannot be read: {error.strerror or error}") from error
        with reader, self.file(destination) as writer:
            try:
                fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            except OSError:
                size = os.fstat(reader.fileno()).st_size
                copied = _copy(reader.fileno(), 0, size, writer)
                return "copy_file_range" if copied == size else "copy"
            return "reflink"

    def commit(self) -> None:
        """Puts the files in place, in the order in which they were written."""
        folders = {path.parent: None for _, path in self._staged}
        while self._staged:
            temporary, path = self._staged[0]
            if not os.path.lexists(path):
                self._made.append(path)
            temporary.replace(path)
            del self._staged[0]
        self._made.clear()
        for folder in folders:
            with contextlib.suppress(OSError):  # the files are there; not every file system syncs folders
                _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_pieces(pieces: Iterable[bytes | Data], file: BinaryIO) -> None:
    """Writes pieces of a model; what lies in a file goes there in the kernel.

    Raises:
        ModelError: The file has become shorter since it was read.
    """
    pending: Span | None = None
    for piece in pieces:
        if pending is not None:
            if isinstance(piece, Span) and piece.source is pending.source and piece.start == pending.end:
                # Neighbours go in one copy: usually all the weights of a model.
                pending = Span(pending.source, pending.start, piece.end, pending.file)
                continue
            _write_span(pending, file)
            pending = None
        if isinstance(piece, Span):
            pending = piece
        else:
            file.write(piece if isinstance(piece, bytes) else piece.view())
    if pending is not None:
        _write_span(pending, file)


def _write_span(span: Span, file: BinaryIO) -> None:
    if span.file is None:
        file.write(span.view())
        return
    if os.fstat(span.file.number).st_size < span.end:
        # A look at the mapped bytes that are gone would kill the process.
        raise ModelError("the file that the model was read from has become shorter since")
    _copy(span.file.number, span.start, span.size, file)


def _copy(source: int, offset: int, size: int, file: BinaryIO) -> int:
    """Copies a stretch of a file to where `file` stands; returns how many bytes went in the kernel."""
    file.flush()
    at, done = file.tell(), 0
    with contextlib.suppress(OSError):  # the kernel declines between some file systems
        while done < size and (
            count := os.copy_file_range(source, file.fileno(), size - done, offset + done, at + done)
        ):
            done += count
    in_kernel = done
    file.seek(at + done)
    while done < size:
        block = os.pread(source, min(BLOCK, size - done), offset + done)
        if not block:
            raise ModelError("a file that is being copied has become shorter")
        file.write(block)
        done += len(block)
    return in_kernel

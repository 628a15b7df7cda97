"""Objects and open files between two processes, over a socket.

Arrays go as they lie in memory: small ones through the socket, large ones through memory that both processes map.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import time
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np

from onnxfuse.verification.element_types import bytes_of

__all__ = ["Channel", "aligned", "shared_memory"]

# Pickle's length; numbers of buffers and of files; whether the buffers lie in the last file.
_HEAD: Final = struct.Struct("<QIIQ")
# Together, larger buffers go through shared memory: below this, two copies cost less than a mapping.
_INLINE: Final = 1 << 18
# The kernel takes 253 in one call.
_FILES_AT_ONCE: Final = 200
# What stands before descriptors, and before a message.
_FILES: Final = b"f"
_MESSAGE: Final = b"m"
_ALIGNMENT: Final = 64
# What messages are made of, beside what pickle itself knows and the types of ml_dtypes.
_PARTS: Final = frozenset(
    (
        ("builtins", "complex"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core._internal", "_convert_to_stringdtype_kwargs"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("onnxfuse.verification.cargo", "Bundle"),
        ("onnxfuse.verification.cargo", "Place"),
        ("onnxfuse.verification.channel", "_array"),
        ("onnxfuse.verification.sessions", "Options"),
    )
)


class Channel:
    """One end of a connection, for one request and one reply at a time.

    Attributes:
        bytes_sent: What went through the socket and through memory that was filled for it.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self.bytes_sent = 0

    def send(self, message: object, files: Sequence[int] = ()) -> None:
        """Sends an object, and descriptors of open files, which stay the caller's to close.

        Raises:
            OSError: The other end is gone, or there is no memory for the message.
        """
        buffers: list[memoryview] = []
        packed = _packed(message, buffers)
        sizes = struct.pack(f"<{len(buffers)}Q", *(buffer.nbytes for buffer in buffers))
        total = sum(aligned(buffer.nbytes) for buffer in buffers)
        shared = shared_memory(buffers) if total > _INLINE else None
        try:
            given = [*files] if shared is None else [*files, shared]
            data: list[bytes | memoryview] = [
                _HEAD.pack(len(packed), len(buffers), len(given), shared is not None),
                sizes,
                packed,
            ]
            if shared is None:
                data += [piece for buffer in buffers for piece in (buffer, bytes(-buffer.nbytes % _ALIGNMENT))]
            self._socket.settimeout(None)
            for start in range(0, len(given), _FILES_AT_ONCE):
                socket.send_fds(self._socket, [_FILES], given[start : start + _FILES_AT_ONCE])
            joined = b"".join([_MESSAGE, *data])
            self._socket.sendall(joined)
            self.bytes_sent += len(joined) + (total if shared is not None else 0)
        finally:
            if shared is not None:
                os.close(shared)

    def receive(self, deadline: float | None = None) -> tuple[Any, list[int]]:
        """Waits for an object; returns it with the descriptors that came along, which are the caller's to close.

        Args:
            deadline: When to stop waiting, on the clock of `time.monotonic`.

        Raises:
            TimeoutError: Nothing came in time.
            EOFError: The other end is gone.
        """
        files: list[int] = []
        try:
            self._take(files, deadline)
            length, count, given, is_shared = _HEAD.unpack(self._exactly(_HEAD.size, deadline))
            if given != len(files):
                raise EOFError(f"{given - len(files)} of {given} descriptors did not come through")
            sizes = struct.unpack(f"<{count}Q", self._exactly(8 * count, deadline))
            packed = self._exactly(length, deadline)
            total = sum(map(aligned, sizes))
            whole: bytearray | mmap.mmap
            if is_shared:
                shared = files.pop()
                try:
                    whole = mmap.mmap(shared, total)
                finally:
                    os.close(shared)
            else:
                whole = self._exactly(total, deadline)
            view, buffers, at = memoryview(whole), [], 0
            for size in sizes:
                buffers.append(view[at : at + size])
                at += aligned(size)
            return _Unpickler(BytesIO(packed), buffers=buffers).load(), files
        except BaseException:
            for file in files:
                os.close(file)
            raise

    def close(self) -> None:
        """Closes this end."""
        self._socket.close()

    def _take(self, files: list[int], deadline: float | None) -> None:
        """Takes the descriptors that come before a message."""
        mark = _FILES
        while mark == _FILES:
            self._wait(deadline)
            mark, came, _, _ = socket.recv_fds(self._socket, 1, _FILES_AT_ONCE)
            files += came
        if not mark:
            raise EOFError

    def _exactly(self, size: int, deadline: float | None) -> bytearray:
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            self._wait(deadline)
            got = self._socket.recv_into(view[at:])
            if not got:
                raise EOFError
            at += got
        return data

    def _wait(self, deadline: float | None) -> None:
        """Lets the next call on the socket wait until the deadline."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def aligned(size: int) -> int:
    """The bytes that a buffer of `size` takes, so that the next one begins where a kernel can load it."""
    return size + -size % _ALIGNMENT


def shared_memory(buffers: Sequence[memoryview]) -> int:
    """Puts buffers one after the other, each `aligned`, in a new file in memory; returns its descriptor.

    Raises:
        OSError: There is no memory for them.
    """
    file = os.memfd_create("onnxfuse", os.MFD_CLOEXEC)
    try:
        at = 0
        os.ftruncate(file, sum(aligned(buffer.nbytes) for buffer in buffers))
        for buffer in buffers:
            done = 0
            while done < buffer.nbytes:
                done += os.pwrite(file, buffer[done:], at + done)
            at += aligned(buffer.nbytes)
    except BaseException:
        os.close(file)
        raise
    return file


def _packed(message: object, buffers: list[memoryview]) -> bytes:
    """Pickles an object; the memory of its arrays is left to `buffers`."""
    stream = BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=lambda buffer: buffers.append(buffer.raw())).dump(message)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    """Leaves the memory of arrays of every type out: numpy itself copies those whose types are not its own."""

    def reducer_override(self, value: object) -> Any:
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            return NotImplemented
        return _array, (pickle.PickleBuffer(bytes_of(value)), value.dtype, value.shape)


class _Unpickler(pickle.Unpickler):
    """Makes nothing but arrays, their types, and messages: a model that took the other process over gets no further."""

    def find_class(self, module: str, name: str) -> Any:
        """As pickle's own; raises `pickle.UnpicklingError` for what no message holds."""
        # numpy 1 has the same under another name.
        if (module.replace("numpy.core.", "numpy._core."), name) in _PARTS:
            return super().find_class(module, name)
        if module == "ml_dtypes":
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, np.generic):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a message")


def _array(buffer: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, dtype, buffer=buffer)

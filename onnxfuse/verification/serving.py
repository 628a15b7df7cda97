"""The worker process: loads and runs what it is asked to, until the other end of its socket is closed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime  # noqa: F401 - loaded while nobody waits

from onnxfuse.verification.cargo import Blob, Bundle, Hold
from onnxfuse.verification.channel import Channel
from onnxfuse.verification.memory import available_bytes, measure
from onnxfuse.verification.sessions import EvaluationError, EvaluationMemoryError, Options, Session, load

__all__ = ["listen", "serve"]

# Beside the model in use: a session keeps the memory that it needed for one run.
KEPT_SESSIONS: Final = 16
KEPT_BYTES: Final = 512 << 20
# Of what the machine has left, so that it goes on working; and how long that stands before it is looked at again.
MEMORY_SHARE: Final = 0.8
LIMITED_FOR_S: Final = 0.25


@dataclass
class _Loaded:
    """A model, and once it was asked for, its session."""

    model: onnx.ModelProto
    weights: Mapping[str, np.ndarray]
    options: Options
    blobs: Sequence[Blob]
    session: Session | None = None


class _Server:
    """Answers requests: each is a tuple, of the name of a method first."""

    def __init__(self) -> None:
        self._hold = Hold()
        self._loaded: OrderedDict[bytes, _Loaded] = OrderedDict()
        self._opened = 0

    def answer(self, request: tuple[Any, ...], files: Sequence[int]) -> tuple[Any, ...]:
        """Returns the reply: its kind, and what belongs to it."""
        name, key, *arguments = request
        if name == "give":
            return self.give(key, arguments[0], files)
        if key not in self._loaded:
            return ("unknown", self._hold.blobs())
        self._loaded.move_to_end(key)
        self._trim()
        value = getattr(self, name)(self._loaded[key], *arguments)
        return ("done", value, self._opened)

    def give(self, key: bytes, bundle: Bundle, files: Sequence[int]) -> tuple[Any, ...]:
        """Takes a model in."""
        weights, blobs = self._hold.unpack(bundle, files)
        model = onnx.ModelProto.FromString(bundle.serialized)
        self._loaded[key] = _Loaded(model, weights, bundle.options, blobs)
        return ("done", None, self._opened)

    def load(self, loaded: _Loaded) -> tuple[str, str | None]:
        """Makes the session, unless it is there; returns its backend, and why not onnxruntime."""
        session = self._session(loaded)
        return session.backend, session.why_not_onnxruntime

    def run(
        self, loaded: _Loaded, feeds: Mapping[str, Any], fetch: Sequence[str], timeout_s: float | None
    ) -> list[Any]:
        """Runs it."""
        results = self._session(loaded).run(feeds, fetch, timeout_s)
        size = sum(x.nbytes for x in results if isinstance(x, np.ndarray))
        if size > KEPT_BYTES and size > MEMORY_SHARE * available_bytes():
            raise EvaluationMemoryError(f"the results take {size / 2**30:.2f} GiB, which memory does not hold twice")
        return results

    def measure(self, loaded: _Loaded, feeds: Mapping[str, Any], folder: str, timeout_s: float | None) -> int:
        """Sums the sizes of intermediates."""
        return measure(loaded.model, feeds, loaded.weights, folder, timeout_s)

    def _trim(self) -> None:
        """Drops the models that were used longest ago, as far as they are too many or take too much."""
        while len(self._loaded) > KEPT_SESSIONS or (len(self._loaded) > 1 and _anonymous_bytes() > KEPT_BYTES):
            self._loaded.popitem(last=False)
            ctypes.CDLL(None).malloc_trim(0)

    def _session(self, loaded: _Loaded) -> Session:
        if loaded.session is None:
            loaded.session = load(loaded.model, loaded.weights, loaded.options)
            self._opened += 1
        return loaded.session


def serve(descriptor: int) -> None:
    """Loads and runs models until the other end of a socket is closed.

    Args:
        descriptor: The socket.
    """
    listen(descriptor, _Server().answer)


def _answered(answer: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """A reply: the answer, or what went wrong."""
    try:
        return answer()
    except EvaluationError as error:
        return ("error", type(error).__name__, str(error))
    except MemoryError as error:
        return ("error", EvaluationMemoryError.__name__, str(error) or "memory is short")
    except Exception:  # noqa: BLE001 - a fault of ours, which the other side raises
        return ("fault", traceback.format_exc())


def listen(descriptor: int, answer: Callable[[tuple[Any, ...], Sequence[int]], tuple[Any, ...]]) -> None:
    """Makes this process one in which models may crash, and answers until the other end of a socket is closed.

    Args:
        descriptor: The socket.
        answer: Gives the reply to a request, which may come with open files.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the kernel has to end a process, it is to be this one.
    with contextlib.suppress(OSError):  # which not every container allows
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # Each file of weights that is mapped is one.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    # What a model names by a relative path is nowhere.
    nowhere = tempfile.mkdtemp(prefix="onnxfuse-")
    os.chdir(nowhere)
    Path(nowhere).rmdir()
    channel = Channel(socket.socket(fileno=descriptor))
    channel.send(("ready",))
    limited = -LIMITED_FOR_S
    while True:
        try:
            request, files = channel.receive()
        except EOFError:
            sys.exit()
        if time.monotonic() > limited + LIMITED_FOR_S:
            _limit_memory()
            limited = time.monotonic()
        reply = _answered(partial(answer, request, files))
        try:
            channel.send(reply)
        except OSError as error:
            channel.send(("error", EvaluationMemoryError.__name__, f"the results cannot be sent: {error.strerror}"))
        del request, reply


def _end_with_parent(descriptor: int) -> None:
    """Ends this process with the one that started it, also in the middle of a run that would never end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def _limit_memory() -> None:
    """Limits what this process may allocate to what it has and a share of what is left.

    RLIMIT_DATA counts memory that is this process's own: mapped files of weights, of any size, do not count.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = int(pages * resource.getpagesize() + MEMORY_SHARE * available_bytes())
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _anonymous_bytes() -> int:
    """The memory of this process that is no file's."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split())
    return (resident - shared) * resource.getpagesize()

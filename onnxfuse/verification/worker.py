"""A process beside this one in which models run, so that one that crashes, hangs or eats memory ends only that."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from onnxfuse.errors import OnnxfuseError
from onnxfuse.verification.cargo import Cargo
from onnxfuse.verification.channel import Channel
from onnxfuse.verification.sessions import (
    EvaluationCrashError,
    EvaluationError,
    EvaluationMemoryError,
    EvaluationTimeoutError,
    Options,
    Session,
)

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["RemoteSession", "Worker", "shared_worker", "value_of"]

# A run that is to be stopped is asked to, and is given so many seconds to hear it.
GRACE_S: Final = 2.0
START_LIMIT_S: Final = 120.0
# No `-m`, which would import whatever lies in the current folder.
_PROGRAM: Final = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "importlib.import_module(sys.argv[3]).serve(int(sys.argv[1]))"
)
# Also for numpy, whose threads make the start slow.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_MEANINGS: Final = {
    signal.SIGFPE: ", an integer division by 0 or of the least integer by -1",
    signal.SIGKILL: ", which is how the kernel ends a process where memory is short",
    signal.SIGSEGV: ", an access to memory that is not its own",
}

_ERRORS: Final = {error.__name__: error for error in (EvaluationError, EvaluationMemoryError, EvaluationTimeoutError)}


class Worker:
    """A process that loads and runs models. It is started when it is first needed, and again after it died.

    Attributes:
        program: The module that it runs: its function `serve`.
        starts: How often it was started.
        sessions: How many sessions it made, over all its lives.
        bytes_sent: How much was sent to it.
    """

    program: ClassVar[str] = "onnxfuse.verification.serving"

    def __init__(self) -> None:
        self.starts = 0
        self.sessions = 0
        self.bytes_sent = 0
        self._opened = 0
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._said = -1
        self._ready = False

    def start(self) -> Channel:
        """Starts the process, unless it runs, and does not wait for it; returns what leads to it.

        Raises:
            OnnxfuseError: It cannot be started.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is None and self._channel is not None:
                return self._channel
            self.stop()
            ours, its = socket.socketpair()
            # A file, since a pipe that nobody reads gets full.
            self._said = os.memfd_create("onnxfuse", os.MFD_CLOEXEC)
            path = json.dumps([os.fspath(entry) for entry in sys.path])
            channel = self._channel = Channel(ours)
            with its:
                try:
                    self._process = subprocess.Popen(
                        [sys.executable, "-P", "-c", _PROGRAM, str(its.fileno()), path, self.program],
                        pass_fds=[its.fileno()],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=self._said,
                        env={**os.environ, **_ONE_THREAD},
                        start_new_session=True,  # Ctrl-C is for the program that the user runs
                    )
                except OSError as error:
                    self.stop()
                    raise OnnxfuseError(f"the process for running models cannot be started: {error}") from error
            self._ready = False
            self._opened = 0
            self.starts += 1
            return channel

    def stop(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            if self._said >= 0:
                os.close(self._said)
            self._channel, self._process, self._said = None, None, -1

    def ask(self, cargo: Cargo, name: str, *arguments: Any, timeout_s: float | None = None) -> Any:
        """Has something done with a model, which is sent if it is not there.

        Args:
            cargo: The model.
            name: What to do: a method of the server.
            arguments: What it takes.
            timeout_s: Seconds, to which a little is added, after which the process is ended.

        Returns:
            What the method returns.

        Raises:
            EvaluationTimeoutError: The time is up.
            EvaluationCrashError: The process died.
            EvaluationError: What a runtime says of the model.
            OnnxfuseError: The process cannot be started.
            RuntimeError: There is a fault in what runs in it.
        """
        with self._lock:
            reply = self.exchange((name, cargo.key, *arguments), (), timeout_s)
            if reply[0] == "unknown":
                try:
                    with cargo.packed(reply[1]) as (bundle, files, copied):
                        self.bytes_sent += copied
                        self.exchange(("give", cargo.key, bundle), files, timeout_s)
                except OSError as error:
                    raise EvaluationMemoryError(f"weights cannot be sent: {error.strerror}") from error
                reply = self.exchange((name, cargo.key, *arguments), (), timeout_s)
        value, opened = value_of(reply)
        self.sessions, self._opened = self.sessions + opened - self._opened, opened
        return value

    def exchange(
        self, request: tuple[Any, ...], files: Sequence[int] = (), timeout_s: float | None = None
    ) -> tuple[Any, ...]:
        """Sends a request and waits for the reply; raises as `ask`, but for what the reply itself says."""
        channel = self.start()
        try:
            if not self._ready:
                self._hear_from(channel)
            channel.send(request, files)
            reply, _ = channel.receive(None if timeout_s is None else time.monotonic() + timeout_s + GRACE_S)
        except TimeoutError:
            self.stop()
            message = f"it took longer than {timeout_s:.3g} s, and could only be stopped with its process"
            raise EvaluationTimeoutError(message) from None
        except (EOFError, ConnectionError):
            raise EvaluationCrashError(f"the process that ran the model {self._last_words()}") from None
        except OSError as error:
            self.stop()
            raise EvaluationMemoryError(f"inputs cannot be sent: {error.strerror}") from error
        except BaseException:
            # Ctrl-C, for one: a reply that comes later would be taken for that to another request.
            self.stop()
            raise
        self.bytes_sent, channel.bytes_sent = self.bytes_sent + channel.bytes_sent, 0
        answer: tuple[Any, ...] = reply
        return answer

    def _hear_from(self, channel: Channel) -> None:
        """Waits until the process is ready, the first time."""
        try:
            channel.receive(time.monotonic() + START_LIMIT_S)
        except (EOFError, ConnectionError, TimeoutError):
            why = self._last_words()
            raise OnnxfuseError(f"the process for running models ({sys.executable}) {why}") from None
        self._ready = True

    def _last_words(self) -> str:
        """How the process died, as the rest of a sentence in one line; ends what is left of it."""
        assert self._process is not None  # noqa: S101 - it was started
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            code = 0
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, 4096, max(size - 4096, 0)).decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        self.stop()
        if code < 0:
            number = signal.Signals(-code)
            how = f"died of {number.name}{_MEANINGS.get(number, '')}"
        else:
            how = f"ended with code {code}"
        return f"{how}; it said: {last[:300]}" if last else how


def value_of(reply: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a reply brings.

    Args:
        reply: Of `Worker.exchange`.

    Returns:
        What follows `done` in it.

    Raises:
        EvaluationError: It is what a runtime says of the model.
        RuntimeError: It tells of a fault in what runs in the process.
    """
    kind, *rest = reply
    if kind == "fault":
        raise RuntimeError(f"in the process for running models:\n{rest[0]}")
    if kind == "error":
        raise _ERRORS[rest[0]](rest[1])
    return tuple(rest)


class RemoteSession(Session):
    """A model loaded by the worker. It is loaded anew where the worker had to forget it."""

    def __init__(
        self, model: onnx.ModelProto, weights: Mapping[str, np.ndarray], options: Options, timeout_s: float | None
    ) -> None:
        self._cargo = Cargo(model, weights, options)
        self.backend, self.why_not_onnxruntime = shared_worker().ask(self._cargo, "load", timeout_s=timeout_s)

    def run(self, feeds: Mapping[str, Any], fetch: Sequence[str], timeout_s: float | None) -> list[Any]:
        """Runs it once, as `Evaluator.run` does."""
        worker = shared_worker()
        results: list[Any] = worker.ask(self._cargo, "run", dict(feeds), list(fetch), timeout_s, timeout_s=timeout_s)
        return results


_shared: Worker | None = None
_owner = 0


def shared_worker() -> Worker:
    """The worker of this process."""
    global _shared, _owner
    if _shared is None or _owner != os.getpid():
        # After a fork the other process goes on with the worker that was there.
        _shared, _owner = Worker(), os.getpid()
    return _shared


@atexit.register
def _stop() -> None:
    if _shared is not None and _owner == os.getpid():
        _shared.stop()

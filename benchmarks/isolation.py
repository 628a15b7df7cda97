"""Calls in a child process, each with a time limit: a tool that dies, hangs or takes all memory is a result."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["Child", "ChildError", "ChildRaisedError"]

STARTS_WITHIN: Final = 120.0


class ChildError(Exception):
    """A call that gave no result: it raised, took too long, or ended the process."""


class ChildRaisedError(ChildError):
    """The call raised; the process is still there."""


class Child:
    """A process that answers calls in turn; it is started again after it was ended.

    Attributes:
        limit_s: Seconds for a call.
        memory: Bytes of address space that the process may take.
    """

    def __init__(self, *, limit_s: float, memory: int = 8 << 30) -> None:
        """Starts nothing yet: the process starts at the first call."""
        self.limit_s = limit_s
        self.memory = memory
        self._process: Any = None
        self._connection: Any = None

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the process."""
        self._end()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of a module in the child.

        Raises:
            ChildError: There is no result; the message says why in one line.
            ChildRaisedError: The same, where the function raised.
        """
        if self._process is None:
            self._start()
        self._connection.send((function, arguments))
        try:
            if not self._connection.poll(self.limit_s):
                self._end()
                raise ChildError(f"not done after {self.limit_s:g} s")
            good, value = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            self._end()
            raise ChildError(f"the process ended with code {code}") from None
        if not good:
            raise ChildRaisedError(value)
        return value

    def _start(self) -> None:
        # Not forked: onnxruntime's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self.memory), daemon=True)
        self._process.start()
        other.close()
        if not self._connection.poll(STARTS_WITHIN):
            self._end()
            raise ChildError("the process did not start")
        self._connection.recv()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None


def _serve(connection: Any, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    sys.stdout = sys.stderr  # what a tool prints is none of the benchmark's results
    connection.send("ready")
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = True, function(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises is a result, and that it wants to end
            lines = [line for line in str(error).splitlines() if line.strip()] or [""]
            answer = False, f"{type(error).__name__}: {lines[0].strip()}"
        connection.send(answer)

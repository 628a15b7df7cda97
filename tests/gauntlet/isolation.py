"""Calls in a child process, because a runtime that meets a broken model may die instead of raising."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

__all__ = ["Child", "ChildDiedError"]

P = ParamSpec("P")
R = TypeVar("R")


class ChildDiedError(Exception):
    """The child process ended during a call."""


class Child:
    """One child process that answers calls in turn, and is started again when it dies.

    It stays alive between calls, so what a called function caches is still there at the next call.
    """

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Returns itself; the process starts at the first call."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the process."""
        self._stop()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a picklable function in the child.

        Raises:
            ChildDiedError: The child ended before it answered.
            Exception: Whatever the function raised.
        """
        if self._pool is None:
            # Not forked: onnxruntime's threads do not survive a fork.
            context: Any = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context)
        try:
            return self._pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            self._stop()
            raise ChildDiedError(f"the process died in {function.__name__}") from error

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

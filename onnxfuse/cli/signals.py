"""Signals that end a run as Ctrl-C does: what was begun is cleaned up first."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["raised", "which"]

# Who ends a program often says so twice: `timeout` to it and to its group, a terminal by its shell, a user by pressing
# Ctrl-C again. What comes so soon after the first must not break off the cleaning up; what comes later may.
SAME_END_S: Final = 1.0


@contextmanager
def raised() -> Iterator[None]:
    """Raises `KeyboardInterrupt` in the main thread when this process gets SIGINT, SIGTERM or SIGHUP: `which` tells.

    It is no class of its own, since there are who ask for just that one: subprocess, for one, which else waits for a child.

    Only where nobody has said what else is to happen: one that is ignored, as `nohup` ignores SIGHUP, stays so, and so
    does the handler of a program that this is a part of. At the end all is as it was.
    """
    latest = -math.inf

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal latest
        now = time.monotonic()
        if now - latest > SAME_END_S:
            latest = now
            raise KeyboardInterrupt(signal.Signals(number))

    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    if threading.current_thread() is not threading.main_thread():  # which cannot set any
        defaults = {}
    mine = {number: was for number, was in defaults.items() if signal.getsignal(number) is was}
    try:
        for number in mine:
            signal.signal(number, end)
        yield
    finally:
        for number, was in mine.items():
            signal.signal(number, was)


def which(interrupt: KeyboardInterrupt) -> signal.Signals:
    """Returns the signal that was raised; SIGINT where it is not said."""
    number = next(iter(interrupt.args), None)
    return number if isinstance(number, signal.Signals) else signal.SIGINT

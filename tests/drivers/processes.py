"""Whether processes are there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["is_gone", "is_running", "wait_for"]


def wait_for(done: Callable[[], bool]) -> None:
    """Waits until something is so, for a minute."""
    for _ in range(1200):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to be")


def is_running(number: int) -> bool:
    """Says whether a process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def is_gone(number: int) -> bool:
    """Says whether a process is not there any more."""
    return not is_running(number)

"""Running other people's programs: an argument list and no shell, ended with all that they have started.

But for what leaves their process group on purpose, as a daemon does with setsid.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final

from onnxfuse.errors import ToolError, UsageError

__all__ = ["check_script", "ending", "last_line", "run", "sourced", "tail"]

GRACE: Final = 2.0
"""Seconds between asking a program to end and ending it."""

LONGEST_LINE: Final = 1 << 16
TAIL: Final = 1 << 16

# The path is $0, so that the script sees no arguments; what it prints is not to be taken for the environment.
SOURCE: Final = 'source "$0" >&2 && exec /usr/bin/env -0'
# What bash sets for itself.
OF_BASH: Final = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})


def run(
    words: Sequence[str],
    *,
    name: str,
    log: Path,
    errors: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> int:
    """Runs a program in a process group of its own, which is gone when this returns or raises.

    What it starts belongs to that group, unless it leaves it on purpose (setsid): such a daemon is not ended.

    Args:
        words: The program and its arguments, as they are to reach it.
        name: What it is called, for messages.
        log: The file that takes what it prints.
        errors: The file that takes what it prints on stderr; None for `log` too.
        on_line: Is called with each line of `log`, without its end, soon after it was printed.
        timeout: Seconds after which the program is ended.
        environment: All its variables, PATH by which it is found included; None for those of this process.
        folder: Where it runs; None for the current folder.

    Returns:
        Its exit code; where a signal ended it, the negative number of the signal.

    Raises:
        ToolError: It cannot be run, or takes too long.
    """
    with contextlib.ExitStack() as files:
        # Files and no pipes: a pipe stays open with the children.
        out = files.enter_context(log.open("wb"))
        err = files.enter_context(errors.open("wb")) if errors is not None else subprocess.STDOUT
        printed = _Lines(files.enter_context(log.open("rb")), on_line)
        process: subprocess.Popen[bytes] | None = None
        try:
            with _signals_held_back():
                process = _started(words, name, out, err, environment, folder)
            if not _wait(process, timeout, printed.forward):
                raise ToolError(f"{name} took longer than {timeout:g} s, and was ended")
        finally:
            if process is not None:
                _end(process)
        printed.forward()
        printed.finish()
        return process.returncode


def sourced(script: Path, *, timeout: float | None = None) -> dict[str, str]:
    """Returns the environment that a script leaves behind: bash sources it and prints what its variables are.

    Args:
        script: A `set_env.sh`.
        timeout: Seconds that it may take.

    Raises:
        UsageError: There is no such file.
        ToolError: It fails, ends the shell, or takes too long.
    """
    check_script(script)
    name = f"source {script}"
    with tempfile.TemporaryDirectory(prefix="onnxfuse-environment-") as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        words = ["bash", "-c", SOURCE, str(script.absolute())]
        code = run(words, name=name, log=out, errors=err, timeout=timeout)
        if code:
            last = last_line(err)
            raise ToolError(f"{name} {ending(code)}" + (f": {last}" if last else ""))
        data = out.read_bytes()
    if not data:
        raise ToolError(f"{name} ends the shell: it has an exit or an exec, so it cannot be sourced")
    entries = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    found = {os.fsdecode(key): os.fsdecode(value) for key, _, value in entries}
    mine = {key: value for key, value in os.environ.items() if key in OF_BASH}
    return {key: value for key, value in found.items() if key not in OF_BASH} | mine


def check_script(script: Path) -> None:
    """Checks that there is a script to source.

    Raises:
        UsageError: There is no such file.
    """
    if not script.is_file():
        raise UsageError(f"{script}: no such file; it is the set_env.sh of the toolkit that is meant")


def ending(code: int) -> str:
    """Returns how a program ended: `ended with exit code 3`, `was ended by SIGSEGV`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def last_line(*files: Path) -> str:
    """Returns the last line that is not blank, of the first file that has one; empty where none has."""
    lines = (line.strip() for file in files for line in reversed(tail(file).splitlines()))
    return next(filter(None, lines), "")


def tail(file: Path) -> str:
    """Returns the end of what a program printed to a file."""
    with file.open("rb") as read:
        read.seek(max(0, file.stat().st_size - TAIL))
        return read.read().decode(errors="replace")


def _started(
    words: Sequence[str],
    name: str,
    out: BinaryIO,
    err: BinaryIO | int,
    environment: Mapping[str, str] | None,
    folder: Path | None,
) -> subprocess.Popen[bytes]:
    """Starts a program; see `run`."""
    try:
        return subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            process_group=0,
            env=environment,
            cwd=folder,
        )
    except OSError as error:
        raise ToolError(f"{name} cannot be run: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in an argument
        raise ToolError(f"{name} cannot be run: {error}") from error


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Lets the handlers of signals wait: one that raises while a program is started would leave nobody who could end it.

    Blocking the signals would not do: the program would inherit that. In other threads than the main one no handler runs.
    """
    came: list[int] = []
    over = False
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in signal.valid_signals()}
        handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def hold(number: int, frame: FrameType | None) -> None:
        # One that has its handler again may raise before the others have theirs; they are called from here then.
        if over:
            handlers[number](number, frame)
        else:
            came.append(number)

    try:
        for number in handlers:
            signal.signal(number, hold)
        yield
    finally:
        over = True
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in dict.fromkeys(came):
            signal.raise_signal(each)


class _Lines:
    """The lines of a file that grows."""

    def __init__(self, file: BinaryIO, on_line: Callable[[str], None] | None) -> None:
        self._file = file
        self._on_line = on_line
        self._rest = b""

    def forward(self) -> None:
        """Tells of the lines that have come since."""
        if self._on_line is None:
            return
        while data := self._file.read(LONGEST_LINE):
            lines = (self._rest + data).splitlines(keepends=True)
            # A carriage return may be the first half of an end.
            whole = lines[-1].endswith(b"\n") or len(lines[-1]) > LONGEST_LINE
            self._rest = b"" if whole else lines.pop()
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip("\r\n"))

    def finish(self) -> None:
        """Tells of what has no end."""
        if self._on_line is not None and self._rest:
            self._on_line(self._rest.decode(errors="replace").rstrip("\r\n"))
            self._rest = b""


def _wait(process: subprocess.Popen[bytes], timeout: float | None, look: Callable[[], None]) -> bool:
    """Waits until a program has ended, `look`ing now and then; says whether it did so in time."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.001
    while not _has_ended(process):
        left = pause if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return False
        look()
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.05)
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Says whether a program has ended, and leaves it a zombie: its number stays its own, and its group's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program, which is asked first, and what it has started."""
    try:
        if not _has_ended(process):
            _signal(process, signal.SIGTERM)
            _wait(process, GRACE, lambda: None)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Sends a signal to a program's group."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:  # the program has left its group, and nobody else is in it
        process.send_signal(number)

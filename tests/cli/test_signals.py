"""What ends a run from outside: it says so in one line, and leaves nothing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from onnxfuse.cli import signals
from onnxfuse.cli.main import main
from tests.cli.conftest import COMMAND, Cli, environment
from tests.drivers.fake_tools import left_over, save_model, set_up
from tests.drivers.processes import is_gone, wait_for

SAYS: Final = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}
ATC: Final = ("atc", "m.onnx", "--soc", "Ascend310P3", "--batch-size", "1")
AOE: Final = ("aoe", "m.onnx", "--job-type", "1", "--batch-size", "1")
BENCH: Final = ("bench", "m.onnx", "--backend", "benchmark", "--soc", "Ascend310P3")


@pytest.fixture
def work(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with a model in it, and compilers that never end; temporary files lie in it too."""
    set_up(monkeypatch, tmp_path, manner="hang")
    save_model(Path("m.onnx"))
    Path("temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    return folder


@contextmanager
def hanging(words: Sequence[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Runs a command until the compiler that it runs has begun to write."""
    more = {"stderr": subprocess.PIPE, **more}
    running = subprocess.Popen([*COMMAND, *words], env=environment(), text=True, **more)
    try:
        wait_for(Path("../pids").exists)
        yield running
    finally:
        running.kill()
        running.wait()
        if running.stderr is not None:
            running.stderr.close()


def nothing_is_left(folder: Path) -> None:
    assert not left_over(folder)
    assert not list((folder / "temporary").iterdir())
    for number in Path("../pids").read_text().split():
        wait_for(partial(is_gone, int(number)))


@pytest.mark.parametrize(
    ("words", "number"), [*((ATC, number) for number in SAYS), (AOE, signal.SIGTERM), (BENCH, signal.SIGTERM)]
)
def test_all_that_was_begun_is_ended(work: Path, words: Sequence[str], number: signal.Signals) -> None:
    with hanging(words) as running:
        assert any(path.suffix == ".om" for path in work.rglob("*"))
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert said.splitlines()[-1] == f"onnxfuse: {SAYS[number]}"
    assert "Traceback" not in said
    nothing_is_left(work)


def test_a_signal_that_comes_twice(work: Path) -> None:
    """As `timeout` sends it, and a terminal that is closed: the second must not break off what the first began."""
    with hanging(ATC) as running:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode in [128 + number for number in SAYS]
    assert "Traceback" not in said
    nothing_is_left(work)


def test_a_signal_that_is_ignored_stays_so(work: Path) -> None:
    """As nohup has it."""
    ignore: Callable[[], object] = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with hanging(ATC, preexec_fn=ignore) as running:
        # The lower number would be told first.
        running.send_signal(signal.SIGHUP)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    nothing_is_left(work)


def test_a_terminal_that_is_gone(work: Path) -> None:
    leader, follower = pty.openpty()
    with hanging(ATC, stdout=follower, stderr=follower) as running:
        os.close(follower)
        os.close(leader)  # whatever it writes now fails
        running.send_signal(signal.SIGHUP)
        assert running.wait(timeout=60) == 128 + signal.SIGHUP
    nothing_is_left(work)


# ---- whose handlers they are


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SAYS]


def test_handlers_are_as_they_were(cli: Cli) -> None:
    before = handlers()
    assert cli("passes").code == 0
    assert handlers() == before
    with pytest.raises(KeyboardInterrupt) as raised, signals.raised():
        assert not set(handlers()) & set(before)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.which(raised.value) is signal.SIGTERM
    assert type(raised.value) is KeyboardInterrupt
    assert [signals.which(KeyboardInterrupt(*words)) for words in ((), ("text",))] == 2 * [signal.SIGINT]
    assert handlers() == before


def test_a_handler_of_somebody_else_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    try:
        with signals.raised():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_one_that_comes_later_breaks_off_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now))
    with signals.raised():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        now += 2 * signals.SAME_END_S
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_who_goes_on_pressing_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now))
    raised = []
    with signals.raised():
        for press in range(9):
            now = 100 + 0.45 * press
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raised.append(press)
    assert raised == [0, 3, 6]


def test_in_a_thread(capfd: pytest.CaptureFixture[str]) -> None:
    """Where no handler can be set, the command runs all the same."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["passes", "merge-sliced"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert "merge-sliced" in capfd.readouterr().out

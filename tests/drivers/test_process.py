"""Running other people's programs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfuse import ToolError, UsageError
from onnxfuse.drivers import _process
from onnxfuse.drivers._process import ending, last_line, run, sourced
from tests.drivers.processes import is_gone, wait_for
from tests.profile import ASKED, EXAMPLES

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def python(code: str, *words: str) -> list[str]:
    """The words that run some Python."""
    return [sys.executable, "-c", code, *words]


@settings(EXAMPLES, max_examples=ASKED or 40)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_arguments_are_literal(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    folder = tmp_path_factory.mktemp("run")
    # cheaper than Python, and as literal
    assert run(["printf", "%s\\0", *words], name="it", log=folder / "log") == 0
    assert (folder / "log").read_bytes() == b"".join(os.fsencode(word) + b"\0" for word in words)


def test_lines_come_while_it_runs(tmp_path: Path) -> None:
    code = """
import sys, pathlib
print("one", flush=True)
while not pathlib.Path(sys.argv[1]).exists(): pass
print("two\\r\\nthree", file=sys.stderr, end="")
"""
    lines: list[str] = []

    def see(line: str) -> None:
        lines.append(line)
        (tmp_path / "go").touch()

    assert run(python(code, str(tmp_path / "go")), name="it", log=tmp_path / "log", on_line=see, timeout=60) == 0
    assert lines == ["one", "two", "three"]
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\r\nthree"


@settings(EXAMPLES, max_examples=ASKED or 40)
@given(st.lists(st.sampled_from(["a", "b" * 40_000, "\r", "\n", "\r\n", "ö", "\n\n"]), max_size=12))
def test_lines_are_those_of_the_log(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "text").write_text("".join(parts), newline="")
    lines: list[str] = []
    run(["cat", str(folder / "text")], name="cat", log=folder / "log", on_line=lines.append)
    text = "".join(parts).encode()
    if all(len(line) < _process.LONGEST_LINE for line in text.splitlines()):
        assert lines == [line.decode() for line in text.splitlines()]
    else:
        assert "".join(lines) == "".join(line.decode() for line in text.splitlines())


def test_stderr_of_its_own(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    assert run(python(code), name="it", log=tmp_path / "out", errors=tmp_path / "err") == 7
    assert (tmp_path / "out").read_text() == "out\n"
    assert last_line(tmp_path / "err", tmp_path / "out") == "err"


def test_environment_and_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "its-name").symlink_to("/bin/pwd")
    environment = {"PATH": str(tmp_path / "bin")}
    run(["its-name"], name="it", log=tmp_path / "log", environment=environment, folder=tmp_path)
    assert (tmp_path / "log").read_text() == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no-such-tool"], "it cannot be run: No such file or directory"),
        (["/"], "it cannot be run: Permission denied"),
        (["true", "a\0b"], "it cannot be run: embedded null byte"),
    ],
)
def test_what_cannot_be_run(tmp_path: Path, words: list[str], says: str) -> None:
    with pytest.raises(ToolError) as raised:
        run(words, name="it", log=tmp_path / "log")
    assert str(raised.value) == says


@pytest.mark.parametrize(
    ("code", "says"), [(0, "ended with exit code 0"), (-9, "was ended by SIGKILL"), (-63, "was ended by signal 63")]
)
def test_how_it_ended(code: int, says: str) -> None:
    assert ending(code) == says


# ---- nothing is left


FAMILY = """
import os, signal, subprocess, sys, time
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
if sys.argv[2] == "ends":
    sys.exit(0)
print("here", flush=True)
time.sleep(600)
"""


def gone(path: Path) -> None:
    """Waits until the processes whose numbers are in a file are no more."""
    for word in path.read_text().split():
        wait_for(partial(is_gone, int(word)))


@pytest.mark.parametrize("manner", ["obedient", "stubborn"])
def test_time_out(tmp_path: Path, manner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "GRACE", 0.2)
    with pytest.raises(ToolError, match=r"^it took longer than 2 s, and was ended$"):
        run(python(FAMILY, str(tmp_path / "pids"), manner), name="it", log=tmp_path / "log", timeout=2)
    gone(tmp_path / "pids")


def test_children_that_it_leaves(tmp_path: Path) -> None:
    assert run(python(FAMILY, str(tmp_path / "pids"), "ends"), name="it", log=tmp_path / "log") == 0
    gone(tmp_path / "pids")


def test_an_error_while_it_runs(tmp_path: Path) -> None:
    def fail(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError):
        run(python(FAMILY, str(tmp_path / "pids"), "obedient"), name="it", log=tmp_path / "log", on_line=fail)
    gone(tmp_path / "pids")


def test_ctrl_c(tmp_path: Path) -> None:
    def interrupt() -> None:
        wait_for((tmp_path / "pids").exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(python(FAMILY, str(tmp_path / "pids"), "obedient"), name="it", log=tmp_path / "log")
    thread.join()
    gone(tmp_path / "pids")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """When it comes the program is there, and nobody has got its number yet."""
    started: list[int] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            started.append(self.pid)
            signal.raise_signal(number)

    def end(number: int, _frame: FrameType | None) -> None:
        raise EndedError(number)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    before = signal.signal(number, end)
    try:
        with pytest.raises(EndedError):
            run(["sleep", "600"], name="it", log=tmp_path / "log")
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
    assert is_gone(*started)


class EndedError(Exception):
    """What the handlers of these tests raise."""


# The log may be open, and not yet held by anybody: it is closed all the same, with a warning.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_a_signal_at_any_time(tmp_path: Path) -> None:
    """From before the program is there until it runs: some of these come while it is started."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise EndedError

    before = signal.signal(signal.SIGALRM, end)
    mark = f"6{os.getpid()}.5"
    try:
        for microseconds in range(100, 4100, 40):
            with pytest.raises(EndedError):
                signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
                run(["sleep", mark], name="it", log=tmp_path / "log")
    finally:
        signal.signal(signal.SIGALRM, before)
    left = running(["sleep", mark])
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left


def running(words: Sequence[str]) -> list[int]:
    """The numbers of the processes that run a command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[:-1] == [os.fsencode(word) for word in words]:
                found.append(int(path.parent.name))
    return found


def test_in_another_thread(tmp_path: Path) -> None:
    """Where no handler can be set, and none runs."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(["true"], name="it", log=tmp_path / "log")))
    thread.start()
    thread.join()
    assert codes == [0]


# ---- set_env.sh


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "set_env.sh"
    path.write_text(text)
    return path


def test_a_set_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "as it was")
    monkeypatch.setenv("GONE", "soon")
    text = """
echo "PATH=/nonsense"
export PATH=/opt/tools/bin:$PATH
export LINES="one
two=3"
export HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export WORDS="$# arguments"
NOT_EXPORTED=1
unset GONE
cd /
"""
    found = sourced(script(tmp_path, text))
    assert found["PATH"].startswith("/opt/tools/bin:")
    assert found["LINES"] == "one\ntwo=3"
    assert found["HERE"] == str(tmp_path)
    assert found["WORDS"] == "0 arguments"
    assert found["KEPT"] == "as it was"
    assert not {"GONE", "NOT_EXPORTED"} & set(found)
    for name in ("PWD", "SHLVL", "_"):
        assert found.get(name) == os.environ.get(name)


def test_a_set_env_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b;$(touch hacked)'\n\""
    folder.mkdir()
    monkeypatch.chdir(folder)
    script(folder, "export A=1\n")
    assert sourced(Path("set_env.sh"))["A"] == "1"
    assert [path.name for path in folder.iterdir()] == ["set_env.sh"]


def test_what_a_set_env_replaces(tmp_path: Path) -> None:
    assert sourced(script(tmp_path, "export PATH=/only/this\n"))["PATH"] == "/only/this"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("false\n", " ended with exit code 1"),
        ("echo no toolkit here >&2; return 3\n", " ended with exit code 3: no toolkit here"),
        ("exit 4\n", " ended with exit code 4"),
        ("exit 0\n", " ends the shell: it has an exit or an exec, so it cannot be sourced"),
        ("kill -9 $$\n", " was ended by SIGKILL"),
    ],
)
def test_a_set_env_that_fails(tmp_path: Path, text: str, says: str) -> None:
    path = script(tmp_path, text)
    with pytest.raises(ToolError) as raised:
        sourced(path)
    assert str(raised.value) == f"source {path}{says}"


def test_a_set_env_with_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"ended with exit code \d+: .*line 1.*"):
        sourced(script(tmp_path, "if then\n"))


def test_a_set_env_that_waits(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="took longer than 0.5 s"):
        sourced(script(tmp_path, "sleep 600\n"), timeout=0.5)


@pytest.mark.parametrize("there", [False, True])
def test_no_set_env(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "set_env.sh"
    if there:
        path.mkdir()
    with pytest.raises(UsageError) as raised:
        sourced(path)
    assert str(raised.value) == f"{path}: no such file; it is the set_env.sh of the toolkit that is meant"

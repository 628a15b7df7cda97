"""What only a process of its own shows: what is imported, signals, pipes, terminals."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from onnxfuse import __version__
from onnxfuse.cli.main import main
from tests.cli.conftest import COMMAND, Cli, Outcome, environment, run_process
from tests.cli.models import save

HEAVY: Final = ("ml_dtypes", "numpy", "onnx", "onnx_ir", "onnxruntime", "tqdm", "torch")

PROBE: Final = """
import sys
from onnxfuse.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as done:
    code = done.code
heavy = {heavy!r}
print("loaded:", *sorted(heavy & {{name.partition(".")[0] for name in sys.modules}}), file=sys.stderr)
sys.exit(code)
"""


def loaded(*argv: str | Path) -> tuple[int, list[str]]:
    """Runs a command and returns its exit code and which heavy packages it imported."""
    done = run_process([sys.executable, "-c", PROBE.format(heavy=set(HEAVY)), *map(str, argv)])
    return done.code, done.err.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["apply", "--help"], ["verify", "--help"]])
def test_help_is_cheap(argv: list[str]) -> None:
    assert loaded(*argv) == (0, [])


def test_a_wrong_command_line_is_cheap(pair: Path) -> None:
    assert loaded("apply", pair, "-o", pair) == (2, [])
    assert loaded("apply", pair, "--nonsense") == (2, [])


def test_where_no_pass_can_match_neither_onnx_ir_nor_a_runtime_is_imported(relu: Path) -> None:
    code, packages = loaded("apply", relu, "-o", "out.onnx")
    assert code == 0
    assert "onnx" in packages
    assert not {"onnx_ir", "onnxruntime", "tqdm", "torch"} & set(packages)
    assert Path("out.onnx").read_bytes() == relu.read_bytes()


def test_without_verification_no_runtime_is_imported(pair: Path) -> None:
    code, packages = loaded("apply", pair, "-o", "out.onnx", "--verify", "structure")
    assert code == 0
    assert "onnxruntime" not in packages


def test_help(process: Cli) -> None:
    done = process("--help")
    assert (done.code, done.err) == (0, "")
    for word in ("apply", "verify", "diff", "passes", "inspect", "exit codes:", "  130  interrupted"):
        assert word in done.out


@pytest.mark.parametrize("command", ["apply", "verify", "diff", "passes", "inspect"])
def test_help_of_a_command(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: onnxfuse {command} ")
    assert err == ""


def test_version(process: Cli) -> None:
    assert process("--version").out == f"onnxfuse {__version__}\n"


def test_the_script_of_the_package() -> None:
    script = shutil.which("onnxfuse", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("onnxfuse is not installed in this environment, the checkout is on the path")
    assert run_process([script, "--version"]).out == f"onnxfuse {__version__}\n"


def test_a_run_from_end_to_end(process: Cli, pair: Path) -> None:
    done = process("apply", pair, "-o", "out.onnx", "--json")
    assert done.code == 0
    assert done.json["modified"] is True
    assert process("verify", pair, "out.onnx").code == 0


# ---- signals and pipes


def test_ctrl_c_leaves_nothing_behind(folder: Path, package: Path) -> None:
    argv = [*COMMAND, "apply", str(save("neg", folder)), "-o", "out.onnx", "-p", "wait-on-neg", "--json"]
    with subprocess.Popen(
        argv, env=environment(package), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stdout is not None
        assert running.stderr.readline() == "waiting\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert (out, err) == ("", "onnxfuse: interrupted\n")
    assert [path.name for path in folder.iterdir()] == ["neg.onnx"]


@pytest.mark.parametrize("old", [None, b"what was here before"])
def test_ctrl_c_while_the_model_is_written(
    cli: Cli, pair: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    if old is not None:
        Path("out.onnx").write_bytes(old)
    before = sorted(folder.iterdir())

    def interrupt(_descriptor: int) -> None:
        # At this point all of it is in the temporary file.
        assert len(list(folder.iterdir())) == len(before) + 1
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    done = cli("apply", pair, "-o", "out.onnx")
    assert (done.code, done.err) == (130, "onnxfuse: interrupted\n")
    assert sorted(folder.iterdir()) == before
    assert old is None or Path("out.onnx").read_bytes() == old


def test_a_reader_that_goes_early_is_no_error(pair: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    for argv in (["passes"], ["apply", str(pair), "--dry-run", "--json"]):
        done = subprocess.run(
            [*COMMAND, *argv], env=environment(), stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
        )
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr
        assert b"Broken pipe" not in done.stderr
    os.close(write)


# ---- terminals


def on_a_terminal(
    argv: Sequence[str | Path], *, stdout: bool = False, more: Mapping[str, str] | None = None
) -> Outcome:
    """Runs a command whose stderr, or stdout, is a terminal of 100 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *map(str, argv)],
        env=environment(more=more),
        stdout=follower if stdout else subprocess.PIPE,
        stderr=subprocess.PIPE if stdout else follower,
    ) as running:
        os.close(follower)
        shown = b""
        while True:
            try:
                block = os.read(leader, 1 << 16)
            except OSError:  # Linux's way of saying that nobody is at the other end
                break
            shown += block
        other = running.stderr if stdout else running.stdout
        assert other is not None
        rest = other.read()
    os.close(leader)
    shown = shown.replace(b"\r\n", b"\n")
    out, err = (shown, rest) if stdout else (rest, shown)
    return Outcome(running.returncode, out, err.decode())


@pytest.fixture
def merged(cli: Cli, pair: Path) -> Path:
    """The model `pair`, rewritten: other bytes, so that there is something to compare."""
    assert cli("apply", pair, "-o", "out.onnx", "--verify", "off").code == 0
    return Path("out.onnx")


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}])
def test_a_progress_bar_on_a_terminal(pair: Path, merged: Path, more: dict[str, str]) -> None:
    done = on_a_terminal(["verify", pair, merged], more=more)
    assert done.code == 0
    assert "normal 0 at N=2:   0%|" in done.err
    assert "\x1b[" not in done.err
    # It is wiped before the answer, which stands at the beginning of a line.
    bar, _, answer = done.err.rpartition("\r")
    assert bar.endswith(" ")
    assert answer.startswith("equivalent (")


def test_no_progress_bar_where_none_is_wanted(pair: Path, merged: Path) -> None:
    done = on_a_terminal(["verify", pair, merged, "--no-progress"])
    assert done.code == 0
    assert done.err.startswith("equivalent (")
    assert "\r" not in done.err


def test_no_progress_bar_without_a_terminal(cli: Cli, pair: Path, merged: Path) -> None:
    done = cli("verify", pair, merged, "--progress")
    assert done.err.startswith("equivalent (")
    assert "\r" not in done.err


def test_no_model_on_a_terminal(pair: Path) -> None:
    done = on_a_terminal(["apply", pair, "-o", "-"], stdout=True)
    assert done.out == ""
    assert done.error == "-o - writes the model to stdout, which is a terminal: redirect it to a file or a pipe"

"""What the programs that make an `.om` have in common: it appears whole or not at all, and success is what three signs agree on."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxfuse.drivers._process import ending, last_line, run
from onnxfuse.drivers.error_codes import codes_in, explain
from onnxfuse.errors import ToolError, UsageError

__all__ = ["CompileError", "Compiled", "check_program", "compile_om", "target_of"]

# Newer ones name the file by the host, where parts of the model run there.
OM: Final = (".om", "_linux_x86_64.om", "_linux_aarch64.om")
LINES: Final = 100
CODES: Final = 4
SHOWN: Final = 8
OPERATOR: Final = re.compile(r"\bop\s*\[([^\[\]]+)\]", re.IGNORECASE)


class CompileError(ToolError):
    """A compiler did not make the model that was asked for.

    Attributes:
        codes: The numbers of its errors, in the order in which it printed them.
        log: The file with what it printed; None where it was not run.
    """

    def __init__(self, message: str, *, codes: tuple[str, ...] = (), log: Path | None = None) -> None:
        super().__init__(message if log is None else f"{message}; its log is {log}")
        self.codes = codes
        self.log = log


@dataclass(frozen=True)
class Compiled:
    """A model that was compiled.

    Attributes:
        om: The compiled model.
        seconds: How long it took.
        log: The file with what the compiler printed.
        warnings: What it warned of, explained; and which file of an earlier run may be taken for the model.
    """

    om: Path
    seconds: float
    log: Path
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        """The compiled model's size in bytes."""
        return self.om.stat().st_size


def compile_om(
    name: str,
    words_for: Callable[[str], list[str]],
    *,
    output: str | None,
    marker: str | None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    folder: Path | None = None,
) -> Compiled:
    """Runs a compiler. It writes to a folder of its own beside the target; what it made is renamed when all is well.

    Args:
        name: What it is called.
        words_for: Returns the command that writes to an output prefix.
        output: The prefix of what is to be written: the path without `.om`. It has to be given.
        marker: What it prints where it succeeds; None where nothing is known of that.
        environment: All its variables; None for those of this process.
        timeout: Seconds after which it is ended.
        on_line: Is called with each line that it prints.
        folder: Where it runs; paths have to be absolute then. None for the current folder.

    Raises:
        UsageError: The output is not given, or nothing can be written there.
        CompileError: It fails, takes too long, or its exit code, its marker and the file do not agree.
    """
    target = target_of(output, name)
    check_program(name, os.environ if environment is None else environment)
    seen = _Seen(marker)

    def see(line: str) -> None:
        seen.see(line)
        if on_line is not None:
            on_line(line)

    made_in = Path(tempfile.mkdtemp(prefix=".onnxfuse-", dir=target.parent))
    try:
        words = words_for(str(made_in / target.name))
        log = _log(target, name)
        start = time.monotonic()
        try:
            code = run(words, name=name, log=log, on_line=see, timeout=timeout, environment=environment, folder=folder)
        except ToolError as error:
            raise CompileError(str(error), codes=tuple(seen.codes("E")), log=log) from error
        seconds = time.monotonic() - start
        made = _made(made_in / target.name)
        why = _why_not(code, seen, made)
        if why:
            raise CompileError(_failure(name, why, seen, log), codes=tuple(seen.codes("E")), log=log)
        assert made is not None  # noqa: S101 - or there would be a reason why not
        warnings = [*seen.warnings(), *_older(made_in, target, made)]
        om = _moved(made_in, target.parent, made)
    finally:
        shutil.rmtree(made_in, ignore_errors=True)
    return Compiled(om, seconds, log, tuple(warnings))


class _Seen:
    """What of the lines that a compiler prints matters."""

    def __init__(self, marker: str | None) -> None:
        self._marker = marker
        self._lines: dict[str, str] = {}
        self._operators: dict[str, dict[str, None]] = {}
        self.succeeded = marker is None

    def see(self, line: str) -> None:
        """Looks at a line."""
        if self._marker is not None and self._marker in line:
            self.succeeded = True
        for code in codes_in(line):
            if len(self._lines) < LINES:
                self._lines.setdefault(code, line.strip())
            operators = self._operators.setdefault(code, {})
            if code in self._lines and len(operators) < LINES:
                operators.update(dict.fromkeys(OPERATOR.findall(line)))

    def codes(self, kind: str) -> list[str]:
        """The numbers of errors (`E`) or warnings (`W`), each once."""
        return [code for code in self._lines if code.startswith(kind)]

    def line(self, code: str) -> str:
        """The first line with that number."""
        return self._lines[code]

    def warnings(self) -> list[str]:
        """What each warning means, and the operators that its lines name."""
        found = []
        for code in self.codes("W"):
            names = list(self._operators[code])
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            found.append(explain(code) + (f" (at {', '.join(names[:SHOWN])}{more})" if names else ""))
        return found


def target_of(output: str | None, program: str) -> Path:
    """Returns where a compiled model goes, without `.om`.

    Args:
        output: The prefix that is asked for, with `.om` or without.
        program: The compiler, whose log goes there too.

    Raises:
        UsageError: It is not given, or nothing can be written there.
    """
    if output is None:
        raise UsageError("--output is missing: give the path of the compiled model without .om")
    target = Path(output.removesuffix(".om"))
    try:
        if not output or output.endswith("/") or target.is_dir() or not target.name:
            raise UsageError(f"--output {output}: names no file: give the path of the compiled model without .om")
        if not target.parent.is_dir():
            raise UsageError(f"--output {output}: the folder {target.parent} does not exist")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise UsageError(f"--output {output}: the folder {target.parent} cannot be written to")
        for place in (*_oms(target), _log(target, program)):
            if place.is_dir():
                raise UsageError(f"--output {output}: {place} is a folder, and a file of that name is to be written")
    except OSError as error:  # a name that is too long
        raise UsageError(f"--output {output}: {error.strerror or error}") from error
    return target


def _oms(prefix: Path) -> list[Path]:
    """Returns what a compiled model may be called."""
    return [prefix.with_name(prefix.name + end) for end in OM]


def _log(target: Path, program: str) -> Path:
    return target.with_name(f"{target.name}.{program}.log")


def check_program(program: str, environment: Mapping[str, str]) -> None:
    """Checks that there is a program, before the log of an earlier run is written over.

    Raises:
        CompileError: It is not on PATH.
    """
    path = environment.get("PATH")
    if path is None:  # `which` would look along the PATH of this process
        raise CompileError(
            f"{program} cannot be found: its environment has no PATH; see whether a set_env.sh unsets it"
        )
    if shutil.which(program, path=path) is None:
        raise CompileError(f"there is no {program} on PATH: give the toolkit's set_env.sh with --set-env")


def _made(prefix: Path) -> Path | None:
    """Returns the compiled model, where one that is not empty was written."""
    return next((path for path in _oms(prefix) if path.is_file() and path.stat().st_size), None)


def _older(folder: Path, target: Path, made: Path) -> list[str]:
    """Returns a warning for each file that may be taken for what was made: one of another release, or for another host.

    It stays: whether it is still of use, only the user knows.
    """
    return [
        f"{place} is of an earlier run, and {place.with_name(made.name)} of this one: remove what is of no use any more"
        for place in _oms(target)
        if place.exists() and not (folder / place.name).exists()
    ]


def _why_not(code: int, seen: _Seen, made: Path | None) -> str:
    """Returns why a run did not succeed; empty where it did."""
    if code:
        killed = " (by the system, where memory ran out)" if code == -9 else ""
        odd = ", though it said that all is well" if seen.succeeded and not killed and made is not None else ""
        return f"{ending(code)}{killed}{odd}"
    if not seen.succeeded:
        return "ended with exit code 0, but did not print that it succeeded"
    if made is None:
        return "ended with exit code 0, but wrote no .om that is not empty"
    return ""


def _failure(name: str, why: str, seen: _Seen, log: Path) -> str:
    codes = seen.codes("E")
    line = seen.line(codes[0]) if codes else last_line(log)
    told = "; ".join(filter(None, [line[:500], *(explain(code) for code in codes[:CODES])]))
    return f"{name} {why}" + (f": {told}" if told else "")


def _moved(folder: Path, target: Path, made: Path) -> Path:
    """Moves what was made to where it belongs, the compiled model last, and returns where that is.

    Raises:
        CompileError: Something is in its way.
    """
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path == made)
    places = {file: target / file.relative_to(folder) for file in files}
    for place in places.values():  # all of them before the first is moved
        for above in place.parents:
            if above.exists() and not above.is_dir():
                raise CompileError(f"{above} is in the way of {place}, which belongs to the compiled model: move it")
        if place.is_dir():
            raise CompileError(f"{place} is a folder, and a file of that name belongs to the compiled model: move it")
    for file, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    return target / made.name

"""Commands as members of a pipeline."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from onnxfuse.adapters.process import IN, OUT, run_on
from onnxfuse.errors import UsageError
from onnxfuse.pipeline.base import ModelPass, Numerics, format_options, format_value

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.rewriting.match import Facts

__all__ = ["ExecPass", "check_timeout"]


@dataclass(frozen=True)
class ExecPass(ModelPass):
    """Runs a command that reads one model and writes another.

    No shell runs it. The two files lie in folders that are made for the run; what the command prints goes to the log.

    Attributes:
        command: The program and its arguments, as a shell would take them; `{in}` and `{out}` stand for the paths of the
            file to read and of the file to write.
        timeout: Seconds after which the command, and all that it has started, is ended; None for no limit.
    """

    name: ClassVar[str] = "exec"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    command: str = field(repr=False)
    timeout: float | None = None

    def __post_init__(self) -> None:
        words = self._words()
        for mark in (IN, OUT):
            if not any(mark in word for word in words):
                what = "reads" if mark == IN else "writes"
                raise UsageError(f"{self}: {mark} must stand where the path of the model that the command {what} goes")
        if shutil.which(words[0]) is None:
            raise UsageError(f"{self}: there is no command {words[0]}")
        check_timeout(self.timeout, str(self))

    @classmethod
    def parse(cls, text: str, *, folder: Path | None = None, **options: float) -> Self:
        """Makes the pass that `exec:text` names.

        Raises:
            UsageError: It is no command, or `{in}` or `{out}` is missing.
        """
        del folder  # where the command lies is not looked for: it is run from the current folder
        return cls(text, **options)

    def __str__(self) -> str:
        """Returns the text that `Pipeline.parse` reads back."""
        return f"{self.name}:{format_value(self.command)}{format_options(self)}"

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Runs the command.

        Raises:
            ToolError: It cannot be run, does not end well, or writes no model.
        """
        del facts
        words = self._words()
        return run_on(model, words, name=Path(words[0]).name, timeout=self.timeout)

    def _words(self) -> list[str]:
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise UsageError(f"{self}: cannot be split into words: {error}") from error
        if not words:
            raise UsageError(f"{self}: a command is expected")
        return words


def check_timeout(seconds: float | None, where: str) -> None:
    """Checks a time limit.

    Raises:
        UsageError: It is none.
    """
    if seconds is not None and not 0 < seconds < 1e9:
        raise UsageError(f"{where}: timeout is a number of seconds above 0, not {seconds:g}")

"""What Ascend's two benchmark tools have in common: a device, and a run that is not believed unseen."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from onnxfuse.drivers import _process
from onnxfuse.drivers.performance import ONE_DEVICE, Card
from onnxfuse.errors import ToolError, UsageError

__all__ = ["Device", "Tool", "program_of"]

ERROR: Final = re.compile(r"\[ERROR\]\s*(.*)$")
TALK: Final = re.compile(r"\s*$|\s*-{4}|\s*\[(?:INFO|DEBUG)\]|\s*ave_throughputRate")
"""Lines that tell how a run goes, and never why it fails."""
CURES: Final = (
    (r"open device \S+ failed", "is there such a device, and does npu-smi info show it? Driver and firmware must fit"),
    (r"load model from file failed", "the .om is missing or corrupt, or was compiled for another chip or a newer CANN"),
    (r"tensorsize: \S+ filesize: \S+ not match", "a raw file has another size than the input, or a part of a batch"),
    (r"No module named '?(ais_bench|aclruntime)", "pip install its two wheels, aclruntime and ais_bench"),
    (r"lib\w+\.so\S*: cannot open shared object", "give the toolkit's set_env.sh with --set-env"),
)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where models run, and how.

    Attributes:
        number: Of the device.
        card: What carries it; its factor goes into the records.
        batch_size: Samples in one run: what the model was compiled for; None for the model's own.
        dims: Sizes of symbolic dims, by name or as `INPUT.AXIS`, for models that are compiled first.
        soc: The chip that `.onnx` files are compiled for by atc; None to take `.om` files only.
        set_env: The toolkit's `set_env.sh`, whose environment the tool gets.
        timeout: Seconds that one start of the tool may take; None for no limit.
        summaries: A folder that takes the summary of the last measurement of each model, in `result/`; None to keep none.
    """

    number: int = 0
    card: Card = ONE_DEVICE
    batch_size: int | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    soc: str | None = None
    set_env: Path | None = None
    timeout: float | None = None
    summaries: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.number <= 255:
            raise UsageError(f"a device's number is 0 to 255, not {self.number}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"a batch has 1 sample or more, not {self.batch_size}")


@dataclass(frozen=True)
class Tool:
    """A program that runs compiled models.

    Attributes:
        words: The program, and the arguments that always come first.
        device: Where it runs.
        environment: Its variables; None for those of this process.
    """

    words: tuple[str, ...]
    device: Device
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    @classmethod
    def on(cls, words: Sequence[str], device: Device) -> Tool:
        """A tool with the environment that its device asks for.

        Raises:
            UsageError: There is no such set_env.sh.
            ToolError: It fails, or the tool is there and no program.
        """
        if "/" in words[0] and Path(words[0]).is_file() and not os.access(words[0], os.X_OK):
            raise ToolError(f"{words[0]} may not be run: chmod u+x it")
        environment = None if device.set_env is None else _process.sourced(device.set_env, timeout=device.timeout)
        return cls(tuple(words), device, environment)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return " ".join((Path(self.words[0]).name, *self.words[1:]))

    def run(self, arguments: Sequence[str], folder: Path, model: Path) -> str:
        """Runs it in a folder; returns what it printed.

        Raises:
            ToolError: It cannot be run, takes too long, ends with another code than 0, or says that something failed.
        """
        log = folder / "log"
        code = _process.run(
            [*self.words, *arguments],
            name=self.name,
            log=log,
            timeout=self.device.timeout,
            environment=self.environment,
            folder=folder,
        )
        text = log.read_text(encoding="utf-8", errors="replace")
        said = [match[1] for line in text.splitlines() if (match := ERROR.search(line))]
        if code or said:
            raise ToolError(f"{self.name} {_process.ending(code)} on {model}{_why(said, text)}")
        return text


def program_of(path: Path) -> str:
    """A program that was named, as it is started in another folder; a bare name that is no file here is one of the PATH."""
    return str(path.absolute()) if len(path.parts) > 1 or path.is_file() else str(path)


def _why(said: Sequence[str], text: str) -> str:
    """What the tool said was wrong, and what would cure it, as the rest of a sentence."""
    others = (line.strip() for line in reversed(text.splitlines()) if not TALK.match(line))
    reason = (said[-1] if said else next(others, ""))[:300]
    cure = next((cure for pattern, cure in CURES if re.search(pattern, text)), "")
    return (f": {reason}" if reason else ", and did not say why") + (f" ({cure})" if cure else "")

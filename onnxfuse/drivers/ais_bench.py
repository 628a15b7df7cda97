"""`python3 -m ais_bench`: pure inference, and inference over folders of raw files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.compiled_model import CompiledModel
from onnxfuse.drivers.device import Device, Tool
from onnxfuse.drivers.result_folder import RESULT

if TYPE_CHECKING:
    from onnxfuse.drivers.info_files import Sample
    from onnxfuse.drivers.performance import Performance

__all__ = ["AisBench"]

COMMAND: Final = ("python3", "-m", "ais_bench")
OWN: Final = "ais_bench"
"""The folder of what the tool writes, in that of a run: under its own names, which may be those of other samples."""


@dataclass(frozen=True, kw_only=True)
class AisBench:
    """Runs compiled models with `ais_bench`.

    Attributes:
        device: Where.
        command: The program and what comes before its options.
    """

    device: Device = field(default_factory=Device)
    command: Sequence[str] = COMMAND

    name: Final = "ais_bench"
    rounds: Final = 20
    turns: Final = 4

    def __str__(self) -> str:
        return f"{' '.join(self.command)}, device {self.device.number}, {self.device.card}"

    def compile(self, model: Path) -> AisBenchModel:
        """Takes a compiled model; see `Backend.compile`."""
        return AisBenchModel(model, Tool.on(self.command, self.device))


class AisBenchModel(CompiledModel):
    """A model that `ais_bench` runs; see `Runnable`."""

    first = 0

    def run_pure(self, rounds: int, folder: Path) -> tuple[Performance, Path]:
        """Has it run so many times on inputs of the tool's own; see `CompiledModel.run_pure`."""
        # A name of our own: the tool does not take every name that a model may have.
        arguments = ["--loop", str(rounds), *self._written(folder, "pure")]
        text = self.tool.run([*self._common(), *arguments], folder, self.model)
        written = folder / OWN / "pure_summary.json"
        file = folder / f"{self.om.stem}_summary.json"
        return self.summary(text), written.rename(file) if written.is_file() else file

    def run_over(self, samples: Sequence[Sample], root: Path, folder: Path) -> Performance:
        """Runs it over samples; see `CompiledModel.run_over`."""
        inputs = _links(folder, root, samples)
        dumped = self.dumped(folder)
        arguments = ["--input", ",".join(inputs), *self._written(folder, dumped.name), "--outfmt", "BIN"]
        performance = self.summary(self.tool.run([*self._common(), *arguments], folder, self.model))
        dumped.mkdir()
        for number, sample in enumerate(samples):
            k = 0
            while (file := folder / OWN / dumped.name / f"{_name(number)}_{k}.bin").is_file():
                file.rename(dumped / f"{sample.stem}_{k}.bin")
                k += 1
        summary = folder / OWN / f"{dumped.name}_summary.json"
        if summary.is_file():
            summary.rename(folder / RESULT / summary.name)
        return performance

    def _written(self, folder: Path, name: str) -> list[str]:
        (folder / OWN).mkdir()
        return ["--output", OWN, "--output_dirname", name]

    def _common(self) -> list[str]:
        # Never --batchsize: the tool believes it unseen. Else it reads the batch out of the model, and prints it.
        return ["--model", str(self.om), "--device", str(self.tool.device.number)]


def _links(folder: Path, root: Path, samples: Sequence[Sample]) -> list[str]:
    """Puts a folder for each input beside the run, whose names sort as the samples stand in the dataset.

    The tool pairs files by their order, cuts names at their first dot, and separates folders by commas.
    """
    names = [f"input_{k}" for k in range(len(samples[0].files))]
    for k, name in enumerate(names):
        (folder / name).mkdir()
        for number, sample in enumerate(samples):
            (folder / name / f"{_name(number)}.bin").symlink_to(root / sample.files[k])
    return names


def _name(number: int) -> str:
    return f"sample{number:08d}"

"""`python3 -m ais_bench`: pure inference, and inference over folders of raw files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.backend import Inferred, Progress
from onnxfuse.drivers.compiled_model import CompiledModel
from onnxfuse.drivers.datasets import check_outputs, output_sizes, samples_of
from onnxfuse.drivers.device import Device, Tool
from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers.info_files import Sample
    from onnxfuse.drivers.performance import Performance

__all__ = ["AisBench"]

COMMAND: Final = ("python3", "-m", "ais_bench")
DUMPED: Final = "dumpOutput_device{}"


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
    """A model that `ais_bench` runs; see `Compiled`."""

    def measure(self, rounds: int) -> Performance:
        """Has it run so many times on inputs of the tool's own; see `Compiled.measure`."""
        with self.tool.folder() as folder:
            (folder / "result").mkdir()
            arguments = ["--loop", str(rounds), "--output", "result", "--output_dirname", "pure"]
            text = self.tool.run([*self._common(), *arguments], folder, self.model)
            for file in folder.glob("result/pure_summary.json"):
                file.rename(file.with_name(f"{self.om.stem}_summary.json"))
            return self.summary(text)

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        """Runs it over a dataset; see `Compiled.infer`.

        The outputs lie where `benchmark` puts them, and are numbered as this tool does, from 0 on.
        """
        samples = samples_of(dataset, self.graph, self.batch)
        if progress is not None:
            progress(self.model.name, 0, len(samples))
        dumped = DUMPED.format(self.tool.device.number)
        with self.tool.folder(output) as folder:
            inputs = _links(folder, dataset.resolve().parent, samples)
            (folder / "result").mkdir()
            arguments = ["--input", ",".join(inputs), "--output", "result", "--output_dirname", dumped]
            text = self.tool.run([*self._common(), *arguments, "--outfmt", "BIN"], folder, self.model)
            files = {sample.stem: _outputs(folder / "result" / dumped, n) for n, sample in enumerate(samples)}
            sizes = None if self.graph is None else output_sizes(self.graph.proto, self.batch)
            notes = check_outputs(files, sizes, self.tool.name)
            named = {
                stem: tuple(file.rename(file.with_name(f"{stem}_{k}.bin")) for k, file in enumerate(each))
                for stem, each in files.items()
            }
            performance = self.summary(text)
        place = output / "result" / dumped
        found = {stem: tuple(place / file.name for file in each) for stem, each in named.items()}
        return Inferred(place, found, 0, performance, notes)

    def _common(self) -> list[str]:
        device = self.tool.device
        return ["--model", str(self.om), "--device", str(device.number), "--batchsize", str(self.batch)]


def _links(folder: Path, root: Path, samples: Sequence[Sample]) -> list[str]:
    """Puts a folder for each input beside the run, whose names sort as the samples stand in the dataset.

    The tool pairs files by their order, cuts names at their first dot, and separates folders by commas.
    """
    names = []
    for k in range(len(samples[0].files)):
        (folder / f"input_{k}").mkdir()
        names.append(f"input_{k}")
        for n, sample in enumerate(samples):
            if Path(sample.files[k]).suffix.lower() != ".bin":
                raise UsageError(f"{sample.files[k]}: raw tensors (.bin) are taken, not pictures")
            (folder / f"input_{k}" / f"sample{n:08d}.bin").symlink_to(root / sample.files[k])
    return names


def _outputs(folder: Path, number: int) -> list[Path]:
    """The outputs of a sample, numbered from 0 on, as far as they are there one after the other."""
    found: list[Path] = []
    while (file := folder / f"sample{number:08d}_{len(found)}.bin").is_file():
        found.append(file)
    return found

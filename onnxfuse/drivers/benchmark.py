"""`benchmark.x86_64` of CANN 5: pure inference, and inference over a dataset."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.backend import Inferred, Progress
from onnxfuse.drivers.compiled_model import CompiledModel
from onnxfuse.drivers.datasets import check_outputs, output_sizes, samples_of
from onnxfuse.drivers.device import Device, Tool
from onnxfuse.errors import ToolError, UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers.info_files import Sample
    from onnxfuse.drivers.performance import Performance

__all__ = ["Benchmark"]

LINK: Final = "dataset"
"""The dataset's folder, from the folder of a run: a list has no names with spaces, and that folder's may have some."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Runs compiled models with CANN 5's `benchmark`.

    Attributes:
        device: Where.
        tool: The program, a file or a name on the PATH; None for `benchmark.x86_64`, by this machine's kind.
    """

    device: Device = field(default_factory=Device)
    tool: Path | None = None

    name: Final = "benchmark"
    rounds: Final = 20
    turns: Final = 4

    def __str__(self) -> str:
        return f"{self.program}, device {self.device.number}, {self.device.card}"

    @property
    def program(self) -> str:
        """The program, as it is started."""
        if self.tool is None:
            return f"benchmark.{platform.machine()}"
        # It is started in other folders; a bare name that is no file here is looked for on the PATH.
        named = len(self.tool.parts) > 1 or self.tool.is_file()
        return str(self.tool.absolute()) if named else str(self.tool)

    def compile(self, model: Path) -> BenchmarkModel:
        """Takes a compiled model; see `Backend.compile`."""
        return BenchmarkModel(model, Tool.on([self.program], self.device))


class BenchmarkModel(CompiledModel):
    """A model that `benchmark` runs; see `Compiled`."""

    def measure(self, rounds: int) -> Performance:
        """Has so many rounds of pure inference run; see `Compiled.measure`."""
        with self.tool.folder() as folder:
            text = self.tool.run([*self._common(), f"-round={rounds}"], folder, self.model)
            file = folder / "result" / f"PureInfer_perf_of_{self.om.stem}_in_device_{self.tool.device.number}.txt"
            if "ave_throughputRate" not in text and file.is_file():
                text = file.read_text(encoding="utf-8", errors="replace")
            return self.summary(text)

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        """Runs it over a dataset; see `Compiled.infer`."""
        samples = samples_of(dataset, self.graph, self.batch)
        if progress is not None:
            progress(self.model.name, 0, len(samples))
        number = self.tool.device.number
        with self.tool.folder(output) as folder:
            (folder / LINK).symlink_to(dataset.resolve().parent)
            lines = [_line(index, name, sample) for index, sample in enumerate(samples) for name in sample.files]
            (folder / "dataset.info").write_text("".join(lines), encoding="utf-8")
            arguments = [*self._common(), "-input_text_path=./dataset.info", "-output_binary=True", "-useDvpp=False"]
            self.tool.run([*arguments, *self._kind(samples[0])], folder, self.model)
            file = folder / "result" / f"perf_{self._model_type(samples[0])}_batchsize_{self.batch}_device_{number}.txt"
            if not file.is_file():
                raise ToolError(f"{self.tool.name} ended on {self.model}, and wrote no result/{file.name}")
            performance = self.summary(file.read_text(encoding="utf-8", errors="replace"), len(samples))
            dumped = folder / "result" / f"dumpOutput_device{number}"
            files = {sample.stem: _outputs(dumped, sample.stem) for sample in samples}
            sizes = None if self.graph is None else output_sizes(self.graph.proto, self.batch)
            notes = check_outputs(files, sizes, self.tool.name)
        place = output / "result" / dumped.name
        found = {stem: tuple(place / file.name for file in each) for stem, each in files.items()}
        return Inferred(place, found, 1, performance, notes)

    def _common(self) -> list[str]:
        return [f"-om_path={self.om}", f"-device_id={self.tool.device.number}", f"-batch_size={self.batch}"]

    def _model_type(self, sample: Sample) -> str:
        """What reads the inputs: pictures and what stands for them, or anything else."""
        return "vision" if sample.size is not None else "bert"

    def _kind(self, sample: Sample) -> list[str]:
        kind = [f"-model_type={self._model_type(sample)}"]
        if sample.size is not None:
            kind += [f"-input_width={sample.size[0]}", f"-input_height={sample.size[1]}"]
        return kind


def _line(index: int, name: str, sample: Sample) -> str:
    if Path(name).suffix.lower() != ".bin":
        raise UsageError(f"{name}: raw tensors (.bin) are taken, not pictures: how they are scaled is not in the list")
    size = "" if sample.size is None else f" {sample.size[0]} {sample.size[1]}"
    return f"{index} ./{LINK}/{name.removeprefix('./')}{size}\n"


def _outputs(folder: Path, stem: str) -> list[Path]:
    """The outputs of a sample, numbered from 1 on, as far as they are there one after the other."""
    found: list[Path] = []
    while (file := folder / f"{stem}_{len(found) + 1}.bin").is_file():
        found.append(file)
    return found

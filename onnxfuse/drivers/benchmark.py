"""`benchmark.x86_64` of CANN 5: pure inference, and inference over a dataset."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.compiled_model import CompiledModel
from onnxfuse.drivers.device import Device, Tool, program_of
from onnxfuse.drivers.result_folder import RESULT
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
        return f"benchmark.{platform.machine()}" if self.tool is None else program_of(self.tool)

    def compile(self, model: Path) -> BenchmarkModel:
        """Takes a compiled model; see `Backend.compile`."""
        return BenchmarkModel(model, Tool.on([self.program], self.device))


class BenchmarkModel(CompiledModel):
    """A model that `benchmark` runs; see `Runnable`."""

    first = 1

    def __init__(self, model: Path, tool: Tool) -> None:
        super().__init__(model, tool)
        if self.batch is None:
            raise UsageError(f"{model}: how many samples one run takes has to be said to benchmark: give --batch-size")

    def run_pure(self, rounds: int, folder: Path) -> tuple[Performance, Path]:
        """Has so many rounds of pure inference run; see `CompiledModel.run_pure`."""
        text = self.tool.run([*self._common(), f"-round={rounds}"], folder, self.model)
        file = folder / RESULT / f"PureInfer_perf_of_{self.om.stem}_in_device_{self.tool.device.number}.txt"
        if "ave_throughputRate" not in text and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
        return self.summary(text), file

    def run_over(self, samples: Sequence[Sample], root: Path, folder: Path) -> Performance:
        """Runs it over samples; see `CompiledModel.run_over`."""
        first = samples[0]
        for sample in samples:
            if sample.size != first.size:
                raise UsageError(f"{sample.files[0]}: has not the width and height of {first.files[0]} in the list; benchmark "
                                 "takes one for all raw tensors")  # fmt: skip
        kind = "vision" if first.size is not None else "bert"  # pictures and what stands for them, or anything else
        (folder / LINK).symlink_to(root)
        lines = [_line(index, name, sample) for index, sample in enumerate(samples) for name in sample.files]
        (folder / "dataset.info").write_text("".join(lines), encoding="utf-8")
        arguments = [*self._common(), "-input_text_path=./dataset.info", "-output_binary=True", "-useDvpp=False"]
        arguments += [f"-model_type={kind}"]
        arguments += [] if first.size is None else [f"-input_width={first.size[0]}", f"-input_height={first.size[1]}"]
        self.tool.run(arguments, folder, self.model)
        file = folder / RESULT / f"perf_{kind}_batchsize_{self.batch}_device_{self.tool.device.number}.txt"
        if not file.is_file():
            raise ToolError(f"{self.tool.name} ended on {self.model}, and wrote no {RESULT}/{file.name}")
        return self.summary(file.read_text(encoding="utf-8", errors="replace"), len(samples))

    def _common(self) -> list[str]:
        return [f"-om_path={self.om}", f"-device_id={self.tool.device.number}", f"-batch_size={self.batch}"]


def _line(index: int, name: str, sample: Sample) -> str:
    size = "" if sample.size is None else f" {sample.size[0]} {sample.size[1]}"
    return f"{index} ./{LINK}/{name.removeprefix('./')}{size}\n"

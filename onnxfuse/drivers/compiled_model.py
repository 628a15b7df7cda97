"""A model compiled for a device, as both benchmark tools run it."""

from __future__ import annotations

import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from onnxfuse.drivers import atc
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.shape_grammar import ANY
from onnxfuse.drivers.backend import Inferred, Progress
from onnxfuse.drivers.datasets import check_inputs, check_outputs, output_sizes, samples_of
from onnxfuse.drivers.device import Device, Tool
from onnxfuse.drivers.result_folder import RESULT, keep, new_result, writing
from onnxfuse.drivers.summaries import parse
from onnxfuse.errors import ToolError, UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers.info_files import Sample
    from onnxfuse.drivers.performance import Performance
    from onnxfuse.verification.eval_model import EvalModel

__all__ = ["CompiledModel"]


class CompiledModel(ABC):
    """What `Runnable` asks for, but for the two runs themselves.

    Attributes:
        first: The number that the tool gives the first output.
        model: The file that the user named.
        om: The compiled model.
        tool: What runs it.
        graph: The ONNX model that it was compiled from, where that is known: for checks of files.
        batch: Samples in one run; None where only the tool knows.
        inputs: Empty: the tools fill inputs by themselves when they measure.
    """

    first: ClassVar[int]

    def __init__(self, model: Path, tool: Tool) -> None:
        """Takes an `.om`, or compiles an `.onnx`.

        Raises:
            ModelError: It cannot be read.
            UsageError: It is neither, or what the device asks for does not fit it.
            CompileError: atc does not compile it; its log is kept.
        """
        device = tool.device
        self.model = model
        self.tool = tool
        self.graph: EvalModel | None = None
        self.batch: int | None = device.batch_size
        self.inputs: Mapping[str, str] = {}
        self._made: Path | None = None
        if model.suffix == ".om":
            if not model.is_file():
                raise UsageError(f"{model}: no such file")
            if device.dims or device.soc is not None:
                raise UsageError(f"{model}: is compiled: sizes of dims and the chip are in it")
            self.om = model.absolute()
        elif device.soc is None:
            raise UsageError(
                f"{model}: {tool.name} runs compiled models: make an .om of it with onnxfuse atc, or give the chip (--soc)"
            )
        else:
            self.graph, options, self.batch = _options(model, device, device.soc)
            self._made = Path(tempfile.mkdtemp(prefix="onnxfuse-om-"))
            name = re.sub(r"[^\w.-]", "_", f"{model.stem}_bs{self.batch}", flags=re.ASCII)
            output = replace(options, output=str(self._made / name))
            try:
                self.om = atc.run(output, environment=tool.environment, timeout=device.timeout, folder=self._made).om
            except BaseException as error:
                # A failure keeps its log, which lies there; what is not atc's, Ctrl-C for one, leaves nothing.
                if not isinstance(error, atc.CompileError) or error.log is None:
                    self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the `.om`, where it was made for this; nothing runs between two runs."""
        if self._made is not None:
            shutil.rmtree(self._made)
            self._made = None

    def measure(self, rounds: int) -> Performance:
        """Has the tool run it on inputs of its own; see `Runnable.measure`."""
        with tempfile.TemporaryDirectory(prefix="onnxfuse-run-") as name:
            performance, report = self.run_pure(rounds, Path(name))
            if self.tool.device.summaries is not None:
                if not report.is_file():
                    raise ToolError(f"{self.tool.name} ended on {self.model}, and wrote no summary that could be kept")
                keep(report.read_bytes(), self.tool.device.summaries, report.name)
        return performance

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        """Has the tool run it over a dataset; see `Runnable.infer`."""
        samples = samples_of(dataset)
        for sample in samples:
            for file in sample.files:
                if Path(file).suffix.lower() != ".bin":
                    raise UsageError(f"{dataset}: {file}: raw tensors (.bin) are taken, not pictures: how they are scaled is "
                                     "not in the list")  # fmt: skip
        check_inputs(samples, self.graph, self.batch)
        if progress is not None:
            progress(self.model.name, 0, len(samples))
        with new_result(output) as folder:
            with writing(output):  # what is read of the dataset, the tool reads
                performance = self.run_over(samples, dataset.resolve().parent, folder)
            files = {sample.stem: self._outputs(folder, sample.stem) for sample in samples}
            sizes = None
            if self.graph is not None and self.batch is not None:
                sizes = output_sizes(self.graph.proto, self.batch)
            notes = check_outputs(files, sizes, self.tool.name)
        place = self.dumped(output)
        found = {stem: tuple(place / file.name for file in each) for stem, each in files.items()}
        return Inferred(place, found, self.first, performance, notes)

    @abstractmethod
    def run_pure(self, rounds: int, folder: Path) -> tuple[Performance, Path]:
        """Runs the tool in an empty folder for pure inference; returns the figures, and the summary that it should have left.

        Raises:
            ToolError: It fails, or tells no figures.
        """

    @abstractmethod
    def run_over(self, samples: Sequence[Sample], root: Path, folder: Path) -> Performance:
        """Runs the tool in a folder over samples, and leaves the outputs in `dumped(folder)` as `<stem>_<k>.bin`.

        Args:
            samples: Raw files.
            root: Where they lie.
            folder: Empty but for `result/`.

        Raises:
            ToolError: It fails, or tells no figures.
        """

    def dumped(self, folder: Path) -> Path:
        """Where the outputs lie, of a run in a folder."""
        return folder / RESULT / f"dumpOutput_device{self.tool.device.number}"

    def _outputs(self, folder: Path, stem: str) -> list[Path]:
        """The outputs of a sample, as far as they are there one after the other."""
        found: list[Path] = []
        while (file := self.dumped(folder) / f"{stem}_{self.first + len(found)}.bin").is_file():
            found.append(file)
        return found

    def summary(self, text: str, samples: int | None = None) -> Performance:
        """Reads what the tool reported.

        Raises:
            ToolError: There is no summary in it.
        """
        try:
            return parse(text, batch=self.batch, samples=samples, card=self.tool.device.card, name="the report")
        except UsageError as error:
            raise ToolError(
                f"{self.tool.name} ended on {self.model}, and its figures cannot be read: {error}"
            ) from error


def _options(model: Path, device: Device, soc: str) -> tuple[EvalModel, AtcOptions, int]:
    """What atc gets for a model; with its graph, and the batch that it is compiled for."""
    from onnxfuse.drivers.atc.model import input_shapes
    from onnxfuse.model_io import open_model
    from onnxfuse.pipeline.evaluable import evaluable_before
    from onnxfuse.verification.eval_model import without_data

    graph = evaluable_before(open_model(model))
    stripped = without_data(graph)
    if stripped:
        raise UsageError(
            f"{model}: the model carries no weights ({stripped}, for one): onnxfuse fill gives it random ones"
        )
    first = next(iter(input_shapes(graph.proto, dims=device.dims)), None)
    symbolic = first is not None and first.dims[:1] == (ANY,)
    batch_size = 1 if device.batch_size is None and symbolic else device.batch_size
    shapes = input_shapes(graph.proto, batch_size=batch_size, dims=device.dims)
    for shape in shapes:
        if ANY in shape.dims:
            raise UsageError(
                f"{model}: input {shape.name} has symbolic dims, {list(shape.dims)}: give sizes with --dim"
            )
    options = AtcOptions.from_model(str(model.absolute()), soc_version=soc, batch_size=batch_size, dims=device.dims)
    batch = shapes[0].dims[0] if shapes and shapes[0].dims else 1
    assert isinstance(batch, int)  # noqa: S101 - what a model tells is a size or ANY
    return graph, options, batch

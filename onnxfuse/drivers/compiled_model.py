"""A model compiled for a device, as both benchmark tools run it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from onnxfuse.drivers import atc
from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.device import Device, Tool
from onnxfuse.drivers.shape_grammar import ANY
from onnxfuse.drivers.summaries import parse
from onnxfuse.errors import ToolError, UsageError

if TYPE_CHECKING:
    from onnxfuse.drivers.performance import Performance
    from onnxfuse.verification.eval_model import EvalModel

__all__ = ["CompiledModel"]


class CompiledModel:
    """What `Compiled` asks for, but for the two runs themselves.

    Attributes:
        model: The file that the user named.
        om: The compiled model.
        tool: What runs it.
        graph: The ONNX model that it was compiled from, where that is known: for checks of files.
        batch: Samples in one run.
        inputs: Empty: the tools fill inputs by themselves when they measure.
    """

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
        self.inputs: Mapping[str, str] = {}
        self._made: Path | None = None
        if model.suffix == ".om":
            if not model.is_file():
                raise UsageError(f"{model}: no such file")
            if device.dims or device.soc is not None:
                raise UsageError(f"{model}: is compiled: sizes of dims and the chip are in it")
            self.om, self.batch = model.absolute(), device.batch_size or 1
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
                self.om = atc.run(output, environment=tool.environment, timeout=device.timeout).om
            except BaseException as error:
                if not isinstance(error, ToolError):  # whose log lies there; Ctrl-C, for one, leaves nothing
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

    def summary(self, text: str, samples: int | None = None) -> Performance:
        """Reads what the tool reported.

        Raises:
            ToolError: There is no summary in it.
        """
        try:
            return parse(text, batch=self.batch, samples=samples, card=self.tool.device.card, name=self.tool.name)
        except UsageError as error:
            raise ToolError(f"{self.tool.name} ended on {self.model}, and {error}") from error


def _options(model: Path, device: Device, soc: str) -> tuple[EvalModel, AtcOptions, int]:
    """What atc gets for a model; with its graph, and the batch that it is compiled for."""
    from onnxfuse.drivers.atc_model import input_shapes
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
    options = AtcOptions.from_model(str(model), soc_version=soc, batch_size=batch_size, dims=device.dims)
    batch = shapes[0].dims[0] if shapes and shapes[0].dims else 1
    assert isinstance(batch, int)  # noqa: S101 - what a model tells is a size or ANY
    return graph, options, batch

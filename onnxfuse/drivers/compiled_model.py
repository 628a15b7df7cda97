"""A model compiled for a device, as both benchmark tools run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from onnxfuse.drivers.device import Tool
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

    def __init__(self, model: Path, tool: Tool, *, graph: EvalModel | None = None, om: Path | None = None) -> None:
        self.model = model
        self.om = (om or model).absolute()
        self.tool = tool
        self.graph = graph
        self.batch = tool.device.batch
        self.inputs: Mapping[str, str] = {}
        if self.om.suffix != ".om":
            raise UsageError(f"{model}: {tool.name} runs compiled models: make an .om of it with onnxfuse atc")
        if not self.om.is_file():
            raise UsageError(f"{model}: no such file")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Does nothing: the tool is started anew for each run."""

    def summary(self, text: str, samples: int | None = None) -> Performance:
        """Reads what the tool reported.

        Raises:
            ToolError: There is no summary in it.
        """
        try:
            return parse(text, batch=self.batch, samples=samples, card=self.tool.device.card, name=self.tool.name)
        except UsageError as error:
            raise ToolError(f"{self.tool.name} ended on {self.model}, and {error}") from error

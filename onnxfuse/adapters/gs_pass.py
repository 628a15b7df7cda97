"""Functions over an `onnx_graphsurgeon.Graph` as members of a pipeline."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from onnxfuse.adapters.foreign import label_of, load_named
from onnxfuse.errors import MissingExtraError, UsageError
from onnxfuse.pipeline.base import ModelPass, Numerics, format_value

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.rewriting.match import Facts

__all__ = ["GsPass"]


@dataclass(frozen=True)
class GsPass(ModelPass):
    """Runs a function over an `onnx_graphsurgeon.Graph`.

    Large weights are read when the function reads their `values`, and not before. What graphsurgeon does not hold, it
    loses on nothing that the function leaves alone.

    Attributes:
        function: Takes a Graph, edits it in place or not, and returns nothing or a Graph.
        text: What names it in a pipeline; found out where it is not given.
    """

    name: ClassVar[str] = "gs"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING

    function: Callable[[Any], Any] = field(repr=False)
    text: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.text:
            object.__setattr__(self, "text", label_of(self.function))
        if isinstance(self.function, type) or not callable(self.function):
            raise UsageError(f"{self} is no function: one that takes an onnx_graphsurgeon.Graph is expected")
        if importlib.util.find_spec("onnx_graphsurgeon") is None:
            raise MissingExtraError("onnx-graphsurgeon", extra="graphsurgeon", purpose=f"for {self}")

    @classmethod
    def parse(cls, text: str, *, folder: Path | None = None) -> Self:
        """Makes the pass that `gs:text` names.

        Raises:
            UsageError: It cannot be imported, or is no function.
        """
        return cls(load_named(cls.name, text, folder), text)

    def __str__(self) -> str:
        """Returns the text that `Pipeline.parse` reads back, where text can name the function."""
        return f"{self.name}:{format_value(self.text)}"

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        """Runs the function.

        Raises:
            ToolError: It raised something, returned something else, or graphsurgeon cannot write what it made.
        """
        from onnxfuse.adapters.gs_graph import changed_by

        del facts
        return changed_by(self.function, model)

"""The kinds of models that come in and go out, told apart without importing what they were made with."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Kind", "kind_of", "with_model"]


class Kind(StrEnum):
    """What a model is held as."""

    PATH = "a path"
    BYTES = "bytes"
    PROTO = "an onnx.ModelProto"
    IR = "an onnx_ir.Model"
    GRAPHSURGEON = "an onnx_graphsurgeon.Graph"
    PROGRAM = "a torch.onnx.ONNXProgram"


# By the package and the name of their class: whoever holds one has imported it.
CLASSES = {
    ("onnx", "ModelProto"): Kind.PROTO,
    ("onnx_ir", "Model"): Kind.IR,
    ("onnx_graphsurgeon", "Graph"): Kind.GRAPHSURGEON,
    ("torch", "ONNXProgram"): Kind.PROGRAM,
}


def kind_of(model: object) -> Kind:
    """Returns what `model` is.

    Raises:
        UsageError: It is no kind of model that onnxfuse knows.
    """
    if isinstance(model, (str, os.PathLike)):
        return Kind.PATH
    if isinstance(model, (bytes, bytearray, memoryview)):
        return Kind.BYTES
    classes = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__]
    # A function of graphsurgeon is a graph to it, and no model.
    found = [CLASSES[name] for name in classes if name in CLASSES and ("onnx_graphsurgeon", "Function") not in classes]
    if not found:
        kinds = list(Kind)
        raise UsageError(
            f"{type(model).__module__}.{type(model).__qualname__} is no model: pass {', '.join(kinds[:-1])} or {kinds[-1]}"
        )
    return found[0]


def with_model(program: Any, model: ir.Model) -> Any:
    """Returns an ONNXProgram of the same export, with another model.

    Not a copy of the program: it may hold a session that runs the model that it was made with.
    """
    other = type(program)(model, program.exported_program)
    strategy = "_capture_strategy"
    if hasattr(program, strategy):
        setattr(other, strategy, getattr(program, strategy))
    return other

"""Opened models, for a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnxfuse.model_io import Opened

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.verification.eval_model import EvalModel

__all__ = ["evaluable_before", "evaluable_of"]


def evaluable_before(opened: Opened) -> EvalModel:
    """Returns the model as it came, for a runtime."""
    if opened.source is None:
        return evaluable_of(opened.model, opened)
    from onnxfuse.model_io.emit import evaluable
    from onnxfuse.model_io.emitted import emit_source
    from onnxfuse.verification.eval_model import EvalModel

    return EvalModel(*evaluable(emit_source(opened.source), _folder(opened.path)))


def evaluable_of(model: ir.Model, opened: Opened) -> EvalModel:
    """Returns an `onnx_ir.Model` for a runtime."""
    from onnxfuse.model_io.emit import emit, evaluable
    from onnxfuse.model_io.origin import graph_origin
    from onnxfuse.verification.eval_model import EvalModel

    origin = graph_origin(model.graph)
    path = opened.path or (origin.source.path if origin is not None and origin.source is not None else None)
    return EvalModel(*evaluable(emit(model), _folder(path)))


def _folder(path: Path | None) -> Path | None:
    return path.parent if path is not None else None

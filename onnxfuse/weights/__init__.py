"""Models without their weights, to be shared, and seeded random weights for them.

A stripped tensor keeps name, dims and data type, carries no data, and has the doc_string `stripped`. `onnx.load` reads
such a model; the ONNX checker and runtimes refuse it until it is filled. Names, shapes, metadata and small tensors stay:
who must not show these has to take them out too.

What stands for a weight is drawn from the seed and its name alone, at a scale by its use: it is the same whatever else
is in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfuse.model_io import ModelLike, open_model
from onnxfuse.model_io.emitted import emit_source
from onnxfuse.model_io.kinds import Kind
from onnxfuse.weights.filling import fill_source
from onnxfuse.weights.stripping import MIN_ELEMENTS, strip_source

if TYPE_CHECKING:
    from onnxfuse.model_io import Opened
    from onnxfuse.model_io.source import Source

__all__ = ["fill", "strip"]


def strip(model: ModelLike, *, min_elements: int = MIN_ELEMENTS, seed: int = 0) -> ModelLike:
    """Returns a model without its weights, as the kind that came in (for a path: an `onnx_ir.Model`).

    Float tensors lose their data unless they are known to say how the graph computes (the scales of a Resize);
    integers only where every use is that of a quantized weight, since all others may be indices, shapes or axes.
    External data is neither read nor referred to.

    Args:
        model: A model of any kind that onnxfuse takes; it is not changed.
        min_elements: Tensors of fewer elements keep their data.
        seed: What `fill` takes for this model; one that is not 0 is kept in its metadata, as `onnxfuse.seed`.

    Raises:
        ModelError: The model cannot be read.
        UsageError: `model` is no model, or a number is out of range.
    """
    opened = open_model(model)
    source, folders = _source(opened)
    return _as_given(strip_source(source, min_elements=min_elements, seed=seed, folders=folders).source, opened, {})


def fill(model: ModelLike, *, seed: int | None = None) -> ModelLike:
    """Returns a model in which what was stripped has random weights, as the kind that came in, as of `strip`.

    They keep activations at an ordinary scale, so that outputs are neither constant nor infinite, and a wrong rewrite
    shows: fan-in scaled normals for what is multiplied and summed, positive variances, gains near 1.

    Args:
        model: A model of any kind that onnxfuse takes; it is not changed.
        seed: Of all weights; None for the one in the model's metadata, or else 0.

    Raises:
        ModelError: The model cannot be read, or has a tensor without data that is no weight.
        UsageError: `model` is no model, or the seed is below 0.
    """
    opened = open_model(model)
    source, folders = _source(opened)
    return _as_given(fill_source(source, seed=seed).source, opened, folders)


def _source(opened: Opened) -> tuple[Source, Mapping[str, Path]]:
    """Returns the model as one that just came in, and where its external data lies, if not in its folder."""
    if opened.source is not None:
        return opened.source, {}
    emitted = opened.emitted(changed=False)
    return emitted.source(), emitted.folders


def _as_given(source: Source, opened: Opened, folders: Mapping[str, Path]) -> ModelLike:
    if opened.kind in (Kind.PROTO, Kind.BYTES):
        emitted = emit_source(source)
        return emitted.message() if opened.kind is Kind.PROTO else emitted.data()
    from onnxfuse.model_io.emit import set_folders
    from onnxfuse.model_io.origin import attach

    model = attach(source)
    set_folders(model, folders)
    opened.replace_working_model(model)
    return opened.result()

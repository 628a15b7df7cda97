"""Models in and out: whatever a user holds comes in, the same kind goes out, and what no rewrite touched stays as it was."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.model_io.kinds import Kind, kind_of, with_model

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.model_io.emitted import Emitted
    from onnxfuse.model_io.files import Saved
    from onnxfuse.model_io.source import Source

__all__ = ["ModelLike", "Opened", "copy_of", "load", "load_emitted", "open_model", "save"]

ModelLike = Any
"""A path, `bytes`, an `onnx.ModelProto`, an `onnx_ir.Model`, an `onnx_graphsurgeon.Graph` or a `torch.onnx.ONNXProgram`."""


@dataclass
class Opened:
    """A model that came in, ready to be looked at raw or to be changed.

    Attributes:
        kind: What it came as.
        source: Its protobuf; None where it came as an `onnx_ir.Model`, or as an ONNXProgram, which has one.
        given: The caller's object; never changed.
    """

    kind: Kind
    source: Source | None
    given: ModelLike
    _working: ir.Model | None = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """The file it came from."""
        return self.source.path if self.source is not None else None

    def as_source(self) -> Source:
        """Returns its protobuf: as it came, or as it would be written."""
        return self.source if self.source is not None else self.emitted(changed=False).source()

    @property
    def model(self) -> ir.Model:
        """The `onnx_ir.Model` to look at: the caller's own where one came, else the working one. Not to be changed."""
        if self.source is not None:
            return self.working_model()
        model: ir.Model = self.given.model if self.kind is Kind.PROGRAM else self.given
        return model

    def working_model(self) -> ir.Model:
        """Returns the `onnx_ir.Model` to rewrite: one, made on first use, and never the caller's own."""
        if self._working is None:
            self._working = copy_of(self.model) if self.source is None else _attached(self.source)
        return self._working

    def replace_working_model(self, model: ir.Model) -> None:
        """Takes `model` for the one to rewrite from here on."""
        self._working = model

    def may_contain(self, op_type: str) -> bool:
        """Says whether a node of that op_type can be in the model, from a look at the raw protobuf where there is one."""
        if self.source is not None:
            # NodeProto.op_type is field 4; the same bytes elsewhere only cost a look that finds nothing.
            name = op_type.encode()
            return b"\x22" + bytes([len(name)]) + name in self.source.light
        graphs = [*self.model.graphs(), *(function.graph for function in self.model.functions.values())]
        return any(node.op_type == op_type for graph in graphs for node in graph)

    def result(self) -> ModelLike:
        """Returns the working model as the kind that came in (for a path: an `onnx_ir.Model`)."""
        if self.kind in (Kind.PATH, Kind.IR):
            return self.working_model()
        if self.kind is Kind.PROGRAM:
            return with_model(self.given, self.working_model())
        emitted = self.emitted(changed=True)
        if self.kind is Kind.GRAPHSURGEON:
            from onnxfuse.model_io.graphsurgeon import graph_of

            return graph_of(emitted, self.given)
        return emitted.message() if self.kind is Kind.PROTO else emitted.data()

    def emitted(self, *, changed: bool) -> Emitted:
        """Returns the model in pieces, to be written: the working one (without one: the caller's), or as it came."""
        if not changed and self.source is not None:
            from onnxfuse.model_io.emitted import emit_source

            return emit_source(self.source)
        from onnxfuse.model_io.emit import emit

        return emit(self.model if self._working is None else self.working_model())

    def unchanged(self) -> ModelLike:
        """Returns the model as it came, as a copy where the caller could change it."""
        if self.kind is Kind.BYTES:
            return self.given
        if self.kind is Kind.PROTO:
            copy = type(self.given)()
            copy.CopyFrom(self.given)
            return copy
        if self.kind is Kind.GRAPHSURGEON:
            from onnxfuse.model_io.graphsurgeon import same_graph

            return same_graph(self.given)
        return self.result()


def open_model(model: ModelLike) -> Opened:
    """Takes a model of any kind.

    Raises:
        ModelError: It cannot be read: missing, empty, truncated, no ONNX model, newer than the installed onnx, or its
            external data is missing, short or outside its folder.
        UsageError: It is no kind of model that onnxfuse knows.
    """
    kind = kind_of(model)
    if kind in (Kind.IR, Kind.PROGRAM):
        return Opened(kind, None, model)
    if kind is Kind.GRAPHSURGEON:
        from onnxfuse.model_io.graphsurgeon import source_of

        return Opened(kind, source_of(model), model)
    from onnxfuse.model_io.source import Source

    if kind is Kind.PATH:
        return Opened(kind, _checked(Source.from_path(Path(os.fsdecode(model)))), model)
    if kind is Kind.BYTES:
        data = bytes(model)
        return Opened(kind, _checked(Source.from_buffer(memoryview(data))), data)
    return Opened(kind, _checked(Source.from_message(model)), model)


def _checked(source: Source) -> Source:
    from onnxfuse.model_io.external import check_external_data

    source.check()
    check_external_data(source)
    return source


def _attached(source: Source) -> ir.Model:
    from onnxfuse.model_io.origin import attach

    return attach(source)


def copy_of(model: ir.Model) -> ir.Model:
    """Returns a copy of `model` that shares its tensors."""
    try:
        copy = model.clone()
    except RuntimeError:
        # onnx_ir cannot clone a graph that reads a value it knows nothing of, as of a sparse initializer: written and
        # read again it stays what it is. Not for every model: this takes twice the time.
        from onnxfuse.model_io.emit import emit

        copy = load_emitted(emit(model))
    else:
        from onnxfuse.model_io.types import own_types

        own_types(copy)  # a clone shares them, and who sets an element type sets it in both
    return copy


def load_emitted(emitted: Emitted) -> ir.Model:
    """Reads a model that was about to be written.

    Raises:
        ModelError: It is no valid model.
    """
    from onnxfuse.model_io.emit import set_folders

    model = _attached(_checked(emitted.source()))
    set_folders(model, emitted.folders)
    return model


def load(model: ModelLike) -> ir.Model:
    """Returns `model` as an `onnx_ir.Model` whose weights stay where they are: mapped, not read.

    What nobody changes of it is written by `save` byte for byte as it came.

    Args:
        model: A path, `bytes`, an `onnx.ModelProto` or an `onnx_graphsurgeon.Graph` (whose large weights are shared:
            they must stay as they are), an `onnx_ir.Model` or a `torch.onnx.ONNXProgram` (of whose model a copy is
            returned).

    Raises:
        ModelError: It cannot be read.
        UsageError: It is no kind of model that onnxfuse knows.
    """
    return open_model(model).working_model()


def save(model: ModelLike, path: str | os.PathLike[str]) -> Saved:
    """Writes a model to a file: whole or not at all.

    External data is not copied where the file goes beside it; to another folder it is carried by the operating system.
    Over 2 GiB, protobuf's limit, the weights go to `<name>.data` beside the file.

    Args:
        model: A model of any kind that `load` takes.
        path: Where to.

    Returns:
        What was written, with notes on external data.

    Raises:
        ModelError: The model cannot be read.
        UsageError: `path` cannot be written.
    """
    from onnxfuse.model_io.files import write

    opened = open_model(model)
    return write(opened.emitted(changed=opened.source is None), Path(path))

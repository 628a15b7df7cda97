"""Models in and out: whatever a user holds comes in, the same kind goes out, and what no rewrite touched stays as it was."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse.model_io.emitted import Emitted
    from onnxfuse.model_io.files import Saved
    from onnxfuse.model_io.source import Source

__all__ = ["ModelLike", "Opened", "copy_of", "load", "open_model", "save"]

ModelLike = Any
"""A path, `bytes`, an `onnx.ModelProto` or an `onnx_ir.Model`."""


@dataclass
class Opened:
    """A model that came in, ready to be looked at raw or to be changed.

    Attributes:
        kind: What it came as: `path`, `bytes`, `proto` or `ir`.
        source: Its protobuf, for every kind but `ir`.
        given: The caller's object; never changed.
    """

    kind: str
    source: Source | None
    given: ModelLike
    _working: ir.Model | None = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """The file it came from."""
        return self.source.path if self.source is not None else None

    def working_model(self) -> ir.Model:
        """Returns the `onnx_ir.Model` to rewrite: one, made on first use, and never the caller's own."""
        if self._working is None:
            self._working = copy_of(self.given) if self.source is None else _attached(self.source)
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
        graphs = [*self.given.graphs(), *(function.graph for function in self.given.functions.values())]
        return any(node.op_type == op_type for graph in graphs for node in graph)

    def result(self) -> ModelLike:
        """Returns the working model as the kind that came in (for a path: an `onnx_ir.Model`)."""
        if self.kind in ("path", "ir"):
            return self.working_model()
        emitted = self.emitted(changed=True)
        return emitted.message() if self.kind == "proto" else emitted.data()

    def emitted(self, *, changed: bool) -> Emitted:
        """Returns the model in pieces, to be written: the working one (of kind `ir`: the caller's), or as it came."""
        if not changed and self.source is not None:
            from onnxfuse.model_io.emitted import emit_source

            return emit_source(self.source)
        from onnxfuse.model_io.emit import emit

        return emit(self.given if self.source is None and self._working is None else self.working_model())

    def unchanged(self) -> ModelLike:
        """Returns the model as it came, as a copy where the caller could change it."""
        if self.kind == "bytes":
            return self.given
        if self.kind == "proto":
            copy = type(self.given)()
            copy.CopyFrom(self.given)
            return copy
        return self.working_model()


def open_model(model: ModelLike) -> Opened:
    """Takes a model of any kind.

    Raises:
        ModelError: It cannot be read: missing, empty, truncated, no ONNX model, newer than the installed onnx, or its
            external data is missing, short or outside its folder.
        UsageError: It is no kind of model that onnxfuse knows.
    """
    import onnx

    from onnxfuse.model_io.source import Source

    if isinstance(model, (str, os.PathLike)):
        return Opened("path", _checked(Source.from_path(Path(os.fsdecode(model)))), model)
    if isinstance(model, (bytes, bytearray, memoryview)):
        data = bytes(model)
        return Opened("bytes", _checked(Source.from_buffer(memoryview(data))), data)
    if isinstance(model, onnx.ModelProto):
        return Opened("proto", _checked(Source.from_message(model)), model)
    if _is_ir_model(model):
        return Opened("ir", None, model)
    raise UsageError(
        f"{type(model).__module__}.{type(model).__qualname__} is no model: pass a path, bytes, an onnx.ModelProto or an "
        "onnx_ir.Model"
    )


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
        return model.clone()
    except RuntimeError:
        # onnx_ir cannot clone a graph that reads a value it knows nothing of, as of a sparse initializer: written and
        # read again it stays what it is. Not for every model: this takes twice the time.
        from onnxfuse.model_io.emit import emit, set_folders

        emitted = emit(model)
        copy = _attached(_checked(emitted.source()))
        set_folders(copy, emitted.folders)
        return copy


def _is_ir_model(model: object) -> bool:
    # Without importing onnx_ir: whoever holds one has imported it.
    return any(
        base.__module__.partition(".")[0] == "onnx_ir" and base.__name__ == "Model" for base in type(model).__mro__
    )


def load(model: ModelLike) -> ir.Model:
    """Returns `model` as an `onnx_ir.Model` whose weights stay where they are: mapped, not read.

    What nobody changes of it is written by `save` byte for byte as it came.

    Args:
        model: A path, `bytes`, an `onnx.ModelProto` (whose large weights are shared: it must stay as it is) or an
            `onnx_ir.Model` (of which a copy is returned).

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
        model: A path, `bytes`, an `onnx.ModelProto` or an `onnx_ir.Model`.
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

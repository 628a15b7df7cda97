"""Files: written whole or not at all, weights carried by the operating system, external data kept where it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError

from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import wire
from onnxfuse.model_io.emitted import Emitted
from onnxfuse.model_io.external import carry, check_external_data, external_tensors, reference
from onnxfuse.model_io.payload import GRAPH_INITIALIZER
from onnxfuse.model_io.source import PROTOBUF_LIMIT, Source
from onnxfuse.model_io.staging import Staging, write_pieces

__all__ = ["PROTOBUF_LIMIT", "Saved", "check_external_data", "external_tensors", "write"]

# onnx aligns external tensors to 4 KiB so that a runtime can map them.
ALIGNMENT: Final = 4096


@dataclass(frozen=True)
class Saved:
    """What `write` did.

    Attributes:
        path: The model's file.
        size: Its size, in bytes.
        notes: What a user should know: that external data was carried and how, that weights went to a file of their
            own.
    """

    path: Path
    size: int
    notes: tuple[str, ...] = ()


def write(
    emitted: Emitted,
    path: Path,
    *,
    source: Source | None = None,
    limit: int = PROTOBUF_LIMIT,
) -> Saved:
    """Writes a model, atomically; external data comes along where the folder is another one.

    Args:
        emitted: The model.
        path: Where to. A symbolic link is replaced by the file; what it names stays as it is.
        source: What the model was read from, where `emitted` does not know: its external data lies there.
        limit: A model of more bytes than this has its large initializers written to `<name>.data` beside it.

    Returns:
        What was done.

    Raises:
        UsageError: The destination cannot be written, or another file is in the way of a data file.
        ModelError: The external data is not there.
    """
    path = Path(path)
    _check_destination(path)
    if emitted.folder is None and source is not None:
        emitted = replace(emitted, folder=source.folder)
    try:
        with Staging() as staging:
            notes, locations = carry(emitted, path, staging)
            if emitted.size > limit:
                notes.append(_write_apart(emitted, path, staging, locations, limit))
            else:
                with staging.file(path) as file:
                    write_pieces(emitted.pieces(), file)
            if path.is_symlink():
                notes.append(f"{path.name} was a symbolic link and is a file now; {path.readlink()} is as it was")
            staging.commit()
        return Saved(path, path.stat().st_size, tuple(notes))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _check_destination(path: Path) -> None:
    if "\0" in str(path):
        raise UsageError(f"{str(path)!r}: is no name of a file: it has a null byte")
    try:
        if not path.parent.is_dir():
            raise UsageError(f"{path}: the folder {path.parent} does not exist")
        if not path.name or path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file in it")
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            # A rename would put a file in the place of the device or the pipe.
            raise UsageError(f"{path}: is no regular file; name one")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write_apart(emitted: Emitted, path: Path, staging: Staging, taken: Collection[str], limit: int) -> str:
    """Writes the large initializers to a file of their own, and the model that refers to them; returns a note."""
    location = f"{path.name}.data"
    count = 1
    while location in taken:
        count += 1
        location = f"{path.name}.data{count}"
    if os.path.lexists(path.with_name(location)) and location not in _locations(path):
        raise UsageError(
            f"{path.with_name(location)}: is in the way: the model is over {limit} bytes, and its weights go there: remove it, "
            "or choose another name"
        )
    replacing: dict[str, bytes] = {}
    with staging.file(path.with_name(location)) as data:
        for carried in emitted.carried:
            offset = -(-data.tell() // ALIGNMENT) * ALIGNMENT
            data.seek(offset)
            write_pieces([carried.payload.data], data)
            header = onnx.TensorProto.FromString(carried.payload.header)
            header.data_location = onnx.TensorProto.EXTERNAL
            length = carried.payload.data.size
            for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
                header.external_data.add(key=key, value=value)
            replacing[carried.name] = wire.field_bytes(GRAPH_INITIALIZER, header.SerializeToString())
    model = emitted.replaced(replacing)
    if model.size > limit:
        raise ModelError(
            f"{path}: the model has {model.size} bytes beside the large initializers of its main graph, and protobuf writes "
            f"no more than {limit}"
        )
    with staging.file(path) as file:
        write_pieces(model.pieces(), file)
    return f"the model is over {limit} bytes, protobuf's limit: its weights are in {location} beside it"


def _locations(path: Path) -> set[str]:
    """Returns the data files of the model that is at `path`; none where there is no model."""
    try:
        return {reference(tensor).location for tensor in external_tensors(Source.from_path(path).proto)}
    except (ModelError, DecodeError, UnicodeDecodeError):
        return set()

"""Files: written whole or not at all, weights carried by the operating system, external data kept where it is.

A model is written to a temporary file beside its destination, synced and renamed. The large initializers of a model
that came as a file go from that file to the new one by `copy_file_range`, without passing through Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import onnx

from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import wire
from onnxfuse.model_io.emit import Carried, Emitted
from onnxfuse.model_io.source import GRAPH_INITIALIZER, FilePayload, Source

__all__ = ["PROTOBUF_LIMIT", "Saved", "check_external_data", "external_tensors", "write"]

# A serialized protobuf message stays below 2 GiB: https://protobuf.dev/programming-guides/proto-limits/
PROTOBUF_LIMIT: Final = 2**31 - 1

# Linux's ioctl that makes a file share another's blocks; where the file system cannot, it fails at once.
FICLONE: Final = 0x40049409

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
        path: Where to.
        source: What the model was read from; its folder is where its external data lies.
        limit: A model of more bytes than this has its large initializers written to `<name>.data` beside it.

    Returns:
        What was done.

    Raises:
        UsageError: The destination cannot be written, or a data file of another model is in the way.
        ModelError: The external data is not there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file in it")
    notes: list[str] = []
    try:
        light = onnx.ModelProto.FromString(emitted.light())
        notes += _carry_external_data(light, path, source)
        if emitted.size > limit:
            with _replacing(path.with_name(path.name + ".data")) as data:
                model = _externalize(emitted, data, path.name + ".data")
            notes.append(
                f"the model is over {limit} bytes, protobuf's limit: its weights are in {path.name}.data beside it"
            )
            with _replacing(path) as file:
                file.write(model)
        else:
            with _replacing(path) as file:
                _write_chunks(emitted, file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Saved(path, path.stat().st_size, tuple(notes))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file that takes the place of `path` at the end, and leaves no trace if there is an error."""
    # A symbolic link is followed: the file it names is replaced, not the link.
    path = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_chunks(emitted: Emitted, file: BinaryIO) -> None:
    pending: FilePayload | None = None
    for chunk in emitted.chunks():
        payload = chunk.payload if isinstance(chunk, Carried) else None
        if pending is not None:
            if isinstance(payload, FilePayload) and payload.source is pending.source and payload.start == pending.end:
                # Neighbours go in one copy: usually all the weights of a model.
                pending = FilePayload(
                    pending.source, pending.start, payload.end, payload.data, payload.data_type, payload.file
                )
                continue
            _write_payload(pending, file)
            pending = None
        if isinstance(payload, FilePayload):
            pending = payload
        elif isinstance(chunk, Carried):
            file.write(chunk.payload.field())
        else:
            file.write(chunk)
    if pending is not None:
        _write_payload(pending, file)


def _write_payload(payload: FilePayload, file: BinaryIO) -> None:
    if payload.file is None:
        file.write(payload.field())
        return
    file.flush()
    copied = _copy_range(payload.file.number, payload.start, payload.end - payload.start, file.fileno())
    file.seek(0, os.SEEK_END)
    if copied < payload.size:
        # The kernel declines between some file systems; the mapped bytes are at hand.
        file.write(payload.source[payload.start + copied : payload.end])


def _copy_range(source: int, offset: int, size: int, destination: int) -> int:
    """Copies in the kernel; returns how many bytes it took."""
    copied = 0
    while copied < size:
        try:
            count = os.copy_file_range(source, destination, size - copied, offset + copied)
        except OSError:
            return copied
        if count == 0:
            return copied
        copied += count
    return copied


def copy_file(source: Path, destination: Path) -> str:
    """Copies a file atomically, the cheapest way the file system offers; returns the way, for a report."""
    with source.open("rb") as reader, _replacing(destination) as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError:
            size = reader.seek(0, os.SEEK_END)
            copied = _copy_range(reader.fileno(), 0, size, writer.fileno())
            if copied < size:
                reader.seek(copied)
                writer.seek(copied)
                while block := reader.read(1 << 20):
                    writer.write(block)
                return "copy"
            return "copy_file_range"
        return "reflink"


# ------------------------------------------------------------------------------------------------ external data


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields every tensor of `model` whose data is in another file, in subgraphs and functions too."""
    graphs: list[onnx.GraphProto] = [model.graph]
    nodes: list[Iterable[onnx.NodeProto]] = [function.node for function in model.functions]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from filter(_is_external, graph.initializer)
            for sparse in graph.sparse_initializer:
                yield from filter(_is_external, (sparse.values, sparse.indices))
            nodes.append(graph.node)
        for node in nodes.pop():
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs.extend(attribute.graphs)
                yield from filter(_is_external, (attribute.t, *attribute.tensors))


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def check_external_data(source: Source) -> None:
    """Checks that the external data of a model that came as a file is there, whole, and inside its folder.

    Raises:
        ModelError: A data file is missing or short, or lies outside the model's folder.
    """
    if source.path is None or b"location" not in source.light:
        return
    folder = Path(os.path.realpath(source.path.parent))
    sizes: dict[str, int] = {}
    for tensor in external_tensors(source.proto):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        where = f"{source.path}: tensor {tensor.name!r}"
        if location not in sizes:
            sizes[location] = _data_size(location, folder, where)
        try:
            offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        except ValueError as error:
            raise ModelError(f"{where}: offset or length of its external data is no number") from error
        if offset < 0 or length < 0 or offset + length > sizes[location]:
            raise ModelError(
                f"{where}: external data file {location} is too short: bytes {offset} to {offset + length} are asked "
                f"for, it has {sizes[location]}"
            )


def _data_size(location: str, folder: Path, where: str) -> int:
    if not location:
        raise ModelError(f"{where}: external data without a location")
    path = folder / location
    if Path(location).is_absolute() or not Path(os.path.realpath(path)).is_relative_to(folder):
        raise ModelError(f"{where}: external data file {location} is outside the model's folder: refused")
    if not path.is_file():
        raise ModelError(f"{where}: external data file {location} is missing in {folder}")
    return path.stat().st_size


def _carry_external_data(light: onnx.ModelProto, path: Path, source: Source | None) -> list[str]:
    """Copies the data files that `light` names to the folder of `path`, where that is another one."""
    locations: dict[str, None] = {}
    for tensor in external_tensors(light):
        locations.update({entry.value: None for entry in tensor.external_data if entry.key == "location"})
    if not locations:
        return []
    folder = Path(os.path.realpath(source.path)).parent if source is not None and source.path is not None else None
    target = Path(os.path.realpath(path)).parent
    if folder is None or folder == target:
        return [f"refers to the same external data: {', '.join(locations)}"] if folder is not None else []
    notes = []
    for location in locations:
        destination = target / location
        if destination.exists():
            if not filecmp.cmp(folder / location, destination, shallow=False):
                raise UsageError(
                    f"{destination}: another file of that name is there, and the model needs it for its external data: "
                    "choose another folder, or remove it"
                )
            notes.append(f"external data {location} is already there")
            continue
        destination.parent.mkdir(parents=True, exist_ok=True)
        notes.append(f"external data {location} carried by {copy_file(folder / location, destination)}")
    return notes


def _externalize(emitted: Emitted, data: BinaryIO, location: str) -> bytes:
    """Writes the large initializers to `data` and returns the model that refers to them."""
    replacing: dict[str, bytes] = {}
    for carried in emitted.carried:
        whole = carried.payload.field()
        header = onnx.TensorProto()
        header.ParseFromString(whole[next(wire.fields(whole)).payload :])
        raw = header.raw_data
        header.ClearField("raw_data")
        offset = -(-data.tell() // ALIGNMENT) * ALIGNMENT
        data.seek(offset)
        data.write(raw)
        header.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(len(raw)))):
            header.external_data.add(key=key, value=value)
        replacing[carried.name] = wire.field_bytes(GRAPH_INITIALIZER, header.SerializeToString())
    return emitted.light(replacing)

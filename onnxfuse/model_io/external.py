"""External data: the files that a model's tensors refer to, checked and carried along, never read into memory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

import onnx

from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io.check_tensors import shape_text
from onnxfuse.model_io.payload import data_bytes

if TYPE_CHECKING:
    from onnxfuse.model_io.emitted import Emitted
    from onnxfuse.model_io.source import Source
    from onnxfuse.model_io.staging import Staging

__all__ = ["EXTERNAL_MARK", "Reference", "carry", "check_external_data", "external_tensors", "reference"]

# TensorProto's data_location with the value EXTERNAL, as bytes: a model without them has no external data.
EXTERNAL_MARK: Final = b"\x70\x01"

BLOCK: Final = 1 << 20


class Reference(NamedTuple):
    """Where a tensor's data lies.

    Attributes:
        location: The file, relative to the model's folder.
        offset: Where in it the data begins.
        length: How long it is, if that is stated.
    """

    location: str
    offset: int
    length: int | None


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields every tensor of `model` whose data is in another file, wherever in the model it is."""
    graphs: list[onnx.GraphProto] = [model.graph]
    for training in model.training_info:
        graphs += [training.initialization, training.algorithm]
    nodes: list[Iterable[onnx.NodeProto]] = [function.node for function in model.functions]
    attributes = [attribute for function in model.functions for attribute in function.attribute_proto]
    while graphs or nodes or attributes:
        if graphs:
            graph = graphs.pop()
            yield from filter(_is_external, graph.initializer)
            for sparse in graph.sparse_initializer:
                yield from filter(_is_external, (sparse.values, sparse.indices))
            nodes.append(graph.node)
        if nodes:
            attributes += [attribute for node in nodes.pop() for attribute in node.attribute]
        for attribute in attributes:
            if attribute.HasField("g"):
                graphs.append(attribute.g)
            graphs.extend(attribute.graphs)
            yield from filter(_is_external, (attribute.t, *attribute.tensors))
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from filter(_is_external, (sparse.values, sparse.indices))
        attributes.clear()


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def reference(tensor: onnx.TensorProto) -> Reference:
    """Returns where an external tensor's data lies.

    Raises:
        ModelError: The location leaves the model's folder or is missing, or a number is none.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location or "\0" in location:
        raise ModelError(f"tensor {tensor.name!r}: external data without a location")
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts:
        raise ModelError(
            f"tensor {tensor.name!r}: external data file {location} is outside the model's folder: refused"
        )
    numbers = {}
    for key in ("offset", "length"):
        text = entries.get(key) or None
        if text is not None and not re.fullmatch(r"[0-9]{1,19}", text):
            raise ModelError(f"tensor {tensor.name!r}: the {key} of its external data is no number of bytes: {text!r}")
        numbers[key] = None if text is None else int(text)
    return Reference(location, numbers["offset"] or 0, numbers["length"])


def check_external_data(source: Source) -> None:
    """Checks that the external data of a model is there, whole, and inside its folder.

    Of a model that did not come as a file only what it says is checked: where its data is, is not known.

    Raises:
        ModelError: A data file is missing or short, cannot be read, or lies outside the model's folder.
    """
    if EXTERNAL_MARK not in source.light:
        return
    try:
        check_references(source.proto, lambda _: source.folder)
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}" if source.path else str(error)) from error


def check_references(model: onnx.ModelProto, folder_of: Callable[[str], Path | None]) -> list[str]:
    """Checks all references of `model` to external data; returns the locations, each once.

    Args:
        model: The model.
        folder_of: Returns the folder that a location is looked for in, or None where it is not known.

    Raises:
        ModelError: A data file is missing or short, cannot be read, or lies outside its folder.
    """
    sizes: dict[str, int | None] = {}
    for tensor in external_tensors(model):
        location, offset, length = reference(tensor)
        if location not in sizes:
            folder = folder_of(location)
            sizes[location] = None if folder is None else _data_size(location, folder, f"tensor {tensor.name!r}")
        wanted = data_bytes(tensor.data_type, tensor.dims)
        if wanted is None:
            raise ModelError(f"tensor {tensor.name!r}: its type and shape cannot be those of external data")
        if length is not None and length != wanted:
            raise ModelError(
                f"tensor {tensor.name!r}: its external data has {length} bytes, its shape {shape_text(tensor.dims)} asks for "
                f"{wanted}"
            )
        size = sizes[location]
        if size is not None and offset + wanted > size:
            raise ModelError(
                f"tensor {tensor.name!r}: external data file {location} is too short: bytes {offset} to "
                f"{offset + wanted} are asked for, it has {size}"
            )
    return list(sizes)


def _data_size(location: str, folder: Path, where: str) -> int:
    path = folder / location
    try:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(folder)):
            raise ModelError(f"{where}: external data file {location} is a link out of the model's folder: refused")
        if not real.is_file():
            raise ModelError(f"{where}: external data file {location} is missing in {folder}")
        status = real.stat()
        if not os.access(real, os.R_OK):
            raise ModelError(f"{where}: external data file {location} cannot be read: permission denied")
    except OSError as error:
        raise ModelError(f"{where}: external data file {location}: {error.strerror or error}") from error
    if status.st_nlink > 1:
        # onnx and onnx_ir do: such a name may have been made to get at the contents of somebody else's file.
        raise ModelError(f"{where}: external data file {location} has several names (hard links): refused; copy it")
    return status.st_size


# ------------------------------------------------------------------------------------------------ carrying


def carry(emitted: Emitted, path: Path, staging: Staging) -> tuple[list[str], set[str]]:
    """Copies the data files that a model refers to, where it goes to another folder than they are in.

    Args:
        emitted: The model.
        path: Where it goes.
        staging: What the copies are part of.

    Returns:
        Notes on what was done, and the locations that the model refers to.

    Raises:
        ModelError: The data is not there, or it is not known where it is.
        UsageError: A file of another content is in the way.
    """
    light = emitted.light()
    if EXTERNAL_MARK not in light:
        return [], set()
    target = path.parent

    def folder_of(location: str) -> Path:
        return emitted.folders.get(location) or emitted.folder or target

    try:
        locations = check_references(onnx.ModelProto.FromString(light), folder_of)
    except ModelError as error:
        if emitted.folder is None and not emitted.folders:
            raise ModelError(
                f"{path}: the model has external data, and it came without the folder that is in: pass its path, or save it "
                f"beside the data ({error})"
            ) from error
        raise ModelError(f"{path}: {error}") from error
    notes = []
    for location in locations:
        if path.absolute() == Path(os.path.normpath((target / location).absolute())) or _is_same(
            path, target / location
        ):
            raise UsageError(f"{path}: is the model's own external data: choose another name")
        notes.append(_carry_one(folder_of(location), target, location, staging))
    return notes, set(locations)


def _carry_one(folder: Path, target: Path, location: str, staging: Staging) -> str:
    if os.path.realpath(folder) == os.path.realpath(target):
        return f"refers to the same external data: {location}"
    destination = target / location
    if not Path(os.path.realpath(destination)).is_relative_to(os.path.realpath(target)):
        raise UsageError(f"{destination}: a link leads out of {target}: remove it, or choose another folder")
    if os.path.lexists(destination):
        if not destination.is_file() or not _same_content(folder / location, destination):
            raise UsageError(
                f"{destination}: another file of that name is there, and the model needs it for its external data: choose "
                "another folder, or remove it"
            )
        return f"external data {location} is already there"
    staging.make_folder(destination.parent)
    return f"external data {location} carried by {staging.copy(folder / location, destination)}"


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False


def _same_content(a: Path, b: Path) -> bool:
    # Not by filecmp: it remembers answers by size and time, and a file may change within the clock's step.
    if _is_same(a, b):
        return True
    if a.stat().st_size != b.stat().st_size:
        return False
    with a.open("rb") as first, b.open("rb") as second:
        while block := first.read(BLOCK):
            if block != second.read(BLOCK):
                return False
    return True

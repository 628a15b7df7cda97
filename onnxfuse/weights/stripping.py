"""Taking the weights out of a model, without reading them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import onnx

from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io.external import reference
from onnxfuse.model_io.payload import LARGE, NodePayload, Payload, TensorData, data_bytes
from onnxfuse.model_io.source import Source
from onnxfuse.verification.stand_ins import STRIPPED
from onnxfuse.verification.tensors import lacks_data
from onnxfuse.weights.roles import is_weight
from onnxfuse.weights.survey import FloatList, Held, Survey, survey

__all__ = ["MIN_ELEMENTS", "SEED", "Stripped", "strip_source"]

MIN_ELEMENTS: Final = 64
"""Shorter tensors are epsilons, scales and bounds: a rewriter looks at them, and they tell little."""

SEED: Final = "onnxfuse.seed"
"""The key of the model's metadata that holds the seed for `fill`, where it is not 0."""

DATA_FIELDS: Final = (
    *("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data"),
    *("external_data", "data_location", "segment"),
)


@dataclass(frozen=True)
class Stripped:
    """A model without its weights.

    Attributes:
        source: It; the very one that came in, where nothing is to be taken out.
        taken: How many tensors lost their data.
        taken_bytes: How much that was.
        kept: Large tensors that stay, since they may say how the graph computes: name, type and dims.
        kept_bytes: How much data these have.
    """

    source: Source
    taken: int
    taken_bytes: int
    kept: tuple[str, ...]
    kept_bytes: int


def strip_source(
    source: Source,
    *,
    min_elements: int = MIN_ELEMENTS,
    seed: int = 0,
    folders: Mapping[str, Path] | None = None,
) -> Stripped:
    """Takes the weights out of a model; what is left of it refers to no other file.

    Args:
        source: The model.
        min_elements: Tensors of fewer elements keep their data.
        seed: What `fill` is to take for the model, unless it is given another.
        folders: Where the external data of some locations lies, if it is not in the model's folder.

    Raises:
        UsageError: `min_elements` is below 1, or the seed below 0.
        ModelError: External data that stays cannot be read.
    """
    if min_elements < 1:
        raise UsageError(f"the least number of elements is a number from 1 on, not {min_elements}")
    if seed < 0:
        raise UsageError(f"the seed is a number from 0 on, not {seed}")
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    cut = _Cut(model, source, folders or {}, min_elements)
    cut.run()
    named = {entry.key: entry.value for entry in model.metadata_props}
    if seed and named.get(SEED) != str(seed):
        for entry in [entry for entry in model.metadata_props if entry.key == SEED]:
            model.metadata_props.remove(entry)
        model.metadata_props.add(key=SEED, value=str(seed))
    elif not cut.changed:
        return Stripped(source, 0, 0, tuple(cut.kept), cut.kept_bytes)
    light = Source(model.SerializeToString(), cut.payloads, cut.nodes)
    return Stripped(light, cut.taken, cut.taken_bytes, tuple(cut.kept), cut.kept_bytes)


class _Cut:
    """One model, of which weights are taken out."""

    def __init__(self, model: onnx.ModelProto, source: Source, folders: Mapping[str, Path], min_elements: int) -> None:
        self.payloads: dict[int, Payload] = dict(source.payloads)
        self.nodes: dict[int, NodePayload] = dict(source.nodes)
        self.taken = self.taken_bytes = self.kept_bytes = 0
        self.kept: list[str] = []
        self.changed = False
        self._survey: Survey = survey(model)
        self._source = source
        self._folders = folders
        self._min_elements = min_elements

    def run(self) -> None:
        # All are judged before the first is changed: a constant may be what tells another's use.
        judged = [(held, self._is_taken(held)) for held in self._survey.tensors]
        changed: set[int] = set()
        for held, taken in judged:
            size = data_bytes(held.tensor.data_type, held.tensor.dims) or 0
            if taken:
                self._take(held, size)
                changed.update(held.place[:1] if held.place else ())
            elif self._payload(held) is None and held.tensor.data_location == onnx.TensorProto.EXTERNAL:
                self._bring_in(held, size)
            if not taken and math.prod(held.tensor.dims) >= self._min_elements and not self._lacks_data(held):
                self.kept.append(f"{held.name} ({_type_text(held.tensor)})")
                self.kept_bytes += size
        for held, taken in judged:
            if held.place is not None and held.place[0] in changed and not taken:
                self._put_back(held)
        for ordinal in changed:
            self.nodes.pop(ordinal, None)
        for held_list in self._survey.float_lists:
            self._take_list(held_list)

    def _payload(self, held: Held) -> Payload | None:
        """Returns the tensor's data, where it is not in the model itself."""
        if held.ordinal is not None:
            return self._source.payloads.get(held.ordinal)
        node = self._source.nodes.get(held.place[0]) if held.place else None
        return node.tensors.get(held.place[1]) if node is not None and held.place else None

    def _lacks_data(self, held: Held) -> bool:
        return self._payload(held) is None and lacks_data(held.tensor)

    def _is_taken(self, held: Held) -> bool:
        return (
            math.prod(held.tensor.dims) >= self._min_elements
            and not self._lacks_data(held)
            and is_weight(held, self._survey)
        )

    def _take(self, held: Held, size: int) -> None:
        for name in DATA_FIELDS:
            held.tensor.ClearField(name)
        held.tensor.doc_string = STRIPPED
        if held.ordinal is not None:
            self.payloads.pop(held.ordinal, None)
        self.changed = True
        self.taken += 1
        self.taken_bytes += size

    def _put_back(self, held: Held) -> None:
        """Puts a tensor's data into its node, of which another tensor was taken."""
        payload = self._payload(held)
        if payload is not None:
            held.tensor.raw_data = bytes(payload.data.view())

    def _bring_in(self, held: Held, size: int) -> None:
        """Takes the data of a tensor that stays out of its file."""
        tensor = held.tensor
        location, offset, _ = reference(tensor)
        folder = self._folders.get(location, self._source.folder)
        if folder is None:
            raise ModelError(
                f"tensor {held.name!r} stays, and its data is in {location}, of which the folder is not known: pass the "
                "model's path"
            )
        self.changed = True
        for name in ("external_data", "data_location"):
            tensor.ClearField(name)
        read = partial(_read, folder / location, offset, size)
        if held.ordinal is not None and size > LARGE:
            self.payloads[held.ordinal] = Payload(tensor.SerializeToString(), TensorData(held.name, size, read))
        else:
            tensor.raw_data = read()

    def _take_list(self, held: FloatList) -> None:
        attribute = held.attribute
        count = len(attribute.floats)
        if count < self._min_elements or attribute.doc_string == STRIPPED or attribute.ref_attr_name:
            return
        if held.scope is not None:
            # A Constant means the same with a tensor, which can be without its data.
            tensor = onnx.TensorProto(data_type=onnx.TensorProto.FLOAT, dims=[count])
            constant = Held(held.name, tensor, (count,), held.scope)
            if not is_weight(constant, self._survey):
                return
            tensor.doc_string = STRIPPED
            attribute.CopyFrom(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor))
        else:
            attribute.floats[:] = [0.0] * count
            attribute.doc_string = STRIPPED
        self.changed = True
        self.taken += 1
        self.taken_bytes += 4 * count


def _type_text(tensor: onnx.TensorProto) -> str:
    name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
    return f"{name}[{', '.join(map(str, tensor.dims))}]"


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error

"""What another process needs to load a model: weights that lie in a file are not sent, it maps the file itself."""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxfuse.verification.channel import aligned, shared_memory
from onnxfuse.verification.element_types import bytes_of
from onnxfuse.verification.mapped import MappedFiles
from onnxfuse.verification.sessions import Options

if TYPE_CHECKING:
    import onnx

__all__ = ["Bundle", "Cargo", "Hold"]


@dataclass(frozen=True)
class Place:
    """Where an array lies: in which blob, from which byte on."""

    blob: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Bundle:
    """A model on its way.

    Attributes:
        serialized: The light model.
        options: How to load it.
        places: Where its weights lie.
        objects: Weights that are no plain memory: strings.
        blobs: For each blob that comes along the ordinal of the file, and where it begins there.
    """

    serialized: bytes
    options: Options
    places: dict[str, Place]
    objects: dict[str, np.ndarray]
    blobs: dict[str, tuple[int, int]]


class Cargo:
    """A model to send.

    Attributes:
        key: Equal content, equal key.
    """

    def __init__(self, model: onnx.ModelProto, weights: Mapping[str, np.ndarray], options: Options) -> None:
        """Describes a model; its weights must not change while this lives."""
        self._serialized = model.SerializeToString()
        self._options = options
        self._weights = weights
        self._digests: dict[str, str] = {}
        with self._files() as files:
            places = self._places(files)
        digest = hashlib.blake2b(self._serialized)
        digest.update(repr((options, sorted(places.items()), self._objects().keys())).encode())
        for array in self._objects().values():
            digest.update(pickle.dumps(array.tolist()))
        self.key = digest.digest()

    @contextmanager
    def packed(self, held: Collection[str]) -> Iterator[tuple[Bundle, list[int], int]]:
        """The model, the files to send with it, and how many bytes were copied into one of them.

        Args:
            held: Blobs that the other side has already. Those that lie in files are sent anyway: that costs nothing.
        """
        with self._files() as files:
            places = self._places(files)
            loose = {
                place.blob: self._weights[name]
                for name, place in places.items()
                if place.blob not in held and place.blob not in files.opened
            }
            descriptors = list(files.opened.values())
            blobs = {blob: (ordinal, 0) for ordinal, blob in enumerate(files.opened)}
            at = 0
            for blob, array in loose.items():
                blobs[blob] = (len(descriptors), at)
                at += aligned(array.nbytes)
            memory = shared_memory([bytes_of(array) for array in loose.values()]) if loose else None
            try:
                bundle = Bundle(self._serialized, self._options, places, self._objects(), blobs)
                yield bundle, descriptors if memory is None else [*descriptors, memory], at
            finally:
                if memory is not None:
                    os.close(memory)

    def _files(self) -> MappedFiles:
        return MappedFiles(self._weights.values())

    def _objects(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self._weights.items() if array.dtype.hasobject}

    def _places(self, files: MappedFiles) -> dict[str, Place]:
        places = {}
        for name, array in self._weights.items():
            if not array.dtype.hasobject:
                blob, offset = files.place(array) or (self._digest(name), 0)
                places[name] = Place(blob, offset, array.dtype, array.shape)
        return places

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = hashlib.blake2b(bytes_of(self._weights[name]), digest_size=32).hexdigest()
        return self._digests[name]


class Blob:
    """Bytes that arrays lie in; they are there as long as this is."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset

    def array(self, place: Place) -> np.ndarray:
        """A read-only array on these bytes."""
        return np.ndarray(place.shape, place.dtype, buffer=self._memory, offset=self._offset + place.offset)


class Hold:
    """What a process was sent: each blob once, as long as a model needs it."""

    def __init__(self) -> None:
        self._blobs: weakref.WeakValueDictionary[str, Blob] = weakref.WeakValueDictionary()

    def blobs(self) -> list[str]:
        """Those that are here."""
        return list(self._blobs)

    def unpack(self, bundle: Bundle, files: Sequence[int]) -> tuple[dict[str, np.ndarray], list[Blob]]:
        """The weights of a model, and the blobs to keep as long as they are used; closes the files."""
        maps: dict[int, mmap.mmap] = {}
        kept: dict[str, Blob] = {}
        try:
            for blob in {place.blob for place in bundle.places.values()}:
                held = self._blobs.get(blob)
                if held is None:
                    ordinal, offset = bundle.blobs[blob]
                    if ordinal not in maps:
                        maps[ordinal] = mmap.mmap(files[ordinal], 0, access=mmap.ACCESS_READ)
                    held = self._blobs[blob] = Blob(maps[ordinal], offset)
                kept[blob] = held
        finally:
            for file in files:
                os.close(file)
        weights = {name: kept[place.blob].array(place) for name, place in bundle.places.items()}
        return {**weights, **bundle.objects}, list(kept.values())

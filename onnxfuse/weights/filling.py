"""Putting seeded random weights where a model has none."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io.payload import LARGE, NUMPY_DTYPES, Payload, TensorData, data_bytes
from onnxfuse.model_io.source import Source
from onnxfuse.verification.element_types import integer_range, is_integer, numpy_dtype
from onnxfuse.verification.stand_ins import STRIPPED
from onnxfuse.verification.tensors import lacks_data
from onnxfuse.weights.roles import random_for
from onnxfuse.weights.slots import Normal, Random
from onnxfuse.weights.stripping import SEED
from onnxfuse.weights.survey import Held, Survey, survey

__all__ = ["Filled", "fill_source"]

WIDE_TYPES: Final = frozenset({onnx.TensorProto.DOUBLE, onnx.TensorProto.COMPLEX128})
EXPONENT_ONLY: Final = 24  # float8e8m0: powers of two, and no sign
LIST: Final = Normal(0, 1)


@dataclass(frozen=True)
class Filled:
    """A model with weights.

    Attributes:
        source: It. Large weights are drawn when they are asked for, and not kept.
        given: How many tensors were given random weights.
        given_bytes: How much that is.
        seed: Of these.
    """

    source: Source
    given: int
    given_bytes: int
    seed: int


def fill_source(source: Source, *, seed: int | None = None) -> Filled:
    """Gives random weights to a model that has none, or to those of its tensors that have none.

    Args:
        source: The model.
        seed: Of the weights; None for the one that the model names, or else 0.

    Raises:
        UsageError: The seed is below 0.
        ModelError: What a tensor without data held is none that can be drawn, or the seed in the model is none.
    """
    if seed is not None and seed < 0:
        raise UsageError(f"the seed is a number from 0 on, not {seed}")
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    used = _seed_in(model) if seed is None else seed
    looked = survey(model)
    payloads = dict(source.payloads)
    given = given_bytes = 0
    # What each is drawn from is found before the first is changed, so that it does not hang on their order.
    randoms = [(held, _random(held, looked)) for held in looked.tensors if _is_without_data(held, source)]
    for held, random in randoms:
        payload = _give(held, random, used)
        if payload is not None and held.ordinal is not None:
            payloads[held.ordinal] = payload
        given += 1
        given_bytes += data_bytes(held.tensor.data_type, held.tensor.dims) or 0
    for held_list in looked.float_lists:
        attribute = held_list.attribute
        if attribute.doc_string == STRIPPED:
            count = len(attribute.floats)
            attribute.floats[:] = _drawn(LIST, (count,), onnx.TensorProto.FLOAT, _rng(used, held_list.name)).tolist()
            attribute.ClearField("doc_string")
            given += 1
            given_bytes += 4 * count
    if given:
        for entry in [entry for entry in model.metadata_props if entry.key == SEED]:
            model.metadata_props.remove(entry)
    else:
        return Filled(source, 0, 0, used)
    filled = Source(model.SerializeToString(), payloads, source.nodes, path=source.path, folder=source.folder)
    return Filled(filled, given, given_bytes, used)


def _seed_in(model: onnx.ModelProto) -> int:
    text = next((entry.value for entry in model.metadata_props if entry.key == SEED), "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ModelError(f"the model's metadata names a seed that is none: {SEED} is {text!r}: give one with --seed")
    return int(text)


def _is_without_data(held: Held, source: Source) -> bool:
    if held.ordinal is not None and held.ordinal in source.payloads:
        return False
    node = source.nodes.get(held.place[0]) if held.place else None
    if node is not None and held.place and held.place[1] in node.tensors:
        return False
    return lacks_data(held.tensor)


def _random(held: Held, looked: Survey) -> Random:
    random = random_for(held, looked)
    if random is None:
        name = onnx.TensorProto.DataType.Name(held.tensor.data_type).lower()
        raise ModelError(
            f"tensor {held.name!r} ({name}) has no data, and by its use it is no weight: what it held cannot be drawn"
        )
    return random


def _give(held: Held, random: Random, seed: int) -> Payload | None:
    """Gives a tensor its data; of a large initializer of the main graph, returns what draws it."""
    tensor = held.tensor
    if tensor.doc_string == STRIPPED:
        tensor.ClearField("doc_string")
    kind, dims = tensor.data_type, tuple(tensor.dims)
    read = partial(_bytes, random, dims, kind, seed, held.name)
    size = data_bytes(kind, dims)
    if held.ordinal is None or size is None or size <= LARGE:
        tensor.raw_data = read()
        return None
    return Payload(tensor.SerializeToString(), TensorData(held.name, size, read))


def _rng(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _bytes(random: Random, dims: tuple[int, ...], kind: int, seed: int, name: str) -> bytes:
    array = _drawn(random, dims, kind, _rng(seed, name))
    if kind in NUMPY_DTYPES:
        return array.tobytes()
    return onnx.numpy_helper.from_array(array).raw_data  # of fewer than 8 bits, several to a byte


def _drawn(random: Random, dims: tuple[int, ...], kind: int, rng: np.random.Generator) -> np.ndarray:
    dtype = numpy_dtype(kind)
    if dtype is None or dtype.hasobject:
        raise ModelError(f"elements of type {kind} cannot be drawn")
    wide = np.float64 if kind in WIDE_TYPES or (is_integer(dtype) and dtype.itemsize > 2) else np.float32
    values = _values(random, dims, wide, rng)
    if dtype.kind == "c":
        values = values + 1j * _values(random, dims, wide, rng)
    elif is_integer(dtype):
        low, high = integer_range(dtype)
        np.floor(values + 0.5 if isinstance(random, Normal) else values, out=values)
        np.clip(values, low, high, out=values)
    elif kind == EXPONENT_ONLY:
        values = abs(values)
    return values.astype(dtype, copy=False)


def _values(random: Random, dims: tuple[int, ...], wide: type[Any], rng: np.random.Generator) -> np.ndarray:
    """Draws in one array of the type: a weight may be a good part of memory."""
    size = math.prod(dims)
    if isinstance(random, Normal):
        values = rng.standard_normal(size, dtype=wide)
        values *= random.deviation
        values += random.mean
    else:
        values = rng.random(size, dtype=wide)
        values *= random.high - random.low
        values += random.low
    return values.reshape(dims)

"""Whether tensors hold together: element type, shape, and as much data as these ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from onnxfuse.errors import ModelError
from onnxfuse.model_io.payload import ELEMENT_BITS, data_bytes, elements

__all__ = ["check_sparse", "check_tensor"]

STRING: Final = onnx.TensorProto.STRING
EXTERNAL: Final = onnx.TensorProto.EXTERNAL

SHOWN: Final = 16
# Those that numpy has.
MOST_DIMS: Final = 64

COMPLEX: Final = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)

# The fields of TensorProto that list values one by one, and the element types that each is for.
VALUE_FIELDS: Final[Mapping[str, frozenset[int]]] = {
    "float_data": frozenset({1, 14}),
    "int64_data": frozenset({7}),
    "double_data": frozenset({11, 15}),
    "uint64_data": frozenset({12, 13}),
    "string_data": frozenset({STRING}),
    "int32_data": frozenset({2, 3, 4, 5, 6, 9, 10, *range(16, 29)}),
}


def check_tensor(tensor: onnx.TensorProto, where: str, size: int | None = None) -> None:
    """Checks that a tensor's data fits its shape; without any data it is a tensor whose weights were taken out.

    Args:
        tensor: It.
        where: What it is, for the message.
        size: Bytes of its raw data, where they are not in it.

    Raises:
        ModelError: It does not hold together.
    """
    kind = tensor.data_type
    if kind != STRING and kind not in ELEMENT_BITS:
        raise ModelError(f"{where}: unknown element type {kind}")
    dims = tensor.dims
    check_shape(dims, where)
    if tensor.data_location == EXTERNAL:
        return
    if size is None and tensor.HasField("raw_data"):
        size = len(tensor.raw_data)
    wanted = data_bytes(kind, dims)
    if size is not None:
        if wanted is None:
            raise ModelError(f"{where}: strings cannot be raw data")
        if size != wanted:
            raise ModelError(f"{where}: it has {size} bytes of data, its shape {shape_text(dims)} asks for {wanted}")
        return
    _check_values(tensor, where)


def _check_values(tensor: onnx.TensorProto, where: str) -> None:
    count = 0
    for name, kinds in VALUE_FIELDS.items():
        if values := len(getattr(tensor, name)):
            if tensor.data_type not in kinds:
                raise ModelError(f"{where}: {name} is no place for elements of type {tensor.data_type}")
            count = values
    size = elements(tensor.dims) or 0
    bits = ELEMENT_BITS.get(tensor.data_type, 8)
    wanted = {size}
    if tensor.data_type in COMPLEX:
        wanted = {2 * size}
    elif bits < 8:
        # Two or four to a value where packed, as onnx does; others write them one by one.
        wanted = {size, -(-size * bits // 8)}
    if count and count not in wanted:
        raise ModelError(f"{where}: it has {count} values, its shape {shape_text(tensor.dims)} asks for {size}")


def check_shape(dims: Sequence[int], where: str) -> None:
    """Checks that there can be a tensor of these dims.

    Raises:
        ModelError: There cannot.
    """
    if any(dim < 0 for dim in dims):
        raise ModelError(f"{where}: its shape {shape_text(dims)} has a negative dim")
    if len(dims) > MOST_DIMS:
        raise ModelError(f"{where}: it has {len(dims)} dims, and no array has more than {MOST_DIMS}")
    if elements(dims) is None:
        raise ModelError(f"{where}: its shape {shape_text(dims)} has more elements than can be counted")


def shape_text(dims: Sequence[int]) -> str:
    """Returns a shape for reading; of one with very many dims the first."""
    return str(list(dims)) if len(dims) <= SHOWN else f"[{', '.join(map(str, dims[:SHOWN]))}, ...]"


def check_sparse(sparse: onnx.SparseTensorProto, where: str) -> None:
    """Checks a sparse tensor: that there is one index for each value, and that all are inside the shape.

    Raises:
        ModelError: It does not hold together.
    """
    check_tensor(sparse.values, f"{where}: values")
    check_tensor(sparse.indices, f"{where}: indices")
    dims, values, indices = list(sparse.dims), list(sparse.values.dims), list(sparse.indices.dims)
    check_shape(dims, where)
    if sparse.indices.data_type != onnx.TensorProto.INT64 or len(values) != 1:
        raise ModelError(f"{where}: its indices are no int64, or its values no vector: it is no sparse tensor")
    if indices not in (values, [*values, len(dims)]):
        raise ModelError(f"{where}: indices of shape {indices} are not one for each of its {values[0]} values")
    if sparse.indices.data_location == EXTERNAL or not _has_data(sparse.indices):
        return
    found = onnx.numpy_helper.to_array(sparse.indices)
    # A matrix has a column for each dim, a vector counts through all elements.
    limits = dims if len(indices) == 2 else [elements(dims) or 0]
    for column, limit in zip(found.reshape(len(found), len(limits)).T, limits, strict=True):
        if column.size and not 0 <= int(column.min()) <= int(column.max()) < limit:
            raise ModelError(f"{where}: it has an index outside of its shape {dims}")


def _has_data(tensor: onnx.TensorProto) -> bool:
    return tensor.HasField("raw_data") or bool(len(tensor.int64_data))

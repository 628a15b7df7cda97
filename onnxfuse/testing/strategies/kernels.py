"""Which element types onnxruntime runs an operator on, at each opset: asked of onnxruntime and of onnx's schemas."""

from __future__ import annotations

from functools import cache
from typing import Final

import onnx
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

__all__ = ["EXOTIC", "FLOATS", "INTEGERS", "ORDER", "types_of"]

ORDER: Final = (
    *(TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT32),
    *(TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8, TensorProto.STRING, TensorProto.BFLOAT16),
    *(TensorProto.INT16, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    *(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2),
)
"""Element types, the ordinary ones first: a failing example shrinks to those."""
FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})
INTEGERS: Final = frozenset(
    {
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
)
EXOTIC: Final = frozenset({TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2})
"""What numpy has no type for: such values stand inside a graph, between Casts."""

_TYPES: Final = {f"tensor({onnx.helper.tensor_dtype_to_string(e).split('.')[1].lower()})": e for e in ORDER}


@cache
def _kernels() -> dict[str, list[tuple[int, int, dict[str, list[str]]]]]:
    found: dict[str, list[tuple[int, int, dict[str, list[str]]]]] = {}
    for kernel in runtime.get_all_opkernel_def():
        if kernel.domain == "" and kernel.provider == "CPUExecutionProvider":
            first, last = kernel.version_range
            found.setdefault(kernel.op_name, []).append((first, last, kernel.type_constraints))
    return found


@cache
def types_of(op_type: str, opset: int, parameter: str = "T") -> tuple[int, ...]:
    """Returns the element types of an operator, ordinary ones first; none where there is no such operator.

    Args:
        op_type: An operator of the default domain.
        opset: The opset of the model.
        parameter: A type parameter of the operator's schema.
    """
    try:
        schema = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return ()
    allowed = {
        text for said in schema.type_constraints if said.type_param_str == parameter for text in said.allowed_type_strs
    }
    # A kernel of an older version of the operator is used only up to the version before the next one.
    runs = {
        text
        for first, last, types in _kernels().get(op_type, ())
        if first <= schema.since_version <= last
        for text in types.get(parameter, ())
    }
    if "tensor(float)" in runs:
        runs.add("tensor(float16)")  # onnxruntime puts Casts around what it has no such kernel for
    return tuple(elem_type for text, elem_type in sorted(_TYPES.items(), key=_rank) if text in allowed & runs)


def _rank(item: tuple[str, int]) -> int:
    return ORDER.index(item[1])

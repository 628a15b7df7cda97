"""One node of a twin, run: by a kernel of ours, or by the implementation of `onnx.reference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx

from onnxfuse.verification.twin_graph import Node
from onnxfuse.verification.twin_kernel import Kernel, UnsupportedError
from onnxfuse.verification.twin_ops import KERNELS
from onnxfuse.verification.twin_resize import resize
from onnxfuse.verification.twin_values import Value, float64, is_float_type, present

__all__ = ["compute", "constant_of"]


def compute(node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    """Runs a node that has no body.

    Raises:
        UnsupportedError: It has no twin for what it is given, or its implementation fails.
    """
    try:
        results = _results(node, inputs)
    except UnsupportedError:
        raise
    except Exception as error:  # whatever an implementation of onnx.reference raises
        raise UnsupportedError(f"the float64 twin of {node.op_type} fails: {error}") from error
    types = _types(node, inputs, results)
    return [Value(float64(data), type_) for data, type_ in zip(results, types, strict=True)]


def _results(node: Node, inputs: Sequence[Value | None]) -> list[Any]:
    arrays = [None if value is None else value.data for value in inputs]
    while arrays and arrays[-1] is None:
        arrays.pop()
    if node.kernel is None:
        node.kernel = _kernel(node)
    result: Any = None
    if node.op_type == "CastLike":
        result = KERNELS["Cast"]({**node.attributes, "to": present(inputs[1]).type}, arrays[:1], node.opset)
    elif node.op_type == "QuantizeLinear" and len(arrays) > 2 and arrays[2] is not None:
        # A type of fewer than 8 bits is no type of the zero point's array.
        result = node.kernel({**node.attributes, "output_dtype": present(inputs[2]).type}, arrays, node.opset)
    elif node.op_type in ("Resize", "Upsample"):
        result = resize(node.attributes, arrays, node.opset)
    if result is None:
        result = node.kernel(node.attributes, arrays, node.opset)
    results = list(result) if isinstance(result, tuple) else [result]
    return results[: max(len(node.outputs), 1)]


def _kernel(node: Node) -> Kernel:
    # MaxPool's second output is rare enough to be left to the reference.
    if node.op_type in KERNELS and not (node.op_type == "MaxPool" and len(node.outputs) > 1):
        return KERNELS[node.op_type]
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.ops._op_list import load_op

    instance: Any = None

    def kernel(_attributes: Mapping[str, Any], arrays: Sequence[Any], opset: int) -> Any:
        nonlocal instance
        if instance is None:
            types = [_type_proto(array) for array in arrays]
            kind = load_op(
                "", node.op_type, opset, node=node.proto, input_types=types, evaluator_cls=ReferenceEvaluator
            )
            parameters = {
                "log": lambda *_: None,
                "opsets": {"": opset},
                "verbose": 0,
                "new_ops": None,
                "existing_functions": {},
                "evaluator_cls": ReferenceEvaluator,
            }
            instance = kind(node.proto, parameters)
        return tuple(instance.run(*arrays))

    return kernel


def _type_proto(array: Any) -> onnx.TypeProto:
    if not isinstance(array, np.ndarray):
        return onnx.TypeProto()
    elem_type = onnx.TensorProto.STRING if array.dtype == object else onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_type_proto(elem_type, array.shape)


def constant_of(node: Node) -> Value:
    """The value of a Constant."""
    for name, value in node.attributes.items():
        if name == "value":
            return Value(float64(onnx.numpy_helper.to_array(value)), value.data_type)
        if name in ("value_float", "value_floats"):
            return Value(np.asarray(value, np.float64), onnx.TensorProto.FLOAT)
        if name in ("value_int", "value_ints"):
            return Value(np.asarray(value, np.int64), onnx.TensorProto.INT64)
        if name in ("value_string", "value_strings"):
            texts = [value] if isinstance(value, bytes) else value
            array = np.array([text.decode() for text in texts], object)
            return Value(array[0] if isinstance(value, bytes) else array, onnx.TensorProto.STRING)
    raise UnsupportedError("a Constant of another kind than a tensor, number or string")


_TYPE_NUMBERS: Final = {f"tensor({name.lower()})": number for name, number in onnx.TensorProto.DataType.items()}


def _types(node: Node, inputs: Sequence[Value | None], results: Sequence[Any]) -> list[int]:
    """The element types that the results have in the model, by the operator's schema."""
    schema = onnx.defs.get_schema(node.op_type, node.opset, "")
    bound: dict[str, int] = {}
    for index, value in enumerate(inputs):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if value is not None:
            bound.setdefault(formal.type_str, value.type)
    types = []
    for index, result in enumerate(results):
        formal = schema.outputs[min(index, len(schema.outputs) - 1)]
        sample = result[0] if isinstance(result, list) and result else result
        kind = getattr(sample, "dtype", None)
        if kind is not None and kind.kind in "iub":
            types.append(int(onnx.helper.np_dtype_to_tensor_dtype(kind)))
            continue
        types.append(
            bound.get(formal.type_str)
            or _TYPE_NUMBERS.get(formal.type_str)
            or _stated_type(node)
            or next((v.type for v in inputs if v is not None and is_float_type(v.type)), onnx.TensorProto.FLOAT)
        )
    return types


def _stated_type(node: Node) -> int | None:
    """The type that an attribute states: `to`, `dtype`, or that of `value`."""
    for name in ("to", "dtype", "output_dtype"):
        if node.attributes.get(name):
            return int(node.attributes[name])
    value = node.attributes.get("value")
    return int(value.data_type) if isinstance(value, onnx.TensorProto) else None

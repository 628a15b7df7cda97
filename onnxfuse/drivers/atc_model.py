"""What of atc's options a model itself tells: its file, its inputs and their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnxfuse.drivers.shape_grammar import ANY, InputShape, input_shape_text
from onnxfuse.errors import UsageError
from onnxfuse.model_io import ModelLike, open_model

if TYPE_CHECKING:
    import onnx

__all__ = ["input_shapes", "options_from_model"]


def options_from_model(
    model: ModelLike, *, batch_size: int | None, dims: Mapping[str, int], output: str | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the options that a model tells, below those that are given.

    Raises:
        ModelError: The model cannot be read.
        UsageError: An input cannot be told to atc, or its batch is another.
    """
    opened = open_model(model)
    values: dict[str, Any] = {"framework": 5}
    if opened.path is not None:
        path = str(opened.path)
        values["model"] = path
        values["output"] = path.removesuffix(".onnx") + ("" if batch_size is None else f"_bs{batch_size}")
    if output is not None:
        values["output"] = output.removesuffix(".om")
    if not {"input_shape", "input_shape_range"} & {name for name, value in given.items() if value is not None}:
        shapes = input_shapes(opened.as_source().proto, batch_size=batch_size, dims=dims)
        if shapes:
            values["input_shape"] = input_shape_text(shapes)
            images = all(len(shape.dims) == 4 for shape in shapes) and given.get("dynamic_dims") is None
            values["input_format"] = "NCHW" if images else "ND"
    return {**values, **given}


def input_shapes(
    proto: onnx.ModelProto, *, batch_size: int | None = None, dims: Mapping[str, int] | None = None
) -> tuple[InputShape, ...]:
    """Returns a model's inputs with their shapes, as atc counts them: without those that are initializers.

    Args:
        proto: The model.
        batch_size: The size of the first axis of the inputs where that is symbolic, and of that symbol everywhere.
        dims: Sizes of symbolic dims by name. One that has no size is -1.

    Raises:
        UsageError: An input is no tensor, has no rank or a name that atc cannot read; or no input has that batch.
    """
    initializers = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in initializers]
    sizes = dict(dims or {})
    if batch_size is not None:
        sizes.update(dict.fromkeys(_batch_symbols(inputs, batch_size), batch_size))
    return tuple(InputShape(_readable(value.name), _dims(value, sizes, batch_size)) for value in inputs)


def _readable(name: str) -> str:
    if ";" in name or name != name.strip() or not name:
        raise UsageError(f"input {name!r}: atc cannot read this name: rename it, without `;` and blanks at its ends")
    return name


def _dims(value: onnx.ValueInfoProto, sizes: Mapping[str, int], batch_size: int | None) -> tuple[int, ...]:
    """Returns an input's dims: those that are stated, those of known symbols, and -1."""
    found = []
    for axis, dim in enumerate(_shape(value).dim):
        if dim.HasField("dim_value"):
            found.append(dim.dim_value)
        elif dim.dim_param:
            found.append(sizes.get(dim.dim_param, ANY))
        else:
            found.append(ANY if axis or batch_size is None else batch_size)
    return tuple(found)


def _shape(value: onnx.ValueInfoProto) -> onnx.TensorShapeProto:
    if value.type.WhichOneof("value") != "tensor_type":
        raise UsageError(f"input {value.name!r} is no tensor, and atc takes tensors only")
    if not value.type.tensor_type.HasField("shape"):
        raise UsageError(f"input {value.name!r} has no shape: give one, as input_shape={value.name}:1,3,224,224")
    return value.type.tensor_type.shape


def _batch_symbols(inputs: list[onnx.ValueInfoProto], batch_size: int) -> set[str]:
    """Returns the symbols of first axes."""
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size} is not possible: it is 1 or more")
    first = [_shape(value).dim[0] for value in inputs if _shape(value).dim]
    stated = {dim.dim_value for dim in first if dim.HasField("dim_value")}
    if all(dim.HasField("dim_value") for dim in first) and batch_size not in stated:
        has = ", ".join(map(str, sorted(stated))) or "none"
        raise UsageError(
            f"the model's batch is fixed ({has}), and {batch_size} is asked for: export it with a symbolic batch"
        )
    return {dim.dim_param for dim in first if dim.dim_param}

"""What of atc's options a model itself tells: its file, its inputs and their shapes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from onnxfuse.drivers.atc.shape_grammar import ANY, InputShape, input_shape_text
from onnxfuse.drivers.atc.words import InputFormat
from onnxfuse.errors import UsageError
from onnxfuse.model_io import ModelLike, open_model

if TYPE_CHECKING:
    import onnx

__all__ = ["input_shapes", "options_from_model"]


def options_from_model(
    model: ModelLike,
    *,
    batch_size: int | None,
    dims: Mapping[str, int],
    output: str | os.PathLike[str] | None,
    given: Mapping[str, Any],
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
        values["output"] = os.fspath(output).removesuffix(".om")
    if not {"input_shape", "input_shape_range"} & {name for name, value in given.items() if value is not None}:
        shapes = input_shapes(opened.as_source().proto, batch_size=batch_size, dims=dims)
        if shapes:
            values["input_shape"] = input_shape_text(shapes)
            values["input_format"] = _input_format(shapes, given)
    return {**values, **given}


def _input_format(shapes: Iterable[InputShape], given: Mapping[str, Any]) -> InputFormat:
    """Returns the layout that atc wants with these options; else that of images where all inputs may be some."""
    if given.get("insert_op_conf") is not None or given.get("dynamic_image_size") is not None:
        return InputFormat.NCHW
    images = all(len(shape.dims) == 4 for shape in shapes)
    return InputFormat.NCHW if images and given.get("dynamic_dims") is None else InputFormat.ND


def input_shapes(
    proto: onnx.ModelProto,
    *,
    batch_size: int | None = None,
    dims: Mapping[str, int] | None = None,
    given: Iterable[InputShape] = (),
) -> tuple[InputShape, ...]:
    """Returns a model's inputs with their shapes, as atc counts them: without those that are initializers.

    Args:
        proto: The model.
        batch_size: The size of the first axis of the inputs where that is symbolic, and of that symbol everywhere.
        dims: Sizes of symbolic dims, by name or by place ("input.0"). One that has no size is -1.
        given: What options say of inputs; the shape of one that has none in the model.

    Raises:
        UsageError: An input is no tensor, has no shape or a name that atc cannot read; no input has that batch, or such a dim.
    """
    initializers = {tensor.name for tensor in proto.graph.initializer}
    initializers |= {sparse.values.name for sparse in proto.graph.sparse_initializer}
    inputs = [value for value in proto.graph.input if value.name not in initializers]
    told = {shape.name: shape for shape in given}
    bare = [value.name for value in inputs if value.name in told and not value.type.tensor_type.HasField("shape")]
    shaped = [value for value in inputs if value.name not in bare]
    sizes = dict(dims or {})
    unknown = sorted(set(sizes) - {name for value in shaped for names in _names(value) for name in names})
    if unknown:
        raise UsageError(
            f"no input has a symbolic dim {unknown[0]!r}: name one by its symbol, or by its place as input.0"
        )
    if batch_size is not None:
        for symbol in _batch_symbols(shaped, batch_size):
            if sizes.setdefault(symbol, batch_size) != batch_size:
                raise UsageError(
                    f"dim {symbol!r} is the batch of {batch_size}, and {sizes[symbol]} is given for it: give one"
                )
    return tuple(
        told[value.name] if value.name in bare else InputShape(_readable(value.name), _dims(value, sizes))
        for value in inputs
    )


def _readable(name: str) -> str:
    if ";" in name or name != name.strip() or not name:
        raise UsageError(f"input {name!r}: atc cannot read this name: rename it, without `;` and blanks at its ends")
    return name


def _names(value: onnx.ValueInfoProto) -> list[tuple[str, ...]]:
    """Returns the names of each axis of an input: its place and its symbol, none where it has a size."""
    places = [f"{value.name}.{axis}" for axis in range(len(_shape(value).dim))]
    return [
        () if dim.HasField("dim_value") else tuple(filter(None, (place, dim.dim_param)))
        for place, dim in zip(places, _shape(value).dim, strict=True)
    ]


def _dims(value: onnx.ValueInfoProto, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Returns an input's dims: those that are stated, those that are given, and -1."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else next((sizes[name] for name in names if name in sizes), ANY)
        for names, dim in zip(_names(value), _shape(value).dim, strict=True)
    )


def _shape(value: onnx.ValueInfoProto) -> onnx.TensorShapeProto:
    if value.type.WhichOneof("value") != "tensor_type":
        raise UsageError(f"input {value.name!r} is no tensor, and atc takes tensors only")
    if not value.type.tensor_type.HasField("shape"):
        raise UsageError(f"input {value.name!r} has no shape: give one, as --input_shape={value.name}:1,3,224,224")
    return value.type.tensor_type.shape


def _batch_symbols(inputs: list[onnx.ValueInfoProto], batch_size: int) -> set[str]:
    """Returns the names of first axes that have no size: their symbols, or where they have none their places."""
    if batch_size < 1:
        raise UsageError(f"a batch size of {batch_size} is not possible: it is 1 or more")
    first = [(_shape(value).dim[0], names[0]) for value in inputs if (names := _names(value))]
    stated = {dim.dim_value for dim, names in first if not names}
    if all(not names for _, names in first) and batch_size not in stated:
        has = ", ".join(map(str, sorted(stated))) or "there is none"
        raise UsageError(
            f"the model's batch is fixed ({has}), and {batch_size} is asked for: export it with a symbolic batch"
        )
    return {names[-1] for _, names in first if names}

"""The sizes of all values of a model where its inputs have given ones, as far as shape inference finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["Dims", "Sizes", "inlined"]

Dims = tuple[int | None, ...]


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Puts the bodies of local functions where they are called.

    Args:
        model: A light model; not changed.

    Returns:
        The model itself if it has no functions; a copy without them otherwise, as far as onnx can.
    """
    if not model.functions:
        return model
    import onnx
    import onnx.inliner

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # The inliner forgets the defaults of attributes.
    defaults = {(f.domain, f.name, f.overload): f.attribute_proto for f in copy.functions}
    for node in [*_nodes(copy.graph.node), *(n for f in copy.functions for n in _nodes(f.node))]:
        given = {attribute.name for attribute in node.attribute}
        missing = [a for a in defaults.get((node.domain, node.op_type, node.overload), ()) if a.name not in given]
        node.attribute.extend(missing)
    try:
        return onnx.inliner.inline_local_functions(copy)
    except Exception:  # noqa: BLE001 - whatever it raises, the functions stay: then less is known of the inputs
        return model


def _nodes(nodes: object) -> Iterator[onnx.NodeProto]:
    for node in nodes:  # type: ignore[attr-defined]
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g.node)


class Sizes:
    """The sizes of the values of one model, for every binding that is asked for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Takes a light model without local functions; it is not changed."""
        self._model = model
        self._known: dict[tuple[tuple[str, tuple[int, ...]], ...], dict[str, Dims]] = {}

    def at(self, shapes: Mapping[str, tuple[int, ...]], symbols: Mapping[str, int]) -> Mapping[str, Dims]:
        """Finds sizes.

        Args:
            shapes: Those of the graph inputs.
            symbols: Sizes of symbolic dims by name, for what is declared of other values.

        Returns:
            By name: the sizes that are known, None for the others. Names whose rank is unknown are left out.
        """
        key = tuple(shapes.items())
        if key not in self._known:
            self._known[key] = self._infer(shapes, symbols)
        return self._known[key]

    def _infer(self, shapes: Mapping[str, tuple[int, ...]], symbols: Mapping[str, int]) -> dict[str, Dims]:
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        graph = copy.graph
        inputs = {value.name for value in graph.input}
        for value in graph.input:
            tensor = value.type.tensor_type
            if value.name in shapes and value.type.HasField("tensor_type"):
                value.CopyFrom(
                    onnx.helper.make_tensor_value_info(value.name, tensor.elem_type, list(shapes[value.name]))
                )
        # What is declared has symbols, or sizes that hold at other bindings only.
        del graph.value_info[:]
        for value in graph.output:
            if value.name not in inputs and value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
        try:
            graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, ValueError):
            graph = copy.graph  # then only the inputs are known
        found: dict[str, Dims | None] = {}
        for name, dims in _declared(graph, symbols):
            # Two bodies may have values of one name.
            found[name] = dims if found.setdefault(name, dims) == dims else None
        return {name: dims for name, dims in found.items() if dims is not None}


def _declared(graph: onnx.GraphProto, symbols: Mapping[str, int]) -> Iterator[tuple[str, Dims]]:
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)
    stored = {tensor.name for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape") and value.name not in stored:
            yield (
                value.name,
                tuple(
                    dim.dim_value if dim.HasField("dim_value") else symbols.get(dim.dim_param)
                    for dim in value.type.tensor_type.shape.dim
                ),
            )
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _declared(attribute.g, symbols)

"""A region before and after as two models of their own, in the names of the model that it is from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx.shape_inference
import onnx_ir as ir

from onnxfuse.analysis.shapes import Dim
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.region_model import Built, Region, build

__all__ = ["RegionPair", "region_pair"]


@dataclass(frozen=True)
class RegionPair:
    """Two small models that should do the same.

    Attributes:
        before: The region: its border values are the inputs and the outputs.
        after: What replaces it.
        feeds: Inputs that show a difference, by name; empty where none are known.
    """

    before: EvalModel
    after: EvalModel
    feeds: Mapping[str, Any] = field(default_factory=dict)


def region_pair(region: Region, feeds: Mapping[str, Any] | None = None) -> RegionPair | str:
    """Makes two models of a region and its replacement.

    Both have all border values as inputs, also those that one side does not read: the interfaces are the same.

    Args:
        region: The region; it must still be in its graph.
        feeds: Inputs by their names in `Built`, as the evidence has them.

    Returns:
        The two, or a sentence that says why they cannot be made.
    """
    built = build(region)
    if isinstance(built, str):
        return built
    feeds = feeds or {}
    names = _names(region, built)
    symbols = _Symbols()
    inputs = []
    for name, value in built.inputs.items():
        shape = region.shapes.shape(value)
        rank = len(shape) if shape is not None else getattr(feeds.get(name), "ndim", None)
        if rank is None:
            return f"the rank of {names[name]} is not known"
        dims = shape if shape is not None else (None,) * rank
        inputs.append(symbols.declared(names[name], region.shapes.dtype(value), dims))
    outputs = [
        symbols.declared(names[name], region.shapes.dtype(old), region.shapes.shape(old))
        for (old, _), (name, _) in zip(region.outputs, built.pairs, strict=True)
    ]
    first = len(built.model.graph.node) - len(region.before) - len(region.after)
    middle = first + len(region.before)
    nodes = list(built.model.graph.node)
    for proto, node in zip(nodes[first:], (*region.before, *region.after), strict=True):
        proto.name = node.name or ""
    before = _side(built, nodes[:middle], names, inputs, outputs, [pair[0] for pair in built.pairs])
    feeds = {names[name]: value for name, value in feeds.items()}
    if not all(output.type.tensor_type.HasField("shape") for output in outputs):
        outputs = [_completed(output, before, feeds, symbols) for output in outputs]
        del before.proto.graph.output[:]
        before.proto.graph.output.extend(outputs)
    after = _side(built, nodes[:first] + nodes[middle:], names, inputs, outputs, [pair[1] for pair in built.pairs])
    return RegionPair(before, after, feeds)


def _completed(
    output: onnx.ValueInfoProto, before: EvalModel, feeds: Mapping[str, Any], symbols: _Symbols
) -> onnx.ValueInfoProto:
    """Declares an output of which the model says little as onnx infers it, else as it comes out."""
    inferred = onnx.shape_inference.infer_shapes(before.proto).graph.output
    found = next((value.type.tensor_type for value in inferred if value.name == output.name), None)
    if found is not None and found.HasField("shape"):
        rank, dtype = len(found.shape.dim), ir.DataType(found.elem_type)
    elif feeds:
        try:
            evaluator = Evaluator(before.proto, weights=before.weights)
            results = dict(zip(evaluator.output_names, evaluator.run(feeds), strict=True))
        except EvaluationError:
            return output
        rank, dtype = results[output.name].ndim, ir.DataType(output.type.tensor_type.elem_type)
    else:
        return output
    return symbols.declared(output.name, dtype, (None,) * rank)


def _names(region: Region, built: Built) -> dict[str, str]:
    """Returns the model's own name of each value of `built`; a made one where it has none, or another has it."""
    given: dict[str, str] = {name: str(value.name or name) for name, value in built.inputs.items()}
    protos = built.model.graph.node[len(built.model.graph.node) - len(region.before) - len(region.after) :]
    for proto, node in zip(protos, (*region.before, *region.after), strict=True):
        for name, value in (
            *zip(proto.input, node.inputs, strict=False),
            *zip(proto.output, node.outputs, strict=False),
        ):
            if name and value is not None and value.name:
                given.setdefault(name, str(value.name))
    names: dict[str, str] = {"": ""}
    taken = {""}
    for name in _values(built):
        stem = given.get(name, name)
        found, count = stem, 0
        while found in taken:
            count += 1
            found = f"{stem}_{count}"
        taken.add(found)
        names[name] = found
    return names


def _values(built: Built) -> Iterator[str]:
    # What is told of a difference first: inputs and results keep their names whatever else has the same.
    yield from dict.fromkeys(
        name
        for name in (
            *built.inputs,
            *(before for before, _ in built.pairs),
            *(tensor.name for tensor in built.model.graph.initializer),
            *(name for node in built.model.graph.node for name in (*node.input, *node.output)),
        )
        if name
    )


class _Symbols:
    """Writes dims: equal symbols under one name, different ones under different names."""

    def __init__(self) -> None:
        self._names: dict[Dim, str] = {}

    def declared(self, name: str, dtype: ir.DataType | None, shape: Sequence[Dim | None] | None) -> onnx.ValueInfoProto:
        """Declares a value."""
        info = onnx.ValueInfoProto(name=name)
        # In a function nothing is known of the types: regions are compared on floats there.
        info.type.tensor_type.elem_type = int(dtype or ir.DataType.FLOAT)
        if shape is not None:
            info.type.tensor_type.shape.SetInParent()
        for axis, dim in enumerate(shape or ()):
            if isinstance(dim, int):
                info.type.tensor_type.shape.dim.add(dim_value=dim)
            else:
                text = self._name(dim) if dim is not None else f"{name}.{axis}"
                info.type.tensor_type.shape.dim.add(dim_param=text)
        return info

    def _name(self, symbol: Dim) -> str:
        if symbol not in self._names:
            found = str(symbol)
            taken = set(self._names.values())
            while found in taken:
                found = f"{found}'"
            self._names[symbol] = found
        return self._names[symbol]


def _side(
    built: Built,
    nodes: Iterable[onnx.NodeProto],
    names: Mapping[str, str],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    results: Sequence[str],
) -> EvalModel:
    """Returns one side as a model; `results` are the values that its outputs take, by their names in `built`."""
    model = onnx.ModelProto(ir_version=built.model.ir_version, producer_name="onnxfuse")
    model.opset_import.extend(built.model.opset_import)
    model.graph.name = "region"
    model.graph.input.extend(inputs)
    model.graph.output.extend(outputs)
    needed = set(results)
    kept: list[onnx.NodeProto] = []
    for node in reversed(list(nodes)):
        if needed.isdisjoint(node.output):
            continue
        needed.update(node.input)
        kept.insert(0, node)
    produced = {name for node in kept for name in node.output}
    renamed = dict(names)
    extra = []
    for result, output in zip(results, outputs, strict=True):
        if result in produced and renamed[result] not in {value.name for value in outputs}:
            renamed[result] = output.name
        elif renamed[result] != output.name:
            # An input, a constant, or the value of another output: the name is taken.
            extra.append((result, output.name))
    for node in kept:
        copy = model.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [renamed[name] for name in node.input]
        copy.output[:] = [renamed[name] for name in node.output]
    for result, name in extra:
        model.graph.node.add(op_type="Identity", input=[renamed[result]], output=[name])
    weights = {}
    for tensor in built.model.graph.initializer:
        if tensor.name in needed:
            copy_ = model.graph.initializer.add()
            copy_.CopyFrom(tensor)
            copy_.name = renamed[tensor.name]
            if tensor.name in built.weights:
                weights[copy_.name] = built.weights[tensor.name]
    return EvalModel(model, weights)

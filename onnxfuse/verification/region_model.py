"""A region and its replacement as one small model, so that one session runs both."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse.analysis.constants import has_data, stored_tensor
from onnxfuse.analysis.ops import is_pure
from onnxfuse.analysis.shapes import Dim, Shapes
from onnxfuse.verification.element_types import bytes_of

__all__ = ["Built", "Region", "build", "draws_numbers", "identified", "signature", "with_context"]

# A tensor of more elements is a weight: it enters the session as an input, since embedding it costs 100 times more.
EMBEDDED: Final = 1024
# Folded shape arithmetic that leads to a region's constants runs along with it; more than this is no shape arithmetic.
PRELUDE: Final = 128


@dataclass(frozen=True)
class Region:
    """A region and its replacement, with what is known of the values at their border.

    Attributes:
        before: The nodes of the region, in graph order.
        after: The nodes that are to replace them, in order.
        outputs: Pairs of the value to replace and the value that replaces it.
        opset_imports: The versions of the domains, as the model has them.
        ir_version: The model's.
        shapes: The model's shapes.
        contents: Says what a small constant holds.
        numerics: The numerics class of the rewrite: `exact`, `rounding` or `approximate`.
        refolds: Whether shape arithmetic that leads to the region's constants runs along, so that its folding is
            checked; else they enter as what they hold.
        context: Nodes before the region that run along for both sides, so that what comes in is what can come in.
    """

    before: tuple[ir.Node, ...]
    after: tuple[ir.Node, ...]
    outputs: tuple[tuple[ir.Value, ir.Value], ...]
    opset_imports: Mapping[str, int]
    ir_version: int
    shapes: Shapes
    contents: Callable[[ir.Value | None], np.ndarray | None]
    numerics: str = "exact"
    refolds: bool = True
    context: frozenset[ir.Node] = frozenset()


@dataclass(frozen=True)
class Built:
    """The two sides in one model.

    Attributes:
        model: It computes `b<i>` and, unless the output is an input, `a<i>` for each pair of outputs.
        inputs: What comes in, by its name in `model`.
        weights: Large constants, by their names in `model`.
        pairs: Names of each pair of results; of an input where the value passes through.
        reads_shapes: Whether shape arithmetic runs along that reads an input, so that its dims are not free to vary.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, ir.Value]
    weights: Mapping[str, np.ndarray]
    pairs: tuple[tuple[str, str], ...]
    reads_shapes: bool


def with_context(region: Region, depth: int) -> Region:
    """Returns the region with up to so many steps of what is before it running along."""
    inside = {*region.before, *region.after}
    found: set[ir.Node] = set()
    edge = {value for node in inside for value in node.inputs if value is not None}
    for _ in range(depth):
        producers = {producer for value in edge if (producer := value.producer()) is not None}
        producers = {node for node in producers - found - inside if is_pure(node) and not _has_body(node)}
        found |= producers
        edge = {value for node in producers for value in node.inputs if value is not None}
    return replace(region, context=frozenset(found))


def draws_numbers(region: Region) -> bool:
    """Says whether an operator of the region draws random numbers."""
    return any(node.domain in ("", "ai.onnx") and not is_pure(node) for node in (*region.before, *region.after))


def build(region: Region) -> Built | str:
    """Puts both sides into one model; a sentence says why it cannot be done."""
    nodes = (*region.before, *region.after)
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.is_ref():
                return f"{attribute.name} of {node.op_type} comes from the call of the function"
    names: dict[ir.Value, str] = {}
    inputs: dict[str, ir.Value] = {}
    weights: dict[str, np.ndarray] = {}
    model = _empty_model(region)
    prelude: list[ir.Node] = []
    inside = {value for node in nodes for value in node.outputs}
    # Each with whether it leads to a constant that was folded: then all that it is computed from runs along.
    # What replaces an output may be a constant that no node reads: it is looked at last.
    stack = [(value, False) for _, value in region.outputs]
    stack += [(value, False) for node in reversed(nodes) for value in reversed(node.inputs) if value is not None]
    while stack:
        value, folded = stack.pop()
        if value in names or value in inside:
            continue
        tensor = stored_tensor(value, region.ir_version)
        if tensor is not None and has_data(tensor):
            names[value] = f"c{len(names)}"
            _add_constant(model, names[value], tensor, weights)
            continue
        contents = region.contents(value) if tensor is None else None
        producer = value.producer()
        # It follows from what the region itself computes, so it cannot run before it: what it holds is known, or free.
        follows = producer is not None and any(v in inside for v in producer.inputs)
        if contents is not None and (follows or not region.refolds):
            names[value] = f"c{len(names)}"
            _add_constant(model, names[value], ir.tensor(contents), weights)
            continue
        if folded and producer is not None and _has_body(producer):
            return f"what leads to the constants of the region has a body ({producer.op_type}), which may read more"
        free = producer is None or follows or _has_body(producer)  # a body may read more than the inputs of its node
        along = folded or contents is not None or producer in region.context
        if tensor is None and producer is not None and not free and along:
            # Shape arithmetic that was folded: it runs, so that the folding is checked along with the rewrite, from
            # the tensor on whose shape it depends.
            further = producer not in region.context and producer.op_type not in ("Shape", "Size")
            missing = [(v, further) for v in producer.inputs if v is not None and v not in names]
            if missing:
                stack += [(value, folded), *missing]
                if len(stack) > PRELUDE:
                    return "the shape arithmetic before the region is too long"
                continue
            prelude.append(producer)
            names.update({output: f"p{len(names)}_{index}" for index, output in enumerate(producer.outputs)})
            continue
        names[value] = f"i{len(inputs)}"
        inputs[names[value]] = value
    for side, part in (("p", prelude), ("b", region.before), ("a", region.after)):
        for node in part:
            for value in node.outputs:
                names.setdefault(value, f"{side}{len(names)}")
            model.graph.node.append(_renamed(node, names, len(model.graph.node)))
    pairs = tuple((names[before], names[after]) for before, after in region.outputs)
    for name in dict.fromkeys(itertools.chain.from_iterable(pairs)):
        if name not in inputs:
            model.graph.output.add(name=name)
    reads_shapes = any(value in names and names[value] in inputs for node in prelude for value in node.inputs if value)
    return Built(model, inputs, weights, pairs, reads_shapes)


def _empty_model(region: Region) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=max(region.ir_version, 4))
    for domain, version in region.opset_imports.items():
        model.opset_import.add(domain=domain, version=version)
    model.graph.name = "region"
    return model


def _has_body(node: ir.Node) -> bool:
    return any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())


def _renamed(node: ir.Node, names: Mapping[ir.Value, str], ordinal: int) -> onnx.NodeProto:
    proto = ir.to_proto(node)
    proto.name = f"n{ordinal}"
    proto.ClearField("doc_string")
    del proto.metadata_props[:]
    proto.input[:] = ["" if value is None else names[value] for value in node.inputs]
    proto.output[:] = ["" if not value.name else names[value] for value in node.outputs][: len(proto.output)]
    return proto


def _add_constant(model: onnx.ModelProto, name: str, tensor: ir.TensorProtocol, weights: dict[str, np.ndarray]) -> None:
    if tensor.size > EMBEDDED:
        weights[name] = tensor.numpy()
        model.graph.initializer.add(name=name, data_type=int(tensor.dtype), dims=tensor.shape.numpy())
    else:
        proto = ir.serde.serialize_tensor(tensor)
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            proto = onnx.numpy_helper.from_array(tensor.numpy(), name)
        proto.name = name
        model.graph.initializer.append(proto)


def identified(region: Region) -> tuple[Built, bytes] | str:
    """Returns both sides in one model, and a key: equal keys, equal evidence. A sentence says why it cannot be done."""
    built = build(region)
    if isinstance(built, str):
        return built
    border = [(name, region.shapes.dtype(value), region.shapes.shape(value)) for name, value in built.inputs.items()]
    return built, signature(built, border) + region.numerics.encode()


def signature(built: Built, border: Sequence[tuple[str, ir.DataType | None, tuple[Dim, ...] | None]]) -> bytes:
    """Returns what tells two regions apart: equal signatures, equal evidence.

    A symbol is written by its place of first use, so that the same region under another name counts as the same.
    """
    digest = hashlib.blake2b(built.model.SerializeToString(deterministic=True))
    # An output that is an input is none of the model's: only the pairs tell what it is to equal.
    digest.update(repr((built.pairs, built.reads_shapes)).encode())
    symbols: dict[Dim, int] = {}
    for name, dtype, shape in border:
        dims = None
        if shape is not None:
            dims = [
                dim if isinstance(dim, int | None) else f"s{symbols.setdefault(dim, len(symbols))}" for dim in shape
            ]
        digest.update(repr((name, dtype, dims)).encode())
    for name, array in built.weights.items():
        digest.update(name.encode())
        data = repr(array.tolist()).encode() if array.dtype.hasobject else bytes_of(array)
        digest.update(hashlib.blake2b(data).digest())
    return digest.digest()

"""Custom operators, which no runtime here knows: they are cut out of both models, so that the rest can be compared.

What a cut node gives becomes an input of both models, what it reads an output. Equal functions of these inputs on both
sides, in what the nodes read and in the models' own outputs, mean equal models, whatever the nodes compute: by the
order of the first model's nodes, each is given what its counterpart is given. So it does no harm which nodes are
paired, as long as they are the same operator with the same attributes; a wrong pair shows as a difference.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import onnx

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.structural import is_random_op

__all__ = ["Cut", "cut"]

# Of these onnxruntime or the reference evaluator knows operators.
_KNOWN: Final = frozenset(
    """ai.onnx ai.onnx.ml ai.onnx.preview.training ai.onnx.training com.microsoft com.microsoft.experimental
    com.microsoft.nchwc com.ms.internal.nhwc""".split()  # noqa: SIM905 - as it is read
) | {""}


@dataclass(frozen=True)
class Cut:
    """Two models without their custom operators.

    Attributes:
        a: The first, with an input for each result of a custom operator, and an output for each value that one reads.
        b: The second, with the same inputs and outputs beside its own.
        notes: What was cut, as sentences; none where nothing had to be.
        inputs: The names of the inputs that stand for results.
        outputs: The names of the outputs that stand for what is read.
        unpaired: Nodes of one model without a counterpart in the other: what depends on them cannot be told equal or
            different.
    """

    a: EvalModel
    b: EvalModel
    notes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    unpaired: tuple[str, ...] = ()


def cut(a: EvalModel, b: EvalModel, *, random: bool = False) -> Cut | str:
    """Cuts custom operators out of two models, and those that draw random numbers if that is asked for.

    A node of the main graph is cut if its operator is custom, or if one in its bodies or in the local function that it
    calls is.

    Args:
        a: The first model; not changed.
        b: The second; not changed.
        random: Whether random operators are cut too: then both models are given the same numbers.

    Returns:
        The models to compare, or a sentence that says why that cannot be: the type of a result is not declared.
    """
    sides = (_Side(a.proto, random=random), _Side(b.proto, random=random))
    if not any(side.custom for side in sides):
        return Cut(a, b)
    edits = tuple(_Edit(side) for side in sides)
    inputs: list[str] = []
    outputs: list[str] = []
    notes: list[str] = []
    unpaired: list[str] = []
    names: set[str] = set()
    for one, other in _paired(*sides):
        either = one or other
        assert either is not None  # noqa: S101 - of a pair, one is there
        label = _label(either, names)
        pair = (one, other)
        for ordinal in range(max(len(node.output) for node in pair if node is not None)):
            declared = _declared(sides, pair, ordinal)
            if isinstance(declared, str):
                return f"{label} cannot be left out: {declared}; declare that, or load a library with the operator"
            if declared is None:
                continue
            name = f"{label} output {ordinal}"
            inputs.append(name)
            for edit, node in zip(edits, pair, strict=True):
                edit.give(name, declared, node, ordinal)
        if one is None or other is None:
            place = "second" if other is None else "first"
            unpaired.append(label)
            notes.append(f"{label} has no counterpart in the {place} model: its results are inputs of both")
            continue
        for ordinal, read in enumerate(zip(_reads(one), _reads(other), strict=False)):
            if all(read):
                name = f"{label} input {ordinal}"
                outputs.append(name)
                for edit, value in zip(edits, read, strict=True):
                    edit.show(name, value)
        notes.append(f"{label} is left out: what it reads is compared, what it gives is drawn")
    first, second = (replace(model, proto=edit.done()) for model, edit in zip((a, b), edits, strict=True))
    return Cut(first, second, tuple(notes), tuple(inputs), tuple(outputs), tuple(unpaired))


class _Side:
    """One of the models, with what is known of its nodes."""

    def __init__(self, model: onnx.ModelProto, *, random: bool = False) -> None:
        self.model = model
        self._random = random
        self._functions = {(function.domain, function.name): function for function in model.functions}
        self._custom_functions: dict[tuple[str, str], bool] = {}
        self.custom = [node for node in model.graph.node if self.is_custom(node)]

    def is_custom(self, node: onnx.NodeProto) -> bool:
        """Whether a node needs an operator that no runtime knows, or one that is to be cut because it is random."""
        if any(self.is_custom(inner) for body in _bodies(node) for inner in body.node):
            return True
        key = (node.domain, node.op_type)
        if key not in self._functions:
            return node.domain not in _KNOWN or (self._random and is_random_op(node))
        if key not in self._custom_functions:
            self._custom_functions[key] = False  # a function that calls itself is no reason to go round for ever
            self._custom_functions[key] = any(self.is_custom(inner) for inner in self._functions[key].node)
        return self._custom_functions[key]

    def operator(self, node: onnx.NodeProto) -> Hashable:
        """What two nodes must share to be the same function of what they read."""
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        function = self._functions.get((node.domain, node.op_type))
        body = (
            b"" if function is None else b"".join(f.SerializeToString(deterministic=True) for f in self.model.functions)
        )
        arity = ([bool(name) for name in _reads(node)], [bool(name) for name in node.output])
        return (node.domain, node.op_type, tuple(attributes), body, repr(arity))

    @cached_property
    def computed_from(self) -> Mapping[str, bytes]:
        """By the name of a value a digest of how it is computed, as far as that goes without the contents of weights."""
        graph = self.model.graph
        found = {value.name: value.name.encode() for value in graph.input}
        found |= {init.name: repr((init.data_type, list(init.dims))).encode() for init in graph.initializer}
        for node in graph.node:
            digest = hashlib.blake2b(repr(self.operator(node)).encode(), digest_size=16)
            for name in _reads(node):
                digest.update(found.get(name, b"") + b"/")
            found |= {name: digest.digest() + bytes([i & 255]) for i, name in enumerate(node.output) if name}
        return found

    @cached_property
    def declared(self) -> Mapping[str, onnx.TypeProto]:
        """The declared types; with random operators those too that follow from the inputs' types."""
        graph = self.model.graph
        if self._random:
            # A random operator says of which type and shape its result is, or takes them from its input.
            graph = _inferred(self.model).graph
        symbols = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim}
        return {
            value.name: value.type
            for value in (*graph.value_info, *graph.output)
            # A size that no input has would be drawn at will, and fit nothing.
            if value.HasField("type") and not (self._random and _has_other_dims(value.type, symbols - {""}))
        }

    @cached_property
    def used(self) -> set[str]:
        """The values that some node reads or that are outputs."""
        graph = self.model.graph
        return {name for node in graph.node for name in _reads(node)} | {value.name for value in graph.output}


class _Edit:
    """A copy of a model from which nodes are taken."""

    def __init__(self, side: _Side) -> None:
        self._side = side
        self._model = onnx.ModelProto()
        self._model.CopyFrom(side.model)
        self._in_place: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._first: list[onnx.NodeProto] = []
        self._last: list[onnx.NodeProto] = []

    def give(self, name: str, declared: onnx.TypeProto, node: onnx.NodeProto | None, ordinal: int) -> None:
        """Adds an input, which takes the place of a node's result, if the node is in this model."""
        self._model.graph.input.append(onnx.ValueInfoProto(name=name, type=declared))
        if node is not None and ordinal < len(node.output) and node.output[ordinal]:
            # Under its own name too: bodies may read it, and it may be an output.
            self._first.append(onnx.helper.make_node("Identity", [name], [node.output[ordinal]]))

    def show(self, name: str, value: str) -> None:
        """Adds an output that is a value of the model."""
        self._last.append(onnx.helper.make_node("Identity", [value], [name]))
        self._model.graph.output.add().name = name

    def done(self) -> onnx.ModelProto:
        """The model without its custom nodes."""
        graph = self._model.graph
        kept = [node for node in self._side.model.graph.node if not self._side.is_custom(node)]
        del graph.node[:]
        graph.node.extend([*self._first, *kept, *self._last])
        called = {(node.domain, node.op_type) for node in _all_nodes(graph.node)}
        pending = list(called)
        functions = {(function.domain, function.name): function for function in self._side.model.functions}
        while pending:
            function = functions.get(pending.pop())
            for node in _all_nodes(function.node) if function is not None else ():
                if (node.domain, node.op_type) not in called:
                    called.add((node.domain, node.op_type))
                    pending.append((node.domain, node.op_type))
        del self._model.functions[:]
        self._model.functions.extend(function for key, function in functions.items() if key in called)
        domains = {domain for domain, _ in called} | _KNOWN
        imports = [entry for entry in self._side.model.opset_import if entry.domain in domains]
        del self._model.opset_import[:]
        self._model.opset_import.extend(imports)
        return self._model


_Pair = tuple[onnx.NodeProto | None, onnx.NodeProto | None]


def _paired(a: _Side, b: _Side) -> Iterator[_Pair]:
    """Pairs the custom nodes of two models, in the order of the first; None stands for what has no counterpart.

    Of the same operators those are paired that compute the same, then those that give a value of the same name, then
    those that are left, in their order.
    """
    left = list(b.custom)
    partners: dict[int, onnx.NodeProto] = {}
    likenesses: tuple[Callable[[_Side, onnx.NodeProto], Hashable], ...] = (
        lambda side, node: side.computed_from.get(_first_output(node)),
        lambda _, node: _first_output(node),
        lambda _side, _node: None,
    )
    for likeness in likenesses:
        open_ = defaultdict(list)
        for node in left:
            open_[(b.operator(node), likeness(b, node))].append(node)
        for index, node in enumerate(a.custom):
            found = open_.get((a.operator(node), likeness(a, node)))
            if index not in partners and found:
                partners[index] = found.pop(0)
        left = [node for node in left if not any(node is partner for partner in partners.values())]
    yield from ((node, partners.get(index)) for index, node in enumerate(a.custom))
    yield from ((None, node) for node in left)


def _first_output(node: onnx.NodeProto) -> str:
    return next((name for name in node.output if name), "")


def _label(node: onnx.NodeProto, taken: set[str]) -> str:
    """A name for a cut node that no other has."""
    kind = "random op" if is_random_op(node) else "custom op"
    base = f"{kind} {node.name or f'{node.domain}::{node.op_type}'.lstrip(':')}"
    label, count = base, 1
    while label in taken:
        count += 1
        label = f"{base} ({count})"
    taken.add(label)
    return label


def _declared(sides: Sequence[_Side], pair: _Pair, ordinal: int) -> onnx.TypeProto | str | None:
    """The type of a result, or a clause that says why it is not known; None where nobody uses it."""
    used = False
    name = ""
    for side, node in zip(sides, pair, strict=True):
        if node is None or ordinal >= len(node.output) or node.output[ordinal] not in side.used:
            continue
        name = node.output[ordinal]
        used = used or bool(name)
        declared = side.declared.get(name)
        if declared is not None and (not declared.HasField("tensor_type") or declared.tensor_type.HasField("shape")):
            return declared
    return f"the model does not say of which type and shape {name} is" if used else None


def _has_other_dims(declared: onnx.TypeProto, symbols: Collection[str]) -> bool:
    dims = declared.tensor_type.shape.dim
    return any(not dim.HasField("dim_value") and dim.dim_param not in symbols for dim in dims)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return model  # what is declared has to do


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for body in _bodies(node):
            yield from _all_nodes(body.node)


def _reads(node: onnx.NodeProto) -> list[str]:
    """The values that a node reads: its inputs, and what its bodies take from around it."""
    captured: dict[str, None] = {}
    for body in _bodies(node):
        own = {value.name for value in body.input} | {init.name for init in body.initializer}
        own |= {init.values.name for init in body.sparse_initializer}
        for inner in body.node:
            captured |= dict.fromkeys(name for name in _reads(inner) if name and name not in own)
            own.update(inner.output)
        captured |= dict.fromkeys(value.name for value in body.output if value.name not in own)
    return [*node.input, *captured]

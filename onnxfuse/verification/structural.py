"""What two models compute identically: equal by construction, without a run.

Every value gets a digest of all that it is computed from, whatever the names on the way: inputs by name, constants by
content, nodes by operator, attributes and the digests of what they read.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Final

import numpy as np
import onnx

from onnxfuse.analysis.ops import RANDOM
from onnxfuse.verification.element_types import bytes_of
from onnxfuse.verification.eval_model import EvalModel, Place, place_of

__all__ = ["Structure", "is_random_op", "shared_memory"]

_ORDINALS: Final = itertools.count()


def is_random_op(node: onnx.NodeProto) -> bool:
    """Whether a node draws random numbers by its operator alone: Dropout is not among them."""
    return node.domain in ("", "ai.onnx") and node.op_type in RANDOM


def shared_memory(a: EvalModel, b: EvalModel) -> frozenset[Place]:
    """The places of weights that both models hold: these need not be read to be told equal."""
    one, other = ({place_of(array) for array in model.weights.values()} for model in (a, b))
    return frozenset(one & other)


class Structure:
    """The digests of a model's main graph.

    Attributes:
        values: For each value of the main graph, the digest of what computes it.
        random: For each value that random operators reach, those operators: each with attributes and constant inputs,
            and a number of its own, since two draws of one kind are not the same numbers.
    """

    def __init__(self, model: EvalModel, shared: Collection[Place] = ()) -> None:
        """Digests a model.

        Args:
            model: The model.
            shared: Places of weights that need not be read; see `shared_memory`.
        """
        self._model = model.proto
        self._shared = shared
        self._opsets = {entry.domain: entry.version for entry in model.proto.opset_import}
        self._functions = {(f.domain, f.name): f for f in model.proto.functions}
        self._function_digests: dict[tuple[str, str], tuple[str, Counter[str]]] = {}
        self.random: dict[str, Counter[str]] = {}
        graph = model.proto.graph
        known = {value.name: _digest("input", value.name) for value in graph.input}
        for tensor in graph.initializer:
            if tensor.name in known and model.proto.ir_version >= 4:
                # Its default is part of what the model computes.
                known[tensor.name] = _digest("default", tensor.name, self._content(tensor, model.weights))
            else:
                known[tensor.name] = self._content(tensor, model.weights)
        for sparse in graph.sparse_initializer:
            known[sparse.values.name] = self._sparse(sparse)
        self.values = self._walk(graph.node, known, self._opsets, self.random)

    def random_of(self, name: str) -> Counter[str]:
        """The kinds of the random operators that a value depends on, and how many of each."""
        return Counter(draw.partition("#")[0] for draw in self.random.get(name, ()))

    # ------------------------------------------------------------------ digests

    def _content(self, tensor: onnx.TensorProto, weights: Mapping[str, np.ndarray]) -> str:
        head = (tensor.data_type, tuple(tensor.dims))
        array = weights.get(tensor.name)
        if array is not None and place_of(array) in self._shared:
            return _digest("shared", head, place_of(array))
        if 0 in tensor.dims:
            return _digest("constant", head)  # whatever its other dims claim
        if tensor.data_type == onnx.TensorProto.STRING:
            return _digest("constant", head, list(tensor.string_data))  # bytes, which need be no text
        if array is None:
            array = onnx.numpy_helper.to_array(tensor)
        return _digest("constant", head, hashlib.blake2b(bytes_of(array), digest_size=16).hexdigest())

    def _sparse(self, tensor: onnx.SparseTensorProto) -> str:
        return _digest(
            "sparse", tuple(tensor.dims), self._content(tensor.values, {}), self._content(tensor.indices, {})
        )

    def _walk(
        self,
        nodes: Iterable[onnx.NodeProto],
        values: dict[str, str],
        opsets: Mapping[str, int],
        random: dict[str, Counter[str]],
    ) -> dict[str, str]:
        values[""] = "omitted"
        for node in nodes:
            same = self._passed_on(node, values)
            if same is not None:
                values[node.output[0]] = same
                if node.input and node.input[0] in random:
                    random[node.output[0]] = random[node.input[0]]
                continue
            digest, drawn = self._node(node, values, opsets, random)
            for index, name in enumerate(node.output):
                if name:
                    values[name] = f"{digest}.{index}"
                    if drawn:
                        random[name] = drawn
        return values

    def _passed_on(self, node: onnx.NodeProto, values: Mapping[str, str]) -> str | None:
        """The digest of what an Identity passes on or a Constant holds: the same as that of an initializer."""
        if node.domain not in ("", "ai.onnx") or (node.domain, node.op_type) in self._functions or not node.output[0]:
            return None
        if node.op_type == "Identity":
            return values.get(node.input[0])
        if (
            node.op_type == "Constant"
            and len(node.attribute) == 1
            and node.attribute[0].type == onnx.AttributeProto.TENSOR
        ):
            return None if node.attribute[0].ref_attr_name else self._content(node.attribute[0].t, {})
        return None

    def _node(
        self,
        node: onnx.NodeProto,
        values: Mapping[str, str],
        opsets: Mapping[str, int],
        random: Mapping[str, Counter[str]],
    ) -> tuple[str, Counter[str]]:
        inputs = [values.get(name, f"unknown {name}") for name in node.input]
        while inputs and inputs[-1] == "omitted":
            inputs.pop()
        drawn: Counter[str] = Counter()
        if node.op_type not in ("Shape", "Size"):  # a shape does not depend on what is drawn
            for name in node.input:
                drawn |= random.get(name, Counter())
        domain = "" if node.domain == "ai.onnx" else node.domain
        function = self._functions.get((node.domain, node.op_type))
        if function is not None:
            kind, inner = self._function(function)
            drawn |= Counter([f"{draw}#{next(_ORDINALS)}" for draw in inner])  # each call draws for itself
        else:
            kind = f"{domain}::{node.op_type}@{_since(node.op_type, domain, opsets)}"
        attributes = sorted(self._attributes(node, kind, values, opsets, random, drawn))
        if function is None and self._is_random(node, values):
            constants = [text for text in inputs if text.startswith("constant")]
            own = _digest("random", kind, [text for text in attributes if not text.startswith("seed")], constants)
            drawn = drawn | Counter([f"{own}#{next(_ORDINALS)}"])
            return _digest(next(_ORDINALS)), drawn  # no other value is the same, in whatever model
        return _digest("node", kind, attributes, inputs), drawn

    def _attributes(
        self,
        node: onnx.NodeProto,
        kind: str,
        values: Mapping[str, str],
        opsets: Mapping[str, int],
        random: Mapping[str, Counter[str]],
        drawn: Counter[str],
    ) -> Iterable[str]:
        defaults = _defaults(kind)
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield f"{attribute.name} {self._graph(attribute.g, values, opsets, random, drawn)}"
            elif attribute.type == attribute.GRAPHS:
                inner = [self._graph(graph, values, opsets, random, drawn) for graph in attribute.graphs]
                yield f"{attribute.name} {inner}"
            elif attribute.type == attribute.TENSOR and not attribute.ref_attr_name:
                yield f"{attribute.name} {self._content(attribute.t, {})}"
            else:
                bare = onnx.AttributeProto()
                bare.CopyFrom(attribute)
                bare.ClearField("doc_string")
                text = bare.SerializeToString(deterministic=True).hex()
                if defaults.get(attribute.name) != text:
                    yield f"{attribute.name} {text}"

    def _graph(
        self,
        graph: onnx.GraphProto,
        values: Mapping[str, str],
        opsets: Mapping[str, int],
        random: Mapping[str, Counter[str]],
        drawn: Counter[str],
    ) -> str:
        inner_random = dict(random)
        known = {**values, **{value.name: f"formal {index}" for index, value in enumerate(graph.input)}}
        known.update({tensor.name: self._content(tensor, {}) for tensor in graph.initializer})
        for sparse in graph.sparse_initializer:
            known[sparse.values.name] = self._sparse(sparse)
        found = self._walk(graph.node, known, opsets, inner_random)
        for value in graph.output:
            drawn |= inner_random.get(value.name, Counter())
        return _digest("graph", len(graph.input), [found[value.name] for value in graph.output])

    def _function(self, function: onnx.FunctionProto) -> tuple[str, Counter[str]]:
        key = (function.domain, function.name)
        if key not in self._function_digests:
            self._function_digests[key] = (_digest("recursive", key), Counter())
            opsets = {entry.domain: entry.version for entry in function.opset_import}
            random: dict[str, Counter[str]] = {}
            known = {name: f"formal {index}" for index, name in enumerate(function.input)}
            found = self._walk(function.node, known, opsets, random)
            drawn: Counter[str] = Counter()
            for name in function.output:
                drawn |= random.get(name, Counter())
            defaults = sorted(a.SerializeToString(deterministic=True).hex() for a in function.attribute_proto)
            digest = _digest("function", [found[name] for name in function.output], defaults)
            self._function_digests[key] = (digest, drawn)
        return self._function_digests[key]

    def _is_random(self, node: onnx.NodeProto, values: Mapping[str, str]) -> bool:
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            return values.get(node.input[2]) not in _FALSE
        return node.op_type in RANDOM


def _digest(*parts: object) -> str:
    kind = f"{parts[0]} " if isinstance(parts[0], str) else ""
    return kind + hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


_FALSE: Final = frozenset(
    _digest(
        "constant",
        (onnx.TensorProto.BOOL, dims),
        hashlib.blake2b(np.zeros(1, np.uint8).data, digest_size=16).hexdigest(),
    )
    for dims in ((), (1,))
)


@cache
def _schema_since(op_type: str, domain: str, version: int) -> int:
    try:
        return int(onnx.defs.get_schema(op_type, version, domain).since_version)
    except onnx.defs.SchemaError:
        return version


def _since(op_type: str, domain: str, opsets: Mapping[str, int]) -> int:
    """The version since which the operator has been as it is: a newer opset may mean the same."""
    version = opsets.get(domain, opsets.get("ai.onnx", 1) if domain == "" else 0)
    return _schema_since(op_type, domain, version)


@cache
def _defaults(kind: str) -> dict[str, str]:
    """The attributes' default values of an operator, serialized."""
    domain, _, rest = kind.partition("::")
    op_type, _, version = rest.partition("@")
    try:
        schema = onnx.defs.get_schema(op_type, int(version), domain)
    except (onnx.defs.SchemaError, ValueError):
        return {}
    return {
        name: attribute.default_value.SerializeToString(deterministic=True).hex()
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name
    }

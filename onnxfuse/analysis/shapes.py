"""Shapes, element types and small contents of the values of a graph, inferred when they are asked for.

    shapes = Shapes(model)
    shapes.shape(value)         # (Symbol N, 6, 197, 197)
    shapes.dim_values(target)   # (Symbol N, 197, 384): what a Reshape target holds

Only what a model must obey counts as known: the declarations of its inputs, its constants, and what follows from them.
The shapes that it declares for outputs and intermediate values prove nothing (exporters get them wrong, and runtimes
only warn), so they are not read. What is claimed holds in every run that succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxfuse.analysis import (
    INTEGERS,
    MAX_RANK,
    Contents,
    Dim,
    Dims,
    Info,
    NodeView,
    Symbol,
    broadcast,
    is_writable,
    with_symbols,
)
from onnxfuse.analysis.ops import op_facts
from onnxfuse.analysis.shape_dims import DIM_RULES
from onnxfuse.analysis.shape_onnx import Result, results_of_onnx
from onnxfuse.analysis.shape_values import constant_contents, node_contents
from onnxfuse.errors import ModelError

__all__ = ["Dim", "Shapes", "Symbol"]

logger = logging.getLogger("onnxfuse")


class Shapes:
    """Shapes, element types and small contents of the values of one model.

    Nothing is inferred before it is asked for, and nothing twice: what is found is kept by the identity of the value.
    So new nodes with new values may join the graph at any time. After a change that alters what an existing value
    holds (another input shape, an attribute edited in place) call `clear()`.

    A dim that is not known is a `Symbol` that belongs to the value it first appears in; `x` and `Relu(x)` share it.
    Unknown are the formal inputs of Loop and Scan bodies and of functions, the results of custom operators and of
    calls of functions, and a graph input that is at the same time a graph output: onnx_ir keeps only how the output
    is declared.
    """

    def __init__(self, model: ir.Model) -> None:
        """Nothing is inferred yet.

        Args:
            model: The model. It is not changed.
        """
        self._model = model
        self._known: dict[ir.Value, Info] = {}
        self._opsets: dict[ir.Graph, Mapping[str, int]] = {}
        self._places: dict[ir.Node, ir.Graph] = {}

    def shape(self, value: ir.Value) -> tuple[Dim, ...] | None:
        """The shape of a value.

        Args:
            value: Any value of the model, in its main graph, a subgraph, or a function.

        Returns:
            One entry a dim; equal symbols are equal sizes. None if the rank is not known, and for what is no tensor.

        Raises:
            ModelError: The graph has a cycle.
        """
        return self._info(value).dims

    def rank(self, value: ir.Value) -> int | None:
        """The number of dims of a value, or None if it is not known.

        Raises:
            ModelError: The graph has a cycle.
        """
        dims = self._info(value).dims
        return None if dims is None else len(dims)

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of a tensor, or None: inferred, or else as the model declares it.

        Raises:
            ModelError: The graph has a cycle.
        """
        return self._info(value).dtype

    def dim_values(self, value: ir.Value) -> tuple[Dim, ...] | None:
        """The contents of a small integer tensor of rank 0 or 1, such as a Reshape target.

        Returns:
            One entry an element; a symbol for what is not known before run time (which need not be a size: see
            `Symbol.nonnegative`). None for every other value, and for vectors that are too long to be shapes.

        Raises:
            ModelError: The graph has a cycle.
        """
        info = self._info(value)
        if info.contents is None or info.contents.ndim > 1 or info.dtype not in INTEGERS:
            return None
        return tuple(info.contents.reshape(-1).tolist())

    def place(self, nodes: Iterable[ir.Node], graph: ir.Graph) -> None:
        """Say in which graph new nodes are going to be, before their values are asked about: its opsets hold for them."""
        self._places.update(dict.fromkeys(nodes, graph))

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._opsets.clear()
        self._places.clear()

    def _info(self, value: ir.Value) -> Info:
        known = self._known
        if value in known:
            return known[value]
        stack, entered = [value], set[ir.Node]()
        while stack:
            current = stack[-1]
            node = current.producer()
            if current in known:
                stack.pop()
            elif node is None:
                known[current] = self._source(current)
            elif missing := [needed for needed in _needed(node) if needed not in known]:
                if node in entered:
                    raise ModelError(f"the graph has a cycle through node {node.name!r} ({node.op_type}): break it")
                entered.add(node)
                stack.extend(missing)
            else:
                self._infer(node)
        return known[value]

    def _source(self, value: ir.Value) -> Info:
        """A value without a producer: a graph input, an initializer, or a formal input."""
        is_main_input = value.is_graph_input() and value.graph is self._model.graph
        tensor = value.const_value
        if tensor is not None and (not value.is_graph_input() or (is_main_input and self._model.ir_version < 4)):
            return _constant(value, tensor)
        if is_main_input and not value.is_graph_output() and value.shape is not None:
            return _finished(value, value.type, [_declared(dim) for dim in value.shape])
        return Info(value.type)

    def _infer(self, node: ir.Node) -> None:
        version = self._version(node)
        infos = [Info(value.type) for value in node.outputs]
        if version is not None and not self._is_local(node):
            if node.domain == "" and node.op_type == "If":
                infos = self._joined(node)
            else:
                inputs = tuple(None if value is None else self._known[value] for value in node.inputs)
                infos = _inferred(NodeView(node, version, inputs))
        self._known.update(zip(node.outputs, infos, strict=True))

    def _joined(self, node: ir.Node) -> list[Info]:
        """The outputs of an If: those of the branch that is known to run, or what both branches agree on."""
        branches = _branches(node)
        if len(branches) != 2 or any(len(graph.outputs) != len(node.outputs) for graph in branches):
            return [Info(value.type) for value in node.outputs]
        condition = self._known[node.inputs[0]].contents if node.inputs[0] is not None else None
        if condition is not None and condition.size == 1 and isinstance(condition.item(), bool):
            branches = [branches[0 if condition.item() else 1]] * 2
        infos = []
        for value, *results in zip(node.outputs, *(graph.outputs for graph in branches), strict=True):
            one, other = (self._known[result] for result in results)
            dims: Dims | None = None
            if one.dims is not None and other.dims is not None and len(one.dims) == len(other.dims):
                dims = [dim if dim == twin else None for dim, twin in zip(one.dims, other.dims, strict=True)]
            contents = one.contents
            if contents is None or other.contents is None or not np.array_equal(contents, other.contents):
                contents = None
            infos.append(_finished(value, one.type if one.type == other.type else None, dims, contents))
        return infos

    def _is_local(self, node: ir.Node) -> bool:
        functions = self._model.functions
        domains = (node.domain, "ai.onnx") if node.domain == "" else (node.domain,)
        return bool(functions) and any((domain, node.op_type, node.overload) in functions for domain in domains)

    def _version(self, node: ir.Node) -> int | None:
        """The opset version that a node is read by; None if its domain is not imported, or it is not clear which."""
        if node.version is not None:
            return node.version
        graph = node.graph if node.graph is not None else self._places.get(node)
        owners: list[ir.Graph | ir.Function] = [self._model.graph, *self._model.functions.values()]
        if len(owners) == 1:
            return _imported(self._model.graph.opset_imports, node.domain)
        if graph is not None and graph not in self._opsets:
            for owner in owners:
                for scope in (owner.graph if isinstance(owner, ir.Function) else owner, *owner.subgraphs()):
                    self._opsets[scope] = owner.opset_imports
        if graph is not None and graph in self._opsets:
            return _imported(self._opsets[graph], node.domain)
        # A new node of which nothing is said may go to the main graph or to a function.
        versions = {_imported(owner.opset_imports, node.domain) for owner in owners}
        return versions.pop() if len(versions) == 1 else None


def _imported(opsets: Mapping[str, int], domain: str) -> int | None:
    version = opsets.get(domain)
    return opsets.get("ai.onnx") if version is None and domain == "" else version


def _needed(node: ir.Node) -> list[ir.Value]:
    """The values that those of a node follow from."""
    needed = [value for value in node.inputs if value is not None]
    if node.op_type == "If" and node.domain == "":
        needed.extend(value for graph in _branches(node) for value in graph.outputs)
    return needed


def _branches(node: ir.Node) -> list[ir.Graph]:
    graphs = (node.attributes.get(name) for name in ("then_branch", "else_branch"))
    return [graph.as_graph() for graph in graphs if graph is not None and not graph.is_ref()]


def _declared(dim: int | ir.SymbolicDim) -> Dim | None:
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return Symbol("declared", dim.value) if dim.value else None


def _finished(
    value: ir.Value,
    type_: ir.TypeProtocol | None,
    dims: Dims | None,
    contents: Contents | Callable[[Info], Contents | None] | None = None,
) -> Info:
    """What is known of a value, with a symbol in every place that is not."""
    type_ = value.type if type_ is None else type_
    if dims is None or len(dims) > MAX_RANK or not isinstance(type_, ir.TensorType):
        return Info(type_)
    whole = tuple(
        [
            dim if dim is not None and is_writable(dim) else Symbol("dim", value=value, index=axis)
            for axis, dim in enumerate(dims)
        ]
    )
    info = Info(type_, whole)
    found = contents(info) if callable(contents) else contents
    return Info(type_, whole, with_symbols(found, value, info))


def _constant(value: ir.Value, tensor: ir.TensorProtocol) -> Info:
    return _finished(value, ir.TensorType(tensor.dtype), tensor.shape.numpy(), constant_contents(tensor))


# What Python and numpy raise for attributes of the wrong type or number, axes that are not there, sizes that overflow.
_NONSENSE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _inferred(view: NodeView) -> list[Info]:
    """What is known of a node's outputs; nothing where the node itself makes no sense, which is for a runtime to say."""
    node = view.node
    try:
        return _inferred_of_valid(view)
    except _NONSENSE as error:
        logger.debug("nothing is inferred for node %r (%s): %s", node.name, node.op_type, error)
        return [Info(value.type) for value in node.outputs]


def _inferred_of_valid(view: NodeView) -> list[Info]:
    node = view.node
    if node.domain == "" and node.op_type == "Constant" and len(node.outputs) == 1:
        for name, dtype in _CONSTANTS.items():
            attribute = node.attributes.get(name)
            if attribute is not None and not attribute.is_ref():
                # as_tensor() would check a protocol with 20 members
                tensor = attribute.value if dtype is None else ir.tensor(attribute.value, dtype)
                return [_constant(node.outputs[0], tensor)]
    fixed = not any(attribute.is_ref() for attribute in node.attributes.values())
    results = _own(view, fixed=fixed) if node.domain == "" else None
    if results is None and fixed:
        results = results_of_onnx(view)
    if results is None:
        return [Info(value.type) for value in node.outputs]
    infos = [_finished(value, *result) for value, result in zip(node.outputs[1:], results[1:], strict=True)]
    find = (lambda info: node_contents(view, info)) if fixed and node.domain == "" else None
    return [_finished(node.outputs[0], *results[0], find), *infos]


_CONSTANTS: Final = {
    "value": None,
    "value_int": ir.DataType.INT64,
    "value_ints": ir.DataType.INT64,
    "value_float": ir.DataType.FLOAT,
    "value_floats": ir.DataType.FLOAT,
}


def _own(view: NodeView, *, fixed: bool) -> list[Result] | None:
    """What our own rules find for one node, where onnx stops at the first symbol or takes long; None without a rule.

    Args:
        view: The node.
        fixed: Its attributes are known; they are not where they refer to those of the function that it is in.
    """
    node, first = view.node, view.info(0)
    facts = op_facts(node.op_type)
    if first is None or len(node.outputs) != 1:
        return None
    if facts.like_first:
        return [(first.type, first.dims)]
    if facts.broadcasts and view.version >= 7:
        data = view.info(1) if node.op_type == "Where" else first
        type_ = ir.TensorType(ir.DataType.BOOL) if facts.compares else data.type if data is not None else None
        return [(type_, broadcast([view.dims(index) for index in range(len(view.inputs))]))]
    if not fixed:
        return None
    if node.op_type == "Cast":
        return [(ir.TensorType(ir.DataType(node.attributes.get_int("to", 0))), first.dims)]
    rule = DIM_RULES.get(node.op_type)
    if rule is None:
        return None
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get_tensor("value")
        return [(ir.TensorType(ir.DataType.FLOAT if fill is None else fill.dtype), rule(view))]
    return [(first.type, rule(view))]

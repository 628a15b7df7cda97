"""Whole models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxfuse.testing.strategies.bodies import DOMAIN, body_makers
from onnxfuse.testing.strategies.elementwise import ELEMENTWISE
from onnxfuse.testing.strategies.graph import SIZES, Draft, Draw, Maker, Value, World, fixed, numpy_type
from onnxfuse.testing.strategies.kernels import EXOTIC, FLOATS, types_of
from onnxfuse.testing.strategies.layers import LAYERS
from onnxfuse.testing.strategies.movement import MOVEMENT
from onnxfuse.testing.strategies.patterns import PATTERNS

__all__ = ["OPSETS", "feeds_for", "models"]

OPSETS: Final = (17, *range(7, 17), *range(18, 25))
"""The opsets of generated models; 17 is what they shrink to where nothing depends on it."""
PLAIN: Final = (*ELEMENTWISE, *MOVEMENT, *LAYERS, *PATTERNS)


@st.composite
def models(
    draw: Draw,
    *,
    opsets: Sequence[int] = OPSETS,
    max_nodes: int = 8,
    bodies: bool = True,
    functions: bool = True,
) -> onnx.ModelProto:
    """Draws a model.

    Args:
        draw: Given by hypothesis.
        opsets: Opsets to draw from; what does not depend on it shrinks to the first.
        max_nodes: How many nodes (or small patterns of nodes) the main graph has at the most.
        bodies: Whether there are If, Loop and Scan.
        functions: Whether there are local functions.

    Returns:
        A model with up to five inputs and up to five outputs, tensors of at most some thousand elements, and IR 3 to 11.
    """
    opset = draw(st.sampled_from(list(opsets)))
    ir_version = draw(st.sampled_from([8, 3, 4, 6, 7, 9, 10, 11]))
    world = World(opset, ir_version)
    graph = Draft(draw, world)
    # Below IR 4 a body has no room for initializers, and below opset 9 Constant is of floats only.
    kinds = _makers(opset, bodies and (opset >= 9 or ir_version >= 4), functions and ir_version >= 8)
    for maker in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=max_nodes)):
        maker.make(graph)
    return _finished(graph)


@cache
def _makers(opset: int, bodies: bool, functions: bool) -> list[Maker]:
    """Returns what can be drawn at an opset, each as often as its weight says; the simplest first."""
    nested: list[Maker] = []
    if bodies or functions:
        inside = _makers(opset, False, False)

        def fill(graph: Draft, count: int) -> None:
            for maker in graph.draw(st.lists(st.sampled_from(inside), min_size=1, max_size=count)):
                maker.make(graph)

        nested = [m for m in body_makers(fill) if (functions if m.op_type == "Function" else bodies)]
    present = [maker for maker in (*PLAIN, *nested) if maker.since <= opset and _exists(maker.op_type, opset)]
    return [maker for maker in present for _ in range(maker.weight)]


def _exists(op_type: str, opset: int) -> bool:
    if op_type in ("If", "Loop", "Scan", "Function"):
        return True
    return any(types_of(op_type, opset, parameter) for parameter in ("T", "T1", "V", "D"))


def _finished(graph: Draft) -> onnx.ModelProto:
    """Returns the model: the last value and a few others go out, the rest is without a use."""
    computed = [v for v in graph.values if v not in graph.inputs]
    outputs: list[Value] = []
    for index, value in enumerate(computed[::-1]):
        if len(outputs) < 5 and (index == 0 or graph.chance(25)):
            outputs.append(_ordinary(graph, value))
    if not outputs:  # all that was computed is too large to be read on
        outputs = [graph.add("Identity", [graph.source([TensorProto.FLOAT], (1, 2))], TensorProto.FLOAT, ())]
    world = graph.world
    if graph.chance(10):  # what no one reads
        graph.inputs.append(Value(world.fresh("x"), TensorProto.FLOAT, fixed(2)))
    inputs = [value.info() for value in graph.inputs]
    listed = graph.initializers if world.ir_version < 4 else world.overridable
    inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in listed]
    proto = helper.make_graph(
        graph.nodes,
        "generated",
        inputs,
        [value.info(ranked=graph.chance(20)) for value in outputs],
        graph.initializers,
        value_info=[v.info() for v in computed if v not in outputs and graph.chance(15)],
    )
    imports = [helper.make_opsetid("", world.opset)]
    if world.functions:
        imports.append(helper.make_opsetid(DOMAIN, 1))
    return helper.make_model(
        proto, opset_imports=imports, ir_version=world.ir_version, functions=world.functions, producer_name="generated"
    )


def _ordinary(graph: Draft, value: Value) -> Value:
    if value.elem_type not in EXOTIC:
        return value
    return graph.add("Cast", [value], TensorProto.FLOAT, value.shape, to=TensorProto.FLOAT)


def feeds_for(model: onnx.ModelProto, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws ordinary values for the inputs of a generated model: normal floats, small integers.

    Args:
        model: What `models` drew.
        seed: Of the values.

    Returns:
        An array for each input without a default; symbolic dims have the sizes of `SIZES`.
    """
    generator = np.random.default_rng(seed)
    constant = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, np.ndarray] = {}
    for value in model.graph.input:
        if value.name not in constant:
            tensor = value.type.tensor_type
            sizes = [SIZES[dim.dim_param] if dim.dim_param else dim.dim_value for dim in tensor.shape.dim]
            feeds[value.name] = _ordinary_values(tensor.elem_type, sizes, generator)
    return feeds


def _ordinary_values(elem_type: int, sizes: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    dtype: Any = numpy_type(elem_type)
    if elem_type == TensorProto.STRING:
        return np.array([f"s{i}" for i in range(int(np.prod(sizes)))], dtype=object).reshape(sizes)
    if elem_type in FLOATS:
        return generator.normal(size=sizes).astype(dtype)
    if elem_type == TensorProto.BOOL:
        return generator.integers(0, 2, sizes).astype(np.bool_)
    low = 0 if np.issubdtype(dtype, np.unsignedinteger) else -4
    return generator.integers(low, 5, sizes).astype(dtype)

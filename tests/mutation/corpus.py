"""Models on which a pass fires, or nearly does: written for it, from the gauntlet, and generated."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from onnxfuse.testing import variations
from tests.gauntlet.runner import CASES, Case
from tests.mutation.texts import TEXTS
from tests.passes.chains import I32_MAX, MAX, MIN, chain

__all__ = ["Model", "corpus_of"]

LARGEST: Final = 300
"""Nodes: a longer model of the gauntlet is one pattern many times over."""
CHAINS: Final = 60
LENGTHS: Final[tuple[tuple[int | str, ...], ...]] = ((6, 7, "N"), (5, "M"))
RANDOM: Final = ("random", "dropout")
"""Categories whose models give other results at every run."""

SURROUNDINGS: Final[tuple[Callable[[onnx.ModelProto], onnx.ModelProto], ...]] = (
    variations.within_branches,
    variations.within_loop,
    variations.within_function,
)


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: Unique for a pass.
        data: Serialized.
        case: Where it is one of the gauntlet.
    """

    name: str
    data: bytes
    case: Case | None = None


def corpus_of(name: str, ops: frozenset[str]) -> list[Model]:
    """Returns the models for a pass.

    Args:
        name: Of the pass.
        ops: What it is asked about.
    """
    made = [*_written(name), *_generated(name)]
    models = [Model(called, proto.SerializeToString()) for called, proto in made]
    for case in CASES.values():
        proto = onnx.load_from_string(case.data)
        if case.category not in RANDOM and len(proto.graph.node) < LARGEST and ops & _op_types(proto):
            models.append(Model(f"gauntlet {case.name}", case.data, case))
    return models


def _op_types(proto: onnx.ModelProto) -> set[str]:
    found = set()
    stack = [proto.graph.node, *(function.node for function in proto.functions)]
    while stack:
        for node in stack.pop():
            found.add(node.op_type)
            stack += [attribute.g.node for attribute in node.attribute if attribute.HasField("g")]
    return found


def _written(name: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yields the models written for a pass; the first one also in other surroundings, its values read elsewhere too."""
    for number, text in enumerate(TEXTS[name]):
        yield f"written {number}", with_weights(onnx.parser.parse_model(text))
    first = with_weights(onnx.parser.parse_model(TEXTS[name][0]))
    for surround in SURROUNDINGS:
        yield surround.__name__, surround(first)
    for value in variations.inner_values(first):
        yield f"{value} returned", variations.returned(first, value)
        yield f"{value} read again", variations.read_again(first, value)
        yield f"{value} read in a branch", variations.read_in_branch(first, value)


def with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turns every input whose name begins with a capital into an initializer with seeded content.

    Those that begin with V are variances, and positive.
    """
    rng = np.random.default_rng(0)
    inputs = [value for value in model.graph.input if value.name[0].isupper()]
    for value in inputs:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        array = rng.standard_normal([dim.dim_value for dim in tensor.shape.dim])
        array = np.abs(array) + 0.1 if value.name.startswith("V") else array
        model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), value.name))
        model.graph.input.remove(value)
    onnx.checker.check_model(model, full_check=True)
    return model


def _generated(name: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yields chains of Slices over known and unknown lengths, for the pass that merges them."""
    if name != "merge-sliced":
        return
    rng = random.Random(0)
    bounds = [0, 1, 2, 3, 5, 8, -1, -2, -3, -6, MAX, MIN, I32_MAX]
    for number in range(CHAINS):
        shape = [rng.choice(lengths) for lengths in LENGTHS]
        cuts = []
        for _ in range(rng.choice([2, 2, 3])):
            axes = rng.sample([0, 1], rng.choice([1, 1, 2]))
            steps = [rng.choice([1, 1, 1, 2, 3, -1, -2]) for _ in axes]
            parts = [(rng.choice(bounds), rng.choice(bounds), step) for step in steps]
            cuts.append(
                {axis - 2 if rng.random() < 0.2 else axis: part for axis, part in zip(axes, parts, strict=True)}
            )
        yield f"chain {number}", chain(shape, *cuts)

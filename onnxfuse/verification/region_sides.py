"""Both sides of a region, ready to run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import onnx
import onnx_ir as ir

from onnxfuse.analysis.shapes import Dim
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.region_model import Built, Region
from onnxfuse.verification.sessions import PREFERRED

__all__ = ["Results", "Sides", "bound", "known_shape", "region_dtype", "side_model", "symbol_count"]

Results = tuple[list[Any], list[Any]]


class Sides:
    """Both sides of a region in one session, and where that fails the original alone.

    Attributes:
        model: Both sides, its inputs with types.
        why: Why the last input did not run.
    """

    def __init__(self, region: Region, built: Built, guess: int, make: Callable[[EvalModel], Evaluator]) -> None:
        """Makes the session.

        Args:
            region: The region.
            built: Both sides in one model.
            guess: The rank for inputs whose rank is not known.
            make: Makes a session of a model.
        """
        self.why = ""
        self._make = make
        self._region, self._built, self._guess = region, built, guess
        self.model = side_model(region, built, guess, None)
        self._both = make(EvalModel(self.model, built.weights))
        self._original: Evaluator | None = None
        self._refused = self._refusal()

    def run(self, feeds: Mapping[str, Any]) -> Results | str | None:
        """Runs both.

        Returns:
            The results of each side; None where the original does not run either; or why only the replacement fails.
        """
        if self._refused is not None:
            return self._refused
        try:
            results = self._both.run(feeds)
        except EvaluationError as error:
            self.why = str(error)
            return f"it fails where the original runs: {error}" if self._original_runs(feeds) else None
        by_name = {**feeds, **dict(zip([value.name for value in self.model.graph.output], results, strict=True))}
        before, after = zip(*self._built.pairs, strict=True)
        return [by_name[name] for name in before], [by_name[name] for name in after]

    def _refusal(self) -> str | None:
        """Why onnxruntime refuses the replacement where it takes the original: the reference evaluator is laxer."""
        reason = self._both.why_not_onnxruntime
        if reason is None or reason == PREFERRED or "Could not find an implementation" in reason:
            return None
        self._original = self._make(self.side("before"))
        if self._original.backend != "onnxruntime":
            return None
        return f"onnxruntime takes the original and refuses the replacement: {reason}"

    def rerun(self, model: EvalModel, feeds: Mapping[str, Any]) -> list[Any]:
        """Runs the original, given it with other weights; raises `EvaluationError`."""
        return self._make(model).run(feeds)

    def side(self, side: Literal["before", "after"]) -> EvalModel:
        """One side as a model of its own."""
        return EvalModel(side_model(self._region, self._built, self._guess, side), self._built.weights)

    def _original_runs(self, feeds: Mapping[str, Any]) -> bool:
        self._original = self._original or self._make(self.side("before"))
        try:
            self._original.run(feeds)
        except EvaluationError:
            return False
        return True


def side_model(region: Region, built: Built, guess: int, side: Literal["before", "after"] | None) -> onnx.ModelProto:
    """Returns one side of a region as a model, or both; its inputs have types, and dims as far as they are known."""
    model = onnx.ModelProto()
    model.CopyFrom(built.model)
    graph = model.graph
    if side is not None:
        last = len(graph.node)
        first = last - len(region.after)
        if side == "before":
            del graph.node[first:]
        else:
            del graph.node[first - len(region.before) : first]
        del graph.output[:]
        graph.output.extend(onnx.ValueInfoProto(name=pair[side == "after"]) for pair in built.pairs)
    for name, value in built.inputs.items():
        tensor = graph.input.add(name=name).type.tensor_type
        tensor.elem_type = int(region_dtype(region, value))
        tensor.shape.SetInParent()
        for axis in range(len(known_shape(region.shapes.shape(value), guess))):
            tensor.shape.dim.add(dim_param=f"{name}_{axis}")
    return model


def region_dtype(region: Region, value: ir.Value) -> ir.DataType:
    """The type of a border value; in a function nothing is known of it, and what moves data moves every type alike."""
    return region.shapes.dtype(value) or ir.DataType.FLOAT


def known_shape(shape: tuple[Dim, ...] | None, guess: int) -> tuple[Dim | None, ...]:
    """A shape; of the rank `guess` where it is not known."""
    return (None,) * guess if shape is None else shape


def bound(shapes: Mapping[str, tuple[Dim | None, ...]], sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Gives every symbol a size; equal symbols get equal ones."""
    given: dict[Dim, int] = {}
    cycle = itertools.cycle(sizes)
    bound = {}
    for name, shape in shapes.items():
        dims = []
        for dim in shape:
            if isinstance(dim, int):
                dims.append(dim)
            elif dim is None:
                dims.append(next(cycle))
            else:
                if dim not in given:
                    given[dim] = next(cycle)
                dims.append(given[dim])
        bound[name] = tuple(dims)
    return bound


def symbol_count(shapes: Mapping[str, tuple[Dim | None, ...]]) -> int:
    """Returns how many sizes `bound` takes."""
    dims = [dim for shape in shapes.values() for dim in shape if not isinstance(dim, int)]
    return len({dim for dim in dims if dim is not None}) + dims.count(None)

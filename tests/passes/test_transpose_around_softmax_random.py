"""transpose-around-softmax on random nodes: what is moved computes the same, and what is not is left byte for byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

import onnxfuse
from onnxfuse.passes.transpose_around_softmax import Gate, TransposeAroundSoftmax
from onnxfuse.testing import variations
from onnxfuse.testing.oracle import Array, feeds_of, open_session
from tests.passes.softmaxes import OPS, normalising, with_swaps
from tests.profile import EXAMPLES

SIZES = (0, 1, 2, 3, 5, 15, 16, 17, 32)
SYMBOLS = ("N", "M", "K")
LARGEST = 4096
"""Elements of a drawn tensor, its symbols aside."""
SURROUNDINGS: Final[Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]]] = {
    "alone": lambda model: model,
    "in branches": variations.within_branches,
    "in a function": variations.within_function,
}


@dataclass(frozen=True)
class Drawn:
    """A node, a pass, and where the node is.

    Attributes:
        op: Its op_type.
        shape: Of its input; None for a rank that is not known.
        axis: As it is written; None where it is not.
        opset: Of the model.
        elem_type: The element type.
        around: One of `SURROUNDINGS`.
        pass_: The pass, with its options.
    """

    op: str
    shape: tuple[int | str, ...] | None
    axis: int | None
    opset: int
    elem_type: int
    around: str
    pass_: TransposeAroundSoftmax

    def model(self) -> onnx.ModelProto:
        """Returns the model."""
        model = normalising(
            self.shape, op=self.op, axis=self.axis, opset=self.opset, elem_type=self.elem_type, ir_version=10
        )
        if self.shape is not None:
            for dim, written in zip(model.graph.output[0].type.tensor_type.shape.dim, self.shape, strict=True):
                if isinstance(written, int):
                    dim.dim_value = written
        return SURROUNDINGS[self.around](model)

    def expected(self) -> list[tuple[str, list[int]]] | str:
        """Returns what must take the node's place, nothing where it stays without a word, or the reason why it stays."""
        if self.opset < 13:
            return f"below opset 13 a {self.op} normalises over the flattened trailing dims: run convert-opset{{to=13}} first"
        if self.shape is None or self.around == "in a function":
            return "the rank is not known"
        rank = len(self.shape)
        if rank < self.pass_.min_rank:
            return f"the rank is {rank}, less than min-rank={self.pass_.min_rank}"
        axis = range(rank)[-1 if self.axis is None else self.axis]
        if not -rank <= self.pass_.axis < rank:
            return f"axis={self.pass_.axis} is none of a tensor of rank {rank}"
        target = range(rank)[self.pass_.axis]
        if axis == target:
            return []
        size = self.shape[axis]
        if self.pass_.gate is Gate.UNALIGNED and axis < rank - 1:
            return f"it normalises axis {axis}, not the last one"
        if self.pass_.gate is Gate.UNALIGNED and isinstance(size, str):
            return "the size of the last axis is not known"
        if self.pass_.gate is Gate.UNALIGNED and size in (0, 16, 32):
            return f"the size of the last axis is {size}, a multiple of 16"
        perm = np.arange(rank)
        perm[[axis, target]] = target, axis
        return [("Transpose", perm.tolist()), (self.op, [target]), ("Transpose", perm.tolist())]


passes = st.builds(
    TransposeAroundSoftmax,
    axis=st.sampled_from([1, 1, 1, 1, -1, 0, 2, -2, 5]),
    min_rank=st.sampled_from([3, 3, 3, 2, 1, 4]),
    gate=st.sampled_from([Gate.UNALIGNED, Gate.ALWAYS, Gate.ALWAYS]),
)


@st.composite
def nodes(draw: st.DrawFn) -> Drawn:
    """Draws a node that is valid at its opset."""
    op = draw(st.sampled_from(OPS))
    opset = draw(st.sampled_from([*range(13, 27), 13, 17, 1, 7, 11, 12]))
    shape: tuple[int | str, ...] | None = None
    if draw(st.integers(0, 15)):
        sizes = st.one_of(st.sampled_from(SIZES), st.sampled_from(SIZES), st.sampled_from(SYMBOLS))
        rank = draw(st.sampled_from([1, 2, 3, 3, 4, 4, 5, 6]))
        shape = tuple(draw(st.lists(sizes, min_size=rank, max_size=rank).filter(_is_small)))
    rank = 1 if shape is None else len(shape)
    axis = draw(st.one_of(st.none(), st.integers(-rank if opset >= 11 else 0, rank - 1)))
    if axis is None and opset < 13 and rank == 1:
        axis = 0  # the default was axis 1
    common = [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16]
    # onnxruntime 1.31 has a Hardmax of floats only.
    elem_type = draw(st.sampled_from(common)) if op != "Hardmax" else TensorProto.FLOAT
    around = draw(st.sampled_from([*SURROUNDINGS, "alone", "alone", "in branches"])) if shape is not None else "alone"
    return Drawn(op, shape, axis, opset, elem_type, around, draw(passes))


def _is_small(shape: list[int | str]) -> bool:
    return math.prod(size for size in shape if isinstance(size, int)) <= LARGEST


@EXAMPLES
@given(drawn=nodes(), other=passes)
def test_random_nodes(drawn: Drawn, other: TransposeAroundSoftmax) -> None:
    model, expected = drawn.model(), drawn.expected()
    given_bytes = model.SerializeToString()
    after, report = onnxfuse.apply(model, drawn.pass_, verify="region")

    assert (report.rejected, report.failed) == ((), ())
    assert model.SerializeToString() == given_bytes
    times = 2 if drawn.around == "in branches" else 1
    if isinstance(expected, str) or not expected:
        assert [answer.reason for answer in report.declined] == ([expected] * times if expected else [])
        assert not report.modified
        assert after.SerializeToString() == given_bytes
        return
    assert len(report.applied) == times
    assert report.declined == ()
    onnx.checker.check_model(after, full_check=True)
    inner = [after.graph]
    if drawn.around == "in branches":
        inner = [attribute.g for node in after.graph.node for attribute in node.attribute]
    for graph in inner:
        assert with_swaps(onnx.ModelProto(graph=graph)) == expected
    assert_equal_within_rounding(model, after, exact=drawn.op == "Hardmax")
    # Whatever the options, what it made is not moved again.
    assert not onnxfuse.apply(after, drawn.pass_, verify="off").report.modified
    assert not onnxfuse.apply(after, other, verify="off").report.modified


def assert_equal_within_rounding(before: onnx.ModelProto, after: onnx.ModelProto, *, exact: bool) -> None:
    """Asserts on onnxruntime that two models give the same numbers, up to the order in which they are added.

    A Hardmax is exact, but for NaN, of which ONNX does not say what it makes.
    """
    sessions = [open_session(model) for model in (before, after)]
    for feed in feeds_of(before):
        if exact:  # which element onnxruntime 1.31 takes for the greatest beside NaN depends on where they lie
            feed["x"] = np.where(np.isnan(feed["x"]), np.float32(0), feed["x"])
        (one,), (other,) = (session.run(["y"], feed) for session in sessions)
        assert one.dtype == other.dtype
        if exact:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=_noise(one), atol=_noise(one))


def _noise(array: Array) -> float:
    """Returns what sums of a hundred terms may differ by."""
    return float(100 * np.finfo(array.dtype).eps)

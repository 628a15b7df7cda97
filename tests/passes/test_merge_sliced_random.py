"""merge-sliced on random chains of Slices."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

import onnxfuse
from onnxfuse.passes._slices import AMBIGUOUS, INEXPRESSIBLE
from onnxfuse.report.records import Report
from onnxfuse.testing.oracle import run, same
from tests.passes.chains import I32_MAX, I32_MIN, MAX, MIN, Cut, chain
from tests.passes.running import ops_of, refer
from tests.profile import EXAMPLES

TOO_LARGE = "the bounds on axis {axis} are too large to prove the merge for every length"
SYMBOLS = ("N", "M", "K")
SIZES = ((0, 1, 2), (1, 3, 0), (2, 2, 5), (3, 0, 1), (5, 8, 13), (8, 5, 4), (13, 4, 9))
small = st.integers(-10, 10)
extremes = {
    TensorProto.INT64: st.sampled_from([MAX, MIN, MIN + 1, I32_MAX, -I32_MAX, I32_MIN, MAX - 1]),
    TensorProto.INT32: st.sampled_from([I32_MAX, I32_MIN, I32_MIN + 1, I32_MAX - 1]),
}


@st.composite
def random_cuts(draw: st.DrawFn, rank: int, opset: int) -> Cut:
    """Draws one Slice of a tensor of that rank."""
    dtype = draw(st.sampled_from([TensorProto.INT64, TensorProto.INT32])) if opset >= 10 else TensorProto.INT64
    bound = st.one_of(small, small, extremes[dtype])
    axes = draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
    step = st.sampled_from([-3, -2, -1, 1, 1, 1, 2, 3]) if opset >= 10 else st.just(1)
    parts = {axis: (draw(bound), draw(bound), draw(step)) for axis in axes}
    written = {axis - rank if draw(st.booleans()) else axis: part for axis, part in parts.items()}
    return Cut(
        written,
        dtype=dtype,
        axes=list(written) != list(range(len(written))) or draw(st.booleans()),
        steps=any(step != 1 for _, _, step in parts.values()) or draw(st.booleans()),
        as_nodes=opset >= 10 and draw(st.booleans()),
    )


@st.composite
def random_chains(draw: st.DrawFn) -> onnx.ModelProto:
    """Draws a chain of two to four Slices."""
    opset = draw(st.sampled_from([1, 7, 9, 10, 11, 13, 17, 21, 23]))
    shape = draw(st.lists(st.one_of(st.integers(0, 8), st.sampled_from(SYMBOLS)), min_size=1, max_size=4))
    cuts = draw(st.lists(random_cuts(len(shape), opset), min_size=2, max_size=4))
    common = [TensorProto.FLOAT] * 3 + [TensorProto.INT64] * 2
    elem_type = draw(st.sampled_from([*common, TensorProto.BOOL, TensorProto.STRING]))
    return chain(shape, *cuts, opset=opset, elem_type=elem_type, ir_version=draw(st.sampled_from([3, 8, 10])))


def numbered(model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """Returns feeds in which every element of x is told apart from its neighbours, for several sizes of the symbols."""
    tensor = model.graph.input[0].type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    feeds = []
    for sizes in SIZES if any(isinstance(dim, str) for dim in dims) else SIZES[:1]:
        bound = dict(zip(SYMBOLS, sizes, strict=True))
        shape = [bound[dim] if isinstance(dim, str) else dim for dim in dims]
        ids = np.arange(np.prod(shape)).reshape(shape)
        if tensor.elem_type == TensorProto.STRING:
            feeds.append({"x": ids.astype(str).astype(object)})
        elif tensor.elem_type == TensorProto.BOOL:
            feeds.append({"x": (ids * 2654435761 >> 7) % 2 == 1})
        else:
            feeds.append({"x": ids.astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))})
    return feeds


@EXAMPLES
@given(model=random_chains())
def test_random_chains(model: onnx.ModelProto) -> None:
    given_bytes = model.SerializeToString()
    after, report = onnxfuse.apply(model, "merge-sliced", verify="region")

    assert report.rejected == ()
    assert report.failed == ()
    assert model.SerializeToString() == given_bytes
    assert report.modified or after.SerializeToString() == given_bytes
    feeds = numbered(model)
    for evaluate in (run, refer):
        for feed, one, other in zip(feeds, evaluate(model, feeds), evaluate(after, feeds), strict=True):
            assert same(one["y"], other["y"]), (evaluate.__name__, feed["x"].shape, one, other)
    assert_complete(model, after, report)
    assert not onnxfuse.apply(after, "merge-sliced", verify="off").report.modified


def assert_complete(model: onnx.ModelProto, after: onnx.ModelProto, report: Report) -> None:
    """Asserts that a chain of known lengths and positive steps is one Slice or none, and that the rest has a reason."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    known = all(dim.HasField("dim_value") for dim in dims)
    left = ops_of(after).count("Slice")
    if known and not any(step < 0 for step in steps_of(model)):
        assert left <= 1
        assert report.declined == ()
    if left > 1:
        reasons = {outcome.reason for outcome in report.declined}
        assert reasons
        sentences = (AMBIGUOUS, INEXPRESSIBLE, TOO_LARGE)
        assert reasons <= {sentence.format(axis=axis) for sentence in sentences for axis in range(len(dims))}


def steps_of(model: onnx.ModelProto) -> list[int]:
    """Returns the steps that are written anywhere in a chain."""
    tensors = [
        *model.graph.initializer,
        *(node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"),
    ]
    return [
        step for tensor in tensors if tensor.name.endswith("steps") for step in numpy_helper.to_array(tensor).tolist()
    ]

"""Random models converted to newer opsets: they compute what they did, or are declined."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st

import onnxfuse
from onnxfuse.testing.oracle import run, same
from onnxfuse.testing.strategies import feeds_for, models
from tests.passes.converting import agree
from tests.passes.softmaxes import OPS, alone
from tests.profile import EXAMPLES


@EXAMPLES
@given(
    model=models(opsets=range(7, 22), max_nodes=4, functions=False),
    to=st.sampled_from([13, 15, 17, 18, 20, 21]),
    seed=st.integers(0, 9),
)
def test_random_models(model: onnx.ModelProto, to: int, seed: int) -> None:
    version = model.opset_import[0].version
    result = onnxfuse.apply(model, f"convert-opset{{to={to}}}", verify="off")

    assert not result.report.rejected
    if version >= to or result.report.declined:
        assert result.model.SerializeToString() == model.SerializeToString()
        assert bool(result.report.declined) or version == to
        return
    onnx.checker.check_model(result.model)
    feed = feeds_for(model, seed=seed)
    (one,), (other,) = run(model, [feed]), run(result.model, [feed])
    for name, value in one.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(other[name], value, rtol=1e-3, atol=1e-5)
        else:
            assert same(value, other[name]), name


@st.composite
def softmaxes(draw: st.DrawFn) -> tuple[onnx.ModelProto, list[tuple[int, ...]]]:
    """Draws a Softmax of any rank, axis and old opset, and shapes that it takes."""
    dims: list[int | str] = [1, 2, 3, 0, "N", "M"]
    shape = draw(st.lists(st.sampled_from(dims), min_size=1, max_size=4))
    opset = draw(st.integers(7, 12))
    axes = st.integers(-len(shape) if opset >= 11 else 0, len(shape) - 1)
    # An axis that is not written is 1.
    axis = draw(st.one_of(axes, st.none()) if len(shape) > 1 else axes)
    model = alone(shape, op=draw(st.sampled_from(OPS)), axis=axis, opset=opset)
    sizes = [{"N": n, "M": m} for n, m in ((2, 3), (0, 2), (3, 0))]
    return model, [tuple(dim if isinstance(dim, int) else size[dim] for dim in shape) for size in sizes]


@EXAMPLES
@given(drawn=softmaxes(), to=st.sampled_from([13, 14, 18]))
def test_random_softmaxes(drawn: tuple[onnx.ModelProto, list[tuple[int, ...]]], to: int) -> None:
    model, shapes = drawn
    after, report = onnxfuse.apply(model, f"convert-opset{{to={to}}}", verify="off")

    assert report.modified != bool(report.declined)
    onnx.checker.check_model(after, full_check=True)
    for shape in shapes:
        agree(model, after, *shape)

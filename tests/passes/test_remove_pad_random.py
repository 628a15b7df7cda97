"""remove-pad on random Pads."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import onnxfuse
from onnxfuse.testing.oracle import open_session, same
from tests.passes.pads import pad
from tests.passes.running import ops_of
from tests.profile import EXAMPLES

MODES = {"constant": 1, "reflect": 1, "edge": 1, "wrap": 19}
ELEM_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)


@st.composite
def random_pads(draw: st.DrawFn) -> tuple[onnx.ModelProto, list[int]]:
    """Draws a Pad in any mode, and its pads."""
    mode = draw(st.sampled_from(sorted(MODES)))
    opset = draw(st.sampled_from([opset for opset in (2, 10, 11, 13, 17, 18, 19, 21, 23) if opset >= MODES[mode]]))
    least = 1 if mode == "wrap" else 0  # onnxruntime 1.31 does not run that mode on a tensor without elements
    shape = draw(st.lists(st.one_of(st.integers(least, 6), st.sampled_from(["N", "M"])), min_size=1, max_size=4))
    axes = None
    if opset >= 18 and draw(st.booleans()):
        chosen = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
        axes = [axis - len(shape) if draw(st.booleans()) else axis for axis in chosen]
    count = 2 * (len(shape) if axes is None else len(axes))
    one = st.just(0) if draw(st.booleans()) else st.integers(-2, 3)
    pads = draw(st.lists(one, min_size=count, max_size=count))
    elem_type = draw(st.sampled_from(ELEM_TYPES)) if opset >= 13 else TensorProto.FLOAT
    fill = mode == "constant" and draw(st.booleans())
    return pad(shape, pads, opset=opset, mode=mode, axes=axes, fill=fill, elem_type=elem_type), pads


@EXAMPLES
@given(drawn=random_pads())
def test_random_pads(drawn: tuple[onnx.ModelProto, list[int]]) -> None:
    model, pads = drawn
    given_bytes = model.SerializeToString()
    after, report = onnxfuse.apply(model, "remove-pad", verify="region")

    assert report.rejected == ()
    assert report.failed == ()
    assert model.SerializeToString() == given_bytes
    if any(pads):
        assert [(answer.at.node, answer.reason) for answer in report.declined] == [
            ("pad", f"the pads are not all zero: {pads}")
        ]
        assert after.SerializeToString() == given_bytes
        return
    assert ops_of(after) == ["Identity", "Identity"]
    assert not after.graph.initializer
    sessions = [open_session(model), open_session(after)]
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    for size in (1, 5) if "wrap" in onnx.printer.to_text(model) else (0, 1, 5):
        shape = [size if isinstance(dim, str) else dim for dim in dims]
        dtype = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
        feed = {"x": np.arange(np.prod(shape)).reshape(shape).astype(dtype)}
        one, other = (session.run(["y"], feed)[0] for session in sessions)
        assert same(one, other)
        assert same(other, feed["x"])

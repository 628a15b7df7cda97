"""remove-pad: what it declines, and why."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

import onnxfuse
from onnxfuse.report.records import Declined, Place
from tests.passes.pads import pad
from tests.passes.running import assert_same_results, parse

HEADER = '<ir_version: 8, opset_import: ["": 17]>'


def declined(model: onnx.ModelProto) -> tuple[Declined, ...]:
    """Applies the pass where it must not fire; returns why not."""
    result = onnxfuse.apply(model, "remove-pad")
    assert result.report.applied == ()
    assert result.report.rejected == ()
    assert result.model.SerializeToString() == model.SerializeToString()
    return result.report.declined


@pytest.mark.parametrize("opset", [2, 11, 18])
@pytest.mark.parametrize("pads", [[0, 0, 0, 1], [0, -1, 0, 0], [1, 0, -1, 0], [0, -1, 0, 1]])
def test_declines_pads_that_are_not_all_zero(opset: int, pads: list[int]) -> None:
    assert declined(pad(("N", 4), pads, opset=opset)) == (
        Declined(Place("pad", "Pad"), f"the pads are not all zero: {pads}"),
    )


def test_declines_pads_that_come_in_at_run_time() -> None:
    model = parse(f"{HEADER} g (float[N] x, int64[2] pads) => (float[M] y) {{ y = Pad(x, pads) }}")
    assert declined(model) == (Declined(Place("y", "Pad"), "the pads are not constant"),)


def test_declines_pads_that_the_caller_can_override() -> None:
    model = pad(("N",), [0, 0])
    model.graph.input.append(helper.make_tensor_value_info("pads", TensorProto.INT64, [2]))
    assert declined(model) == (Declined(Place("pad", "Pad"), "the pads are not constant"),)


def test_declines_pads_that_follow_from_a_symbolic_dim() -> None:
    model = parse(
        f"""{HEADER} g (float[N] x) => (float[M] y) <int64[1] four = {{4}}> {{
            shape = Shape(x)
            excess = Sub(shape, four)
            pads = Concat<axis = 0>(excess, excess)
            y = Pad(x, pads)
        }}"""
    )
    assert declined(model) == (Declined(Place("y", "Pad"), "the pads are not constant"),)


def test_pads_minus_themselves_are_zero_or_declined() -> None:
    model = parse(
        f"""{HEADER} g (float[N] x) => (float[N] y) {{
            shape = Shape(x)
            nothing = Sub(shape, shape)
            pads = Concat<axis = 0>(nothing, nothing)
            y = Pad(x, pads)
        }}"""
    )
    result = onnxfuse.apply(model, "remove-pad")

    assert result.report.rejected == ()
    assert result.report.failed == ()
    assert_same_results(model, result.model)


def test_declines_pads_that_the_caller_of_a_function_gives() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 9, "local.example": 1]>
        g (float[N] x) => (float[M] y) { y = local.example.Fill<pads = [0, 0]>(x) }
        <domain: "local.example", opset_import: ["": 9]>
        Fill <pads> (x) => (y) { [inner] y = Pad<pads: ints = @pads>(x) }"""
    )

    assert declined(model) == (
        Declined(
            Place("inner", "Pad", ("local.example.Fill",)),
            "the attribute pads is given by the caller of the function",
        ),
    )


def test_pad_of_another_domain_is_no_pad() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "com.example": 1]>
        g (float[N] x) => (float[N] y) <int64[2] pads = {0, 0}> { y = com.example.Pad(x, pads) }"""
    )
    assert declined(model) == ()

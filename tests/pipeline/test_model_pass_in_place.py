"""Passes that change the model they are given in place: it is taken as it is, where it can stand in for the old one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

import onnxfuse
from tests.pipeline.edited import InPlace, chain, parsed


def test_what_is_changed_in_place_is_taken_as_it_is() -> None:
    def edit(model: ir.Model) -> None:
        model.graph.node("n3").metadata_props.clear()
        model.graph.node("n3").name = "relu"

    result, report = onnxfuse.apply(chain(), InPlace(edit))
    assert report.applied[0].evidence == "nothing that the model computes has changed"
    assert result.graph.node[3].name == "relu"
    assert not result.graph.node[3].metadata_props
    assert [tensor.name for tensor in result.graph.initializer] == ["w", "unused"]


def test_what_is_changed_in_place_keeps_the_interface() -> None:
    def edit(model: ir.Model) -> None:
        model.graph.inputs[0].shape = ir.Shape([8, 4])

    model = chain()
    result, report = onnxfuse.apply(model, InPlace(edit))
    assert "interface: input x accepts only 8 along axis 0" in report.rejected[0].reason
    assert result.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda model: setattr(model.graph.node("n0").outputs[0], "name", "b"), "'b' is defined twice"),
        (lambda model: setattr(model.graph.node("n0").outputs[0], "dtype", ir.DataType.INT64), "inconsistent type"),
        (lambda model: setattr(model, "ir_version", 99), "IR version 99 is newer"),
        (lambda model: setattr(model.graph.outputs[0], "shape", ir.Shape([7, 4])), "interface: output y"),
        (lambda model: model.graph.inputs.append(model.graph.initializers["w"]), "interface: input w is new"),
    ],
)
def test_what_is_changed_in_place_is_looked_at_as_it_would_be_written(
    edit: Callable[[ir.Model], None], reason: str
) -> None:
    model = chain()
    result, report = onnxfuse.apply(model, InPlace(edit))
    assert reason in report.rejected[0].reason
    assert result.SerializeToString() == model.SerializeToString()


def test_tensors_that_others_have_too_are_not_written_into() -> None:
    weights = np.array([1, 2], dtype=np.float32)
    model = onnxfuse.load(
        parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Mul(x, w) }
    """)
    )
    model.graph.initializers["w"].const_value = ir.Tensor(weights, name="w")

    def edit(copy: ir.Model) -> None:
        tensor = copy.graph.initializers["w"].const_value
        assert tensor is not None
        tensor.numpy()[0] = 7

    with pytest.raises(onnxfuse.PassError, match="read-only"):
        onnxfuse.apply(model, InPlace(edit))
    assert weights.tolist() == [1, 2]
    weights[0] = 3  # the caller may, as before

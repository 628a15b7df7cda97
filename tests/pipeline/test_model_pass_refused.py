"""Passes that make whole models: what of that is wrong, or cannot stand in for the model, is not put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import onnxfuse
from onnxfuse import Facts, ModelPass, Numerics, ToolError
from tests.pipeline.edited import FUNCTIONS, Edit, Edited, InPlace, chain, drop, parsed


def test_what_is_wrong_is_rolled_back_whole() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        drop(proto, "n0")  # right
        proto.graph.node[2].op_type = "Abs"  # wrong: it was the Relu

    model = chain()
    result, report = onnxfuse.apply(model, Edited(edit))
    (rejected,) = report.rejected
    assert rejected.at.node == "n3"
    assert "differ" in rejected.reason
    assert not report.modified
    assert result.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda proto: proto.graph.output.pop() and None, "output y is gone"),
        (lambda proto: setattr(proto.graph.input[0], "name", "z"), "input z is new"),
        (lambda proto: setattr(proto.graph.node[4], "op_type", "Nonsense"), "no valid ONNX"),
    ],
)
def test_what_cannot_stand_in_for_the_model_is_refused(edit: Edit, reason: str) -> None:
    model = chain()
    result, report = onnxfuse.apply(model, Edited(edit))
    assert reason in report.rejected[0].reason
    assert result.SerializeToString() == model.SerializeToString()


def test_weights_come_back_by_name() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        drop(proto, "n0")
        tensor = proto.graph.initializer[0]
        tensor.CopyFrom(onnx.TensorProto(name=tensor.name, dims=[4], data_type=1, doc_string="stripped"))

    result, _ = onnxfuse.apply(chain(), Edited(edit))
    assert numpy_helper.to_array(result.graph.initializer[0]).tolist() == [1, 2, 3, 4]

    def renamed(proto: onnx.ModelProto) -> None:
        edit(proto)
        proto.graph.initializer[0].name = proto.graph.node[0].input[1] = "other"

    _, report = onnxfuse.apply(chain(), Edited(renamed))
    assert "initializer other came back without its data" in report.rejected[0].reason


def test_a_tool_that_fails_is_reported_and_the_model_stays() -> None:
    def fails(proto: onnx.ModelProto) -> None:
        raise ToolError("the tool ended with signal 11")

    model = chain()
    result, report = onnxfuse.apply(model, [Edited(fails), "remove-pad"])
    assert [outcome.reason for outcome in report.rejected] == ["the tool ended with signal 11"]
    assert result.SerializeToString() == model.SerializeToString()


def test_a_pass_that_breaks_its_contract() -> None:
    with pytest.raises(onnxfuse.PassError, match="edited failed at the model: ZeroDivisionError"):
        onnxfuse.apply(chain(), Edited(lambda proto: 1 / 0))  # type: ignore[arg-type, return-value]
    with pytest.raises(onnxfuse.PassError, match="change returned NoneType"):
        onnxfuse.apply(chain(), _Nothing())


@dataclass(frozen=True)
class _Nothing(ModelPass):
    name: ClassVar[str] = "nothing"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        return None  # type: ignore[return-value]


def test_excluded_nodes_and_limits() -> None:
    removes = Edited(lambda proto: drop(proto, "n0", "n2"))
    _, report = onnxfuse.apply(chain(), removes, exclude=["n1"])
    assert [(one.reason, one.culprit) for one in report.declined] == [("the node is left out by --except", "n1")]
    _, report = onnxfuse.apply(chain(), removes, limit=1)
    assert [one.reason for one in report.declined] == ["it makes 2 rewrites at once, and the limit leaves 1"]
    assert len(onnxfuse.apply(chain(), removes, limit=2).report.applied) == 2


def test_a_function_that_is_called_otherwise_is_no_unchanged_call() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.functions[0].opset_import[0].version = 18
        proto.functions[0].node[1].op_type = "Sub"

    for pass_ in (Edited(edit), InPlace(_subtracts)):
        model = parsed(FUNCTIONS)
        result, report = onnxfuse.apply(model, pass_)
        assert report.rejected
        assert result.SerializeToString() == model.SerializeToString()


def _subtracts(model: ir.Model) -> None:
    (function,) = model.functions.values()
    function.opset_imports[""] = 18
    list(function)[1].op_type = "Sub"


def test_a_difference_in_sizes_is_not_overruled() -> None:
    model = parsed("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N, 2] x) => (float[M, 2] y) <int64[1] zero = {0}, int64[1] end = {3000}> {
            s = Slice(x, zero, end, zero)
            y = Relu(s)
        }
    """)

    def edit(proto: onnx.ModelProto) -> None:
        drop(proto, "n0")

    result, report = onnxfuse.apply(model, Edited(edit))
    assert "differs" in report.rejected[0].reason
    assert result.SerializeToString() == model.SerializeToString()


def test_what_is_declared_of_inputs_stays_and_that_is_said() -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    _, report = onnxfuse.apply(chain(), Edited(edit))
    assert not report.modified
    assert "the interface stays as it was: input x accepts only 1 along axis 0" in report.declined[0].reason

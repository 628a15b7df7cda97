"""Torch's ONNXProgram: our passes on its model, and the whole of it in and out."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

import onnxfuse
from onnxfuse import ModelError
from onnxfuse.model_io import open_model
from onnxfuse.passes import MergeSliced, RemovePad
from onnxfuse.report.diff import compare
from tests.examples.commands import need


@pytest.fixture(scope="module")
def torch() -> Any:
    """The module, with all that its exporter needs."""
    need("torch", importlib.util.find_spec("torch") is not None)
    need("onnxscript", importlib.util.find_spec("onnxscript") is not None)
    return importlib.import_module("torch")


@pytest.fixture(scope="module")
def export(torch: Any) -> Any:
    """Exports a module whose `x[:, 1:, 1:]` becomes two Slices; a weight of 4 KiB is among the others."""

    class Cut(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(32, 32, bias=False)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.linear(x))[:, 1:, 1:]

    def export(**options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making, another set in each version
            torch.manual_seed(0)
            return torch.onnx.export(Cut().eval(), (torch.randn(2, 8, 32),), dynamo=True, verbose=False, **options)

    return export


@pytest.fixture
def program(torch: Any, export: Any) -> Any:
    """An exported program, new for each test."""
    return export(dynamic_shapes=({0: torch.export.Dim("N")},))


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def results(torch: Any, program: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        outputs = [program(torch.randn(batch, 8, 32)) for batch in (1, 3)]
    return [output.numpy().tobytes() for (output,) in outputs]


def test_ours_run_on_its_model_in_place(torch: Any, program: Any, tmp_path: Path) -> None:
    expected, before = results(torch, program), ops(program.model)
    assert before.count("Slice") == 2
    program.release()
    model = program.model

    result = ir.passes.Sequential(
        common.DeduplicateInitializersPass(), MergeSliced(), RemovePad(), common.RemoveUnusedNodesPass()
    )(program.model)

    assert result.modified
    assert program.model is result.model is model
    assert ops(model) == [op for op in before if op != "Slice"] + ["Slice"]
    assert results(torch, program) == expected
    program.save(tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    assert ops(ir.load(tmp_path / "model.onnx")) == ops(model)


def test_a_program_comes_in_and_another_one_goes_out(torch: Any, program: Any, tmp_path: Path) -> None:
    expected, before = results(torch, program), ops(program.model)
    as_given, model, session = ir.to_proto(program.model), program.model, program._inference_session

    result = onnxfuse.apply(program, "default")

    assert [str(outcome.grade) for outcome in result.report.applied] == ["exact-for-all-shapes"]
    assert result.report.verdict is not None
    assert result.report.verdict.equivalent
    # The one given is as it was, with the session that it had.
    assert (program.model, program._inference_session) == (model, session)
    assert ir.to_proto(program.model) == as_given
    assert ops(program.model) == before
    # The other one is a whole program, of the same export.
    other = result.model
    assert type(other) is type(program)
    assert other is not program
    assert other.exported_program is program.exported_program
    assert other._capture_strategy == program._capture_strategy
    assert ops(other.model).count("Slice") == 1
    assert results(torch, other) == expected
    assert results(torch, program) == expected
    other.save(tmp_path / "other.onnx", external_data=True)
    assert onnxfuse.verify(program, tmp_path / "other.onnx").equivalent
    weights = [p.model.graph.initializers["val_0"].const_value.numpy() for p in (program, other)]
    assert weights[0] is weights[1]


def test_a_run_without_a_rewrite_gives_a_program_of_its_own(torch: Any, program: Any) -> None:
    result = onnxfuse.apply(program, "remove-pad")

    assert not result.report.modified
    assert type(result.model) is type(program)
    assert result.model.model is not program.model
    assert ir.to_proto(result.model.model) == ir.to_proto(program.model)
    result.model.model.graph[0].op_type = "Changed"
    assert "Changed" not in ops(program.model)


def test_what_else_takes_a_program(program: Any, tmp_path: Path) -> None:
    loaded = onnxfuse.load(program)
    assert ir.to_proto(loaded) == ir.to_proto(program.model)
    assert loaded is not program.model
    onnxfuse.save(program, tmp_path / "model.onnx")
    assert onnxfuse.verify(program, tmp_path / "model.onnx").equivalent
    merged = onnxfuse.apply(program, "merge-sliced").model
    assert not compare(open_model(program), open_model(tmp_path / "model.onnx"))
    assert compare(open_model(program), open_model(merged)).ops == {"Slice": (2, 1)}


def test_weights_that_are_not_there_are_told_in_one_line(torch: Any, export: Any, tmp_path: Path) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        program = export(optimize=False)

    with pytest.raises(ModelError, match=r"^tensor 'linear\.weight': its values cannot be read: ") as raised:
        onnxfuse.apply(program, "merge-sliced")
    assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=r"apply_weights"):
        onnxfuse.save(program, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    # Regions need no weights.
    result = onnxfuse.apply(program, "merge-sliced", verify="region")
    assert [outcome.grade for outcome in result.report.applied] == ["exact-for-this-shape"]

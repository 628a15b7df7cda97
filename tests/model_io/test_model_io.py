"""What a user holds comes in, and the same kind goes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import load, open_model, save
from onnxfuse.model_io.emit import emit
from tests.model_io.models import chain, edited, everything, proto_of

REWRITTEN = ["MatMul", "Slice", "Identity"]


def ops(model: Any) -> list[str]:
    if isinstance(model, bytes):
        model = proto_of(model)
    nodes = model.graph if isinstance(model, ir.Model) else model.graph.node
    return [node.op_type for node in nodes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(chain().SerializeToString())
    return path


KINDS: dict[str, tuple[Any, type]] = {
    "path": (Path, ir.Model),
    "str": (str, ir.Model),
    "bytes": (lambda path: path.read_bytes(), bytes),
    "bytearray": (lambda path: bytearray(path.read_bytes()), bytes),
    "memoryview": (lambda path: memoryview(path.read_bytes()), bytes),
    "proto": (lambda path: onnx.load(path), onnx.ModelProto),
    "ir": (lambda path: load(path), ir.Model),
    "foreign ir": (lambda path: ir.load(path), ir.Model),
}


@pytest.mark.parametrize("kind", KINDS)
def test_same_kind_goes_out(path: Path, kind: str) -> None:
    make, out = KINDS[kind]
    given = make(path)
    before = emit(given).data() if isinstance(given, ir.Model) else None

    result = onnxfuse.apply(given, "merge-sliced", verify="region")
    unchanged = onnxfuse.apply(given, "remove-pad", verify="region")

    assert type(result.model) is type(unchanged.model) is out
    assert ops(result.model) == REWRITTEN
    assert ops(unchanged.model) == ["MatMul", "Slice", "Slice", "Identity"]
    # The caller's own is not changed.
    if isinstance(given, ir.Model):
        assert emit(given).data() == before
    else:
        assert open_model(given).unchanged() is not None
        assert ops(load(given)) == ["MatMul", "Slice", "Slice", "Identity"]


def test_run_that_changes_nothing_gives_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    message = chain()

    assert onnxfuse.apply(data, "remove-pad").model == data
    result = onnxfuse.apply(message, "remove-pad").model
    assert result == message
    assert result is not message
    save(onnxfuse.apply(path, "remove-pad").model, path.with_name("new.onnx"))
    assert path.with_name("new.onnx").read_bytes() == data


def test_answer_is_the_callers_to_change(path: Path) -> None:
    model = load(path)

    copy = load(model)
    copy.graph[0].op_type = "Gemm"
    copy.graph.initializers["weight"].name = "renamed"
    copy.metadata_props["new"] = "1"

    assert emit(model).data() == path.read_bytes()


@pytest.mark.parametrize("given", [None, 3, object(), ["model.onnx"], onnx.GraphProto(), {}])
def test_what_is_no_model_is_told(given: object) -> None:
    kinds = (
        "a path, bytes, an onnx.ModelProto, an onnx_ir.Model, an onnx_graphsurgeon.Graph or a torch.onnx.ONNXProgram"
    )
    with pytest.raises(UsageError, match=f"is no model: pass {kinds}"):
        open_model(given)


def test_model_with_a_sparse_initializer_is_copied(path: Path) -> None:
    data = everything().SerializeToString()
    model = load(data)
    with pytest.raises(RuntimeError):
        model.clone()

    copy = load(model)
    assert emit(copy).data() == data
    model.graph.doc_string = "changed"
    result = onnxfuse.apply(model, "merge-sliced", verify="off")

    assert not result.report.modified
    assert proto_of(emit(result.model).data()) == edited(
        everything(), lambda m: setattr(m.graph, "doc_string", "changed")
    )
    # Weights are not read for it.
    weight = load(model).graph.initializers["stored"].const_value
    assert weight is not None
    assert np.shares_memory(weight.numpy(), np.frombuffer(data, np.uint8))


def cyclic() -> ir.Model:
    first, second = ir.node("Neg", [None]), ir.node("Neg", [None])
    first.replace_input_with(0, second.outputs[0])
    second.replace_input_with(0, first.outputs[0])
    first.outputs[0].name, second.outputs[0].name = "p", "q"
    graph = ir.Graph([], [second.outputs[0]], nodes=[first, second], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


def test_broken_model_of_onnx_ir_is_told_in_one_line() -> None:
    with pytest.raises(ModelError, match="reads 'q' before .* the nodes are not in topological order, or form a cycle"):
        load(cyclic())


def test_look_for_an_op_is_right_where_it_says_no() -> None:
    for given in (chain().SerializeToString(), chain(), load(chain())):
        opened = open_model(given)
        assert opened.may_contain("Slice")
        assert not opened.may_contain("Pad")
    inner = edited(everything(), lambda m: None)
    for given in (inner.SerializeToString(), load(inner)):
        assert open_model(given).may_contain("Neg")  # in a subgraph
        assert open_model(given).may_contain("Mul")  # in a function


def test_path_of_what_came_as_a_file(path: Path) -> None:
    assert open_model(str(path)).path == path
    assert open_model(path.read_bytes()).path is None
    assert open_model(load(path)).path is None

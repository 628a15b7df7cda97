"""Generated models give the same outputs through `apply`, whatever they are held as.

100 models for each kind; ONNXFUSE_EXAMPLES=2000 draws so many.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings

import onnxfuse
from onnxfuse import ModelError
from onnxfuse.testing.strategies import models
from tests.examples.commands import need
from tests.generated.oracle import differences, feeds_of, run
from tests.profile import ASKED, EXAMPLES

# How a message becomes a model of a kind, and how one that comes out becomes a message, without a line of ours.
Conversion = tuple[Callable[[onnx.ModelProto], Any], Callable[[Any], onnx.ModelProto]]


def from_ir(model: ir.Model) -> onnx.ModelProto:
    proto = ir.to_proto(model)
    assert isinstance(proto, onnx.ModelProto)
    return proto


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Conversion]:
    """The kinds that need nothing but onnx and onnx_ir."""

    def written(model: onnx.ModelProto) -> Path:
        with tempfile.NamedTemporaryFile(dir=tmp_path, suffix=".onnx", delete=False) as file:
            file.write(model.SerializeToString())
        return Path(file.name)

    return {
        "path": (written, from_ir),
        "bytes": (lambda model: model.SerializeToString(), onnx.ModelProto.FromString),
        "onnx_ir": (ir.from_proto, from_ir),
        "loaded": (onnxfuse.load, from_ir),
    }


def test_kinds(plain: dict[str, Conversion]) -> None:
    seen = compared(plain)
    assert all(seen[kind] >= 5 for kind in plain) or ASKED is not None


def test_programs_of_torch() -> None:
    need("torch", importlib.util.find_spec("torch") is not None)
    torch = importlib.import_module("torch")
    kinds: dict[str, Conversion] = {
        "program": (
            lambda model: torch.onnx.ONNXProgram(ir.from_proto(model), None),
            lambda program: from_ir(program.model),
        )
    }
    assert compared(kinds)["program"] >= 5 or ASKED is not None


def test_graphs_of_graphsurgeon() -> None:
    need("onnx_graphsurgeon", importlib.util.find_spec("onnx_graphsurgeon") is not None)
    gs = importlib.import_module("onnx_graphsurgeon")
    assert compared({"graph": (gs.import_onnx, gs.export_onnx)})["graph"] >= 5 or ASKED is not None


def compared(kinds: dict[str, Conversion]) -> Counter[str]:
    """Asserts that each kind comes out as it went in, and computes what the model did; returns how many were rewritten."""
    rewritten: Counter[str] = Counter()

    @settings(EXAMPLES, max_examples=ASKED or 60)
    @given(model=models())
    def test(model: onnx.ModelProto) -> None:
        right = [model]
        for kind, (make, message_of) in kinds.items():
            held = make(model)
            try:
                # What it is held as may lose something of it: graphsurgeon knows of no default that a caller can override.
                reference = onnxfuse.apply(model if kind == "path" else message_of(held), verify="off")
            except Exception as error:
                with pytest.raises(ModelError):
                    onnxfuse.apply(held, verify="off")
                assert kind == "graph", error
                rewritten["refused"] += 1
                continue
            result = onnxfuse.apply(held, verify="off")
            assert type(result.model) is (ir.Model if isinstance(held, Path) else type(held))
            assert result.report.modified == reference.report.modified
            rewritten[kind] += result.report.modified
            after = message_of(result.model)
            assert [node.op_type for node in after.graph.node] == [n.op_type for n in reference.model.graph.node]
            if after not in right:
                check_outputs(model, after)
                right.append(after)
        assert rewritten["refused"] <= 10

    test()
    return rewritten


def check_outputs(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Asserts that both give the same bits. An input with a default has that where a kind cannot hold such a thing."""
    known = set(names(after))
    assert {tensor.name for tensor in before.graph.initializer} >= set(names(before)) - known
    feeds = [{name: array for name, array in feed.items() if name in known} for feed in feeds_of(before, normal=1)]
    for one, other in zip(run(before, feeds), run(after, feeds), strict=True):
        if isinstance(one, str):
            continue  # the original does not run on this
        assert not isinstance(other, str), other
        assert differences(one, other) == []


def names(model: onnx.ModelProto) -> Iterator[str]:
    return (value.name for value in model.graph.input)

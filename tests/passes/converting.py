"""What the tests of convert-opset share: models of an opset, the pass where it must convert, and results that agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

import onnxfuse
from onnxfuse.testing.oracle import run, same
from tests.passes.running import parse

__all__ = ["agree", "attributes", "converted", "model_at"]


def model_at(opset: int, body: str, *, ir_version: int = 8, functions: str = "") -> str:
    """A model's text."""
    return f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> g {body} {functions}'


def converted(text: str | onnx.ModelProto, to: int = 13, *, verify: str = "region") -> onnx.ModelProto:
    """Applies the pass where it must convert, with each change verified."""
    model = parse(text) if isinstance(text, str) else text
    given_bytes = model.SerializeToString()
    result = onnxfuse.apply(model, f"convert-opset{{to={to}}}", verify=verify)
    reasons = [item.reason for item in result.report.declined] + [item.reason for item in result.report.rejected]
    assert not reasons, reasons
    assert result.report.modified
    assert model.SerializeToString() == given_bytes
    after: onnx.ModelProto = result.model
    assert {opset.domain: opset.version for opset in after.opset_import}[""] == to
    assert after.ir_version == model.ir_version
    onnx.checker.check_model(after, full_check=after.ir_version > 3)
    assert list(after.graph.output) == list(model.graph.output)
    assert "unk__" not in str(after)
    return after


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def agree(before: onnx.ModelProto, after: onnx.ModelProto, *shape: int, dtype: type = np.float32) -> None:
    """Both models give the same bits on normal draws."""
    feed: dict[str, np.ndarray] = {
        before.graph.input[0].name: np.random.default_rng(0).normal(0, 3, shape).astype(dtype)
    }
    (one,), (other,) = run(before, [feed]), run(after, [feed])
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert same(value, other[name]), (name, value, other[name])

"""assert_equivalent: what it says, for models of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxfuse import ModelError, UsageError
from onnxfuse.testing import NotEquivalentError, assert_equivalent, strip

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
ONE = onnx.parser.parse_model(f"{HEAD} g (float[N] x) => (float[N] y) {{ a = Abs(x)\n y = Neg(a) }}")
SAME = onnx.parser.parse_model(f"{HEAD} g (float[N] x) => (float[N] y) {{ b = Abs(x)\n c = Abs(b)\n y = Neg(c) }}")
OTHER = onnx.parser.parse_model(f"{HEAD} g (float[N] x) => (float[N] y) {{ a = Relu(x)\n y = Neg(a) }}")
RENAMED = onnx.parser.parse_model(f"{HEAD} g (float[N] x) => (float[N] z) {{ a = Abs(x)\n z = Neg(a) }}")
WEIGHT = onnx.numpy_helper.from_array(np.ones(64, np.float32), "w")


def without_weights(body: str) -> onnx.ModelProto:
    """Returns a model of which no one can say what it computes."""
    model = onnx.parser.parse_model(f"{HEAD} g (float[64] x) => (float[64] y) {{ {body} }}")
    model.graph.initializer.append(WEIGHT)
    stripped: onnx.ModelProto = strip(model)
    return stripped


UNKNOWN = [without_weights("y = Mul(x, w)"), without_weights("y = Div(x, w)")]


def test_models_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(SAME, path)
    for kind in (SAME, SAME.SerializeToString(), ir.from_proto(SAME), path, str(path)):
        verdict = assert_equivalent(ONE, kind)
        assert verdict.equivalent
        assert assert_equivalent(kind, ONE).equivalent


def test_a_difference_says_what_and_where(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(OTHER, path)
    with pytest.raises(NotEquivalentError) as failure:
        assert_equivalent(ONE, path)

    error = failure.value
    assert isinstance(error, AssertionError)
    assert error.a is ONE
    assert error.b is path
    lines = str(error).splitlines()
    assert lines[:3] == [
        "the models are different",
        "  a: onnx.onnx_ml_pb2.ModelProto",
        f"  b: {path}",
    ]
    assert "\n".join(lines[3:]) == error.verdict.explain()
    assert any(line.strip().startswith("y: different") and "value" in line for line in lines)


def test_an_interface_is_told() -> None:
    with pytest.raises(NotEquivalentError, match="interface: "):
        assert_equivalent(ONE, RENAMED)


def test_options_are_those_of_verify() -> None:
    positive = [{"x": np.array([1, 2], dtype=np.float32)}]
    assert assert_equivalent(ONE, OTHER, input_data=positive).draws == 1
    with pytest.raises(NotEquivalentError):
        assert_equivalent(ONE, OTHER, input_data=[{"x": -positive[0]["x"]}])
    with pytest.raises(UsageError, match="seed"):
        assert_equivalent(ONE, SAME, seed=-1)
    with pytest.raises(TypeError, match="toleranze"):
        assert_equivalent(ONE, SAME, toleranze=1)


def test_not_run_is_not_a_pass() -> None:
    with pytest.raises(NotEquivalentError, match="it was not decided") as failure:
        assert_equivalent(*UNKNOWN)
    assert "not run: " in str(failure.value)
    assert not assert_equivalent(*UNKNOWN, allow_not_run=True).equivalent


def test_not_run_is_no_excuse_for_a_difference() -> None:
    with pytest.raises(NotEquivalentError):
        assert_equivalent(ONE, OTHER, allow_not_run=True)


def test_a_model_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        assert_equivalent(ONE, tmp_path / "missing.onnx")

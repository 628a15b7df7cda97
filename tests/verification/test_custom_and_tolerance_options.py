"""Options of `verify`: the user's own tolerances, and custom operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxfuse
from onnxfuse.cli.main import main
from onnxfuse.errors import UsageError

HEAD = '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>'


def read(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{HEAD} g (float[N] x) => (float[N] y, float[N] z) {{ {body} }}")


SCALED = read("c = Constant<value_float = 1.0>() y = Mul(x, c) z = Exp(x)")
NEAR = read("c = Constant<value_float = 1.001>() y = Mul(x, c) z = Exp(x)")


def test_a_tolerance_replaces_the_rounding_rule_and_reads_so() -> None:
    assert onnxfuse.verify(SCALED, NEAR).status == "different"
    loose = onnxfuse.verify(SCALED, NEAR, rtol=2e-3)
    assert loose.equivalent, loose.explain()
    assert loose.outputs[0].basis == "tolerance"
    assert "rtol 0.002" in (loose.outputs[0].tolerance or "")
    assert loose.outputs[0].max_rel == pytest.approx(1e-3, rel=1e-2)
    assert loose.outputs[1].basis == "structure"


def test_the_sign_of_a_zero_is_within_every_tolerance_and_no_equal_bits() -> None:
    before, after = (
        read(f"c = Constant<value_float = 0.0>() y = {body} z = Exp(x)") for body in ("Add(x, c)", "Identity(x)")
    )
    verdict = onnxfuse.verify(before, after, rtol=0.0, atol=0.0)
    assert (verdict.status, verdict.outputs[0].basis) == ("equivalent", "tolerance"), verdict.explain()


def test_a_tolerance_of_one_output() -> None:
    assert onnxfuse.verify(SCALED, NEAR, rtol={"y": 2e-3}).equivalent
    tight = onnxfuse.verify(SCALED, NEAR, rtol={"y": 1e-4})
    assert tight.status == "different"
    assert "that is not within rtol 0.0001" in (tight.outputs[0].why or "")
    with pytest.raises(UsageError, match="'w', which is no output; there are y, z"):
        onnxfuse.verify(SCALED, NEAR, rtol={"w": 1.0})
    with pytest.raises(UsageError, match="atol=-1"):
        onnxfuse.verify(SCALED, NEAR, atol=-1.0)


def test_a_tolerance_does_not_turn_rounding_into_a_difference() -> None:
    weights = "<int64[1] axes = {-1}, float[4] g = {1, 2, 0.5, -1}, float[4] b = {0, 1, 2, 3}, float eps = {1e-5}>"
    parts = (
        "m = ReduceMean(x, axes) d = Sub(x, m) s = Mul(d, d) v = ReduceMean(s, axes) "
        "w = Add(v, eps) r = Sqrt(w) q = Div(d, r) p = Mul(q, g) y = Add(p, b)"
    )
    unfused, fused = (
        onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 18]> g (float[N, 4] x) => (float[N, 4] y) {weights} {{ {body} }}'
        )
        for body in (parts, "y = LayerNormalization<epsilon = 1e-5>(x, g, b)")
    )
    for tolerance in (1e-3, 1e-5):
        verdict = onnxfuse.verify(unfused, fused, rtol=tolerance, atol=tolerance)
        assert verdict.equivalent, verdict.explain()
        assert "times what rounding explains" not in verdict.explain()


def test_tolerances_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    for model, path in zip((SCALED, NEAR), paths, strict=True):
        onnx.save(model, path)
    assert main(["verify", *paths]) == 1
    assert main(["verify", *paths, "--rtol", "y=2e-3"]) == 0
    assert "within rtol 0.002 and atol 0, as asked for" in capsys.readouterr().err
    assert main(["verify", *paths, "--rtol", "y=wide"]) == 2
    assert "OUTPUT=X is expected" in capsys.readouterr().err


def test_what_a_custom_operator_reads_is_compared() -> None:
    before = read("a = Mul(x, x) y = mine.Op(a) z = Exp(y)")
    same = read("b = Mul(x, x) y = mine.Op(b) c = Neg(y) d = Neg(c) z = Exp(d)")
    wrong = read("b = Add(x, x) y = mine.Op(b) z = Exp(y)")
    assert onnxfuse.verify(before, same).equivalent
    verdict = onnxfuse.verify(before, wrong)
    assert verdict.status == "different", verdict.explain()
    assert verdict.inputs is None
    assert any("is left out" in note for note in verdict.notes)


def test_a_library_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(SCALED, path)
    assert main(["verify", str(path), str(path), "--custom-op-library", str(tmp_path / "none.so")]) == 2
    assert "none.so: no such file" in capsys.readouterr().err


def test_integers_are_no_matter_of_tolerance() -> None:
    one, two = (
        onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> g (int64[3] x) => (int64[3] y) '
            f"{{ c = Constant<value_int = {number}>() y = Add(x, c) }}"
        )
        for number in (1, 2)
    )
    verdict = onnxfuse.verify(one, two, atol=10.0, input_data=[{"x": np.arange(3)}])
    assert verdict.status == "different"


def test_families_beside_input_data_have_no_effect_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = tmp_path / "a.onnx", tmp_path / "x.npz"
    onnx.save(SCALED, path)
    np.savez(data, x=np.ones(2, np.float32))
    assert main(["verify", str(path), str(path), "--families", "normal", "--input-data", str(data)]) == 0
    assert "note: --families has no effect" in capsys.readouterr().err

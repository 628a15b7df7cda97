"""Every piece of code in docs/pipelines.md does what the page says."""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxfuse
from onnxfuse.testing import check_rewrite
from tests.examples.commands import ROOT, need

PAGE = ROOT / "docs" / "pipelines.md"
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[9, 9] x) => (float[8, 8] y) {
    k0 = Constant <value_ints: ints = [0]> ()
    k1 = Constant <value_ints: ints = [1]> ()
    end = Constant <value_ints: ints = [9]> ()
    a = Slice (x, k1, end, k0)
    between = Identity (a)
    y = Slice (between, k1, end, k1)
}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def run(code: str, **names: Any) -> dict[str, Any]:
    names["__name__"] = "page"
    exec(code, names)
    return names


def test_the_page_has_no_other_code() -> None:
    assert len(blocks("python")) == 4
    assert len(blocks("toml")) == 1
    assert PAGE.read_text().count("```") == 10


def test_in_a_pipeline_of_onnx_ir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(MODEL), "model.onnx")
    found = run(blocks("python")[0])

    assert found["result"].model is found["model"]
    assert [node.op_type for node in found["model"].graph] == ["Slice"]
    assert onnxfuse.verify("model.onnx", found["model"]).equivalent


def test_on_a_model_that_torch_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("torch", importlib.util.find_spec("torch") is not None)
    need("onnxscript", importlib.util.find_spec("onnxscript") is not None)
    torch = importlib.import_module("torch")
    monkeypatch.chdir(tmp_path)

    class Cut(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return x[:, 1:, 1:] * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own making
        found = run(blocks("python")[1], module=Cut().eval(), x=torch.ones(1, 4, 4))

    assert len(found["report"].applied) == 1
    for name in ("merged.onnx", "model.onnx"):
        assert [node.op_type for node in onnx.load(name).graph.node] == ["Slice", "Mul"]


def test_the_package_is_the_one_that_is_installed_in_tests() -> None:
    (text,) = blocks("toml")
    assert text == (Path(__file__).parent / "third_party" / "pyproject.toml").read_text()
    run(blocks("python")[2])  # what it calls is called in test_third_party.py


def test_a_pass_over_whole_models() -> None:
    collapse = run(blocks("python")[3])["CollapseAbs"]
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y)'
    check_rewrite(
        head + "{ a = Abs (x) b = Abs (a) c = Abs (b) y = Exp (c) }", head + "{ a = Abs (x) y = Exp (a) }", collapse()
    )

"""The generated pages say what the docstrings say, and the README's pass does what the README says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import onnx

import onnxfuse

ROOT = Path(__file__).parent.parent


def test_pages_of_the_passes_are_up_to_date() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    written = {path.name: path.read_text() for path in (ROOT / "docs" / "passes").glob("*.md")}
    assert written == pages, "run make docs"


def readme_pass(replacement: str | None = None) -> onnxfuse.RewritePass:
    """Returns the pass that the README shows, with its rewrite replaced where asked."""
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
        if "class RemoveDoubleNeg" in block
    )
    code = code.partition("model, report = apply")[0]
    if replacement is not None:
        assert 'return [match["data"]]' in code
        code = code.replace('return [match["data"]]', f"return [{replacement}]")
    namespace: dict[str, object] = {"__name__": "readme"}
    # Dataclasses look their module up; the README's code stands in none.
    exec(code, namespace)
    made = namespace["RemoveDoubleNeg"]
    assert isinstance(made, type)
    instance = made()
    assert isinstance(instance, onnxfuse.RewritePass)
    return instance


DOUBLE_NEG = """
<ir_version: 8, opset_import: ["": 17]>
g (float[N] x) => (float[N] y) { a = Neg(x)
 b = Neg(a)
 y = Abs(b) }
"""


def test_the_pass_in_the_readme_works() -> None:
    model = onnx.parser.parse_model(DOUBLE_NEG)
    rewritten, report = onnxfuse.apply(model, readme_pass())
    assert [node.op_type for node in rewritten.graph.node] == ["Abs"]
    assert [outcome.grade for outcome in report.applied] == ["value-tested"]
    assert onnxfuse.verify(model, rewritten, input_data=[{"x": np.array([1, -2], dtype=np.float32)}]).equivalent


def test_its_wrong_sister_is_rejected() -> None:
    model = onnx.parser.parse_model(DOUBLE_NEG)
    rewritten, report = onnxfuse.apply(model, readme_pass('build.op("Relu", match["data"])'))
    assert rewritten == model
    (rejected,) = report.rejected
    assert rejected.reason.startswith("the replacement differs at")
    assert rejected.evidence["inputs"]


def test_readme_pass_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    block = next(b for b in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "RemoveDoubleNeg" in b)
    assert len([line for line in block.splitlines() if line.strip()]) <= 25

"""LV-ViT-S exported at opset 11: no Softmax can be wrapped there, and all of them after convert-opset."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

import onnxfuse
from onnxfuse.testing import fill
from onnxfuse.testing.oracle import run

GRAPH = Path(__file__).parent.parent.parent / "examples" / "lvvit_s" / "lvvit_s_opset11.onnx"


def test_all_softmaxes_are_wrapped_after_convert_opset() -> None:
    model = fill(onnx.load(GRAPH))
    alone = onnxfuse.apply(model, "transpose-around-softmax{axis=1}", verify="off")
    after, report = onnxfuse.apply(model, "convert-opset{to=13},transpose-around-softmax{axis=1}", verify="off")
    before_ops, after_ops = (Counter(node.op_type for node in m.graph.node) for m in (model, after))

    assert not alone.report.modified
    assert sum("convert-opset" in outcome.reason for outcome in alone.report.declined) == 16
    assert len(report.passes[1].applied) == 16
    assert after_ops["Softmax"] == before_ops["Softmax"] == 16
    assert after_ops["Transpose"] == before_ops["Transpose"] + 32
    assert [list(node.input) for node in after.graph.node if node.op_type == "Flatten"] == []
    onnx.checker.check_model(after, full_check=True)
    feed = {"image": np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)}
    (one,), (other,) = run(model, [feed]), run(after, [feed])
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-5)

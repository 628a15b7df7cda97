"""Filled networks compute something: finite, not constant, and not the same for every input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxfuse.testing import fill
from tests.examples.commands import ROOT

GRAPHS = Path(__file__).parent / "graphs"
# Deep ones, with folded and with stored normalizations, and with LayerNormalizations in small operators.
NETWORKS = [
    GRAPHS / "lresnet100.onnx",
    ROOT / "examples/deepmar/deepmar.onnx",
    ROOT / "examples/lvvit_s/lvvit_s.onnx",
]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_outputs_are_of_an_ordinary_scale(path: Path) -> None:
    model = fill(onnx.load(path))
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (input_,) = session.get_inputs()
    rng = np.random.default_rng(0)
    shape = [size if isinstance(size, int) else 2 for size in input_.shape]
    (found,) = session.run(None, {input_.name: rng.standard_normal(shape, dtype=np.float32)})
    assert np.isfinite(found).all()
    assert 0.01 < found.std() < 100
    assert found.std(axis=1).min() > 0.01  # not constant
    assert np.abs(found[0] - found[1]).max() > 1e-3 * found.std()  # and another one for another input

"""LV-ViT-S, from the committed graphs without weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.examples.commands import ROOT, run_fill
from tests.examples.graphs import results

FOLDER = ROOT / "examples" / "lvvit_s"
README = FOLDER / "README.md"


@pytest.mark.parametrize("stem", ["lvvit_s", "lvvit_s_opset11"])
def test_filled_it_computes_something(stem: str, tmp_path: Path) -> None:
    """Images have results of their own, at any batch."""
    run_fill(README, f"build/{stem}.onnx", tmp_path)
    images = np.random.default_rng(1).normal(size=(2, 3, 224, 224)).astype(np.float32)
    (both,) = results(tmp_path / "build" / f"{stem}.onnx", images)
    assert both.shape == (2, 1000)
    assert np.isfinite(both).all()
    assert both.std(axis=0).mean() > 1e-2
    (first,) = results(tmp_path / "build" / f"{stem}.onnx", images[:1])
    np.testing.assert_allclose(first, both[:1], rtol=1e-3, atol=1e-4)

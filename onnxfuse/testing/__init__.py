"""Tools for tests of rewrites: models without their weights, and back."""

from __future__ import annotations

from onnxfuse.testing.weights import STRIPPED, fill, strip

__all__ = ["STRIPPED", "fill", "strip"]

"""Hypothesis strategies for models: valid, clean to the ONNX checker, and accepted by onnxruntime.

    from hypothesis import given
    from onnxfuse.testing.strategies import feeds_for, models

    @given(model=models())
    def test_my_tool(model):
        ...

A model has the inputs it has; `feeds_for(model)` draws values for them from a seed, with the symbolic dims bound so that
it surely runs. Failing examples shrink to few nodes, small dims and ordinary types.
"""

from __future__ import annotations

from onnxfuse.errors import MissingExtraError

try:
    import hypothesis as _hypothesis  # noqa: F401 - asked for here, so that the error below is the one that is seen
except ModuleNotFoundError as error:
    raise MissingExtraError("hypothesis", extra="test", purpose="for onnxfuse.testing.strategies") from error

from onnxfuse.testing.strategies.graph import SIZES
from onnxfuse.testing.strategies.models import OPSETS, feeds_for, models

__all__ = ["OPSETS", "SIZES", "feeds_for", "models"]

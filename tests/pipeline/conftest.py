from __future__ import annotations

import pytest

from onnxfuse.pipeline import registry
from tests.pipeline.optioned import KINDS


@pytest.fixture
def more_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the passes with options of every kind."""
    real = registry.pass_class
    monkeypatch.setattr(registry, "pass_class", lambda name: KINDS.get(name) or real(name))

"""The laws run over every registered pass, each with the examples of its docstring; another tool's has none."""

from __future__ import annotations

from typing import Final

import pytest

from onnxfuse.pipeline import registry
from onnxfuse.testing.examples import Example, examples_of

NAMES: Final = tuple(name for name in registry.origins() if name not in registry.TOOLS)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a registered pass."""
    return str(request.param)


@pytest.fixture
def examples(name: str) -> list[Example]:
    """The examples of that pass."""
    return examples_of(name)

"""The laws run over every registered pass, each with the examples of its docstring."""

from __future__ import annotations

import pytest

from tests.laws.seeds import NAMES, Seed, seeds


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a registered pass."""
    return str(request.param)


@pytest.fixture
def examples(name: str) -> list[Seed]:
    """The examples of that pass."""
    return seeds(name)

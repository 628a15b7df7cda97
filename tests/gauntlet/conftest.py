"""Fixtures of the gauntlet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gauntlet.runner import Runner


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """One runner for the session: its child process keeps every original's outputs."""
    with Runner() as open_runner:
        yield open_runner

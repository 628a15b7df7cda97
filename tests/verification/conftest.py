from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from onnxfuse.verification import worker as worker_module
from onnxfuse.verification.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker of the test's own, so that it can count."""
    before, worker_module._shared = worker_module._shared, Worker()
    worker_module._owner = os.getpid()
    yield worker_module._shared
    worker_module._shared.stop()
    worker_module._shared = before

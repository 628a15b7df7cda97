"""How many random examples a property test draws.

200 unless the environment variable ONNXFUSE_EXAMPLES says otherwise. The default draws are the same in every run; where
more (or fewer) are asked for, they are drawn anew each time, except in CI.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

__all__ = ["ASKED", "EXAMPLES"]

ASKED: Final = int(os.environ["ONNXFUSE_EXAMPLES"]) if os.environ.get("ONNXFUSE_EXAMPLES") else None
"""How many were asked for, if they were."""

EXAMPLES: Final = settings(
    max_examples=ASKED or 200,
    deadline=None,
    derandomize=ASKED is None or bool(os.environ.get("CI")),
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

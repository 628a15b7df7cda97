"""How many random examples a property test draws.

200 unless the environment variable ONNXFUSE_EXAMPLES says otherwise. The default draws are the same in every run; where
more (or fewer) are asked for, they are drawn anew each time, except in CI.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

__all__ = ["EXAMPLES"]

_ASKED: Final = os.environ.get("ONNXFUSE_EXAMPLES")

EXAMPLES: Final = settings(
    max_examples=int(_ASKED or "200"),
    deadline=None,
    derandomize=_ASKED is None or bool(os.environ.get("CI")),
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

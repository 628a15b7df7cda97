"""What computes one operator of a twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Attributes", "Kernel", "UnsupportedError"]

Attributes = Mapping[str, Any]
Kernel = Callable[[Attributes, Sequence[Any], int], Any]
"""Called with a node's attributes, its inputs (None for one left out) and its opset; gives one output or a tuple."""


class UnsupportedError(Exception):
    """A node has no twin; the message says why."""

"""What the comparison of a region showed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

__all__ = ["GRADE_ALL", "GRADE_STATIC", "GRADE_TESTED", "NOT_RUN", "REJECTED", "Evidence", "rejected"]

GRADE_ALL: Final = "exact-for-all-shapes"
GRADE_STATIC: Final = "exact-for-this-shape"
GRADE_TESTED: Final = "value-tested"
REJECTED: Final = "rejected"
NOT_RUN: Final = "not-run"


@dataclass(frozen=True)
class Evidence:
    """What the comparison of one region showed.

    Attributes:
        grade: `exact-for-all-shapes`, `exact-for-this-shape`, `value-tested`, `rejected`, or `not-run`.
        text: What was compared, or what differs, as a sentence.
        max_error: Largest absolute difference seen; 0.0 where all bits were equal.
        details: The inputs and results that show a difference, JSON-able.
        feeds: Those inputs whole, by their names in `Built`.
        final: Whether a comparison of whole models can tell no better: what it draws need not come to what counts.
    """

    grade: str
    text: str
    max_error: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    feeds: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    final: bool = False

    def named(self, names: Mapping[str, str]) -> Evidence:
        """Returns it in the names of the model: what was found on a region holds for every one of its signature.

        Args:
            names: The model's name for each input of the region.
        """
        if not self.details:
            return self
        details = {
            key: {names[name]: item for name, item in found.items()} if isinstance(found, dict) else found
            for key, found in self.details.items()
        }
        shapes = ", ".join(f"{name} {shape}" for name, shape in details["shapes"].items())
        text = f"the replacement differs at {shapes or 'no input'}: {self.text}"
        return Evidence(REJECTED, text, details=details, feeds=self.feeds)


def rejected(difference: str, binding: Mapping[str, tuple[int, ...]], feeds: Mapping[str, Any]) -> Evidence:
    """Returns the evidence that a region differs, with the inputs that show it."""
    details = {
        "shapes": {name: list(shape) for name, shape in binding.items()},
        "inputs": {
            name: [_plain(item) for item in array.ravel()[:64].tolist()]
            for name, array in feeds.items()
            if isinstance(array, np.ndarray)
        },
        "difference": difference,
    }
    return Evidence(REJECTED, difference, details=details, feeds=dict(feeds))


def _plain(item: Any) -> Any:
    return (
        item if isinstance(item, (int, str, bool)) or (isinstance(item, float) and math.isfinite(item)) else str(item)
    )

"""The elements of large arrays, a few at a time: nothing of their size is copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

__all__ = ["CHUNK", "chunks_of"]

CHUNK: Final = 1 << 20
"""How many bytes of an array are looked at at once."""


def chunks_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the bytes of an array's elements, in order, whichever way they lie. Not for arrays of objects."""
    # Of `flat`, a slice is a copy of just that slice.
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    step = max(1, CHUNK // array.itemsize)
    for at in range(0, array.size, step):
        yield flat[at : at + step].view(np.uint8)

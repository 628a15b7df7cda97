"""What a Slice node takes of its input."""

from __future__ import annotations

from typing import Any, Final

from onnxfuse.analysis import NodeView

__all__ = ["FAR", "positions", "slice_parameters"]

FAR: Final = 2**31 - 1
"""A start or an end at or beyond this means the border of the tensor: no dim exceeds it."""


def slice_parameters(view: NodeView) -> list[tuple[int, Any, Any, Any]] | None:
    """The axes that a Slice node cuts, as (axis, start, end, step).

    Returns:
        The entries, axes counted from the front, the rest numbers or symbols; None where the axes are not known.
    """
    dims, attributes = view.dims(0), view.node.attributes
    if dims is None:
        return None
    columns: list[Any]
    if view.version < 10:
        columns = [attributes.get_ints(name) for name in ("starts", "ends", "axes")] + [None]
        given = [column is not None for column in columns]
    else:
        columns = [view.elements(index) for index in (1, 2, 3, 4)]
        given = [view.info(index) is not None for index in (1, 2, 3, 4)]
    if columns[0] is not None:
        columns[2] = columns[2] if given[2] else range(len(columns[0]))
        columns[3] = columns[3] if given[3] else [1] * len(columns[0])
    if any(column is None for column in columns) or len({len(column) for column in columns}) != 1:
        return None
    if not all(isinstance(axis, int) and -len(dims) <= axis < len(dims) for axis in columns[2]):
        return None
    return [(axis % len(dims), start, end, step) for start, end, axis, step in zip(*columns, strict=True)]


def positions(dim: int, start: int, end: int, step: int) -> range | None:
    """What Slice takes of an axis; None where onnxruntime differs from the standard.

    Not quite Python's slice: counting down, a start before the front means the front.
    """
    if step == 0 or (step < 0 and end >= FAR):
        return None  # onnxruntime takes INT_MAX for the far end in either direction
    start, end = (bound + dim if bound < 0 else bound for bound in (start, end))
    if step > 0:
        return range(min(max(start, 0), dim), min(max(end, 0), dim), step)
    return range(min(max(start, 0), dim - 1), min(max(end, -1), dim - 1), step)

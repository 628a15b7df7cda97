"""merge-sliced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from onnxfuse import Numerics, RewritePass
from onnxfuse.passes._slices import EVERYTHING, Part, compose

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match

# A longer chain is merged piece by piece.
LONGEST_CHAIN: Final = 64

Parts = dict[int, Part]
"""What a Slice does: a part for each axis it names, as it names it."""


@dataclass(frozen=True)
class MergeSliced(RewritePass):
    """Merge consecutive Slice nodes into one.

    What it does:
        Replaces a chain of Slices, each read only by the next, by one Slice. Slices of different axes always merge.
        Slices of one axis merge where a single Slice selects the same elements: for the known length of the axis, or
        for every length. A chain that selects everything disappears.

    Why:
        `x[:, :, 1:, 1:]` in PyTorch is exported as two Slices. Each is a copy of the tensor, and on an accelerator a
        kernel launch; NASNet-A has eleven such pairs.

    Example:
        Before:

            <ir_version: 8, opset_import: ["": 17]>
            example (float[N, 8, 16, 16] x) => (float[N, 8, 15, 15] y)
            <int64[1] one = {1}, int64[1] end = {9223372036854775807}, int64[1] rows = {2}, int64[1] columns = {3}> {
                cropped = Slice(x, one, end, rows)
                y = Slice(cropped, one, end, columns)
            }

        After:

            <ir_version: 8, opset_import: ["": 17]>
            example (float[N, 8, 16, 16] x) => (float[N, 8, 15, 15] y)
            <int64[2] y_starts = {1, 1}, int64[2] y_ends = {9223372036854775807, 9223372036854775807}, int64[2] y_axes
            = {2, 3}> {
                y = Slice(x, y_starts, y_ends, y_axes)
            }

    When it declines:
        The first Slice has another use or is a graph output; bounds, axes or steps are not constant; axes are counted
        from both ends and the rank is not known; the Slices of one axis select what no single Slice selects for every
        length (`x[-5:][2:]` is not `x[-3:]` where x is shorter than 5); numpy and onnxruntime read a bound differently
        (a negative step with a start before the first element, or with the greatest integer as its end).

    Numerics:
        Exact: data is moved, not computed.

    Options:
        None.

    References:
        Slice in ONNX's operators, https://onnx.ai/onnx/operators/onnx__Slice.html
    """

    name: ClassVar[str] = "merge-sliced"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Slice"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Returns the longest chain that ends in `node` and merges."""
        chain = _chain(node, facts)
        if len(chain) < 2:
            return None
        found: tuple[int, Parts] | None = None
        why = ""
        # From the end upwards, as long as it merges. Where two do not, three still may: the outer ones cancel out.
        for count in range(2, len(chain) + 1):
            merged = _merge(chain[-count:], facts)
            if not isinstance(merged, str):
                found = count, merged
            elif found is not None or count > 2:
                break
            else:
                why = merged
        if found is None:
            facts.decline(why, at=chain[-2][0])
        count, parts = found
        nodes = [member for member, _ in chain[-count:]]
        return facts.region(*nodes, data=facts.input(nodes[0], 0), parts=parts, opset=facts.opset(node))

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Builds the one Slice, or passes the data on where it would select everything."""
        data: ir.Value = match["data"]
        parts: Parts = match["parts"]
        if not parts:
            return [data]
        axes = list(parts)
        starts, ends, steps = (list(numbers) for numbers in zip(*parts.values(), strict=True))
        if match["opset"] < 10:
            return [build.op("Slice", data, axes=axes, starts=starts, ends=ends)]
        names = {"starts": starts, "ends": ends, "axes": axes}
        if any(step != 1 for step in steps):
            names["steps"] = steps
        bounds = [build.constant(np.array(numbers, dtype=np.int64), name=name) for name, numbers in names.items()]
        return [build.op("Slice", data, *bounds)]


def _chain(node: ir.Node, facts: Facts) -> list[tuple[ir.Node, Parts]]:
    """Returns the Slices that end in `node`, in order, each read only by the next; none where there is no chain."""
    before = facts.producer(facts.input(node, 0), "Slice")
    if before is None:
        return []
    chain = [(node, _parts(node, facts))]
    while before is not None and len(chain) < LONGEST_CHAIN:
        problem = _problem(before, facts)
        if problem:
            if len(chain) == 1:
                facts.decline(problem, at=before)
            break
        chain.insert(0, (before, _parts(before, facts)))
        before = facts.producer(facts.input(before, 0), "Slice")
    return chain


def _problem(first: ir.Node, facts: Facts) -> str:
    (output,) = first.outputs
    if facts.is_graph_output(output):
        return "the first Slice is a graph output"
    if facts.use_count(output) > 1:
        return "the first Slice has another use"
    if facts.only_user(output) is None:
        return "the first Slice is read in a subgraph"
    return ""


def _parts(node: ir.Node, facts: Facts) -> Parts:
    """Reads a Slice of any opset."""
    if facts.opset(node) < 10:
        starts, ends = (list(facts.attribute(node, name, ())) for name in ("starts", "ends"))
        axes = list(facts.attribute(node, "axes", range(len(starts))))
        steps = [1] * len(starts)
    else:
        given = []
        for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1):
            value = facts.input(node, index)
            array = facts.constant(value)
            if value is not None and array is None:
                facts.decline(f"the {name} are not constant", at=node)
            given.append(None if array is None else [int(number) for number in array.ravel()])
        starts, ends = given[0] or [], given[1] or []
        axes = given[2] if given[2] is not None else list(range(len(starts)))
        steps = given[3] if given[3] is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        facts.decline("starts, ends, axes and steps do not fit together", at=node)
    parts = {axis: Part(*numbers) for axis, *numbers in zip(axes, starts, ends, steps, strict=True)}
    if len(parts) != len(axes):
        facts.decline("an axis is named twice", at=node)
    return parts


def _merge(chain: Sequence[tuple[ir.Node, Parts]], facts: Facts) -> Parts | str:
    """Returns the parts of the one Slice that does what the chain does, by axis, or why there is none."""
    data = facts.input(chain[0][0], 0)
    assert data is not None  # noqa: S101 - a Slice without data is no valid model
    named = {axis for _, parts in chain for axis in parts}
    rank = facts.rank(data) if any(axis < 0 for axis in named) else None
    if rank is None and any(axis < 0 for axis in named) and any(axis >= 0 for axis in named):
        return "axes are counted from both ends, and the rank is not known"
    by_axis: dict[int, list[Part]] = {}
    for _, parts in chain:
        distinct = {axis if rank is None else axis % rank: part for axis, part in parts.items()}
        if len(distinct) != len(parts):
            return "an axis is named twice"
        for axis, part in distinct.items():
            by_axis.setdefault(axis, []).append(part)
    merged: Parts = {}
    for axis, row in sorted(by_axis.items()):
        length = _length(data, axis, facts) if len(row) > 1 or _may_select_everything(row[0]) else None
        composed = compose(row, length=length, axis=axis)
        if isinstance(composed, str):
            return composed
        if composed != EVERYTHING:
            merged[axis] = composed
    return merged


def _may_select_everything(part: Part) -> bool:
    return part.step == 1 and part.start <= 0 < part.end


def _length(data: ir.Value, axis: int, facts: Facts) -> int | None:
    shape = facts.shape(data)
    dim = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    return dim if isinstance(dim, int) else None

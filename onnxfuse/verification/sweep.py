"""Which shapes decide whether two regions that only move data are the same.

Slice and Pad act on each axis by itself: the whole index map is the product of one map for each axis. So it is enough
to sweep the length of one axis at a time, and dims that nothing slices or pads need not be swept at all. A length
beyond the bound that the constants imply shows nothing new: every start, end and step has come to bear by then.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from onnxfuse.analysis.shapes import Dim

__all__ = ["MAX_BINDINGS", "MAX_NUMBERS", "Sweep", "far_sizes", "plan"]

MAX_BINDINGS: Final = 4096
# A bound at or beyond this is "to the end": it clamps, and says nothing about lengths.
CLAMPED: Final = 2**31 - 1
# More elements than this take too much memory (64 MiB a float32 tensor), or in all runs of a sweep too much time.
MAX_ELEMENTS: Final = 1 << 24
MAX_SWEPT_ELEMENTS: Final = 1 << 26
LONGEST_HELD: Final = 1 << 13
# Steps that multiply to more than this leave nothing of any tensor that fits into memory.
LONGEST_PERIOD: Final = 1 << 12
# Sizes for symbols where no method is exact; any number up to SMALL comes to bear on them.
FEW: Final = ((2, 3, 5, 4, 7, 6), (1, 1, 1), (3, 2, 4, 5, 6, 7), (7, 5, 3), (0, 0, 0))
SMALL: Final = 2
MAX_NUMBERS: Final = 64
# An axis that no node touches: two elements show a swap, and cost little.
UNTOUCHED: Final = 2

Contents = Callable[[ir.Value | None], "np.ndarray | None"]


@dataclass(frozen=True)
class Sweep:
    """Shapes to run on.

    Attributes:
        bindings: For each run, the shape of every input.
        exhaustive: Whether equality on all of them means equality for every shape that the inputs can have.
    """

    bindings: Sequence[Mapping[str, tuple[int, ...]]]
    exhaustive: bool


def plan(
    before: Sequence[ir.Node],
    after: Sequence[ir.Node],
    inputs: Mapping[str, ir.Value],
    shapes: Mapping[str, tuple[Dim | None, ...]],
    contents: Contents,
) -> Sweep:
    """Says on which shapes two regions of data movement are to be compared.

    Args:
        before: The nodes of the region.
        after: The nodes that are to replace them.
        inputs: What comes in, by name.
        shapes: The inputs' shapes, as far as they are known; all of known rank.
        contents: Says what a constant holds.
    """
    nodes = (*before, *after)
    if len(inputs) == 1 and all(node.op_type in ("Slice", "Pad", "Identity") for node in nodes):
        ((name, shape),) = shapes.items()
        one, other = (_reach(side, len(shape), contents) for side in (before, after))
        if one is not None and other is not None:
            both = [a.joined(b) for a, b in zip(one, other, strict=True)]
            if all(reach.bound <= CLAMPED and reach.period <= LONGEST_PERIOD for reach in both):
                return _per_axis(name, shape, one, both)
    return _few(shapes, far_sizes(nodes, contents))


def _per_axis(name: str, shape: tuple[Dim | None, ...], before: Sequence[_Reach], reaches: Sequence[_Reach]) -> Sweep:
    """Sweeps each touched axis of unknown length, while the others are held where something of them is selected.

    So each run shows the map of the swept axis whole; the map of the region is the product of those of its axes.
    """
    held = [
        _length(dim, reach) if isinstance(dim, int) else one.held()
        for dim, one, reach in zip(shape, before, reaches, strict=True)
    ]
    swept = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int) and reaches[axis].bound]
    if not swept:
        return Sweep([{name: tuple(held)}] if _elements(held) <= MAX_ELEMENTS else [], exhaustive=True)
    lengths = [range(reaches[axis].bound + 1) for axis in swept]
    exhaustive = sum(map(len, lengths)) <= MAX_BINDINGS
    share = MAX_BINDINGS // len(swept)
    bindings, elements = [], 0
    for axis, every in zip(swept, lengths, strict=True):
        for length in every if exhaustive else reaches[axis].telling(share):
            binding = (*held[:axis], length, *held[axis + 1 :])
            elements += _elements(binding)
            if _elements(binding) > MAX_ELEMENTS or elements > MAX_SWEPT_ELEMENTS:
                exhaustive = False
                break
            bindings.append({name: binding})
    return Sweep(bindings, exhaustive)


def _length(dim: int, reach: _Reach) -> int:
    """Returns a length that stands for an axis's own.

    A known length far beyond the bound is replaced by one just beyond it that leaves the same remainder by the steps:
    from the bound on, what is selected only grows, by one pattern for each remainder.
    """
    if not reach.bound:
        return min(dim, UNTOUCHED)
    return dim if dim <= reach.bound + reach.period else reach.bound + (dim - reach.bound) % reach.period


@dataclass
class _Reach:
    """What a side does to an axis.

    Attributes:
        bound: The length from which on nothing new happens; 0 for an axis that nothing touches.
        period: The product of the steps.
        constants: The numbers that lengths are compared with, scaled by the steps before them.
        parts: For each node its numbers, and its step, 0 for a Pad, which adds its numbers to the length.
    """

    bound: int = 0
    period: int = 1
    constants: tuple[int, ...] = ()
    parts: tuple[tuple[tuple[int, ...], int], ...] = ()

    def joined(self, other: _Reach) -> _Reach:
        """Returns the reach of both sides together."""
        period = math.lcm(self.period, other.period)
        return _Reach(self.bound + other.bound, period, (*self.constants, *other.constants))

    def held(self) -> int:
        """Returns a length at which several elements are selected, or one, if there is any up to the bound."""
        lengths = range(1, min(self.bound, LONGEST_HELD) + 1)
        for enough in (UNTOUCHED, 1):
            for length in lengths:
                if self._selected(length) >= enough:
                    return length
        return sum(self.constants) + UNTOUCHED * self.period

    def _selected(self, length: int) -> int:
        for numbers, step in self.parts:
            length = len(range(length)[numbers[0] : numbers[1] : step]) if step else length + sum(numbers)
        return length

    def telling(self, most: int) -> list[int]:
        """Returns the lengths that tell most, where all are too many: the shortest, and those around the constants."""
        # The shortest are kept, so the least constants do: of thousands, the sums of two are millions.
        constants = sorted(set(self.constants))[:MAX_NUMBERS]
        around = {
            length + offset
            for one in (*constants, 0)
            for length in (one, *(one + other for other in constants))
            for offset in range(-2 * self.period, 2 * self.period + 1)
        }
        telling = sorted(length for length in around if 0 <= length <= self.bound)[: most // 2]
        return sorted({*telling, *range(min(most // 2, self.bound + 1))})


def _reach(nodes: Sequence[ir.Node], rank: int, contents: Contents) -> list[_Reach] | None:
    """Returns for each axis how far the constants of `nodes` reach; None where one of them is not known.

    For Slices in a row: the sum of |start| + |end| + |step| + 2, each scaled by the steps before it.
    """
    reaches = [_Reach() for _ in range(rank)]
    for node in nodes:
        parameters = _axis_parameters(node, rank, contents)
        if parameters is None:
            return None
        for axis, numbers, step in parameters:
            if not 0 <= axis < rank:
                return None
            near = sum(abs(number) for number in numbers if abs(number) < CLAMPED)
            reach = reaches[axis]
            reach.bound += (near + abs(step) + 2) * reach.period
            reach.parts += ((numbers, step if node.op_type == "Slice" else 0),)
            reach.constants += tuple(abs(number) * reach.period for number in numbers if abs(number) < CLAMPED)
            reach.period *= max(abs(step), 1)
    return reaches


def _axis_parameters(node: ir.Node, rank: int, contents: Contents) -> list[tuple[int, tuple[int, ...], int]] | None:
    """Returns (axis, numbers that lengths are compared with, step) for each axis that the node touches."""
    if node.op_type == "Identity":
        return []
    if node.op_type == "Slice":
        return _slice_parameters(node, rank, contents)
    pads = _numbers(node, 1, "pads", contents)
    if pads is None:
        return None
    axes = _numbers(node, 3, "", contents) if len(node.inputs) > 3 and node.inputs[3] is not None else range(rank)
    if axes is None or len(pads) != 2 * len(axes):
        return None
    half = len(axes)
    return [
        (axis % rank if rank else axis, (pads[i], pads[i + half]), 1)
        for i, axis in enumerate(axes)
        if pads[i] or pads[i + half]
    ]


def _slice_parameters(node: ir.Node, rank: int, contents: Contents) -> list[tuple[int, tuple[int, ...], int]] | None:
    starts, ends = _numbers(node, 1, "starts", contents), _numbers(node, 2, "ends", contents)
    if starts is None or ends is None:
        return None
    axes = _numbers(node, 3, "axes", contents) if _given(node, 3, "axes") else list(range(len(starts)))
    steps = _numbers(node, 4, "", contents) if _given(node, 4, "") else [1] * len(starts)
    if axes is None or steps is None or rank == 0:
        return None
    return [(axis % rank, (start, end), step) for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)]


def _given(node: ir.Node, index: int, attribute: str) -> bool:
    return attribute in node.attributes or (len(node.inputs) > index and node.inputs[index] is not None)


def _numbers(node: ir.Node, index: int, attribute: str, contents: Contents) -> list[int] | None:
    if attribute in node.attributes:
        return [int(number) for number in node.attributes[attribute].value]
    array = contents(node.inputs[index]) if len(node.inputs) > index else None
    return None if array is None else [int(number) for number in np.asarray(array).ravel()]


def far_sizes(nodes: Sequence[ir.Node], contents: Contents) -> list[int]:
    """Returns sizes at which the integers in a region come to bear: beyond the largest of them, and beyond each sum of two."""
    numbers: set[int] = set()
    for node in nodes:
        for value in node.inputs:
            array = contents(value)
            if array is not None and array.dtype.kind in "iu" and array.size <= MAX_NUMBERS:
                numbers.update(abs(int(number)) for number in array.ravel())
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.INTS and attribute.ref_attr_name is None:
                numbers.update(abs(int(number)) for number in attribute.as_ints())
    far = max((number for number in numbers if number < LONGEST_HELD), default=0)
    return [far + 3, 2 * far + 3] if far > SMALL else []


def _few(shapes: Mapping[str, tuple[Dim | None, ...]], far: Sequence[int]) -> Sweep:
    """Static shapes decide; for others, a few sizes, equal symbols equal, and one symbol after the other far out."""
    symbols = list(dict.fromkeys(dim for shape in shapes.values() for dim in shape if not isinstance(dim, int)))
    if not symbols:
        static = {name: tuple(_ints(shape)) for name, shape in shapes.items()}
        fits = sum(map(_elements, static.values())) <= MAX_ELEMENTS
        return Sweep([static] if fits else [], exhaustive=fits)
    near = [dict(zip(symbols, itertools.cycle(sizes), strict=False)) for sizes in FEW]
    given = near + [{**near[0], symbol: size} for symbol in symbols for size in far]
    bindings = [
        {name: tuple(dim if isinstance(dim, int) else sizes[dim] for dim in shape) for name, shape in shapes.items()}
        for sizes in given
    ]
    small = [binding for binding in bindings if sum(map(_elements, binding.values())) <= MAX_ELEMENTS]
    return Sweep(small, exhaustive=False)


def _elements(shape: Sequence[int]) -> int:
    # An empty tensor costs nothing, but numpy refuses one whose other dims multiply to more than memory.
    return math.prod(max(dim, 1) for dim in shape)


def _ints(shape: tuple[Dim | None, ...]) -> Iterator[int]:
    for dim in shape:
        if isinstance(dim, int):
            yield dim

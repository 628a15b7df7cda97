"""transpose-around-softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

from onnxfuse import Numerics, RewritePass

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfuse import Builder, Facts, Match

ALIGNED: Final = 16
"""Ascend's layouts are this many elements wide."""


class Gate(StrEnum):
    """Which nodes are worth their Transposes."""

    UNALIGNED = "unaligned"
    """Those whose axis is the last one and does not fill Ascend's layout."""
    ALWAYS = "always"
    """All that are not where they are wanted."""


@dataclass(frozen=True)
class TransposeAroundSoftmax(RewritePass):
    """Move the axis of a Softmax, with a Transpose before and after.

    What it does:
        Swaps the normalised axis with another one by a Transpose, normalises there, and swaps them back. LogSoftmax and
        Hardmax likewise. By default it moves the last axis to axis 1, where its size is known and is not a multiple of
        16. One that is on the wanted axis already is left as it is.

    Why:
        On Ascend a Softmax over the last axis works across the lanes of a vector, and pads each row to a multiple of
        16; over any other axis each lane has a column of its own. LV-ViT normalises rows of 197. On a CPU the
        Transposes only cost, so no preset but `ascend` has it.

    Example:
        Before:

            <ir_version: 8, opset_import: ["": 17]>
            example (float[N, 6, 17, 17] scores) => (float[N, 6, 17, 17] y) {
                y = Softmax<axis = -1>(scores)
            }

        After:

            <ir_version: 8, opset_import: ["": 17]>
            example (float[N, 6, 17, 17] scores) => (float[N, 6, 17, 17] y) {
                swapped = Transpose<perm = [0, 3, 2, 1]>(scores)
                columns = Softmax<axis = 1>(swapped)
                y = Transpose<perm = [0, 3, 2, 1]>(columns)
            }

    When it declines:
        Below opset 13, where these operators normalise over all dims from their axis on, flattened: run
        `convert-opset{to=13}` first. The rank is not known, or less than `min-rank`; it has no axis of the number
        `axis`; a swap stands before and after it already. With `gate=unaligned` also: the normalised axis is not the
        last one, its size is not known, or its size is a multiple of 16.

    Numerics:
        Rounding: a runtime may sum in another order along another axis. What a Hardmax makes of NaN is not said by ONNX,
        and onnxruntime's choice depends on where the elements lie.

    Options:
        axis: Where the axis goes, 1 by default; counted from the end if negative, as in ONNX.

        min-rank: Tensors of fewer dims are left alone, 3 by default.

        gate: `unaligned` (default) takes the last axis alone, where its size is known and is not a multiple of 16;
        nothing is asked of the other dims. `always` takes any axis of any size.

    References:
        Softmax in ONNX's operators, https://onnx.ai/onnx/operators/onnx__Softmax.html
    """

    name: ClassVar[str] = "transpose-around-softmax"
    numerics: ClassVar[Numerics] = Numerics.ROUNDING
    ops: ClassVar[frozenset[str]] = frozenset({"Softmax", "LogSoftmax", "Hardmax"})

    axis: int = 1
    min_rank: int = 3
    gate: Gate = Gate.UNALIGNED

    def __post_init__(self) -> None:
        """Takes the gate by its name, too."""
        object.__setattr__(self, "gate", Gate(self.gate))

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Returns the node, if its axis is worth moving and can be moved."""
        if facts.opset(node) < 13:
            facts.decline(
                f"below opset 13 a {node.op_type} normalises over the flattened trailing dims: "
                "run convert-opset{to=13} first"
            )
        data = facts.input(node, 0)
        shape = facts.shape(data) if data is not None else None
        if shape is None:
            facts.decline("the rank is not known")
        rank = len(shape)
        if rank < self.min_rank:
            facts.decline(f"the rank is {rank}, less than min-rank={self.min_rank}")
        given = facts.attribute(node, "axis", -1)
        axis, target = _position(given, rank), _position(self.axis, rank)
        if axis is None:
            facts.decline(f"its axis {given} is none of a tensor of rank {rank}")
        if target is None:
            facts.decline(f"axis={self.axis} is none of a tensor of rank {rank}")
        if axis == target:
            return None
        if self.gate is Gate.UNALIGNED:
            size = shape[axis]
            if axis != rank - 1:
                facts.decline(f"it normalises axis {axis}, not the last one")
            if not isinstance(size, int):
                facts.decline("the size of the last axis is not known")
            if size % ALIGNED == 0:
                facts.decline(f"the size of the last axis is {size}, a multiple of {ALIGNED}")
        if _is_moved(node, axis, rank, facts):
            facts.decline("its axis is swapped with another one already, before and after it")
        return facts.region(node, data=data, axis=axis, target=target, rank=rank)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Builds the node between two swaps."""
        axis, target = match["axis"], match["target"]
        perm = list(range(match["rank"]))
        perm[axis], perm[target] = target, axis
        swapped = build.op("Transpose", match["data"], perm=perm)
        normalised = build.op(match.nodes[0].op_type, swapped, axis=target)
        return [build.op("Transpose", normalised, perm=perm)]


def _position(axis: int, rank: int) -> int | None:
    """Returns an axis counted from the front, or None where there is none of that number."""
    return axis % rank if -rank <= axis < rank else None


def _is_moved(node: ir.Node, axis: int, rank: int, facts: Facts) -> bool:
    """Says whether the same swap of its axis with another one stands before and after the node."""
    before, after = facts.producer(facts.input(node, 0), "Transpose"), facts.only_user(node.outputs[0])
    if before is None or after is None or not facts.is_op(after, "Transpose"):
        return False
    first, second = (list(facts.attribute(swap, "perm", range(rank)[::-1])) for swap in (before, after))
    moved = [place for place, dim in enumerate(first) if place != dim]
    return first == second and len(moved) == 2 and axis in moved

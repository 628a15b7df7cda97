"""What the elements of an input mean to the operators that they reach, where not every value is legal.

Found backwards: from the operators that demand something, through those that hand elements on, into bodies and local
functions too. What is demanded is said by the operator; which values that leaves depends on sizes, and so is decided
when something is drawn, in `onnxfuse.verification.role_values`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.verification.element_types import is_float, is_integer
from onnxfuse.verification.operand_sizes import Sizes, inlined

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["Role", "Use", "is_parameter", "least_items", "roles_of"]

_SOFT: Final = frozenset(("mask", "variance", "step size", "class"))
"""Every value is legal, but only some are usual: the families of extreme values do not heed these."""


@dataclass(frozen=True)
class Use:
    """One operator that elements reach.

    Attributes:
        kind: What they are to it: `index`, `axes`, ...
        node: The operator.
        slot: The position of its input that they reach.
        scale: It sees `scale * element + offset`.
        offset: See there.
        whole: Whether it sees all the elements, and in their order.
        before: The constants that a Concat puts before them.
        after: Those behind them.
    """

    kind: str
    node: onnx.NodeProto
    slot: int = 0
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    whole: bool = True
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the operator sees the elements as they are."""
        return self.scale == 1 and self.offset == 0


@dataclass(frozen=True)
class Role:
    """What the elements of an input are used for.

    Attributes:
        kind: That of the first use.
        uses: The operators that they reach and that demand something.
        sizes: The sizes of all values of the model.
    """

    kind: str
    uses: tuple[Use, ...] = field(compare=False, repr=False)
    sizes: Sizes = field(compare=False, repr=False)

    @property
    def hard(self) -> bool:
        """Whether some values are illegal; otherwise some are only unusual."""
        return self.kind not in _SOFT

    def of_type(self, dtype: np.dtype[Any]) -> Role | None:
        """What is left of it for elements of a type: a divisor is none where it is a float, and may be 0."""
        if not (is_integer(dtype) or is_float(dtype)):
            return None
        uses = tuple(use for use in self.uses if is_integer(dtype) or use.kind not in _INTEGERS_ONLY)
        return replace(self, kind=uses[0].kind, uses=uses) if uses else None


def _slots(kinds: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """`{"index": "Gather.1 GatherND.1"}` as `{("Gather", 1): "index", ...}`."""
    return {
        (slot.partition(".")[0], int(slot.partition(".")[2])): kind
        for kind, slots in kinds.items()
        for slot in slots.split()
    }


_DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml")
_REDUCTIONS: Final = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
_KINDS: Final = _slots(
    {
        "index": "Gather.1 GatherElements.1",
        "index tuple": "GatherND.1",
        "target": "ScatterElements.1 Scatter.1",
        "target tuple": "ScatterND.1",
        "position": "SequenceAt.1 SequenceErase.1 SequenceInsert.2",
        "row": "RoiAlign.2 RotaryEmbedding.3 ArrayFeatureExtractor.1 MaxUnpool.1 TensorScatter.2"
        " NegativeLogLikelihoodLoss.1 SoftmaxCrossEntropyLoss.1",
        "class": "OneHot.0",
        "axes": "Squeeze.1 Unsqueeze.1 CumSum.1 CumProd.1 Slice.3 Pad.3 DFT.2 "
        + " ".join(f"Reduce{name}.1" for name in _REDUCTIONS.split()),
        "bound": "Slice.1 Slice.2 Trilu.1",
        "stride": "Slice.4",
        "pad": "Pad.1",
        "target shape": "Reshape.1",
        "image": "Col2Im.1",
        "one": "Col2Im.2",
        "broadcast shape": "Expand.1",
        "grid": "AffineGrid.1",
        "unpooled": "MaxUnpool.2",
        "parts": "Split.1 SplitToSequence.1",
        "largest": "TopK.1",
        "length": "LSTM.4 GRU.4 RNN.4 ReverseSequence.1 Attention.6",
        "depth": "OneHot.1",
        "size": "ConstantOfShape.0 NonMaxSuppression.2 CenterCropPad.1 BlackmanWindow.0 HammingWindow.0"
        " HannWindow.0 DFT.1",
        "repeats": "Tile.1",
        "trips": "Loop.0",
        "from": "Range.0",
        "to": "Range.1",
        "by": "Range.2",
        "frame": "STFT.1 STFT.3",
        "divisor": "Div.1 Mod.1",
        "shift": "BitShift.1",
        "exponent": "Pow.1",
        "scale": "Upsample.1 Resize.2",
        "scaled": "Resize.3 Upsample.2",
        "ratio": "Dropout.1 NonMaxSuppression.3",
        "bands": "MelWeightMatrix.0",
        "window": "MelWeightMatrix.1",
        "rate": "MelWeightMatrix.2",
        "variance": "BatchNormalization.4",
        "step size": "QuantizeLinear.1 DequantizeLinear.1 QLinearConv.1 QLinearConv.4 QLinearConv.6 QLinearMatMul.1"
        " QLinearMatMul.4 QLinearMatMul.6",
    }
)
# What elements these are of is decided by their type: an integer divisor must not be 0, a float one may.
_INTEGERS_ONLY: Final = frozenset(("divisor", "exponent", "shift"))
_INTEGERS: Final = (2, 3, 4, 5, 6, 7, 12, 13)  # onnx's numbers
_DATA: Final = frozenset(("divisor", "exponent", "shift", "class", "variance", "step size", "length", "row"))

# Operators that hand elements of these inputs on: all of them and in their order, or some.
_WHOLE: Final = _slots({"": "Identity.0 Cast.0 CastLike.0 Reshape.0 Squeeze.0 Unsqueeze.0 Flatten.0"})
_SOME: Final = _slots(
    {
        "": "Transpose.0 Slice.0 Expand.0 Gather.0 GatherElements.0 GatherND.0 Split.0 Tile.0 Where.1 Where.2 Clip.0"
        " Abs.0 Round.0 Floor.0 Ceil.0 Relu.0 Pad.0 ScatterElements.0 ScatterElements.2 ScatterND.0 ScatterND.2"
        " ReverseSequence.0 Dropout.0 Compress.0 ReduceMax.0 ReduceMin.0 Trilu.0 OptionalGetElement.0 Optional.0"
        " SequenceConstruct.0 SequenceAt.0 SequenceInsert.0 SequenceInsert.1 ConcatFromSequence.0 TopK.0"
    }
)
# Several factors of one size are each kept small.
_COMBINED: Final = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "ReduceProd", "ReduceSum", "Mod", "Sum", "Pow"))
_SIZES: Final = frozenset(("size", "repeats", "trips", "from", "to", "by", "broadcast shape", "scale", "scaled", "one"))
_MASKS: Final = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Cast", "Mul", "Sub"))
_CONTROL: Final = frozenset(("If", "Loop", "Scan", "SequenceMap"))
_KNOWN: Final = frozenset(op for op, _ in (*_KINDS, *_WHOLE, *_SOME)) | _COMBINED | _MASKS | {"Concat"}
LARGE: Final = 1e3
"""A mask of a sentence is subtracted from 1 and multiplied by a number beyond that."""


_ITEMS: Final = {"ConcatFromSequence": 1, "OptionalGetElement": 1}
"""So many items of its first input an operator cannot do without."""


def least_items(model: onnx.ModelProto) -> dict[str, int]:
    """Finds how many items sequences must have, and which optionals must be there.

    Args:
        model: The model. Only its main graph counts: in a body, something may ask first.

    Returns:
        A number of items by name, where it is above 0.
    """
    constants = dict(_small_constants(model.graph))
    found: dict[str, int] = {}
    for node in model.graph.node:
        needed = _ITEMS.get(node.op_type, 0)
        if node.op_type in ("SequenceAt", "SequenceErase") and node.domain in _DOMAINS:
            place = int((constants.get(node.input[1] if len(node.input) > 1 else "") or (0,))[0])
            needed = place + 1 if place >= 0 else -place
        if needed:
            found[node.input[0]] = max(needed, found.get(node.input[0], 0))
    return found


def is_parameter(node: onnx.NodeProto, slot: int) -> bool:
    """Whether an input says how an operator works, and is no data of it.

    Args:
        node: A node.
        slot: The position of one of its inputs.

    Returns:
        True for the axes of a Slice, the target of a Reshape; False where the operator is not known.
    """
    return node.domain in _DOMAINS and _KINDS.get((node.op_type, slot), "divisor") not in _DATA


def roles_of(model: onnx.ModelProto) -> dict[str, Role]:
    """Finds what the values of the main graph are used for.

    Args:
        model: The model; headers of initializers suffice.

    Returns:
        The role of each value that has one, by name.
    """
    model = inlined(model)
    walk = _Walk(model)
    walk.graph(model.graph)
    sizes = Sizes(model)
    found = {}
    for name, uses in walk.uses.items():
        usable = sorted((use for use in uses if use.kind != "large"), key=lambda use: use.kind in _SOFT)
        if usable:
            found[name] = Role(usable[0].kind, tuple(usable), sizes)
    return found


class _Walk:
    """One walk over a model from its last node to its first.

    Attributes:
        uses: By name, what has been found out so far.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.uses: dict[str, list[Use]] = {}
        self._constants = dict(_small_constants(model.graph))

    def graph(self, graph: onnx.GraphProto) -> None:
        """Goes through a graph or a body; the uses of names that only a body has are dropped behind it."""
        for node in reversed(graph.node):
            op_type = node.op_type
            if op_type in _CONTROL:
                for attribute in node.attribute:
                    if attribute.HasField("g"):
                        self._body(node, attribute.g)
            if op_type in _KNOWN and node.domain in _DOMAINS:
                self._node(node)

    def _add(self, name: str, uses: Iterable[Use]) -> None:
        known = self.uses.setdefault(name, [])
        # A value may reach thousands of operators, which demand few different things.
        known += [use for use in uses if use not in known][: 16 - len(known)]

    def _body(self, node: onnx.NodeProto, body: onnx.GraphProto) -> None:
        skipped = 1 if node.op_type == "Loop" else 0  # the first output of its body is the condition
        for inner, outer in zip(list(body.output)[skipped:], node.output, strict=False):
            if outer in self.uses:
                self._add(inner.name, self.uses[outer])
        self.graph(body)
        first = {"Loop": 2, "Scan": 0, "SequenceMap": 0}.get(node.op_type)
        if first is not None:
            states = len(node.input)
            if node.op_type == "Scan":
                states -= next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
            for place, outer in enumerate(list(node.input)[first:], start=first):
                uses = self.uses.get(body.input[place].name, ()) if place < len(body.input) else ()
                whole = node.op_type == "Loop" or (node.op_type == "Scan" and place < states)
                self._add(outer, uses if whole else [replace(use, whole=False) for use in uses])
        local = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        for name in local.union(*(node.output for node in body.node)):
            self.uses.pop(name, None)

    def _node(self, node: onnx.NodeProto) -> None:
        for slot, name in enumerate(node.input):
            kind = _KINDS.get((node.op_type, slot))
            if name and kind is not None:
                self._add(name, [Use(kind, node, slot)])
        if node.op_type in _MASKS:
            self._masks(node)
        passed = self.uses.get(node.output[0] if node.output else "")
        if node.op_type == "Split":
            passed = [use for name in node.output for use in self.uses.get(name, ())]
        if not passed:
            return
        if node.op_type == "Cast" and not any(a.name == "to" and a.i in _INTEGERS for a in node.attribute):
            passed = [use for use in passed if use.kind not in _INTEGERS_ONLY]
        if node.op_type == "Concat":
            self._concat(node, passed)
        elif node.op_type in _COMBINED:
            self._combined(node, passed)
        for slot, name in enumerate(node.input):
            if name and (node.op_type, slot) in _WHOLE:
                self._add(name, passed)
            elif name and (node.op_type, min(slot, 2)) in _SOME:
                self._add(name, [replace(use, whole=False) for use in passed])

    def _masks(self, node: onnx.NodeProto) -> None:
        """What is compared with 0 or 1, or cast to bool, or subtracted from 1 and multiplied by something large."""
        constants = [self._scalar(name) for name in node.input]
        if node.op_type in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
            for name, other in zip(node.input, reversed(constants), strict=False):
                if other in (0, 1):
                    self._add(name, [Use("mask", node)])
        elif node.op_type == "Cast" and any(a.name == "to" and a.i == 9 for a in node.attribute):
            self._add(node.input[0], [Use("mask", node)])
        elif node.op_type == "Mul":
            for name, other in zip(node.input, reversed(constants), strict=False):
                if other is not None and abs(other) >= LARGE:
                    self._add(name, [Use("large", node)])
        elif node.op_type == "Sub" and constants[0] == 1 and self._is_large(node.output[0]):
            self._add(node.input[1], [Use("mask", node)])

    def _is_large(self, name: str) -> bool:
        return any(use.kind == "large" for use in self.uses.get(name, ()))

    def _scalar(self, name: str) -> Fraction | None:
        """The number that all elements of a small constant are."""
        values = set(self._constants.get(name, ()))
        return next(iter(values)) if len(values) == 1 else None

    def _concat(self, node: onnx.NodeProto, passed: list[Use]) -> None:
        for place, name in enumerate(node.input):
            others = [self._constants.get(other) for k, other in enumerate(node.input) if k != place]
            if all(other is not None for other in others):
                before, after = (
                    tuple(int(value) for part in parts if part is not None for value in part)
                    for parts in (others[:place], others[place:])
                )
                uses = [replace(u, before=(*u.before, *before), after=(*after, *u.after)) for u in passed]
            else:
                uses = [replace(use, whole=False) for use in passed]
            self._add(name, uses)

    def _combined(self, node: onnx.NodeProto, passed: list[Use]) -> None:
        """Arithmetic: solved where all but one are constant, and kept small where that is all that is wanted."""
        constants = [self._scalar(name) for name in node.input]
        for place, name in enumerate(node.input):
            others = [value for k, value in enumerate(constants) if k != place]
            affine = _affine(node.op_type, place, others[0]) if len(others) == 1 and others[0] is not None else None
            if affine is not None:
                a, b = affine
                self._add(name, [replace(u, scale=u.scale * a, offset=u.scale * b + u.offset) for u in passed])
            elif node.op_type in ("Max", "Min"):
                self._add(name, [replace(use, whole=False) for use in passed])
            elif name not in self._constants:
                self._add(name, [replace(use, whole=False) for use in passed if use.kind in _SIZES])


def _affine(op_type: str, place: int, other: Fraction) -> tuple[Fraction, Fraction] | None:
    """The (a, b) with which an operator gives a * x + b, x being its input at `place`; None where it does not."""
    one, zero = Fraction(1), Fraction(0)
    if op_type == "Add":
        return one, other
    if op_type == "Sub":
        return (one, -other) if place == 0 else (-one, other)
    if op_type == "Mul" and other != 0:
        return other, zero
    if op_type == "Div" and place == 0 and other != 0:
        return 1 / other, zero
    return None


def _small_constants(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[Fraction, ...]]]:
    """The elements of the small numeric constants of a graph and of its bodies."""
    for name, tensor in _tensors(graph):
        values = _elements(tensor)
        if values is not None:
            yield name, values


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    import onnx

    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], attribute.t
            elif node.op_type == "Constant" and attribute.name in ("value_int", "value_ints"):
                values = [attribute.i] if attribute.name == "value_int" else attribute.ints
                dims = () if attribute.name == "value_int" else (len(values),)
                yield node.output[0], onnx.helper.make_tensor("", 7, dims, values)
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = [attribute.f] if attribute.name == "value_float" else attribute.floats
                dims = () if attribute.name == "value_float" else (len(numbers),)
                yield node.output[0], onnx.helper.make_tensor("", 1, dims, numbers)
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)


def _elements(tensor: onnx.TensorProto) -> tuple[Fraction, ...] | None:
    import math

    import onnx

    stored = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    size = math.prod(tensor.dims)
    if size > 64 or tensor.data_type not in (1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16) or tensor.external_data:
        return None
    if size and not any(len(getattr(tensor, name)) for name in stored):
        return None
    values = onnx.numpy_helper.to_array(tensor).astype(object).ravel() if size else ()
    if not all(math.isfinite(value) for value in values):
        return None
    return tuple(Fraction(value) if isinstance(value, int) else Fraction(float(value)) for value in values)

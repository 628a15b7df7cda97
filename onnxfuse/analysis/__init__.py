"""What a graph tells about itself without being run: facts about operators, shapes, element types, small contents.

Here is what the analyses share: `Symbol`, the number that is not known before run time, and the arithmetic of dims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

__all__ = [
    "INTEGERS",
    "MAX_RANK",
    "MAX_UNKNOWN",
    "NONNEGATIVE",
    "Contents",
    "Dim",
    "Dims",
    "Info",
    "NodeView",
    "Symbol",
    "broadcast",
    "is_nonnegative",
    "is_writable",
    "object_array",
    "product",
    "quotient",
    "with_symbols",
]


MAX_UNKNOWN: Final = 16
"""An integer vector of unknown contents gets a Symbol for each element up to this length."""

MAX_POWERS: Final = 64
"""Products of more symbols are not followed."""

MAX_RANK: Final = 256
"""Tensors of more dims are not followed: no runtime has them."""

INTEGERS: Final = frozenset(
    {
        ir.DataType.INT8,
        ir.DataType.INT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.UINT8,
        ir.DataType.UINT16,
        ir.DataType.UINT32,
        ir.DataType.UINT64,
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class Symbol:
    """A number that is not known before run time. Equal symbols are equal numbers in every run.

    A symbol is opaque: its name is a label, whatever it looks like ("-1", "N + 1").

    Attributes:
        kind: `"declared"`: a dim_param of the model's inputs. `"dim"`: dim `index` of `value`. `"element"`: element
            `index` of the integer tensor `value`. `"product"`: `factor` times `powers`.
        name: The dim_param of a declared symbol; "" for others.
        value: Where a `"dim"` or `"element"` comes from.
        index: The axis, or the position in the flattened tensor.
        nonnegative: It is known not to be negative. True for all but some elements.
        factor: The integer factor of a product.
        powers: The symbols of a product (none of them a product) with their exponents.
    """

    kind: Literal["declared", "dim", "element", "product"]
    name: str = ""
    value: ir.Value | None = None
    index: int = 0
    nonnegative: bool = True
    factor: int = 1
    powers: frozenset[tuple[Symbol, int]] = frozenset()

    def __repr__(self) -> str:
        """The kind and the place; not the whole value that it comes from."""
        return f"<{self.kind} {self}>"

    def __str__(self) -> str:
        """For messages: the dim_param, or the place that the number is first seen at."""
        if self.kind == "declared":
            return self.name
        if self.kind == "product":
            factors = sorted(str(symbol) for symbol, power in self.powers for _ in range(power))
            return "*".join(factors if self.factor == 1 else [str(self.factor), *factors])
        name = self.value.name if self.value is not None else None
        return f"{name or 'unnamed'}{'.shape' if self.kind == 'dim' else ''}[{self.index}]"


Dim = int | Symbol
"""One dim of a shape, or one element of a shape-like tensor."""
Dims = Sequence[Dim | None]
"""A shape in the making: None is a dim that is not known."""
Contents = npt.NDArray[np.object_]
"""The elements of a tensor: a number where it is known, a Symbol where it is not."""


class Info(NamedTuple):
    """What is known of a value.

    Attributes:
        type: Its type, or None.
        dims: Its shape; None if not even the rank is known.
        contents: Its elements, if it is a small tensor of which at least the size is known.
    """

    type: ir.TypeProtocol | None = None
    dims: tuple[Dim, ...] | None = None
    contents: Contents | None = None

    @property
    def dtype(self) -> ir.DataType | None:
        """The element type, if this is a tensor."""
        return self.type.dtype if isinstance(self.type, ir.TensorType) else None


class NodeView(NamedTuple):
    """A node with what is known of its inputs.

    Attributes:
        node: The node.
        version: The opset version of its domain.
        inputs: One entry an input; None where the input is absent.
    """

    node: ir.Node
    version: int
    inputs: tuple[Info | None, ...]

    def info(self, index: int) -> Info | None:
        """What is known of input `index`; None if there is no such input."""
        return self.inputs[index] if index < len(self.inputs) else None

    def dims(self, index: int) -> tuple[Dim, ...] | None:
        """The shape of input `index`, if the input is there and its rank is known."""
        info = self.info(index)
        return None if info is None else info.dims

    def contents(self, index: int) -> Contents | None:
        """The contents of input `index`, if the input is there and they are known."""
        info = self.info(index)
        return None if info is None else info.contents

    def elements(self, index: int) -> list[Any] | None:
        """The contents of input `index` as a flat list."""
        contents = self.contents(index)
        return None if contents is None else contents.reshape(-1).tolist()


def is_nonnegative(dim: Any) -> bool:
    """Whether a number is known not to be negative."""
    return bool(dim.nonnegative if isinstance(dim, Symbol) else dim >= 0)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dims, as a number if one of them is 0 or all are numbers, else as a symbol."""
    factor, powers = 1, Counter[Symbol]()
    for dim in dims:
        if isinstance(dim, int):
            factor *= dim
        else:
            factor *= dim.factor
            powers.update(dict(dim.powers) if dim.powers else (dim,))
    return _monomial(factor, powers)


def quotient(dividend: Dim, divisor: Dim) -> Dim | None:
    """The dividend by the divisor, if the division has no remainder whatever the symbols stand for; else None."""
    factor, powers = _factors(dividend)
    by, by_powers = _factors(divisor)
    if factor == 0 and by != 0:
        return 0
    if by == 0 or factor % by or not by_powers <= powers:
        return None
    return _monomial(factor // by, powers - by_powers)


def _factors(dim: Dim) -> tuple[int, Counter[Symbol]]:
    if isinstance(dim, int):
        return dim, Counter()
    return dim.factor, Counter(dict(dim.powers) if dim.powers else {dim: 1})


def _monomial(factor: int, powers: Counter[Symbol]) -> Dim:
    if factor == 0 or not powers:
        return factor
    if factor == 1 and powers.total() == 1:
        return next(iter(powers))
    return Symbol("product", factor=factor, powers=frozenset(powers.items()))


def is_writable(dim: Dim) -> bool:
    """Whether a number can be one of int64, and a symbol can be written out.

    Sizes beyond that are in no run; shape arithmetic repeated a thousand times would make numbers of a thousand digits.
    """
    if isinstance(dim, int):
        return -(2**63) <= dim < 2**63
    return dim.factor < 2**63 and sum(power for _, power in dim.powers) <= MAX_POWERS


def broadcast(shapes: Sequence[Sequence[Dim] | None]) -> Dims | None:
    """The common shape of shapes that are broadcast against each other.

    Args:
        shapes: The shapes; None for an unknown rank.

    Returns:
        The result; None if one rank is not known. Different symbols give an unknown dim, because one of them may be 1.
    """
    known = [shape for shape in shapes if shape is not None]
    if len(known) != len(shapes):
        return None
    rank = max(map(len, known), default=0)
    result: list[Dim | None] = []
    for axis in range(-rank, 0):
        dims = {shape[axis] for shape in known if len(shape) >= -axis} - {1}
        numbers = [dim for dim in dims if isinstance(dim, int)]
        if len(numbers) == 1:
            result.append(numbers[0])  # a symbol beside it stands for the same number or for 1
        else:
            result.append(1 if not dims else dims.pop() if len(dims) == 1 else None)
    return result


class _Nonnegative:
    """The type of `NONNEGATIVE`."""


NONNEGATIVE: Final = _Nonnegative()
"""Stands in contents for an element of which only the sign is known."""


def with_symbols(contents: Contents | None, value: ir.Value, info: Info) -> Contents | None:
    """Give every unknown element of a small integer vector its own symbol.

    Args:
        contents: What is known: None for nothing; an element may be None for nothing, too, or `NONNEGATIVE`.
        value: The value whose contents these are.
        info: Its type and shape.

    Returns:
        Contents without a None, or None for a value that is no small integer tensor.
    """
    if contents is None:
        if info.dtype not in (ir.DataType.INT64, ir.DataType.INT32) or info.dims is None or len(info.dims) > 1:
            return None
        size = info.dims[0] if info.dims else 1
        if isinstance(size, Symbol) or size > MAX_UNKNOWN:
            return None
        contents = object_array([None] * size, (size,) if info.dims else ())
    items: list[object] = contents.reshape(-1).tolist()
    if info.dtype not in INTEGERS and info.dtype != ir.DataType.BOOL:
        return contents if all(isinstance(item, (int, float)) for item in items) else None
    for index, item in enumerate(items):
        # What cannot be written is as if nothing were known of it.
        unknown = item is None or (isinstance(item, int | Symbol) and not is_writable(item))
        if unknown or item is NONNEGATIVE:
            items[index] = Symbol("element", value=value, index=index, nonnegative=item is NONNEGATIVE)
    return object_array(items, contents.shape)


def object_array(items: Sequence[object], shape: tuple[int, ...]) -> Contents:
    """Contents of a shape from their elements in order; numpy would look into the elements."""
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result.reshape(shape)

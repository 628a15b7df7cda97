"""A graph as it is drawn: values with their types and shapes, and the operands that a next node can take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from onnxfuse.testing.strategies.kernels import EXOTIC, FLOATS

__all__ = ["SIZES", "UNKNOWN", "Axis", "Draft", "Maker", "Shape", "Value", "World", "broadcast", "fixed", "numpy_type"]

T = TypeVar("T")
SIZES: Final = {"N": 2, "M": 3, "K": 5}
"""The symbolic dims of generated models, with the sizes at which they surely run."""
UNKNOWN: Final = "?"
LARGEST: Final = 1500
PERCENT: Final = st.integers(0, 99)


class Draw(Protocol):
    """What hypothesis gives to a composite strategy."""

    def __call__(self, strategy: st.SearchStrategy[T]) -> T:
        """Draws."""
        ...


class Axis(NamedTuple):
    """One dim.

    Attributes:
        size: Its size where the symbols are bound as in `SIZES`.
        symbol: None for a dim of that size always, the name of a symbolic dim, or `UNKNOWN`.
    """

    size: int
    symbol: str | None = None

    @property
    def static(self) -> bool:
        """Whether it has this size always."""
        return self.symbol is None


Shape = tuple[Axis, ...]


def fixed(*sizes: int) -> Shape:
    """Returns a shape of static dims."""
    return tuple(Axis(int(size)) for size in sizes)


def broadcast(one: Shape, other: Shape) -> Shape | None:
    """Returns the common shape, or None where there is none for every size of the symbols."""
    rank = max(len(one), len(other))
    padded = [(Axis(1),) * (rank - len(shape)) + shape for shape in (one, other)]
    result = []
    for x, y in zip(*padded, strict=True):
        if x == Axis(1) or y == Axis(1):
            result.append(y if x == Axis(1) else x)
        elif x == y and x.symbol != UNKNOWN:
            result.append(x)
        else:
            return None
    return tuple(result)


def numpy_type(elem_type: int) -> npt.DTypeLike:
    """Returns numpy's type for an element type."""
    return helper.tensor_dtype_to_np_dtype(elem_type)


@dataclass(frozen=True)
class Maker:
    """What adds a node, or a few, to a graph.

    Attributes:
        op_type: The operator; where a pattern of several is added, the first of them.
        make: Adds it.
        weight: How often it is drawn, beside the others.
        since: The first opset at which it is drawn, where that is not the operator's own.
    """

    op_type: str
    make: Callable[[Draft], object]
    weight: int = 1
    since: int = 1


@dataclass(frozen=True)
class Value:
    """A value of a graph."""

    name: str
    elem_type: int
    shape: Shape

    @property
    def rank(self) -> int:
        """The number of dims."""
        return len(self.shape)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the dims, symbols bound."""
        return tuple(axis.size for axis in self.shape)

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return int(np.prod(self.sizes))

    def info(self, *, ranked: bool = False) -> onnx.ValueInfoProto:
        """Returns its declaration; with the rank only, if asked for."""
        dims: list[int | str | None] = [
            None if ranked or axis.symbol == UNKNOWN else axis.symbol or axis.size for axis in self.shape
        ]
        # A dim of size 0 is falsy, but no symbol.
        dims = [axis.size if axis.static and not ranked else dim for axis, dim in zip(self.shape, dims, strict=True)]
        return helper.make_tensor_value_info(self.name, self.elem_type, dims)


@dataclass
class World:
    """What all graphs of one model share."""

    opset: int
    ir_version: int
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    overridable: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def fresh(self, stem: str = "v") -> str:
        """Returns a name that is not in use."""
        self.count += 1
        return f"{stem}{self.count}"


class Draft:
    """A graph (or the body of a node or function) being drawn.

    Attributes:
        world: What it shares with the others of the model.
        outer: The graph around it, whose values it can capture.
        constants_as_nodes: Whether there is no room for initializers (functions, and bodies below IR 4).
    """

    def __init__(
        self, draw: Draw, world: World, *, outer: Draft | None = None, constants_as_nodes: bool = False
    ) -> None:
        self.draw = draw
        self.world = world
        self.outer = outer
        self.constants_as_nodes = constants_as_nodes
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[Value] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: list[Value] = []
        self._shared: list[tuple[str, np.ndarray]] = []

    # ---- drawing

    def chance(self, percent: int) -> bool:
        """Draws true in so many of a hundred cases; shrinks to false."""
        return self.draw(PERCENT) >= 100 - percent

    def integer(self, low: int, high: int) -> int:
        """Draws an integer; shrinks to the one nearest to 0."""
        return self.draw(st.integers(low, high))

    def choice(self, items: Sequence[T]) -> T:
        """Draws an item; shrinks to the first."""
        return items[0] if len(items) == 1 else self.draw(st.sampled_from(items))

    # ---- what there is

    @property
    def opset(self) -> int:
        """The opset of the model."""
        return self.world.opset

    def visible(self) -> list[Value]:
        """The values that a node can read, the latest first."""
        return self.values[::-1] + (self.outer.visible() if self.outer is not None else [])

    def operand(
        self,
        types: Iterable[int],
        *,
        rank: tuple[int, int] = (0, 5),
        where: Callable[[Value], bool] | None = None,
        empty: bool = False,
        dims: Sequence[int | None] = (),
    ) -> Value:
        """Draws a value to read: mostly one that is there, else a new one.

        Args:
            types: Its element types.
            rank: The least and the greatest rank.
            where: What else must hold; of a new value it holds if `dims` says enough.
            empty: Whether it may have no elements.
            dims: The first dims of a new value, where they are not to be drawn.
        """
        types = tuple(types)
        low, high = rank
        found = [v for v in self.visible() if v.elem_type in types and low <= v.rank <= high]
        found = [v for v in found if (empty or v.elements) and (where is None or where(v))]
        if found and not self.chance(10):
            return found[self.integer(0, min(len(found), 8) - 1)]
        return self.source(types, (low, min(high, 4)), dims)

    def source(self, types: Sequence[int], rank: tuple[int, int], dims: Sequence[int | None] = ()) -> Value:
        """Draws a new value: a graph input, or a constant."""
        ordinary = [t for t in types if t not in EXOTIC]
        elem_type = self.choice(ordinary or [onnx.TensorProto.FLOAT])
        count = max(self.integer(*rank), len(dims))
        given = (*dims, *[None] * (count - len(dims)))
        if self.outer is None and not self.constants_as_nodes and len(self.inputs) < 4 and not self.chance(25):
            value = Value(self.world.fresh("x"), elem_type, tuple(map(self._axis, given)))
            self.inputs.append(value)
            self.values.insert(0, value)
        else:
            sizes = [self.integer(1, 4) if dim is None else dim for dim in given]
            value = self.constant(self.numbers(elem_type, sizes), elem_type, overridable=self.chance(15))
        if not ordinary:
            value = self.add("Cast", [value], types[0], value.shape, to=types[0])
        return value

    def _axis(self, size: int | None) -> Axis:
        if size is not None:
            return Axis(size)
        if self.chance(25):
            symbol = self.choice(list(SIZES))
            return Axis(SIZES[symbol], symbol)
        return Axis(self.integer(1, 5))

    def numbers(self, elem_type: int, sizes: Sequence[int]) -> np.ndarray:
        """Draws the contents of a constant: all the same, or different ones from a seed."""
        dtype = numpy_type(elem_type)
        if elem_type == onnx.TensorProto.STRING:
            return np.array([f"s{i}" for i in range(int(np.prod(sizes)))], dtype=object).reshape(sizes)
        negative = [-1.0, 0.5] if elem_type in FLOATS else []
        kind = self.choice([1.0, 0.0, 2.0, *negative, None])
        if kind is not None:
            return np.full(sizes, kind).astype(dtype)
        generator = np.random.default_rng(self.integer(0, 99))
        if elem_type in FLOATS:
            return generator.normal(size=sizes).astype(dtype)
        return generator.integers(0, 5, sizes).astype(dtype)

    # ---- what is added

    def constant(self, array: np.ndarray, elem_type: int, *, overridable: bool = False, plain: bool = False) -> Value:
        """Adds a constant: an initializer, shared with others of the same content, or a node; or what computes one.

        Args:
            array: Its contents.
            elem_type: Its element type.
            overridable: Whether it may become an initializer that is also an input.
            plain: Whether it must be an initializer or a Constant node.
        """
        array = np.asarray(array, dtype=numpy_type(elem_type))
        shape = fixed(*array.shape)
        for name, other in self._shared:
            if other.dtype == array.dtype and other.shape == array.shape and (other == array).all() and self.chance(50):
                return Value(name, elem_type, shape)
        value = Value(self.world.fresh("c"), elem_type, shape)
        tensor = numpy_helper.from_array(array, value.name)
        # Below opset 9, Constant is of floats only.
        as_node = elem_type not in EXOTIC and (self.opset >= 9 or elem_type in FLOATS) and self.chance(20)
        if self.constants_as_nodes or as_node:
            tensor.ClearField("name")
            self.nodes.append(helper.make_node("Constant", [], [value.name], value=tensor))
        elif overridable and self.outer is None and self.world.ir_version >= 4 and elem_type not in EXOTIC:
            self.world.overridable.append(tensor)
            self.initializers.append(tensor)
            return value
        else:
            self.initializers.append(tensor)
        self._shared.append((value.name, array))
        if not plain and self.chance(10):
            return self.add("Identity", [value], elem_type, shape)
        return value

    def integers(self, numbers: Sequence[int], elem_type: int = onnx.TensorProto.INT64) -> Value:
        """Adds a constant of rank 1: axes, a shape, pads."""
        return self.constant(np.array(numbers, dtype=np.int64), elem_type)

    def add(
        self, op_type: str, operands: Sequence[Value | None], elem_type: int, shape: Shape, **attributes: Any
    ) -> Value:
        """Adds a node with one output."""
        return self.add_several(op_type, operands, [(elem_type, shape)], **attributes)[0]

    def add_several(
        self,
        op_type: str,
        operands: Sequence[Value | None],
        outputs: Sequence[tuple[int, Shape]],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[Value]:
        """Adds a node; an operand that is None is left out, an attribute that is None as well."""
        names = ["" if operand is None else operand.name for operand in operands]
        while names and not names[-1]:
            names.pop()
        made = [Value(self.world.fresh(), elem_type, shape) for elem_type, shape in outputs]
        given = {name: item for name, item in attributes.items() if item is not None}
        name = self.world.fresh(f"{op_type}_") if self.chance(30) else None
        node = helper.make_node(op_type, names, [value.name for value in made], name=name, domain=domain, **given)
        self.nodes.append(node)
        # A tensor that is too large is not read on.
        self.values += [value for value in made if value.elements <= LARGEST]
        return made

"""What a model declares of its inputs, and sizes for their symbolic dims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from onnxfuse.errors import UsageError
from onnxfuse.verification.element_types import numpy_dtype
from onnxfuse.verification.roles import Role, least_items, roles_of

if TYPE_CHECKING:
    import onnx

__all__ = [
    "Binding",
    "InputError",
    "InputSpec",
    "Kind",
    "TooLargeError",
    "bind",
    "free_inputs",
    "given_sizes",
    "symbols",
]

Kind = Literal["tensor", "sequence", "optional", "other"]


UNRANKED: Final = (2, 3)


class InputError(Exception):
    """An input for which nothing can be drawn; the message is one line."""


class TooLargeError(InputError):
    """An input that is too large to be drawn with the sizes that its dims have."""


@dataclass(frozen=True)
class InputSpec:
    """What is declared of one graph input.

    Attributes:
        name: Its name.
        kind: `sequence` and `optional` are those of tensors; an optional sequence is a `sequence`. `other`: the rest.
        dtype: The element type, as onnx's number; 0 for `other`.
        dims: Sizes, names of symbolic dims, None for a dim without either; None where the rank is not declared.
        overridable: Whether it has a default: an initializer, from IR 4 on.
        role: What its elements mean to the operators they reach, where not every value is legal; None: all are.
        least: Of a sequence, how many items its operators need; of an optional, 1 where it must be there.
    """

    name: str
    kind: Kind
    dtype: int
    dims: tuple[int | str | None, ...] | None
    overridable: bool = False
    role: Role | None = None
    least: int = 0

    @property
    def free(self) -> bool:
        """Whether every value is legal."""
        return self.role is None or not self.role.hard


@dataclass(frozen=True)
class Binding:
    """Sizes for symbolic dims.

    Attributes:
        sizes: By symbol: the dim's name, or `INPUT.AXIS` for a dim without a name.
    """

    sizes: Mapping[str, int]

    def shape(self, spec: InputSpec) -> tuple[int, ...]:
        """The shape of an input under this binding.

        Args:
            spec: The input; its symbols are bound.

        Returns:
            One size a dim. The items of a sequence are matrices where nothing is declared of them.

        Raises:
            InputError: If not even the rank of a tensor is declared.
        """
        if spec.dims is None and spec.kind == "sequence":
            return UNRANKED
        if spec.dims is None:
            raise InputError(f"input {spec.name} has no declared rank, so nothing can be drawn for it: give input data")
        return tuple(
            dim if isinstance(dim, int) else self.sizes[_symbol(spec, axis)] for axis, dim in enumerate(spec.dims)
        )

    def __str__(self) -> str:
        return ", ".join(f"{symbol}={size}" for symbol, size in self.sizes.items())


def free_inputs(model: onnx.ModelProto, *, roles: bool = True) -> list[InputSpec]:
    """Lists the inputs that a caller may feed.

    Args:
        model: The model; headers of initializers suffice.
        roles: Whether it is found out what they are used for: that takes time in proportion to the nodes.

    Returns:
        The graph inputs in order. Those that are initializers are `overridable` from IR 4 on, and no inputs below.
    """
    graph = model.graph
    stored = {init.name for init in graph.initializer} | {init.values.name for init in graph.sparse_initializer}
    known = roles_of(model) if roles else {}
    items = any(not value.type.HasField("tensor_type") for value in graph.input)
    least = least_items(model) if roles and items else {}
    specs = []
    for value in graph.input:
        if value.name in stored and model.ir_version < 4:
            continue
        kind, dtype, dims = _declared(value.type)
        role = known.get(value.name)
        array = numpy_dtype(dtype)
        own = role.of_type(array) if role is not None and array is not None else None
        specs.append(InputSpec(value.name, kind, dtype, dims, value.name in stored, own, least.get(value.name, 0)))
    return specs


def _declared(declared: onnx.TypeProto) -> tuple[Kind, int, tuple[int | str | None, ...] | None]:
    kind: Kind = "tensor"
    if declared.HasField("optional_type"):
        kind, declared = "optional", declared.optional_type.elem_type
    if declared.HasField("sequence_type"):
        kind, declared = "sequence", declared.sequence_type.elem_type
    if not declared.HasField("tensor_type"):
        return "other", 0, None
    tensor = declared.tensor_type
    if not tensor.HasField("shape"):
        return kind, tensor.elem_type, None
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        # Some exporters write an unknown dim as the value -1.
        known = dim.HasField("dim_value") and dim.dim_value >= 0
        dims.append(dim.dim_value if known else dim.dim_param or None)
    return kind, tensor.elem_type, tuple(dims)


def _symbol(spec: InputSpec, axis: int) -> str:
    """The symbol of a dim that is no number: its name, or where it has none, its place."""
    dim = spec.dims[axis] if spec.dims is not None else None
    return dim if isinstance(dim, str) else f"{spec.name}.{axis}"


def symbols(specs: Iterable[InputSpec]) -> list[str]:
    """Lists the symbols of all inputs.

    Args:
        specs: The inputs.

    Returns:
        Each once, in order of appearance.
    """
    found = (
        _symbol(spec, axis) for spec in specs for axis, dim in enumerate(spec.dims or ()) if not isinstance(dim, int)
    )
    return list(dict.fromkeys(found))


def bind(specs: Sequence[InputSpec], *, user: Mapping[str, int] | None = None, sizes: Sequence[int]) -> Binding:
    """Binds every symbolic dim.

    Args:
        specs: The inputs.
        user: The user's sizes, by a dim's name (whatever its spelling) or by its place, `INPUT.AXIS`. They come first.
        sizes: Taken in turn for all other symbols.

    Returns:
        The binding.

    Raises:
        UsageError: If `user` speaks of a dim that is not there, or gives one dim two sizes.
    """
    known = symbols(specs)
    places = {f"{spec.name}.{axis}": (spec, axis) for spec in specs for axis in range(len(spec.dims or ()))}
    chosen: dict[str, int] = {}
    for address, size in (user or {}).items():
        symbol = address
        if address not in known:
            if address not in places:
                raise UsageError(f"no input has a dim {address!r}; there are: {', '.join([*known, *places]) or 'none'}")
            spec, axis = places[address]
            static = spec.dims[axis] if spec.dims is not None else None
            if isinstance(static, int):
                if static != size:
                    raise UsageError(f"dim {address} is {static} in the model, so it cannot be bound to {size}")
                continue
            symbol = _symbol(spec, axis)
        if chosen.setdefault(symbol, size) != size:
            raise UsageError(f"dim {symbol!r} is given both as {chosen[symbol]} and as {size}")
    free = [symbol for symbol in known if symbol not in chosen]
    drawn = {symbol: sizes[index % len(sizes)] for index, symbol in enumerate(free)}
    return Binding({symbol: chosen.get(symbol, drawn.get(symbol, 0)) for symbol in known})


def given_sizes(specs: Sequence[InputSpec], user: Mapping[str, int] | None) -> Binding:
    """The user's sizes alone, by symbol; raises as `bind` does."""
    one, other = (bind(specs, user=user, sizes=(size,)).sizes for size in (0, 1))
    return Binding({symbol: size for symbol, size in one.items() if other[symbol] == size})

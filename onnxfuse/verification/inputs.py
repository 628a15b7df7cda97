"""Test inputs, drawn from what a model declares: the same seed gives the same inputs, on every machine.

Two families. `normal` is what a network usually sees; more seeds of it find next to nothing. `ladder` goes through the
values at which types end, round, overflow or turn special; it is used up in sequence, since a sample of it misses some.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from onnxfuse.errors import UsageError

if TYPE_CHECKING:
    import onnx

__all__ = [
    "Binding",
    "Family",
    "InputError",
    "InputSpec",
    "bind",
    "draw",
    "drawn_elements",
    "free_inputs",
    "ladder_draws",
    "ladder_length",
    "symbols",
]

Family = Literal["normal", "ladder"]
Kind = Literal["tensor", "sequence", "optional", "other"]

LADDER_DRAWS: Final = 12
"""At least so many draws of the ladder, however large the inputs."""


class InputError(Exception):
    """An input for which nothing can be drawn; the message is one line."""


@dataclass(frozen=True)
class InputSpec:
    """What is declared of one graph input.

    Attributes:
        name: Its name.
        kind: `sequence` and `optional` are those of tensors; an optional sequence is a `sequence`. `other`: the rest.
        dtype: The element type, as onnx's number; 0 for `other`.
        dims: Sizes, names of symbolic dims, None for a dim without either; None where the rank is not declared.
        overridable: Whether it has a default: an initializer, from IR 4 on.
        role: What its elements mean to the operator they reach, where not every value is legal: `index`, `axes`, ...
        limit: For an index, the size of the axis it selects from, where that is declared.
    """

    name: str
    kind: Kind
    dtype: int
    dims: tuple[int | str | None, ...] | None
    overridable: bool = False
    role: str | None = None
    limit: int | None = None


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
            One size a dim.

        Raises:
            InputError: If not even the rank is declared.
        """
        if spec.dims is None:
            raise InputError(f"input {spec.name} has no declared rank, so nothing can be drawn for it")
        return tuple(
            dim if isinstance(dim, int) else self.sizes[_symbol(spec, axis)] for axis, dim in enumerate(spec.dims)
        )

    def __str__(self) -> str:
        return ", ".join(f"{symbol}={size}" for symbol, size in self.sizes.items())


def free_inputs(model: onnx.ModelProto) -> list[InputSpec]:
    """Lists the inputs that a caller may feed.

    Args:
        model: The model; headers of initializers suffice.

    Returns:
        The graph inputs in order. Those that are initializers are `overridable` from IR 4 on, and no inputs below.
    """
    graph = model.graph
    stored = {init.name for init in graph.initializer} | {init.values.name for init in graph.sparse_initializer}
    roles = _roles(graph)
    specs = []
    for value in graph.input:
        if value.name in stored and model.ir_version < 4:
            continue
        kind, dtype, dims = _declared(value.type)
        role, limit = roles.get(value.name, (None, None))
        specs.append(InputSpec(value.name, kind, dtype, dims, value.name in stored, role, limit))
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


# ---- what integer inputs are for

_ROLES: Final[dict[tuple[str, int], str]] = {
    **{
        (op, 1): "index"
        for op in ("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "SequenceAt")
    },
    **{
        (f"Reduce{op}", 1): "axes"
        for op in ("L1", "L2", "LogSum", "Max", "Mean", "Min", "Prod", "Sum", "LogSumExp", "SumSquare")
    },
    **{(op, 1): "axes" for op in ("Squeeze", "Unsqueeze", "CumSum", "CumProd")},
    **{(op, 4): "length" for op in ("LSTM", "GRU", "RNN")},
    ("Slice", 1): "start",
    ("Slice", 2): "small",
    ("Slice", 3): "axes",
    ("Slice", 4): "one",
    ("Pad", 1): "pad",
    ("Pad", 3): "axes",
    ("Reshape", 1): "reshape",
    ("Expand", 1): "one",
    ("Tile", 1): "small",
    ("ConstantOfShape", 0): "small",
    ("OneHot", 1): "small",
    ("TopK", 1): "one",
    ("Split", 1): "one",
    ("SplitToSequence", 1): "one",
    ("Loop", 0): "small",
    ("Range", 0): "pad",
    ("Range", 1): "small",
    ("Range", 2): "one",
    ("ReverseSequence", 1): "length",
    ("NonMaxSuppression", 2): "small",
    ("Div", 1): "small",
    ("Mod", 1): "small",
    ("Upsample", 1): "scale",
    ("Resize", 2): "scale",
    ("Resize", 3): "small",
    ("Dropout", 1): "ratio",
}
_FLOAT_ROLES: Final = ("scale", "ratio")
# A role goes through these from the output to the input of the same elements.
_CARRIERS: Final = frozenset(
    ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Expand", "Concat")
)


def _roles(graph: onnx.GraphProto) -> dict[str, tuple[str, int | None]]:
    """The roles of values of the main graph, by a walk from the last node to the first."""
    shapes: dict[str, tuple[int | str | None, ...] | None] = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in graph.input:
        shapes.setdefault(value.name, _declared(value.type)[2])
    roles: dict[str, tuple[str, int | None]] = {}
    for node in reversed(graph.node):
        if node.domain not in ("", "ai.onnx"):
            continue
        for index, name in enumerate(node.input):
            role = _ROLES.get((node.op_type, index))
            if role is not None:
                limit = _index_limit(node, shapes.get(node.input[0])) if role == "index" else None
                _, old = roles.get(name, (role, None))
                roles[name] = (role, limit if old is None or limit is None else min(limit, old))
            elif node.op_type in _CARRIERS and (index == 0 or node.op_type == "Concat") and node.output[0] in roles:
                roles.setdefault(name, roles[node.output[0]])
    return roles


def _index_limit(node: onnx.NodeProto, dims: tuple[int | str | None, ...] | None) -> int | None:
    """The size of the axis that an index selects from, where it is declared."""
    if not dims or node.op_type == "SequenceAt":
        return None
    if node.op_type in ("GatherND", "ScatterND"):
        static = [dim for dim in dims if isinstance(dim, int)]
        return min(static) if len(static) == len(dims) else None
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    size = dims[axis] if -len(dims) <= axis < len(dims) else None
    return size if isinstance(size, int) else None


def _role_of(spec: InputSpec) -> str | None:
    """The role of an input, if its type is one that the role is for."""
    if spec.role is None or spec.kind == "other":
        return None
    kind = "float" if _numpy_dtype(spec).kind == "f" else "int" if _is_integer(_numpy_dtype(spec)) else "other"
    return spec.role if kind == ("float" if spec.role in _FLOAT_ROLES else "int") else None


def _role_values(
    spec: InputSpec, role: str, count: int, index: int, rng: np.random.Generator, signed: bool
) -> np.ndarray:
    """Values that the operator accepts where that is easy to say; int64 or float64, flat."""
    if role == "index":
        limit = 2 if spec.limit is None else max(spec.limit, 1)
        low = 0 if not signed else -1 if spec.limit is None else -limit
        # Negative indices are legal, and without a known size only the last one is.
        return rng.integers(low, limit if low == 0 or spec.limit is not None else 1, count)
    if role == "axes":
        return -1 - np.arange(count) if signed and index % 2 else np.arange(count)
    if role == "reshape":
        target = np.ones(count, np.int64)
        target[index % count : index % count + 1 if count else 0] = -1
        return target
    if role == "scale":
        # Only the last two axes of an image are ever scaled by a runtime.
        return np.where(np.arange(count) >= count - 2, 2.0 if index % 2 == 0 else 1.5, 1.0)
    if role == "ratio":
        return np.full(count, 0.25)
    low, high = {"pad": (0, 2), "start": (0, 2), "one": (1, 2), "length": (1, 2), "small": (1, 4)}[role]
    return rng.integers(low, high, count)


# ---- the ladder


@cache
def _float_ladder() -> np.ndarray:
    """About 98 float64 values at which number formats end, round, overflow or turn special."""
    powers = [s * (2.0**b + d) for b, d, s in product((7, 8, 15, 16, 24, 31, 32, 53, 63), (-1, 0, 1), (1, -1))]
    both = [300, 0.5, 1, 1.5, 2.5, 3, 88.7, 200, 1e10, 1e30, 3.3e38, 1e-3, math.inf]
    once = [4294967301, 8388608.5, 0.0, -0.0, 2, 89, -104, 65504, 65520, 1e20, 1e300]
    tiny = [6e-8, 1e-10, 1e-20, 1e-38, 1e-40, -1e-45, math.nan]
    return np.array([*powers, *(s * v for v in both for s in (1, -1)), *once, *tiny])


@cache
def _integer_ladder(low: int, high: int) -> tuple[int, ...]:
    """The boundaries of integer types that are in a type's range, its own among them."""
    values = [0, 1, 2, 3, -1, -2, low, low + 1, high - 1, high]
    powers = product((7, 8, 15, 16, 24, 31, 32, 53, 63), (-1, 0, 1), (1, -1))
    values += [s * (1 << b) + d for b, d, s in powers]
    return tuple(dict.fromkeys(value for value in values if low <= value <= high))


_STRINGS: Final = ("", "a", "A", " ", "0", "-1", "1.5", "nan", "inf", "é", "日本", "a b")


def _ladder(spec: InputSpec) -> np.ndarray:
    """The ladder of an input's type, in that type."""
    dtype = _numpy_dtype(spec)
    if dtype.kind in "OUS":
        return np.array(_STRINGS, object)
    if dtype.kind == "b":
        return np.array([False, True, True, False, True])
    if _is_integer(dtype):
        low, high = _integer_range(dtype)
        values = _integer_ladder(low, high)
        return np.array(values, np.uint64 if low == 0 else np.int64).astype(dtype)
    with np.errstate(all="ignore"):
        return _float_ladder().astype(dtype)


def _from_ladder(spec: InputSpec, start: int, count: int) -> np.ndarray:
    """`count` values of the ladder from position `start` on; every pass through it is shifted by one more."""
    ladder = _ladder(spec)
    size = len(ladder)
    # A stride that shares no factor with the size is a permutation, the same on every machine.
    stride = next(step for step in range(size * 3 // 8 | 1, 2 * size) if math.gcd(step, size) == 1)
    position = np.arange(start, start + count)
    values: np.ndarray = ladder[(position % size * stride + position // size) % size]
    return values


def drawn_elements(specs: Iterable[InputSpec], binding: Binding) -> int:
    """Counts the elements that one draw of the ladder uses up: those of all inputs without a role.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.

    Returns:
        A number of elements.

    Raises:
        InputError: If the rank of one is not declared.
    """
    return sum(_copies(spec) * math.prod(binding.shape(spec)) for spec in specs if _role_of(spec) is None)


def ladder_length(specs: Iterable[InputSpec]) -> int:
    """The length of the longest ladder of the inputs without a role; 0 if there are none."""
    return max((len(_ladder(spec)) for spec in specs if spec.kind != "other" and _role_of(spec) is None), default=0)


def ladder_draws(specs: Sequence[InputSpec], binding: Binding) -> int:
    """How many draws use the ladder up: at least 12.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.

    Returns:
        A number of draws.

    Raises:
        InputError: If the rank of an input is not declared.
    """
    elements = drawn_elements(specs, binding)
    return max(LADDER_DRAWS, math.ceil(ladder_length(specs) / elements)) if elements else LADDER_DRAWS


# ---- drawing


def draw(
    specs: Sequence[InputSpec], binding: Binding, family: Family, index: int, seed: int = 0
) -> dict[str, np.ndarray | list[np.ndarray] | None]:
    """Draws one set of inputs.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.
        family: `normal`: standard normal floats, integers from 0 to 3, random booleans, short strings. `ladder`: goes
            on in the ladder where draw `index - 1` ended.
        index: The number of the draw within its family, from 0.
        seed: For the family `normal`, and for the values of inputs with a role.

    Returns:
        An array for each tensor and each optional, two arrays for a sequence.

    Raises:
        InputError: If nothing can be drawn for an input's type.
    """
    start = index * drawn_elements(specs, binding) if family == "ladder" else 0
    feeds: dict[str, np.ndarray | list[np.ndarray] | None] = {}
    for spec in specs:
        if spec.kind == "other":
            raise InputError(f"input {spec.name} is neither a tensor nor a sequence of tensors")
        shape = binding.shape(spec)
        rng = np.random.default_rng([seed, family == "ladder", index, zlib.crc32(spec.name.encode())])
        role = _role_of(spec)
        items = []
        for _ in range(_copies(spec)):
            count = math.prod(shape)
            if role is not None:
                signed = family == "ladder" and _numpy_dtype(spec).kind != "u"
                values = _role_values(spec, role, count, index, rng, signed)
            elif family == "ladder":
                values = _from_ladder(spec, start, count)
                start += count
            else:
                values = _normal(_numpy_dtype(spec), count, rng)
            items.append(values.astype(_numpy_dtype(spec), copy=False).reshape(shape))
        feeds[spec.name] = items if spec.kind == "sequence" else items[0]
    return feeds


def _normal(dtype: np.dtype[Any], count: int, rng: np.random.Generator) -> np.ndarray:
    if dtype.kind in "OUS":
        return np.array([f"s{number}" for number in rng.integers(0, 5, count)], object)
    if dtype.kind == "b":
        return rng.integers(0, 2, count)
    if _is_integer(dtype):
        # Every integer type but the two-bit ones has 3.
        return rng.integers(0, min(4, _integer_range(dtype)[1] + 1), count)
    values = rng.standard_normal(count)
    return values + 1j * rng.standard_normal(count) if dtype.kind == "c" else values


def _copies(spec: InputSpec) -> int:
    return 2 if spec.kind == "sequence" else 1


def _numpy_dtype(spec: InputSpec) -> np.dtype[Any]:
    import onnx

    if spec.dtype == onnx.TensorProto.STRING:
        return np.dtype(object)
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(spec.dtype))
    except KeyError:
        raise InputError(f"input {spec.name} has no known element type ({spec.dtype})") from None


def _is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is an integer type, those of fewer than 8 bits included."""
    return dtype.kind in "iu" or dtype.name.startswith(("int", "uint"))


def _integer_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    signed = not dtype.name.startswith("u")
    bits = int(dtype.name.lstrip("uint")) - signed
    return (-(1 << bits) if signed else 0), (1 << bits) - 1

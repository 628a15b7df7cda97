"""Drawing inputs: the same seed gives the same inputs, on every machine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np

from onnxfuse.verification.element_types import numpy_dtype
from onnxfuse.verification.families import FAMILIES, Draw, constants_length, digits, fill, ladder_length
from onnxfuse.verification.inputs import Binding, InputError, InputSpec, TooLargeError
from onnxfuse.verification.operand_sizes import Dims
from onnxfuse.verification.role_bounds import EXTREME, Want
from onnxfuse.verification.role_values import role_values

__all__ = ["Family", "Feeds", "draw", "drawn_elements", "ladder_draws", "planned_counts"]

Family = Literal["normal", "ladder", "constants", "unique", "ties", "special", "wide", "small", "offset"]
Feeds = Mapping[str, Any]

LADDER_DRAWS: Final = 12
"""At least so many draws of the ladder, however large the inputs."""
MOST_ELEMENTS: Final = 1 << 29
"""Of one input: 4 GiB, in the widest type."""
VARIED: Final = ("special", "ties")
"""In these sequences have other lengths than 2, and optionals may be absent."""
LENGTHS: Final = (1, 0, 3)
CONSTANT_DRAWS: Final = (2, 48)
UNIQUE_DRAWS: Final = 8
"""At most so many: more tell elements of narrow types apart that rarely matter."""


def draw(
    specs: Sequence[InputSpec],
    binding: Binding,
    family: Family,
    index: int,
    *,
    seed: int = 0,
    constants: tuple[float, ...] = (),
) -> dict[str, np.ndarray | list[np.ndarray] | None]:
    """Draws one set of inputs.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.
        family: What the inputs are filled with of which every value is legal; the others get legal values.
        index: The number of the draw within its family, from 0. `ladder` and `constants` go on where draw `index - 1`
            ended.
        seed: Of the random numbers, from 0 on.
        constants: What `constants_of` gives, for the family of that name.

    Returns:
        An array for each tensor, a list of arrays for a sequence, an array or None for an optional.

    Raises:
        InputError: If nothing can be drawn for an input's type, or it is too large.
    """
    total, before = drawn_elements(specs, binding), 0
    _check_size(specs, binding)
    lengths = {spec.name: _length(spec, family, index) for spec in specs if spec.kind == "sequence"}
    shapes = {spec.name: binding.shape(spec) for spec in specs}
    feeds: dict[str, np.ndarray | list[np.ndarray] | None] = {}
    for spec in specs:
        dtype, shape, name = _dtype(spec), shapes[spec.name], zlib.crc32(spec.name.encode())
        rng = np.random.default_rng([seed, list(FAMILIES).index(family), index, name])
        coin = zlib.crc32(spec.name.encode(), seed & 0xFFFFFFFF)
        sizes: Mapping[str, Dims] = {}
        if spec.role is not None:
            sizes = spec.role.sizes.at({s.name: shapes[s.name] for s in specs if s.kind == "tensor"}, binding.sizes)
        items = []
        for _ in range(lengths.get(spec.name, 1)):
            count = math.prod(shape)
            if spec.role is not None and (spec.role.hard or family not in EXTREME):
                items.append(role_values(spec.role, Want(dtype, shape, family, index, rng, sizes, lengths)))
            else:
                wanted = Draw(dtype, count, before, total, index, rng, constants, coin)
                items.append(fill(family, wanted).reshape(shape))
            before += count if spec.free else 0
        feeds[spec.name] = items if spec.kind == "sequence" else items[0]
        if spec.kind == "optional" and not spec.least and family in VARIED and index % 2:
            feeds[spec.name] = None
    return feeds


def _check_size(specs: Sequence[InputSpec], binding: Binding) -> None:
    """Keeps what declares inputs of terabytes from taking all memory."""
    for spec in specs:
        count = _copies(spec) * math.prod(binding.shape(spec))
        if count > MOST_ELEMENTS:
            at = f" at {binding}" if binding.sizes else ""
            raise TooLargeError(f"input {spec.name} has {count} elements{at}, and at most {MOST_ELEMENTS} are drawn")


def drawn_elements(specs: Iterable[InputSpec], binding: Binding) -> int:
    """Counts the elements that one draw fills: those of all inputs of which every value is legal.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.

    Returns:
        A number of elements.

    Raises:
        InputError: If the rank of one is not declared.
    """
    return sum(_copies(spec) * math.prod(binding.shape(spec)) for spec in specs if spec.free)


def ladder_draws(specs: Sequence[InputSpec], binding: Binding) -> int:
    """How many draws use the ladder up: at least 12.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.

    Returns:
        A number of draws.

    Raises:
        InputError: If the rank of an input is not declared, or its type unknown.
    """
    elements = drawn_elements(specs, binding)
    longest = max((ladder_length(_dtype(spec)) for spec in specs if spec.free), default=0)
    return max(LADDER_DRAWS, -(-longest // elements)) if elements else LADDER_DRAWS


def planned_counts(
    specs: Sequence[InputSpec], binding: Binding, constants: tuple[float, ...] = ()
) -> dict[Family, int]:
    """How many draws of each family a comparison makes at its first binding.

    Args:
        specs: The inputs.
        binding: Sizes for their symbols.
        constants: What `constants_of` gives.

    Returns:
        A number for each family, in the order in which they are drawn.

    Raises:
        InputError: If nothing can be drawn for an input.
    """
    elements = drawn_elements(specs, binding)
    dtypes = [_dtype(spec) for spec in specs if spec.free and 0 not in binding.shape(spec)]
    longest = max((constants_length(dtype, constants) for dtype in dtypes), default=0)
    least, most = CONSTANT_DRAWS
    counts: dict[Family, int] = {
        "normal": 3,
        "ladder": ladder_draws(specs, binding),
        "constants": min(max(least, -(-longest // elements)), most) if longest else 0,
        "unique": min(max((digits(dtype, elements) for dtype in dtypes), default=1), UNIQUE_DRAWS),
        "ties": 6,
        "special": 3,
        "wide": 1,
        "small": 1,
        "offset": 2,
    }
    return counts


def _copies(spec: InputSpec) -> int:
    return max(2, spec.least) if spec.kind == "sequence" else 1


def _length(spec: InputSpec, family: Family, index: int) -> int:
    """The length of a sequence in a draw."""
    return max(LENGTHS[index % len(LENGTHS)], spec.least) if family in VARIED else _copies(spec)


def _dtype(spec: InputSpec) -> np.dtype[Any]:
    if spec.kind == "other":
        raise InputError(f"input {spec.name} is neither a tensor nor a sequence of tensors")
    dtype = numpy_dtype(spec.dtype)
    if dtype is None:
        raise InputError(f"input {spec.name} has no known element type ({spec.dtype})")
    return dtype


assert set(get_args(Family)) == set(FAMILIES)  # noqa: S101 - one list of families for mypy, one with their functions

"""The small languages in which atc's options name shapes, profiles and outputs.

Each is read into values and written back: `parse_x(x_text(values)) == values`. What cannot be read is a `GrammarError` that
carries the vendor's code. A dim that is yet to be filled in (`${bs}`, `{batch size}`) stays the text it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from onnxfuse.drivers.atc.values import has_placeholder

__all__ = [
    "ANY",
    "Dim",
    "DimRange",
    "GrammarError",
    "InputShape",
    "OutNode",
    "OutputType",
    "input_shape_text",
    "out_nodes_text",
    "output_type_text",
    "parse_hint_shape",
    "parse_input_shape",
    "parse_out_nodes",
    "parse_output_type",
    "parse_profiles",
    "parse_shape_range",
]

ANY: Final = -1
"""The dim of an axis that a profile fills, or that stays dynamic."""

# Where the vendor's parser runs out of its 64 bits.
_LARGEST: Final = 2**63 - 1
_BRACKETS: Final = re.compile(r"\[[^\[\]]*\]")


class GrammarError(ValueError):
    """A value is no sentence of its option's language.

    Attributes:
        code: The vendor's error code.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class DimRange:
    """The sizes that an axis can have: `8~20`."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}~{self.high}"


Dim = int | DimRange | str
"""A size, -1, a range, or a text that is yet to be filled in."""


@dataclass(frozen=True)
class InputShape:
    """An input and its shape; without a name it stands for the input at its place.

    Attributes:
        name: The input's name; it may contain `:`.
        dims: Its dims; none for a scalar.
    """

    name: str
    dims: tuple[Dim, ...]


@dataclass(frozen=True)
class OutNode:
    """An output of the compiled model: the output `index` of a node, or (without one) a graph output by its name."""

    name: str
    index: int | None = None

    def __str__(self) -> str:
        return self.name if self.index is None else f"{self.name}:{self.index}"


@dataclass(frozen=True)
class OutputType:
    """The element type of the output `index` of a node."""

    name: str
    index: int
    element: str

    def __str__(self) -> str:
        return f"{self.name}:{self.index}:{self.element}"


# ---------------------------------------------------------------------- --input_shape


def parse_input_shape(text: str) -> tuple[InputShape, ...]:
    """Reads `"x:1,3,224,224;y:-1,8~20;s:"`: each entry is split at its last colon. Without colons it goes by position.

    Raises:
        GrammarError: E10002 for its structure, E10011 for a size that is not positive, E10013 for one that is too large.
    """
    if ":" not in _masked(text):
        return tuple(InputShape("", _dims(entry, _shape_dim)) for entry in _parts(text, ";"))
    entries = (_split(entry, "E10002") for entry in _parts(text, ";"))
    return tuple(InputShape(name, _dims(dims, _shape_dim)) for name, dims in entries)


def input_shape_text(shapes: Iterable[InputShape]) -> str:
    """Writes shapes as `--input_shape` takes them."""
    return ";".join(f"{shape.name}:{_dims_text(shape)}" if shape.name else _dims_text(shape) for shape in shapes)


def parse_shape_range(text: str) -> tuple[InputShape, ...]:
    """Reads `"x:[8~20,3,-1];y:[1]"`, or by position `"[1~10,3],[4]"`.

    Raises:
        GrammarError: E10048.
    """
    if ":" not in _masked(text):
        masked = _masked(text)
        if not re.fullmatch(r"\s*\[\](\s*,\s*\[\])*\s*", _BRACKETS.sub("[]", masked)):
            raise GrammarError("E10048", f"{_short(text)} is no list of shapes: write [1~10,3],[4]")
        pieces = [text[found.start() : found.end()] for found in _BRACKETS.finditer(masked)]
        return tuple(InputShape("", _dims(_unbracketed(piece, "E10048"), _range_dim)) for piece in pieces)
    entries = (_split(entry, "E10048") for entry in _parts(text, ";"))
    return tuple(InputShape(name, _dims(_unbracketed(dims, "E10048"), _range_dim)) for name, dims in entries)


def parse_hint_shape(text: str) -> dict[int, tuple[Dim, ...]]:
    """Reads `"0:[1,3,224,224];1:[2]"`: shapes by the place of their input.

    Raises:
        GrammarError: E10014.
    """
    shapes: dict[int, tuple[Dim, ...]] = {}
    for entry in _parts(text, ";"):
        place, dims = _split(entry, "E10014")
        if not re.fullmatch("[0-9]{1,9}", place) or int(place) in shapes:
            raise GrammarError(
                "E10014", f"{_short(entry)} does not begin with the place of an input of its own: write 0:[1,3]"
            )
        shapes[int(place)] = _dims(_unbracketed(dims, "E10014"), _hint_dim)
    return shapes


def _split(entry: str, code: str) -> tuple[str, str]:
    colon = _masked(entry).rfind(":")
    if colon < 0 or not entry[:colon].strip():
        raise GrammarError(code, f"{_short(entry)} is no name and shape: write name:1,3,224,224")
    return entry[:colon].strip(), entry[colon + 1 :].strip()


def _unbracketed(text: str, code: str) -> str:
    if not _BRACKETS.fullmatch(_masked(text)):
        raise GrammarError(code, f"{_short(text)} does not stand in one pair of brackets: write [1~10,3]")
    return text[1:-1]


def _dims(text: str, dim: Callable[[str], Dim]) -> tuple[Dim, ...]:
    return tuple(map(dim, _parts(text, ","))) if text.strip() else ()


def _dims_text(shape: InputShape) -> str:
    return ",".join(map(str, shape.dims))


def _shape_dim(text: str) -> Dim:
    text = text.strip()
    if text.startswith("[") or text.endswith("]"):
        raise GrammarError(
            "E10002", f"{_short(text)} has a bracket, which belongs to --input_shape_range: leave it out"
        )
    if text == "-1" or has_placeholder(text):
        return ANY if text == "-1" else text
    if "~" in text:
        return _range(text, "E10002")
    if not re.fullmatch("-?[0-9]+", text):
        raise GrammarError("E10002", f"{_short(text)} is no size: write a positive number, -1 or a range as 8~20")
    size = _number(text, "E10013")
    if size <= 0:
        raise GrammarError(
            "E10011", f"a size of {size} is not possible: it is positive, or -1 for an axis that is dynamic"
        )
    return size


def _range_dim(text: str) -> Dim:
    text = text.strip()
    if text == "-1" or has_placeholder(text):
        return ANY if text == "-1" else text
    if "~" in text:
        return _range(text, "E10048")
    if not re.fullmatch("[0-9]+", text):
        raise GrammarError("E10048", f"{_short(text)} is no size: write a positive number, -1 or a range as 8~20")
    return _number(text, "E10048")


def _hint_dim(text: str) -> Dim:
    text = text.strip()
    if has_placeholder(text):
        return text
    if not re.fullmatch("[0-9]+", text):
        raise GrammarError("E10014", f"{_short(text)} is no size: write a number")
    return _number(text, "E10014")


def _range(text: str, code: str) -> DimRange:
    low, _, high = (part.strip() for part in text.partition("~"))
    if not (re.fullmatch("[0-9]+", low) and re.fullmatch("[0-9]+", high)):
        raise GrammarError(code, f"{_short(text)} is no range: write 8~20")
    found = DimRange(_number(low, code), _number(high, code))
    if found.low > found.high:
        raise GrammarError(code, f"the range {_short(text)} is empty: write the smaller size first")
    return found


def _number(text: str, code: str) -> int:
    if len(text.lstrip("-0")) > len(str(_LARGEST)) or abs(int(text)) > _LARGEST:
        raise GrammarError(code, f"{_short(text)} is too large for a size: the largest is {_LARGEST}")
    return int(text)


def _masked(text: str) -> str:
    """Returns a text of that length without the signs inside `${...}`, `{...}` and `$(...)`."""
    return re.sub(r"\{[^{}]*\}|\$\([^()]*\)", lambda found: " " * len(found.group()), text)


def _parts(text: str, separator: str) -> list[str]:
    """Splits a text at separators outside of what is yet to be filled in."""
    ends = [found.start() for found in re.finditer(re.escape(separator), _masked(text))]
    return [text[start:end] for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True)]


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


# ---------------------------------------------------------------------- profiles

_PROFILES: Final = {
    "dynamic_batch_size": (",", "E10003"),
    "dynamic_image_size": (";", "E10003"),
    "dynamic_dims": (";", "E10001"),
}


def parse_profiles(option: str, text: str) -> tuple[tuple[int, ...], ...]:
    """Reads the profiles of `dynamic_batch_size` ("1,2,4"), `dynamic_image_size` ("h,w;h,w") or `dynamic_dims` ("a,b;c,d").

    One separator may stand at the end.

    Raises:
        GrammarError: E10003 or E10001 for a sign that does not belong there, E10020 for an image size that is no pair.
    """
    separator, code = _PROFILES[option]
    groups = text.removesuffix(separator).split(separator)
    profiles = tuple(tuple(_profile_size(size, option, code) for size in group.split(",")) for group in groups)
    if option == "dynamic_image_size":
        for profile, group in zip(profiles, groups, strict=True):
            if len(profile) != 2:
                raise GrammarError("E10020", f"{_short(group)} is no height and width: write 480,640")
    return profiles


def _profile_size(text: str, option: str, code: str) -> int:
    digits = text.strip(" ") if option == "dynamic_image_size" else text
    if re.fullmatch(r"\s*[0-9]+\s*", text) and digits != digits.strip():
        raise GrammarError(code, f"has a blank ({_short(text)}), which atc does not skip here: leave it out")
    if not re.fullmatch("[0-9]+", digits):
        raise GrammarError(code, f"{_short(text)} is no size: write digits, commas and semicolons alone")
    return _number(digits, code)


# ---------------------------------------------------------------------- outputs


def parse_out_nodes(text: str) -> tuple[OutNode, ...]:
    """Reads `"Conv_1:0;Conv_2:1"` (nodes and the index of an output), or `"dets;labels"` (graph outputs).

    Raises:
        GrammarError: E10001 where both kinds are mixed, E10003 for an index that is none.
    """
    entries = [entry.strip() for entry in text.removesuffix(";").split(";")]
    indexed = [":" in entry for entry in entries]
    if any(indexed) and not all(indexed):
        raise GrammarError("E10001", "nodes (name:0) and graph outputs (name) are mixed: write one kind")
    return tuple(_out_node(entry) if indexed[0] else OutNode(_name(entry)) for entry in entries)


def out_nodes_text(nodes: Iterable[OutNode]) -> str:
    """Writes outputs as `--out_nodes` takes them."""
    return ";".join(map(str, nodes))


def _out_node(entry: str) -> OutNode:
    name, _, index = entry.rpartition(":")
    if ":" in name:
        raise GrammarError("E10001", f"{_short(entry)} has more than one colon, and atc takes one: rename the node")
    if not re.fullmatch("[0-9]{1,9}", index.strip()):
        raise GrammarError("E10003", f"{_short(index)} is no index of an output: write name:0")
    return OutNode(_name(name), int(index))


def _name(text: str) -> str:
    if not text.strip():
        raise GrammarError("E10001", "a name is empty: take the separator away, or name the node")
    return text.strip()


def parse_output_type(text: str) -> str | tuple[OutputType, ...]:
    """Reads `"FP16"`, for all outputs, or `"Conv_1:0:FP16;Conv_2:0:FP32"`, for each.

    Raises:
        GrammarError: E10001.
    """
    if ":" not in text:
        return text
    return tuple(_output_type(entry) for entry in text.removesuffix(";").split(";"))


def output_type_text(types: str | Iterable[OutputType]) -> str:
    """Writes element types as `--output_type` takes them."""
    return types if isinstance(types, str) else ";".join(map(str, types))


def _output_type(entry: str) -> OutputType:
    parts = [part.strip() for part in entry.split(":")]
    if len(parts) != 3 or not re.fullmatch("[0-9]{1,9}", parts[1]) or not parts[0]:
        raise GrammarError("E10001", f"{_short(entry)} is no node, index and type: write Conv_1:0:FP16")
    return OutputType(parts[0], int(parts[1]), parts[2])

"""What a value of an option of atc can be: vocabularies, numbers, switches and texts, and how each is read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import Any, Final

__all__ = [
    "SOC_VERSIONS",
    "BufferOptimize",
    "CacheMode",
    "CoreType",
    "Framework",
    "ImplMode",
    "InputFormat",
    "Kind",
    "LogLevel",
    "Mode",
    "OoLevel",
    "Option",
    "PrecisionMode",
    "PrecisionModeV2",
    "Release",
    "Value",
    "has_placeholder",
    "option",
    "option_name",
    "text_of",
    "typed",
]

Value = str | int | bool

# What a shell or a reader of a guide fills in: $1, ${bs}, $(pwd), {chip_name}.
_PLACEHOLDER: Final = re.compile(r"\$[A-Za-z0-9_{(@*#?]|\{[^{}]*\}")
_TRUE: Final = frozenset(("1", "t", "true", "y", "yes"))
_FALSE: Final = frozenset(("0", "f", "false", "n", "no"))


SOC_VERSIONS: Final = {
    "Ascend310": "Atlas 200, 300I (four chips), 500, 800-3000 and 800-3010",
    "Ascend310P1": "Atlas inference series: 300I Pro, 300V Pro, 300I Duo",
    "Ascend310P3": "Atlas inference series: 300I Pro, 300V Pro, 300I Duo",
    "Ascend710": "Atlas inference series, in early releases",
    "Ascend310B1": "Atlas 200I and 500 A2",
    "Ascend910A": "Atlas training series",
    "Ascend910B": "Atlas training series: the older 910B, not A2",
    "Ascend910ProA": "Atlas training series",
    "Ascend910ProB": "Atlas training series",
    "Ascend910PremiumA": "Atlas training series",
    "Ascend910B1": "Atlas A2: 800T A2, 800I A2",
    "Ascend910B2": "Atlas A2: 800T A2, 800I A2",
    "Ascend910B3": "Atlas A2: 800T A2, 800I A2",
    "Ascend910B4": "Atlas A2: 800T A2, 800I A2",
}
"""The chips that are known, with what carries them. There are more: `npu-smi info` tells."""


class Release(StrEnum):
    """A generation of CANN, whose options differ."""

    CANN_5 = "5.x"
    CURRENT = "current"

    @classmethod
    def of(cls, version: str) -> Release:
        """Returns the generation of a version: "5" and "5.1.RC1" are of the first, "8.0.0" of the second."""
        return cls.CANN_5 if version.strip().partition(".")[0] == "5" else cls.CURRENT


class Framework(IntEnum):
    """Where a model comes from."""

    CAFFE = 0
    MINDSPORE = 1
    TENSORFLOW = 3
    ONNX = 5


class Mode(IntEnum):
    """What atc does."""

    CONVERT = 0
    TO_JSON = 1
    CHECK = 3
    DUMP_TO_JSON = 5
    SHOW = 6
    CONVERT_OM2 = 7
    NANO = 30


class InputFormat(StrEnum):
    """The layout of the inputs."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    ND = "ND"
    NCDHW = "NCDHW"


class PrecisionMode(StrEnum):
    """In which type operators compute."""

    FORCE_FP16 = "force_fp16"
    FORCE_FP32 = "force_fp32"
    ALLOW_MIX_PRECISION = "allow_mix_precision"
    ALLOW_FP32_TO_FP16 = "allow_fp32_to_fp16"
    MUST_KEEP_ORIGIN_DTYPE = "must_keep_origin_dtype"
    CUBE_FP16IN_FP32OUT = "cube_fp16in_fp32out"
    ALLOW_MIX_PRECISION_FP16 = "allow_mix_precision_fp16"
    ALLOW_MIX_PRECISION_BF16 = "allow_mix_precision_bf16"
    ALLOW_FP32_TO_BF16 = "allow_fp32_to_bf16"


class PrecisionModeV2(StrEnum):
    """The same in newer releases."""

    FP16 = "fp16"
    ORIGIN = "origin"
    CUBE_FP16IN_FP32OUT = "cube_fp16in_fp32out"
    MIXED_FLOAT16 = "mixed_float16"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    CUBE_HIF8 = "cube_hif8"
    MIXED_HIF8 = "mixed_hif8"


class ImplMode(StrEnum):
    """Whether operators are to be exact or fast."""

    HIGH_PRECISION = "high_precision"
    HIGH_PERFORMANCE = "high_performance"
    HIGH_PRECISION_FOR_ALL = "high_precision_for_all"
    HIGH_PERFORMANCE_FOR_ALL = "high_performance_for_all"


class BufferOptimize(StrEnum):
    """Which buffer the compiler optimizes for."""

    L1 = "l1_optimize"
    L2 = "l2_optimize"
    OFF = "off_optimize"


class CoreType(StrEnum):
    """The cores that run the model."""

    AI_CORE = "AiCore"
    VECTOR_CORE = "VectorCore"


class LogLevel(StrEnum):
    """How much atc logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    NULL = "null"


class CacheMode(StrEnum):
    """What atc does with its cache of compiled operators."""

    ENABLE = "enable"
    DISABLE = "disable"
    FORCE = "force"


class OoLevel(StrEnum):
    """How hard the graph is optimized."""

    O1 = "O1"
    O3 = "O3"


class Kind(StrEnum):
    """How a value is read."""

    TEXT = "text"
    PATH = "path"
    NUMBER = "number"
    SWITCH = "0 or 1"
    FLAG = "true or false"


@dataclass(frozen=True)
class Option:
    """What is known of an option.

    Attributes:
        kind: How its value is read.
        choices: Its vocabulary, where it has one.
        allowed: The texts that are allowed; empty where any is.
        releases: The generations of CANN that have it.
        code: The vendor's error code for a value that is not allowed.
    """

    kind: Kind
    choices: type[Enum] | None
    allowed: tuple[str, ...]
    releases: frozenset[Release]
    code: str


def option(
    kind: Kind | type[Enum] = Kind.TEXT, *, allowed: str = "", only: Release | None = None, code: str | None = None
) -> Any:
    """Returns the field of an option, None by default.

    Args:
        kind: How its value is read, or its vocabulary.
        allowed: The texts that are allowed, where its kind does not tell.
        only: The one generation of CANN that has it.
        code: The vendor's error code for a value that is not allowed, where its kind does not tell.
    """
    choices = None
    texts = tuple(allowed.split())
    if not isinstance(kind, Kind):
        choices, texts = kind, tuple(str(choice.value) for choice in kind)
        kind = Kind.NUMBER if issubclass(kind, int) else Kind.TEXT
    elif kind is Kind.SWITCH:
        texts = ("0", "1")
    elif kind is Kind.FLAG:
        texts = ("true", "false")
    code = code or {Kind.SWITCH: "E10006", Kind.FLAG: "E10005"}.get(kind, "E10001")
    releases = frozenset(Release) if only is None else frozenset((only,))
    return field(default=None, metadata={"option": Option(kind, choices, texts, releases, code)})


def option_name(word: str) -> str:
    """Returns the name of the option that a word begins, as atc reads it: `out_nodes` for `--out-nodes=x`; empty for none."""
    head = word.partition("=")[0]
    return head.lstrip("-").replace("-", "_") if head.startswith("-") else ""


def typed(of: Option, value: Value | None) -> Value | None:
    """Returns a value as what it says: a member of its vocabulary, a number, a truth; what says none of it stays text.

    Raises:
        TypeError: It is neither text nor number nor truth.
    """
    if value is None:
        return None
    if not isinstance(value, str | int):
        raise TypeError(f"a value of an option of atc is a text, a number or a truth, not {type(value).__name__}")
    if of.kind is Kind.FLAG:
        word = str(value).lower()
        return True if word in _TRUE else False if word in _FALSE else str(value)
    found: Value = text_of(value)
    if of.kind in (Kind.NUMBER, Kind.SWITCH):
        text = str(int(value)) if isinstance(value, bool) else str(value)
        found = int(text) if re.fullmatch("[0-9]{1,18}", text) else text
    if of.choices is not None and str(found) in of.allowed:
        member: Value = of.choices(found)  # type: ignore[assignment]  # of a StrEnum or an IntEnum
        return member
    return found


def text_of(value: Value) -> str:
    """Returns a value as atc reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def has_placeholder(value: object) -> bool:
    """Says whether something is yet to be filled in: `$1`, `${bs}`, `{chip_name}`."""
    return isinstance(value, str) and _PLACEHOLDER.search(value) is not None

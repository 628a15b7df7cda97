"""The vocabularies of atc's options, and what takes each word: releases of CANN, and chips."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Final, Self

from onnxfuse.errors import UsageError

__all__ = [
    "SOC_VERSIONS",
    "BufferOptimize",
    "CacheMode",
    "CoreType",
    "ElementType",
    "Framework",
    "ImplMode",
    "InputFormat",
    "LogLevel",
    "Mode",
    "Number",
    "OoLevel",
    "PrecisionMode",
    "PrecisionModeV2",
    "Release",
    "Series",
    "Taken",
    "Word",
    "major_version",
]

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

    CANN_5 = "CANN 5"
    CURRENT = "today's CANN"

    @classmethod
    def of(cls, version: str) -> Release | None:
        """Returns the generation of a version, None where none is given: "5" and "5.1.RC1" are of the first, "8.0.0" of the second.

        Raises:
            UsageError: It is no version.
        """
        first = major_version(version)
        return None if first is None else cls.CANN_5 if first == 5 else cls.CURRENT


def major_version(cann: str) -> int | None:
    """Returns the first number of a version of CANN; None where none is given.

    Raises:
        UsageError: It is no version.
    """
    if not cann:
        return None
    first = cann.strip().partition(".")[0]
    if not (first.isascii() and first.isdecimal() and len(first) < 3 and int(first) >= 5):
        raise UsageError(f"{cann} is no version of CANN from 5 on: give it as 5.1 or 8.0.0")
    return int(first)


class Series(Enum):
    """Chips that are alike, by what the name of one is."""

    A310 = r"Ascend310"
    INFERENCE = r"Ascend310P.*|Ascend710"
    A310B = r"Ascend310B.*"
    TRAINING = r"Ascend910(A|B|ProA|ProB|PremiumA)"
    A2 = r"Ascend910B[0-9].*"
    A3 = r"Ascend910_93.*"
    A950 = r"Ascend950.*"

    @classmethod
    def of(cls, soc_version: str | None) -> Series | None:
        """Returns the series of a chip; None where it is not known."""
        return next((series for series in cls if re.fullmatch(series.value, soc_version or "")), None)


@dataclass(frozen=True)
class Taken:
    """By what a word is taken.

    Attributes:
        release: The one generation of CANN; None where all take it.
        series: The only chips; None where all take it, or it is not known.
    """

    release: Release | None = None
    series: frozenset[Series] | None = None


_BY_ALL: Final = Taken()
_NEWER: Final = Taken(Release.CURRENT)
_BFLOAT16: Final = Taken(Release.CURRENT, frozenset((Series.A310B, Series.A2, Series.A3, Series.A950)))
_OWN_VECTOR_CORES: Final = Taken(None, frozenset((Series.INFERENCE,)))


class Word(StrEnum):
    """A word of a vocabulary; `taken` tells what takes it."""

    taken: Taken

    def __new__(cls, text: str, taken: Taken = _BY_ALL) -> Self:
        """Makes a member of a text, or of a text and what takes it."""
        made = str.__new__(cls, text)
        made._value_, made.taken = text, taken
        return made


class Number(IntEnum):
    """The same, of numbers."""

    taken: Taken

    def __new__(cls, number: int, taken: Taken = _BY_ALL) -> Self:
        """Makes a member of a number, or of a number and what takes it."""
        made = int.__new__(cls, number)
        made._value_, made.taken = number, taken
        return made


class Framework(Number):
    """Where a model comes from."""

    CAFFE = 0
    MINDSPORE = 1
    TENSORFLOW = 3
    ONNX = 5


class Mode(Number):
    """What atc does."""

    CONVERT = 0
    TO_JSON = 1
    CHECK = 3
    DUMP_TO_JSON = 5
    SHOW = 6
    CONVERT_OM2 = 7, _NEWER
    NANO = 30, _NEWER


class InputFormat(Word):
    """The layout of the inputs."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    ND = "ND"
    NCDHW = "NCDHW"


class PrecisionMode(Word):
    """In which type operators compute."""

    FORCE_FP16 = "force_fp16"
    FORCE_FP32 = "force_fp32"
    ALLOW_MIX_PRECISION = "allow_mix_precision"
    ALLOW_FP32_TO_FP16 = "allow_fp32_to_fp16"
    MUST_KEEP_ORIGIN_DTYPE = "must_keep_origin_dtype"
    CUBE_FP16IN_FP32OUT = "cube_fp16in_fp32out", _NEWER
    ALLOW_MIX_PRECISION_FP16 = "allow_mix_precision_fp16", _NEWER
    ALLOW_MIX_PRECISION_BF16 = "allow_mix_precision_bf16", _BFLOAT16
    ALLOW_FP32_TO_BF16 = "allow_fp32_to_bf16", _BFLOAT16


class PrecisionModeV2(Word):
    """The same in newer releases."""

    FP16 = "fp16"
    ORIGIN = "origin"
    CUBE_FP16IN_FP32OUT = "cube_fp16in_fp32out"
    MIXED_FLOAT16 = "mixed_float16"
    MIXED_BFLOAT16 = "mixed_bfloat16", _BFLOAT16
    CUBE_HIF8 = "cube_hif8"
    MIXED_HIF8 = "mixed_hif8"


class ElementType(Word):
    """The element type of an output."""

    FP32 = "FP32"
    FP16 = "FP16"
    UINT8 = "UINT8"
    INT8 = "INT8", _NEWER
    UINT16 = "UINT16", _NEWER
    INT16 = "INT16", _NEWER
    UINT32 = "UINT32", _NEWER
    INT32 = "INT32", _NEWER
    UINT64 = "UINT64", _NEWER
    INT64 = "INT64", _NEWER
    DOUBLE = "DOUBLE", _NEWER
    HIF8 = "HIF8", _NEWER
    FP8E5M2 = "FP8E5M2", _NEWER
    FP8E4M3FN = "FP8E4M3FN", _NEWER


class ImplMode(Word):
    """Whether operators are to be exact or fast."""

    HIGH_PRECISION = "high_precision"
    HIGH_PERFORMANCE = "high_performance"
    HIGH_PRECISION_FOR_ALL = "high_precision_for_all", _NEWER
    HIGH_PERFORMANCE_FOR_ALL = "high_performance_for_all", _NEWER


class BufferOptimize(Word):
    """Which buffer the compiler optimizes for."""

    L1 = "l1_optimize"
    L2 = "l2_optimize"
    OFF = "off_optimize"


class CoreType(Word):
    """The cores that run the model."""

    AI_CORE = "AiCore"
    VECTOR_CORE = "VectorCore", _OWN_VECTOR_CORES


class LogLevel(Word):
    """How much atc logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    NULL = "null"


class CacheMode(Word):
    """What atc does with its cache of compiled operators."""

    ENABLE = "enable"
    DISABLE = "disable"
    FORCE = "force"


class OoLevel(Word):
    """How hard the graph is optimized."""

    O1 = "O1"
    O3 = "O3"

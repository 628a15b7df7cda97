"""Passes that do nothing, with options of every kind."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Any, ClassVar

from onnxfuse import Builder, Facts, Match, Numerics, Pass, RewritePass

__all__ = ["KINDS", "Chosen", "Color", "Colored", "Fancy", "Level", "Plain", "Speed", "Strict"]


class Speed(StrEnum):
    SLOW = "slow"
    VERY_FAST = "very-fast"


class Color(Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Plain(RewritePass):
    """A pass that does nothing."""

    name: ClassVar[str] = "plain"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Neg"})

    def match(self, node: Any, facts: Facts) -> Match | None:
        del node, facts
        return None

    def rewrite(self, match: Match, build: Builder) -> list[Any]:
        raise AssertionError((match, build))


@dataclass(frozen=True)
class Fancy(Plain):
    """A pass with an option of every kind."""

    name: ClassVar[str] = "fancy"
    count: int = 3
    deep: bool = False
    sharp_edges: bool = True
    label: str = "any"
    ratio: float = 0.5
    limit: int | None = None
    title: str | None = None
    speed: Speed = Speed.SLOW
    hidden: int = dataclasses.field(default=0, repr=False)


@dataclass(frozen=True)
class Strict(Plain):
    """A pass with options that must be given."""

    name: ClassVar[str] = "strict"
    dim: str
    to: int
    speed: Speed = Speed.SLOW


@dataclass(frozen=True)
class Colored(Plain):
    """A pass with enums that are no strings."""

    name: ClassVar[str] = "colored"
    color: Color = Color.RED
    level: Level = Level.LOW


@dataclass(frozen=True)
class Chosen(Plain):
    """A pass with an enum that must be given."""

    name: ClassVar[str] = "chosen"
    speed: Speed


KINDS: dict[str, type[Pass]] = {kind.name: kind for kind in (Plain, Fancy, Strict, Colored, Chosen)}

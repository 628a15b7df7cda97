"""Pipelines: what to run, as an immutable value that is written and read as text.

    merge-sliced,remove-pad
    default,transpose-around-softmax{axis=1}
    repeat{max-rounds=4}(merge-sliced,remove-pad)

Values may be quoted: `set-dim{name="-1",to=1}`. A preset's name stands for its members. The end of a line separates
passes as a comma does, and what follows a `#` up to there is a comment.

Other people's passes stand behind a prefix that says what they are:

    onnxsim,gs:mymodule.fix,ir:package.Pass,exec:'tool {in} {out}'
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from onnxfuse.errors import UsageError
from onnxfuse.pipeline import registry
from onnxfuse.pipeline.base import Pass, format_options

__all__ = ["Member", "Pipeline", "PipelineLike", "Repeat", "has_required_options", "option_names"]


@dataclass(frozen=True)
class Pipeline:
    """An immutable sequence of passes.

    Attributes:
        members: Passes and repeated groups of them, in order.
    """

    members: tuple[Member, ...]

    def __init__(self, *members: Member) -> None:
        object.__setattr__(self, "members", tuple(members))

    @classmethod
    def parse(cls, text: str, *, trusted: bool = True, folder: Path | None = None) -> Pipeline:
        """Reads a pipeline.

        Args:
            text: Names of passes and presets with their options, separated by commas or on lines of their own.
            trusted: Whether `gs:`, `ir:` and `exec:`, which run code that the text names, may be in it. Give False for
                a text that comes from somebody else: a file.
            folder: Where the modules that `gs:` and `ir:` name are looked for first; else only where Python looks.

        Raises:
            UsageError: The text is no pipeline, or names a pass or an option that does not exist.
            MissingExtraError: What one of the passes needs is not installed.
        """
        parser = _Parser(text, trusted, folder)
        members = parser.members()
        parser.expect_end()
        return cls(*members)

    @classmethod
    def of(cls, passes: PipelineLike) -> Pipeline:
        """Takes a pipeline in any form: itself, its text, one pass, or a sequence of passes.

        A pass of onnx_ir and a rule of onnxscript are passes too.

        Raises:
            UsageError: It is none of these.
        """
        if isinstance(passes, Pipeline):
            return passes
        if isinstance(passes, str):
            return cls.parse(passes)
        if isinstance(passes, Pass | Repeat):
            return cls(passes)
        if _is_foreign(passes):
            return cls(registry.adapter("ir")(passes))
        if not isinstance(passes, Iterable):
            hint = ": say what it takes, with onnxfuse.adapters.GsPass or IrPass" if callable(passes) else ""
            raise UsageError(f"{passes!r:.100} is no pass and no pipeline{hint}")
        members: list[Member] = []
        for item in passes:
            members += cls.of(item).members
        return cls(*members)

    def __str__(self) -> str:
        """Returns the text that `parse` reads back."""
        return ",".join(map(str, self.members))

    def names(self) -> frozenset[str]:
        """Returns what its passes are called; one with a prefix goes by the prefix and by its whole text."""
        return frozenset(name for member in self._passes() for name in (member.name, str(member)))

    def without(self, names: Sequence[str]) -> Pipeline:
        """Returns the pipeline without the passes of these names.

        Raises:
            UsageError: One of them is not in it.
        """
        for name in names:
            if name not in self.names():
                raise UsageError(f"{name!r} cannot be skipped: the pipeline {self} does not have it")
        return Pipeline(*_without(self.members, frozenset(names)))

    def _passes(self) -> Iterator[Pass]:
        stack: list[Member] = list(self.members)
        while stack:
            member = stack.pop()
            if isinstance(member, Repeat):
                stack += member.members
            else:
                yield member


@dataclass(frozen=True)
class Repeat:
    """A group of passes that runs until none of them changes anything.

    Attributes:
        members: The group.
        max_rounds: How often it runs at the most.
    """

    name: ClassVar[str] = "repeat"
    members: tuple[Member, ...] = dataclasses.field(repr=False)
    max_rounds: int = 8

    def __post_init__(self) -> None:
        if self.max_rounds < 1:
            raise UsageError(f"repeat: max-rounds is at least 1, not {self.max_rounds}")

    def __str__(self) -> str:
        """Returns the text that `Pipeline.parse` reads back."""
        return f"repeat{format_options(self)}({','.join(map(str, self.members))})"


Member = Pass | Repeat
PipelineLike = Pipeline | str | Member | Sequence[str | Member | Pipeline | Any] | Any
"""A pipeline, its text, a pass (of ours, of onnx_ir, or a rule of onnxscript), or a sequence of these."""

FOREIGN: Final = frozenset(
    {
        ("onnx_ir", "PassBase"),
        *(("onnxscript", name) for name in ("RewriteRule", "RewriteRuleClassBase", "RewriteRuleSet")),
    }
)


def _is_foreign(thing: object) -> bool:
    """Says whether it is a pass of onnx_ir or a rule of onnxscript, or a class of these; neither is imported."""
    kind = thing if isinstance(thing, type) else type(thing)
    return any((base.__module__.partition(".")[0], base.__name__) in FOREIGN for base in kind.__mro__)


def _without(members: tuple[Member, ...], names: frozenset[str]) -> Iterator[Member]:
    for member in members:
        if isinstance(member, Repeat):
            inner = tuple(_without(member.members, names))
            if inner:
                yield dataclasses.replace(member, members=inner)
        elif names.isdisjoint((member.name, str(member))):
            yield member


class _Parser:
    """Recursive descent over the text; every error names the place."""

    _NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
    _BARE: Final = re.compile(r"[^\s,{}()=\"']+")
    _GAP: Final = re.compile(r"(?:\s|#[^\n]*)*")

    def __init__(self, text: str, trusted: bool, folder: Path | None) -> None:
        self.text = text
        self.trusted = trusted
        self.folder = folder
        self.at = 0

    def members(self) -> list[Member]:
        found = self._member()
        while self._separated():
            found += self._member()
        return found

    def _separated(self) -> bool:
        """Goes past a comma, the end of a line, or both; says whether a pass is to follow."""
        start = self.at
        comma = self._take(",")
        self._space()
        if "\n" not in self.text[start : self.at]:
            return comma
        return self.at < len(self.text) and self.text[self.at] != ")"

    def expect_end(self) -> None:
        self._space()
        if self.at < len(self.text):
            raise self._error("a comma or the end is expected")

    def _member(self) -> list[Member]:
        name = self._match(self._NAME, "the name of a pass is expected")
        if self.text[self.at : self.at + 1] == ":":
            return [self._prefixed(name)]
        options = self._options()
        if name == Repeat.name:
            if not self._take("("):
                raise self._error("repeat is followed by its passes in parentheses")
            inner = tuple(self.members())
            if not self._take(")"):
                raise self._error("a closing parenthesis is expected")
            return [_construct("repeat", lambda **given: Repeat(inner, **given), _options_of(Repeat), options)]
        preset = registry.presets().get(name)
        if preset is not None:
            if options:
                raise UsageError(f"the preset {name} takes no options")
            return list(Pipeline.parse(preset).members)
        kind = registry.pass_class(name)
        return [_construct(name, kind, _options_of(kind), options)]

    def _prefixed(self, prefix: str) -> Member:
        if prefix not in registry.PREFIXES:
            known = ", ".join(f"{known}:" for known in registry.PREFIXES)
            raise UsageError(f"there is no prefix {prefix}: in a pipeline ({known} are)")
        self.at += 1
        target = self._text(f"what {prefix}: is to run is expected")
        options = self._options()
        if not self.trusted:
            raise UsageError(
                f"{prefix}:{target} runs code, and the pipeline comes from a file: it does so only where that is trusted "
                "(--trust)"
            )
        kind = registry.adapter(prefix)

        def make(**given: Any) -> Member:
            made: Pass = kind.parse(target, folder=self.folder, **given)
            return made

        return cast(Pass, _construct(prefix, make, _options_of(kind), options))

    def _options(self) -> dict[str, str]:
        options: dict[str, str] = {}
        if not self._take("{"):
            return options
        while not self._take("}"):
            if options and not self._take(","):
                raise self._error("a comma or a closing brace is expected")
            name = self._match(self._NAME, "the name of an option is expected")
            if not self._take("="):
                raise self._error(f"the option {name} needs a value: {name}=...")
            if name in options:
                raise self._error(f"the option {name} is given twice")
            options[name] = self._text(f"the option {name} needs a value")
        return options

    def _text(self, otherwise: str) -> str:
        self._space()
        quote = self.text[self.at : self.at + 1]
        if quote not in ("'", '"') or not quote:
            return self._match(self._BARE, otherwise)
        self.at += 1
        out: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == quote:
                return "".join(out)
            if character == "\\" and self.at < len(self.text):
                character = self.text[self.at]
                self.at += 1
            out.append(character)
        raise self._error("the quotation mark is not closed")

    def _take(self, character: str) -> bool:
        start = self.at
        self._space()
        if self.text[self.at : self.at + 1] != character:
            self.at = start  # the gap may have the end of a line
            return False
        self.at += 1
        return True

    def _match(self, pattern: re.Pattern[str], otherwise: str) -> str:
        self._space()
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self._error(otherwise)
        self.at = found.end()
        return found.group()

    def _space(self) -> None:
        found = self._GAP.match(self.text, self.at)
        assert found is not None  # noqa: S101 - it matches nothing, too
        self.at = found.end()

    def _error(self, what: str) -> UsageError:
        self._space()
        first = self._GAP.match(self.text)
        if first is not None and first.end() == len(self.text):
            return UsageError("the pipeline is empty: name at least one pass or preset")
        if "\n" in self.text.strip():
            before = self.text[: self.at]
            line, character = before.count("\n") + 1, self.at - before.rfind("\n")
            return UsageError(f"line {line} of the pipeline cannot be read at character {character}: {what}")
        return UsageError(f"the pipeline {self.text!r} cannot be read at character {self.at + 1}: {what}")


@dataclass(frozen=True)
class _Option:
    """An option of a pass.

    Attributes:
        field: The name of the dataclass's field.
        kind: The type of its values.
        required: Whether it has no default.
    """

    field: str
    kind: type[Any]
    required: bool

    def read(self, text: str, where: str) -> Any:
        """Reads a value.

        Raises:
            UsageError: The text is no value of this type.
        """
        kind = self.kind
        if issubclass(kind, Enum):
            for item in kind:
                if str(item.value) == text:
                    return item
            values = ", ".join(str(item.value) for item in kind)
            raise UsageError(f"{where} is one of {values}, not {text!r}")
        try:
            return _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError) as error:
            wanted = {bool: "true or false", int: "an int"}.get(kind, f"a {kind.__name__}")
            raise UsageError(f"{where} is {wanted}, not {text!r}") from error


_BOOLEANS: Final = {"true": True, "false": False}
_PLAIN: Final[dict[str, type[Any]]] = {"int": int, "float": float, "bool": bool, "str": str}


def _options_of(kind: type) -> dict[str, _Option]:
    return {
        field.name.replace("_", "-"): _Option(
            field.name,
            _type_of(field, kind),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
        if field.init and field.repr
    }


def _type_of(field: dataclasses.Field[Any], kind: type) -> type[Any]:
    """Returns the type of an option: that of its default, or what its annotation says where it has none."""
    if field.default is not dataclasses.MISSING and field.default is not None:
        return type(field.default)
    name = str(field.type).split("|")[0].strip()
    if name in _PLAIN:
        return _PLAIN[name]
    # An annotation is text; it names something in the module of the class, or of one that it derives from.
    for base in kind.__mro__:
        found = getattr(sys.modules.get(base.__module__), name, None)
        if isinstance(found, type):
            return found
    return str


def _construct(name: str, make: Callable[..., Any], known: dict[str, _Option], options: dict[str, str]) -> Any:
    given = {}
    for option, text in options.items():
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{name} has no option {option!r}: {has}")
        given[known[option].field] = known[option].read(text, f"{name}{{{option}}}")
    for option, said in known.items():
        if said.required and said.field not in given:
            raise UsageError(f"{name} needs the option {option}: {name}{{{option}=...}}")
    try:
        return make(**given)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from error


def option_names(kind: type) -> list[str]:
    """Returns the names of a pass's options."""
    return list(_options_of(kind))


def has_required_options(kind: type) -> bool:
    """Says whether a pass cannot be made without being told an option."""
    return any(option.required for option in _options_of(kind).values())

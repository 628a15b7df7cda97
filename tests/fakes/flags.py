"""Command lines as atc and aoe read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

__all__ = ["CodeError", "FlagError", "read_flags"]


class CodeError(Exception):
    """Something that the vendor has a number for."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class FlagError(Exception):
    """The command line itself is wrong: told on stderr, without a number."""


def read_flags(
    words: Sequence[str], known: Collection[str], switches: Collection[str] = (), short: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Reads `--name=value`, `--name value`, `-name=value`; a dash inside of a name is an underscore.

    Args:
        words: The arguments.
        known: The names there are.
        switches: Those of them that may stand without a value.
        short: Names of one letter, whose value is the next word.

    Raises:
        FlagError: A name is not known, a value is missing, or a word is no option.
    """
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            raise FlagError(f"ERROR: Non-option parameter: {word}")
        if short and word[1:] in short:
            name, equals, value = short[word[1:]], "", ""
        else:
            name, equals, value = word.lstrip("-").partition("=")
            name = name.replace("-", "_")
        if name not in known:
            raise FlagError(f"ERROR: unknown command line flag '{name}'")
        if not equals:
            if name in switches and (not rest or rest[0].startswith("-")):
                value = "true"
            elif not rest:
                raise FlagError(f"ERROR: flag '{name}' is missing its argument; flag description: {name}")
            else:
                value = rest.pop(0)
        found[name] = value
    return found

"""The parser: argparse, with mistakes told in one line and the nearest option named."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from onnxfuse.errors import UsageError

__all__ = ["Parser", "nearest"]

# Their values may begin with a dash, as the dim "-1" of many exports does: argparse would take it for an option.
VALUE_OPTIONS: Final = ("--dim", "--except")
MISSING: Final = "arguments are required"
# Commands that hand on options to another program.
HANDING_ON: Final = ("atc", "aoe")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` instead of printing its usage and exiting."""

    _words: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]  # argparse has overloads, for namespaces of a class of one's own
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Reads words, and keeps them for `error`."""
        self._words = list(args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises what is wrong.

        Raises:
            UsageError: Always.
        """
        if MISSING in message:
            # argparse asks for what is missing before it tells of what it does not know: often that, misspelled.
            words, self._words = self._words, ()
            for word in words:
                if word.startswith("--") and word.partition("=")[0] not in {"--", *self._option_string_actions}:
                    self.refuse(word)
        raise UsageError(f"{message} ({self.prog} --help says more)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse calls a command an argument, and lists all of them where one is near.
        if action.dest == "command" and action.choices is not None and value not in action.choices:
            known = list(action.choices)
            self.error(f"there is no command {value}" + (nearest(value, known) or f"; there are {', '.join(known)}"))
        super()._check_value(action, value)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Reads a command line; the subcommand's parser is expected as `parser` in its defaults.

        For a command that hands on options to another program, what stands behind `--` is `handed_on`.

        Raises:
            UsageError: It is wrong.
        """
        words = list(argv)
        handed_on: list[str] = []
        if words[:1] and words[0] in HANDING_ON and "--" in words:
            at = words.index("--")
            words, handed_on = words[:at], words[at + 1 :]
        arguments, unknown = self.parse_known_args(_joined(words), argparse.Namespace(handed_on=handed_on))
        if unknown:
            command: Parser = arguments.parser
            command.refuse(unknown[0])
        return arguments

    def refuse(self, text: str) -> NoReturn:
        """Raises for an argument that nobody took.

        Raises:
            UsageError: Always.
        """
        if not text.startswith("-"):
            outputs = any("--output" in action.option_strings for action in self._actions)
            self.error(f"unexpected argument {text}" + (": the output is given with -o" if outputs else ""))
        known = (option for action in self._actions for option in action.option_strings if option.startswith("--"))
        self.error(f"unknown option {text}{nearest(text.partition('=')[0], known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `: did you mean ...?` with the nearest of the known names; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f": did you mean {near[0]}?" if near else ""


def _joined(argv: Sequence[str]) -> list[str]:
    """Writes `--dim X` as `--dim=X`."""
    joined: list[str] = []
    for text in argv:
        if joined and joined[-1] in VALUE_OPTIONS and "--" not in joined and text != "--":
            joined[-1] += f"={text}"
        else:
            joined.append(text)
    return joined

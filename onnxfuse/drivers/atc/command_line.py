"""A command line as text: the words that a shell would make of it, and what in it only a shell understands.

Where nothing in a line needs a shell, the words are those of `shlex.split`. What does (a redirection, a pipe, an unclosed
quote, an unquoted `{batch size}`) is a `Problem`, never an error: guides are full of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from onnxfuse.drivers.atc.shell import SHELL_SYNTAX, Problem, ShellReader

__all__ = ["read_command"]

# Words that run the command after them.
_RUNNERS: Final = frozenset(("sudo", "nohup", "env", "time", "exec", "nice", "timeout", "command", "$", "%"))
# Words of the shell: those that begin and end a construct, and those that a command can follow.
_OPENERS: Final = frozenset(("if", "while", "until", "for", "select", "case", "{"))
_CLOSERS: Final = frozenset(("fi", "done", "esac", "}"))
_KEYWORDS: Final = frozenset(("if", "then", "elif", "else", "while", "until", "do", "{", "!"))
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# What a shell writes before a line: `root@host:~#`, `(base) [me@host ~]$`. That of root alone begins a comment as well.
_PROMPT: Final = r"(?:\(\w+\) *)?(?:\[[^]\n]*\]|[\w.@:/~-]+)[#$%] +"
_PROMPT_OF_ROOT: Final = r"# *(?={program}\s)"


@dataclass(frozen=True)
class CommandLine:
    """One command, as words.

    Attributes:
        words: Its words after the program's name.
        problems: What needs a shell, or breaks one.
    """

    words: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_command(line: str, program: str) -> CommandLine:
    """Finds the command that runs `program` in a line and splits it into words. Never raises.

    In a construct of the shell (a loop, a condition) it is the first such command, and what is around it is one problem.
    """
    of_root = _PROMPT_OF_ROOT.format(program=re.escape(program))
    for prompt in (_PROMPT, f"{_PROMPT}|{of_root}"):
        read = ShellReader(line, re.compile(rf"\s*(?:{prompt})"))
        for at, words in enumerate(read.commands):
            start = _start(words, program)
            if start is not None:
                return CommandLine(tuple(words[start + 1 :]), tuple(_problems(read, at, start, program)))
    first = next((words for words in read.commands if words), [])
    message = f"the line {'does not begin with' if first else 'is empty: begin it with'} {program}"
    missing = Problem((first[0] if first else "") or "''", SHELL_SYNTAX, None, message)
    return CommandLine(tuple(first), (missing, *(problem for _, problem in read.told)))


def _problems(read: ShellReader, at: int, start: int, program: str) -> Iterator[Problem]:
    """Yields what is wrong with the command at `at`, whose word at `start` is the program."""
    words = read.commands[at]
    construct = _construct(read, at, start)
    if construct is None:
        yield from (problem for _, problem in read.told)
    else:
        message = (
            f"{program} stands in a construct of the shell, of which its driver runs nothing: give the command alone"
        )
        yield Problem(construct, SHELL_SYNTAX, None, message)
        yield from _within(read, at)
    for word in words[:start]:
        if word not in _KEYWORDS:
            yield _before(word, program)
    if words[start] != program:
        message = f"{program} is named by a path: onnxfuse looks it up on PATH; tell its driver where it is"
        yield Problem(words[start], SHELL_SYNTAX, None, message)


def _within(read: ShellReader, at: int) -> Iterator[Problem]:
    """Yields what of a text is about one command. What ends it is not, where a word of the shell follows."""
    following = next((words[0] for words in read.commands[at + 1 :] if words), None)
    end = read.ends.get(at) if following in _CLOSERS | _KEYWORDS else None
    yield from (problem for index, problem in read.told if index == at and problem is not end)


def _start(words: list[str], program: str) -> int | None:
    """Returns where in a command the program's name is, if the command runs it."""
    running = False
    for at, word in enumerate(words):
        if word.rpartition("/")[2] == program:
            return at
        if word in _RUNNERS:
            running = True
        elif not running and word not in _KEYWORDS and not _ASSIGNMENT.fullmatch(word):
            return None
    return None


def _construct(read: ShellReader, at: int, start: int) -> str | None:
    """Returns the word that begins the shell's construct in which the command at `at` stands, if there is one."""
    open_: list[str] = []
    for words in (*read.commands[:at], read.commands[at][:start]):
        for word in takewhile(lambda word: word in _OPENERS | _KEYWORDS | _CLOSERS, words):
            if word in _OPENERS:
                open_.append(word)
            elif word in _CLOSERS and open_:
                open_.pop()
    return next((word for word in (*open_, *read.commands[at][:start]) if word in _OPENERS | _KEYWORDS), None)


def _before(word: str, program: str) -> Problem:
    if _ASSIGNMENT.fullmatch(word):
        message = "sets a variable of the environment for this command: set it before, or in a set_env.sh"
    else:
        message = f"stands before {program}: leave it out, the driver runs {program} itself"
    return Problem(word, SHELL_SYNTAX, None, message)

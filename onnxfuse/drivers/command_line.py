"""A command line as text: the words that a shell would make of it, and what in it only a shell understands.

Where nothing in a line needs a shell, the words are those of `shlex.split`. What does (a redirection, a pipe, an unclosed
quote, an unquoted `{batch size}`) is a `Problem`, never an error: guides are full of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

__all__ = ["SHELL_SYNTAX", "CommandLine", "Problem", "read_command"]

SHELL_SYNTAX: Final = "shell-syntax"

# Words that run the command after them.
_RUNNERS: Final = frozenset(("sudo", "nohup", "env", "time", "exec", "nice", "timeout", "command", "$", "%"))
# Words of the shell: those that begin and end a construct, and those that a command can follow.
_OPENERS: Final = frozenset(("if", "while", "until", "for", "select", "case", "{"))
_CLOSERS: Final = frozenset(("fi", "done", "esac", "}"))
_KEYWORDS: Final = frozenset(("if", "then", "elif", "else", "while", "until", "do", "{", "!"))
# What a shell writes before a line: `root@host:~#`, `(base) [me@host ~]$`; a `#` by itself only before the program.
_PROMPT: Final = r"\s*(?:\(\w+\) *)?(?:\[[^]\n]*\][$#%]|[\w.@:/~-]+[#$%]|#(?= *{program} )) +"
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_REDIRECTION: Final = re.compile(r"&>>?|>>|>\||>&|<>|<<<|<<-?|<&|>|<")
_OPERATOR: Final = re.compile(r"&&|\|\||\|&|;;|[|&;()]")
_VARIABLE: Final = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9]|\{[A-Za-z_]\w*\})")
_ORDINARY: Final = re.compile(r"""[^ \t\r\n'"\\${`<>&|;()#]+""")
_ORDINARY_IN_QUOTES: Final = re.compile(r'[^"\\$`]+')
# A name of a guide, to be filled in by the reader: `{batch size}`.
_BRACES: Final = re.compile(r"\{[^{}'\"\\\n;|&<>()`]*\}")
# Several words in one of bash: `{1,2}`, `{1..3}`.
_EXPANSION: Final = re.compile(
    r"""\{(?:(?:\\.|'[^']*'|"[^"]*"|[^{}'"\\\s;|&<>()`,])*?(?:,|\.\.))(?:\\.|'[^']*'|"[^"]*"|[^{}'"\\\s;|&<>()`])*\}"""
)

_SUBSTITUTION: Final = "what a command prints would stand here: write the value itself"
_ESCAPED: Final = "with a backslash before it, the shell fills nothing in: take the backslash away"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a command line.

    Attributes:
        subject: The option (`--output`) or the construct of the shell (`>`) that it is about.
        rule: The rule that is broken: `shell-syntax`, `missing-option`, `profiles`...
        code: The vendor's error code, where it has one: "E10016".
        message: What is wrong and what to do.
    """

    subject: str
    rule: str
    code: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.message} [{', '.join(filter(None, (self.rule, self.code)))}]"


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
    prompt = re.match(_PROMPT.format(program=re.escape(program)), line)
    scanner = _Scanner(line if prompt is None else line[prompt.end() :])
    scanner.scan()
    problems = [] if prompt is None else [_before(prompt.group().strip(), program)]
    for at, words in enumerate(scanner.commands):
        start = _start(words, program)
        if start is not None:
            construct = _construct(scanner, at, start)
            problems += scanner.problems if construct is None else [_inside(construct, program), *scanner.within(at)]
            problems += [_before(word, program) for word in words[:start] if word not in _KEYWORDS]
            if words[start] != program:
                message = f"{program} is named by a path: onnxfuse looks it up on PATH; tell its driver where it is"
                problems.append(Problem(words[start], SHELL_SYNTAX, None, message))
            return CommandLine(tuple(words[start + 1 :]), tuple(problems))
    first = next((words for words in scanner.commands if words), [])
    message = f"the line {'does not begin with' if first else 'is empty: begin it with'} {program}"
    missing = Problem((first[0] if first else "") or "''", SHELL_SYNTAX, None, message)
    return CommandLine(tuple(first), (missing, *problems, *scanner.problems))


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


def _construct(scanner: _Scanner, at: int, start: int) -> str | None:
    """Returns the word that begins the shell's construct in which the command at `at` stands, if there is one."""
    open_: list[str] = []
    for words in (*scanner.commands[:at], scanner.commands[at][:start]):
        for word in takewhile(lambda word: word in _OPENERS | _KEYWORDS | _CLOSERS, words):
            if word in _OPENERS:
                open_.append(word)
            elif word in _CLOSERS and open_:
                open_.pop()
    return next((word for word in (*open_, *scanner.commands[at][:start]) if word in _OPENERS | _KEYWORDS), None)


def _inside(construct: str, program: str) -> Problem:
    message = f"{program} stands in a construct of the shell, of which its driver runs nothing: give the command alone"
    return Problem(construct, SHELL_SYNTAX, None, message)


def _before(word: str, program: str) -> Problem:
    if _ASSIGNMENT.fullmatch(word):
        message = "sets a variable of the environment for this command: set it before, or in a set_env.sh"
    else:
        message = f"stands before {program}: leave it out, the driver runs {program} itself"
    return Problem(word, SHELL_SYNTAX, None, message)


class _Scanner:
    """Reads a line sign by sign, as a shell does."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.commands: list[list[str]] = [[]]
        self.told: list[tuple[int, Problem]] = []  # with the command that it is about
        self.ends: dict[int, Problem] = {}  # by command: what ended it
        self.word: str | None = None
        self.quoted = False  # whether any of the word is
        self.redirection: str | None = None  # one that waits for its file

    def scan(self) -> None:
        """Reads all of it."""
        while self.at < len(self.text):
            sign = self.text[self.at]
            match sign:
                case " " | "\t" | "\r":
                    self._end_word()
                    self.at += 1
                case "'":
                    self._single(sign)
                case '"':
                    self._double(sign)
                case "\\":
                    self._backslash()
                case "$":
                    self._dollar(sign)
                case "{":
                    self._braces(sign)
                case "`":
                    self._backticks(sign)
                case "\n":
                    self._line_break()
                case "<" | ">" | "&":
                    self._redirect()
                case "|" | ";" | "(" | ")":
                    self._operate()
                case "#" if self.word is None:
                    self._comment()
                case _:
                    found = _ORDINARY.match(self.text, self.at)
                    self._add(found.group() if found else sign)
        self._end_word()
        if self.redirection is not None:
            self._end_redirection("")

    @property
    def problems(self) -> list[Problem]:
        """All that needs a shell, or breaks one."""
        return [problem for _, problem in self.told]

    def within(self, at: int) -> list[Problem]:
        """Returns what of that is about one command. What ends it is not, where a word of the shell follows."""
        following = next((words[0] for words in self.commands[at + 1 :] if words), None)
        end = self.ends.get(at) if following in _CLOSERS | _KEYWORDS else None
        return [problem for index, problem in self.told if index == at and problem is not end]

    # ------------------------------------------------------------------ words

    def _add(self, text: str, *, length: int | None = None) -> None:
        self.word = (self.word or "") + text
        self.at += len(text) if length is None else length

    def _end_word(self) -> None:
        if self.word is None:
            return
        word, self.word, self.quoted = self.word, None, False
        if self.redirection is None:
            self.commands[-1].append(word)
        else:
            self._end_redirection(word)

    def _report(self, subject: str, message: str, *, rule: str = SHELL_SYNTAX) -> None:
        word = self.word or ""
        option = word.partition("=")[0] if word.startswith("-") else ""
        where = f"in {option}: " if option else ""
        self._tell(Problem(subject, rule, None, where + message))

    def _tell(self, problem: Problem) -> None:
        self.told.append((len(self.commands) - 1, problem))

    def _end_command(self) -> None:
        """Begins another command. What ended this one is the last that was told."""
        self.ends[len(self.commands) - 1] = self.told[-1][1]
        self.commands.append([])

    # ------------------------------------------------------------------ quotes

    def _single(self, sign: str) -> None:
        end = self.text.find(sign, self.at + 1)
        inside = self.text[self.at + 1 :] if end < 0 else self.text[self.at + 1 : end]
        self._add("")
        self.quoted = True
        if end < 0:
            self._report(sign, "this quote is never closed: close it")
        variable = _VARIABLE.search(inside)
        if variable:
            message = "between single quotes a shell does not fill it in: write double quotes"
            self._report(variable.group(), message, rule="quoted-placeholder")
        self._add(inside, length=len(inside) + 1 + (end >= 0))

    def _double(self, sign: str) -> None:
        self._add("", length=1)
        self.quoted = True
        text = self.text
        while self.at < len(text):
            here = text[self.at]
            if here == sign:
                self.at += 1
                return
            if here == "\\" and self.at + 1 < len(text):
                self._escape_in_quotes(text[self.at + 1])
                continue
            if here == "`" or text.startswith("$(", self.at):
                self._report("$(" if here == "$" else here, _SUBSTITUTION)
            ordinary = _ORDINARY_IN_QUOTES.match(text, self.at)
            self._add(ordinary.group() if ordinary else here)
        self._report(sign, "this quote is never closed: close it")

    def _escape_in_quotes(self, escaped: str) -> None:
        if escaped in '"\\':
            self._add(escaped, length=2)
        elif escaped == "\n":
            self.at += 2
        elif escaped in "$`":
            self._report("\\" + escaped, _ESCAPED)
            self._add(escaped, length=2)
        else:
            self._add("\\" + escaped)

    def _backslash(self) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        blanks = re.compile(r"[ \t\r]+\n").match(self.text, self.at + 1)
        if following == "\n":
            self.at += 2
        elif blanks:
            self._report("\\", "a blank after the backslash ends the command here: let the backslash end its line")
            self._end_word()
            self.at = blanks.end()
        elif not following:
            self._report("\\", "a backslash ends the line and nothing follows: take it away")
            self.at += 1
        else:
            if following in "${`":
                self._report("\\" + following, _ESCAPED)
            self._add(following, length=2)
            self.quoted = True

    # ------------------------------------------------------------------ what the shell would fill in

    def _dollar(self, sign: str) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        if following == "{":
            self._variable()
        elif following == "(":
            end = _closing(self.text, self.at + 1)
            self._report("$(", _SUBSTITUTION)
            self._add(self.text[self.at : end])
        else:
            if following and following in "'\"":
                self._report("$" + following, "a quote after `$` is bash's own: write the value in plain quotes")
            self._add(sign)

    def _variable(self) -> None:
        end = self.text.find("}", self.at)
        inside = self.text[self.at :] if end < 0 else self.text[self.at : end + 1]
        if end < 0:
            self._report("${", "this brace is never closed: write `${name}`")
        elif re.search(r"[\\\s'\"`]", inside):
            self._report(inside, "a shell cannot fill this in: write `${name}`, without backslash, quote or blank")
        length = len(inside)
        self._add(inside.replace("\\", ""), length=length)

    def _braces(self, sign: str) -> None:
        found = _BRACES.match(self.text, self.at)
        if found and re.search(r"\s", found.group()):
            self._report(found.group(), "a shell splits it at the blank: fill it in, or quote the value")
            self._add(found.group())
            return
        expansion = _EXPANSION.match(self.text, self.at)
        if expansion:
            self._report(_short(expansion.group()), "a shell makes several words of it: quote the value")
        self._add(sign)

    def _backticks(self, sign: str) -> None:
        end = self.text.find(sign, self.at + 1)
        self._report(sign, _SUBSTITUTION)
        self._add(self.text[self.at :] if end < 0 else self.text[self.at : end + 1])

    # ------------------------------------------------------------------ what ends a command

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        comment = self.text[self.at :] if end < 0 else self.text[self.at : end]
        self._report("#", f"a comment: {_short(comment)!r} is no part of the command; leave it out")
        self.at += len(comment)

    def _line_break(self) -> None:
        self._end_word()
        while self.text[self.at : self.at + 1] in (" ", "\t", "\r", "\n"):
            self.at += 1
        if self.at < len(self.text) and self.commands[-1]:
            self._report("line break", "ends the command: put a backslash before it, or write one line")
            if self.text[self.at] != "-":
                self._end_command()

    def _redirect(self) -> None:
        found = _REDIRECTION.match(self.text, self.at)
        if found is None:  # an `&` that redirects nothing
            self._operate()
            return
        descriptor = ""
        if self.word is not None and self.word.isdecimal() and not self.quoted and not found.group().startswith("&"):
            descriptor, self.word = self.word, None
        self._end_word()
        if self.redirection is not None:
            self._end_redirection("")
        self.redirection = descriptor + found.group()
        self.at = found.end()

    def _end_redirection(self, file: str) -> None:
        sign, self.redirection = self.redirection or "", None
        message = f"a redirection ({_short(sign + file)}): the driver keeps the log itself; leave it out"
        self._tell(Problem(sign, SHELL_SYNTAX, None, message))

    def _operate(self) -> None:
        found = _OPERATOR.match(self.text, self.at)
        sign = found.group() if found else self.text[self.at]
        message = "unquoted, it ends the command: quote the value it belongs to, or leave out what is no part of it"
        self._end_word()
        self._report(sign, message)
        self._end_command()
        self.at += len(sign)


def _closing(text: str, at: int) -> int:
    """Returns where what the parenthesis at `at` opens has ended."""
    depth = 0
    for position in range(at, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if not depth:
            return position + 1
    return len(text)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."

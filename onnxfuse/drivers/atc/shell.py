"""A text as a shell reads it: the words of each command, and what in it only a shell understands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["SHELL_SYNTAX", "Problem", "ShellReader"]

SHELL_SYNTAX: Final = "shell-syntax"

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


class ShellReader:
    """Reads a text sign by sign, as a shell does.

    Attributes:
        commands: The words of each command; none where a separator follows another.
        told: What needs a shell, or breaks one, each with the index of the command that it is about.
        ends: By command, what of that ended it.
    """

    def __init__(self, text: str, prompt: re.Pattern[str]) -> None:
        """Reads all of a text.

        Args:
            text: The text.
            prompt: What is passed over where a line begins that continues none.
        """
        self.text = text
        self.prompt = prompt
        self.at = 0
        self.commands: list[list[str]] = [[]]
        self.told: list[tuple[int, Problem]] = []
        self.ends: dict[int, Problem] = {}
        self.word: str | None = None
        self.quoted = False  # whether any of the word is
        self.redirection: str | None = None  # one that waits for its file
        self._read()

    def _read(self) -> None:
        self._prompt()
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
        self._prompt()

    def _prompt(self) -> None:
        found = None if self.commands[-1] else self.prompt.match(self.text, self.at)
        if found is not None:
            self._report(found.group().strip(), "a prompt, which a shell writes and none reads: leave it out")
            self.at = found.end()

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

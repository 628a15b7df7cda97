"""Command lines of atc as a shell reads them: which words it makes of one, and what in it only a shell understands."""

from __future__ import annotations

import shlex
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onnxfuse.drivers.atc.options import AtcOptions
from tests.profile import EXAMPLES


def _around(command: str) -> list[str]:
    """Returns a command in constructs of the shell."""
    return [
        f"for bs in 1 4; do {command}; done",
        f"if x; then {command}; fi",
        f"{{ {command}; }}",
        f"root@host:~# {command}",
    ]


LINES: Final = st.text(
    st.sampled_from("""ab=-_ \t\n\r'"\\$#`;|&<>(){}[],:*?~!@1""") | st.characters(codec="utf-8"), max_size=40
).flatmap(
    lambda text: st.sampled_from(
        [text, f"atc {text}", f"atc --model={text}", f"atc --model {text} --log=info", *_around(f"atc --model={text}")]
    )
)


def shell_syntax(options: AtcOptions) -> list[str]:
    return [problem.subject for problem in options.problems() if problem.rule == "shell-syntax"]


@EXAMPLES
@given(LINES)
@example("atc --model='")
@example("atc --model=x\\")
@example('atc --model="\\$x"')
@example("atc --model='\n[a b]# x'")
@example("")
@example('"')
@example("\\")
def test_any_text_is_read_and_written_as_a_shell_would(line: str) -> None:
    options = AtcOptions.parse(line)
    assert options.argv()[0] == "atc"
    if not shell_syntax(options):
        assert options.argv() == shlex.split(line.replace("\\\n", ""))
    again = AtcOptions.parse(shlex.join(options.argv()))
    assert again == options
    assert again.argv() == options.argv()
    assert AtcOptions.parse(line) == options
    for problem in options.problems():
        assert problem.subject
        assert problem.message


@EXAMPLES
@given(LINES)
def test_a_text_that_shlex_cannot_split_has_a_problem(line: str) -> None:
    try:
        shlex.split(line)
    except ValueError:
        assert shell_syntax(AtcOptions.parse(line))


@pytest.mark.parametrize(
    ("line", "subject", "words"),
    [
        ("atc --model=m >log.txt --log=info", ">", ["--model=m", "--log=info"]),
        ("atc --model=m 2>&1", "2>&", ["--model=m"]),
        ("atc --model=m &>log", "&>", ["--model=m"]),
        ("atc --model=m <in", "<", ["--model=m"]),
        ("atc --model=m # why", "#", ["--model=m"]),
        ("atc --model=m | tee log", "|", ["--model=m"]),
        ("atc --model=m && ls", "&&", ["--model=m"]),
        ("cd x && atc --model=m", "&&", ["--model=m"]),
        ("atc --input_shape=x:1;y:2 --log=info", ";", ["--input_shape=x:1"]),
        ("atc --model=m &", "&", ["--model=m"]),
        ("(atc --model=m)", "(", ["--model=m"]),
        ("atc --model=`ls`", "`", ["--model=`ls`"]),
        ("atc --model=$(ls -1)/m", "$(", ["--model=$(ls -1)/m"]),
        ('atc --model="$(ls -1)/m"', "$(", ["--model=$(ls -1)/m"]),
        ("atc --model='m", "'", ["--model=m"]),
        ('atc --model="m --log=info', '"', ["--model=m --log=info"]),
        ("atc --model=m\\", "\\", ["--model=m"]),
        ("atc --model=m \\ \n --log=info", "\\", ["--model=m", "--log=info"]),
        ("atc --model=m \\\r\n --log=info", "\\", ["--model=m", "--log=info"]),
        ("atc --model=m\n--log=info", "line break", ["--model=m", "--log=info"]),
        ("atc --model=m\nls", "line break", ["--model=m"]),
        ("atc --output=m_{batch size}_x", "{batch size}", ["--output=m_{batch size}_x"]),
        ("atc --output=m_{1,2}", "{1,2}", ["--output=m_{1,2}"]),
        ("atc --output=m_{1..3}", "{1..3}", ["--output=m_{1..3}"]),
        ("atc --output={\\ ,'a'}", "{\\ ,'a'}", ["--output={ ,a}"]),
        ("atc --output=m_${a", "${", ["--output=m_${a"]),
        ("atc --output=$'m'", "$'", ["--output=$m"]),
        ('atc --output="\\$m"', "\\$", ["--output=$m"]),
        ("atc --model= m", "--model", ["--model=", "m"]),
        ("atc --model ''", "--model", ["--model", ""]),
        ("atc --model=m x", "x", ["--model=m", "x"]),
        ("atc --model=m --", "--", ["--model=m", "--"]),
        ("A=1 atc --model=m", "A=1", ["--model=m"]),
        ("nohup atc --model=m", "nohup", ["--model=m"]),
        ("sudo -E atc --model=m", "sudo", ["--model=m"]),
        ("$ atc --model=m", "$", ["--model=m"]),
        ("% atc --model=m", "%", ["--model=m"]),
        ("/usr/bin/atc --model=m", "/usr/bin/atc", ["--model=m"]),
        ("--model=m", "--model=m", ["--model=m"]),
        ("aoe --model=m", "aoe", ["aoe", "--model=m"]),
        ("", "''", []),
    ],
)
def test_what_only_a_shell_understands_is_named(line: str, subject: str, words: list[str]) -> None:
    options = AtcOptions.parse(line)
    assert subject in shell_syntax(options)
    assert options.argv() == ["atc", *words]


@pytest.mark.parametrize(
    "line",
    [
        "atc --soc_version=Ascend${chip_name}",
        'atc --input_shape="x:${bs},{n},$1"',
        "atc --output=bs{batch_size}",
        "atc --soc_version=Ascend{$chip}",
        "atc --model=${a[i]} --output=a#b",
        "atc --input_shape='x:1;y:{batch size}'",
        "  atc --model=m\n",
    ],
)
def test_what_a_shell_takes_is_no_problem(line: str) -> None:
    options = AtcOptions.parse(line)
    assert not shell_syntax(options)
    assert options.argv() == shlex.split(line)


COMMAND: Final = "atc --model=m.onnx --framework=5 --output=m_$bs --soc_version=Ascend310"


@pytest.mark.parametrize(
    ("line", "subjects"),
    [
        (f"for bs in 1 4; do {COMMAND}; done", ["for"]),
        (f"for bs in 1 4\ndo\n  {COMMAND}\ndone > log 2>&1", ["for"]),
        (f"for bs in $(seq 4); do echo $bs | cat; {COMMAND} > log & done; wait", ["for", ">"]),
        (f"for a in 1; do for b in 2; do {COMMAND}; done; done", ["for"]),
        (f"for a in 1; do echo; done; {COMMAND}", [";", ";", ";"]),
        (f"if [ -f x ]; then {COMMAND}; fi", ["if"]),
        (f"if ! {COMMAND}; then exit 1; else ls; fi", ["if"]),
        (f"while true; do sudo {COMMAND}; done", ["while", "sudo"]),
        (f"case $1 in a) {COMMAND};; esac", ["case"]),
        (f"do {COMMAND}", ["do"]),
        (f"{{ {COMMAND}; }}", ["{"]),
        (f"f() {{ {COMMAND}; }}; f", ["{"]),
        (f"cd x && {COMMAND}", ["&&"]),
        (f"root@host:~# {COMMAND}", ["root@host:~#"]),
        (f"[root@host ~]# {COMMAND}", ["[root@host ~]#"]),
        (f"(base) me@host:~/x$ {COMMAND}", ["(base) me@host:~/x$"]),
        (f"# {COMMAND}", ["#"]),
        (f"# by hand:\n{COMMAND}", ["#"]),
        (f"# atc --model=old.onnx\n{COMMAND}", ["#"]),
        (f"$ cd x\n$ {COMMAND}", ["line break", "$"]),
        (f"me@host:~$ cd x\nme@host:~/x$ {COMMAND}", ["me@host:~$", "line break", "me@host:~/x$"]),
        (f"root@host:~# for bs in 1; do {COMMAND}; done", ["for"]),
    ],
)
def test_the_command_is_found_in_what_is_around_it(line: str, subjects: list[str]) -> None:
    options = AtcOptions.parse(line)
    assert [problem.subject for problem in options.problems()] == subjects
    assert set(shell_syntax(options)) == set(subjects)
    assert options.argv() == shlex.split(COMMAND)


def test_what_is_wrong_with_a_command_in_a_loop_is_told() -> None:
    options = AtcOptions.parse(f"for b in 1; do {COMMAND} --input_shape=x:1;y:2; done")
    assert [problem.subject for problem in options.problems()] == ["for", ";"]


def test_a_line_may_be_long() -> None:
    """Each of the line breaks is looked at once."""
    options = AtcOptions.parse("atc --model=m" + "\n" * 1_000_000 + "--log=info")
    assert options.argv() == ["atc", "--model=m", "--log=info"]
    assert shell_syntax(options)[0] == "line break"


@pytest.mark.parametrize("line", ["for bs in 1 4; do ls; done", "root@host:~# ls", "# ls", "{ ls; }"])
def test_a_line_without_the_command(line: str) -> None:
    options = AtcOptions.parse(line)
    assert "atc" in options.problems()[0].message
    assert shell_syntax(options)

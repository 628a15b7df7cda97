"""Words behind `--` of `onnxfuse atc` and `onnxfuse aoe`: they go to the program as they stand there, and override nothing."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.cli import compiling
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.errors import UsageError
from tests.cli.conftest import Cli
from tests.drivers.fake_tools import calls
from tests.fakes.flags import FlagError, read_flags
from tests.profile import EXAMPLES

pytestmark = pytest.mark.usefixtures("tools")

ATC: Final = ("atc", "m.onnx", "--soc", "Ascend310P3", "--batch-size", "1")
AOE: Final = ("aoe", "m.onnx", "--job-type", "1", "--batch-size", "1")


@pytest.mark.parametrize("more", [(), ("--no-check",), ("--dry-run",)])
@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        (ATC, "--output=evil", "--output cannot stand behind --: give it as -o"),
        (ATC, "--output evil", "--output cannot stand behind --: give it as -o"),
        (ATC, "-output=evil", "-output cannot stand behind --: give it as -o"),
        (ATC, "--output", "--output cannot stand behind --: give it as -o"),
        (ATC, "--outp=evil", "--outp (which may be taken for --output) cannot stand behind --: give it as -o"),
        (ATC, "--model=other.onnx", "give it as MODEL"),
        (ATC, "--soc-version=Ascend310", "give it as --soc"),
        (ATC, "--framework=3", "leave it out, it is always 5"),
        (ATC, "--mode=1", "onnxfuse compiles ONNX models"),
        (
            ATC,
            "--input_shape=image:2,3,8,8",
            "--input_shape cannot stand behind --: it is set already, give it before --",
        ),
        (ATC, "--brand_new=1 --input-format ND", "it is set already, give it before --"),
        (AOE, "-m other.onnx", "-m (which may be taken for --model) cannot stand behind --"),
        (AOE, "-j 2", "give it as --job-type"),
        (AOE, "--soc_version=Ascend310", "aoe takes the chip that is attached"),
        (AOE, "--model_path=folder", "onnxfuse compiles ONNX models"),
    ],
)
def test_what_is_said_already(
    cli: Cli, tools: Path, command: tuple[str, ...], words: str, says: str, more: tuple[str, ...]
) -> None:
    assert says in cli(*command, *more, "--", *words.split()).error
    assert not calls(tools)


def test_what_is_handed_on_twice(cli: Cli) -> None:
    assert "--log cannot stand behind --" in cli(*ATC, "--log=error", "--", "--log=debug").error


@pytest.mark.parametrize(
    ("words", "check"),
    [
        ("--precision_mode=quick", "value"),
        ("--out_nodes=lst:0", "out-nodes"),
        ("--log", "missing-value"),
        ("--log=info --log=error", "repeated-option"),
        ("stray", "shell-syntax"),
        ("--help", "no-conversion"),
        ("--keep_dtype=$KEEP", "placeholder"),
    ],
)
def test_what_is_wrong_by_itself(cli: Cli, tools: Path, words: str, check: str) -> None:
    done = cli(*ATC, "--", *words.split())
    assert done.code == 2
    assert done.err.startswith(f"error: {check}: ")
    assert not calls(tools)


def test_they_go_on_as_they_stand_there(cli: Cli, tools: Path) -> None:
    cli(*ATC, "--", "-log", "debug", "--out-nodes=last:0", "--brand_new", "a;b")
    (call,) = calls(tools)
    assert call["argv"][-5:] == ["-log", "debug", "--out-nodes=last:0", "--brand_new", "a;b"]


class Anything(Container[str]):
    """All names there may be."""

    def __contains__(self, name: object) -> bool:
        return True


MADE: Final = AtcOptions(model="m.onnx", framework=5, output="m", soc_version="Ascend310", input_shape="x:1")
HEADS: Final = st.builds(
    "{}{}{}".format,
    st.sampled_from(["-", "--", "---", ""]),
    st.sampled_from([*(name[:end] for name in MADE.given() for end in (1, 3, 99)), "log", "new", ""]),
    st.sampled_from(["", "=", "=x"]),
)


@EXAMPLES
@given(st.lists(HEADS, max_size=5))
def test_nothing_of_what_was_checked_is_overridden(words: list[str]) -> None:
    """However the program takes words apart: a value of its own may begin with a dash."""
    try:
        argv = compiling._with_more(MADE, words).argv()
        flags = read_flags(argv[1:], Anything())  # type: ignore[arg-type]
    except (UsageError, FlagError):
        return
    given = MADE.given()
    assert {name: flags[name] for name in given} == {name: str(value) for name, value in given.items()}
    assert not [name for name in set(flags) - {*given, ""} for own in given if own.startswith(name)]

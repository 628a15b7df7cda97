"""Commands as text: what a shell reads back."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.report.text import command_text
from tests.profile import EXAMPLES

# No NUL, which no argument has, and half a pair only where it stands for a byte that is no UTF-8.
SIGNS = st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(
    [*"\n\r\t\x1b\x7f\x85\u2028\u202e'\"\\$`!*~;&|()<>{}[]#?- 7", "\udc80", "\udcff"]
)


@EXAMPLES
@given(st.lists(st.text(SIGNS, max_size=12), min_size=1, max_size=5))
def test_a_shell_reads_the_same_words(words: list[str]) -> None:
    text = command_text(words)
    assert text.isprintable()
    script = b"printf '%s\\0' " + text.encode()
    read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert read.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["atc", "--model=m.onnx"], "atc --model=m.onnx"),
        (["a b", ""], "'a b' ''"),
        (["it's"], "'it'\"'\"'s'"),
        (["it's\n1"], "$'it\\'s\\0121'"),
    ],
)
def test_words(words: list[str], text: str) -> None:
    assert command_text(words) == text

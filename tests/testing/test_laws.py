"""The laws: a right pass keeps them, and each is broken by a wrong one, with a sentence of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import onnxfuse
from onnxfuse import Numerics, RewritePass, UsageError
from onnxfuse.testing import Law, assert_pass_laws, law_results, laws, pass_laws
from tests.testing import broken
from tests.testing.broken import AFTER, BEFORE, MergeRelus

BROKEN = [
    ("Wrong", "example", "verification rejected the rewrite at b: the replacement differs at s"),
    ("Sloppy", "example", "-   y = Add (r, w)\n+   b = Identity (r)\n+   y = Add (b, w)"),
    ("Corrupting", "example", "PassError: merge-relus failed at b: the new Relu is invalid"),
    ("MutatingInterface", "whole-model", "interface: input x is gone"),
    ("MutatingInterface", "example", "the interface is not as it was"),
    ("NeverDone", "finished", "it rewrote r"),
    ("NeverDone", "second-run", "as it is, the second run rewrote"),
    ("Counting", "same-bytes", "as it is, two runs give other bytes"),
    ("Seeded", "hash-seed", "other bytes come out"),
    ("Counting", "input-kept", "an onnx_ir.Model gives another result"),
    ("Forgetful", "state", "it was {'found': ["),
    ("Unmarked", "marks", "the new node b_Relu has the mark 'someone-else'"),
    ("OldFashioned", "old-model", "nothing was rewritten (no candidate matched)"),
    ("Deaf", "other-output", "rewrite returned 1 values for 2 outputs of the region"),
    ("Deaf", "other-reader", "rewrite returned 1 values for 2 outputs of the region"),
    ("Deaf", "captured", "rewrite returned 1 values for 2 outputs of the region"),
    ("Timid", "unused", "nothing was rewritten (no candidate matched)"),
    ("OnlyOutside", "branches", "nothing was rewritten (no candidate matched)"),
    ("OnlyOutside", "loop", "nothing was rewritten (no candidate matched)"),
    ("OnlyOutside", "function", "it neither fires nor says why not"),
    ("Tampering", "neighbours", "a custom node, or the Identity behind one, is not as it was"),
    ("Tampering", "untouched", "the node node0 (Mul) is not as it was"),
    ("Sloppy", "onnx-ir", "another result comes out there"),
]


def law_of(kind: type[RewritePass], name: str) -> Law:
    (law,) = [law for law in pass_laws(kind, examples=[(BEFORE, AFTER)]) if law.name == name]
    return law


def test_a_right_pass_keeps_every_law() -> None:
    assert_pass_laws(MergeRelus(), examples=[(BEFORE, AFTER)])


@pytest.mark.parametrize(("kind", "name", "sentence"), BROKEN)
def test_each_law_is_broken_by_a_wrong_pass(kind: str, name: str, sentence: str) -> None:
    law = law_of(getattr(broken, kind), name)

    with pytest.raises(AssertionError) as failure:
        law()

    head, said = str(failure.value).split("\n", 1)
    assert head == f"merge-relus breaks the law {name!r}: {law.promise}"
    assert sentence in said


def test_every_law_is_tested_here() -> None:
    names = {law.name for law in pass_laws("remove-pad")}
    assert names - {name for _, name, _ in BROKEN} == {"no-match"}  # the next test


def test_a_model_without_a_match_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def adding_a_byte(model: Any, *arguments: Any, **options: Any) -> Any:
        result = onnxfuse.apply(model, *arguments, **options)
        return onnxfuse.Result(result.model + b"\x00", result.report)

    monkeypatch.setattr(law_results, "apply", adding_a_byte)
    with pytest.raises(AssertionError, match="breaks the law 'no-match'.*\nthe bytes are not the same"):
        law_of(MergeRelus, "no-match")()


def test_all_broken_laws_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: laws.LAWS[name] for name in ("neighbours", "marks", "untouched")}
    monkeypatch.setattr(laws, "LAWS", some)
    with pytest.raises(AssertionError) as failure:
        assert_pass_laws(broken.Tampering(), examples=[(BEFORE, AFTER)])

    assert str(failure.value).count("breaks the law") == 2


def test_several_examples_are_told_apart() -> None:
    found = pass_laws(MergeRelus, examples=[(BEFORE, AFTER), (BEFORE, BEFORE)])
    with pytest.raises(AssertionError, match="breaks the law 'example'.*\nexample 2: the result is not what"):
        found[0]()


def test_examples_of_the_docstring_with_options_of_their_own() -> None:
    by_class = pass_laws(onnxfuse.passes.MergeSliced)
    by_name = pass_laws("merge-sliced")
    assert [law.name for law in by_class] == [law.name for law in by_name]
    assert by_class[0].examples == by_name[0].examples
    assert by_class[0].examples[0].pass_ == onnxfuse.passes.MergeSliced()


@dataclass(frozen=True)
class NeedsOptions(MergeRelus):
    """Has no example.

    Example:
        See elsewhere.
    """

    size: int
    name: ClassVar[str] = "needs-options"
    numerics: ClassVar[Numerics] = Numerics.EXACT


class Unpaired(MergeRelus):
    """Has half an example.

    Example:
        Before:
            <ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }
    """


class ForAnother(MergeRelus):
    """Has an example of another pass.

    Example:
        remove-pad

        Before:
            <ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }
        After:
            <ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }
    """


@pytest.mark.parametrize(
    ("pass_", "examples", "message"),
    [
        (MergeRelus(), None, r"the docstring of MergeRelus has no Example .* examples=\[\(before, after\)\]"),
        (MergeRelus(), [], "merge-relus: examples is empty"),
        (NeedsOptions(1), None, "the docstring of NeedsOptions has no Example"),
        (NeedsOptions, [(BEFORE, AFTER)], "needs-options needs size: give an instance"),
        (Unpaired(), None, "the Example of Unpaired: Before and After come in pairs"),
        (ForAnother(), None, "the Example of ForAnother is for remove-pad, which is another pass"),
        ("remove-pat", None, "there is no pass 'remove-pat': did you mean remove-pad?"),
        (MergeRelus(), [("nonsense", AFTER)], "the text is no ONNX model: "),
    ],
)
def test_what_the_laws_cannot_start_from(pass_: Any, examples: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pass_laws(pass_, examples=examples)


def test_a_pass_that_no_other_process_can_import_is_not_passed() -> None:
    class Local(MergeRelus):
        """Is defined where no one finds it."""

    with pytest.raises(AssertionError, match="not checked, since another process cannot import the pass"):
        law_of(Local, "hash-seed")()


def test_a_script_of_ones_own(tmp_path: Path) -> None:
    """What a third party's test does: a pass of a module of theirs."""
    module = tmp_path / "mine.py"
    module.write_text(
        f"from tests.testing.broken import MergeRelus as Base\nclass Mine(Base):\n    name = 'mine'\n"
        f"BEFORE = '''{BEFORE}'''\nAFTER = '''{AFTER}'''\n"
    )
    code = (
        "import mine; from onnxfuse.testing import assert_pass_laws; "
        "assert_pass_laws(mine.Mine(), examples=[(mine.BEFORE, mine.AFTER)]); print('kept')"
    )
    path = f"{tmp_path}:{Path(onnxfuse.__file__).parent.parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")

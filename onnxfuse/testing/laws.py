"""The laws: what every pass owes to every model.

They start from examples, put them into other surroundings, and look at what the pass makes of them. Each law fails with
a sentence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfuse.errors import OnnxfuseError
from onnxfuse.testing import law_results, law_surroundings
from onnxfuse.testing.examples import Example, ModelText, PassLike, examples_of

__all__ = ["Law", "assert_pass_laws", "pass_laws"]


@dataclass(frozen=True)
class Law:
    """One law, for one pass; calling it checks it.

    Attributes:
        name: A few words with dashes, for the id of a test.
        promise: What must hold, as a sentence.
        examples: What it is checked on.
        check: Raises `AssertionError` where an example breaks the law.
    """

    name: str
    promise: str
    examples: Sequence[Example] = field(repr=False)
    check: Callable[[Example], None] = field(repr=False)

    def __call__(self) -> None:
        """Checks the law.

        Raises:
            AssertionError: It is broken; the message says by what.
        """
        __tracebackhide__ = True
        for number, example in enumerate(self.examples, start=1):
            which = f"example {number}: " if len(self.examples) > 1 else ""
            try:
                self.check(example)
            except (AssertionError, OnnxfuseError, ir.passes.PassError) as error:
                said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                broken = f"{example.pass_} breaks the law {self.name!r}: {self.promise}"
                raise AssertionError(f"{broken}\n{which}{said}") from error


LAWS: dict[str, tuple[str, Callable[[Example], None]]] = {
    "example": ("the example comes out as written, and gives the same results", law_results.example),
    "whole-model": ("the whole-model check finds the example equivalent", law_results.whole_model),
    "no-match": ("a model without a match comes back byte for byte, and not as modified", law_results.no_match),
    "finished": ("what comes out does not match again", law_results.finished),
    "second-run": ("a second run changes nothing", law_surroundings.second_run),
    "same-bytes": ("two runs give the same bytes", law_surroundings.same_bytes),
    "hash-seed": ("the bytes do not depend on Python's hash seed", law_results.hash_seed),
    "input-kept": ("the model that was given is not changed, whatever its kind", law_results.input_kept),
    "state": ("nothing is kept on the pass", law_results.state),
    "marks": ("new nodes carry the mark of the pass", law_results.marks),
    "old-model": ("it fires in a model that lists its initializers as inputs", law_surroundings.old_model),
    "other-output": ("a value that is a graph output is respected", law_surroundings.other_output),
    "other-reader": ("a value with another use is respected", law_surroundings.other_reader),
    "captured": ("a value that a subgraph reads is respected", law_surroundings.captured),
    "unused": ("what no one reads is in no one's way", law_surroundings.unused),
    "branches": ("it fires in the branches of an If as it does outside", law_surroundings.branches),
    "loop": ("it fires in the body of a Loop as it does outside", law_surroundings.loop),
    "function": ("it fires in a local function, or says why not", law_surroundings.function),
    "neighbours": ("custom neighbours and all metadata survive", law_surroundings.neighbours),
    "untouched": ("nodes that it does not touch survive byte for byte", law_surroundings.untouched),
    "onnx-ir": ("it is a pass of onnx_ir, and does the same among its passes", law_results.onnx_ir),
}
"""By name: what is promised, and what checks it. Every result of a run is also checked for what holds of all: nothing
rejected or failed, the interface and the given model kept, `modified` true, and the ONNX checker clean."""


def pass_laws(pass_: PassLike, *, examples: Sequence[tuple[ModelText, ModelText]] | None = None) -> list[Law]:
    """Returns the laws for a pass, to be called one by one.

        @pytest.mark.parametrize("law", pass_laws(FoldMyOp()), ids=lambda law: law.name)
        def test_law(law):
            law()

    Args:
        pass_: The pass, its class, or the name of a registered one.
        examples: Pairs of models, before and after, as ONNX text or `ModelProto`; those of the docstring by default.
            A model states an opset and an IR version that the installed onnxruntime loads.

    Raises:
        UsageError: There is no such pass, or no example.
    """
    found = examples_of(pass_, examples)
    return [Law(name, promise, found, check) for name, (promise, check) in LAWS.items()]


def assert_pass_laws(pass_: PassLike, *, examples: Sequence[tuple[ModelText, ModelText]] | None = None) -> None:
    """Asserts that a pass keeps every law.

    Args:
        pass_: As for `pass_laws`.
        examples: As for `pass_laws`.

    Raises:
        AssertionError: It does not; the message lists every law that it breaks.
        UsageError: There is no such pass, or no example.
    """
    __tracebackhide__ = True
    broken = []
    for law in pass_laws(pass_, examples=examples):
        try:
            law()
        except AssertionError as error:
            broken.append(str(error))
    if broken:
        raise AssertionError("\n\n".join(broken))

"""Comparing two whole models: what they accept, what they compute identically, then their results on the same inputs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from onnxfuse.errors import UsageError
from onnxfuse.verification.custom_ops import cut
from onnxfuse.verification.eval_model import EvalModel, identical, invalid, without_data
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.input_data import InputData
from onnxfuse.verification.input_sets import Progress, StopError, sets_of
from onnxfuse.verification.interface import compare_interface
from onnxfuse.verification.judgement import Tolerance
from onnxfuse.verification.model_check import ModelCheck
from onnxfuse.verification.pair import Pair
from onnxfuse.verification.verdict import OutputVerdict, Status, Verdict

__all__ = ["EvalModel", "Tolerance", "check_models"]


def check_models(
    a: EvalModel,
    b: EvalModel,
    *,
    families: Literal["quick", "full"],
    dims: Mapping[str, int] | None = None,
    data: Sequence[InputData] | None = None,
    seed: int = 0,
    selected: Iterable[str] | None = None,
    tolerances: Mapping[str | None, Tolerance] | None = None,
    budget_s: float | None = None,
    progress: Progress | None = None,
    memory_limit: int = 1 << 30,
    custom_op_library: str | None = None,
) -> Verdict:
    """Says whether two models are equivalent.

    Args:
        a: The original.
        b: The model that should do the same.
        families: `quick`: one normal input. `full`: every family of values, a few of them at other bindings of the
            symbolic dims, and some again with the defaults of overridable inputs replaced.
        dims: The user's sizes of symbolic dims, by name or `INPUT.AXIS`; for testing only.
        data: The user's own input sets, used instead of drawing.
        seed: Of the drawn inputs.
        selected: The families that `full` draws; None for all.
        tolerances: The user's own, by the name of an output; None for all other outputs.
        budget_s: Seconds after which what is left is listed as not run.
        progress: Told of every input set: its name, the number done, and the number in all.
        memory_limit: Bytes that the intermediates of one model may take; above that they are not exposed.
        custom_op_library: The path of a shared library that registers custom operators with onnxruntime. Without it
            they are left out: what they read is compared, and what they give is drawn.

    Returns:
        The verdict. That a model cannot be run is in it, never an exception.

    Raises:
        UsageError: If `dims`, `data` or `tolerances` speak of what the first model does not have, or `selected` of no
            family.
    """
    started = time.monotonic()
    names = [value.name for value in a.proto.graph.output]
    _check_tolerances(tolerances or {}, names)
    notes: list[str] = []
    known = _without_a_run(a, b, names, notes, full=families == "full")
    if known is not None:
        return replace(known, seconds=time.monotonic() - started)
    given = a.proto
    drawn: frozenset[str] = frozenset()
    if custom_op_library is None and data is None:
        a, b = _without_custom_ops(a, b, notes)
        a, b, drawn = _without_random_ops(a, b, notes)
    pair = Pair(a, b, memory_limit, budget_s, notes, started, custom_op_library)
    check = ModelCheck(pair, families == "full", tolerances or {}, seed, progress)
    try:
        if check.open:
            check.run(sets_of(check, data, dims, seed, selected))
    except StopError as stop:
        check.stopped = str(stop)
    verdict = check.verdict()
    # Inputs that stand for what custom operators give are none that anyone could feed.
    if pair.a.proto is given:
        return verdict
    outputs = tuple(
        replace(output, basis="random") if output.name in drawn and output.basis else output
        for output in verdict.outputs
        # What a left-out operator reads is worth a line where it differs.
        if output.name in names or output.status is not Status.EQUIVALENT
    )
    return replace(verdict, inputs=None, outputs=outputs)


def _without_a_run(a: EvalModel, b: EvalModel, names: Sequence[str], notes: list[str], *, full: bool) -> Verdict | None:
    """The answer, where the files themselves give it; `notes` takes what else is to be said of the interfaces."""
    if identical(a, b):
        same = tuple(OutputVerdict(name, Status.EQUIVALENT, basis="structure") for name in names)
        return Verdict(Status.EQUIVALENT, same, notes=("the files are identical",))
    differences, remarks = compare_interface(a.proto, b.proto)
    notes += remarks
    if differences:
        outputs = tuple(_interface_verdict(name, differences) for name in names)
        return Verdict(Status.DIFFERENT, outputs, tuple(differences), tuple(notes))
    stripped = without_data(a) or without_data(b)
    if stripped:
        why = f"the model carries no weights ({stripped}, for one): onnxfuse fill gives it random ones"
        outputs = tuple(OutputVerdict(name, Status.NOT_RUN, why) for name in names)
        return Verdict(Status.NOT_RUN, outputs, notes=tuple(notes), not_run=(why,))
    broken = invalid(b) if full else None
    if broken and not invalid(a):
        why = f"interface: the second model is no valid ONNX: {broken}"
        outputs = tuple(OutputVerdict(name, Status.DIFFERENT, why) for name in names)
        return Verdict(Status.DIFFERENT, outputs, (why,), tuple(notes))
    return None


def _without_custom_ops(a: EvalModel, b: EvalModel, notes: list[str]) -> tuple[EvalModel, EvalModel]:
    """The models without operators that no runtime knows, or as they are, with the reason among the notes."""
    parts = cut(a, b)
    if isinstance(parts, str) or parts.unpaired:
        cure = "; declare it in value_info, or load the operators with --custom-op-library"
        notes += [parts + cure] if isinstance(parts, str) else parts.notes
        return a, b
    notes += parts.notes
    return parts.a, parts.b


def _without_random_ops(a: EvalModel, b: EvalModel, notes: list[str]) -> tuple[EvalModel, EvalModel, frozenset[str]]:
    """The models with the same numbers fed in place of random operators, and the outputs that depend on these.

    As they are, where there are none, where they are not the same in both, or where that cannot be done.
    """
    names = [value.name for value in a.proto.graph.output]
    random = frozenset(GraphFacts(a.proto).random | GraphFacts(b.proto).random).intersection(names)
    if not random:
        return a, b, frozenset()
    parts = cut(a, b, random=True)
    if isinstance(parts, str) or parts.unpaired:
        notes.append("random operators are compared by what they are, and not by what is made of their numbers")
        return a, b, frozenset()
    notes += parts.notes
    return parts.a, parts.b, random


def _check_tolerances(tolerances: Mapping[str | None, Tolerance], names: Sequence[str]) -> None:
    for name in tolerances:
        if name is not None and name not in names:
            raise UsageError(f"a tolerance is given for {name!r}, which is no output; there are {', '.join(names)}")


def _interface_verdict(name: str, differences: Sequence[str]) -> OutputVerdict:
    """What the interfaces say of one output: the rest of it was not compared."""
    for sentence in differences:
        if sentence.startswith(f"output {name} "):
            return OutputVerdict(name, Status.DIFFERENT, f"interface: {sentence}")
    return OutputVerdict(name, Status.NOT_RUN, "not compared, since the interfaces differ")

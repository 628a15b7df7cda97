"""The verdict on a rewritten model: is it valid, has it the original's interface, and does it compute the same?"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from tests.gauntlet.feeds import Feed
from tests.gauntlet.oracle import Oracle, Outputs, Tolerance, difference, open_model, run

__all__ = [
    "Outcome",
    "Property",
    "Verdict",
    "interface_difference",
    "judge_random",
    "judge_structure",
    "judge_values",
    "op_counts",
]

Property = Callable[[Sequence[Outputs], Sequence[Outputs]], bool]
"""What must hold for a model that is random by itself, where outputs cannot be compared one by one.

It gets two runs of one session on the first input set, and one run on every input set.
"""


class Outcome(enum.StrEnum):
    """How a rewrite of one model ended; `NOT_RUN`: its structure is right, but nothing can run the original."""

    EQUIVALENT = "equivalent"
    MISCOMPILED = "miscompiled"
    INVALID = "invalid"
    CRASH = "crash"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Verdict:
    """An outcome with its grounds.

    Attributes:
        outcome: How it ended.
        kind: What was wrong (value, shape, dtype, io, random, fails-on-some-inputs; checker, inference, unloadable,
            unrunnable, runtime-died; exception). For an equivalent model: identical (not run: its bytes are the
            original's), rounding, or empty.
        reason: Where and how, for people.
    """

    outcome: Outcome
    kind: str = ""
    reason: str = ""

    def __str__(self) -> str:
        """Prints as `miscompiled (value): set 0 output 'y': ...`."""
        return self.outcome + (f" ({self.kind})" if self.kind else "") + (f": {self.reason}" if self.reason else "")


def judge_structure(
    original: onnx.ModelProto, result: onnx.ModelProto, *, declared_shapes: bool = True
) -> Verdict | None:
    """Checks all that can be told without running.

    Args:
        original: The model before.
        result: The model after.
        declared_shapes: Whether the declared shapes of inputs and outputs belong to the interface.

    Returns:
        The verdict where something is wrong, else None.
    """
    if reason := _check(result):
        return Verdict(Outcome.INVALID, "checker", reason)
    # A few originals declare what inference contradicts; only what a rewrite broke counts.
    if (reason := _check(result, full=True)) and not _check(original, full=True):
        return Verdict(Outcome.INVALID, "inference", reason)
    if changed := interface_difference(original, result, declared_shapes=declared_shapes):
        return Verdict(Outcome.MISCOMPILED, "io", changed)
    return None


def judge_values(
    result: onnx.ModelProto,
    expected: Sequence[Outputs],
    feeds: Sequence[Feed],
    *,
    oracle: Oracle,
    tolerance: Tolerance,
) -> Verdict:
    """Runs a rewritten model and compares it with what the original gave on the same oracle."""
    got: list[Outputs] = []
    try:
        call = open_model(result, oracle)
        for feed in feeds:
            got.append(call(feed))
    except Exception as error:
        reason = _one_line(error)
        if got:  # the model runs, but refuses inputs that the original takes
            return Verdict(Outcome.MISCOMPILED, "fails-on-some-inputs", f"set {len(got)}: {reason}")
        return Verdict(Outcome.INVALID, "unrunnable", reason)
    found = difference(expected, got, tolerance)
    if found is None:
        return Verdict(Outcome.EQUIVALENT)
    if tolerance == "exact" and difference(expected, got, "rounding") is None:
        return Verdict(Outcome.EQUIVALENT, "rounding", found.text)
    return Verdict(Outcome.MISCOMPILED, found.kind, found.text)


def judge_random(result: onnx.ModelProto, feeds: Sequence[Feed], holds: Property, *, oracle: Oracle) -> Verdict:
    """Runs a rewritten model that is random by itself, and checks the property that its original has."""
    try:
        first, *rest = run(result, [feeds[0], *feeds], oracle)
    except Exception as error:
        return Verdict(Outcome.INVALID, "unrunnable", _one_line(error))
    if holds([first, rest[0]], [first, *rest[1:]]):
        return Verdict(Outcome.EQUIVALENT)
    return Verdict(Outcome.MISCOMPILED, "random", "the property of the original's random outputs does not hold")


def interface_difference(
    original: onnx.ModelProto, result: onnx.ModelProto, *, declared_shapes: bool = True
) -> str | None:
    """Says how the interface of two models differs: names, order and types of inputs and outputs.

    Initializers that are listed as inputs are defaults that a caller may override: from IR 4 on they must stay inputs
    (in any order). Below IR 4 every initializer is listed, and those entries follow the initializers.

    Returns:
        The first difference as a sentence, or None.
    """

    def inputs(model: onnx.ModelProto) -> tuple[list[onnx.ValueInfoProto], dict[str, onnx.ValueInfoProto]]:
        defaults = {tensor.name for tensor in model.graph.initializer}
        defaults |= {tensor.values.name for tensor in model.graph.sparse_initializer}
        required = [value for value in model.graph.input if value.name not in defaults]
        return required, {value.name: value for value in model.graph.input if value.name in defaults}

    required, defaults = inputs(original)
    new_required, new_defaults = inputs(result)
    groups = [
        ("input", required, new_required),
        ("output", list(original.graph.output), list(result.graph.output)),
    ]
    if original.ir_version >= 4:
        if gone := defaults.keys() - new_defaults.keys():
            return f"overridable inputs removed: {sorted(gone)}"
        groups.append(("overridable input", list(defaults.values()), [new_defaults[name] for name in defaults]))
    for what, before, after in groups:
        names, new_names = [value.name for value in before], [value.name for value in after]
        if names != new_names:
            return f"{what} names {names} became {new_names}"
        for one, other in zip(before, after, strict=True):
            if _declared(one, declared_shapes) != _declared(other, declared_shapes):
                return f"type of {what} {one.name!r} changed"
    return None


def op_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Counts the nodes of each op type, subgraphs included; a custom op counts as `domain::Op`."""
    counts: dict[str, int] = {}
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
            counts[name] = counts.get(name, 0) + 1
            for attribute in node.attribute:
                graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
    return counts


def _declared(value: onnx.ValueInfoProto, declared_shapes: bool) -> bytes:
    kept = onnx.TypeProto()
    kept.CopyFrom(value.type)
    if not declared_shapes and kept.HasField("tensor_type"):
        kept.tensor_type.ClearField("shape")
    serialized: bytes = kept.SerializeToString(deterministic=True)
    return serialized


def _check(model: onnx.ModelProto, *, full: bool = False) -> str:
    """Returns the checker's complaint, or an empty string."""
    try:
        onnx.checker.check_model(model, full_check=full)
    except Exception as error:
        return _one_line(error)
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

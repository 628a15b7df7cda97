"""A limit on the number of rewrites: the first N are the first N of every larger limit."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxfuse
from onnxfuse import Repeat, UsageError
from tests.rewriting.rules import MergeNegs, Replace, as_product, read

CHAIN = 9


def chain(count: int) -> onnx.ModelProto:
    """Neg and Relu in turn."""
    ops = ["Neg", "Relu"] * count
    lines = [f"[n{i}] v{i + 1} = {op}(v{i})" for i, op in enumerate(ops)]
    return read(f"g (float[N] v0) => (float[N] v{len(ops)}) {{ {' '.join(lines)} }}")


NEGS = Replace("Neg", as_product)
RELUS = Replace("Relu", lambda match, build: [build.op("Max", match.inputs[0], build.op("Sub", *match.inputs * 2))])


def places(report: onnxfuse.Report) -> list[tuple[int, str, tuple[tuple[str, str], ...]]]:
    return [(one.index, str(one.at), one.added) for one in report.applied]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2 * CHAIN + 2), st.booleans())
def test_the_first_are_the_same_whatever_the_limit(limit: int, repeated: bool) -> None:
    passes = [Repeat((NEGS, RELUS))] if repeated else [NEGS, RELUS]
    model = chain(CHAIN)
    everything = onnxfuse.apply(model, passes, verify="off").report
    assert len(everything.applied) == 2 * CHAIN
    result = onnxfuse.apply(model, passes, verify="off", limit=limit)
    assert places(result.report) == places(everything)[:limit]
    reached = limit <= 2 * CHAIN
    assert bool(result.report.notes) is reached
    if reached:
        (note,) = result.report.notes
        assert note.startswith(f"the limit of {limit} rewrite")
    again = onnxfuse.apply(model, passes, verify="off", limit=limit)
    assert again.model.SerializeToString() == result.model.SerializeToString()
    count = sum(node.op_type in ("Neg", "Relu") for node in result.model.graph.node)
    assert count == max(0, 2 * CHAIN - limit)


def test_what_comes_after_the_limit_is_not_asked() -> None:
    asked: list[str] = []

    def find(node: object, facts: onnxfuse.Facts) -> onnxfuse.Match | None:
        asked.append(str(node.name))  # type: ignore[attr-defined]
        return facts.region(node)  # type: ignore[arg-type]

    passes = [Replace("Neg", NEGS.build, find), RELUS]
    report = onnxfuse.apply(chain(CHAIN), passes, verify="off", limit=2).report
    assert asked == [f"n{2 * CHAIN - 2}", f"n{2 * CHAIN - 4}"]
    assert [each.skipped for each in report.passes] == [None, "the limit of 2 rewrites was reached"]
    assert "note: the limit of 2 rewrites was reached: no candidate after that was asked" in str(report)


def test_a_limit_of_none_at_all_changes_nothing() -> None:
    model = chain(2)
    result = onnxfuse.apply(model, [NEGS], limit=0)
    assert result.model.SerializeToString() == model.SerializeToString()
    assert not result.report.modified
    assert result.report.notes == ("the limit of 0 rewrites was reached: no candidate after that was asked",)


def test_rejected_rewrites_do_not_count() -> None:
    wrong = Replace("Relu", lambda match, build: [match.inputs[0]])
    report = onnxfuse.apply(chain(3), [wrong, NEGS], limit=2, verify="region").report
    assert len(report.rejected) == 3
    assert [one.index for one in report.applied] == [1, 2]


def test_a_limit_below_0_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="limit=-1: a number of rewrites from 0 on is expected"):
        onnxfuse.apply(chain(1), [MergeNegs()], limit=-1)

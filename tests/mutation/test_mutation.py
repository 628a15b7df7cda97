"""Faulty passes do not get a wrong model past verification: a seeded draw of the full test, `python -m tests.mutation`."""

from __future__ import annotations

import ast
import importlib

import numpy as np
import onnx
import pytest

import onnxfuse
from tests.mutation.campaign import campaign, draw, score
from tests.mutation.corpus import corpus_of
from tests.mutation.faults import faults_in
from tests.mutation.oracle import expected_of
from tests.mutation.trial import TARGETS, Target, pass_of, trial

COUNT = 40


def named(targets: tuple[Target, ...]) -> list[object]:
    return [pytest.param(target, id=target.module.rpartition(".")[2]) for target in targets]


def test_no_fault_gets_through() -> None:
    tried = campaign(draw(COUNT))

    assert [f"{one.drawn}: {one.verdict}" for one in tried if one.verdict.outcome == "survived"] == []
    assert score(tried) == 1.0
    assert sum(one.verdict.outcome == "caught" for one in tried) >= COUNT // 2


@pytest.mark.parametrize("target", named(TARGETS[2:]))
def test_the_passes_themselves_are_right(target: Target) -> None:
    pass_ = pass_of(importlib.import_module(target.runs))
    fired = 0
    for model in corpus_of(pass_.name, pass_.ops):
        report = onnxfuse.apply(model.data, pass_, verify="model").report
        fired += bool(report.applied)
        # A function's values have no known ranks: a Reshape to a fixed size runs at none of those that are tried.
        assert not report.rejected or model.name == "within_function"
    assert fired >= 5


# ---- the means


def test_a_fault_is_one_change_of_valid_source() -> None:
    source = "def f(a, b):\n    if a < 3:\n        return min(a, b)\n    return [a, not b][-1]\n"
    faults = faults_in(source)

    assert {fault.kind for fault in faults} == {
        *("comparison", "off by one", "dropped condition", "negated condition", "other function", "swapped operands"),
        *("dropped item", "dropped sign"),
    }
    sources = [fault.source for fault in faults]
    assert len(set(sources)) > len(sources) * 0.9
    assert ast.unparse(ast.parse(source)) not in sources
    assert "def f(a, b):\n    if a <= 3:\n        return min(a, b)\n    return [a, not b][-1]" in sources
    assert "def f(a, b):\n    pass\n    return [a, not b][-1]" in sources


def test_messages_docstrings_and_types_are_not_faulted() -> None:
    source = (
        '"""A 1."""\nif TYPE_CHECKING:\n    import b\nclass A:\n    name: str = "a"\n'
        '    def f(self, a: list[1]) -> int:\n        """Or 2."""\n        facts.decline(f"{a + 1} of 3")\n'
    )

    assert faults_in(source) == []


def test_draws_are_seeded_and_half_of_the_catalogue() -> None:
    first, second = draw(60), draw(60)

    assert [str(item) for item in first] == [str(item) for item in second]
    assert [str(item) for item in first] != [str(item) for item in draw(60, seed=1)]
    assert sum(item.target.module.startswith("onnxfuse.passes.") for item in first) == 30


def test_the_right_source_has_no_effect() -> None:
    target = TARGETS[2]

    assert trial(target.module, target.runs, target.path.read_text("utf-8")).outcome == "no effect"


def test_what_lies_is_caught() -> None:
    target = TARGETS[2]
    source = target.path.read_text("utf-8").replace("if np.any(pads):", "if np.any(pads) and False:")
    verdict = trial(target.module, target.runs, source)

    assert verdict.outcome == "caught"
    assert "rejected" in verdict.how


def test_what_gets_past_verification_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = onnxfuse.apply
    monkeypatch.setattr(onnxfuse, "apply", lambda model, pass_, verify: real(model, pass_, verify="off"))
    target = TARGETS[2]
    source = target.path.read_text("utf-8").replace("if np.any(pads):", "if np.any(pads) and False:")

    assert trial(target.module, target.runs, source).outcome == "survived"


@pytest.mark.parametrize(
    ("other", "exact", "told"),
    [
        ("y = Add(x, one)", True, False),
        ("t = Sub(x, one) u = Add(t, one) y = Add(u, one)", True, True),
        ("t = Sub(x, one) u = Add(t, one) y = Add(u, one)", False, False),
        ("y = Add(x, more)", False, True),
        ("t = Abs(x) y = Add(t, one)", False, True),
        ("t = Add(x, one) y = Concat<axis = 0>(t, t)", False, True),
    ],
)
def test_the_oracle(other: str, exact: bool, told: bool) -> None:
    def model(body: str) -> onnx.ModelProto:
        constants = f"<float one = {{1}}, float more = {{{np.float32(1.0001)}}}>"
        return onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["": 17]> g (float[N] x) => (float[M] y) {constants} {{ {body} }}'
        )

    difference = expected_of(model("y = Add(x, one)"), exact=exact).difference(model(other).SerializeToString())

    assert (difference is not None) is told

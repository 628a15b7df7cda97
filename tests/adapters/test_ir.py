"""Passes of onnx_ir, rules of onnxscript, and functions over an onnx_ir.Model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

import onnxfuse
from onnxfuse import Pipeline, UsageError
from onnxfuse.adapters import IrPass
from tests.adapters.models import model, ops

script: Any = pytest.importorskip("onnxscript.rewriter")
pattern: Any = pytest.importorskip("onnxscript.rewriter.pattern")


class AbsForRelu(ir.passes.FunctionalPass):
    """A functional pass: returns another model, with every Relu an Abs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        copy = model.clone()
        for node in copy.graph:
            if node.op_type == "Relu":
                node.op_type = "Abs"
        return ir.passes.PassResult(copy, modified=True)


class Picky(ir.passes.InPlacePass):
    """Needs something that no model here has."""

    def requires(self, model: ir.Model) -> None:
        raise ir.passes.PreconditionError("a model with a Loop is expected")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        raise AssertionError


class Sized(ir.passes.InPlacePass):
    """Takes an argument."""

    def __init__(self, size: int) -> None:
        self.size = size

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, modified=False)


def drop_identities(model: ir.Model) -> None:
    """A function that edits in place."""
    for node in list(model.graph):
        if node.op_type == "Identity" and node.inputs[0] is not None:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)


def double_negation() -> Any:
    return pattern.RewriteRule(lambda op, x: op.Neg(op.Neg(x)), lambda op, x: op.Identity(x), name="two negations")


def wrong_negation() -> Any:
    return pattern.RewriteRule(lambda op, x: op.Neg(op.Neg(x)), lambda op, x: op.Neg(x))


RULE = double_negation()

NEGS = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N] x) => (float[N] y) { [a] h = Neg(x) [b] i = Neg(h) [c] y = Relu(i) }"""


# ---- passes of onnx_ir


def test_a_pass_that_edits_in_place() -> None:
    result = onnxfuse.apply(model(), [common.IdentityEliminationPass(), "merge-sliced"])
    assert ops(result.model) == ["Add", "Slice", "Relu"]
    assert [item.name for item in result.report.passes] == ["ir:<IdentityEliminationPass>", "merge-sliced"]
    assert {node.name: node.doc_string for node in result.model.graph.node}["cut"] == "doc of cut"


def test_one_pass_by_itself() -> None:
    assert "Identity" not in ops(onnxfuse.apply(model(), common.IdentityEliminationPass()).model)
    home = common.IdentityEliminationPass.__module__
    assert str(Pipeline.of(common.IdentityEliminationPass)) == f"ir:{home}.IdentityEliminationPass"


def test_several_of_them_at_once() -> None:
    proto = model()
    chain = ir.passes.Sequential(common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0))
    managed = ir.passes.PassManager([common.IdentityEliminationPass(), common.RemoveUnusedNodesPass()], steps=2)
    result = onnxfuse.apply(proto, [chain, managed])
    assert ops(result.model) == ["Add", "Slice", "Relu"]
    assert "Constant" not in [node.op_type for node in result.model.graph.node]
    assert len(result.report.applied) >= 2
    assert ops(proto) == ops(model())
    onnx.checker.check_model(result.model, full_check=True)


def test_a_functional_pass() -> None:
    functional = ir.passes.functionalize(common.IdentityEliminationPass())
    assert "Identity" not in ops(onnxfuse.apply(model(), functional).model)


def test_a_wrong_pass_is_rejected() -> None:
    data = model().SerializeToString()
    result = onnxfuse.apply(data, [AbsForRelu()])
    assert result.model == data
    (rejected,) = result.report.rejected
    assert "different" in rejected.reason


def test_a_pass_that_only_clears_metadata() -> None:
    result = onnxfuse.apply(model(), common.ClearMetadataAndDocStringPass())
    assert not result.report.rejected
    assert ops(result.model) == ops(model())


def test_a_pass_that_changes_nothing() -> None:
    data = model().SerializeToString()
    assert onnxfuse.apply(data, common.TopologicalSortPass()).model == data


def test_a_pass_that_says_no() -> None:
    (rejected,) = onnxfuse.apply(model(), Picky()).report.rejected
    assert rejected.reason.startswith("PreconditionError: a model with a Loop is expected (")


def test_the_callers_model_is_not_touched(tmp_path: Path) -> None:
    given = onnxfuse.load(model())
    made, _ = onnxfuse.apply(given, [IrPass(drop_identities)])
    assert ops(given) == ops(model())
    assert "Identity" not in ops(made)


# ---- functions


def test_a_function_that_edits() -> None:
    assert "Identity" not in ops(onnxfuse.apply(model(), IrPass(drop_identities)).model)


@pytest.mark.parametrize("wrap", [lambda made: made, lambda made: ir.passes.PassResult(made, modified=True)])
def test_a_function_that_returns(wrap: Any) -> None:
    def made(given: ir.Model) -> Any:
        copy = given.clone()
        drop_identities(copy)
        return wrap(copy)

    assert "Identity" not in ops(onnxfuse.apply(model(), IrPass(made)).model)


def test_a_function_that_returns_something_else() -> None:
    (rejected,) = onnxfuse.apply(model(), IrPass(lambda given: 7)).report.rejected
    assert rejected.reason == "it returned 7: an onnx_ir.Model, a PassResult or None is expected"


def test_a_function_whose_argument_nobody_knows() -> None:
    with pytest.raises(UsageError, match=r"say what it takes, with onnxfuse\.adapters\.GsPass or IrPass"):
        onnxfuse.apply(model(), drop_identities)


# ---- rules of onnxscript


@pytest.mark.parametrize(
    "rules",
    [double_negation(), script.RewriteRuleSet([double_negation()]), IrPass([double_negation(), double_negation()])],
)
def test_rules(rules: Any) -> None:
    result = onnxfuse.apply(onnx.parser.parse_model(NEGS), [rules])
    assert ops(result.model) == ["Identity", "Relu"]
    assert len(result.report.applied) == 1


def test_a_rule_is_called_by_its_name() -> None:
    assert str(Pipeline.of(double_negation())) == 'ir:"<two negations>"'


def test_a_wrong_rule_is_rejected() -> None:
    data = onnx.parser.parse_model(NEGS).SerializeToString()
    result = onnxfuse.apply(data, wrong_negation())
    assert result.model == data
    assert len(result.report.rejected) == 1


def test_a_rule_that_raises() -> None:
    def boom(op: Any, x: Any) -> Any:
        raise KeyError("scale")

    rule = pattern.RewriteRule(lambda op, x: op.Neg(op.Neg(x)), boom)
    (rejected,) = onnxfuse.apply(onnx.parser.parse_model(NEGS), rule).report.rejected
    assert rejected.reason == f"KeyError: 'scale' ({__file__}:{boom.__code__.co_firstlineno + 1})"


def test_where_no_rule_matches_nothing_is_cleaned_up() -> None:
    data = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N] x) => (float[N] y) { dead = Neg(x) y = Relu(x) }'
    ).SerializeToString()
    assert onnxfuse.apply(data, double_negation()).model == data


def test_a_class_of_rules() -> None:
    class TwoNegations(pattern.RewriteRuleClassBase):  # type: ignore[misc]
        def pattern(self, op: Any, x: Any) -> Any:
            return op.Neg(op.Neg(x))

        def rewrite(self, op: Any, x: Any) -> Any:
            return op.Identity(x)

    for rule in (TwoNegations, TwoNegations.rule()):
        assert ops(onnxfuse.apply(onnx.parser.parse_model(NEGS), [rule]).model) == ["Identity", "Relu"]


# ---- as text


@pytest.mark.parametrize(
    "text",
    [
        "ir:onnx_ir.passes.common.IdentityEliminationPass",
        "ir:tests.adapters.test_ir.drop_identities",
        "ir:tests.adapters.test_ir.RULE",
    ],
)
def test_text_is_read_and_written(text: str) -> None:
    pipeline = Pipeline.parse(text)
    assert str(pipeline) == text
    assert Pipeline.parse(str(pipeline)) is not None


def test_text_of_what_is_imported() -> None:
    assert str(IrPass(drop_identities)) == "ir:tests.adapters.test_ir.drop_identities"
    assert ops(onnxfuse.apply(model(), str(IrPass(drop_identities))).model)[-1] == "Relu"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("tests.adapters.test_ir.Sized", "needs arguments (size): name an instance, or a function that makes one"),
        ("tests.adapters.test_ir.NEGS", "is 'str': a pass of onnx_ir, a rule of onnxscript or a function is expected"),
        ("pathlib.Path", "is a class, and no pass of onnx_ir and no rule of onnxscript"),
    ],
)
def test_what_is_no_pass(target: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        Pipeline.parse(f"ir:{target}")
    assert str(raised.value) == f"ir:{target} {says}"

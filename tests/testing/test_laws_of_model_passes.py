"""The laws hold passes that make whole models as they hold those that rewrite regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import pytest

from onnxfuse import Facts, ModelPass, Numerics
from onnxfuse.testing import assert_pass_laws, pass_laws

EXAMPLE = (
    """<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) {
        a = Neg(x) b = Neg(a) y = Relu(b)
    }""",
    """<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }""",
)


@dataclass(frozen=True)
class RemoveDoubleNeg(ModelPass):
    """Removes Neg of Neg wherever only one reads the other."""

    name: ClassVar[str] = "remove-double-neg"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        for node in list(model.graph.all_nodes()):
            first = facts.producer(node.inputs[0], "Neg") if facts.is_op(node, "Neg") else None
            if first is None or facts.only_user(first.outputs[0]) is not node or node.outputs[0].is_graph_output():
                continue
            assert first.inputs[0] is not None
            ir.convenience.replace_all_uses_with(node.outputs[0], first.inputs[0])
            for gone in (node, first):
                assert isinstance(gone.graph, ir.Graph)
                gone.graph.remove(gone, safe=True)
        return model


@dataclass(frozen=True)
class AddIdentity(RemoveDoubleNeg):
    """Does as much, and puts an Identity before every Relu, each time that it runs."""

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        model = super().change(model, facts)
        for relu in [node for node in model.graph if node.op_type == "Relu"]:
            node = ir.node("Identity", relu.inputs[:1])
            model.graph.insert_before(relu, node)
            relu.replace_input_with(0, node.outputs[0])
        return model


@dataclass(frozen=True)
class DropMetadata(RemoveDoubleNeg):
    """Does as much, and forgets what is said of the model."""

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        model = super().change(model, facts)
        model.metadata_props.clear()
        return model


@dataclass(frozen=True)
class NegateAll(RemoveDoubleNeg):
    """Removes one Neg too many."""

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        for node in [node for node in model.graph if node.op_type == "Neg"][:1]:
            assert node.inputs[0] is not None
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)
        return model


def test_a_right_pass_keeps_every_law() -> None:
    assert_pass_laws(RemoveDoubleNeg(), examples=[EXAMPLE])


@pytest.mark.parametrize(
    ("kind", "law"), [(AddIdentity, "finished"), (DropMetadata, "neighbours"), (NegateAll, "example")]
)
def test_a_wrong_pass_breaks_a_law(kind: type[ModelPass], law: str) -> None:
    (check,) = [item for item in pass_laws(kind(), examples=[EXAMPLE]) if item.name == law]
    with pytest.raises(AssertionError, match=f"remove-double-neg breaks the law '{law}'"):
        check()

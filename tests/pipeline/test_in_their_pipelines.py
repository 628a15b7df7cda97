"""Our passes among real ones of onnx_ir, in its own pipelines: in place, verified as they run, and told of in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest

from onnxfuse import Builder, Facts, Match, ModelPass, Numerics, RewritePass, load
from onnxfuse.passes import MergeSliced, RemovePad
from onnxfuse.testing.oracle import run

BOUNDS = """
    k1 = Constant <value_ints: ints = [1]> ()
    k2 = Constant <value_ints: ints = [2]> ()
    k3 = Constant <value_ints: ints = [3]> ()
    end = Constant <value_ints: ints = [9223372036854775807]> ()
"""
MODEL = f"""
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,9,9] x) => (float[N,3,P,Q] y) {{
    {BOUNDS}
    a = Slice (x, k1, end, k2)
    between = Identity (a)
    b = Slice (between, k1, end, k3)
    unused = Neg (b)
    y = Relu (b)
}}
"""


@dataclass(frozen=True)
class DropRelu(RewritePass):
    """Wrong: a Relu is taken for nothing."""

    name: ClassVar[str] = "drop-relu"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Relu"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        return facts.region(node)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [match.inputs[0]]


@dataclass(frozen=True)
class RenameOps(ModelPass):
    """Writes one op_type for another in the whole model: right or wrong, as one likes."""

    name: ClassVar[str] = "rename-ops"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    old: str = "Relu"
    new: str = "Abs"

    def change(self, model: ir.Model, facts: Facts) -> ir.Model:
        found = [node for node in model.graph if node.op_type == self.old]
        if not found:
            facts.decline(f"there is no {self.old}")
        for node in found:
            node.op_type = self.new
        return model


def read(text: str = MODEL) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(text))


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def results(model: ir.Model) -> bytes:
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    ((found),) = run(ir.to_proto(model), [{"x": x}])
    return bytes(found["y"].tobytes())


def around(*passes: Any) -> list[Any]:
    return [
        common.LiftConstantsToInitializersPass(lift_all_constants=True),
        common.IdentityEliminationPass(),
        *passes,
        common.RemoveUnusedNodesPass(),
        common.CheckerPass(full_check=True),
    ]


@pytest.mark.parametrize("make", [lambda: read(), lambda: load(onnx.parser.parse_model(MODEL))], ids=["theirs", "ours"])
@pytest.mark.parametrize(
    "pipeline",
    [
        lambda passes: ir.passes.Sequential(*passes),
        lambda passes: ir.passes.PassManager(passes, steps=3),
        lambda passes: ir.passes.PassManager([ir.passes.Sequential(*passes), common.TopologicalSortPass()]),
    ],
    ids=["Sequential", "PassManager", "nested"],
)
def test_in_place_among_theirs(make: Any, pipeline: Any) -> None:
    model = make()
    before = results(model)

    # The two Slices are neighbours only after one of theirs, and the unused Neg goes only after ours.
    result = pipeline(around(MergeSliced(), RemovePad()))(model)

    assert result.model is model
    assert result.modified
    assert ops(model) == ["Slice", "Relu"]
    assert results(model) == before


def test_without_theirs_there_is_nothing_to_merge() -> None:
    model = read()
    result = ir.passes.Sequential(MergeSliced(), RemovePad())(model)

    assert not result.modified
    assert ops(model) == ops(read())


def test_a_pass_manager_stops_where_ours_no_longer_changes_anything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="onnx_ir")
    ir.passes.PassManager([common.IdentityEliminationPass(), MergeSliced()], steps=5)(read())

    assert "No more graph changes detected after step 1" in caplog.text


def test_their_functionalize_leaves_the_model_as_it_is() -> None:
    model = read()
    common.IdentityEliminationPass()(model)
    before = ir.to_proto(model)

    result = ir.passes.functionalize(MergeSliced())(model)

    assert result.modified
    assert result.model is not model
    assert ops(result.model).count("Slice") == 1
    assert ir.to_proto(model) == before


def test_a_wrong_rewrite_is_not_put_in(caplog: pytest.LogCaptureFixture) -> None:
    model = read()
    before = results(model)

    result = ir.passes.Sequential(*around(DropRelu(), MergeSliced()))(model)

    assert ops(model) == ["Slice", "Relu"]
    assert results(model) == before
    assert result.modified
    (told,) = [record for record in caplog.records if record.name == "onnxfuse"]
    assert told.levelno == logging.WARNING
    assert told.getMessage().startswith("drop-relu: rejected at y: ")
    assert not DropRelu()(model).modified


def test_what_is_applied_and_declined_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="onnxfuse")
    model = read(
        MODEL.replace("Identity (a)", "Identity (a)\n other = Abs (between)").replace("unused = Neg", "z = Neg")
    )
    model.graph.outputs.append(next(node for node in model.graph if node.op_type == "Abs").outputs[0])
    ir.passes.Sequential(common.IdentityEliminationPass(), MergeSliced())(model)
    MergeSliced()(_without_identity(read()))

    said = [record.getMessage() for record in caplog.records if record.name == "onnxfuse"]
    assert [line.partition(" at ")[0] for line in said] == ["merge-sliced: declined", "merge-sliced: applied"]
    assert "exact-for-all-shapes" in said[1]


def _without_identity(model: ir.Model) -> ir.Model:
    common.IdentityEliminationPass()(model)
    return model


@pytest.mark.parametrize("pipeline", [ir.passes.Sequential, lambda *passes: ir.passes.PassManager(passes, steps=2)])
def test_a_pass_over_whole_models_is_functional(pipeline: Any) -> None:
    model = read(MODEL.replace("y = Relu (b)", "positive = Abs (b)\n y = Relu (positive)"))
    lone = RenameOps()
    before, expected = ir.to_proto(model), results(model)

    result = pipeline(lone, RenameOps("Neg", "Neg"), MergeSliced())(model)

    # Relu of what has no sign is Abs of it.
    assert result.model is not model
    assert result.modified
    assert ops(result.model)[-2:] == ["Abs", "Abs"]
    assert results(result.model) == expected
    assert ir.to_proto(model) == before
    assert (lone.in_place, lone.changes_input, lone.destructive) == (False, False, False)
    assert isinstance(lone, ir.passes.PassBase)


def test_a_wrong_pass_over_whole_models_is_rolled_back(caplog: pytest.LogCaptureFixture) -> None:
    model = read()
    common.IdentityEliminationPass()(model)
    expected = results(model)

    result = ir.passes.Sequential(RenameOps("Relu", "Neg"), MergeSliced())(model)

    assert result.modified
    assert ops(result.model)[-3:] == ["Slice", "Neg", "Relu"]
    assert results(result.model) == expected
    (told,) = [record for record in caplog.records if record.name == "onnxfuse"]
    assert told.getMessage().startswith("rename-ops{new=Neg}: rejected at ")

"""Generated models through the presets: what comes out is valid, and gives the same bits.

500 models; ONNXFUSE_EXAMPLES=10000 draws so many.
"""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given, settings

import onnxfuse
from onnxfuse.pipeline import registry
from onnxfuse.testing.strategies import models
from tests.generated.oracle import differences, feeds_of, run
from tests.profile import ASKED, EXAMPLES

# A region cannot be run on its own where a node of it takes an attribute from the call of its function, or where a body
# leads to the constants of it: such rewrites are left out, with these reasons.
NOT_RUN_ALONE = ("comes from the call of the function", "what leads to the constants of the region has a body")


def check(model: onnx.ModelProto, preset: str) -> onnxfuse.Report:
    """Asserts that a preset keeps what a model does."""
    given_bytes = model.SerializeToString()
    after, report = onnxfuse.apply(model, preset)

    assert model.SerializeToString() == given_bytes
    assert [o.reason for o in report.rejected if not any(text in o.reason for text in NOT_RUN_ALONE)] == []
    assert report.modified or after.SerializeToString() == given_bytes
    if report.modified:
        onnx.checker.check_model(after, full_check=True)
        assert border(after) == border(model)
        feeds = list(feeds_of(model))
        for one, other in zip(run(model, feeds), run(after, feeds), strict=True):
            if isinstance(one, str):
                continue  # the original does not run on this
            assert not isinstance(other, str), other
            assert differences(one, other) == []
        assert report.verdict is not None
        assert report.verdict.equivalent, report.verdict.explain()
        assert not onnxfuse.apply(after, preset, verify="region").report.modified
    return report


def border(model: onnx.ModelProto) -> list[bytes]:
    """Returns the inputs and outputs as they are declared; below IR 4 without the initializers among the inputs."""
    constants = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    values = [value for value in model.graph.input if value.name not in constants]
    return [value.SerializeToString() for value in (*values, *model.graph.output)]


@pytest.mark.parametrize("preset", ["default", "ascend"])
def test_generated_models(preset: str) -> None:
    rewritten = 0

    @settings(EXAMPLES, max_examples=ASKED or 500)
    @given(model=models())
    def test(model: onnx.ModelProto) -> None:
        nonlocal rewritten
        rewritten += check(model, preset).modified

    if preset != "default" and registry.presets()[preset] == registry.presets()["default"]:
        pytest.skip(f"{preset} is default so far")
    test()
    assert rewritten > 100 or ASKED is not None

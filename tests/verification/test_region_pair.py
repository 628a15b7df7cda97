"""A region before and after as two models: valid, in the model's own names, equivalent where the rewrite is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse import Builder, Match, Pipeline, UsageError
from onnxfuse.model_io import open_model
from onnxfuse.pipeline.manager import PassManager, VerifyLevel
from onnxfuse.pipeline.pipeline import PipelineLike
from onnxfuse.verification.region_pair import RegionPair, region_pair
from onnxfuse.verification.stand_ins import embedded
from tests.rewriting.rules import Replace, read

GAUNTLET: Final = sorted((Path(__file__).parent.parent / "gauntlet" / "models").glob("*.onnx"))


def pairs(model: onnx.ModelProto | Path, passes: PipelineLike) -> list[RegionPair | str]:
    """Returns the regions of all rewrites of a run; of those that were rejected, with the inputs that show it."""
    found: list[RegionPair | str] = []

    def admit(_index: int, region: Any, evidence: Any) -> bool:
        found.append(region_pair(region, evidence.feeds))
        return True

    PassManager(Pipeline.of(passes), VerifyLevel.REGION, admit=admit).run(open_model(model))
    return found


def one(model: onnx.ModelProto, passes: PipelineLike) -> RegionPair:
    """Returns the only one, checked."""
    (pair,) = pairs(model, passes)
    assert isinstance(pair, RegionPair)
    for side in (pair.before, pair.after):
        onnx.checker.check_model(embedded(side), full_check=True)
    return pair


def test_regions_of_right_rewrites_are_equivalent() -> None:
    seen = 0
    for path in GAUNTLET:
        try:
            found = pairs(path, "ascend")
        except UsageError:
            continue
        for pair in found:
            assert isinstance(pair, RegionPair), path.name
            before, after = embedded(pair.before), embedded(pair.after)
            onnx.checker.check_model(before)
            onnx.checker.check_model(after)
            verdict = onnxfuse.verify(before, after, families=["normal", "unique"])
            assert verdict.equivalent, (path.name, verdict.explain())
            seen += 1
    assert seen >= 10


def test_names_types_and_symbols_are_those_of_the_model() -> None:
    model = read("""g (float[N, 3, K] image, float[N, 3, K] other) => (float[N, 3, K] out) {
        [first] h = Add(image, other) [second] out = Neg(h)
    }""")
    pair = one(model, Replace("Neg", lambda match, build: [build.op("Sub", match.inputs[0], match.inputs[0])]))
    graph = pair.before.proto.graph
    (declared,) = graph.input
    assert (declared.name, declared.type) == ("h", model.graph.input[0].type)
    assert [value.name for value in graph.output] == ["out"]
    assert [(node.name, node.op_type) for node in graph.node] == [("second", "Neg")]
    assert pair.before.proto.graph.input == pair.after.proto.graph.input
    assert pair.before.proto.graph.output == pair.after.proto.graph.output
    # It was rejected: the inputs that show it are in the names of the model.
    assert set(pair.feeds) == {"h"}
    verdict = onnxfuse.verify(pair.before.proto, pair.after.proto, input_data=[pair.feeds])
    assert verdict.status == "different"


def test_an_input_that_only_one_side_reads_is_an_input_of_both() -> None:
    model = read("g (float[N] a, float[N] b) => (float[N] y) { [at] y = Sub(a, b) }")
    pair = one(model, Replace("Sub", lambda match, build: [build.op("Neg", match.inputs[1])]))
    for side in (pair.before, pair.after):
        assert [value.name for value in side.proto.graph.input] == ["a", "b"]


@pytest.mark.parametrize("op", ["Neg", "Abs"])
def test_outputs_that_are_inputs_constants_or_each_other(op: str) -> None:
    model = read(f"""g (float[4] x) => (float[4] p, float[4] q, float[4] r, float[4] s) {{
        w = Concat<axis = 0>(x, x, x, x)
        [at] a, b, c, d = Split<axis = 0>(w)
        p = {op}(a) q = {op}(b) r = {op}(c) s = {op}(d)
    }}""")

    def rewrite(match: Match, build: Builder) -> Sequence[ir.Value]:
        constant = build.constant(np.ones(4, np.float32))
        part = build.op("Slice", match.inputs[0], *(build.constant(np.array([at], np.int64)) for at in (0, 4)))
        return [part, part, constant, build.op("Identity", part)]

    pair = one(model, Replace("Split", rewrite))
    assert [value.name for value in pair.after.proto.graph.output] == ["a", "b", "c", "d"]
    x = np.arange(16, dtype=np.float32)
    verdict = onnxfuse.verify(pair.before.proto, pair.after.proto, input_data=[{"w": x}])
    assert [output.status for output in verdict.outputs] == ["equivalent", "different", "different", "different"]
    same = onnxfuse.verify(pair.before.proto, pair.after.proto, input_data=[{"w": np.ones(16, np.float32)}])
    assert same.equivalent


def test_an_output_that_is_an_input() -> None:
    model = read("g (float[N] x) => (float[N] y) { h = Abs(x) [at] k = Relu(h) y = Neg(k) }")
    pair = one(model, Replace("Relu", lambda match, _: [match.inputs[0]]))
    assert [node.op_type for node in pair.after.proto.graph.node] == ["Identity"]


def test_folded_shapes_run_along() -> None:
    model = read("""g (float[4, 6] x) => (float[A, B] y) <int64[1] more = {-1}, int64[1] zero = {0}> {
        s = Shape(x) n = Gather(s, zero) t = Concat<axis = 0>(n, more)
        [at] y = Reshape(x, t)
    }""")
    pair = one(model, Replace("Reshape", lambda match, build: [build.op("Flatten", match.inputs[0], axis=1)]))
    assert [node.op_type for node in pair.before.proto.graph.node] == ["Shape", "Gather", "Concat", "Reshape"]
    assert [node.op_type for node in pair.after.proto.graph.node] == ["Flatten"]
    assert onnxfuse.verify(pair.before.proto, pair.after.proto).equivalent


def test_in_a_function_where_nothing_is_known_of_the_types() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "f": 1]>
        g (float[N] x) => (float[N] y) { y = f.twice(x) }
        <domain: "f", opset_import: ["": 17]> twice (a) => (b) { h = Neg(a) b = Relu(h) }""")
    found = pairs(model, Replace("Relu", lambda match, build: [build.op("Abs", match.inputs[0])]))
    (pair,) = (pair for pair in found if isinstance(pair, RegionPair))
    onnx.checker.check_model(pair.before.proto)
    assert pair.feeds
    assert onnxfuse.verify(pair.before.proto, pair.after.proto, input_data=[pair.feeds]).status == "different"

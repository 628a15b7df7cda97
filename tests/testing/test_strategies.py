"""The strategies: what they draw is valid, runs, and is various; and it shrinks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample

import onnxfuse
from onnxfuse.testing.oracle import RunError, open_session, outcome
from onnxfuse.testing.strategies import OPSETS, SIZES, feeds_for, models
from onnxfuse.testing.strategies.kernels import types_of

DRAWN = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def drawn() -> list[onnx.ModelProto]:
    """Returns 400 models."""
    found: list[onnx.ModelProto] = []

    @DRAWN
    @given(model=models())
    def draw(model: onnx.ModelProto) -> None:
        found.append(model)

    draw()
    return found


def problem(model: onnx.ModelProto) -> str | None:
    """Says what is wrong with a model, if anything is."""
    try:
        onnx.checker.check_model(model, full_check=True)
        session = open_session(model)
        results = outcome(session, [value.name for value in model.graph.output], feeds_for(model)).values()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RunError) as error:
        return f"{type(error).__name__}: {error}"
    for value, result in zip(model.graph.output, results, strict=True):
        dims = value.type.tensor_type.shape.dim
        sizes = [SIZES[d.dim_param] if d.dim_param else d.dim_value if d.HasField("dim_value") else None for d in dims]
        if len(sizes) != np.ndim(result):
            return f"{value.name} has rank {np.ndim(result)}, and {sizes} is declared"
        for size, got in zip(sizes, np.shape(result), strict=True):
            if size is not None and size != got:
                return f"{value.name} has shape {np.shape(result)}, and {sizes} is declared"
    return None


def test_models_are_valid_run_and_have_the_shapes_that_they_declare(drawn: list[onnx.ModelProto]) -> None:
    assert len(drawn) >= 300
    problems = [found for model in drawn if (found := problem(model)) is not None]
    assert len(problems) < 0.02 * len(drawn), "\n\n".join(problems)


def all_nodes(nodes: Iterator[onnx.NodeProto]) -> Iterator[tuple[onnx.NodeProto, int]]:
    for node in nodes:
        yield node, 0
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from ((inner, depth + 1) for inner, depth in all_nodes(iter(attribute.g.node)))


def test_models_are_various(drawn: list[onnx.ModelProto]) -> None:
    ops: Counter[str] = Counter()
    features: Counter[str] = Counter()
    types = set()
    for model in drawn:
        graph = model.graph
        constants = {tensor.name for tensor in graph.initializer}
        uses = Counter(name for node in graph.node for name in node.input)
        outputs = {value.name for value in graph.output}
        made = [name for node in graph.node for name in node.output if name]
        ops.update(node.op_type for node, _ in all_nodes(iter(graph.node)))
        types |= {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        inside = [name for node, depth in all_nodes(iter(graph.node)) if depth for name in node.input]
        features.update(
            {
                "IR 3": model.ir_version == 3,
                "symbols": any(d.dim_param for v in graph.input for d in v.type.tensor_type.shape.dim),
                "a default that can be overridden": model.ir_version > 3
                and any(v.name in constants for v in graph.input),
                "a shared initializer": any(uses[name] > 1 for name in constants),
                "a value read twice": any(uses[name] > 1 for name in made),
                "an unused value": any(not uses[name] and name not in outputs and name not in inside for name in made),
                "an unused input": any(not uses[v.name] for v in graph.input),
                "an intermediate as output": any(uses[name] for name in outputs),
                "captures": any(name in made or uses[name] for name in inside),
                "functions": bool(model.functions),
                "an attribute from a call": any(
                    a.ref_attr_name for f in model.functions for n in f.node for a in n.attribute
                ),
                "an empty value": any(
                    d.HasField("dim_value") and not d.dim_value
                    for v in (*graph.output, *graph.value_info)
                    for d in v.type.tensor_type.shape.dim
                ),
            }
        )
    assert {model.opset_import[0].version for model in drawn} == set(OPSETS)
    assert {"If", "Loop", "Scan", "Slice", "Pad", "Conv", "Softmax", "Transpose", "BatchNormalization"} <= set(ops)
    assert len(ops) > 80
    assert len(types) >= 10
    # One model in some hundreds has an empty value: which draws it is among is hypothesis's to choose.
    del features["an empty value"]
    assert min(features.values()) > 0, features
    assert ops["Slice"] > 0.5 * len(drawn)
    assert ops["Pad"] > 0.2 * len(drawn)


def test_options() -> None:
    def nested(model: onnx.ModelProto) -> bool:
        return bool(model.functions) or any(node.op_type in ("If", "Loop", "Scan") for node in model.graph.node)

    assert nested(find(models(), nested, settings=settings(DRAWN, phases=[Phase.generate])))
    with pytest.raises(NoSuchExample):
        find(models(bodies=False, functions=False), nested, settings=settings(DRAWN, max_examples=100))
    old = find(models(opsets=[9]), lambda _: True, settings=DRAWN)
    assert [opset.version for opset in old.opset_import if opset.domain == ""] == [9]


def test_examples_shrink_to_what_matters() -> None:
    def has_a_pad(model: onnx.ModelProto) -> bool:
        return any(node.op_type == "Pad" for node in model.graph.node)

    model = find(models(max_nodes=3, bodies=False), has_a_pad, settings=DRAWN)
    assert [node.op_type for node in model.graph.node] == ["Pad"]
    assert model.ir_version == 8
    assert [value.type.tensor_type.elem_type for value in model.graph.input] == [onnx.TensorProto.FLOAT]
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [1]


def test_feeds_follow_the_seed() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, M] x, uint8[3] u, bool[K] b, string[2] s) => (float[N, M] y)'
        "{ y = Neg(x) }"
    )
    one, same, other = feeds_for(model), feeds_for(model), feeds_for(model, seed=1)
    assert {name: (array.shape, array.dtype.str) for name, array in one.items()} == {
        "x": ((2, 3), "<f4"),
        "u": ((3,), "|u1"),
        "b": ((5,), "|b1"),
        "s": ((2,), "|O"),
    }
    assert all((one[name] == same[name]).all() for name in one)
    assert (one["x"] != other["x"]).all()


def test_types_come_from_onnxruntime_and_the_schemas() -> None:
    double, half, string = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.STRING
    assert types_of("Slice", 17)[0] == onnx.TensorProto.FLOAT
    assert string in types_of("Slice", 17)
    assert string not in types_of("Pad", 17)
    assert double in types_of("Clip", 12)
    assert double not in types_of("Clip", 11)
    assert half in types_of("Conv", 17)  # by Casts that onnxruntime puts in
    assert types_of("LayerNormalization", 16) == ()
    assert types_of("NoSuchOp", 17) == ()


def test_without_hypothesis_there_is_one_clear_line() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import onnxfuse.testing.strategies"
    environment = {"PYTHONPATH": str(Path(onnxfuse.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "onnxfuse.errors.MissingExtraError: hypothesis is needed for onnxfuse.testing.strategies: "
        "pip install 'onnxfuse[test]'"
    )

"""Which constants a rewrite leaves, which it removes, and where it puts its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxfuse import Builder, Facts, Match
from tests.passes.running import assert_same_results
from tests.rewriting.rules import SPLIT, Replace, as_product, read, rewrite

PAIR = "h = Mul(x, a) [at] y = Mul(h, b)"


def one_product(match: Match, build: Builder) -> Sequence[ir.Value]:
    numbers = [value.const_value.numpy() for value in match.inputs[1:] if value.const_value is not None]
    return [build.op("Mul", match.inputs[0], build.constant(np.array(np.prod(numbers), np.float32), name="product"))]


def two_products(node: ir.Node, facts: Facts) -> Match | None:
    before = facts.producer(node.inputs[0], "Mul")
    return None if before is None else facts.region(before, node)


MERGE_PRODUCTS = Replace("Mul", one_product, two_products)


def test_initializers_that_only_the_region_read_go() -> None:
    text = f"g (float[N] x) => (float[N] y) <float a = {{2}}, float b = {{4}}, float unused = {{5}}> {{ {PAIR} }}"
    run = rewrite(text, MERGE_PRODUCTS)

    # An initializer that nothing read before is not the engine's to remove.
    assert [tensor.name for tensor in run.model.graph.initializer] == ["unused", "at_product"]


IN_A_BRANCH = """z = If(take) <
    then_branch = t () => (float[N] p) { p = Add(x, a) },
    else_branch = e () => (float[N] q) { q = Identity(x) }
>"""


@pytest.mark.parametrize("where", ["z = Add(x, a)", IN_A_BRANCH], ids=["beside", "branch"])
def test_initializers_that_something_else_reads_stay(where: str) -> None:
    text = f"""g (float[N] x, bool take) => (float[N] y, float[N] z) <float a = {{2}}, float b = {{4}}> {{
        {PAIR} {where}
    }}"""
    run = rewrite(text, MERGE_PRODUCTS)

    assert [tensor.name for tensor in run.model.graph.initializer] == ["a", "at_product"]
    assert_same_results(read(text), run.model)


def test_initializer_that_is_a_graph_output_stays() -> None:
    text = f"g (float[N] x) => (float[N] y, float a) <float a = {{2}}, float b = {{4}}> {{ {PAIR} }}"
    run = rewrite(text, MERGE_PRODUCTS)

    assert [tensor.name for tensor in run.model.graph.initializer] == ["a", "at_product"]


def test_overridable_initializer_stays_an_input() -> None:
    text = f"g (float[N] x, float a) => (float[N] y) <float a = {{1}}, float b = {{4}}> {{ {PAIR} }}"

    def build(match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Mul", match.inputs[0], match.inputs[2])]

    run = rewrite(text, Replace("Mul", build, two_products), verify="structure")

    assert [value.name for value in run.model.graph.input] == ["x", "a"]
    assert "a" in [tensor.name for tensor in run.model.graph.initializer]


def test_constants_computed_for_the_region_alone_go() -> None:
    text = """g (float[N] x) => (float[N] y) <float unused = {5}> {
        idle = Exp(x)
        two = Constant<value_int = 2>()
        a = Cast<to = 1>(two)
        b = Identity(a)
        c = Sqrt(b)
        h = Mul(x, c)
        y = Exp(h)
    }"""
    run = rewrite(text, Replace("Mul", lambda match, _: [match.inputs[0]]), verify="structure")

    assert run.ops == ["Exp", "Exp"]
    assert [tensor.name for tensor in run.model.graph.initializer] == ["unused"]


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        ("c = RandomNormal<shape = [1]>()", ["RandomNormal"]),
        ("c = com.example.Make(x)", ["Make"]),
        ("c, d = TopK(x, one) e = Neg(d)", ["TopK", "Neg"]),
    ],
)
def test_what_may_have_another_effect_or_use_stays(made: str, kept: list[str]) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17, "com.example": 1]>
    g (float[N] x) => (float[N] y) <int64[1] one = {{1}}> {{ {made} h = Mul(x, c) y = Exp(h) }}"""
    run = rewrite(text, Replace("Mul", lambda match, _: [match.inputs[0]]), verify="structure")

    assert run.ops == [*kept, "Exp"]


def test_constants_outside_a_body_go_when_only_the_body_read_them() -> None:
    text = """g (float[N] x, bool take) => (float[N] y) <float a = {2}> {
        b = Neg(a)
        [if] y = If(take) <
            then_branch = t () => (float[N] p) { h = Mul(x, b) p = Exp(h) },
            else_branch = e () => (float[N] q) { q = Identity(x) }
        >
    }"""
    run = rewrite(text, Replace("Mul", lambda match, _: [match.inputs[0]]), verify="structure")

    assert run.ops == ["If"]
    assert not run.model.graph.initializer
    onnx.checker.check_model(run.model, full_check=True)


# ---------------------------------------------------------------------------------------------------- new constants


def test_new_initializers_are_listed_as_inputs_before_ir_4() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 3, opset_import: ["": 17]>
        g (float[N] x, float a, float b, float kept) => (float[N] y)
        <float a = {2}, float b = {4}, float kept = {8}> { h = Mul(x, a) [at] i = Mul(h, b) y = Add(i, kept) }"""
    )
    run = rewrite(model, MERGE_PRODUCTS)

    assert [value.name for value in run.model.graph.input] == ["x", "kept", "at_product"]
    assert [tensor.name for tensor in run.model.graph.initializer] == ["kept", "at_product"]
    added = run.model.graph.input[-1].type.tensor_type
    assert (added.elem_type, list(added.shape.dim)) == (onnx.TensorProto.FLOAT, [])
    onnx.checker.check_model(run.model)


@pytest.mark.parametrize("ir_version", [3, 8])
def test_new_constants_of_a_body_are_in_the_body(ir_version: int) -> None:
    model = read(
        """g (float[N] x, bool take) => (float[N] y) {
            [if] y = If(take) <
                then_branch = t () => (float[N] p) { [at] p = Neg(x) },
                else_branch = e () => (float[N] q) { q = Identity(x) }
            >
        }"""
    )
    model.ir_version = ir_version
    run = rewrite(model, SPLIT, verify="structure")
    (body,) = (a.g for a in run.model.graph.node[0].attribute if a.name == "then_branch")

    assert not run.model.graph.initializer
    assert [value.name for value in run.model.graph.input] == ["x", "take"]
    if ir_version == 3:
        assert [node.op_type for node in body.node] == ["Constant", "Mul", "Constant", "Mul"]
        assert not body.input
    else:
        assert [node.op_type for node in body.node] == ["Mul", "Mul"]
        assert [tensor.name for tensor in body.initializer] == ["at_minus", "at_one"]
    onnx.checker.check_model(run.model)
    assert_same_results(model, run.model, sign_of_nan=False)


def test_new_constants_of_a_function_are_nodes() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
        g (float[N] x) => (float[N] y) { y = local.example.Minus(x) }
        <domain: "local.example", opset_import: ["": 17]> Minus (x) => (y) { [at] y = Neg(x) }"""
    )
    run = rewrite(model, SPLIT, verify="structure")
    (function,) = run.model.functions

    assert [node.op_type for node in function.node] == ["Constant", "Mul", "Constant", "Mul"]
    assert not run.model.graph.initializer
    onnx.checker.check_model(run.model, full_check=True)
    assert_same_results(model, run.model, sign_of_nan=False)


def test_function_is_rewritten_by_its_own_opset() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
        g (float[N] x) => (float[N] y) { h = Neg(x) y = local.example.Minus(h) }
        <domain: "local.example", opset_import: ["": 13]> Minus (x) => (y) { [at] y = Neg(x) }"""
    )
    seen = {}

    def find(node: ir.Node, facts: Facts) -> Match | None:
        seen[node.name or "main"] = facts.opset(node)
        return None

    rewrite(model, Replace("Neg", as_product, find))

    assert seen == {"at": 13, "main": 17}


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3)])
@pytest.mark.parametrize("in_function", [False, True])
def test_constant_keeps_its_shape_and_type(shape: tuple[int, ...], in_function: bool) -> None:
    array = np.arange(np.prod(shape), dtype=np.float16).reshape(shape, order="F")
    body = "[at] y = Neg(x)"
    main = "y = local.example.Minus(x)" if in_function else body
    function = f'<domain: "local.example", opset_import: ["": 17]> Minus (x) => (y) {{ {body} }}' if in_function else ""
    text = f"""<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
    g (float16[N] x) => (float16[N] y) {{ {main} }}"""
    pass_ = Replace("Neg", lambda match, build: [build.op("Mul", match.inputs[0], build.constant(array.T.copy().T))])
    run = rewrite(text + function, pass_, verify="off")
    tensor = run.model.functions[0].node[0].attribute[0].t if in_function else run.model.graph.initializer[0]

    assert tuple(tensor.dims) == shape
    assert tensor.data_type == onnx.TensorProto.FLOAT16
    assert onnx.numpy_helper.to_array(tensor).tolist() == array.tolist()

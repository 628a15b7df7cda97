from __future__ import annotations

from typing import Any

import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import TensorProto

from onnxfuse.analysis.shapes import Shapes, Symbol
from onnxfuse.errors import ModelError
from tests.analysis.graphs import N, parse, shape, show, values

# ---------------------------------------------------------------------- where knowledge comes from


def test_one_dim_param_is_one_symbol_whatever_its_spelling() -> None:
    model = parse("g (float[N,3] a, float[M,N] b, float[?,?] c) => (float[N,3] y) { y = Relu(a) }")
    for value in model.graph.inputs[:2]:
        assert value.shape is not None
        value.shape = ir.Shape(["-1" if str(dim) == "N" else dim for dim in value.shape])
    shapes = Shapes(model)
    a, b, c = (shapes.shape(value) for value in model.graph.inputs)
    assert a is not None
    assert b is not None
    assert c is not None
    assert a[0] == b[1] == Symbol("declared", "-1")
    assert a[0] != b[0]
    assert c[0] != c[1]
    assert all(isinstance(dim, Symbol) for dim in c)


def test_what_outputs_and_intermediates_declare_is_not_read() -> None:
    text = "g (float[N,3] x) => (float[M,7] y, float[N] z) <float[5,5] t> { t = Relu(x) y = Neg(t) z = Foo.Bar (x) }"
    text = text.replace("Foo.Bar", "custom.Foo")
    assert shape(text, "t") == ["N", 3]
    assert shape(text, "y") == ["N", 3]
    assert shape(text, "z") is None


def test_the_declared_element_type_stands_in_where_nothing_is_inferred() -> None:
    model = parse(
        "g (float[N] x) => (int32[N] z, float[N] y) { z = custom.Foo (x) y = custom.Foo (x) w = custom.Foo (x) }"
    )
    shapes, known = Shapes(model), values(model)
    assert shapes.dtype(known["z"]) == ir.DataType.INT32
    assert shapes.rank(known["z"]) is None
    assert shapes.dtype(known["w"]) is None


def test_an_input_that_is_an_output_is_unknown() -> None:
    # onnx_ir overwrites the declaration of the input by that of the output.
    assert shape("g (float[N,3] x) => (float[M,3] x, float[M,3] y) { y = Relu(x) }") is None


def test_an_initializer_has_the_shape_of_its_tensor() -> None:
    text = "g (float[N] x) => (float[N] y) <int64[2] w = {1, 2}> { y = Relu(x) z = Identity(w) }"
    model = parse(text)
    value = model.graph.initializers["w"]
    value.shape = ir.Shape([9])
    assert Shapes(model).shape(values(model)["z"]) == (2,)
    assert Shapes(model).dim_values(values(model)["z"]) == (1, 2)


@pytest.mark.parametrize(("ir_version", "expected"), [(3, ["N", 6]), (4, ["?", "?"])])
def test_an_initializer_that_is_an_input_is_constant_below_ir_4(ir_version: int, expected: list[object]) -> None:
    text = "g (float[N,2,3] x, int64[2] t) => (float[A,B] y) <int64[2] t = {0, 6}> { y = Reshape(x, t) }"
    assert shape(text, ir_version=ir_version, opset=8) == expected


def test_a_tensor_without_its_data_is_not_read_as_zeros() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N] x) => (float[] y) { y = Expand(x, t) }'
    )
    proto.graph.initializer.append(TensorProto(name="t", data_type=TensorProto.INT64, dims=[1]))
    model = ir.from_proto(proto)
    assert Shapes(model).shape(model.graph.outputs[0]) is not None
    assert show(Shapes(model).shape(model.graph.outputs[0])) == ["?"]
    external = ir.ExternalTensor("absent.bin", 0, 8, ir.DataType.INT64, shape=ir.Shape([1]), name="t")
    model.graph.initializers["t"].const_value = external
    assert show(Shapes(model).shape(model.graph.outputs[0])) == ["?"]


def test_weights_are_not_read_and_only_what_is_asked_for_is_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    def unread() -> ir.TensorProtocol:
        raise AssertionError("a weight was read")

    model = parse("g (float[N,8,H,9] x) => (float[] y) { y = Conv<pads=[1,1,1,1]>(x, w) other = Conv(x, w) }")
    model.graph.initializers["w"] = ir.Value(name="w")
    weight = values(model)["y"].producer()
    assert weight is not None
    assert weight.inputs[1] is not None
    weight.inputs[1].const_value = ir.LazyTensor(unread, ir.DataType.FLOAT, ir.Shape([4, 8, 3, 3]))
    asked = []
    original = onnx.shape_inference.infer_node_outputs

    def infer(
        schema: onnx.defs.OpSchema, node: onnx.NodeProto, *rest: Any, **options: Any
    ) -> dict[str, onnx.TypeProto]:
        asked.append(node.op_type)
        return original(schema, node, *rest, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_node_outputs", infer)
    shapes = Shapes(model)
    assert show(shapes.shape(model.graph.outputs[0])) == ["N", 4, "H", 9]
    assert show(shapes.shape(model.graph.outputs[0])) == ["N", 4, "H", 9]
    assert asked == ["Conv"]


# ---------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("N,197,384", "n, 197, 3, 6, 64", ["N", 197, 3, 6, 64]),
        ("N,197,384", "0, 0, 3, -1", ["N", 197, 3, 128]),
        ("N,197,384", "n, -1", ["N", 75648]),
        ("N,6,197,64", "-1, 197, 64", ["?", 197, 64]),
        ("N,6", "-1, 4", ["?", 4]),
        ("N,M", "-1", ["?"]),
        ("M,N,4", "-1, n", ["?", "N"]),
        ("N,6", "2, 3, n", [2, 3, "N"]),
        ("6,N", "n, 6", ["N", 6]),
        # With N = 0 these run, and the first dim is then that of the input: the 0 in the target means copy.
        ("3,N", "n, -1", ["?", "?"]),
        ("3,N", "n, 0", ["?", "N"]),
        ("3", "n, 1", ["?", 1]),
    ],
)
def test_reshape(source: str, target: str, expected: list[object]) -> None:
    parts = target.split(", ")
    body = "".join(f"c{i} = Constant<value_ints=[{part}]>()\n" for i, part in enumerate(parts) if part != "n")
    names = ", ".join("n" if part == "n" else f"c{i}" for i, part in enumerate(parts))
    text = f"""g (float[{source}] x, float[N] other) => (float[] y) {{
        n = Shape(other) {body} t = Concat<axis=0>({names}) y = Reshape(x, t)
    }}"""
    assert shape(text) == expected


def test_reshape_allowzero_keeps_the_symbol() -> None:
    text = """g (float[3,N] x) => (float[] y) {
        s = Shape<start=1>(x) t = Concat<axis=0>(s, s) y = Reshape<allowzero=1>(x, t)
    }"""
    assert shape(text) == ["N", "N"]


def test_folding_a_batch_into_heads_and_back_finds_the_batch_again() -> None:
    text = """g (float[T,N,384] x) => (float[] y)
    <int64[3] a = {0, -1, 64}, int64[4] b = {0, -1, 6, 64}, int64[1] six = {6}> {
        heads = Reshape(x, a)
        n = Shape<start=1, end=2>(x)
        scaled = Mul(n, six)
        t = Shape<start=0, end=1>(x)
        c = Constant<value_ints=[64]>()
        target = Concat<axis=0>(t, scaled, c)
        same = Reshape(x, target)
        y = Reshape(same, b)
    }"""
    model = parse(text)
    shapes, known = Shapes(model), values(model)
    heads, same = shapes.shape(known["heads"]), shapes.shape(known["same"])
    assert heads == same
    assert heads is not None
    assert str(heads[1]) == "6*N"
    assert show(shapes.shape(known["y"])) == ["T", "N", 6, 64]


@pytest.mark.parametrize(
    ("dim", "start", "end", "step", "expected"),
    [
        ("N", 0, 2**63 - 1, 1, "N"),
        ("N", 0, 2**31 - 1, 1, "N"),
        ("N", -(2**31), 2**31 - 1, 1, "N"),
        ("N", -1, -(2**63), -1, "N"),
        ("N", 0, 5, 1, "?"),
        ("N", 1, 2**63 - 1, 1, "?"),
        ("N", 0, 2**63 - 1, 2, "?"),
        ("N", 0, -1, 1, "?"),
        ("9", 1, -1, 2, 4),
        ("9", 20, -20, -2, 5),
        ("9", 8, 3, 1, 0),
        ("9", -20, -20, -1, 1),  # the start is clamped to the front, unlike in Python
        ("9", 3, 2**31 - 1, -1, "?"),  # onnxruntime counts down to the front, the standard takes nothing
        ("0", 0, 5, 1, 0),
    ],
)
def test_slice(dim: str, start: int, end: int, step: int, expected: object) -> None:
    text = f"""g (float[4,{dim}] x) => (float[] y)
    <int64[1] s = {{{start}}}, int64[1] e = {{{end}}}, int64[1] a = {{-1}}, int64[1] t = {{{step}}}> {{
        y = Slice(x, s, e, a, t)
    }}"""
    assert shape(text) == [4, expected]


def test_slice_to_its_own_size_keeps_the_symbol() -> None:
    text = """g (float[N,M] x) => (float[] y, float[] z) <int64[1] zero = {0}, int64[1] one = {1}> {
        n = Shape<end=1>(x) y = Slice(x, zero, n, zero) z = Slice(x, zero, n, one)
    }"""
    assert shape(text, "y") == ["N", "M"]
    assert shape(text, "z") == ["N", "?"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("N,3", "N,3", ["N", 3]),
        ("N,1", "1,M", ["N", "M"]),
        ("N,3", "3", ["N", 3]),
        ("N,3", "M,3", ["?", 3]),
        ("N,3", "4,1", [4, 3]),
        ("N,0", "1,M", ["N", 0]),
        ("", "N", ["N"]),
    ],
)
def test_broadcasting(one: str, other: str, expected: list[object]) -> None:
    a = f"float[{one}]" if one else "float"
    assert shape(f"g ({a} a, float[{other}] b) => (float[] y) {{ y = Add(a, b) }}") == expected
    assert shape(f"g (bool[1] c, {a} a, float[{other}] b) => (float[] y) {{ y = Where(c, a, b) }}") == expected
    assert shape(f"g ({a} a, float[{other}] b) => (float[] y) {{ t = Shape(b) y = Expand(a, t) }}") == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Transpose<perm=[2,0,1]>(x)", [6, "N", 4]),
        ("y = Flatten<axis=2>(x)", ["?", 6]),
        ("y = Concat<axis=1>(x, x)", ["N", 8, 6]),
        ("y = Concat<axis=0>(x, x)", ["?", 4, 6]),
        ("r = Constant<value_ints=[1,3,1]>() y = Tile(x, r)", ["N", 12, 6]),
        ("p = Constant<value_ints=[0,0,1,0,2,-3]>() y = Pad(x, p)", ["N", 6, 4]),
        ("p = Constant<value_ints=[1,0,0,0,0,0]>() y = Pad(x, p)", ["?", 4, 6]),
        ("a = Constant<value_ints=[0]>() y = Unsqueeze(x, a)", [1, "N", 4, 6]),
        ("y = Squeeze(x)", None),
        ("s = Constant<value_floats=[1.0,2.0,0.5]>() y = Resize(x, , s)", ["N", 8, 3]),
        ("t = Shape(x) y = Resize(x, , , t)", ["N", 4, 6]),
        ("y, z = Split<axis=1>(x)", ["N", 2, 6]),
        ("i = Constant<value_int=1>() y = Gather<axis=1>(x, i)", ["N", 6]),
        ('y = Einsum<equation="bij,bij->bji">(x, x)', ["N", 6, 4]),
        ('y = Einsum<equation="bij,cij->bc">(x, x)', ["N", "N"]),
        ("t = Shape(x) y = ConstantOfShape(t)", ["N", 4, 6]),
        ("y = MaxPool<kernel_shape=[3], pads=[1,1]>(x)", ["N", 4, 6]),
        ("t = Transpose<perm=[1,2,0]>(x) y = MaxPool<kernel_shape=[3], pads=[1,1]>(t)", [4, 6, "N"]),
        ("t = Transpose<perm=[1,2,0]>(x) y = MaxPool<kernel_shape=[3], strides=[2]>(t)", [4, 6, "?"]),
        ("y = MaxPool<kernel_shape=[3], strides=[2], ceil_mode=1>(x)", ["N", 4, 3]),
        # onnx counts a last window that starts in the padding, onnxruntime does not.
        ("y = MaxPool<kernel_shape=[3], strides=[2], pads=[0,2], ceil_mode=1>(x)", ["N", 4, "?"]),
    ],
)
def test_shape_rules(body: str, expected: list[object] | None) -> None:
    assert shape(f"g (float[N,4,6] x) => (float[] y) {{ {body} }}") == expected


def test_einsum_does_not_pick_one_of_two_symbols() -> None:
    # onnx answers N; with N = 1 runtimes broadcast.
    assert shape('g (float[N,3] a, float[M,3] b) => (float[] y) { y = Einsum<equation="bi,bi->b">(a, b) }') == ["?"]


def test_attention_with_symbols_is_not_calculated_with_zeros() -> None:
    text = "g (float[N,S,24] q) => (float[] y) { y = Attention<q_num_heads=3, kv_num_heads=3>(q, q, q) }"
    assert shape(text, opset=23, ir_version=10) is None


# ---------------------------------------------------------------------- scopes, edits


def test_subgraphs() -> None:
    text = """g (float[N,4] x, bool c, int64 trips) => (float[] y, float[] z, float[] w)
    {
        y = If(c) <then_branch = a () => (float[] p) { p = Relu(x) }, else_branch = b () => (float[] q) { q = Neg(x) }>
        z = If(c) <
            then_branch = d () => (float[] r) { r = Concat<axis=0>(x, x) },
            else_branch = e () => (float[] s) { s = Neg(x) }
        >
        w = Loop(trips, c, x) <body = f (int64 i, bool ci, float[N,4] state) => (bool co, float[] next) {
            co = Identity(ci) next = Relu(state) inner = Relu(x)
        }>
    }"""
    assert shape(text, "y") == ["N", 4]
    assert shape(text, "z") == ["?", 4]
    assert shape(text, "w") is None
    assert shape(text, "next") is None
    assert shape(text, "inner") == ["N", 4]


def test_a_known_condition_takes_its_branch() -> None:
    text = """g (float[N,4] x) => (float[] y) <int64 two = {2}, int64[1] last = {-1}> {
        s = Shape(x) rank = Size(s) c = Equal(rank, two)
        y = If(c) <
            then_branch = a () => (float[] p) { p = Relu(x) },
            else_branch = b () => (float[] q) { q = Reshape(x, last) }
        >
    }"""
    assert shape(text) == ["N", 4]


FUNCTION = """
<domain: "local", opset_import: ["": 12]> F (a) => (r) {
    b = Constant<value_floats=[1.0, 2.0]>() e = Unsqueeze<axes=[0]>(b) r = Add(a, e)
}
"""


def test_functions_have_unknown_inputs_and_their_own_opset() -> None:
    model = parse("g (float[N,2] x) => (float[] y) { y = local.F(x) }", functions=FUNCTION)
    shapes = Shapes(model)
    assert shapes.shape(model.graph.outputs[0]) is None
    function = next(iter(model.functions.values()))
    known = {value.name: value for node in function for value in node.outputs}
    assert shapes.shape(function.inputs[0]) is None
    assert shapes.dtype(function.inputs[0]) is None
    assert shapes.shape(known["e"]) == (1, 2)  # by opset 12: from 13 on axes is an input
    assert shapes.shape(known["r"]) is None
    # A new node may go to either, so its opset is not clear.
    loose = ir.node("Unsqueeze", [known["b"]], {"axes": [0]})
    assert shapes.shape(loose.outputs[0]) is None
    said = ir.node("Unsqueeze", [known["b"]], {"axes": [0]})
    shapes.place([said], function.graph)
    assert shapes.shape(said.outputs[0]) == (1, 2)
    placed = ir.Node("", "Unsqueeze", [known["b"]], [ir.AttrInt64s("axes", [0])], version=12)
    assert shapes.shape(placed.outputs[0]) == (1, 2)


def test_an_attribute_of_the_caller_is_not_known() -> None:
    function = """
    <domain: "local", opset_import: ["": 17]> F <to, alpha> (a) => (r) {
        b = Constant<value_floats=[1.0, 2.0]>() c = Cast<to: int = @to>(b)
        d = LeakyRelu<alpha: float = @alpha>(b) r = Add(a, d)
    }"""
    model = parse("g (float[N] x) => (float[] y) { y = local.F<to=7, alpha=0.5>(x) }", functions=function)
    known = {value.name: value for node in next(iter(model.functions.values())) for value in node.outputs}
    assert Shapes(model).dtype(known["c"]) is None
    assert Shapes(model).shape(known["d"]) == (2,)


def test_a_local_function_may_shadow_an_operator() -> None:
    model = parse("g (float[N,2] x) => (float[] y) { y = Relu(x) }")
    a = ir.Value(name="a")
    body = ir.Node("", "Transpose", [a])
    graph = ir.Graph([a], body.outputs, nodes=[body], opset_imports={"": 17})
    model.functions["", "Relu", ""] = ir.Function("", "Relu", graph=graph, attributes=[])
    assert Shapes(model).shape(model.graph.outputs[0]) is None


def test_new_nodes_are_inferred_when_they_are_asked_for() -> None:
    model = parse("g (float[N,4] x) => (float[] y) { t = Transpose(x) y = Relu(t) }")
    shapes, known = Shapes(model), values(model)
    assert show(shapes.shape(known["y"])) == [4, "N"]
    new = ir.node("Concat", [known["t"], known["t"]], {"axis": 0})
    assert show(shapes.shape(new.outputs[0])) == [8, "N"]
    old = known["t"].producer()
    assert old is not None
    old.attributes["perm"] = ir.AttrInt64s("perm", [0, 1])
    assert show(shapes.shape(known["y"])) == [4, "N"]
    shapes.clear()
    assert show(shapes.shape(known["y"])) == ["N", 4]


def test_deep_chains_need_no_recursion() -> None:
    first = current = ir.Value(name="x", shape=ir.Shape(["N", 3]), type=ir.TensorType(ir.DataType.FLOAT))
    nodes = []
    for _ in range(5000):
        nodes.append(ir.Node("", "Relu", [current]))
        current = nodes[-1].outputs[0]
    graph = ir.Graph([first], [current], nodes=nodes, opset_imports={"": 17})
    assert Shapes(ir.Model(graph, ir_version=8)).shape(current) == (N, 3)


def test_a_cycle_is_an_error() -> None:
    model = parse("g (float[N] x) => (float[N] y) { a = Relu(x) b = Neg(a) y = Abs(b) }")
    known = values(model)
    node = known["a"].producer()
    assert node is not None
    node.replace_input_with(0, known["b"])
    with pytest.raises(ModelError, match="cycle"):
        Shapes(model).shape(known["y"])

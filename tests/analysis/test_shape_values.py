from __future__ import annotations

import pytest

from onnxfuse.analysis import is_nonnegative, product, quotient
from onnxfuse.analysis.shapes import Shapes, Symbol
from tests.analysis.graphs import M, N, contents, parse, shape, values


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Shape(x)", ["N", 4, 6]),
        ("y = Shape<start=-2, end=9>(x)", [4, 6]),
        ("i = Constant<value_ints=[-1, 0]>() y = Gather(s, i)", [6, "N"]),
        ("i = Constant<value_int=0>() y = Gather(s, i)", ["N"]),
        ("y = Slice(s, one, three)", [4, 6]),
        ("y = Slice(s, minus, far, zero, minus)", [6, 4, "N"]),
        ("y = Concat<axis=0>(s, one)", ["N", 4, 6, 1]),
        ("a = Squeeze(one) b = Unsqueeze(a, zero) y = Concat<axis=0>(b, b)", [1, 1]),
        ("a = Cast<to=6>(s) y = Cast<to=7>(a)", ["N", 4, 6]),
        ("a = Cast<to=1>(s) y = Cast<to=7>(a)", ["?", "?", "?"]),
        ("t = Constant<value_ints=[2, 2, 7]>() y = Mul(s, t)", ["?", 8, 42]),
        ("y = Mul(s, one)", ["N", 4, 6]),
        ("y = Add(s, zero)", ["N", 4, 6]),
        ("y = Add(s, one)", ["?", 5, 7]),
        ("y = Sub(s, s)", [0, 0, 0]),
        ("y = Div(s, three)", ["?", 1, 2]),
        ("y = Div(s, one)", ["N", 4, 6]),
        ("a = Mul(s, three) y = Div(a, three)", ["N", 4, 6]),
        ("a = Neg(three) b = Sub(one, three) y = Div(a, b)", [1]),
        ("a = Neg(three) b = Sub(three, one) y = Mod(a, b)", [1]),
        ("a = Neg(three) y = Abs(a)", [3]),
        ("y = Min(one, three, minus)", [-1]),
        ("y = Max(s, s)", ["N", 4, 6]),
        ("t = Constant<value_ints=[-1]>() a = Reshape(three, t) y = Transpose(a)", [3]),
        ("y = ConstantOfShape<value = int64[1] {7}>(three)", [7, 7, 7]),
        ("a = Squeeze(zero) b = Squeeze(three) c = Squeeze(one) y = Range(a, b, c)", [0, 1, 2]),
        ("a = Equal(s, minus) y = Where(a, one, s)", ["N", 4, 6]),
        ("a = Equal(s, three) y = Where(a, one, s)", ["?", 4, 6]),
        ("y = Size(x)", ["?"]),
        ("y = Identity(x)", None),
    ],
)
def test_dim_values(body: str, expected: list[object] | None) -> None:
    text = f"""g (float[N,4,6] x) => (int64[] y)
    <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] three = {{3}}, int64[1] minus = {{-1}},
     int64[1] far = {{-99}}> {{
        s = Shape(x) {body}
    }}"""
    assert contents(text) == expected


def test_an_element_that_is_not_known_has_a_symbol_of_its_own() -> None:
    text = "g (int64[2] t, float[N] x) => (float[] y) { y = Reshape(x, t) s = Shape(x) a = Add(s, s) }"
    model = parse(text)
    shapes, known = Shapes(model), values(model)
    first, second = shapes.dim_values(known["t"]) or ()
    assert isinstance(first, Symbol)
    assert first != second
    assert not first.nonnegative
    (total,) = shapes.dim_values(known["a"]) or ()
    assert total != N
    assert is_nonnegative(total)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_pads_as_exporters_calculate_them(dtype: str) -> None:
    text = f"""g (float[N,8,9,9] x) => (float[] y)
    <int64[4] p = {{0, 1, 0, 1}}, int64[1] four = {{4}}, int64[2] pairs = {{-1, 2}}, int64[1] flat = {{-1}},
     int64[1] start = {{-1}}, int64[1] end = {{-9223372036854775807}}, int64[1] axis = {{0}}, int64[1] step = {{-1}}> {{
        given = Cast<to={7 if dtype == "int64" else 6}>(p)
        rest0 = ConstantOfShape(four)
        rest = Cast<to={7 if dtype == "int64" else 6}>(rest0)
        all = Concat<axis=0>(given, rest)
        two = Reshape(all, pairs)
        reversed = Slice(two, start, end, axis, step)
        turned = Transpose<perm=[1,0]>(reversed)
        vector = Reshape(turned, flat)
        pads = Cast<to=7>(vector)
        y = Pad(x, pads)
    }}"""
    assert contents(text, "pads", opset=11) == [0, 0, 0, 0, 0, 0, 1, 1]
    assert shape(text, opset=11) == ["N", 8, 10, 10]


def test_products() -> None:
    six = product((2, N, 3))
    assert six == product((N, 6))
    assert product((N, 0)) == 0
    assert product((N, 1)) == N
    assert quotient(six, 6) == N
    assert quotient(product((six, M)), product((M, 2))) == product((3, N))
    assert quotient(six, 4) is None
    assert quotient(N, M) is None
    assert quotient(0, N) == 0
    assert quotient(N, 0) is None
    assert str(product((six, M, N))) == "6*M*N*N"

"""Models for each pass, as ONNX text: where it fires, and where it all but fires.

An input whose name begins with a capital becomes an initializer (`corpus.with_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["TEXTS"]


def _model(text: str, opset: int = 20, ir_version: int = 9) -> str:
    return f'<ir_version: {ir_version}, opset_import: ["": {opset}]> g {text}'


def _conv_bn(conv: str = "", norm: str = "", *, shape: str = "4, 3, 3, 3", bias: str = ", B") -> str:
    out, each, *_ = shape.split(", ")
    into = int(each) * (2 if "group" in conv else 1)
    vectors = ", ".join(f"float[{out}] {name}" for name in "BGSMV")
    return _model(
        f"(float[2, {into}, 8, 8] x, float[{shape}] W, {vectors}) => (float[n, {out}, h, w] y)"
        f" {{ c = Conv<kernel_shape = [3, 3]{conv}>(x, W{bias}) y = BatchNormalization{norm}(c, G, S, M, V) }}"
    )


def _slices(first: str, second: str, shape: str = "N, 8, 16, 16", opset: int = 17) -> str:
    return _model(
        f"(float[{shape}] x) => (float[a, b, c, d] y) <int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},"
        " int64[1] end = {9223372036854775807}, int64[1] last = {-1}, int64[1] ten = {10}, int64[1] least ="
        " {-9223372036854775808}, int64[1] zero = {0}, int64[2] both = {2, 3}, int64[2] ones = {1, 1}, int64[2] ends ="
        f" {{9, 9}}> {{ v = Slice(x, {first}) y = Slice(v, {second}) }}",
        opset,
    )


def _pads(
    pads: str, *, shape: str = "N, 3, 6, 6", mode: str = "", rest: str = "", more: str = "", opset: int = 17
) -> str:
    count = pads.count(",") + 1
    return _model(
        f"(float[{shape}] x) => (float[a, b, c, d] y) <int64[{count}] p = {{{pads}}}{more}>"
        f" {{ y = Pad{mode}(x, p{rest}) }}",
        opset,
    )


def _two_pads(first: str, second: str, *, modes: tuple[str, str] = ("", ""), values: tuple[str, str] = ("", "")) -> str:
    return _model(
        f"(float[N, 2, 4, 5] x) => (float[a, b, c, d] y) <int64[8] p = {{{first}}}, int64[8] q = {{{second}}}, float v ="
        " {1.5}, float w = {2.5}, float z = {0}>"
        f" {{ t = Pad{modes[0]}(x, p{values[0]}) y = Pad{modes[1]}(t, q{values[1]}) }}"
    )


def _transposes(first: str, second: str, shape: str = "2, 3, 4") -> str:
    dims = ", ".join(f"d{index}" for index in range(shape.count(",") + 1))
    return _model(f"(float[{shape}] x) => (float[{dims}] y) {{ t = Transpose{first}(x) y = Transpose{second}(t) }}")


def _softmax(attribute: str, shape: str = "2, 3, 4, 5", opset: int = 17, op: str = "Softmax") -> str:
    return _model(f"(float[{shape}] x) => (float[{shape}] y) {{ y = {op}{attribute}(x) }}", opset)


def _swapped(first: str, second: str) -> str:
    return _model(
        f"(float[2, 3, 5] x) => (float[I, J, K] y) {{ a = Transpose<perm = [{first}]>(x) b = Softmax(a)"
        f" y = Transpose<perm = [{second}]>(b) }}"
    )


def _product(
    bias: str, *, x: str = "N, 6", w: str = "6, 4", swapped: bool = False, opset: int = 17, kind: str = "float"
) -> str:
    add = "Add(b, p)" if swapped else "Add(p, b)"
    dims = ", ".join("rcs"[: x.count(",") + 1])
    scalar_or_not = f"[{bias}]" if bias else ""
    return _model(
        f"({kind}[{x}] x, {kind}[{w}] w, {kind}{scalar_or_not} b) => ({kind}[{dims}] y) {{ p = MatMul(x, w) y = {add} }}",
        opset,
    )


def _gemm(body: str, *, a: str = "4, 5", b: str = "5, 6") -> str:
    return _model(f"(float[{a}] a, float[{b}] b, float[6] c) => (float[r, s] y) {{ {body} }}", 17)


def _pad_conv(
    pads: str, *, pad: str = "", conv: str = "", rest: str = "", more: str = "", opset: int = 17, dims: str = "8, 8"
) -> str:
    count, spatial = pads.count(",") + 1, dims.count(",") + 1
    kernel = ", ".join(["3"] * spatial)
    out = ", ".join("hw"[:spatial])
    return _model(
        f"(float[2, 3, {dims}] x, float[4, 3, {kernel}] W, float[4] B) => (float[n, c, {out}] y)"
        f" <int64[{count}] p = {{{pads}}}{more}>"
        f" {{ t = Pad{pad}(x, p{rest}) y = Conv<kernel_shape = [{kernel}]{conv}>(t, W, B) }}",
        opset,
    )


NUMBERS: Final = {"uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "float16": 10, "float": 1}
NUMBERS_ALSO: Final = {"double": 11, "uint32": 12, "bool": 9}


def _casts(source: str, middle: str, target: str) -> str:
    codes = NUMBERS | NUMBERS_ALSO
    return _model(
        f"({source}[N] x) => ({target}[N] y) {{ t = Cast<to = {codes[middle]}>(x) y = Cast<to = {codes[target]}>(t) }}",
        17,
    )


def _concats(first: str, second: str, operands: str = "c, d") -> str:
    return _model(
        "(float[2, 3] a, float[2, 3] b, float[2, 3] d, float[4, 3] e, float[2, 6] f) => (float[r, s] y)"
        f" {{ c = Concat<axis = {first}>(a, b) y = Concat<axis = {second}>({operands}) }}"
    )


def _gelu(body: str, opset: int = 20, numbers: str = "{1.41421354}, float one = {1}, float half = {0.5}") -> str:
    return _model(f"(float[N, 6] x) => (float[N, 6] y) <float root = {numbers}> {{ {body} }}", opset)


def _clips(first: str, second: str, *, opset: int = 17, kind: str = "float") -> str:
    return _model(
        f"({kind}[N] x) => ({kind}[N] y) <{kind} a = {{-1}}, {kind} b = {{3}}, {kind} c = {{1}}, {kind} d = {{6}}, {kind} e"
        f" = {{-4}}, {kind} f = {{-2}}> {{ t = Clip(x{first}) y = Clip(t{second}) }}",
        opset,
    )


def _reshapes(first: str, shape: str, *, attribute: str = "", x: str = "2, 3, 4") -> str:
    count = shape.count(",") + 1
    dims = ", ".join(f"d{index}" for index in range(count))
    return _model(
        f"(float[{x}] x) => (float[{dims}] y) <int64[{count}] s = {{{shape}}}, int64[2] wide = {{6, -1}}, int64[1] one ="
        f" {{1}}, int64[3] kept = {{0, 0, -1}}> {{ t = {first} y = Reshape{attribute}(t, s) }}"
    )


ERF: Final = "d = Div(x, root) e = Erf(d) a = Add(e, one)"

TEXTS: Final[Mapping[str, Sequence[str]]] = {
    "merge-sliced": (
        _slices("one, end, two", "one, end, three"),
        _slices("one, end, two", "one, end, two"),
        _slices("one, end, two, two", "one, end, two"),
        _slices("one, ten, two", "one, last, two"),
        _slices("one, end, last", "one, end, three"),
        _slices("one, end, two", "last, least, two, last"),
        _slices("zero, end, two", "zero, end, three"),
        _slices("ones, ends, both", "one, end, two", "2, 3, 16, 12"),
        _slices("one, end, two", "one, end, two", "1, 2, H, W"),
        _slices("ten, end, two", "one, end, two", "1, 2, 12, 5"),
        _model(
            "(float[9, 9] x) => (float[a, b] y) { v = Slice<starts = [1], ends = [8], axes = [0]>(x)"
            " y = Slice<starts = [2, 0], ends = [9, -1]>(v) }",
            9,
            4,
        ),
        _model(
            "(float[9, 9] x, int64[1] s) => (float[a, b] y) <int64[1] e = {9}> { v = Slice(x, s, e) y = Slice(v, s, e) }"
        ),
        _model(
            "(float[9, 9] x) => (float[a, b] y, float[c, d] z) <int64[1] s = {1}, int64[1] e = {8}>"
            " { v = Slice(x, s, e) y = Slice(v, s, e) z = Slice(v, s, e) }"
        ),
    ),
    "remove-pad": (
        _pads("0, 0, 0, 0, 0, 0, 0, 0"),
        _pads("0, 0, 0, 0, 0, 0, 0, 1"),
        _pads("0, 0, 1, 0, 0, 0, 0, 0", mode='<mode = "reflect">'),
        _pads("0, 0, -1, 0, 0, 0, 1, 0"),
        _pads("0, 0, 0, 0, 0, 0, 0, 0", mode='<mode = "edge">'),
        _model("(float[2, 3] x) => (float[a, b] y) { y = Pad<pads = [0, 0, 0, 0]>(x) }", 9, 4),
        _model("(float[2, 3] x) => (float[a, b] y) { y = Pad<pads = [0, 1, 0, 0]>(x) }", 9, 4),
        _model("(float[2, 3] x, int64[4] p) => (float[a, b] y) { y = Pad(x, p) }"),
    ),
    "fold-batch-norm": (
        _conv_bn(),
        _conv_bn(bias=""),
        _conv_bn(", strides = [2, 2], pads = [1, 1, 1, 1]", "<epsilon = 0.01>"),
        _conv_bn(", group = 2", shape="4, 3, 3, 3"),
        _conv_bn(shape="3, 3, 3, 3"),
        _model(
            "(float[2, 3, 9] x, float[4, 3, 3] W, float[4] G, float[4] S, float[4] M, float[4] V) => (float[n, c, l] y)"
            " { c = Conv<kernel_shape = [3]>(x, W) y = BatchNormalization(c, G, S, M, V) }"
        ),
        _model(
            "(float[2, 3, 9] x, float[4, 3, 3] W, float[4] b, float[4] G, float[4] S, float[4] M, float[4] V) =>"
            " (float[n, c, l] y) { c = Conv(x, W, b) y = BatchNormalization(c, G, S, M, V) }"
        ),
        _model(
            "(float[2, 3, 9] x, float[4, 3, 3] W, float[4] G, float[4] S, float[4] M, float[4] V) => (float[n, c, l] y,"
            " float[4] m, float[4] v) { c = Conv(x, W) y, m, v = BatchNormalization<training_mode = 1>(c, G, S, M, V) }"
        ),
        _model(
            "(float[2, 3, 9] x, float[4, 3, 3] W, float[4] G, float[4] S, float[4] M, float[4] V) => (float[n, c, l] y)"
            " { c = Conv(x, W) y = BatchNormalization(c, G, S, M, V) }",
            8,
            4,
        ),
        _model(
            "(float[2, 3, 9] x, float[4, 3, 3] W, float[4] g, float[4] S, float[4] M, float[4] V) => (float[n, c, l] y)"
            " { c = Conv(x, W) y = BatchNormalization(c, g, S, M, V) }"
        ),
    ),
    "merge-transposes": (
        _transposes("<perm = [1, 2, 0]>", "<perm = [1, 0, 2]>"),
        _transposes("<perm = [1, 2, 0]>", "<perm = [2, 0, 1]>"),
        _transposes("", "<perm = [1, 0, 2]>"),
        _transposes("", ""),
        _transposes("<perm = [2, 0, 1]>", "", "4, 4, 4"),
        _transposes("<perm = [0, 2, 3, 1]>", "<perm = [0, 3, 1, 2]>", "N, 2, 3, 3"),
        _transposes("<perm = [1, 2, 3, 0]>", "<perm = [0, 3, 1, 2]>", "3, 3, 3, 3"),
    ),
    "transpose-around-softmax": (
        _softmax("<axis = -1>"),
        _softmax("", "5, 3, 5"),
        _softmax("<axis = 2>", "3, 3, 3"),
        _softmax("<axis = 3>", "N, 2, M, 7", op="LogSoftmax"),
        _softmax("", "N, 2, 3, 2, 3", op="Hardmax"),
        _softmax("<axis = 1>"),
        _softmax("<axis = -2>", "3, 3, 3"),
        _softmax("<axis = 0>", "3, 3"),
        _softmax("<axis = -1>", "2, 3, 16"),
        _softmax("", "2, 3, N"),
        _softmax("<axis = 2>", "2, 3, 3", opset=11),
        _softmax("<axis = 1>", "2, 3, 3", opset=12),
        _softmax("", "2, 3, 3", opset=11),
        _softmax("<axis = 0>", "5"),
        _swapped("0, 2, 1", "0, 2, 1"),
        _swapped("2, 0, 1", "1, 2, 0"),
    ),
    "matmul-add-to-gemm": (
        _product("4"),
        _product("4", swapped=True),
        _product("1, 4"),
        _product("1"),
        _product(""),
        _product("1, 1"),
        _product("5, 4", x="5, 6"),
        _product("5, 1", x="5, 6"),
        _product("5, 1, 4", x="5, 6").replace("float[r, c] y", "float[q, r, c] y"),
        _product("6", x="2, 6", w="6, 1"),
        _product("4", x="2, 3, 6"),
        _product("4, 4", x="4, 4", w="4, 4"),
        _product(
            "4",
            opset=9,
        ).replace("ir_version: 9", "ir_version: 4"),
        _product("4", kind="int32"),
    ),
    "absorb-transpose": (
        _gemm("t = Transpose<perm = [1, 0]>(a) y = Gemm(t, b, c)", a="5, 4"),
        _gemm("t = Transpose(b) y = Gemm(a, t, c)", b="6, 5"),
        _gemm("t = Transpose(b) y = Gemm<transB = 1>(a, t, c)"),
        _gemm("t = Transpose(a) u = Transpose(b) y = Gemm<alpha = 0.5, beta = 2.0>(t, u, c)", a="5, 4", b="6, 5"),
        _gemm("t = Transpose(a) y = Gemm<transA = 1>(t, b)"),
        _gemm("t = Transpose<perm = [0, 1]>(a) y = Gemm(t, b)"),
        _gemm("t = Transpose(a) y = Gemm(t, t)", a="6, 6"),
        _gemm("t = Transpose<perm = [0, 1]>(b) y = Gemm(a, t)", a="6, 6", b="6, 6"),
    ),
    "pad-into-conv": (
        _pad_conv("0, 0, 1, 1, 0, 0, 1, 1"),
        _pad_conv("0, 0, 1, 0, 0, 0, 2, 1", conv=", pads = [1, 0, 0, 2], strides = [2, 1]"),
        _pad_conv("0, 0, 1, 1, 0, 0, 1, 1", pad='<mode = "edge">'),
        _pad_conv("0, 0, 1, 1, 0, 0, 1, 1", conv=', auto_pad = "SAME_UPPER"'),
        _pad_conv("0, 0, 1, 1, 0, 0, 1, 1", rest=", v", more=", float v = {0.5}"),
        _pad_conv("0, 0, 1, 1, 0, 0, 1, 1", rest=", v", more=", float v = {0}"),
        _pad_conv("0, 0, -1, 1, 0, 0, 2, 1", conv=", pads = [1, 1, 1, 1]"),
        _pad_conv("1, 0, 1, 1, 0, 0, 1, 1"),
        _pad_conv("0, 0, 1, 1, 1, 0, 1, 1"),
        _pad_conv("1, 1, 1, 1", rest=", , a", more=", int64[2] a = {2, 3}", opset=18),
        _pad_conv("0, 0, 1, 0, 0, 2", dims="8", conv=", dilations = [2]"),
        _model(
            "(float[1, 2, 8] x, float[4, 3, 3] W) => (float[n, c, l] y) <int64[6] p = {0, 1, 1, 0, 0, 1}>"
            " { t = Pad(x, p) y = Conv<kernel_shape = [3]>(t, W) }"
        ),
        _model(
            "(float[1, 3, 8] x, float[4, 3, 3] W) => (float[n, c, l] y) { t = Pad<pads = [0, 0, 1, 0, 0, 1]>(x)"
            " y = Conv<kernel_shape = [3]>(t, W) }",
            9,
            4,
        ),
    ),
    "merge-casts": (
        _casts("uint8", "int32", "float"),
        *(
            _casts(*kinds.split())
            for kinds in (
                "int8 float int32",
                "int8 uint8 int32",
                "uint8 int8 int32",
                "int32 int64 int8",
                "int64 int32 int64",
                "int32 float double",
                "int32 double int32",
                "int64 double int64",
                "float double float",
                "float16 float double",
                "float float16 float",
                "double float double",
                "int16 float16 float",
                "uint16 int16 int32",
                "uint32 int32 int64",
                "uint16 int32 float",
                "int16 uint16 int64",
                "float int32 float",
                "float bool float",
                "bool int32 bool",
                "int32 int32 int16",
            )
        ),
    ),
    "flatten-concat": (
        _concats("1", "1"),
        _concats("0", "1", "c, c"),
        _concats("1", "-1"),
        _concats("-2", "0"),
        _concats("1", "1", "d, c"),
        _concats("1", "1", "d, c, d"),
        _concats("0", "0", "d, c"),
        _concats("-1", "0", "c, c"),
        _concats("1", "0", "c, c"),
        _concats("1", "1", "c, c"),
        _concats("0", "1", "c, e"),
        _concats("0", "-1", "e, c"),
        _concats("1", "0", "f, c"),
        _concats("-1", "0", "c, f"),
        _concats("-2", "1", "c, e"),
    ),
    "fuse-gelu": (
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)"),
        _gelu(f"{ERF} p = Mul(a, x) y = Mul(half, p)"),
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)", 17),
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)", numbers="{1.5}, float one = {1}, float half = {0.5}"),
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)", numbers="{1.41421354}, float one = {1.01}, float half = {0.5}"),
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)", numbers="{1.41421354}, float one = {1}, float half = {0.51}"),
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)", numbers="{1.4143}, float one = {1}, float half = {0.5}"),
        _gelu(
            f"{ERF} p = Mul(x, a) y = Mul(p, half)", numbers="{1.41421354}, float one = {1.0001}, float half = {0.5}"
        ),
        _gelu(f"{ERF} p = Mul(x, a) y = Mul(p, half)", numbers="{1.41421354}, float one = {1}, float half = {0.49998}"),
        _gelu("n = Neg(x) d = Div(n, root) e = Erf(d) a = Add(e, one) p = Mul(x, a) y = Mul(p, half)"),
        _gelu("d = Div(root, x) e = Erf(d) a = Add(e, one) p = Mul(x, a) y = Mul(p, half)"),
        _gelu("d = Div(x, root) e = Erf(d) a = Add(one, e) p = Mul(x, a) y = Mul(p, half)"),
        _gelu("d = Div(x, root) e = Erf(d) a = Add(e, one) p = Mul(a, a) y = Mul(p, half)"),
        _gelu("d = Mul(x, root) e = Erf(d) a = Add(e, one) p = Mul(x, a) y = Mul(p, half)"),
        _gelu("d = Div(x, root) e = Tanh(d) a = Add(e, one) p = Mul(x, a) y = Mul(p, half)"),
        _gelu("d = Div(x, root) e = Erf(d) a = Sub(e, one) p = Mul(x, a) y = Mul(p, half)"),
    ),
    "merge-pads": (
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 1, 0, 2, 0, 0, 1, 0"),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 1, 0, 2, 0, 0, 1, 0", values=(", v", ", v")),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 1, 0, 2, 0, 0, 1, 0", values=(", v", ", w")),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 1, 0, 2, 0, 0, 1, 0", values=("", ", v")),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 1, 0, 2, 0, 0, 1, 0", values=(", v", "")),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 1, 0, 2, 0, 0, 1, 0", values=(", z", "")),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 0, 0, 2, 0, 0, 1, 0", modes=('<mode = "edge">', '<mode = "edge">')),
        _two_pads(
            "0, 0, 1, 0, 0, 0, 0, 1", "0, 0, 0, 2, 0, 0, 1, 0", modes=('<mode = "reflect">', '<mode = "reflect">')
        ),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 0, 0, 2, 0, 0, 1, 0", modes=('<mode = "edge">', "")),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 0, 0, 2, 0, 0, 1, 0", modes=("", '<mode = "edge">')),
        _two_pads("0, 0, -1, 0, 0, 0, 0, 1", "0, 0, 2, 0, 0, 0, 1, 0"),
        _two_pads("0, 0, 1, 0, 0, 0, 0, 1", "0, 0, 0, -2, 0, 0, 1, 0"),
        _model(
            "(float[3, 4] x) => (float[a, b] y) <int64[2] p = {1, 2}, int64[1] i = {0}, int64[1] j = {1}>"
            " { t = Pad(x, p, , i) y = Pad(t, p, , j) }"
        ),
        _model("(float[3, 4] x, int64[4] p) => (float[a, b] y) { t = Pad(x, p) y = Pad(t, p) }"),
        _model(
            "(float[3, 4] x) => (float[a, b] y) { t = Pad<pads = [0, 1, 0, 0]>(x) y = Pad<pads = [1, 0, 0, 0]>(t) }",
            9,
            4,
        ),
    ),
    "merge-clips": (
        _clips(", a, b", ", c, d"),
        _clips(", c, d", ", a, b"),
        _clips(", a, b", ", e, f"),
        _clips(", e, f", ", c, d"),
        _clips(", e, d", ", a, b"),
        _clips(", a", ", , b"),
        _clips(", , b", ", c"),
        _clips("", ", a, b"),
        _clips(", b, a", ", c, d"),
        _clips(", c, d", ", b, a"),
        _clips(", c, d", ", e, a"),
        _clips(", a, b", ", c, d", kind="int32"),
        _clips(", a, b", ", c, d", kind="double"),
        _model("(float[N] x, float l) => (float[N] y) <float h = {3}> { t = Clip(x, l, h) y = Clip(t, l, h) }"),
        _model("(float[N] x) => (float[N] y) { t = Clip<min = -1.0>(x) y = Clip<max = 2.0>(t) }", 9, 4),
    ),
    "merge-reshapes": (
        _reshapes("Reshape(x, wide)", "4, 6"),
        _reshapes("Flatten(x)", "2, -1, 2"),
        _reshapes("Flatten(x)", "0, -1, 2"),
        _reshapes("Reshape(x, wide)", "0, -1"),
        _reshapes("Reshape(x, kept)", "-1, 3"),
        _reshapes("Unsqueeze(x, one)", "-1, 4"),
        _reshapes("Squeeze(x, one)", "3, -1", x="2, 1, 3"),
        _reshapes("Reshape(x, wide)", "-1, 3", attribute="<allowzero = 1>"),
        _reshapes("Reshape(x, wide)", "0, 4", attribute="<allowzero = 1>", x="3, 2, 0"),
        _model(
            "(float[2, 6] x, int64[2] s) => (float[a, b] y) <int64[2] w = {3, 4}> { t = Reshape(x, w) y = Reshape(t, s) }"
        ),
    ),
}

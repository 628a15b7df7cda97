"""transpose-around-softmax: every form, and what it leaves alone."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnxfuse
from onnxfuse import Pipeline, UsageError
from onnxfuse.passes.transpose_around_softmax import Gate, TransposeAroundSoftmax
from onnxfuse.report.records import Declined, Place, Report
from onnxfuse.testing import assert_pass_laws, check_rewrite
from onnxfuse.testing.oracle import run, same
from tests.passes.running import assert_same_results, parse
from tests.passes.softmaxes import OPS, normalising, with_swaps

HEADER = '<ir_version: 8, opset_import: ["": 17]>'
ALWAYS = TransposeAroundSoftmax(gate=Gate.ALWAYS)
FLATTENED = "below opset 13 a {op} normalises over the flattened trailing dims: run convert-opset{{to=13}} first"
MOVED = "its axis is swapped with another one already, before and after it"


def wrapped(
    model: onnx.ModelProto, pass_: TransposeAroundSoftmax | None = None, *, runs: bool = True
) -> tuple[onnx.ModelProto, Report]:
    """Applies the pass; asserts that it moved the one candidate's axis rightly, and that no run moves it again."""
    pass_ = pass_ or TransposeAroundSoftmax()
    after, report = onnxfuse.apply(model, pass_, verify="region")
    assert len(report.applied) == 1
    assert (report.rejected, report.declined) == ((), ())
    onnx.checker.check_model(after, full_check=True)
    if runs:
        assert_same_results(model, after, sign_of_nan=False)
    assert not onnxfuse.apply(after, pass_, verify="off").report.modified
    return after, report


def untouched(model: onnx.ModelProto, pass_: TransposeAroundSoftmax | None = None) -> tuple[Declined, ...]:
    """Applies the pass where it must not fire; returns why not."""
    result = onnxfuse.apply(model, pass_ or TransposeAroundSoftmax())
    assert result.report.applied == ()
    assert result.report.rejected == ()
    assert result.model.SerializeToString() == model.SerializeToString()
    return result.report.declined


def why_not(model: onnx.ModelProto, pass_: TransposeAroundSoftmax | None = None) -> str:
    """Applies the pass where it must decline the one candidate; returns the reason."""
    (answer,) = untouched(model, pass_)
    return answer.reason


# ---------------------------------------------------------------------------------------------------- every form


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("opset", [13, 17, 18, 21, 23, 26])
def test_ops_and_opsets(op: str, opset: int) -> None:
    model, report = wrapped(normalising(("N", 2, 3, 5), op=op, opset=opset, ir_version=10))

    assert [(node.name, node.op_type, *node.input, *node.output) for node in model.graph.node[1:-1]] == [
        ("node_Transpose", "Transpose", "scores", "node_Transpose_output_0"),
        ("node", op, "node_Transpose_output_0", f"node_{op}_output_0"),
        ("node_Transpose_1", "Transpose", f"node_{op}_output_0", "shares"),
    ]
    assert with_swaps(model) == [("Transpose", [0, 3, 2, 1]), (op, [1]), ("Transpose", [0, 3, 2, 1])]
    assert report.renamed_values == {}
    assert report.applied[0].grade == "value-tested"


@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_axes(rank: int) -> None:
    shape = ("N", 2, 3, 5, 1, 7)[:rank]
    for axis, target in itertools.permutations(range(rank), 2):
        written, option = (axis, target - rank) if (axis + target) % 2 else (axis - rank, target)
        pass_ = TransposeAroundSoftmax(axis=option, min_rank=2, gate=Gate.ALWAYS)
        model, _ = wrapped(normalising(shape, axis=written), pass_)
        perm = list(range(rank))
        perm[axis], perm[target] = target, axis
        assert with_swaps(model) == [("Transpose", perm), ("Softmax", [target]), ("Transpose", perm)]


@pytest.mark.parametrize("op", OPS)
def test_axis_that_is_not_written_is_the_last(op: str) -> None:
    model, _ = wrapped(normalising((2, 3, 5), op=op, axis=None))
    assert with_swaps(model) == [("Transpose", [0, 2, 1]), (op, [1]), ("Transpose", [0, 2, 1])]


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
@pytest.mark.parametrize("op", OPS)
def test_element_types(op: str, elem_type: int) -> None:
    # onnxruntime 1.31 has no kernel for a Hardmax of other types than float, nor any for bfloat16.
    runs = op != "Hardmax" and elem_type != TensorProto.BFLOAT16
    wrapped(normalising(("N", 3, 5), op=op, elem_type=elem_type), runs=runs)


@pytest.mark.parametrize("size", [1, 3, 15, 17, 33, 197])
def test_sizes_that_are_not_aligned(size: int) -> None:
    wrapped(normalising(("N", "M", "K", size)))


@pytest.mark.parametrize("size", ["M", 0, 16, 32])
def test_any_size_where_the_gate_is_open(size: int | str) -> None:
    wrapped(normalising(("N", 3, size)), ALWAYS)


def test_first_of_several_greatest_stays_the_first() -> None:
    before = normalising((1, 2, 5), op="Hardmax")
    after, _ = wrapped(before)
    feeds = [{"x": np.array([[[1, 7, 7, 0, 7], [np.inf, 0, np.inf, 2, 1]]], np.float32)}]

    (one,), (other,) = run(before, feeds), run(after, feeds)
    assert same(one["y"], other["y"])
    assert one["y"].argmax(axis=-1).tolist() == [[1, 0]]


def test_metadata_goes_to_all_three() -> None:
    model = normalising((2, 3, 5))
    model.graph.node[1].doc_string = "attention"
    model.graph.node[1].metadata_props.add(key="scope", value="block 3")
    after, _ = wrapped(model)

    assert {node.doc_string for node in after.graph.node[1:-1]} == {"attention"}
    assert [[(item.key, item.value) for item in node.metadata_props] for node in after.graph.node[1:-1]] == [
        [("scope", "block 3"), ("onnxfuse.pass", "transpose-around-softmax")]
    ] * 3


BLOCK = """
    [shape{n}] shape{n} = Shape(h{n}) batch{n} = Gather<axis = 0>(shape{n}, zero)
    projected{n} = MatMul(h{n}, weight) rows{n} = Unsqueeze(batch{n}, first)
    five{n} = Concat<axis = 0>(rows{n}, parts) split{n} = Reshape(projected{n}, five{n})
    heads{n} = Transpose<perm = [2, 0, 3, 1, 4]>(split{n})
    q{n} = Gather<axis = 0>(heads{n}, zero) k{n} = Gather<axis = 0>(heads{n}, one)
    v{n} = Gather<axis = 0>(heads{n}, two) turned{n} = Transpose<perm = [0, 1, 3, 2]>(k{n})
    scores{n} = MatMul(q{n}, turned{n}) [softmax{n}] shares{n} = Softmax<axis = -1>(scores{n})
    mixed{n} = MatMul(shares{n}, v{n}) back{n} = Transpose<perm = [0, 2, 1, 3]>(mixed{n})
    three{n} = Concat<axis = 0>(rows{n}, joined) {out} = Reshape(back{n}, three{n})
"""


def test_attention_as_pytorch_exports_it_with_a_dynamic_batch() -> None:
    blocks = "".join(BLOCK.format(n=n, out=f"h{n + 1}" if n < 2 else "y") for n in range(3))
    weight = ", ".join(str((7 * i % 11 - 5) / 10) for i in range(8 * 24))
    model = parse(
        f"""<ir_version: 8, opset_import: ["": 13]> g (float[batch, 5, 8] h0) => (float[batch, 5, 8] y)
        <int64 zero = {{0}}, int64 one = {{1}}, int64 two = {{2}}, int64[1] first = {{0}},
        int64[4] parts = {{5, 3, 2, 4}}, int64[2] joined = {{5, 8}}, float[8, 24] weight = {{{weight}}}> {{ {blocks} }}"""
    )
    after, report = onnxfuse.apply(model, "transpose-around-softmax{axis=1}")

    assert [answer.at.node for answer in report.applied] == ["softmax2", "softmax1", "softmax0"]
    assert (report.rejected, report.declined) == ((), ())
    assert sum(each.sessions for each in report.passes) == 1  # the three regions are the same
    assert report.verdict is not None
    assert report.verdict.equivalent
    assert [node.op_type for node in after.graph.node].count("Transpose") == 3 * 3 + 2 * 3
    assert_same_results(model, after)


def test_both_branches_of_an_if() -> None:
    model = parse(
        f"""{HEADER} g (bool take, float[N, 3, 5] x) => (float[N, 3, 5] y) {{
            y = If(take) <
                then_branch = t () => (float[N, 3, 5] a) {{ [one] a = Softmax(x) }},
                else_branch = e () => (float[N, 3, 5] b) {{ [two] b = LogSoftmax(x) }}
            >
        }}"""
    )
    after, report = onnxfuse.apply(model, "transpose-around-softmax")

    assert {answer.at.node for answer in report.applied} == {"one", "two"}
    assert_same_results(model, after)


# ---------------------------------------------------------------------------------------------------- what does not


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("opset", [1, 7, 11, 12])
@pytest.mark.parametrize("axis", [None, 2, -1, 1])
def test_declines_below_opset_13(op: str, opset: int, axis: int | None) -> None:
    model = normalising((2, 3, 5), op=op, opset=opset, axis=axis)

    for pass_ in (TransposeAroundSoftmax(), ALWAYS):
        assert untouched(model, pass_) == (Declined(Place("node", op), FLATTENED.format(op=op)),)


@pytest.mark.parametrize("pass_", [TransposeAroundSoftmax(), ALWAYS], ids=str)
def test_declines_an_unknown_rank(pass_: TransposeAroundSoftmax) -> None:
    assert why_not(normalising(None), pass_) == "the rank is not known"


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
@pytest.mark.parametrize("gate", Gate)
def test_declines_a_rank_below_the_least(shape: tuple[int, ...], gate: Gate) -> None:
    rank = len(shape)
    assert why_not(normalising(shape), TransposeAroundSoftmax(gate=gate)) == f"the rank is {rank}, less than min-rank=3"
    assert why_not(normalising((*shape, 5)), TransposeAroundSoftmax(gate=gate, min_rank=rank + 2)) == (
        f"the rank is {rank + 1}, less than min-rank={rank + 2}"
    )


@pytest.mark.parametrize("axis", [3, -4, 2**40])
def test_declines_where_the_option_names_no_axis(axis: int) -> None:
    assert why_not(normalising((2, 3, 5)), TransposeAroundSoftmax(axis=axis)) == (
        f"axis={axis} is none of a tensor of rank 3"
    )


@pytest.mark.parametrize("axis", [3, -4])
def test_declines_where_the_node_names_no_axis(axis: int) -> None:
    assert why_not(normalising((2, 3, 5), axis=axis)) == f"its axis {axis} is none of a tensor of rank 3"


@pytest.mark.parametrize("axis", [0, 2, -4, -2])
def test_declines_another_axis_than_the_last(axis: int) -> None:
    assert why_not(normalising((2, 3, 5, 7), axis=axis)) == f"it normalises axis {axis % 4}, not the last one"


def test_declines_a_size_that_is_not_known() -> None:
    assert why_not(normalising((2, 3, "N"))) == "the size of the last axis is not known"


@pytest.mark.parametrize("size", [0, 16, 32, 208])
def test_declines_an_aligned_size(size: int) -> None:
    assert why_not(normalising((2, 3, size))) == f"the size of the last axis is {size}, a multiple of 16"


def test_declines_an_axis_that_the_caller_of_a_function_gives() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
        g (float[2, 3, 5] x) => (float[2, 3, 5] y) { y = local.example.Shares<axis = 2>(x) }
        <domain: "local.example", opset_import: ["": 17]>
        Shares <axis> (x) => (y) { c = Cast<to = 1>(x) shape = Constant<value_ints = [2, 3, 5]>()
            t = Reshape(c, shape) [inner] y = Softmax<axis: int = @axis>(t) }"""
    )

    assert untouched(model, ALWAYS) == (
        Declined(
            Place("inner", "Softmax", ("local.example.Shares",)),
            "the attribute axis is given by the caller of the function",
        ),
    )


def test_function_has_an_opset_of_its_own() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "local.example": 1]>
        g (float[2, 3, 5] x) => (float[2, 3, 5] y) { y = local.example.Shares(x) }
        <domain: "local.example", opset_import: ["": OPSET]>
        Shares (x) => (y) { shape = Constant<value = int64[3] {2, 3, 5}>() t = ConstantOfShape(shape)
            [inner] s = Softmax<axis = 2>(t) y = Max(x, s) }"""

    assert why_not(onnx.parser.parse_model(text.replace("OPSET", "12"))) == FLATTENED.format(op="Softmax")
    wrapped(onnx.parser.parse_model(text.replace("OPSET", "13")))


@pytest.mark.parametrize("axis", [-3, 0, 1, 2])
@pytest.mark.parametrize("gate", Gate)
def test_says_nothing_where_the_axis_is_where_it_is_wanted(axis: int, gate: Gate) -> None:
    assert untouched(normalising((5, 5, 5), axis=axis % 3), TransposeAroundSoftmax(axis=axis, gate=gate)) == ()


def test_softmax_of_another_domain_is_no_softmax() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "com.example": 1]>
        g (float[2, 3, 5] x) => (float[2, 3, 5] y) { y = com.example.Softmax(x) }"""
    )
    assert untouched(model, ALWAYS) == ()


# ---------------------------------------------------------------------------------------------------- its own output


@pytest.mark.parametrize(
    ("first", "then"),
    list(itertools.permutations([TransposeAroundSoftmax(axis=axis, gate=Gate.ALWAYS) for axis in (0, 1, -1)], 2)),
    ids=str,
)
def test_no_options_move_an_axis_twice(first: TransposeAroundSoftmax, then: TransposeAroundSoftmax) -> None:
    once, _ = onnxfuse.apply(normalising((2, 3, 4, 5), axis=2), first)
    assert why_not(once, then) == MOVED

    for node in once.graph.node:
        del node.metadata_props[:]
    assert why_not(once, then) == MOVED


def swapped(first: str, second: str, middle: str = "[at] b = Softmax<axis = 2>(a)") -> onnx.ModelProto:
    """Returns a Softmax over the last axis between two Transposes."""
    return parse(
        f"""{HEADER} g (float[2, 3, 5] x) => (float[I, J, K] y, float[I, J, K] z) {{
            a = Transpose{first}(x) {middle} y = Transpose{second}(b) z = Neg(a) }}"""
    )


@pytest.mark.parametrize("perms", [("<perm = [0, 2, 1]>",) * 2, ("", ""), ("<perm = [2, 1, 0]>", "")])
def test_swaps_that_someone_else_wrote_count_as_well(perms: tuple[str, str]) -> None:
    assert why_not(swapped(*perms)) == MOVED


@pytest.mark.parametrize(
    "model",
    [
        swapped("<perm = [2, 0, 1]>", "<perm = [1, 2, 0]>"),
        swapped("<perm = [0, 2, 1]>", "<perm = [2, 1, 0]>"),
        swapped("<perm = [1, 0, 2]>", "<perm = [1, 0, 2]>"),
        swapped("<perm = [0, 1, 2]>", "<perm = [0, 1, 2]>"),
        swapped("<perm = [0, 2, 1]>", "<perm = [0, 2, 1]>", "[at] c = Softmax<axis = 2>(a) b = Identity(c)"),
        swapped("", "", "n = Neg(a) [at] b = Softmax<axis = 2>(n)"),
        parse(
            f"""{HEADER} g (float[2, 3, 5] x) => (float[I, J, K] b, float[I, J, K] y) {{
                a = Transpose(x) [at] b = Softmax<axis = 2>(a) y = Transpose(b) }}"""
        ),
    ],
    ids=["inverse", "two swaps", "other axes", "none", "not next", "not first", "returned"],
)
def test_other_transposes_around_are_none_of_its_own(model: onnx.ModelProto) -> None:
    wrapped(model, TransposeAroundSoftmax(axis=0))


# ---------------------------------------------------------------------------------------------------- options


def test_options_are_read_and_written() -> None:
    text = "transpose-around-softmax{axis=-2,min-rank=2,gate=always}"
    (pass_,) = Pipeline.parse(text).members

    assert pass_ == TransposeAroundSoftmax(axis=-2, min_rank=2, gate=Gate.ALWAYS)
    assert pass_ == TransposeAroundSoftmax(axis=-2, min_rank=2, gate="always")  # type: ignore[arg-type]
    assert str(pass_) == text
    assert str(TransposeAroundSoftmax(gate="unaligned")) == "transpose-around-softmax"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("gate=sometimes", "{gate} is one of unaligned, always, not 'sometimes'"),
        ("axis=last", "{axis} is an int, not 'last'"),
        ("rank=3", " has no option 'rank': it has axis, min-rank, gate"),
    ],
)
def test_wrong_options_are_told(options: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.parse(f"transpose-around-softmax{{{options}}}")
    assert str(caught.value) == f"transpose-around-softmax{said}"


def test_wrong_gate_is_told_in_python_too() -> None:
    with pytest.raises(ValueError, match="'sometimes' is not a valid Gate"):
        TransposeAroundSoftmax(gate="sometimes")  # type: ignore[arg-type]


def test_ascend_is_default_and_this() -> None:
    assert str(Pipeline.parse("ascend")) == f"{Pipeline.parse('default')},transpose-around-softmax"


LAST = f"{HEADER} g (float[N, 6, M, 7] x) => (float[N, 6, M, 7] y) {{ n = Neg(x) s = Softmax<axis = 2>(n) y = Neg(s) }}"
AS_LAST = f"""{HEADER} g (float[N, 6, M, 7] x) => (float[N, 6, M, 7] y) {{
    n = Neg(x) a = Transpose<perm = [0, 1, 3, 2]>(n) b = Softmax<axis = 3>(a) s = Transpose<perm = [0, 1, 3, 2]>(b)
    y = Neg(s) }}"""


def test_laws_hold_with_the_gate_open() -> None:
    pass_ = TransposeAroundSoftmax(axis=-1, gate=Gate.ALWAYS)

    check_rewrite(LAST, AS_LAST, pass_)
    assert_pass_laws(pass_, examples=[(LAST, AS_LAST)])

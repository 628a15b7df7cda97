"""merge-sliced: every form of Slice, and what a chain of them becomes."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto

import onnxfuse
from onnxfuse.report.records import Report
from tests.passes.chains import I32_MAX, I32_MIN, MAX, MIN, Cut, Parts, chain, cuts_of
from tests.passes.running import assert_same_results, ops_of, parse

HEADER = '<ir_version: 8, opset_import: ["": 17]>'


def merged(model: onnx.ModelProto, *, verify: str = "region") -> tuple[onnx.ModelProto, Report]:
    """Applies the pass; asserts that what it proposes is right."""
    result = onnxfuse.apply(model, "merge-sliced", verify=verify)
    assert result.report.rejected == ()
    assert result.report.failed == ()
    onnx.checker.check_model(result.model, full_check=model.ir_version > 3)
    assert_same_results(model, result.model)
    return result


# ---------------------------------------------------------------------------------------------------- what merges

MERGES: dict[str, tuple[tuple[int | str, ...], list[Parts], Parts]] = {
    "different axes": (("N", "M"), [{0: (1, MAX, 1)}, {1: (0, -1, 1)}], {0: (1, MAX, 1), 1: (0, -1, 1)}),
    "axes come out in order": (("N", "M"), [{1: (1, MAX, 1)}, {0: (2, MAX, 1)}], {0: (2, MAX, 1), 1: (1, MAX, 1)}),
    "different axes, each of any form": (
        ("N", "M", 7),
        [{0: (-5, MAX, 1), 2: (3, MIN, -2)}, {1: (-1, 3, -1)}],
        {0: (-5, MAX, 1), 1: (-1, 3, -1), 2: (3, MIN, -2)},
    ),
    "one axis, any length": (("N",), [{0: (1, MAX, 1)}, {0: (2, MAX, 1)}], {0: (3, MAX, 1)}),
    "one axis, from both ends": (("N",), [{0: (1, -1, 1)}, {0: (1, -1, 1)}], {0: (2, -2, 1)}),
    "one axis, steps": (("N",), [{0: (1, MAX, 2)}, {0: (1, MAX, 3)}], {0: (3, MAX, 6)}),
    "one axis, last elements": (("N",), [{0: (-5, MAX, 1)}, {0: (-3, MAX, 1)}], {0: (-3, MAX, 1)}),
    "one axis, first elements": (("N",), [{0: (0, 5, 1)}, {0: (0, 3, 1)}], {0: (0, 3, 1)}),
    "one axis, known length": ((10,), [{0: (-5, MAX, 1)}, {0: (2, MAX, 1)}], {0: (7, MAX, 1)}),
    "one axis, known length, from both ends": ((10,), [{0: (0, 5, 1)}, {0: (-2, MAX, 1)}], {0: (3, 5, 1)}),
    "one axis, known length, reversed": ((10,), [{0: (-1, MIN, -1)}, {0: (1, 4, 1)}], {0: (8, 5, -1)}),
    "one axis, known length, reversed to the front": ((6,), [{0: (-1, MIN, -1)}, {0: (3, MAX, 1)}], {0: (2, MIN, -1)}),
    "bounds beyond the length clamp": ((5,), [{0: (1, 100, 1)}, {0: (-100, 3, 1)}], {0: (1, 4, 1)}),
    "start beyond the end": ((5,), [{0: (100, MAX, 1)}, {0: (0, 2, 1)}], {0: (0, 0, 1)}),
    "nothing is left, known length": ((5,), [{0: (4, 2, 1)}, {0: (1, MAX, 1)}], {0: (0, 0, 1)}),
    "nothing is left, any length": (("N",), [{0: (0, 2, 1)}, {0: (2, MAX, 1)}], {0: (0, 0, 1)}),
    "an empty axis beside": ((0, "N"), [{1: (1, MAX, 1)}, {1: (1, MAX, 1)}], {1: (2, MAX, 1)}),
    "a part that selects everything is left out": (
        ("N", "M"),
        [{0: (0, MAX, 1), 1: (1, MAX, 1)}, {0: (0, I32_MAX, 1)}],
        {1: (1, MAX, 1)},
    ),
    "lowest start and end": (("N",), [{0: (MIN, MAX, 1)}, {0: (1, MAX, 1)}], {0: (1, MAX, 1)}),
    "as PyTorch flips": (("N", "M"), [{0: (-1, MIN + 1, -1)}, {1: (-1, MIN + 1, -1)}], {
        0: (-1, MIN + 1, -1), 1: (-1, MIN + 1, -1),
    }),
    "negative axes, known rank": (("N", "M"), [{-1: (1, MAX, 1)}, {1: (1, MAX, 1)}], {1: (2, MAX, 1)}),
    "several axes in any order": (
        ("N", "M", "K"),
        [{2: (1, MAX, 1), 0: (1, MAX, 1)}, {-2: (2, MAX, 1), -1: (1, MAX, 1)}],
        {0: (1, MAX, 1), 1: (2, MAX, 1), 2: (2, MAX, 1)},
    ),
    "three": (("N",), [{0: (1, MAX, 1)}, {0: (0, -2, 1)}, {0: (0, MAX, 2)}], {0: (1, -2, 2)}),
    "four": ((9, "N"), [{0: (1, MAX, 1)}, {1: (1, MAX, 1)}, {0: (0, MAX, 2)}, {1: (0, -1, 1)}], {
        0: (1, MAX, 2), 1: (1, -1, 1),
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", MERGES)
def test_merges(case: str) -> None:
    shape, cuts, expected = MERGES[case]
    model, report = merged(chain(shape, *cuts))

    assert cuts_of(model) == [expected]
    (applied,) = report.applied
    static = all(isinstance(shape[axis], int) for cut in cuts for axis in cut) and isinstance(shape[0], int)
    assert applied.grade in ("exact-for-all-shapes", "exact-for-this-shape" if static else "")
    assert applied.removed == tuple((f"slice{index}", "Slice") for index in range(1, len(cuts) + 1))
    assert report.renamed_values == {f"v{index}": None for index in range(1, len(cuts))}


GONE: dict[str, tuple[tuple[int | str, ...], list[Parts]]] = {
    "both select everything": (("N", "M"), [{0: (0, MAX, 1)}, {1: (0, MAX, 1)}]),
    "reversed twice": (("N",), [{0: (-1, MIN, -1)}, {0: (-1, MIN + 1, -1)}]),
    "clamped, known length": ((4,), [{0: (0, 4, 1)}, {0: (-9, 9, 1)}]),
    "nothing of nothing": ((0,), [{0: (3, 9, 2)}, {0: (1, MAX, 1)}]),
    "one axis of one element": ((1, "N"), [{0: (-1, MIN, -1)}, {0: (0, 1, 1)}]),
}


@pytest.mark.parametrize("case", GONE)
def test_chain_that_selects_everything_disappears(case: str) -> None:
    shape, cuts = GONE[case]
    model, report = merged(chain(shape, *cuts))

    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [("Identity", "x", "y")]
    assert not model.graph.initializer
    assert [(name, op) for applied in report.applied for name, op in applied.added] == [("slice2", "Identity")]


def test_chain_that_selects_everything_gives_its_name_to_what_goes_in() -> None:
    model, report = merged(
        parse(
            f"""{HEADER} g (float[N] x) => (float[N] y)
            <int64[1] last = {{-1}}, int64[1] first = {{{MIN + 1}}}, int64[1] rows = {{0}}> {{
                relu = Relu(x)
                [one] back = Slice(relu, last, first, rows, last)
                [two] y = Slice(back, last, first, rows, last)
            }}"""
        )
    )

    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [("Relu", "x", "y")]
    assert not model.graph.initializer
    assert report.renamed_values == {"relu": "y", "back": None}


def test_long_chain_ends_as_one() -> None:
    model, report = merged(chain(("N",), *[{0: (1, MAX, 1)}] * 70))

    assert cuts_of(model) == [{0: (70, MAX, 1)}]
    assert len(report.renamed_values) == 69


def test_two_chains_with_one_head_are_two() -> None:
    model, report = merged(
        parse(
            f"""{HEADER} g (float[N, M] x) => (float[A, B] y, float[C, D] z)
            <int64[1] one = {{1}}, int64[1] far = {{{MAX}}}, int64[1] rows = {{0}}, int64[1] columns = {{1}}> {{
                head = Slice(x, one, far, rows)
                left = Slice(head, one, far, rows)
                [first] y = Slice(left, one, far, columns)
                right = Slice(head, one, far, columns)
                [second] z = Slice(right, one, far, columns)
            }}"""
        )
    )

    assert cuts_of(model) == [{0: (1, MAX, 1)}, {0: (1, MAX, 1), 1: (1, MAX, 1)}, {1: (2, MAX, 1)}]
    assert {(outcome.at.node, outcome.reason, outcome.culprit) for outcome in report.declined} == {
        ("first", "the first Slice has another use", "head"),
        ("second", "the first Slice has another use", "head"),
    }


# ---------------------------------------------------------------------------------------------------- every opset


@pytest.mark.parametrize("opset", [1, 2, 6, 7, 9])
@pytest.mark.parametrize("axes", [True, False])
def test_attributes(opset: int, axes: bool) -> None:
    cuts = [Cut({0: (1, MAX, 1), 1: (0, -1, 1)}, axes=axes), Cut({0: (2, 9, 1)}, axes=axes)]
    before = chain(("N", 6), *cuts, opset=opset, ir_version=3)
    model, report = merged(before)

    assert cuts_of(model) == [{0: (3, 10, 1), 1: (0, -1, 1)}]
    assert not model.graph.initializer
    assert [value.name for value in model.graph.input] == ["x"]
    assert len(report.applied) == 1


@pytest.mark.parametrize("opset", [10, 11, 13, 17, 21, 23])
@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize(("axes", "steps"), [(True, True), (True, False), (False, True), (False, False)])
def test_inputs(opset: int, dtype: int, axes: bool, steps: bool) -> None:
    step = 2 if steps else 1
    cuts = [
        Cut({0: (1, I32_MAX, step), 1: (0, -1, step)}, dtype=dtype, axes=axes, steps=steps),
        Cut({0: (2, I32_MAX, step)}, axes=axes, steps=steps, as_nodes=True),
    ]
    model, _ = merged(chain(("N", 6), *cuts, opset=opset))

    (node,) = model.graph.node
    assert cuts_of(model) == [{0: (1 + 2 * step, MAX, step**2), 1: (0, -1, step)}]
    assert len(node.input) == (5 if steps else 4)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.INT64}


@pytest.mark.parametrize("length", ["N", 6])
def test_int32_extremes(length: int | str) -> None:
    flip = Cut({0: (-1, I32_MIN, -1)}, dtype=TensorProto.INT32)
    most = Cut({0: (I32_MIN, I32_MAX, 1)}, dtype=TensorProto.INT32)
    model, _ = merged(chain((length,), flip, most, flip))

    assert ops_of(model) == ["Identity"]


@pytest.mark.parametrize(
    "elem_type",
    [
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.DOUBLE,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
        TensorProto.STRING,
    ],
)
def test_element_types(elem_type: int) -> None:
    model, report = merged(chain(("N", 40), {0: (1, MAX, 2)}, {1: (3, -3, 1)}, {1: (1, MAX, 3)}, elem_type=elem_type))

    assert cuts_of(model) == [{0: (1, MAX, 2), 1: (4, 35, 3)}]
    assert report.applied[0].grade == "exact-for-all-shapes"


@pytest.mark.parametrize(
    "elem_type", [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.UINT4]
)
def test_element_types_that_numpy_does_not_have(elem_type: int) -> None:
    before = chain(("N", 40), {0: (1, MAX, 2)}, {1: (3, -3, 1)}, elem_type=elem_type, opset=23, ir_version=11)
    model, report = onnxfuse.apply(before, "merge-sliced", verify="region")

    assert cuts_of(model) == [{0: (1, MAX, 2), 1: (3, -3, 1)}]
    assert report.applied[0].grade == "exact-for-all-shapes"


def test_slice_without_bounds_is_part_of_a_chain() -> None:
    empty = Cut({}, steps=False)
    model, _ = merged(chain(("N",), empty, {0: (1, MAX, 1)}))

    assert cuts_of(model) == [{0: (1, MAX, 1)}]


# ---------------------------------------------------------------------------------------------------- constants


def test_shared_initializer_stays_as_long_as_it_is_read() -> None:
    model, _ = merged(
        parse(
            f"""{HEADER} g (int64[N] x) => (int64[A] y, int64[N] z)
            <int64[1] one = {{1}}, int64[1] far = {{{MAX}}}, int64[1] rows = {{0}}> {{
                head = Slice(x, one, far, rows, one)
                y = Slice(head, one, far, rows)
                z = Add(x, one)
            }}"""
        )
    )

    assert {tensor.name for tensor in model.graph.initializer} == {"one", "y_starts", "y_ends", "y_axes"}
    assert cuts_of(model) == [{0: (2, MAX, 1)}]


def test_initializers_listed_as_inputs_before_ir_4() -> None:
    before = chain(("N",), {0: (1, MAX, 1)}, {0: (2, MAX, 2)}, opset=13, ir_version=3)
    assert len(before.graph.input) == 9
    model, _ = merged(before)

    names = [f"slice2_{name}" for name in ("starts", "ends", "axes", "steps")]
    assert [value.name for value in model.graph.input] == ["x", *names]
    assert [tensor.name for tensor in model.graph.initializer] == names
    assert cuts_of(model) == [{0: (3, MAX, 2)}]


def test_indices_that_follow_from_constants_and_known_dims() -> None:
    model, report = merged(
        parse(
            f"""{HEADER} g (float[N, 8] x) => (float[A, B] y)
            <int64 one = {{1}}, int64 two = {{2}}, int64[1] zero = {{0}}, int64[1] rows = {{1}}> {{
                shape = Shape(x)
                width = Gather(shape, one)
                half = Div(width, two)
                ends = Unsqueeze(half, zero)
                starts = Cast<to = 7>(zero)
                head = Slice(x, starts, ends, rows)
                far = Constant<value_ints = [{MAX}]>()
                start = Identity(rows)
                y = Slice(head, start, far, rows)
            }}"""
        )
    )

    assert cuts_of(model) == [{1: (1, 4, 1)}]
    assert ops_of(model) == ["Slice"]
    assert len(model.graph.initializer) == 3
    assert report.applied[0].grade == "value-tested"


def test_constant_data_is_merged_too() -> None:
    weights = ", ".join(map(str, range(12)))
    model, _ = merged(
        parse(
            f"""{HEADER} g (float[N] x) => (float[M] y)
            <float[12] w = {{{weights}}}, int64[1] two = {{2}}, int64[1] far = {{{MAX}}}, int64[1] rows = {{0}}> {{
                head = Slice(w, two, far, rows)
                tail = Slice(head, two, far, rows, two)
                first = Slice(tail, rows, two, rows)
                y = Concat<axis = 0>(x, first)
            }}"""
        )
    )

    assert cuts_of(model) == [{0: (4, 7, 2)}]

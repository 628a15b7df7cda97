"""merge-sliced: every form of Slice, what it declines and why, and random chains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

import onnxfuse
from onnxfuse.passes._slices import AMBIGUOUS, INEXPRESSIBLE
from onnxfuse.report.records import Declined, Place, Report
from tests.passes.chains import MAX, MIN, Cut, Numbers, chain, cuts_of, ops_of
from tests.passes.profile import EXAMPLES
from tests.passes.running import assert_same_results, parse, refer, run, same

Parts = Mapping[int, Numbers]

I32_MAX, I32_MIN = 2**31 - 1, -(2**31)
NO_SINGLE_SLICE = INEXPRESSIBLE.format(axis=0)
TOO_LARGE = "the bounds on axis {axis} are too large to prove the merge for every length"
HEADER = '<ir_version: 8, opset_import: ["": 17]>'


def merged(model: onnx.ModelProto, *, verify: str = "region") -> tuple[onnx.ModelProto, Report]:
    """Applies the pass; asserts that what it proposes is right."""
    result = onnxfuse.apply(model, "merge-sliced", verify=verify)
    assert result.report.rejected == ()
    assert result.report.failed == ()
    onnx.checker.check_model(result.model, full_check=model.ir_version > 3)
    assert_same_results(model, result.model)
    return result


def declined(model: onnx.ModelProto) -> tuple[Declined, ...]:
    """Applies the pass where it must not fire; returns why not."""
    result = onnxfuse.apply(model, "merge-sliced")
    assert result.report.applied == ()
    assert result.report.rejected == ()
    assert result.model.SerializeToString() == model.SerializeToString()
    return result.report.declined


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
    "one axis, known length": ((10,), [{0: (-5, MAX, 1)}, {0: (2, MAX, 1)}], {0: (7, 10, 1)}),
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
        0: (1, 8, 2), 1: (1, -1, 1),
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
                y = Slice(left, one, far, columns)
                right = Slice(head, one, far, columns)
                z = Slice(right, one, far, columns)
            }}"""
        )
    )

    assert cuts_of(model) == [{0: (1, MAX, 1)}, {0: (1, MAX, 1), 1: (1, MAX, 1)}, {1: (2, MAX, 1)}]
    assert {(outcome.at.node, outcome.reason, outcome.culprit) for outcome in report.declined} == {
        ("y", "the first Slice has another use", "head"),
        ("z", "the first Slice has another use", "head"),
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


@pytest.mark.parametrize(("position", "what"), [(1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")])
@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("overridable", [True, False], ids=["overridable", "runtime"])
def test_declines_indices_that_are_not_constant(position: int, what: str, which: int, overridable: bool) -> None:
    model = chain(("N",), {0: (1, MAX, 1)}, {0: (2, MAX, 2)})
    name = f"slice{which}.{what}"
    assert model.graph.node[which - 1].input[position] == name
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
    if not overridable:
        kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    culprit = "slice1" if which == 1 else None

    assert declined(model) == (Declined(Place("slice2", "Slice"), f"the {what} are not constant", culprit),)


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


# ---------------------------------------------------------------------------------------------------- what does not


@pytest.mark.parametrize(
    ("shape", "cuts", "why"),
    [
        (("N",), [{0: (-5, MAX, 1)}, {0: (2, MAX, 1)}], NO_SINGLE_SLICE),
        (("N",), [{0: (0, 5, 1)}, {0: (-2, MAX, 1)}], NO_SINGLE_SLICE),
        (("N", 4), [{0: (-5, MAX, 1)}, {0: (2, MAX, 1), 1: (1, 2, 1)}], NO_SINGLE_SLICE),
        (("N",), [{0: (-3, MIN, -1)}, {0: (0, MAX, 1)}], AMBIGUOUS),
        ((2,), [{0: (-3, MIN, -1)}, {0: (0, MAX, 1)}], AMBIGUOUS),
        (("N",), [{0: (-1, MAX, -1)}, {0: (0, MAX, 1)}], AMBIGUOUS),
        ((4,), [{0: (-1, I32_MAX, -1)}, {0: (0, MAX, 1)}], AMBIGUOUS),
        ((3, "N"), [{1: (5000, MAX, 1)}, {1: (5000, MAX, 1)}], TOO_LARGE.format(axis=1)),
        ((3,), [{0: (0, MAX, 0)}, {0: (1, MAX, 1)}], "starts, ends, axes and steps do not fit together"),
    ],
)
def test_declines(shape: tuple[int | str, ...], cuts: list[Parts], why: str) -> None:
    (outcome,) = declined(chain(shape, *cuts))

    assert outcome.at == Place("slice2", "Slice")
    assert outcome.reason == why
    assert outcome.culprit == "slice1"


def test_declines_an_axis_that_is_named_twice() -> None:
    (outcome,) = declined(chain(("N", 4), {1: (0, 3, 1), -1: (1, 2, 1)}, {0: (1, MAX, 1)}))
    assert (outcome.reason, outcome.culprit) == ("an axis is named twice", "slice1")


def test_takes_the_part_of_a_chain_that_merges() -> None:
    model, report = merged(chain(("N",), {0: (-5, MAX, 1)}, {0: (2, MAX, 1)}, {0: (1, MAX, 1)}))

    assert cuts_of(model) == [{0: (-5, MAX, 1)}, {0: (3, MAX, 1)}]
    assert [(outcome.at.node, outcome.reason, outcome.culprit) for outcome in report.declined] == [
        ("slice3", NO_SINGLE_SLICE, "slice1")
    ]


def test_declines_a_first_slice_that_is_a_graph_output() -> None:
    model = chain(("N",), {0: (1, MAX, 1)}, {0: (1, MAX, 1)})
    model.graph.output.append(onnx.helper.make_tensor_value_info("v1", TensorProto.FLOAT, [None]))

    assert declined(model) == (Declined(Place("slice2", "Slice"), "the first Slice is a graph output", "slice1"),)


def test_declines_a_first_slice_with_another_use() -> None:
    model = chain(("N",), {0: (1, MAX, 1)}, {0: (1, MAX, 1)})
    model.graph.node.append(onnx.helper.make_node("Neg", ["v1"], ["z"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, [None]))

    assert declined(model) == (Declined(Place("slice2", "Slice"), "the first Slice has another use", "slice1"),)


@pytest.mark.parametrize("also_outside", [True, False])
def test_declines_a_first_slice_that_a_branch_reads(also_outside: bool) -> None:
    inside = "z = Slice(head, one, far, rows)" if not also_outside else "z = Identity(head)"
    outside = "y = Slice(head, one, far, rows)" if also_outside else "y = Neg(x)"
    model = parse(
        f"""{HEADER} g (float[N] x, bool take) => (float[A] y, float[B] w)
        <int64[1] one = {{1}}, int64[1] far = {{{MAX}}}, int64[1] rows = {{0}}> {{
            head = Slice(x, one, far, rows)
            {outside}
            [if] w = If(take) <
                then_branch = then_graph () => (float[B] z) {{ {inside} }},
                else_branch = else_graph () => (float[B] v) {{ v = Identity(x) }}
            >
        }}"""
    )

    reason = "the first Slice has another use" if also_outside else "the first Slice is read in a subgraph"
    place = Place("y", "Slice") if also_outside else Place("z", "Slice", ("if",))
    assert declined(model) == (Declined(place, reason, "head"),)


@pytest.mark.parametrize(
    ("axes", "outcome"),
    [
        ((-1, -2), {-2: (1, MAX, 1), -1: (1, MAX, 1)}),
        ((-1, -1), {-1: (2, MAX, 1)}),
        ((0, 1), {0: (1, MAX, 1), 1: (1, MAX, 1)}),
        ((0, -1), "axes are counted from both ends, and the rank is not known"),
    ],
)
def test_rank_that_is_not_known(axes: tuple[int, int], outcome: Parts | str) -> None:
    before = parse(
        f"""{HEADER} g (float[N] data, int64[R] shape) => (float y)
        <int64[1] one = {{1}}, int64[1] far = {{{MAX}}}, int64[1] a = {{{axes[0]}}}, int64[1] b = {{{axes[1]}}}> {{
            x = Reshape(data, shape)
            head = Slice(x, one, far, a)
            y = Slice(head, one, far, b)
        }}"""
    )
    before.graph.output[0].type.tensor_type.ClearField("shape")
    model, report = onnxfuse.apply(before, "merge-sliced", verify="region")

    if isinstance(outcome, str):
        assert [(answer.at.node, answer.reason, answer.culprit) for answer in report.declined] == [("y", outcome, "head")]
        return
    assert cuts_of(model) == [outcome]
    feeds = [
        {"data": np.arange(np.prod(shape), dtype=np.float32), "shape": np.array(shape)}
        for shape in ((3, 4), (2, 3, 4), (1, 1, 1, 5))
    ]
    for one, other in zip(run(before, feeds), run(model, feeds), strict=True):
        assert same(one["y"], other["y"])


def test_attribute_that_the_caller_of_a_function_gives() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 9, "local.example": 1]>
        g (float[N] x) => (float[M] y) { y = local.example.Crop<from = [1]>(x) }
        <domain: "local.example", opset_import: ["": 9]>
        Crop <from> (x) => (y) {
            head = Slice<starts: ints = @from, ends = [9]>(x)
            y = Slice<starts = [1], ends = [9]>(head)
        }"""
    )

    assert declined(model) == (
        Declined(
            Place("y", "Slice", ("local.example.Crop",)),
            "the attribute starts is given by the caller of the function",
            "head",
        ),
    )


def test_node_left_out_by_name() -> None:
    model = chain(("N",), {0: (1, MAX, 1)}, {0: (1, MAX, 1)}, {0: (1, MAX, 1)})
    result = onnxfuse.apply(model, "merge-sliced", exclude=["slice2"])

    assert result.model.SerializeToString() == model.SerializeToString()
    assert {(answer.at.node, answer.culprit) for answer in result.report.declined} == {
        ("slice3", "slice2"),
        ("slice2", None),
    }


@pytest.mark.parametrize("op", ["com.example.Slice(x, one, far)", "Identity(x)"])
def test_other_nodes_are_no_part_of_a_chain(op: str) -> None:
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17, "com.example": 1]>
        g (float[N] x) => (float[M] y) <int64[1] one = {{1}}, int64[1] far = {{{MAX}}}> {{
            head = {op}
            y = Slice(head, one, far)
        }}"""
    )

    assert declined(model) == ()


# ---------------------------------------------------------------------------------------------------- random chains

SYMBOLS = ("N", "M", "K")
SIZES = ((0, 1, 2), (1, 3, 0), (2, 2, 5), (3, 0, 1), (5, 8, 13), (8, 5, 4), (13, 4, 9))
small = st.integers(-10, 10)
extremes = {
    TensorProto.INT64: st.sampled_from([MAX, MIN, MIN + 1, I32_MAX, -I32_MAX, I32_MIN, MAX - 1]),
    TensorProto.INT32: st.sampled_from([I32_MAX, I32_MIN, I32_MIN + 1, I32_MAX - 1]),
}


@st.composite
def random_cuts(draw: st.DrawFn, rank: int, opset: int) -> Cut:
    """Draws one Slice of a tensor of that rank."""
    dtype = draw(st.sampled_from([TensorProto.INT64, TensorProto.INT32])) if opset >= 10 else TensorProto.INT64
    bound = st.one_of(small, small, extremes[dtype])
    axes = draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
    step = st.sampled_from([-3, -2, -1, 1, 1, 1, 2, 3]) if opset >= 10 else st.just(1)
    parts = {axis: (draw(bound), draw(bound), draw(step)) for axis in axes}
    written = {axis - rank if draw(st.booleans()) else axis: part for axis, part in parts.items()}
    return Cut(
        written,
        dtype=dtype,
        axes=list(written) != list(range(len(written))) or draw(st.booleans()),
        steps=any(step != 1 for _, _, step in parts.values()) or draw(st.booleans()),
        as_nodes=opset >= 10 and draw(st.booleans()),
    )


@st.composite
def random_chains(draw: st.DrawFn) -> onnx.ModelProto:
    """Draws a chain of two to four Slices."""
    opset = draw(st.sampled_from([1, 7, 9, 10, 11, 13, 17, 21, 23]))
    shape = draw(st.lists(st.one_of(st.integers(0, 8), st.sampled_from(SYMBOLS)), min_size=1, max_size=4))
    cuts = draw(st.lists(random_cuts(len(shape), opset), min_size=2, max_size=4))
    elem_type = draw(st.sampled_from([TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING]))
    return chain(shape, *cuts, opset=opset, elem_type=elem_type, ir_version=draw(st.sampled_from([3, 8, 10])))


def numbered(model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """Returns feeds in which every element of x is told apart from its neighbours, for several sizes of the symbols."""
    tensor = model.graph.input[0].type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    feeds = []
    for sizes in SIZES if any(isinstance(dim, str) for dim in dims) else SIZES[:1]:
        bound = dict(zip(SYMBOLS, sizes, strict=True))
        shape = [bound[dim] if isinstance(dim, str) else dim for dim in dims]
        ids = np.arange(np.prod(shape)).reshape(shape)
        if tensor.elem_type == TensorProto.STRING:
            feeds.append({"x": ids.astype(str).astype(object)})
        elif tensor.elem_type == TensorProto.BOOL:
            feeds.append({"x": (ids * 2654435761 >> 7) % 2 == 1})
        else:
            feeds.append({"x": ids.astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))})
    return feeds


@EXAMPLES
@given(model=random_chains())
def test_random_chains(model: onnx.ModelProto) -> None:
    given_bytes = model.SerializeToString()
    after, report = onnxfuse.apply(model, "merge-sliced", verify="region")

    assert report.rejected == ()
    assert report.failed == ()
    assert model.SerializeToString() == given_bytes
    assert report.modified or after.SerializeToString() == given_bytes
    feeds = numbered(model)
    for evaluate in (run, refer):
        for feed, one, other in zip(feeds, evaluate(model, feeds), evaluate(after, feeds), strict=True):
            assert same(one["y"], other["y"]), (evaluate.__name__, feed["x"].shape, one, other)
    assert_complete(model, after, report)
    assert not onnxfuse.apply(after, "merge-sliced", verify="off").report.modified


def assert_complete(model: onnx.ModelProto, after: onnx.ModelProto, report: Report) -> None:
    """Asserts that a chain of known lengths and positive steps is one Slice or none, and that the rest has a reason."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    known = all(dim.HasField("dim_value") for dim in dims)
    left = ops_of(after).count("Slice")
    if known and not any(step < 0 for step in steps_of(model)):
        assert left <= 1
        assert report.declined == ()
    if left > 1:
        reasons = {outcome.reason for outcome in report.declined}
        allowed = {AMBIGUOUS} if known else {AMBIGUOUS, *(INEXPRESSIBLE.format(axis=axis) for axis in range(len(dims)))}
        assert reasons
        assert reasons <= allowed


def steps_of(model: onnx.ModelProto) -> list[int]:
    """Returns the steps that are written anywhere in a chain."""
    tensors = [*model.graph.initializer, *(node.attribute[0].t for node in model.graph.node if node.op_type == "Constant")]
    return [
        step for tensor in tensors if tensor.name.endswith("steps") for step in numpy_helper.to_array(tensor).tolist()
    ]

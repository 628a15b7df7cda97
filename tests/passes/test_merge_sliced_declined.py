"""merge-sliced: what it declines, and why."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnxfuse
from onnxfuse.passes import _slices, merge_sliced
from onnxfuse.passes._slices import AMBIGUOUS, INEXPRESSIBLE
from onnxfuse.report.records import Declined, Place
from onnxfuse.testing.oracle import run, same
from onnxfuse.verification import region_moves, sweep
from tests.passes.chains import I32_MAX, MAX, MIN, Parts, chain, cuts_of
from tests.passes.running import parse

NO_SINGLE_SLICE = INEXPRESSIBLE.format(axis=0)
TOO_LARGE = "the bounds on axis {axis} are too large to prove the merge for every length"
HEADER = '<ir_version: 8, opset_import: ["": 17]>'


def declined(model: onnx.ModelProto) -> tuple[Declined, ...]:
    """Applies the pass where it must not fire; returns why not."""
    result = onnxfuse.apply(model, "merge-sliced")
    assert result.report.applied == ()
    assert result.report.rejected == ()
    assert result.model.SerializeToString() == model.SerializeToString()
    return result.report.declined


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
    model, report = onnxfuse.apply(chain(("N",), {0: (-5, MAX, 1)}, {0: (2, MAX, 1)}, {0: (1, MAX, 1)}), "merge-sliced")

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
        assert [(answer.at.node, answer.reason, answer.culprit) for answer in report.declined] == [
            ("y", outcome, "head")
        ]
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


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        (("N", "M", "K", "L"), dict.fromkeys(range(4), (10, -10, 1))),
        (("N", 3, "H", "W"), dict.fromkeys((2, 3), (300, MAX, 1))),
        (("N", "M"), dict.fromkeys(range(2), (0, 100_000, 1))),
        (("N", "M"), dict.fromkeys(range(2), (0, I32_MAX - 1, 1))),
        ((0, "N", "M"), dict.fromkeys((1, 2), (0, I32_MAX - 1, 3))),
        ((1, 3, 20_000, 20_000), dict.fromkeys((2, 3), (300, MAX, 1))),
        ((2_000_000_000,), {0: (1, MAX, 1)}),
    ],
)
def test_bounds_of_any_size_are_verified_in_little_time_and_memory(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int | str, ...], parts: Parts
) -> None:
    real = sweep.plan

    def plan(*arguments: Any) -> Any:
        planned = real(*arguments)
        sizes = [sum(math.prod(one) for one in binding.values()) for binding in planned.bindings]
        # Elements: to run more would take minutes, or all memory there is.
        assert max(sizes, default=0) <= 2**24
        assert sum(sizes) <= 2**28
        return planned

    monkeypatch.setattr(region_moves, "plan", plan)
    axes = list(parts)
    cuts = [{axis: parts[axis] for axis in some} for some in (axes[:1], axes[1:] or axes)]
    result = onnxfuse.apply(chain(shape, *cuts), "merge-sliced", verify="region")

    assert result.report.rejected == ()
    assert len(cuts_of(result.model)) == 1


def test_chains_that_do_not_merge_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[Any] = []

    def compose(parts: Any, **more: Any) -> Any:
        proved.append(parts)
        return _slices.compose(parts, **more)

    monkeypatch.setattr(merge_sliced, "compose", compose)
    counts = []
    for length in (8, 16, 32):
        proved.clear()
        cuts = [{0: (-5, MAX, 1)}, {0: (2, MAX, 1)}] * (length // 2)
        result = onnxfuse.apply(chain(("N",), *cuts), "merge-sliced", verify="off")
        assert result.report.applied == ()
        counts.append(len(proved))

    # One more Slice costs one more proof, or a few.
    assert counts[2] - counts[1] <= 2 * (counts[1] - counts[0])
    assert counts[2] <= 32 * 4

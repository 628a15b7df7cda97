"""remove-pad: every form of Pad, what it declines and why, and random Pads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import onnxfuse
from onnxfuse.report.records import Declined, Place, Report
from onnxfuse.testing.oracle import open_session, same
from tests.passes.running import assert_same_results, ops_of, parse
from tests.profile import EXAMPLES

HEADER = '<ir_version: 8, opset_import: ["": 17]>'
MODES = {"constant": 1, "reflect": 1, "edge": 1, "wrap": 19}


def pad(
    shape: Sequence[int | str],
    pads: Sequence[int],
    *,
    opset: int = 17,
    mode: str | None = None,
    axes: Sequence[int] | None = None,
    fill: bool = False,
    elem_type: int = TensorProto.FLOAT,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Returns the model `x -> Identity -> relu -> Pad -> padded -> Identity -> y`."""
    names, tensors = ["inner"], []
    attributes: dict[str, Any] = {} if mode is None else {"mode": mode}
    if opset < 11:
        attributes["paddings" if opset == 1 else "pads"] = list(pads)
        if fill:
            attributes["value"] = 1.5
    else:
        names += ["pads", "fill" if fill else ""] + ([] if axes is None else ["axes"])
        tensors.append(numpy_helper.from_array(np.array(pads, dtype=np.int64), "pads"))
        if fill:
            content = "text" if elem_type == TensorProto.STRING else 1
            dtype = helper.tensor_dtype_to_np_dtype(elem_type)
            tensors.append(numpy_helper.from_array(np.array(content, dtype=dtype), "fill"))
        if axes is not None:
            tensors.append(numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes"))
        while names[-1] == "":
            names.pop()
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["inner"], name="first"),
            helper.make_node("Pad", names, ["padded"], name="pad", **attributes),
            helper.make_node("Identity", ["padded"], ["y"], name="last"),
        ],
        "padding",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, [None] * len(shape))],
        tensors,
    )
    if ir_version < 4:
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors)
    return helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])


def removed(model: onnx.ModelProto, *, runs: bool = True) -> tuple[onnx.ModelProto, Report]:
    """Applies the pass; asserts that it removed the one Pad with all that only the Pad read, rightly."""
    result = onnxfuse.apply(model, "remove-pad", verify="region")
    assert [applied.at.op_type for applied in result.report.applied] == ["Pad"]
    assert result.report.rejected == ()
    assert result.report.declined == ()
    assert "Pad" not in ops_of(result.model)
    onnx.checker.check_model(result.model, full_check=model.ir_version > 3)
    if runs:
        assert_same_results(model, result.model)
    return result


def declined(model: onnx.ModelProto) -> tuple[Declined, ...]:
    """Applies the pass where it must not fire; returns why not."""
    result = onnxfuse.apply(model, "remove-pad")
    assert result.report.applied == ()
    assert result.report.rejected == ()
    assert result.model.SerializeToString() == model.SerializeToString()
    return result.report.declined


# ---------------------------------------------------------------------------------------------------- every form


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", None])
@pytest.mark.parametrize("opset", [2, 6, 9, 10, 11, 13, 17, 18, 19, 21, 23])
def test_opsets_and_modes(opset: int, mode: str | None) -> None:
    model, report = removed(pad(("N", 4), [0, 0, 0, 0], opset=opset, mode=mode))

    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [
        ("Identity", "x", "inner"),
        ("Identity", "inner", "y"),
    ]
    assert not model.graph.initializer
    assert report.applied[0].grade == "exact-for-all-shapes"
    assert report.applied[0].added == ()
    assert report.renamed_values == {"padded": "inner"}


def test_first_opset_called_them_paddings() -> None:
    model, _ = removed(pad(("N", 4), [0, 0, 0, 0], opset=1, mode="reflect"), runs=False)
    assert ops_of(model) == ["Identity", "Identity"]


@pytest.mark.parametrize("opset", [19, 21, 23])
def test_mode_wrap(opset: int) -> None:
    # onnxruntime 1.31 does not run this mode on a tensor without elements, even where there is nothing to pad.
    model, report = removed(pad(("N", 4), [0, 0, 0, 0], opset=opset, mode="wrap"), runs=False)

    assert ops_of(model) == ["Identity", "Identity"]
    assert report.applied[0].grade == "exact-for-all-shapes"


@pytest.mark.parametrize("opset", [2, 10, 11, 13, 18, 21])
def test_fill_value_goes_too(opset: int) -> None:
    model, _ = removed(pad(("N", 4), [0, 0, 0, 0], opset=opset, fill=True))
    assert not model.graph.initializer


@pytest.mark.parametrize("axes", [[0], [-1], [1, 0], [-2, -1], []])
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_axes(axes: list[int], mode: str) -> None:
    model, _ = removed(pad(("N", 4), [0] * 2 * len(axes), opset=18, axes=axes, mode=mode), runs=bool(axes))
    assert not model.graph.initializer


@pytest.mark.parametrize("shape", [(0,), (3,), ("N", "M", "K", "L", 2)])
def test_ranks(shape: tuple[int | str, ...]) -> None:
    removed(pad(shape, [0] * 2 * len(shape)))


@pytest.mark.parametrize(
    "elem_type",
    [
        TensorProto.FLOAT16,
        TensorProto.DOUBLE,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT32,
        TensorProto.UINT64,
        TensorProto.BOOL,
    ],
)
@pytest.mark.parametrize("fill", [True, False])
def test_element_types(elem_type: int, fill: bool) -> None:
    removed(pad(("N", 4), [0] * 4, elem_type=elem_type, fill=fill))


@pytest.mark.parametrize(
    "elem_type",
    [TensorProto.STRING, TensorProto.INT16, TensorProto.BFLOAT16, TensorProto.COMPLEX64, TensorProto.FLOAT8E5M2],
)
def test_element_types_that_onnxruntime_does_not_pad(elem_type: int) -> None:
    model = pad(("N", 4), [0] * 4, elem_type=elem_type, opset=21, ir_version=10)
    after, report = removed(model, runs=False)

    assert ops_of(after) == ["Identity", "Identity"]
    assert report.applied[0].grade == "exact-for-all-shapes"


def test_initializers_listed_as_inputs_before_ir_4() -> None:
    model, _ = removed(pad(("N", 4), [0] * 4, opset=11, fill=True, ir_version=3))

    assert [value.name for value in model.graph.input] == ["x"]
    assert not model.graph.initializer


def test_between_input_and_output_an_identity_takes_its_place() -> None:
    model, report = removed(
        parse(f"{HEADER} g (float[N] x) => (float[N] y) <int64[2] pads = {{0, 0}}> {{ [pad] y = Pad(x, pads) }}")
    )

    assert [(node.op_type, node.name, *node.input, *node.output) for node in model.graph.node] == [
        ("Identity", "pad", "x", "y")
    ]
    assert report.applied[0].added == (("pad", "Identity"),)
    assert report.renamed_values == {}


def test_two_of_one_value_are_both_outputs() -> None:
    model, report = onnxfuse.apply(
        parse(
            f"""{HEADER} g (float[N] x) => (float[N] y, float[N] z) <int64[2] pads = {{0, 0}}> {{
                relu = Relu(x)
                y = Pad(relu, pads)
                z = Pad(relu, pads)
            }}"""
        ),
        "remove-pad",
    )

    assert len(report.applied) == 2
    assert [value.name for value in model.graph.output] == ["y", "z"]
    assert sorted(ops_of(model)) == ["Identity", "Relu"]
    assert set(report.renamed_values) == {"relu"}


def test_one_that_no_one_reads_is_in_no_ones_way() -> None:
    before = parse(
        f"""{HEADER} g (float[N] x) => (float[N] y) <int64[2] pads = {{0, 0}}, int64[2] one = {{1, 1}}> {{
            a = Relu(x)
            padded = Pad(a, pads)
            y = Neg(padded)
            unused = Pad(a, pads)
            neither = Pad(a, one)
        }}"""
    )
    model, report = onnxfuse.apply(before, "remove-pad", verify="region")

    assert "padded" in {name for applied in report.applied for name, _ in applied.removed}
    assert report.rejected == ()
    assert_same_results(before, model)


def test_pads_in_a_row_all_go() -> None:
    model, report = onnxfuse.apply(
        parse(
            f"""{HEADER} g (float[N] x) => (float[N] y) <int64[2] pads = {{0, 0}}> {{
                a = Relu(x)
                b = Pad<mode = "edge">(a, pads)
                c = Pad<mode = "reflect">(b, pads)
                d = Pad(c, pads)
                y = Neg(d)
            }}"""
        ),
        "remove-pad",
    )

    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [
        ("Relu", "x", "a"),
        ("Neg", "a", "y"),
    ]
    assert report.renamed_values == {"b": "a", "c": "a", "d": "a"}


FOLDED = {
    "Concat": "half = Constant<value_ints = [0, 0]>() pads = Concat<axis = 0>(half, half)",
    "ConstantOfShape": "four = Constant<value_ints = [4]>() pads = ConstantOfShape<value = int64[1] {0}>(four)",
    "Mul by 0": "some = Constant<value_ints = [3, 1, 4, 1]>() no = Constant<value_int = 0>() pads = Mul(some, no)",
    "Cast": "small = Constant<value = int32[4] {0, 0, 0, 0}>() pads = Cast<to = 7>(small)",
    "Identity": "twin = Constant<value_ints = [0, 0, 0, 0]>() pads = Identity(twin)",
    "as PyTorch writes them": """
        given = Constant<value = int64[2] {0, 0}>()
        missing = Constant<value_ints = [2]>()
        zeros = ConstantOfShape<value = int64[1] {0}>(missing)
        all = Concat<axis = 0>(given, zeros)
        rows = Constant<value = int64[2] {-1, 2}>()
        table = Reshape(all, rows)
        from = Constant<value_ints = [-1]>()
        to = Constant<value_ints = [-9223372036854775807]>()
        axis = Constant<value_ints = [0]>()
        back = Slice(table, from, to, axis, from)
        turned = Transpose<perm = [1, 0]>(back)
        flat = Constant<value_ints = [-1]>()
        line = Reshape(turned, flat)
        pads = Cast<to = 7>(line)""",
    "from a known dim": """
        shape = Shape(x)
        one = Constant<value_ints = [1]>()
        width = Gather<axis = 0>(shape, one)
        four = Constant<value_ints = [4]>()
        excess = Sub(width, four)
        pads = Concat<axis = 0>(excess, excess, excess, excess)""",
}


@pytest.mark.parametrize("form", FOLDED)
def test_pads_computed_from_constants(form: str) -> None:
    model, _ = removed(
        parse(f"{HEADER} g (float[N, 4] x) => (float[N, 4] y) {{ relu = Relu(x) {FOLDED[form]} y = Pad(relu, pads) }}")
    )

    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [("Relu", "x", "y")]
    assert not model.graph.initializer


def test_pads_that_something_else_reads_stay() -> None:
    model, _ = removed(
        parse(
            f"""{HEADER} g (float[N] x) => (float[N] y, int64[2] z) <int64[2] pads = {{0, 0}}> {{
                relu = Relu(x)
                padded = Pad(relu, pads)
                y = Neg(padded)
                z = Neg(pads)
            }}"""
        )
    )

    assert [tensor.name for tensor in model.graph.initializer] == ["pads"]
    assert ops_of(model) == ["Relu", "Neg", "Neg"]


# ---------------------------------------------------------------------------------------------------- what does not


@pytest.mark.parametrize("opset", [2, 11, 18])
@pytest.mark.parametrize("pads", [[0, 0, 0, 1], [0, -1, 0, 0], [1, 0, -1, 0], [0, -1, 0, 1]])
def test_declines_pads_that_are_not_all_zero(opset: int, pads: list[int]) -> None:
    assert declined(pad(("N", 4), pads, opset=opset)) == (
        Declined(Place("pad", "Pad"), f"the pads are not all zero: {pads}"),
    )


def test_declines_pads_that_come_in_at_run_time() -> None:
    model = parse(f"{HEADER} g (float[N] x, int64[2] pads) => (float[M] y) {{ y = Pad(x, pads) }}")
    assert declined(model) == (Declined(Place("y", "Pad"), "the pads are not constant"),)


def test_declines_pads_that_the_caller_can_override() -> None:
    model = pad(("N",), [0, 0])
    model.graph.input.append(helper.make_tensor_value_info("pads", TensorProto.INT64, [2]))
    assert declined(model) == (Declined(Place("pad", "Pad"), "the pads are not constant"),)


def test_declines_pads_that_follow_from_a_symbolic_dim() -> None:
    model = parse(
        f"""{HEADER} g (float[N] x) => (float[M] y) <int64[1] four = {{4}}> {{
            shape = Shape(x)
            excess = Sub(shape, four)
            pads = Concat<axis = 0>(excess, excess)
            y = Pad(x, pads)
        }}"""
    )
    assert declined(model) == (Declined(Place("y", "Pad"), "the pads are not constant"),)


def test_pads_minus_themselves_are_zero_or_declined() -> None:
    model = parse(
        f"""{HEADER} g (float[N] x) => (float[N] y) {{
            shape = Shape(x)
            nothing = Sub(shape, shape)
            pads = Concat<axis = 0>(nothing, nothing)
            y = Pad(x, pads)
        }}"""
    )
    result = onnxfuse.apply(model, "remove-pad")

    assert result.report.rejected == ()
    assert result.report.failed == ()
    assert_same_results(model, result.model)


def test_declines_pads_that_the_caller_of_a_function_gives() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 9, "local.example": 1]>
        g (float[N] x) => (float[M] y) { y = local.example.Fill<pads = [0, 0]>(x) }
        <domain: "local.example", opset_import: ["": 9]>
        Fill <pads> (x) => (y) { [inner] y = Pad<pads: ints = @pads>(x) }"""
    )

    assert declined(model) == (
        Declined(
            Place("inner", "Pad", ("local.example.Fill",)),
            "the attribute pads is given by the caller of the function",
        ),
    )


def test_pad_of_another_domain_is_no_pad() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "com.example": 1]>
        g (float[N] x) => (float[N] y) <int64[2] pads = {0, 0}> { y = com.example.Pad(x, pads) }"""
    )
    assert declined(model) == ()


# ---------------------------------------------------------------------------------------------------- random Pads

ELEM_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)


@st.composite
def random_pads(draw: st.DrawFn) -> tuple[onnx.ModelProto, list[int]]:
    """Draws a Pad in any mode, and its pads."""
    mode = draw(st.sampled_from(sorted(MODES)))
    opset = draw(st.sampled_from([opset for opset in (2, 10, 11, 13, 17, 18, 19, 21, 23) if opset >= MODES[mode]]))
    least = 1 if mode == "wrap" else 0  # onnxruntime 1.31 does not run that mode on a tensor without elements
    shape = draw(st.lists(st.one_of(st.integers(least, 6), st.sampled_from(["N", "M"])), min_size=1, max_size=4))
    axes = None
    if opset >= 18 and draw(st.booleans()):
        chosen = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
        axes = [axis - len(shape) if draw(st.booleans()) else axis for axis in chosen]
    count = 2 * (len(shape) if axes is None else len(axes))
    one = st.just(0) if draw(st.booleans()) else st.integers(-2, 3)
    pads = draw(st.lists(one, min_size=count, max_size=count))
    elem_type = draw(st.sampled_from(ELEM_TYPES)) if opset >= 13 else TensorProto.FLOAT
    fill = mode == "constant" and draw(st.booleans())
    return pad(shape, pads, opset=opset, mode=mode, axes=axes, fill=fill, elem_type=elem_type), pads


@EXAMPLES
@given(drawn=random_pads())
def test_random_pads(drawn: tuple[onnx.ModelProto, list[int]]) -> None:
    model, pads = drawn
    given_bytes = model.SerializeToString()
    after, report = onnxfuse.apply(model, "remove-pad", verify="region")

    assert report.rejected == ()
    assert report.failed == ()
    assert model.SerializeToString() == given_bytes
    if any(pads):
        assert [(answer.at.node, answer.reason) for answer in report.declined] == [
            ("pad", f"the pads are not all zero: {pads}")
        ]
        assert after.SerializeToString() == given_bytes
        return
    assert ops_of(after) == ["Identity", "Identity"]
    assert not after.graph.initializer
    sessions = [open_session(model), open_session(after)]
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    for size in (1, 5) if "wrap" in onnx.printer.to_text(model) else (0, 1, 5):
        shape = [size if isinstance(dim, str) else dim for dim in dims]
        dtype = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
        feed = {"x": np.arange(np.prod(shape)).reshape(shape).astype(dtype)}
        one, other = (session.run(["y"], feed)[0] for session in sessions)
        assert same(one, other)
        assert same(other, feed["x"])

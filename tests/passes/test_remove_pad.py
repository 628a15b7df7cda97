"""remove-pad: every form of Pad that does nothing."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto

import onnxfuse
from onnxfuse.report.records import Report
from tests.passes.pads import pad
from tests.passes.running import assert_same_results, ops_of, parse

HEADER = '<ir_version: 8, opset_import: ["": 17]>'


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

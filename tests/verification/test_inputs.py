from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

from onnxfuse.errors import UsageError
from onnxfuse.verification import inputs
from onnxfuse.verification.inputs import (
    Binding,
    InputError,
    InputSpec,
    bind,
    drawn_elements,
    free_inputs,
    ladder_draws,
    ladder_length,
    symbols,
)

FLOAT = onnx.TensorProto.FLOAT
INT64 = onnx.TensorProto.INT64


def draw(*args: Any) -> dict[str, Any]:
    return dict(inputs.draw(*args))


def parse(text: str, ir_version: int = 10) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : 21]>\n{text}')


def tensor(name: str, dtype: int, *dims: int | str | None) -> InputSpec:
    return InputSpec(name, "tensor", dtype, dims)


def test_free_inputs_tells_kinds_types_and_dims_apart() -> None:
    model = parse(
        "g (float[N,3] a, seq(int64[2]) b, optional(float16[M]) c) => (float[N,3] y) { y = Neg(a) }",
    )
    model.graph.input.append(onnx.helper.make_tensor_value_info("d", FLOAT, [None, "-1", 4]))
    model.graph.input.append(onnx.helper.make_tensor_value_info("e", FLOAT, None))
    model.graph.input.append(onnx.ValueInfoProto(name="f"))
    model.graph.input[-1].type.map_type.key_type = INT64
    assert free_inputs(model) == [
        InputSpec("a", "tensor", FLOAT, ("N", 3)),
        InputSpec("b", "sequence", INT64, (2,)),
        InputSpec("c", "optional", onnx.TensorProto.FLOAT16, ("M",)),
        InputSpec("d", "tensor", FLOAT, (None, "-1", 4)),
        InputSpec("e", "tensor", FLOAT, None),
        InputSpec("f", "other", 0, None),
    ]


def test_a_dim_of_minus_one_is_a_dim_without_a_size() -> None:
    model = parse("g (float[2] a) => (float[2] y) { y = Neg(a) }")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert free_inputs(model)[0].dims == (None,)


def test_initializers_are_overridable_inputs_from_ir_4_on_and_none_below() -> None:
    text = "g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }"
    for ir_version in (3, 4):
        model = parse(text, ir_version)
        model.graph.initializer.append(onnx.TensorProto(name="w", dims=[2], data_type=FLOAT))
        found = [(spec.name, spec.overridable) for spec in free_inputs(model)]
        assert found == ([("x", False)] if ir_version == 3 else [("x", False), ("w", True)])


SPECS = (tensor("x", FLOAT, "-1", "N", None, 3), tensor("z", FLOAT, "N", "M"))


def test_equal_names_get_equal_sizes_whatever_their_spelling() -> None:
    assert symbols(SPECS) == ["-1", "N", "x.2", "M"]
    binding = bind(SPECS, sizes=(2, 3, 5))
    assert binding.sizes == {"-1": 2, "N": 3, "x.2": 5, "M": 2}
    assert binding.shape(SPECS[0]) == (2, 3, 5, 3)
    assert binding.shape(SPECS[1]) == (3, 2)
    assert str(binding) == "-1=2, N=3, x.2=5, M=2"


def test_the_users_sizes_win_by_name_or_by_place() -> None:
    binding = bind(SPECS, user={"-1": 7, "x.2": 9, "z.0": 4, "x.3": 3}, sizes=(1,))
    assert binding.sizes == {"-1": 7, "N": 4, "x.2": 9, "M": 1}
    # The others are taken in turn as if the user's were not there.
    assert bind(SPECS, user={"N": 7}, sizes=(2, 3, 5)).sizes == {"-1": 2, "N": 7, "x.2": 3, "M": 5}


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"K": 1}, "no input has a dim 'K'; there are: -1, N, x.2, M, x.0"),
        ({"x.9": 1}, "no input has a dim 'x.9'"),
        ({"x.3": 4}, "dim x.3 is 3 in the model"),
        ({"N": 1, "z.0": 2}, "dim 'N' is given both as 1 and as 2"),
    ],
)
def test_sizes_for_what_is_not_there_are_the_users_mistake(user: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        bind(SPECS, user=user, sizes=(1,))


def test_normal_draws_are_seeded_and_differ_by_input_index_and_seed() -> None:
    specs = [tensor("x", FLOAT, 50), tensor("z", FLOAT, 50)]
    first = draw(specs, Binding({}), "normal", 0, 3)
    assert first["x"].dtype == np.float32
    again = draw(specs, Binding({}), "normal", 0, 3)
    assert np.array_equal(first["x"], again["x"])
    for other in (
        first["z"],
        draw(specs, Binding({}), "normal", 1, 3)["x"],
        draw(specs, Binding({}), "normal", 0)["x"],
    ):
        assert not np.array_equal(first["x"], other)
    assert abs(float(np.mean(first["x"]))) < 0.5 < float(np.std(first["x"])) < 1.5


def test_normal_draws_of_the_other_types_are_small() -> None:
    types = onnx.TensorProto
    specs = [
        tensor("i", types.INT8, 99),
        tensor("u", types.UINT2, 99),
        tensor("b", types.BOOL, 99),
        tensor("s", types.STRING, 99),
        tensor("h", types.BFLOAT16, 99),
        tensor("c", types.COMPLEX64, 99),
    ]
    feeds = draw(specs, Binding({}), "normal", 0)
    assert set(feeds["i"].tolist()) == {0, 1, 2, 3}
    assert {int(value) for value in feeds["u"]} == {0, 1, 2, 3}
    assert feeds["b"].dtype == bool
    assert set(feeds["b"].tolist()) == {False, True}
    assert set(feeds["s"].tolist()) == {"s0", "s1", "s2", "s3", "s4"}
    assert feeds["h"].dtype == ml_dtypes.bfloat16
    assert len(np.unique(feeds["c"].imag)) > 90


@pytest.mark.parametrize("size", [1, 3, 7, 98, 200])
def test_the_ladder_is_used_up_in_sequence(size: int) -> None:
    specs = [tensor("x", onnx.TensorProto.DOUBLE, size), tensor("z", onnx.TensorProto.DOUBLE, "N")]
    binding = bind(specs, sizes=(2,))
    assert ladder_length(specs) == 98
    assert drawn_elements(specs, binding) == size + 2
    draws = ladder_draws(specs, binding)
    assert draws == max(12, math.ceil(98 / (size + 2)))
    values: list[float] = []
    for index in range(draws):
        feeds = draw(specs, binding, "ladder", index)
        values += [*feeds["x"].tolist(), *feeds["z"].tolist()]
    for first in range(0, len(values) - 97, 98):
        seen = {repr(value) for value in values[first : first + 98]}
        assert len(seen) == 92  # 2^53 + 1 and 2^63 - 1 and + 1 have no double of their own
        assert {"nan", "inf", "-inf", "-0.0", "0.0", "65504.0", "1e+300", "-1e-45", "8388608.5"} <= seen


def test_a_second_pass_pairs_other_values() -> None:
    spec = [tensor("x", FLOAT, 98)]
    with np.errstate(invalid="ignore"):
        first, second = (draw(spec, Binding({}), "ladder", index)["x"] for index in (0, 1))
    assert not np.array_equal(first, second, equal_nan=True)
    assert np.array_equal(np.sort(first), np.sort(second), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_the_ladder_of_integers_has_the_ends_of_the_type(dtype: type) -> None:
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    spec = [tensor("x", elem_type, ladder_length([tensor("x", elem_type)]))]
    values = set(draw(spec, Binding({}), "ladder", 0)["x"].tolist())
    info = np.iinfo(dtype)
    assert {0, 1, 2, 3, info.min, info.max, info.max - 1} <= values
    assert (-1 in values) == (info.min < 0)
    assert ((1 << 31) - 1 in values) == (info.max >= (1 << 31) - 1)


def test_sequences_get_two_items_and_optionals_a_value() -> None:
    specs = [InputSpec("s", "sequence", FLOAT, ("N",)), InputSpec("o", "optional", FLOAT, (2,))]
    feeds = draw(specs, bind(specs, sizes=(3,)), "normal", 0)
    assert [item.shape for item in feeds["s"]] == [(3,), (3,)]
    assert not np.array_equal(*feeds["s"])
    assert feeds["o"].shape == (2,)
    assert drawn_elements(specs, bind(specs, sizes=(3,))) == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (InputSpec("x", "tensor", FLOAT, None), "input x has no declared rank"),
        (InputSpec("x", "other", 0, ()), "neither a tensor nor a sequence"),
        (InputSpec("x", "tensor", 99, ()), "no known element type"),
    ],
)
def test_what_cannot_be_drawn_is_said(spec: InputSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw([spec], Binding({}), "normal", 0)


def test_an_index_stays_in_the_axis_that_it_selects_from() -> None:
    model = parse(
        """g (int64[N] i, float[5,4] d) => (float[N,8] y, float[5,N] z) {
            j = Unsqueeze(i, zero) k = Squeeze(j, zero)
            y = Gather(w, k) z = Gather<axis = 1>(d, k)
        }"""
    )
    model.graph.initializer.append(onnx.TensorProto(name="w", dims=[3000, 8], data_type=FLOAT))
    index = free_inputs(model)[0]
    assert (index.role, index.limit) == ("index", 4)
    specs = [tensor("i", INT64, 500)]
    wide = [InputSpec("i", "tensor", INT64, (500,), role="index", limit=3000)]
    assert draw(specs, Binding({}), "normal", 0)["i"].max() == 3
    normal = draw(wide, Binding({}), "normal", 0)["i"]
    assert 0 <= normal.min() < 300 < 2700 < normal.max() < 3000
    ladder = draw(wide, Binding({}), "ladder", 0)["i"]
    assert -3000 <= ladder.min() < 0 <= ladder.max() < 3000
    unknown = [InputSpec("i", "tensor", INT64, (500,), role="index")]
    assert set(draw(unknown, Binding({}), "normal", 0)["i"].tolist()) == {0, 1}
    assert set(draw(unknown, Binding({}), "ladder", 0)["i"].tolist()) == {0, -1}
    assert ladder_length(wide) == 0
    assert drawn_elements(wide, Binding({})) == 0


@pytest.mark.parametrize(
    ("node", "dtype", "dims", "normal"),
    [
        ("y = Reshape(d, i)", "int64", "[3]", {-1, 1}),
        ("y = Expand(d, i)", "int64", "[3]", {1}),
        ("y = Tile(d, i)", "int64", "[2]", {1, 2, 3}),
        ("y = ReduceSum(d, i)", "int64", "[2]", {0, 1}),
        ("y, q = TopK(d, i)", "int64", "[1]", {1}),
        ("y = Slice(d, i, e)", "int64", "[1]", {0, 1}),
        ("y = Slice(d, s, i)", "int64", "[1]", {1, 2, 3}),
        ("y = Pad(d, i)", "int64", "[4]", {0, 1}),
        ("y = Div(e, i)", "int64", "[1]", {1, 2, 3}),
        ("y = Resize(d, , i)", "float", "[2]", {2.0}),
    ],
)
def test_roles_give_values_that_the_operator_accepts(node: str, dtype: str, dims: str, normal: set[float]) -> None:
    model = parse(f"g ({dtype}{dims} i, float[4,4] d, int64[1] e, int64[1] s) => (float[M,N] y) {{ {node} }}")
    spec = free_inputs(model)[0]
    feeds = draw([spec], Binding({}), "normal", 0)
    assert set(feeds["i"].tolist()) <= normal
    assert spec.role is not None


def test_a_role_is_for_its_type_only() -> None:
    model = parse("g (float[2] x, float[2] z) => (float[2] y) { y = Div(x, z) }")
    feeds = draw(free_inputs(model), Binding({}), "normal", 0)
    assert feeds["z"].tolist() != [float(round(value)) for value in feeds["z"].tolist()]

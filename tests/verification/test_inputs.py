from __future__ import annotations

import onnx
import onnx.parser
import pytest

from onnxfuse.errors import UsageError
from onnxfuse.verification.inputs import InputSpec, bind, free_inputs, symbols
from tests.verification.texts import parse

FLOAT = onnx.TensorProto.FLOAT
INT64 = onnx.TensorProto.INT64


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
        model = parse(text, f'<ir_version: {ir_version}, opset_import: ["" : 21]>')
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

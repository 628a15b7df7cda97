from __future__ import annotations

from typing import Any

import onnx
import onnx.parser
import pytest

from onnxfuse.verification import draws
from onnxfuse.verification.inputs import Binding, free_inputs


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')


def draw(*args: Any) -> dict[str, Any]:
    return dict(draws.draw(*args))


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

"""The options that a model tells: its file, its inputs, their shapes and layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from onnxfuse.drivers.atc.model import input_shapes
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.shape_grammar import DimRange, InputShape
from onnxfuse.errors import UsageError


def model(*inputs: onnx.ValueInfoProto, initializers: tuple[str, ...] = ()) -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", [value.name], [f"{value.name}_out"]) for value in inputs]
    outputs = [helper.make_tensor_value_info(f"{value.name}_out", TensorProto.FLOAT, None) for value in inputs]
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, [1], [0.0]) for name in initializers]
    graph = helper.make_graph(nodes, "g", list(inputs), outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def floats(name: str, shape: list[int | str | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_a_model_fills_in_its_file_inputs_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "net.v2.onnx"
    onnx.save(model(floats("x", ["N", 3, 8, 8]), floats("w", [1]), initializers=("w",)), path)
    options = AtcOptions.from_model(path, soc_version="Ascend310P3", batch_size=4, log="error")
    assert options.argv() == [
        "atc",
        f"--model={path}",
        "--framework=5",
        f"--output={tmp_path}/net.v2_bs4",
        "--soc_version=Ascend310P3",
        "--input_format=NCHW",
        "--input_shape=x:4,3,8,8",
        "--log=error",
    ]
    assert options.problems() == ()


def test_the_symbol_of_a_batch_is_filled_in_wherever_it_is() -> None:
    net = model(floats("ids", ["N", "S"]), floats("onnx::m:0", [1, "N", None]), floats("s", []))
    options = AtcOptions.from_model(net, soc_version="Ascend310", batch_size=2, dims={"S": 128}, output="o.om")
    assert options.input_shape == "ids:2,128;onnx::m:0:1,2,-1;s:"
    assert options.input_format == "ND"
    assert options.output == "o"
    assert options.model is None


def test_dims_are_named_by_symbol_or_place() -> None:
    net = model(floats("x", [None, "S", None]), floats("y", ["N", 3]))
    options = AtcOptions.from_model(net, soc_version="Ascend310", batch_size=2, dims={"x.1": 5, "x.2": 7})
    assert options.input_shape == "x:2,5,7;y:2,3"
    with pytest.raises(UsageError, match="'T'"):
        AtcOptions.from_model(net, soc_version="Ascend310", dims={"T": 5})
    with pytest.raises(UsageError, match="'y.1'"):
        AtcOptions.from_model(net, soc_version="Ascend310", dims={"y.1": 5})
    with pytest.raises(UsageError, match="3 is given"):
        AtcOptions.from_model(net, soc_version="Ascend310", batch_size=2, dims={"N": 3})


def test_what_is_given_stands_above_what_the_model_tells() -> None:
    options = AtcOptions.from_model(
        model(floats("x", ["N", 3, 8, 8])), soc_version="X", output="o", input_shape="x:1,3,4,4", model="m.onnx"
    )
    assert (options.model, options.input_shape, options.input_format) == ("m.onnx", "x:1,3,4,4", None)
    profiles = AtcOptions.from_model(
        model(floats("x", ["N", 3, 8, 8])), soc_version="Ascend310", model="m.onnx", output="o", dynamic_dims="1;4"
    )
    assert (profiles.input_shape, profiles.input_format) == ("x:-1,3,8,8", "ND")
    assert profiles.problems() == ()


@pytest.mark.parametrize(
    ("value", "batch", "message"),
    [
        (floats("x", [1, 3]), 4, "fixed"),
        (floats("x", ["N", 3]), 0, "1 or more"),
        (floats("a;b", ["N"]), 1, "cannot read this name"),
        (floats("x", None), None, "has no shape"),
        (helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1]), None, "no tensor"),
    ],
)
def test_inputs_that_atc_cannot_be_told(value: onnx.ValueInfoProto, batch: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AtcOptions.from_model(model(value), soc_version="Ascend310", batch_size=batch)


@pytest.mark.parametrize(
    ("options", "layout"),
    [
        ({}, "ND"),
        ({"insert_op_conf": "aipp.cfg"}, "NCHW"),
        ({"dims": {"x.2": 8, "x.3": 8}, "insert_op_conf": "aipp.cfg"}, "NCHW"),
        ({"dynamic_image_size": "8,8;16,16"}, "NCHW"),
        ({"dynamic_dims": "8,8;16,16"}, "ND"),
        ({"insert_op_conf": "aipp.cfg", "input_format": "NHWC"}, "NHWC"),
    ],
)
def test_the_layout_is_one_that_the_options_go_with(options: dict[str, Any], layout: str) -> None:
    net = model(floats("x", [1, 3, None, None]), floats("info", [1, 2]))
    made = AtcOptions.from_model(net, soc_version="Ascend310", model="m.onnx", output="o", **options)
    assert made.input_format == layout
    assert made.problems() == ()


def test_an_output_may_be_a_path() -> None:
    options = AtcOptions.from_model(model(floats("x", [1, 3])), soc_version="Ascend310", output=Path("out/x.om"))
    assert options.output == "out/x"


def test_a_shape_that_only_options_give() -> None:
    bare = floats("bare", [1])
    bare.type.tensor_type.ClearField("shape")
    net, given = model(bare, floats("x", [None, 3])), InputShape("bare", (7, DimRange(1, 8)))
    assert input_shapes(net, batch_size=2, given=(given, InputShape("x", (9, 9)))) == (given, InputShape("x", (2, 3)))
    with pytest.raises(UsageError, match="--input_shape=bare:"):
        input_shapes(net, batch_size=2)

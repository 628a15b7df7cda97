"""Laws of strip and fill, on random models."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxfuse.testing import STRIPPED, fill, strip
from onnxfuse.testing.strategies import feeds_for, models
from onnxfuse.verification.tensors import lacks_data, nodes_of, tensors_of

FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
ORDINARY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def without_data(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as it is but for what floats hold, and for how Constants spell them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in nodes_of(copy):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value_floats":
                tensor = onnx.helper.make_tensor("", onnx.TensorProto.FLOAT, [len(attribute.floats)], attribute.floats)
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
    for tensor in tensors_of(copy):
        if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING):
            for name in FIELDS:
                tensor.ClearField(name)
            tensor.doc_string = ""
    return copy


@ORDINARY
@given(model=models(), least=st.sampled_from([1, 2, 8, 64]))
def test_strip_then_fill_keeps_everything_but_data(model: onnx.ModelProto, least: int) -> None:
    before = model.SerializeToString(deterministic=True)
    stripped = strip(model, min_elements=least)
    filled = fill(stripped)
    assert model.SerializeToString(deterministic=True) == before
    assert without_data(stripped) == without_data(model)
    assert without_data(filled) == without_data(model)
    assert not any(lacks_data(tensor) for tensor in tensors_of(filled))
    assert not any(tensor.doc_string == STRIPPED for tensor in tensors_of(filled))


@ORDINARY
@given(model=models(), least=st.sampled_from([1, 8, 64]))
def test_strip_is_idempotent(model: onnx.ModelProto, least: int) -> None:
    stripped = strip(model, min_elements=least)
    assert strip(stripped, min_elements=least) == stripped
    assert strip(fill(stripped), min_elements=least) == stripped


@ORDINARY
@given(model=models(), least=st.sampled_from([1, 8, 64]))
def test_integers_of_no_quantized_weight_survive(model: onnx.ModelProto, least: int) -> None:
    integers = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}
    # Of 32 bits are the biases of quantized layers.
    if not {node.op_type for node in nodes_of(model)} & {"DequantizeLinear", "QLinearConv"}:
        integers.add(onnx.TensorProto.INT32)
    kept = [tensor for tensor in tensors_of(strip(model, min_elements=least)) if tensor.data_type in integers]
    assert kept == [tensor for tensor in tensors_of(model) if tensor.data_type in integers]


@ORDINARY
@given(model=models(), least=st.sampled_from([1, 8, 64]))
def test_a_filled_model_runs(model: onnx.ModelProto, least: int) -> None:
    filled = fill(strip(model, min_elements=least), seed=3)
    onnx.checker.check_model(filled)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(filled.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    assert len(session.run(names, feeds_for(model))) == len(names)


@ORDINARY
@given(model=models(), seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same_weights_whatever_else_is_there(model: onnx.ModelProto, seed: int) -> None:
    stripped = strip(model, min_elements=1)
    filled = fill(stripped, seed=seed)
    assert fill(stripped, seed=seed) == filled
    stripped.graph.initializer.add(name="of its own", dims=[70], data_type=1, doc_string=STRIPPED)
    more = fill(stripped, seed=seed)
    assert len(more.graph.initializer[-1].raw_data) == 280
    del more.graph.initializer[-1]
    assert more == filled


@ORDINARY
@given(model=models())
def test_every_kind_of_model_is_stripped_alike(model: onnx.ModelProto) -> None:
    stripped = strip(model, min_elements=8)
    assert onnx.ModelProto.FromString(strip(model.SerializeToString(), min_elements=8)) == stripped
    filled = fill(stripped)
    assert onnx.ModelProto.FromString(fill(stripped.SerializeToString())) == filled
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in filled.graph.initializer]
    assert all(np.isfinite(array).all() for array in arrays if array.dtype == np.float32)

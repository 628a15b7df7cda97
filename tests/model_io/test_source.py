"""Reading: what is a model, what is none, and what stays where it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfuse.errors import ModelError
from onnxfuse.model_io import load, open_model, wire
from onnxfuse.model_io.payload import ELEMENT_BITS, Span, TensorData, data_bytes
from onnxfuse.model_io.source import Source
from tests.model_io.models import UNKNOWN_FIELD, chain, edited, everything


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def complaint(path: Path | bytes | onnx.ModelProto) -> str:
    """Returns the one line that opening it ends with."""
    with pytest.raises(ModelError) as caught:
        open_model(path)
    text = str(caught.value)
    assert "\n" not in text
    if isinstance(path, Path):
        assert text.startswith(f"{path}: ")
        return text.removeprefix(f"{path}: ")
    return text


WHOLE = chain().SerializeToString()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"\x80\x02}q\x00(X\x0f\x00\x00\x00", "the file is a pickle, which is not read"),
        (b"PK\x03\x04" + bytes(40), "the file is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"ir_version: 8", "not an ONNX model, or corrupt: the file is text"),
        (WHOLE[: len(WHOLE) // 2], "truncated or corrupt"),
        (WHOLE[:-1], "truncated or corrupt"),
        (helper.make_tensor("t", 1, [1], [1.0]).SerializeToString(), "not an ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "not an ONNX model: it has no graph"),
        (WHOLE + wire.field_bytes(7, b""), "not an ONNX model: it has several graphs"),
        (edited(chain(), lambda m: m.ClearField("ir_version")).SerializeToString(), "it states no IR version"),
        (chain(ir_version=-3).SerializeToString(), "it states no IR version"),
        (chain(ir_version=999).SerializeToString(), "IR version 999 is newer than the installed onnx"),
    ],
)
def test_file_that_is_no_model_is_told_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    assert says in complaint(write(tmp_path / "model.onnx", data))


@pytest.mark.parametrize("size", range(1, len(WHOLE), 97))
def test_every_truncation_is_told(tmp_path: Path, size: int) -> None:
    complaint(write(tmp_path / "model.onnx", WHOLE[:size]))


def test_path_that_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert complaint(tmp_path) == "is a folder: name the model's file"
    assert complaint(tmp_path / "pipe") == "is no regular file: name the model's file"
    assert complaint(tmp_path / "missing.onnx") == "cannot be read: No such file or directory"
    assert complaint(tmp_path / "missing" / "model.onnx") == "cannot be read: No such file or directory"
    assert complaint(tmp_path / ("n" * 300)) == "cannot be read: File name too long"
    with pytest.raises(ModelError, match=r"^model\\x00.onnx: cannot be read: embedded null byte$"):
        open_model(Path("model\0.onnx"))


def test_file_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.onnx", WHOLE)

    def refuse(*_: object) -> int:  # root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)

    assert complaint(path) == "cannot be read: Permission denied"


def test_empty_bytes_are_told() -> None:
    assert complaint(b"") == "the model is empty (0 bytes)"


def test_message_without_a_model_is_told() -> None:
    assert complaint(onnx.ModelProto(ir_version=8)) == "not an ONNX model: it has no graph"
    assert complaint(onnx.ModelProto(graph=onnx.GraphProto())) == "not an ONNX model: it states no IR version"


def test_texts_outside_utf8_are_told_where_they_are_names_and_carried_where_they_are_not() -> None:
    name = edited(chain(), lambda m: setattr(m.graph.node[0], "op_type", "Mat??l")).SerializeToString()
    text = chain(doc_string="d??c").SerializeToString()

    assert complaint(name.replace(b"Mat??l", b"Mat\xff\xfel")) == "the model is corrupt: a name in it is not UTF-8"
    assert open_model(text.replace(b"d??c", b"d\xff\xfec")).working_model().doc_string == b"d\xff\xfec"


# ------------------------------------------------------------------------------------------------ what stays where


def test_large_tensors_are_views_on_the_buffer() -> None:
    data = chain().SerializeToString()

    model = load(data)

    array = model.graph.initializers["weight"].const_value.numpy()  # type: ignore[union-attr]
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    assert not array.flags.writeable
    assert array.shape == (32, 32)


def test_light_model_has_all_but_the_data() -> None:
    source = Source.from_buffer(memoryview(chain().SerializeToString()))

    (tensor,) = (tensor for tensor in source.proto.graph.initializer if tensor.name == "weight")
    assert (tensor.data_type, list(tensor.dims), tensor.raw_data) == (TensorProto.FLOAT, [32, 32], b"")
    assert len(source.light) < 1000
    assert source.bytes_of_weights == 4096


def constant_model(array: np.ndarray) -> onnx.ModelProto:
    value = numpy_helper.from_array(array, "kept")
    nodes = [
        helper.make_node("Constant", [], ["c"], name="constant", value=value, doc_string="a constant"),
        helper.make_node("Identity", ["c"], ["y"]),
    ]
    output = helper.make_tensor_value_info("y", value.data_type, array.shape)
    graph = helper.make_graph(nodes, "g", [], [output])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_constants_of_the_main_graph_stay_in_the_buffer_too() -> None:
    data = constant_model(np.arange(4096, dtype=np.float32)).SerializeToString()

    model = load(data)

    tensor = model.graph[0].attributes["value"].as_tensor()
    assert np.shares_memory(tensor.numpy(), np.frombuffer(data, np.uint8))
    assert np.array_equal(tensor.numpy(), np.arange(4096))
    assert tensor.name == "kept"
    assert len(Source.from_buffer(memoryview(data)).light) < 200


@pytest.mark.parametrize("kind", ELEMENT_BITS)
def test_large_tensors_of_every_element_type_hold_what_they_held(kind: int) -> None:
    numbers = np.arange(1, 4097) % 2
    tensor = numpy_helper.from_array(numbers.astype(helper.tensor_dtype_to_np_dtype(kind)), "weight")
    model = edited(chain(), lambda m: m.graph.initializer[0].CopyFrom(tensor))
    for given_as in (model.SerializeToString(), model):
        opened = open_model(given_as)
        value = opened.working_model().graph.initializers["weight"].const_value
        assert value is not None
        assert opened.source is not None
        assert len(opened.source.light) < 1500
        assert int(value.dtype) == kind
        assert value.numpy().tobytes() == numpy_helper.to_array(tensor).tobytes()
        assert value.tobytes() == tensor.raw_data


def test_bfloat16_is_a_view() -> None:
    model = chain(np.ones((32, 32), ml_dtypes.bfloat16))  # type: ignore[arg-type]

    value = load(model.SerializeToString()).graph.initializers["weight"].const_value

    assert value is not None
    assert value.numpy().dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("given_as", ["bytes", "proto"])
def test_data_that_does_not_fit_its_shape_is_told(given_as: str) -> None:
    model = edited(chain(), lambda m: m.graph.initializer[0].dims.__setitem__(0, 31))

    if given_as == "bytes":
        says = complaint(model.SerializeToString())
        assert says == "initializer 'weight': it has 4096 bytes of data, its shape [31, 32] asks for 3968"
    else:
        # Its data is looked at where it is used: to measure it is to copy it.
        with pytest.raises(ModelError, match="has 4096 bytes of data, its shape asks for 3968"):
            load(model).graph.initializers["weight"].const_value.numpy()  # type: ignore[union-attr]


def test_constant_whose_data_does_not_fit_its_shape_is_told() -> None:
    model = constant_model(np.arange(4096, dtype=np.float32))
    model.graph.node[0].attribute[0].t.dims[0] = 4095

    assert "16384 bytes of data, which do not fit its shape [4095]" in complaint(model.SerializeToString())


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.graph.initializer[0].ClearField("raw_data"),  # a tensor whose weights were taken out
        lambda m: (
            m.graph.initializer[0].dims.__setitem__(slice(None), [0, 32])
            or m.graph.initializer[0].ClearField("raw_data")
        ),
    ],
)
def test_tensor_without_data_is_read(change: Callable[[onnx.ModelProto], object]) -> None:
    model = edited(chain(), change)

    assert load(model.SerializeToString()).graph.initializers["weight"] is not None


def test_message_is_not_copied_and_never_changed() -> None:
    model = chain()
    before = model.SerializeToString()

    opened = open_model(model)
    working = opened.working_model()
    working.graph.initializers["weight"].name = "renamed"
    working.graph.initializers["one"].name = "uno"

    assert opened.source is not None
    assert isinstance(opened.source.payloads[0].data, TensorData)
    assert len(opened.source.light) < 1000
    assert model.SerializeToString() == before


def test_message_with_fields_that_onnx_does_not_know_is_taken_whole() -> None:
    model = everything()

    opened = open_model(model)

    assert opened.source is not None
    assert isinstance(next(iter(opened.source.payloads.values())).data, Span)
    assert opened.source.original is not None
    assert wire.length_delimited_header(UNKNOWN_FIELD, 21) in opened.source.light


@pytest.mark.parametrize(
    ("kind", "dims", "size"),
    [
        (TensorProto.FLOAT, [2, 3], 24),
        (TensorProto.FLOAT, [], 4),
        (TensorProto.FLOAT, [0, 7], 0),
        (TensorProto.INT4, [3], 2),
        (TensorProto.UINT2, [5], 2),
        (TensorProto.FLOAT6E2M3, [4], 3),
        (TensorProto.COMPLEX128, [2], 32),
        (TensorProto.STRING, [2], None),
        (TensorProto.FLOAT, [-1], None),
        (99, [1], None),
    ],
)
def test_bytes_of_raw_data(kind: int, dims: list[int], size: int | None) -> None:
    assert data_bytes(kind, dims) == size


def test_every_element_type_is_known() -> None:
    kinds = set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING}

    assert set(ELEMENT_BITS) == kinds

"""External data of a model that comes in: looked for wherever a tensor is, and checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnxfuse.errors import ModelError
from onnxfuse.model_io import load, open_model, save
from tests.model_io.external import WEIGHT, external, in_branch, put, refer, weight_of
from tests.model_io.models import edited


def test_weights_are_found_where_they_lie(folder: Path) -> None:
    path = put(folder, external(offset=4096, length=4096), offset=4096)

    opened = open_model(path)
    value = opened.working_model().graph.initializers["weight"].const_value

    assert isinstance(value, ir.ExternalTensor)
    assert value.raw is None  # nobody has mapped it
    assert np.array_equal(value.numpy(), WEIGHT)


def in_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    model.functions.append(helper.make_function("local", "f", [], ["c"], [constant], [helper.make_opsetid("", 17)]))


def in_sparse_initializer(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    count = int(np.prod(tensor.dims))
    sparse = model.graph.sparse_initializer.add(dims=[count])
    sparse.values.CopyFrom(tensor)
    sparse.values.name = "sparse"
    sparse.values.dims[:] = [count]
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(count)))


def in_training(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.training_info.add().initialization.initializer.append(tensor)


def in_default_of_a_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    in_function(model, numpy_helper.from_array(np.float32(1)))
    model.functions[0].attribute_proto.append(helper.make_attribute("default", tensor))


PLACES = [in_function, in_branch, in_sparse_initializer, in_training, in_default_of_a_function]


@pytest.mark.parametrize("place", PLACES)
def test_data_is_looked_for_wherever_a_tensor_is(
    folder: Path, place: Callable[[onnx.ModelProto, onnx.TensorProto], None]
) -> None:
    tensor = numpy_helper.from_array(WEIGHT, "t")
    refer(tensor, "other.bin")
    path = put(folder, edited(external(), lambda m: place(m, tensor)))

    with pytest.raises(ModelError, match=r"external data file other.bin is missing in "):
        open_model(path)
    (folder / "other.bin").write_bytes(WEIGHT.tobytes())
    save(load(path), folder.parent / "out" / "model.onnx")

    assert (folder.parent / "out" / "other.bin").read_bytes() == WEIGHT.tobytes()


BAD_REFERENCES = [
    ({"location": "missing.bin"}, "external data file missing.bin is missing in "),
    ({"location": "."}, "external data file . is missing in "),
    ({"location": ""}, "external data without a location"),
    ({"location": "../weights.bin"}, "external data file ../weights.bin is outside the model's folder: refused"),
    ({"location": "sub/../../weights.bin"}, "is outside the model's folder: refused"),
    ({"location": "/etc/passwd"}, "external data file /etc/passwd is outside the model's folder: refused"),
    ({"location": "link.bin"}, "external data file link.bin is a link out of the model's folder: refused"),
    ({"location": "links/passwd"}, "external data file links/passwd is a link out of the model's folder: refused"),
    ({"location": "twice.bin"}, "external data file twice.bin has several names (hard links): refused; copy it"),
    ({"location": "n" * 300}, "File name too long"),
    ({"offset": -1}, "the offset of its external data is no number of bytes: '-1'"),
    ({"offset": "x"}, "the offset of its external data is no number of bytes: 'x'"),
    ({"offset": "1_0"}, "the offset of its external data is no number of bytes: '1_0'"),
    ({"length": "4e3"}, "the length of its external data is no number of bytes: '4e3'"),
    ({"offset": 2**64}, "the offset of its external data is no number of bytes"),
    ({"offset": 1}, "weights.bin is too short: bytes 1 to 4097 are asked for, it has 4096"),
    ({"length": 4095}, "its external data has 4095 bytes, its shape [32, 32] asks for 4096"),
    ({"length": 0}, "its external data has 0 bytes, its shape [32, 32] asks for 4096"),
]


@pytest.mark.parametrize(("entries", "says"), BAD_REFERENCES)
def test_bad_reference_is_told_in_one_line(folder: Path, entries: dict[str, object], says: str) -> None:
    location = str(entries.get("location", "weights.bin"))
    path = put(folder, external(**{"location": location, **entries}))  # type: ignore[arg-type]
    (folder / "link.bin").symlink_to("/etc/passwd")
    (folder / "links").symlink_to("/etc")
    (folder / "twice.bin").write_bytes(WEIGHT.tobytes())
    (folder / "twin.bin").hardlink_to(folder / "twice.bin")

    with pytest.raises(ModelError) as caught:
        open_model(path)

    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: tensor 'weight': ")
    assert says in str(caught.value)


def test_references_of_bytes_are_checked_as_far_as_they_can_be() -> None:
    for entries, says in BAD_REFERENCES:
        if "missing" in says or "short" in says or "link" in says or "too long" in says:
            continue
        with pytest.raises(ModelError) as caught:
            open_model(external(**{"location": "weights.bin", **entries}))  # type: ignore[arg-type]
        assert says in str(caught.value)


def test_model_with_a_reference_without_entries_is_told(folder: Path) -> None:
    path = put(folder, edited(external(), lambda m: m.graph.initializer[0].ClearField("external_data")))

    with pytest.raises(ModelError, match="external data without a location"):
        open_model(path)
    with pytest.raises(ModelError, match="external data without a location"):
        open_model(path.read_bytes())


def test_data_without_permission_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(folder, external())
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything

    with pytest.raises(ModelError, match=r"external data file weights.bin cannot be read: permission denied"):
        open_model(path)


def test_link_inside_the_folder_is_followed_and_copied_as_a_file(folder: Path) -> None:
    path = put(folder, external("weights.bin"), "real.bin")
    (folder / "weights.bin").symlink_to("real.bin")

    save(load(path), folder.parent / "out" / "model.onnx")

    assert not (folder.parent / "out" / "weights.bin").is_symlink()
    assert np.array_equal(weight_of(folder.parent / "out" / "model.onnx"), WEIGHT)

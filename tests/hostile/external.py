"""Models whose weights are said to be in files that they must not, or cannot, be read from."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from tests.hostile.cases import OUTSIDE, legal, model_of, node, refused, tensor, value, with_slices

SIZE = 4096


def _external(location: str | None, *, dims: list[int] | None = None, **entries: object) -> onnx.ModelProto:
    """A model with 4 kB of weights in the file `location`."""
    weight = tensor("w", [SIZE // 4] if dims is None else dims)
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, content in {"location": location, **entries}.items():
        if content is not None:
            weight.external_data.add(key=key, value=str(content))
    return with_slices(
        model_of([node("Add", "x w", "y")], inputs=[value("x", ["N", SIZE // 4])], initializers=[weight])
    )


def _data(folder: Path, name: str = "w.bin", size: int = SIZE) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def _secret(folder: Path) -> Path:
    return folder.parent / OUTSIDE / "secret"


@legal()
def beside_the_model(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin")


@legal()
def in_a_folder_beside_the_model(folder: Path) -> onnx.ModelProto:
    _data(folder, "deep/er/w.bin")
    return _external("deep/er/./w.bin")


@refused("outside the model's folder")
def absolute_path(folder: Path) -> onnx.ModelProto:
    return _external(str(_secret(folder)))


@refused("outside the model's folder")
def absolute_path_into_the_folder(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external(str(folder / "w.bin"))


@refused("outside the model's folder")
def path_upwards(_: Path) -> onnx.ModelProto:
    return _external(f"../{OUTSIDE}/secret")


@refused("outside the model's folder")
def path_upwards_and_back(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external(f"../{folder.name}/w.bin")


@refused("outside the model's folder")
def path_upwards_through_a_folder(folder: Path) -> onnx.ModelProto:
    (folder / "sub").mkdir()
    return _external(f"sub/../../{OUTSIDE}/secret")


@refused("link out of the model's folder")
def link_out_of_the_folder(folder: Path) -> onnx.ModelProto:
    (folder / "w.bin").symlink_to(_secret(folder))
    return _external("w.bin")


@refused("link out of the model's folder")
def folder_that_is_a_link_out(folder: Path) -> onnx.ModelProto:
    (folder / "sub").symlink_to(_secret(folder).parent, target_is_directory=True)
    return _external("sub/secret")


@refused("link out of the model's folder")
def link_to_a_device(folder: Path) -> onnx.ModelProto:
    (folder / "w.bin").symlink_to("/dev/zero")
    return _external("w.bin")


@refused("missing")
def pipe(folder: Path) -> onnx.ModelProto:
    os.mkfifo(folder / "w.bin")
    return _external("w.bin")


@refused("missing")
def link_to_a_pipe(folder: Path) -> onnx.ModelProto:
    os.mkfifo(folder / "pipe")
    (folder / "w.bin").symlink_to("pipe")
    return _external("w.bin")


@refused("hard links")
def hard_link(folder: Path) -> onnx.ModelProto:
    os.link(_secret(folder), folder / "w.bin")
    return _external("w.bin")


@refused("")
def links_in_a_circle_as_data(folder: Path) -> onnx.ModelProto:
    (folder / "w.bin").symlink_to("w.bin")
    return _external("w.bin")


@refused("missing")
def folder_as_data(folder: Path) -> onnx.ModelProto:
    (folder / "w.bin").mkdir()
    return _external("w.bin")


@refused("w.bin is missing")
def missing_data(_: Path) -> onnx.ModelProto:
    return _external("w.bin")


@refused("without a location")
def empty_location(_: Path) -> onnx.ModelProto:
    return _external("")


@refused("without a location")
def no_location(_: Path) -> onnx.ModelProto:
    return _external(None, offset=0)


@refused("missing")
def dot_as_location(_: Path) -> onnx.ModelProto:
    return _external(".")


@refused("- is missing")
def dash_as_location(_: Path) -> onnx.ModelProto:
    return _external("-")


@refused("without a location")
def null_byte_in_location(_: Path) -> onnx.ModelProto:
    return _external("w.bin\0../secret")


@refused("missing")
def url_as_location(_: Path) -> onnx.ModelProto:
    return _external("http://127.0.0.1:9/w.bin")


@refused("File name too long")
def location_of_1_mb(_: Path) -> onnx.ModelProto:
    return _external("w" * 1_000_000)


@refused("missing")
def location_that_acts_on_a_terminal(_: Path) -> onnx.ModelProto:
    return _external("\x1b[2J\nonnxfuse: w.bin")


@legal()
def location_with_backslashes(folder: Path) -> onnx.ModelProto:
    """On this platform it is one odd name, of a file in the folder."""
    _data(folder, f"..\\{OUTSIDE}\\secret")
    return _external(f"..\\{OUTSIDE}\\secret")


@legal()
def location_with_a_drive(folder: Path) -> onnx.ModelProto:
    _data(folder, "C:w.bin")
    return _external("C:w.bin")


@legal()
def location_with_percent_signs(folder: Path) -> onnx.ModelProto:
    _data(folder, "%2e%2e%2fw.bin")
    return _external("%2e%2e%2fw.bin")


@legal()
def location_in_other_letters(folder: Path) -> onnx.ModelProto:
    _data(folder, "权重\u202e.bin")
    return _external("权重\u202e.bin")


@refused("is no number of bytes")
def negative_offset(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", offset=-4096)


@refused("is no number of bytes")
def negative_length(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", length=-1)


@refused("is no number of bytes")
def offset_that_is_no_number(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", offset="0x10")


@refused("too short")
def offset_past_the_end(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", offset=SIZE + 1)


@refused("too short")
def offset_of_nineteen_digits(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", offset=9_999_999_999_999_999_999)


@refused("too short")
def data_past_the_end(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", offset=1, length=SIZE)


@refused("asks for")
def length_too_large(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", length=SIZE + 4)


@refused("asks for")
def length_too_small(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", length=4)


@refused("too short")
def dims_of_a_terabyte(folder: Path) -> onnx.ModelProto:
    _data(folder)
    return _external("w.bin", dims=[2**40])


@legal()
def tensors_that_overlap(folder: Path) -> onnx.ModelProto:
    _data(folder, size=2 * SIZE)
    model = _external("w.bin")
    other = model.graph.initializer.add()
    other.CopyFrom(model.graph.initializer[0])
    other.name = "overlapping"
    other.external_data.add(key="offset", value="100")
    return model


@legal()
def entries_twice_and_unknown(folder: Path) -> onnx.ModelProto:
    _data(folder)
    model = _external("elsewhere.bin", checksum="abc", basepath="/etc")
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")
    return model


@legal(large=True)
def data_of_8_gb(folder: Path) -> onnx.ModelProto:
    _data(folder)
    os.truncate(folder / "w.bin", 8 << 30)
    return _external("w.bin", dims=[2 << 30])


@refused("outside the model's folder")
def data_of_a_constant_outside(folder: Path) -> onnx.ModelProto:
    model = _external(str(_secret(folder)))
    weight = model.graph.initializer[0]
    constant = onnx.helper.make_node("Constant", [], ["w"], value=weight)
    del model.graph.initializer[0]
    model.graph.node.insert(0, constant)
    return model


@refused("outside the model's folder")
def sparse_values_outside(folder: Path) -> onnx.ModelProto:
    model = _external(str(_secret(folder)))
    sparse = model.graph.sparse_initializer.add(dims=[SIZE // 4])
    sparse.values.CopyFrom(model.graph.initializer[0])
    sparse.indices.CopyFrom(tensor("at", [1024], onnx.TensorProto.INT64, int64_data=list(range(1024))))
    del model.graph.initializer[0]
    return model


@refused("outside the model's folder")
def training_data_outside(folder: Path) -> onnx.ModelProto:
    model = _external(str(_secret(folder)))
    model.training_info.add().initialization.initializer.append(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(tensor("w", [8], raw_data=bytes(32)))
    return model


@refused("cannot be those of external data")
def texts_in_another_file(folder: Path) -> onnx.ModelProto:
    _data(folder)
    model = _external("w.bin")
    model.graph.initializer[0].data_type = onnx.TensorProto.STRING
    return model

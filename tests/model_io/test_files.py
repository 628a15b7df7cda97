"""Writing models: whole or not at all, as one file while protobuf allows it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import onnxfuse
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import files, load, open_model, save
from onnxfuse.model_io.files import Saved, write
from tests.model_io.external import external, put
from tests.model_io.models import chain, edited, proto_of

WEIGHTS = [np.full((32, 32), value, np.float32) for value in (1, 2, 3)]


def heavy() -> onnx.ModelProto:
    """Returns a model with 12 KiB of weights and 1 KiB of everything else."""

    def more(model: onnx.ModelProto) -> None:
        for index, weight in enumerate(WEIGHTS[1:]):
            tensor = numpy_helper.from_array(weight, f"weight_{index}")
            tensor.doc_string = "kept"
            model.graph.initializer.append(tensor)

    return edited(chain(WEIGHTS[0]), more)


def write_limited(model: object, path: Path, limit: int = 4000) -> Saved:
    opened = open_model(model)
    return write(opened.emitted(changed=opened.source is None), path, limit=limit)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(heavy().SerializeToString())
    return path


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


# ------------------------------------------------------------------------------------------------ one file


@pytest.mark.parametrize("kind", ["path", "bytes", "proto", "ir"])
def test_model_that_came_as_one_file_leaves_as_one_file(path: Path, kind: str) -> None:
    given = {"path": path, "bytes": path.read_bytes(), "proto": heavy(), "ir": load(path)}[kind]

    saved = save(given, path.with_name("new.onnx"))

    assert saved == Saved(path.with_name("new.onnx"), path.stat().st_size, ())
    assert saved.path.read_bytes() == path.read_bytes()
    assert names(path.parent) == ["model.onnx", "new.onnx"]


def test_input_can_be_replaced_in_place(path: Path) -> None:
    before = path.stat()
    result = onnxfuse.apply(path, "merge-sliced", verify="region")

    save(result.model, path)

    assert path.stat().st_ino != before.st_ino
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(before.st_mode)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["MatMul", "Slice", "Identity"]
    # What was read from the old file is still there, and can be saved again.
    assert np.array_equal(result.model.graph.initializers["weight"].const_value.numpy(), WEIGHTS[0])
    save(result.model, path)
    assert numpy_helper.to_array(onnx.load(path).graph.initializer[0]).tolist() == WEIGHTS[0].tolist()


def test_renamed_weight_is_carried_by_the_kernel(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(path)
    model.graph.initializers["weight"].name = "renamed"
    sizes: list[int] = []
    copy = os.copy_file_range

    def count(src: int, dst: int, size: int, offset_src: int, offset_dst: int) -> int:
        sizes.append(size)
        return copy(src, dst, size, offset_src, offset_dst)

    monkeypatch.setattr(os, "copy_file_range", count)
    save(model, path.with_name("new.onnx"))

    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(path.with_name("new.onnx")).graph.initializer}
    assert np.array_equal(tensors["renamed"], WEIGHTS[0])
    assert sum(sizes) > 3 * 4096


# ------------------------------------------------------------------------------------------------ over the limit


@pytest.mark.parametrize("kind", ["path", "bytes", "proto", "ir", "foreign"])
def test_model_over_the_limit_has_its_weights_beside_it(path: Path, kind: str) -> None:
    out = path.parent / "out"
    out.mkdir()
    given = {
        "path": path,
        "bytes": path.read_bytes(),
        "proto": heavy(),
        "ir": load(path),
        "foreign": ir.from_proto(heavy()),
    }[kind]

    saved = write_limited(given, out / "new.onnx")

    assert saved.notes == (
        "the model is over 4000 bytes, protobuf's limit: its weights are in new.onnx.data beside it",
    )
    assert names(out) == ["new.onnx", "new.onnx.data"]
    assert saved.size == (out / "new.onnx").stat().st_size < 4000
    light = proto_of((out / "new.onnx").read_bytes())
    entries = [{e.key: e.value for e in t.external_data} for t in light.graph.initializer if t.external_data]
    assert entries == [
        {"location": "new.onnx.data", "offset": str(index * 4096), "length": "4096"} for index in range(3)
    ]
    loaded = onnx.load(out / "new.onnx")
    tensors = {tensor.name: tensor for tensor in loaded.graph.initializer}
    for name, weight in zip(("weight", "weight_0", "weight_1"), WEIGHTS, strict=True):
        assert np.array_equal(numpy_helper.to_array(tensors[name]), weight)
    assert tensors["weight_0"].doc_string == "kept"
    assert list(loaded.graph.node) == list(ir.to_proto(given).graph.node if kind == "foreign" else heavy().graph.node)


def test_model_over_the_limit_can_be_read_and_saved_again(path: Path) -> None:
    write_limited(path, path.with_name("new.onnx"))

    model = load(path.with_name("new.onnx"))

    assert isinstance(model.graph.initializers["weight"].const_value, ir.ExternalTensor)
    assert save(model, path.with_name("again.onnx")).notes == ("refers to the same external data: new.onnx.data",)
    assert write_limited(path, path.with_name("new.onnx")).size == path.with_name("new.onnx").stat().st_size
    assert np.array_equal(
        numpy_helper.to_array(onnx.load(path.with_name("again.onnx")).graph.initializer[0]), WEIGHTS[0]
    )


def test_another_file_where_the_weights_would_go_is_left_alone(path: Path) -> None:
    other = path.with_name("new.onnx.data")
    other.write_bytes(b"theirs")

    for content in (None, b"no model", chain().SerializeToString()):
        if content is not None:
            path.with_name("new.onnx").write_bytes(content)
        with pytest.raises(UsageError, match=r"new.onnx.data: is in the way"):
            write_limited(path, path.with_name("new.onnx"))
        assert other.read_bytes() == b"theirs"
        assert (path.with_name("new.onnx").read_bytes() if content is not None else None) == content


def test_data_that_the_model_refers_to_is_not_overwritten_by_its_own_weights(tmp_path: Path) -> None:
    model = external("model.onnx.data")
    model.graph.initializer.append(numpy_helper.from_array(WEIGHTS[1], "inside"))
    path = put(tmp_path, model, "model.onnx.data")

    saved = write_limited(load(path), path, limit=3000)

    assert saved.notes == (
        "refers to the same external data: model.onnx.data",
        "the model is over 3000 bytes, protobuf's limit: its weights are in model.onnx.data2 beside it",
    )
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert np.array_equal(tensors["weight"], np.arange(1024, dtype=np.float32).reshape(32, 32))
    assert np.array_equal(tensors["inside"], WEIGHTS[1])


def test_model_that_is_over_the_limit_without_its_weights_is_told(path: Path) -> None:
    def more(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(
            onnx.helper.make_tensor("listed", onnx.TensorProto.FLOAT, [2000], np.zeros(2000, np.float32))
        )

    before = names(path.parent)

    with pytest.raises(ModelError, match=r"bytes beside the large initializers of its main graph, and protobuf writes"):
        write_limited(edited(heavy(), more), path.with_name("new.onnx"))

    assert names(path.parent) == before


# ------------------------------------------------------------------------------------------------ where to


def test_destination_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    model = chain()

    for path, says in (
        (tmp_path / "missing" / "m.onnx", "the folder .*missing does not exist"),
        (tmp_path / "file" / "m.onnx", "the folder .*file does not exist"),
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "pipe", "is no regular file"),
        (Path("/dev/null"), "is no regular file"),
        (tmp_path / ("n" * 300), "File name too long"),
        (Path("m\0.onnx"), "null byte"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            save(model, path)
        assert "\n" not in str(caught.value)
    assert Path("/dev/null").is_char_device()
    assert names(tmp_path) == ["file", "pipe"]


def test_folder_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:  # root may write everywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("onnxfuse.model_io.staging.os.open", refuse)

    with pytest.raises(UsageError, match=r"m.onnx: cannot be written: Permission denied"):
        save(chain(), tmp_path / "m.onnx")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(28, "No space left on device")])
def test_nothing_is_left_after_an_error(path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(pieces: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(files, "write_pieces", fail)

    for target in (path, path.with_name("new.onnx")):
        for limit in (10**9, 4000):
            with pytest.raises(UsageError if isinstance(error, OSError) else type(error)):
                write_limited(path, target, limit)

    assert path.read_bytes() == before
    assert names(path.parent) == ["model.onnx"]


def test_link_is_replaced_and_said_so(path: Path) -> None:
    link = path.with_name("link.onnx")
    link.symlink_to("model.onnx")
    before = path.read_bytes()

    saved = save(chain(), link)

    assert saved.notes == ("link.onnx was a symbolic link and is a file now; model.onnx is as it was",)
    assert not link.is_symlink()
    assert path.read_bytes() == before


def test_model_that_is_a_link_has_its_data_beside_the_link(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    path = put(tmp_path, external())
    shutil.move(path, store / "blob")
    path.symlink_to(store / "blob")

    model = load(path)
    save(model, tmp_path / "new.onnx")

    assert numpy_helper.to_array(onnx.load(tmp_path / "new.onnx").graph.initializer[0]).shape == (32, 32)


def test_relative_paths_mean_what_they_meant_when_the_model_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, external())
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    model = load("model.onnx")
    monkeypatch.chdir("sub")

    save(model, "new.onnx")

    assert names(tmp_path / "sub") == ["new.onnx", "weights.bin"]

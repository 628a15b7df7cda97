"""External data of a model that is saved, copied or given to a runtime: carried, and never read."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

import onnxfuse
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.model_io import load, open_model, save, staging
from onnxfuse.model_io.emit import evaluable
from tests.model_io.external import WEIGHT, external, in_branch, put, refer, weight_of
from tests.model_io.models import chain, edited, everything, proto_of

# ------------------------------------------------------------------------------------------------ going out


def rewritten(path: Path) -> ir.Model:
    result = onnxfuse.apply(path, "merge-sliced", verify="region")
    assert len(result.report.applied) == 1
    model: ir.Model = result.model
    return model


def test_beside_the_input_the_same_data_is_referred_to(folder: Path) -> None:
    path = put(folder, external())
    before = (folder / "weights.bin").stat()

    saved = save(rewritten(path), folder / "new.onnx")

    after = (folder / "weights.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert saved.notes == ("refers to the same external data: weights.bin",)
    assert sorted(item.name for item in folder.iterdir()) == ["model.onnx", "new.onnx", "weights.bin"]
    assert np.array_equal(weight_of(folder / "new.onnx"), WEIGHT)
    old, new = (proto_of(item.read_bytes()).graph.initializer[0] for item in (path, folder / "new.onnx"))
    assert old == new


@pytest.mark.parametrize("location", ["weights.bin", "sub/deep/weights.bin", "./weights.bin"])
def test_to_another_folder_the_data_comes_along(folder: Path, location: str) -> None:
    path = put(folder, external(location, offset=4096), location, offset=4096)
    target = folder.parent / "out" / "new.onnx"

    saved = save(rewritten(path), target)
    again = save(rewritten(path), target)

    (note,) = saved.notes
    assert note.startswith(f"external data {location} carried by ")
    assert note.removeprefix(f"external data {location} carried by ") in ("reflink", "copy_file_range", "copy")
    assert again.notes == (f"external data {location} is already there",)
    assert np.array_equal(weight_of(target), WEIGHT)
    assert (target.parent / location).stat().st_nlink == 1
    assert stat.S_IMODE((target.parent / location).stat().st_mode) == stat.S_IMODE((folder / location).stat().st_mode)


def test_new_tensors_are_written_and_the_data_file_stays(folder: Path) -> None:
    model = load(put(folder, external()))
    model.graph.register_initializer(ir.Value(name="new", const_value=ir.tensor(np.ones(5000, np.float32), name="new")))

    save(model, folder / "new.onnx")

    written = proto_of((folder / "new.onnx").read_bytes())
    assert len(written.graph.initializer[-1].raw_data) == 20000
    assert (folder / "weights.bin").read_bytes() == WEIGHT.tobytes()


def test_another_file_in_the_way_is_told_and_left_alone(folder: Path) -> None:
    model = load(put(folder, external()))
    out = folder.parent / "out"
    for content in (b"something else", bytes(4096)):
        (out / "weights.bin").write_bytes(content)

        with pytest.raises(UsageError, match="another file of that name is there"):
            save(model, out / "new.onnx")

        assert [item.name for item in out.iterdir()] == ["weights.bin"]
        assert (out / "weights.bin").read_bytes() == content


@pytest.mark.parametrize("target", ["nowhere.bin", "../secret.bin"])
def test_link_in_the_way_is_never_followed(folder: Path, target: str) -> None:
    model = load(put(folder, external()))
    out = folder.parent / "out"
    (out / "weights.bin").symlink_to(target)

    with pytest.raises(UsageError, match=r"another file of that name is there|a link leads out of"):
        save(model, out / "new.onnx")

    assert (out / "weights.bin").is_symlink()
    assert not (out / target).exists()
    assert [item.name for item in out.iterdir()] == ["weights.bin"]


def test_folder_that_links_out_of_the_target_is_never_written_to(folder: Path) -> None:
    model = load(put(folder, external("sub/weights.bin"), "sub/weights.bin"))
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder.parent / "out" / "sub").symlink_to(elsewhere)

    with pytest.raises(UsageError, match="a link leads out of"):
        save(model, folder.parent / "out" / "new.onnx")

    assert not any(elsewhere.iterdir())


def test_output_never_overwrites_the_data_that_the_model_refers_to(folder: Path) -> None:
    model = load(put(folder, external()))

    with pytest.raises(UsageError, match="is the model's own external data: choose another name"):
        save(model, folder / "weights.bin")
    (folder / "alias.bin").symlink_to("weights.bin")
    with pytest.raises(UsageError, match="is the model's own external data"):
        save(model, folder / "alias.bin")
    with pytest.raises(UsageError, match="is the model's own external data"):
        save(model, folder.parent / "out" / "weights.bin")

    assert (folder / "weights.bin").read_bytes() == WEIGHT.tobytes()
    assert not any((folder.parent / "out").iterdir())


def test_data_that_is_gone_when_the_model_is_saved_is_told(folder: Path) -> None:
    model = load(put(folder, external()))
    (folder / "weights.bin").unlink()

    for target in (folder / "new.onnx", folder.parent / "out" / "new.onnx"):
        with pytest.raises(ModelError, match=r"external data file weights.bin is missing"):
            save(model, target)
        assert not target.exists()


def test_nothing_is_left_where_the_model_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(put(folder, external("sub/weights.bin"), "sub/weights.bin"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnxfuse.model_io.files.write_pieces", fail)

    with pytest.raises(UsageError, match="No space left on device"):
        save(model, folder.parent / "out" / "new.onnx")

    assert not any((folder.parent / "out").iterdir())


@pytest.mark.parametrize("kernel", [True, False])
def test_copy_without_the_kernels_help_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    def decline(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    if not kernel:
        monkeypatch.setattr(staging.os, "copy_file_range", decline)
    monkeypatch.setattr(staging.fcntl, "ioctl", decline)
    model = load(put(folder, external()))

    saved = save(model, folder.parent / "out" / "new.onnx")

    assert saved.notes == (f"external data weights.bin carried by {'copy_file_range' if kernel else 'copy'}",)
    assert np.array_equal(weight_of(folder.parent / "out" / "new.onnx"), WEIGHT)


# ------------------------------------------------------------------------------------------------ without a folder


@pytest.mark.parametrize("kind", ["bytes", "proto"])
def test_model_without_a_folder_loads_and_is_saved_beside_its_data(folder: Path, kind: str) -> None:
    path = put(folder, external())
    given = path.read_bytes() if kind == "bytes" else external()

    result = onnxfuse.apply(given, "merge-sliced", verify="region")
    saved = save(result.model, folder / "new.onnx")

    assert saved.notes == ("refers to the same external data: weights.bin",)
    assert np.array_equal(weight_of(folder / "new.onnx"), WEIGHT)
    for model in (given, result.model, load(given)):
        with pytest.raises(ModelError, match=r"came without the folder .*: pass its path, or save it beside the data"):
            save(model, folder.parent / "out" / "new.onnx")
    assert not any((folder.parent / "out").iterdir())


# ------------------------------------------------------------------------------------------------ models of others


def foreign(folder: Path, *, base_dir: str | None = None, name: str = "weight") -> ir.Model:
    """Returns a model that onnx_ir made, with a tensor in `folder`."""
    tensor = ir.ExternalTensor(
        "weights.bin",
        0,
        4096,
        ir.DataType.FLOAT,
        shape=ir.Shape([32, 32]),
        name=name,
        base_dir=str(folder) if base_dir is None else base_dir,
    )
    value = ir.Value(name=name, const_value=tensor)
    node = ir.node("Identity", [value])
    node.outputs[0].name = "y"
    graph = ir.Graph([], [node.outputs[0]], nodes=[node], initializers=[value], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


def test_data_of_a_foreign_model_comes_along(folder: Path) -> None:
    put(folder, external())
    model = foreign(folder)

    beside = save(model, folder / "new.onnx")
    elsewhere = save(model, folder.parent / "out" / "new.onnx")

    assert beside.notes == ("refers to the same external data: weights.bin",)
    assert "carried by" in elsewhere.notes[0]
    for path in (beside.path, elsewhere.path):
        assert np.array_equal(weight_of(path), WEIGHT)


def test_foreign_tensor_put_into_a_model_with_a_folder_comes_along(folder: Path) -> None:
    put(folder, external())
    model = load(chain().SerializeToString())
    model.graph.initializers.add(foreign(folder, name="more").graph.initializers.pop("more"))

    save(model, folder.parent / "out" / "new.onnx")

    written = onnx.load(folder.parent / "out" / "new.onnx")
    assert np.array_equal(numpy_helper.to_array(written.graph.initializer[-1]), WEIGHT)


def test_foreign_model_without_a_folder_is_told(folder: Path) -> None:
    put(folder, external())
    model = foreign(folder, base_dir="")

    save(model, folder / "new.onnx")
    with pytest.raises(ModelError, match="came without the folder"):
        save(model, folder.parent / "out" / "new.onnx")

    assert np.array_equal(weight_of(folder / "new.onnx"), WEIGHT)


def test_one_name_in_two_folders_is_told(folder: Path) -> None:
    put(folder, external())
    put(folder.parent / "out", external())
    model = foreign(folder)
    other = foreign(folder.parent / "out", name="other").graph.initializers["other"].const_value
    model.graph.initializers.add(ir.Value(name="other", const_value=other))

    with pytest.raises(ModelError, match=r"'other': its external data file weights.bin is in .*, and that of another"):
        save(model, folder / "new.onnx")


def test_copy_of_a_foreign_model_that_onnx_ir_cannot_clone_knows_the_folder(folder: Path) -> None:
    put(folder, external())
    model = load(everything())  # with a sparse initializer
    with pytest.raises(RuntimeError):
        model.clone()
    model.graph.initializers.add(foreign(folder).graph.initializers.pop("weight"))

    tensor = load(model).graph.initializers["weight"].const_value

    assert isinstance(tensor, ir.ExternalTensor)
    assert np.array_equal(tensor.numpy(), WEIGHT)


# ------------------------------------------------------------------------------------------------ for a runtime


def test_runtime_gets_external_weights_mapped_and_constants_inside(folder: Path) -> None:
    tensor = numpy_helper.from_array(WEIGHT, "t")
    refer(tensor)
    path = put(folder, edited(external(), lambda m: in_branch(m, tensor)))

    model, weights = evaluable(open_model(path).emitted(changed=False), None)

    assert np.array_equal(weights["weight"], WEIGHT)
    then = model.graph.node[-1].attribute[0].g
    assert then.initializer[0].raw_data == WEIGHT.tobytes()
    assert model.graph.initializer[0].data_location == TensorProto.DEFAULT


def test_runtime_without_a_folder_gets_what_there_is() -> None:
    model, weights = evaluable(open_model(external()).emitted(changed=False), None)

    assert not weights
    assert model.graph.initializer[0].data_location == TensorProto.EXTERNAL


def test_data_that_is_gone_when_a_runtime_asks_is_told(folder: Path) -> None:
    opened = open_model(put(folder, external()))
    (folder / "weights.bin").unlink()

    with pytest.raises(ModelError, match="'weight': its external data cannot be read: "):
        evaluable(opened.emitted(changed=False), None)

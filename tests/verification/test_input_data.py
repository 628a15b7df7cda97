from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import onnxfuse
from onnxfuse.errors import UsageError
from onnxfuse.verification.input_data import DataSet, data_sets
from onnxfuse.verification.inputs import Binding, InputSpec
from tests.verification.texts import parse

T = onnx.TensorProto
IMAGE = InputSpec("image", "tensor", T.FLOAT, ("N", 3, "H", "W"))
IDS = [InputSpec(name, "tensor", T.INT64, (1, "L")) for name in ("ids", "mask")]


def written(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(array.tobytes())
    return array


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.info"
    path.write_text(text, encoding="utf-8")
    return path


def only(found: list[DataSet]) -> DataSet:
    (one,) = found
    return one


def same(found: DataSet, wanted: dict[str, np.ndarray]) -> bool:
    made = found.make()
    return made.keys() == wanted.keys() and all(
        np.array_equal(made[name], wanted[name]) and made[name].dtype == wanted[name].dtype for name in wanted
    )


def test_a_mapping_is_one_set() -> None:
    (found,) = data_sets({"x": np.ones(3)}, [])
    assert found.names == ("x",)
    assert same(found, {"x": np.ones(3)})


def test_an_archive_and_a_folder_of_such(tmp_path: Path) -> None:
    for name, value in (("b", 2), ("a", 1)):
        np.savez(tmp_path / f"{name}.npz", x=np.full(3, value))
    (tmp_path / "notes.txt").write_text("not data")
    assert same(only(data_sets(tmp_path / "a.npz", [])), {"x": np.full(3, 1)})
    first, second = data_sets(str(tmp_path), [])
    assert same(first, {"x": np.full(3, 1)})
    assert same(second, {"x": np.full(3, 2)})


def test_a_folder_of_arrays_and_a_folder_of_such(tmp_path: Path) -> None:
    specs = [InputSpec("x", "tensor", T.FLOAT, (3,)), InputSpec("a/b:0", "tensor", T.FLOAT, (2,))]
    for sample in ("s0", "s1"):
        (tmp_path / sample).mkdir()
        np.save(tmp_path / sample / "x.npy", np.zeros(3, np.float32))
        np.save(tmp_path / sample / "a_b_0.npy", np.ones(2, np.float32))
    wanted = {"x": np.zeros(3, np.float32), "a/b:0": np.ones(2, np.float32)}
    assert same(only(data_sets(tmp_path / "s0", specs)), wanted)
    assert [same(found, wanted) for found in data_sets(tmp_path, specs)] == [True, True]


def test_arrays_are_read_only_when_they_are_made(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    (found,) = data_sets(tmp_path / "a.npz", [])
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    assert same(found, {"x": np.zeros(3)})


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("0 raw/0.bin 5 4", (2, 3, 4, 5)),
        ("0 ./raw/0.bin (2,3,4,5)", (2, 3, 4, 5)),
        ("0 raw/0.bin ( 2, 3, 4, 5 )", (2, 3, 4, 5)),
        ("0 raw/0.bin 2 3 4 5", (2, 3, 4, 5)),
        ("\n7 raw/0.bin 10 1\n\n", (4, 3, 1, 10)),
    ],
)
def test_a_list_of_images(tmp_path: Path, text: str, shape: tuple[int, ...]) -> None:
    data = written(tmp_path / "raw/0.bin", np.arange(120, dtype=np.float32))
    assert same(only(data_sets(listed(tmp_path, text), [IMAGE])), {"image": data.reshape(shape)})


def test_channels_may_come_last(tmp_path: Path) -> None:
    data = written(tmp_path / "0.bin", np.arange(60, dtype=np.uint8))
    spec = InputSpec("image", "tensor", T.UINT8, (1, 4, 5, 3))
    assert same(only(data_sets(listed(tmp_path, "0 0.bin 5 4"), [spec])), {"image": data.reshape(1, 4, 5, 3)})


def test_a_list_for_several_inputs(tmp_path: Path) -> None:
    arrays = [written(tmp_path / f"{k}.bin", np.arange(k, k + 8)) for k in range(4)]
    path = listed(tmp_path, "0 0.bin\n0 1.bin\n1 2.bin (1,8)\n1 3.bin (1,8)\n")
    default = InputSpec("w", "tensor", T.FLOAT, (1,), overridable=True)
    first, second = data_sets(path, [*IDS, default])
    assert same(first, {"ids": arrays[0].reshape(1, 8), "mask": arrays[1].reshape(1, 8)})
    assert same(second, {"ids": arrays[2].reshape(1, 8), "mask": arrays[3].reshape(1, 8)})


def test_sizes_of_the_user_say_what_a_list_does_not(tmp_path: Path) -> None:
    data = written(tmp_path / "0.bin", np.arange(120, dtype=np.float32))
    found = data_sets(listed(tmp_path, "0 0.bin"), [IMAGE], Binding({"N": 1, "W": 8}))
    assert same(only(found), {"image": data.reshape(1, 3, 5, 8)})


@pytest.mark.parametrize("dtype", [T.FLOAT16, T.BFLOAT16, T.FLOAT8E4M3FN, T.BOOL, T.INT8, T.DOUBLE])
def test_raw_files_of_every_type(tmp_path: Path, dtype: int) -> None:
    numpy = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
    data = written(tmp_path / "0.bin", np.array([0, 1, 1, 0]).astype(numpy))
    spec = InputSpec("x", "tensor", dtype, ("N",))
    assert same(only(data_sets(listed(tmp_path, "0 0.bin"), [spec])), {"x": data})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no lines"),
        ("0", "line 1: <index> <file.bin>, and <width> <height> or the shape, is expected"),
        ("x 0.bin", "line 1: <index> <file.bin>"),
        ("0 0.bin 5 four", "line 1: <index> <file.bin>"),
        ("0 a.jpg 5 4", "line 1: a.jpg is a picture, and how it is scaled"),
        ("0 ../0.bin 5 4", "line 1: ../0.bin is outside of the folder of the list"),
        ("0 /etc/hostname 5 4", "line 1: /etc/hostname is outside of the folder of the list"),
        ("0 link.bin 5 4", "line 1: link.bin is outside of the folder of the list"),
        ("0 none.bin 5 4", "line 1: none.bin: no such file"),
        ("0 0.bin 5 4\n0 0.bin 5 4", "line 2: index 0 has 2 files, and the model takes 1: image"),
        ("0 0.bin (2,4,4,5)", r"line 1: the shape \[2,4,4,5\] is not that of input image, \[\?,3,\?,\?\]"),
        ("0 0.bin (2,3,4)", "line 1: the shape"),
        ("0 0.bin 5 4 3", "line 1: 3 sizes behind the file are neither the shape"),
        ("0 0.bin (2,3,4,4)", r"0.bin has 480 bytes, and input image, \[2,3,4,4\] of float32, takes 384"),
        ("0 0.bin", r"480 bytes of float32 do not tell the shape of input image, \[\?,3,\?,\?\]"),
        ("0 0.bin 7 4", "480 bytes of float32 do not tell the shape"),
        ("0 0.bin 0 4", "480 bytes of float32 do not tell the shape"),
    ],
)
def test_a_list_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    inside = tmp_path / "inside"
    written(inside / "0.bin", np.zeros(120, np.float32))
    written(inside / "a.jpg", np.zeros(9, np.uint8))
    written(tmp_path / "0.bin", np.zeros(120, np.float32))
    (inside / "link.bin").symlink_to(tmp_path / "0.bin")
    with pytest.raises(UsageError, match=message) as error:
        data_sets(listed(inside, text), [IMAGE])
    assert "\n" not in str(error.value)
    assert "list.info" in str(error.value)


def test_what_no_raw_file_can_hold(tmp_path: Path) -> None:
    written(tmp_path / "0.bin", np.zeros(4, np.uint8))
    path = listed(tmp_path, "0 0.bin (4)")
    for spec in (
        InputSpec("x", "tensor", T.STRING, (4,)),
        InputSpec("x", "sequence", T.FLOAT, (4,)),
        InputSpec("x", "tensor", T.INT4, (4,)),
    ):
        with pytest.raises(UsageError, match="input x is of a type that no raw file can hold"):
            data_sets(path, [spec])


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    written(tmp_path / "0.bin", np.zeros(120, np.float32))
    (found,) = data_sets(listed(tmp_path, "0 0.bin 5 4"), [IMAGE])
    written(tmp_path / "0.bin", np.zeros(99, np.float32))
    with pytest.raises(UsageError, match="0.bin has changed"):
        found.make()


def test_other_paths_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays/x.npy").write_text("hello")
    (tmp_path / "binary.info").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(UsageError, match="none.npz: no such file"):
        data_sets(tmp_path / "none.npz", [])
    with pytest.raises(UsageError, match="empty: holds neither .npz files nor folders"):
        data_sets(tmp_path / "empty", [])
    with pytest.raises(UsageError, match="text.npz: is no .npz archive of plain arrays"):
        data_sets(tmp_path / "text.npz", [])
    with pytest.raises(UsageError, match="binary.info: cannot be read as text"):
        data_sets(tmp_path / "binary.info", [IMAGE])
    (found,) = data_sets(tmp_path / "arrays", [])
    with pytest.raises(UsageError, match="x.npy: is no array"):
        found.make()


def test_a_comparison_takes_a_list(tmp_path: Path) -> None:
    def model(op: str) -> onnx.ModelProto:
        return parse(f"g (float[N] x) => (float[N] y) {{ y = {op}(x) }}")

    for index, value in enumerate((1.0, -1.0)):
        written(tmp_path / f"{index}.bin", np.full(4, value, np.float32))
    same_, other = listed(tmp_path, "0 0.bin\n"), tmp_path / "other.info"
    other.write_text("0 0.bin\n1 1.bin\n", encoding="utf-8")
    assert onnxfuse.verify(model("Relu"), model("Abs"), input_data=[same_]).equivalent
    verdict = onnxfuse.verify(model("Relu"), model("Abs"), input_data=[str(other)])
    assert not verdict.equivalent
    assert verdict.outputs[0].draw == "data 1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((2, 8)), "input set 1: x is float64, and the model takes float32"),
        (np.ones((2, 5), np.float32), "input set 1: x is [2, 5], and the model takes [N, 8]"),
        (np.ones(8, np.float32), "input set 1: x is [8], and the model takes [N, 8]"),
    ],
)
def test_an_array_that_the_model_does_not_take(given: np.ndarray, message: str) -> None:
    models = [
        onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 8] x) => (float[N, 8] y) {{ y = {op}(x) }}'
        )
        for op in ("Relu", "Abs")
    ]
    bad = {"x": -np.ones((2, 8), np.float32)}
    with pytest.raises(UsageError) as caught:
        onnxfuse.verify(*models, input_data=[{"x": -bad["x"]}, {"x": given}])
    assert str(caught.value) == message
    assert onnxfuse.verify(*models, input_data=[bad]).status == "different"

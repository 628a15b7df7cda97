# ruff: noqa: RUF001 - names and digits of other scripts are what is tested
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.drivers.info_files import Sample, check, jpeg_size, read, samples_in, write
from onnxfuse.errors import UsageError
from onnxfuse.verification.input_data import data_sets
from onnxfuse.verification.inputs import InputSpec
from tests.profile import EXAMPLES

T = onnx.TensorProto
IMAGE: Final = InputSpec("image", "tensor", T.FLOAT, (1, 3, 4, 5))
NAMES: Final = st.text(st.sampled_from("abcXYZ019_-.，é模[]();$'\"\\&"), min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and not name.startswith("(")
)


def jpeg(width: int, height: int, *, marker: int = 0xC0, before: bytes = b"") -> bytes:
    frame = bytes((8,)) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes((3,)) + bytes(9)
    app = b"\xff\xe0" + (2 + 14).to_bytes(2, "big") + b"JFIF\0" + bytes(9)
    head = b"\xff\xd8" + app + before
    return head + b"\xff\xff" + bytes((marker,)) + (2 + len(frame)).to_bytes(2, "big") + frame + b"\xff\xd9"


def put(folder: Path, *names: str, data: bytes = bytes(240)) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def refused_write(path: Path, samples: Sequence[Sample]) -> str:
    with pytest.raises(UsageError) as error:
        write(path, samples)
    assert "\n" not in str(error.value)
    assert [file.name for file in path.parent.glob(".*")] == []
    return str(error.value)


@EXAMPLES
@given(
    st.lists(NAMES, min_size=1, max_size=6, unique_by=lambda name: Path(name).stem),
    st.integers(0, 3),
    st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)
def test_what_is_written_is_read(names: list[str], more: int, size: tuple[int, int]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        samples = [
            Sample((f"./d/{stem}", *(f"d{k}/{stem}" for k in range(more))), None if more else size) for stem in names
        ]
        for sample in samples:
            put(folder, *sample.files)
        write(folder / "list.info", samples)
        assert read(folder / "list.info") == samples
        once = (folder / "list.info").read_bytes()
        write(folder / "list.info", read(folder / "list.info"))
        assert (folder / "list.info").read_bytes() == once


def test_the_three_forms(tmp_path: Path) -> None:
    put(tmp_path, "d/a.bin", "d/b.bin", "d/a_mask.bin", "d/b_mask.bin")
    put(tmp_path, "pictures/x.jpg", data=jpeg(500, 375))
    put(tmp_path, "pictures/y.JPEG", data=jpeg(20, 30, marker=0xC2))
    path = tmp_path / "list.info"
    write(path, samples_in(tmp_path / "d", path, size=(5, 4))[:2])
    assert path.read_text() == "0 ./d/a.bin 5 4\n1 ./d/a_mask.bin 5 4\n"
    write(path, samples_in(tmp_path / "pictures", path))
    assert path.read_text() == "0 ./pictures/x.jpg 500 375\n1 ./pictures/y.JPEG 20 30\n"
    check(read(path), [IMAGE])
    write(path, [Sample(("d/a.bin", "d/a_mask.bin")), Sample(("d/b.bin", "d/b_mask.bin"))])
    assert path.read_text() == "0 d/a.bin\n0 d/a_mask.bin\n1 d/b.bin\n1 d/b_mask.bin\n"
    assert [sample.stem for sample in read(path)] == ["a", "b"]
    two = [InputSpec(name, "tensor", T.FLOAT, (1, 60)) for name in ("ids", "mask")]
    check(read(path), [*two, InputSpec("w", "tensor", T.FLOAT, (9,), overridable=True)])


def test_each_picture_is_a_sample_though_its_index_was_there_before(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "c.jpg", data=jpeg(6, 4))
    put(tmp_path, "b.jpeg", data=jpeg(8, 2))
    path = tmp_path / "list.info"
    path.write_text("0 a.jpg 6 4\n1 c.jpg 6 4\n0 b.jpeg 8 2\n")
    found = read(path)
    assert found == [Sample(("a.jpg",), (6, 4)), Sample(("c.jpg",), (6, 4)), Sample(("b.jpeg",), (8, 2))]
    check(found, [IMAGE])
    write(path, found)
    assert path.read_text() == "0 a.jpg 6 4\n1 c.jpg 6 4\n2 b.jpeg 8 2\n"
    message = "a picture is a sample of its own, and goes with no other file"
    assert message in refused_write(path, [Sample(("a.jpg", "b.jpeg"))])


def test_what_is_written_feeds_a_comparison(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    put(tmp_path, "d/a.bin", data=array.tobytes())
    write(tmp_path / "list.info", samples_in(tmp_path / "d", tmp_path / "list.info", size=(5, 4)))
    (found,) = data_sets(tmp_path / "list.info", [IMAGE])
    assert np.array_equal(found.make()["image"], array)


def test_a_batch_is_put_together_from_samples(tmp_path: Path) -> None:
    put(tmp_path, "a.bin", "b.bin")
    path = tmp_path / "list.info"
    write(path, [Sample(("a.bin",), (5, 4)), Sample(("b.bin",), (5, 4))])
    for first in (8, "N", None):
        check(read(path), [InputSpec("x", "tensor", T.FLOAT, (first, 3, 4, 5))], batch=8)
    with pytest.raises(UsageError, match="input x has a batch of 4, and 8 was given"):
        check(read(path), [InputSpec("x", "tensor", T.FLOAT, (4, 3, 4, 5))], batch=8)
    with pytest.raises(
        UsageError, match=r"line 1: a.bin has 240 bytes, and input x, \[4,3,4,5\] of float32, takes 960"
    ):
        check(read(path), [InputSpec("x", "tensor", T.FLOAT, (4, 3, 4, 5))])
    with pytest.raises(UsageError, match="a batch is 1 or more"):
        check(read(path), [IMAGE], batch=0)


def test_one_short_file_is_found_before_a_run(tmp_path: Path) -> None:
    put(tmp_path, "a.bin", "c.bin")
    put(tmp_path, "b.bin", data=bytes(239))
    path = tmp_path / "list.info"
    write(path, [Sample((f"{name}.bin",), (5, 4)) for name in "abc"])
    with pytest.raises(
        UsageError, match=r"list.info, line 2: b.bin has 239 bytes, and input image, \[1,3,4,5\] of float32"
    ):
        check(read(path), [IMAGE])
    with pytest.raises(UsageError, match="line 1: a.bin has 240 bytes, and input image, .* of float16, takes 120"):
        check(read(path), [InputSpec("image", "tensor", T.FLOAT16, (1, 3, 4, 5))])
    with pytest.raises(UsageError, match="index 0 has 1 file, and the model takes 2: image, mask"):
        check(read(path), [IMAGE, InputSpec("mask", "tensor", T.FLOAT, (1,))])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 x.jpg 500 376", "line 1: x.jpg is 500 x 375, and the list says 500 x 376"),
        ("0 x.jpg", "line 1: the width and height of x.jpg are missing"),
        ("0 text.jpg 5 5", "line 1: text.jpg is no JPEG whose size can be read"),
        ("0 cut.jpg 5 5", "line 1: cut.jpg is no JPEG whose size can be read"),
        ("0 empty.jpg 5 5", "line 1: empty.jpg is no JPEG"),
        ("0 x.png 5 5", "line 1: x.png is no .jpg, which is what the tool decodes"),
    ],
)
def test_pictures_are_looked_at(tmp_path: Path, line: str, message: str) -> None:
    put(tmp_path, "x.jpg", "x.png", data=jpeg(500, 375))
    put(tmp_path, "text.jpg", data=b"hello")
    put(tmp_path, "empty.jpg", data=b"")
    put(tmp_path, "cut.jpg", data=jpeg(5, 5)[:25])
    (tmp_path / "list.info").write_text(line)
    with pytest.raises(UsageError, match=message):
        check(read(tmp_path / "list.info"), [IMAGE])


@EXAMPLES
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_break_the_reader_of_pictures(data: bytes, begins: bool) -> None:
    with TemporaryDirectory() as name:
        file = Path(name) / "x.jpg"
        file.write_bytes(b"\xff\xd8" * begins + data)
        try:
            width, height = jpeg_size(file)
        except UsageError:
            return
        assert width > 0
        assert height > 0


def test_a_thumbnail_is_not_the_picture(tmp_path: Path) -> None:
    inner = jpeg(160, 120)
    block = b"\xff\xe1" + (2 + len(inner)).to_bytes(2, "big") + inner
    put(tmp_path, "x.jpg", data=jpeg(4000, 3000, before=block))
    assert jpeg_size(tmp_path / "x.jpg") == (4000, 3000)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../out.bin", "line 1: ../out.bin is outside of the folder of the list"),
        ("d/../../out.bin", "is outside of the folder"),
        ("/etc/hostname", "line 1: /etc/hostname is outside of the folder"),
        ("link.bin", "line 1: link.bin is outside of the folder"),
        ("linked/out.bin", "is outside of the folder"),
        ("loop.bin", "loop.bin"),
        ("pipe.bin", "line 1: pipe.bin: no such file in the folder"),
        ("d", "line 1: d: no such file in the folder"),
        ("none.bin", "line 1: none.bin: no such file in the folder"),
        ("x" * 5000, "is no name of a file"),
        ("a b.bin", "'a b.bin' cannot stand in a list: it has a space or a control character"),
        ("a\nb.bin", "cannot stand in a list"),
        ("a\0b.bin", "cannot stand in a list"),
        ("a\x1b[31m.bin", "cannot stand in a list"),
        ("", "cannot stand in a list"),
    ],
)
def test_a_file_that_leaves_the_folder_is_refused(tmp_path: Path, name: str, message: str) -> None:
    folder = tmp_path / "inside"
    put(tmp_path, "out.bin")
    put(folder, "d/a.bin")
    (folder / "link.bin").symlink_to(tmp_path / "out.bin")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    os.mkfifo(folder / "pipe.bin")
    assert message in refused_write(folder / "list.info", [Sample((name,), (5, 4))])
    assert not (folder / "list.info").exists()
    if "\n" not in name and " " not in name and name:
        (folder / "list.info").write_text(f"0 {name} 5 4\n")
        with pytest.raises(UsageError, match=r"list.info, line 1") as error:
            read(folder / "list.info")
        assert len(str(error.value)) < 400
        with pytest.raises(UsageError, match=r"list.info, line 1"):
            check(read(folder / "list.info"), [IMAGE])


def test_samples_that_make_no_list(tmp_path: Path) -> None:
    path = tmp_path / "list.info"
    put(tmp_path, "a.bin", "b.bin", "d/a.bin")
    assert "needs a sample or more" in refused_write(path, [])
    mixed = [Sample(("a.bin",), (1, 1)), Sample(("a.bin", "b.bin"))]
    assert "different numbers of files, or a size in some only" in refused_write(path, mixed)
    same = [Sample(("a.bin",), (1, 1)), Sample(("d/a.bin",), (1, 1))]
    assert "a.bin and d/a.bin would have outputs of one name" in refused_write(path, same)
    assert "a.bin and a.bin would have outputs of one name" in refused_write(path, [same[0], same[0]])
    assert "no folder" in refused_write(tmp_path / "none" / "list.info", same[:1])
    assert "is a folder" in refused_write(tmp_path / "d", same[:1])
    with pytest.raises(UsageError, match="is outside of"):
        samples_in(tmp_path, tmp_path / "d" / "list.info", size=(1, 1))
    with pytest.raises(UsageError, match="holds no .jpg and no .jpeg files"):
        samples_in(tmp_path / "d", path)
    with pytest.raises(UsageError, match="none: cannot be read"):
        samples_in(tmp_path / "none", path)


def test_a_list_that_is_replaced_is_replaced_whole(tmp_path: Path) -> None:
    put(tmp_path, "a.bin")
    path = tmp_path / "list.info"
    path.write_text("what was there\n")
    refused_write(path, [Sample(("none.bin",), (1, 1))])
    assert path.read_text() == "what was there\n"
    write(path, [Sample(("a.bin",), (1, 1))])
    assert path.read_text() == "0 a.bin 1 1\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.bin", "list.info"]


@pytest.mark.parametrize(
    "data",
    [b"\x00\xff" * 50, b"", b"\n\n", b"0", b"zero a.bin", "٠ a.bin".encode(), b"0 a.bin 5 -4", b"9" * 5000 + b" a.bin",
     b"0 a.bin " + b"9" * 5000, b"0 a.bin 5,4 (", b"0 a.bin 1e3 4", "0 a.bin ５ ４".encode()],
)  # fmt: skip
def test_lines_that_are_none(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "a.bin")
    (tmp_path / "list.info").write_bytes(data)
    with pytest.raises(UsageError, match=r"list\.info") as error:
        read(tmp_path / "list.info")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300

"""Files that appear together, each whole, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxfuse.errors import ModelError
from onnxfuse.model_io.payload import Descriptor, Span, TensorData
from onnxfuse.model_io.staging import Staging, write_pieces


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_nothing_is_there_before_the_commit(tmp_path: Path) -> None:
    with Staging() as staging:
        staging.make_folder(tmp_path / "a" / "b")
        with staging.file(tmp_path / "a" / "b" / "one") as file:
            file.write(b"1")
        with staging.file(tmp_path / "two") as file:
            file.write(b"2")
        assert not (tmp_path / "two").exists()
        staging.commit()

    assert names(tmp_path) == ["a", "a/b", "a/b/one", "two"]
    assert (tmp_path / "two").read_bytes() == b"2"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), OSError(), ModelError("no")])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "two").write_bytes(b"old")

    with pytest.raises(type(error)), Staging() as staging:
        staging.make_folder(tmp_path / "a" / "b")
        with staging.file(tmp_path / "a" / "b" / "one") as file:
            file.write(b"1")
        with staging.file(tmp_path / "two") as file:
            file.write(b"2")
            raise error

    assert names(tmp_path) == ["two"]
    assert (tmp_path / "two").read_bytes() == b"old"


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_nothing_new_is_left_where_a_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls: Iterator[int] = iter(range(9))
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if next(calls) == failing:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(KeyboardInterrupt), Staging() as staging:
        staging.make_folder(tmp_path / "sub")
        for name in ("sub/one", "two", "three"):
            with staging.file(tmp_path / name) as file:
                file.write(b"new")
        staging.commit()

    assert names(tmp_path) == []


def test_folder_in_which_somebody_put_something_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Staging() as staging:
        staging.make_folder(tmp_path / "sub")
        (tmp_path / "sub" / "theirs").write_bytes(b"x")
        raise KeyboardInterrupt

    assert names(tmp_path) == ["sub", "sub/theirs"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_mode_of_a_file_that_is_replaced_is_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)

    with Staging() as staging:
        with staging.file(path) as file:
            file.write(b"new")
        staging.commit()

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_file_obeys_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with Staging() as staging:
            with staging.file(tmp_path / "file") as file:
                file.write(b"new")
            staging.commit()
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("target", ["real", "dangling"])
def test_link_is_replaced_and_what_it_names_left_alone(tmp_path: Path, target: str) -> None:
    (tmp_path / "real").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to(target)

    with Staging() as staging:
        with staging.file(tmp_path / "link") as file:
            file.write(b"new")
        staging.commit()

    assert not (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "real"]
    assert (tmp_path / "real").read_bytes() == b"theirs"


def test_name_as_long_as_a_name_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)

    with Staging() as staging:
        with staging.file(path) as file:
            file.write(b"new")
        staging.commit()

    assert path.read_bytes() == b"new"


def test_source_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing: cannot be read: No such file"), Staging() as staging:
        staging.copy(tmp_path / "missing", tmp_path / "new")

    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------------------ pieces


@pytest.fixture
def source(tmp_path: Path) -> Span:
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 16)
    return Span(memoryview(path.read_bytes()), 0, 4096, Descriptor(path))


def part(whole: Span, start: int, end: int) -> Span:
    return Span(whole.source, start, end, whole.file)


def written(path: Path, *pieces: bytes | Span | TensorData) -> bytes:
    with path.open("wb+") as file:
        write_pieces(pieces, file)
    return path.read_bytes()


def test_pieces_are_written_in_order(tmp_path: Path, source: Span) -> None:
    data = written(
        tmp_path / "out",
        b"head",
        part(source, 0, 10),
        part(source, 10, 30),
        part(source, 50, 60),
        b"middle",
        TensorData("t", 3, lambda: b"abc"),
        part(source, 4000, 4096),
    )

    whole = bytes(source.view())
    assert data == b"head" + whole[:30] + whole[50:60] + b"middle" + b"abc" + whole[4000:]


def test_neighbours_go_in_one_copy(tmp_path: Path, source: Span, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[tuple[int, int]] = []
    copy = os.copy_file_range

    def count(src: int, dst: int, size: int, offset_src: int, offset_dst: int) -> int:
        copied.append((offset_src, size))
        return copy(src, dst, size, offset_src, offset_dst)

    monkeypatch.setattr(os, "copy_file_range", count)

    written(tmp_path / "out", *(part(source, start, start + 64) for start in range(0, 4096, 64)))

    assert copied == [(0, 4096)]


def test_short_copies_of_the_kernel_are_continued(
    tmp_path: Path, source: Span, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = os.copy_file_range

    def little(src: int, dst: int, size: int, offset_src: int, offset_dst: int) -> int:
        if offset_src > 2000:
            raise OSError(22, "Invalid argument")
        return copy(src, dst, min(size, 700), offset_src, offset_dst)

    monkeypatch.setattr(os, "copy_file_range", little)

    assert written(tmp_path / "out", b"x", source, b"y") == b"x" + bytes(source.view()) + b"y"


def test_source_that_became_shorter_is_told_and_not_looked_at(tmp_path: Path, source: Span) -> None:
    os.truncate(tmp_path / "source", 100)

    with pytest.raises(ModelError, match="has become shorter since"):
        written(tmp_path / "out", source)

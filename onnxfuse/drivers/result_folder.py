"""Where what a run leaves goes: to `result/`, as `benchmark` calls it, new and whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from onnxfuse.errors import UsageError
from onnxfuse.model_io.staging import Staging

__all__ = ["RESULT", "check_new", "keep", "new_result", "writing"]

RESULT: Final = "result"


def check_new(output: Path) -> None:
    """Checks that `output` has no `result/` yet, or an empty one.

    What lay in it would be taken for what this run wrote, or be written over.

    Raises:
        UsageError: It has, or is no folder.
    """
    place = output / RESULT
    there = _there(output)
    if not there.is_dir():
        raise UsageError(f"{there}: is no folder")
    if os.path.lexists(place) and (place.is_symlink() or not place.is_dir() or any(place.iterdir())):
        raise UsageError(
            f"{place}: is there already, and is not written over or added to: remove it, or give another folder"
        )


@contextmanager
def new_result(output: Path) -> Iterator[Path]:
    """A folder for a run, whose `result/` becomes that of `output` if the run succeeds; else nothing is left.

    Raises:
        UsageError: `output` has a `result/` already, or cannot be written.
    """
    check_new(output)
    with writing(output):
        # On the file system where it goes, so that nothing is copied: outputs of a dataset are large.
        folder = Path(tempfile.mkdtemp(prefix=".onnxfuse-", dir=_there(output).absolute()))
    try:
        with writing(output):
            (folder / RESULT).mkdir()
        yield folder
        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
            (folder / RESULT).rename(output / RESULT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(output: Path, name: str = "") -> Iterator[None]:
    """What goes wrong here does so in writing: to `result/` in a folder, or to a file there. Nothing else is done in it.

    Raises:
        UsageError: It does.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{output / RESULT / name}: cannot be written: {error.strerror}") from error


def _there(output: Path) -> Path:
    """The part of a path that is there."""
    return next(path for path in (output, *output.absolute().parents) if os.path.lexists(path))


def keep(data: bytes, output: Path, name: str) -> None:
    """Writes a report to `result/` in a folder, as a whole; one of that name is replaced.

    Raises:
        UsageError: It cannot be written.
    """
    file = output / RESULT / name
    with writing(output, name), Staging() as staging:
        staging.make_folder(file.parent)
        with staging.file(file) as writer:
            writer.write(data)
        staging.commit()

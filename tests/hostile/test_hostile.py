"""Models from strangers: legal ones work, the rest get one clear line; nothing outside is read, nothing is run."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import onnx
import pytest

from onnxfuse.model_io import open_model
from tests.cli.conftest import ROOT, environment
from tests.hostile import extent, external, files, functions, graphs, sizes, texts
from tests.hostile.cases import CASES, OUTSIDE, Case, model_of, node

BATCHES: Final = {module.__name__: module for module in (extent, external, files, functions, graphs, sizes, texts)}
TIMEOUT_S: Final = 300
"""For a whole batch: far more than it takes, so that a hang is told."""

Answer = dict[str, Any]


def place(case: Case, root: Path) -> Path:
    """Where a case is; its name is not in it, since messages name the path."""
    return root / str(list(CASES).index(case.name))


def prepared(case: Case, root: Path) -> dict[str, Any]:
    """Writes a case, and what stands around it; returns the job for the child."""
    folder, work, outside = (place(case, root) / name for name in ("model", "work", OUTSIDE))
    for each in (folder, work, outside):
        each.mkdir(parents=True)
    (outside / "secret").write_bytes(bytes(4096))
    model, good = case.write(folder), folder / "good.onnx"
    if case.legal:
        copy, out = folder / "copy.onnx", folder / "out.onnx"
        os.link(model, copy)
        region, budget = ["--verify", "region"], ["--verify-budget", "5"]
        commands = [
            ["inspect", model, *([] if case.large else ["--json"])],
            ["apply", model, "--dry-run", *region, "--why"],
        ]
        if not case.large:
            commands.append(["inspect", model])
            commands.append(["apply", model, "-o", out, *budget] if case.runs else ["apply", model, "-o", out, *region])
            commands += [["diff", model, copy], ["diff", model, out], ["verify", model, copy, *budget]]
        if case.runs and not case.large:
            commands.append(["verify", model, out, *budget])
    else:
        good.write_bytes(model_of([node("Relu", "x", "y")]).SerializeToString())
        commands = [
            ["inspect", model],
            ["apply", model, "--dry-run", "--verify", "region"],
            ["apply", model, "-o", folder / "out.onnx"],
            ["verify", model, good],
            ["verify", good, model],
            ["diff", good, model],
            ["bench", model, good],
        ]
    return {
        "case": case.name,
        "model": str(model),
        "folder": str(folder),
        "work": str(work),
        "commands": [list(map(str, argv)) for argv in commands],
    }


IN_ACCESS, IN_OPEN = 0x1, 0x20


@contextmanager
def watched(paths: list[Path]) -> Iterator[Callable[[], int]]:
    """Counts the times that files are opened or read, by whatever code of whatever process."""
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init1(os.O_NONBLOCK)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    for path in paths:
        assert libc.inotify_add_watch(queue, os.fsencode(path), IN_ACCESS | IN_OPEN) >= 0

    def count() -> int:
        try:
            return len(os.read(queue, 1 << 16)) // struct.calcsize("iIII")
        except BlockingIOError:
            return 0

    try:
        yield count
    finally:
        os.close(queue)


_DONE: dict[str, tuple[dict[str, list[Answer]], Path, int]] = {}


@pytest.fixture
def outcome(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Answer], Path]:
    """What the commands answered for a case, and the folder it is in; the whole batch is run at once."""
    batch = case.make.__module__
    if batch not in _DONE:
        _DONE[batch] = run_batch(batch, tmp_path_factory.mktemp("hostile"))
    answers, root, outside = _DONE[batch]
    assert outside == 0, "files outside of the models' folders were opened"
    return answers.get(case.name, []), place(case, root)


def run_batch(batch: str, root: Path) -> tuple[dict[str, list[Answer]], Path, int]:
    """Runs a batch in one process; where that ends early, the case that ended it has an answer without a code."""
    jobs = [prepared(case, root) for case in CASES.values() if case.make.__module__ == batch]
    secrets = [place(CASES[job["case"]], root) / OUTSIDE / "secret" for job in jobs]
    answers: dict[str, list[Answer]] = {}
    with watched(secrets) as count:
        while jobs:
            text = ask(jobs)
            last = ""
            for line in map(json.loads, text.splitlines()):
                last = line["case"]
                said = answers.setdefault(last, [])
                if said and said[-1]["argv"] == line["argv"]:
                    said[-1] = line
                else:
                    said.append(line)
            if last == jobs[-1]["case"] and "code" in answers[last][-1]:
                break
            assert last, "the process did not even begin"
            # That case ended the process: the others get another one.
            names = [job["case"] for job in jobs]
            jobs = jobs[names.index(last) + 1 :]
        return answers, root, count()


def ask(jobs: list[dict[str, Any]]) -> str:
    """Runs the child; returns its lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    )
    try:
        text, _ = process.communicate(json.dumps(jobs).encode(), timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
    return text.decode()


def by_case(*, is_legal: bool) -> pytest.MarkDecorator:
    cases = [case for case in CASES.values() if case.legal == is_legal]
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def check_watch(answer: Answer) -> None:
    assert answer["seen"] == []
    assert answer["made"] == []
    assert "Traceback" not in answer["err"]
    assert not any(ord(sign) < 32 and sign not in "\n\t" for sign in answer["err"])


@by_case(is_legal=False)
def test_what_is_no_model_is_told_in_one_line(case: Case, outcome: tuple[list[Answer], Path]) -> None:
    if case.name == "file_that_may_not_be_read" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    answers, folder = outcome
    assert len(answers) == 7
    for answer in answers:
        assert answer.get("code") == 2, answer
        check_watch(answer)
        lines = answer["err"].splitlines()
        assert len(lines) == 1, answer["err"]
        assert lines[0].startswith("onnxfuse: error: ")
        assert case.says in lines[0]
        assert len(lines[0]) < 1000
    assert not (folder / "model" / "out.onnx").exists()


@by_case(is_legal=True)
def test_what_is_a_model_works(case: Case, outcome: tuple[list[Answer], Path]) -> None:
    answers, folder = outcome
    assert len(answers) == (2 if case.large else 7 + case.runs)
    good = {"inspect": {0}, "apply": {0}, "diff": {0}, "verify": {0, 5}}
    for answer in answers:
        command = answer["argv"][0]
        codes = {0, 1} if command == "diff" and answer["argv"][2].endswith("out.onnx") else good[command]
        assert answer.get("code") in codes, answer
        check_watch(answer)
    if case.large:
        return
    out, model = (folder / "model" / name for name in ("out.onnx", "model.onnx"))
    open_model(out)
    if case.runs and is_valid(model):
        assert is_valid(out)


def is_valid(path: Path) -> bool:
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError:
        return False
    return True


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 80
    assert sum(case.legal for case in CASES.values()) >= 20

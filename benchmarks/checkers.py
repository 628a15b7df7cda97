"""What says whether two models are equivalent: onnxfuse, and what its peers have for that. The peers are optional."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import onnx

from benchmarks.measure import ROOT
from benchmarks.peers import version

__all__ = ["CHECKERS", "COMMAND_LINE", "ONNXFUSE", "Answer", "Checker"]

Says = Literal["equivalent", "different", "open"]


class Answer(NamedTuple):
    """What a checker says of a pair, and why; `open` where it could not say."""

    says: Says
    why: str = ""


@dataclass(frozen=True)
class Checker:
    """Something that compares two models.

    Attributes:
        name: What it is called in the table.
        check: Takes the original and the other, serialized.
        needs: The distributions it needs.
    """

    name: str
    check: Callable[[bytes, bytes], Answer]
    needs: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What to do where something is not installed; empty where all is."""
        missing = [name for name in self.needs if version(name) is None]
        return f"not installed: pip install {' '.join(missing)}" if missing else ""


def _onnxfuse(a: bytes, b: bytes) -> Answer:
    import onnxfuse

    verdict = onnxfuse.verify(a, b)
    if verdict.equivalent:
        return Answer("equivalent")
    reasons = [*verdict.interface] and [f"interface: {'; '.join(verdict.interface)}"]
    reasons += [output.why for output in verdict.outputs if output.why and output.status == verdict.status]
    reasons += verdict.not_run
    return Answer("different" if verdict.status == "different" else "open", next(iter(reasons), ""))


def _command_line(a: bytes, b: bytes) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("a.onnx", "b.onnx")]
        for path, data in zip(paths, (a, b), strict=True):
            path.write_bytes(data)
        command = [sys.executable, "-m", "onnxfuse.cli.main", "verify", *map(str, paths)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    says: dict[int, Says] = {0: "equivalent", 1: "different", 5: "open"}
    if done.returncode not in says:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return Answer(says[done.returncode], " ".join(done.stderr.split())[:300])


def _certify(a: bytes, b: bytes) -> Answer:
    """With the limits that `onnxsim.simplify` sets; without any ranges it raises where it has found a difference."""
    module: Any = importlib.import_module("onnxsim.certify")
    models = onnx.load_from_string(a), onnx.load_from_string(b)
    report = module.certify(*models, input_ranges={}, max_work=100_000, timeout_ms=5_000, total_timeout_ms=10_000)
    if report.ok:
        return Answer("equivalent", ", ".join(sorted(set(report.outputs.values()))))
    refuted = [window.detail for window in report.windows if window.status == module.REFUTED]
    if refuted:
        return Answer("different", refuted[0])
    return Answer("open", next((window.detail for window in report.windows), "not all outputs proved"))


def _check_n(a: bytes, b: bytes) -> Answer:
    module: Any = importlib.import_module("onnxsim.model_checking")
    same = module.compare(onnx.load_from_string(b), onnx.load_from_string(a), n_times=3, verbose=False)
    return Answer("equivalent" if same else "different")


def _polygraphy(a: bytes, b: bytes) -> Answer:
    """As `polygraphy run A --onnxrt` and `polygraphy run B --onnxrt --load-outputs` compare, by their defaults."""
    backend: Any = importlib.import_module("polygraphy.backend.onnxrt")
    comparator: Any = importlib.import_module("polygraphy.comparator")
    runners = [backend.OnnxrtRunner(backend.SessionFromOnnx(data), name=name) for data, name in ((a, "a"), (b, "b"))]
    results = comparator.Comparator.run(runners)
    accuracy = comparator.Comparator.compare_accuracy(results, compare_func=comparator.CompareFunc.simple())
    return Answer("equivalent" if accuracy else "different")


ONNXFUSE: Final = Checker("onnxfuse verify", _onnxfuse)
COMMAND_LINE: Final = Checker("onnxfuse verify, command line", _command_line)
CHECKERS: Final = (
    ONNXFUSE,
    Checker("onnxsim certify", _certify, ("onnxsim", "z3-solver")),
    Checker("onnxsim check_n=3", _check_n, ("onnxsim",)),
    Checker("Polygraphy, two onnxruntime runners", _polygraphy, ("polygraphy",)),
)

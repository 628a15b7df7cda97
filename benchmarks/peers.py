"""The tools beside which onnxfuse is measured. All are optional."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import entry_point, python

__all__ = ["ONNXRUNTIME", "ONNXSIM", "ONNXSLIM", "Peer", "version"]


@dataclass(frozen=True)
class Peer:
    """A tool that takes a model and gives back a simpler one.

    Attributes:
        name: Of its module and its distribution.
        script: The module whose `main` its console script runs.
    """

    name: str
    script: str = ""

    @property
    def problem(self) -> str:
        """What to do where it is not installed; empty where it is."""
        return "" if version(self.name) else f"not installed: pip install {self.name}"

    def simplified(self, model: Any) -> Any:
        """Returns the simplified ModelProto, by the tool's defaults."""
        module = importlib.import_module(self.name)
        if self.name == "onnxsim":
            return module.simplify(model)[0]
        return module.slim(model)

    def command(self, source: Path, target: Path) -> list[str]:
        """Returns the command line that simplifies a file, by the tool's defaults."""
        if self.name == "onnxruntime":
            return python(_ORT_BASIC, str(source), str(target))
        return entry_point(self.script, str(source), str(target))

    def first_use(self, path: Path) -> list[str]:
        """Returns the command line of a process that imports the tool and simplifies one model in memory."""
        call = "simplify" if self.name == "onnxsim" else "slim"
        return python(f"import sys, onnx, {self.name}; {self.name}.{call}(onnx.load(sys.argv[1]))", str(path))


_ORT_BASIC: Final = """\
import sys
import onnxruntime

options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.optimized_model_filepath = sys.argv[2]
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""

ONNXSIM: Final = Peer("onnxsim", "onnxsim")
ONNXSLIM: Final = Peer("onnxslim", "onnxslim.cli")
ONNXRUNTIME: Final = Peer("onnxruntime")


def version(distribution: str) -> str | None:
    """Returns the version that is installed, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None

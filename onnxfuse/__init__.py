"""onnxfuse: ONNX graph rewrites that are verified as they are applied.

import onnxfuse

model, report = onnxfuse.apply("model.onnx", "merge-sliced,remove-pad")
assert not report.rejected
onnxfuse.save(model, "out.onnx")

assert onnxfuse.verify("model.onnx", "out.onnx").equivalent
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxfuse.errors import (
        MissingExtraError,
        ModelError,
        OnnxfuseError,
        PassError,
        ToolError,
        UsageError,
        VerificationError,
    )
    from onnxfuse.model_io import load, save
    from onnxfuse.pipeline.base import ModelPass, Numerics, Pass, RewritePass
    from onnxfuse.pipeline.manager import Result, VerifyLevel, apply, verify
    from onnxfuse.pipeline.pipeline import Pipeline, Repeat
    from onnxfuse.report.records import Applied, Declined, Failed, Rejected, Report
    from onnxfuse.rewriting.builder import Builder
    from onnxfuse.rewriting.match import Facts, Match
    from onnxfuse.verification.verdict import Verdict

__version__ = "0.1.0"

# Where each public name lives. They are imported when they are asked for: a pass is listed, and a command answers,
# without onnx, onnx_ir and onnxruntime, which take a second.
_HOMES = {
    "Applied": "onnxfuse.report.records",
    "Builder": "onnxfuse.rewriting.builder",
    "Declined": "onnxfuse.report.records",
    "Facts": "onnxfuse.rewriting.match",
    "Failed": "onnxfuse.report.records",
    "Match": "onnxfuse.rewriting.match",
    "MissingExtraError": "onnxfuse.errors",
    "ModelError": "onnxfuse.errors",
    "ModelPass": "onnxfuse.pipeline.base",
    "Numerics": "onnxfuse.pipeline.base",
    "OnnxfuseError": "onnxfuse.errors",
    "Pass": "onnxfuse.pipeline.base",
    "PassError": "onnxfuse.errors",
    "Pipeline": "onnxfuse.pipeline.pipeline",
    "Rejected": "onnxfuse.report.records",
    "Repeat": "onnxfuse.pipeline.pipeline",
    "Report": "onnxfuse.report.records",
    "Result": "onnxfuse.pipeline.manager",
    "RewritePass": "onnxfuse.pipeline.base",
    "ToolError": "onnxfuse.errors",
    "UsageError": "onnxfuse.errors",
    "Verdict": "onnxfuse.verification.verdict",
    "VerificationError": "onnxfuse.errors",
    "VerifyLevel": "onnxfuse.pipeline.manager",
    "apply": "onnxfuse.pipeline.manager",
    "load": "onnxfuse.model_io",
    "save": "onnxfuse.model_io",
    "verify": "onnxfuse.pipeline.manager",
}

__all__ = [
    "Applied",
    "Builder",
    "Declined",
    "Facts",
    "Failed",
    "Match",
    "MissingExtraError",
    "ModelError",
    "ModelPass",
    "Numerics",
    "OnnxfuseError",
    "Pass",
    "PassError",
    "Pipeline",
    "Rejected",
    "Repeat",
    "Report",
    "Result",
    "RewritePass",
    "ToolError",
    "UsageError",
    "Verdict",
    "VerificationError",
    "VerifyLevel",
    "apply",
    "load",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'onnxfuse' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""Compares a region with what is to replace it where the operators' version changes along with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import onnx
import onnx_ir as ir

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evidence import GRADE_TESTED, REJECTED, Evidence
from onnxfuse.verification.model import check_models
from onnxfuse.verification.region_model import Region, build, signature
from onnxfuse.verification.region_pair import region_pair
from onnxfuse.verification.verdict import Status

__all__ = ["VersionVerifier", "version_matters"]


class VersionVerifier:
    """Compares regions of two models that import different versions of ONNX's own domain, each distinct one once.

    One model cannot hold both versions: the two sides are compared as models of their own.
    """

    def __init__(self, imports: Mapping[str, int], budget: float) -> None:
        """Sets up.

        Args:
            imports: The versions of all domains after the change.
            budget: Seconds that one comparison may take.
        """
        self._imports, self._budget = imports, budget
        self._known: dict[bytes, Evidence] = {}

    def check(self, region: Region) -> Evidence:
        """Compares a region with its replacement; never raises for what the models do."""
        built = build(region)
        if isinstance(built, str):
            return Evidence(REJECTED, f"not verified: {built}")
        border = [
            (name, region.shapes.dtype(value), region.shapes.shape(value)) for name, value in built.inputs.items()
        ]
        key = signature(built, border)
        if key not in self._known:
            self._known[key] = self._compare(region)
        return self._known[key]

    def _compare(self, region: Region) -> Evidence:
        pair = region_pair(region)
        if isinstance(pair, str):
            return Evidence(REJECTED, f"not verified: {pair}")
        after = onnx.ModelProto()
        after.CopyFrom(pair.after.proto)
        del after.opset_import[:]
        for domain, version in self._imports.items():
            after.opset_import.add(domain=domain, version=version)
        other = replace(pair.after, proto=after)
        verdict = check_models(
            pair.before, EvalModel(other.proto, other.weights), families="full", budget_s=self._budget
        )
        if verdict.status is Status.EQUIVALENT:
            return Evidence(GRADE_TESTED, f"equal in both versions on {verdict.draws} input sets")
        not_run = "not verified: " if verdict.status is Status.NOT_RUN else ""
        return Evidence(REJECTED, f"{not_run}{verdict.explain()}")


def version_matters(node: ir.Node, before: int, after: int) -> bool:
    """Says whether the operator of `node` has another definition in version `after` of ONNX's own domain than in `before`.

    What holds bodies is left out: its own meaning is which of them runs, in every version.
    """
    if node.domain not in ("", "ai.onnx") or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        return False
    return _since(node.op_type, before) != _since(node.op_type, after)


@cache
def _since(op_type: str, version: int) -> int | None:
    try:
        return int(onnx.defs.get_schema(op_type, version).since_version)
    except onnx.defs.SchemaError:
        return None

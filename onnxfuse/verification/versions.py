"""Compares a region with what is to replace it where the operators' version changes along with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

import onnx
import onnx_ir as ir

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.evidence import GRADE_TESTED, REJECTED, Evidence
from onnxfuse.verification.model import check_models
from onnxfuse.verification.region_model import Region, identified
from onnxfuse.verification.region_pair import region_pair
from onnxfuse.verification.verdict import Status

__all__ = ["VersionVerifier", "version_matters"]

# What a node that is written as it was is compared on: its new definition is meant to be the old one.
UNCHANGED: Final = ("normal", "special")
# What a longer constant holds is data, not a setting of the operator.
SHORT: Final = 16


class VersionVerifier:
    """Compares regions of two models that import different versions of ONNX's own domain, each distinct one once.

    Of nodes that stay as they are, each distinct kind is compared once, whatever the sizes: what an operator means does
    not depend on them.

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
        # What leads to the region's constants is written for one version: it can run in one of the models only.
        region = replace(region, refolds=False)
        found = identified(region)
        if isinstance(found, str):
            return Evidence(REJECTED, f"not verified: {found}")
        unchanged = _is_unchanged(region)
        key = _kind(region) if unchanged else found[1]
        if key not in self._known:
            self._known[key] = self._compare(region, UNCHANGED if unchanged else None)
        return self._known[key]

    def _compare(self, region: Region, families: Sequence[str] | None) -> Evidence:
        pair = region_pair(region)
        if isinstance(pair, str):
            return Evidence(REJECTED, f"not verified: {pair}")
        after = onnx.ModelProto()
        after.CopyFrom(pair.after.proto)
        del after.opset_import[:]
        for domain, version in self._imports.items():
            after.opset_import.add(domain=domain, version=version)
        verdict = check_models(
            pair.before,
            EvalModel(after, pair.after.weights),
            families="full",
            selected=families,
            budget_s=self._budget,
        )
        if verdict.status is Status.EQUIVALENT:
            return Evidence(GRADE_TESTED, f"equal in both versions on {verdict.draws} input sets")
        not_run = "not verified: " if verdict.status is Status.NOT_RUN else ""
        return Evidence(REJECTED, f"{not_run}{verdict.explain()}")


def _is_unchanged(region: Region) -> bool:
    """Says whether the region is one node, and stays it."""
    if not len(region.before) == len(region.after) == 1:
        return False
    (one,), (other,) = region.before, region.after
    return one.op_type == other.op_type and one.attributes == other.attributes and one.inputs == other.inputs


def _kind(region: Region) -> bytes:
    """Returns what one node has in common with others that mean the same."""
    (node,) = region.before
    attributes = sorted(
        ir.serde.serialize_attribute(attribute).SerializeToString(deterministic=True)
        for attribute in node.attributes.values()
    )
    inputs = [_input_kind(region, value) if value is not None else None for value in node.inputs]
    return repr((node.domain, node.op_type, attributes, inputs, len(node.outputs))).encode()


def _input_kind(region: Region, value: ir.Value) -> tuple[object, ...]:
    """Returns what counts of an input: sizes do not, but for 0 and 1, over which many an operator does nothing."""
    shape, contents = region.shapes.shape(value), region.contents(value)
    dims = None if shape is None else [dim if dim in (0, 1) else "n" for dim in shape]
    short = contents is not None and contents.size <= SHORT
    return region.shapes.dtype(value), dims, contents.tolist() if short and contents is not None else None


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

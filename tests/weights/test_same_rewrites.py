"""Passes do to a graph without weights what they do to the model with them: same places, same names, same reasons."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxfuse
from onnxfuse.pipeline import registry
from onnxfuse.pipeline.pipeline import Pipeline
from onnxfuse.report.records import Report
from onnxfuse.testing import fill
from tests.examples.commands import ROOT

GRAPHS = sorted([*(ROOT / "examples").glob("*/*.onnx"), *Path(__file__).parent.glob("graphs/*.onnx")])
NEEDED = {"convert-opset": "{to=17}"}
"""Options without a default."""
PASSES = [name + NEEDED.get(name, "") for name, origin in registry.origins().items() if origin == "onnxfuse"]
PRESETS = [name for name, stands_for in registry.presets().items() if len(Pipeline.parse(stands_for).members) > 1]

VERIFIED = ("deepmar_oldpad", "lvvit_s_opset11")
"""The graphs on which the grades are compared too: it takes minutes on all."""


@pytest.fixture(scope="module")
def filled() -> Callable[[Path], onnx.ModelProto]:
    """Gives a graph weights, once for all passes."""

    @cache
    def give(path: Path) -> onnx.ModelProto:
        model: onnx.ModelProto = fill(onnx.load(path))
        return model

    return give


def outcomes(report: Report) -> list[Any]:
    found = []
    for item in report.passes:
        for kind in ("applied", "declined", "rejected", "failed"):
            found += [
                (item.name, kind, str(one.at), getattr(one, "reason", None), getattr(one, "grade", None))
                for one in getattr(item, kind)
            ]
    return found


def structure(model: onnx.ModelProto) -> list[Any]:
    """All but what tensors hold, and the doc string that says of some that they hold nothing."""
    nodes = [(node.op_type, node.name, list(node.input), list(node.output)) for node in model.graph.node]
    initializers = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in model.graph.initializer]
    return [nodes, initializers, list(model.graph.input), list(model.graph.output), list(model.opset_import)]


def test_all_five_networks_are_there() -> None:
    stems = " ".join(path.stem for path in GRAPHS)
    assert all(name in stems for name in ("nasnet", "deepmar", "lvvit", "icnet", "lresnet"))


# The file is the first parameter, so that the weights of one model after the other are in memory.
@pytest.mark.parametrize("pipeline", [*PASSES, *PRESETS])
@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_same_rewrites_and_names(path: Path, pipeline: str, filled: Callable[[Path], onnx.ModelProto]) -> None:
    level = "region" if path.stem in VERIFIED else "structure"
    on_graph, report = onnxfuse.apply(onnx.load(path), pipeline, verify=level)
    on_model, report_of_model = onnxfuse.apply(filled(path), pipeline, verify=level)
    assert outcomes(report) == outcomes(report_of_model)
    assert structure(on_graph) == structure(on_model)
    assert not report.rejected
    assert not report.failed

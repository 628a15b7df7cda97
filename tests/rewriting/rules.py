"""Small passes for testing the engine, and running one of them with every outcome kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse import Builder, Facts, Match, Numerics, Pass, Pipeline, RewritePass
from onnxfuse.model_io import open_model
from onnxfuse.model_io.emit import emit
from onnxfuse.pipeline.manager import PassManager, VerifyLevel
from onnxfuse.report.records import PassReport, Report

__all__ = ["SPLIT", "MergeNegs", "Replace", "Run", "as_product", "ints", "nodes", "pair", "read", "rewrite"]


@dataclass(frozen=True)
class Replace(RewritePass):
    """Replaces each node of one op_type by what a function builds.

    Attributes:
        op_type: Which nodes; several, with spaces between.
        build: Given the match and the builder, returns the values that take the outputs' places.
        find: Given the node and the facts, returns the region; the node alone by default.
    """

    op_type: str
    build: Callable[[Match, Builder], Sequence[ir.Value]] = field(repr=False)
    find: Callable[[ir.Node, Facts], Match | None] = field(default=lambda node, facts: facts.region(node), repr=False)

    name: ClassVar[str] = "replace"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    @property
    def ops(self) -> frozenset[str]:  # type: ignore[override]
        """The op_types."""
        return frozenset(self.op_type.split())

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Asks `find`."""
        return self.find(node, facts)

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Asks `build`."""
        return self.build(match, build)


@dataclass(frozen=True)
class MergeNegs(RewritePass):
    """Removes two Negs in a row: the model of a right pass."""

    name: ClassVar[str] = "merge-negs"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Neg"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        """Returns the two."""
        before = facts.producer(node.inputs[0], "Neg")
        if before is None:
            return None
        if facts.only_user(before.outputs[0]) is not node:
            facts.decline("the first Neg has another use", at=before)
        return facts.region(before, node, data=before.inputs[0])

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        """Returns what goes into the first."""
        del build
        return [match["data"]]


@dataclass(frozen=True)
class Run:
    """What came of a pass on a model.

    Attributes:
        report: The whole report.
        model: The working model afterwards.
        data: The same, serialized.
    """

    report: Report
    model: onnx.ModelProto
    data: bytes

    @property
    def one(self) -> PassReport:
        """The report of the one pass."""
        (report,) = self.report.passes
        return report

    @property
    def ops(self) -> list[str]:
        """The op_types of the main graph, in order."""
        return [node.op_type for node in self.model.graph.node]


def read(text: str) -> onnx.ModelProto:
    """Reads the text of a graph (with IR 8 and opset 17), or of a whole model."""
    whole = text if text.lstrip().startswith("<") else f'<ir_version: 8, opset_import: ["": 17]> {text}'
    return onnx.parser.parse_model(whole)


def rewrite(model: onnx.ModelProto | str, pass_: Pass, *, verify: str = "region", exclude: Sequence[str] = ()) -> Run:
    """Runs a pass; unlike `onnxfuse.apply`, returns also where it failed.

    Asserts that the model given is left alone.
    """
    given = read(model) if isinstance(model, str) else model
    before = given.SerializeToString()
    opened = open_model(given)
    report = PassManager(Pipeline.of(pass_), VerifyLevel(verify), exclude).run(opened)
    data = emit(opened.working_model()).data()
    assert given.SerializeToString() == before
    assert report.modified or data == before
    return Run(report, onnx.ModelProto.FromString(data), data)


def pair(node: ir.Node, facts: Facts) -> Match | None:
    """Finds two nodes of one op_type in a row."""
    before = facts.producer(node.inputs[0], node.op_type)
    return None if before is None else facts.region(before, node, first=before, last=node)


def ints(*numbers: int) -> np.ndarray:
    """A constant for `Builder.constant`."""
    return np.array(numbers, dtype=np.int64)


def as_product(match: Match, build: Builder) -> Sequence[ir.Value]:
    """Neg as two nodes with two constants: x * -1 * 1."""
    first = build.op("Mul", match.inputs[0], build.constant(np.array(-1, np.float32), name="minus"))
    return [build.op("Mul", first, build.constant(np.array(1, np.float32), name="one"))]


SPLIT: Final = Replace("Neg", as_product)
"""Replaces each Neg by two nodes with two constants."""


def nodes(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Returns name, op_type, inputs and outputs of the main graph's nodes."""
    return [(node.name, node.op_type, *node.input, *node.output) for node in model.graph.node]

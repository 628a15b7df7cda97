"""Passes that each break a law, all but the first; Relu(Relu(x)) is Relu(x)."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnxfuse import Builder, Facts, Match, Numerics, RewritePass

__all__ = [
    "AFTER",
    "BEFORE",
    "Corrupting",
    "Counting",
    "Deaf",
    "Forgetful",
    "MergeRelus",
    "MutatingInterface",
    "NeverDone",
    "OldFashioned",
    "OnlyOutside",
    "Seeded",
    "Sloppy",
    "Tampering",
    "Timid",
    "Unmarked",
    "Wrong",
]

BEFORE = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x) => (float[N, 3] y) <float[1] w = {2}> { s = Mul(x, w)
 a = Relu(s)
 b = Relu(a)
 y = Add(b, w) }
"""
AFTER = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x) => (float[N, 3] y) <float[1] w = {2}> { s = Mul(x, w)
 r = Relu(s)
 y = Add(r, w) }
"""


@dataclass(frozen=True)
class MergeRelus(RewritePass):
    """Merges two Relus."""

    name: ClassVar[str] = "merge-relus"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    ops: ClassVar[frozenset[str]] = frozenset({"Relu"})

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Relu")
        if first is None:
            return None
        if facts.only_user(first.outputs[0]) is None:
            facts.decline("the first Relu has another use", at=first)
        return facts.region(first, node, data=facts.input(first, 0))

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Relu", match["data"])]


class Wrong(MergeRelus):
    """Is right for what is positive."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Abs", match["data"])]


class Sloppy(MergeRelus):
    """Leaves a node too many."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Identity", build.op("Relu", match["data"]))]


class OnlyOutside(MergeRelus):
    """Does not look into bodies, and does not say so."""

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        return super().match(node, facts) if node.graph is not None and node.graph.name == "g" else None


class Deaf(MergeRelus):
    """Does not see that a value has another use."""

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        first = facts.producer(facts.input(node, 0), "Relu")
        return None if first is None else facts.region(first, node, data=facts.input(first, 0))


class OldFashioned(MergeRelus):
    """Does nothing where initializers are inputs."""

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        graph = node.graph
        assert graph is not None
        return None if len(graph.inputs) == 2 and graph.inputs[1].name == "w" else super().match(node, facts)


class Timid(MergeRelus):
    """Does nothing in a graph of more than six nodes."""

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        return super().match(node, facts) if node.graph is not None and len(node.graph) <= 6 else None


class Counting(MergeRelus):
    """Calls its constants by a global counter."""

    counter: ClassVar[itertools.count[int]] = itertools.count()

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        one = build.constant(np.ones([], np.float32), name=f"one{next(self.counter)}")
        return [build.op("Mul", build.op("Relu", match["data"]), one)]


class Seeded(MergeRelus):
    """Calls a constant by the hash of a text."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        one = build.constant(np.ones([], np.float32), name=f"one{hash('x')}")
        return [build.op("Mul", build.op("Relu", match["data"]), one)]


class NeverDone(MergeRelus):
    """Turns Relu(x) into Relu(x), once a run."""

    seen: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        if node.graph in self.seen:
            return super().match(node, facts)
        self.seen.add(node.graph)
        return facts.region(node, data=facts.input(node, 0))


@dataclass(frozen=True)
class Forgetful(MergeRelus):
    """Keeps what it found on itself."""

    found: list[str] = field(default_factory=list, compare=False, repr=False)

    def match(self, node: ir.Node, facts: Facts) -> Match | None:
        self.found.append(node.outputs[0].name or os.sep)
        return super().match(node, facts)


class MutatingInterface(MergeRelus):
    """Renames an input of the model."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        (graph,) = {node.graph for node in match.nodes}
        assert graph is not None
        if graph.inputs:
            graph.inputs[0].name = "renamed"
        return super().rewrite(match, build)


class Tampering(MergeRelus):
    """Takes the doc strings of all nodes away."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        for node in match.nodes[0].graph or ():
            node.doc_string = None
        return super().rewrite(match, build)


class Corrupting(MergeRelus):
    """Builds what the checker refuses."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        return [build.op("Relu", match["data"], slope=0.5)]


class Unmarked(MergeRelus):
    """Takes the mark from what it builds."""

    def rewrite(self, match: Match, build: Builder) -> Sequence[ir.Value]:
        (made,) = super().rewrite(match, build)
        node = made.producer()
        assert node is not None
        node.metadata_props["onnxfuse.pass"] = "someone-else"
        return [made]

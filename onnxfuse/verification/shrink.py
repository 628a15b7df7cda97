"""Makes a difference between two models smaller, as long as it stays."""

from __future__ import annotations

import onnx

from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.inputs import free_inputs, symbols
from onnxfuse.verification.model import check_models
from onnxfuse.verification.region_pair import RegionPair
from onnxfuse.verification.reproducer import BUDGET, compared
from onnxfuse.verification.verdict import Status, Verdict

__all__ = ["shrunk"]

SIZES = (1, 2, 3)


def shrunk(pair: RegionPair, verdict: Verdict) -> tuple[RegionPair, Verdict]:
    """Returns a smaller pair that differs too, with its verdict: one output, and the smallest sizes.

    Args:
        pair: Two models that differ.
        verdict: What was found on them.
    """
    different = [output.name for output in verdict.outputs if output.status is Status.DIFFERENT]
    for name in different if len(verdict.outputs) > 1 else []:
        smaller = _with_output(pair, name)
        found = compared(smaller.before, smaller.after, smaller.feeds)
        if found.status is Status.DIFFERENT:
            pair, verdict = smaller, found
            break
    return _at_small_sizes(pair, verdict)


def _at_small_sizes(pair: RegionPair, verdict: Verdict) -> tuple[RegionPair, Verdict]:
    names = symbols(free_inputs(pair.before.proto, roles=False))
    if not names:
        return pair, verdict
    for size in SIZES:
        found = check_models(pair.before, pair.after, families="full", dims=dict.fromkeys(names, size), budget_s=BUDGET)
        if found.status is Status.DIFFERENT and found.inputs and _elements(found) < _elements(verdict):
            return RegionPair(pair.before, pair.after, found.inputs), found
    return pair, verdict


def _elements(verdict: Verdict) -> float:
    if verdict.inputs is None:
        return float("inf")
    return sum(getattr(value, "size", len(value)) for value in verdict.inputs.values())


def _with_output(pair: RegionPair, name: str) -> RegionPair:
    """Returns a pair that computes this output only, without what else is not needed for it."""
    before, after = (_cut(model, name) for model in (pair.before, pair.after))
    used = {name, *(name for model in (before, after) for node in model.proto.graph.node for name in node.input)}
    for model in (before, after):
        kept = [value for value in model.proto.graph.input if value.name in used]
        del model.proto.graph.input[:]
        model.proto.graph.input.extend(kept)
    return RegionPair(before, after, {name: value for name, value in pair.feeds.items() if name in used})


def _cut(model: EvalModel, name: str) -> EvalModel:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    needed = {name}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    outputs = [value for value in graph.output if value.name == name]
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    cut = onnx.GraphProto(name=graph.name, node=nodes, output=outputs, initializer=initializers, input=graph.input)
    proto.graph.CopyFrom(cut)
    return EvalModel(proto, {name: array for name, array in model.weights.items() if name in needed})

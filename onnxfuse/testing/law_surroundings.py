"""Laws about surroundings: other readers, bodies, functions, neighbours, old models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import onnx

from onnxfuse.pipeline.base import ModelPass
from onnxfuse.pipeline.manager import apply
from onnxfuse.report.records import Place
from onnxfuse.testing import variations
from onnxfuse.testing.examples import Example
from onnxfuse.testing.trial import check_results, check_valid, fires, require, tried

__all__ = [
    "branches",
    "captured",
    "function",
    "loop",
    "neighbours",
    "old_model",
    "other_output",
    "other_reader",
    "same_bytes",
    "second_run",
    "untouched",
    "unused",
]

Surroundings = Callable[[onnx.ModelProto], onnx.ModelProto]
AROUND: Final[dict[str, Surroundings]] = {
    "as it is": lambda model: model,
    "in branches": variations.within_branches,
    "in a loop": variations.within_loop,
    "in a function": variations.within_function,
}


def second_run(given: Example) -> None:
    """There is nothing left to do after one run."""
    for where, put in AROUND.items():
        first = tried(given, put(given.before))
        second = tried(given, first.model)
        places = ", ".join(f"{outcome.at} ({outcome.at.op_type})" for outcome in second.report.applied)
        require(not second.report.modified, f"{where}, the second run rewrote {places}")


def same_bytes(given: Example) -> None:
    """Runs do not depend on each other, nor on chance."""
    for where, put in AROUND.items():
        data = put(given.before).SerializeToString()
        first, second = (apply(data, given.pass_, verify="off") for _ in range(2))
        require(first.model == second.model, f"{where}, two runs give other bytes")
        require(first.report.applied == second.report.applied, f"{where}, two runs report other rewrites")


def old_model(given: Example) -> None:
    """Models of IR 3 are no exception."""
    if given.before.functions or not all(opset.domain in ("", "ai.onnx") for opset in given.before.opset_import):
        return  # IR 3 had no functions
    result = fires(given, variations.listing_initializers(given.before))
    listed = {value.name for value in result.model.graph.input}
    missing = {tensor.name for tensor in result.model.graph.initializer} - listed
    require(not missing, f"initializers that are no inputs: {', '.join(sorted(missing))}")


def other_output(given: Example) -> None:
    """A value is also a graph output."""
    _read_by(given, variations.returned)


def other_reader(given: Example) -> None:
    """A second node reads a value."""
    _read_by(given, variations.read_again)


def captured(given: Example) -> None:
    """A branch reads a value from outside."""
    _read_by(given, variations.read_in_branch)


def _read_by(given: Example, read: Callable[[onnx.ModelProto, str], onnx.ModelProto]) -> None:
    for value in variations.inner_values(given.before):
        model = read(given.before, value)
        check_valid(model)
        try:
            result = tried(given, model)
            check_results(given, model, result.model)
        except AssertionError as error:
            raise AssertionError(f"where {value} is read by something else: {error}") from error
        require(not tried(given, result.model).report.modified, f"where {value} is read, a second run changes more")


def unused(given: Example) -> None:
    """Everything is there twice, the second time for nothing."""
    times = len(fires(given, given.before).report.applied)
    result = fires(given, variations.with_unused_copy(given.before))
    count = len(result.report.applied)
    require(count >= times, f"{count} rewrites beside an unused copy, {times} without it")
    require(not tried(given, result.model).report.modified, "a second run changes more")


def branches(given: Example) -> None:
    """Both branches are rewritten."""
    _inside(given, variations.within_branches, ("either",), 2)


def loop(given: Example) -> None:
    """The body is rewritten."""
    _inside(given, variations.within_loop, ("twice",), 1)


def _inside(given: Example, put: Surroundings, scope: tuple[str, ...], bodies: int) -> None:
    if isinstance(given.pass_, ModelPass):
        _answers(given, put(given.before))
        return
    times = len(fires(given, given.before).report.applied) * bodies
    report = fires(given, put(given.before)).report
    require(len(report.applied) == times, f"{len(report.applied)} rewrites in {bodies} bodies, not {times}")
    stray = [outcome.at for outcome in report.applied if outcome.at.scope != scope]
    require(not stray, f"rewrites that are reported elsewhere than in the body: {', '.join(map(str, stray))}")


def function(given: Example) -> None:
    """A body without types of its own."""
    places = _answers(given, variations.within_function(given.before))
    if isinstance(given.pass_, ModelPass):
        return
    stray = [place for place in places if place.scope != ("local.example.Body",)]
    require(not stray, f"reported elsewhere than in the function: {', '.join(map(str, stray))}")


def _answers(given: Example, model: onnx.ModelProto) -> list[Place]:
    """Asserts that the pass fires rightly or says why not; returns where.

    A pass of whole models, which may be anybody's tool, need not say why it looks into no body; what it does is right.
    """
    check_valid(model)
    result = tried(given, model)
    places = [outcome.at for outcome in result.report.applied]
    places += [outcome.at for outcome in result.report.declined]
    require(places or isinstance(given.pass_, ModelPass), "it neither fires nor says why not")
    check_results(given, model, result.model)
    return places


def neighbours(given: Example) -> None:
    """Custom ops before and after, and metadata wherever ONNX has room for it."""
    model = variations.with_custom_neighbours(given.before)
    result = tried(given, model, verify="model")
    after: onnx.ModelProto = result.model
    require(result.report.applied, "nothing was rewritten beside custom ops")
    custom = [node for node in model.graph.node if node.name.startswith(("seen", "judged"))]
    left = [node for node in after.graph.node if node.name.startswith(("seen", "judged"))]
    require(left == custom, "a custom node, or the Identity behind one, is not as it was")
    data = after.SerializeToString()
    opsets = {opset.domain: opset.version for opset in (*model.opset_import, *given.after.opset_import)}
    require({opset.domain: opset.version for opset in after.opset_import} == opsets, "an opset is another one")
    kept = [*model.graph.value_info, *model.metadata_props, *model.graph.metadata_props]
    for message in kept:
        require(message.SerializeToString() in data, f"this is not as it was: {message}")
    for field in ("doc_string", "producer_name"):
        require(getattr(after, field) == getattr(model, field), f"the {field} of the model is not as it was")
    require(after.graph.doc_string == model.graph.doc_string, "the doc_string of the graph is not as it was")
    require(
        list(after.graph.value_info) == list(model.graph.value_info), "the types of inner values are not as they were"
    )


def untouched(given: Example) -> None:
    """What is not in a region, and does not read a value that is gone, keeps every byte."""
    model = onnx.ModelProto()
    model.CopyFrom(given.before)
    for index, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"node{index}", f"number {index}"
        node.metadata_props.add(key="number", value=str(index))
    result = tried(given, model)
    gone = result.report.renamed_values
    removed = {name for applied in result.report.applied for name, _ in applied.removed}
    data = result.model.SerializeToString()
    for node in model.graph.node:
        if node.name not in removed and not any(value in gone for value in (*node.input, *node.output)):
            require(node.SerializeToString() in data, f"the node {node.name} ({node.op_type}) is not as it was")

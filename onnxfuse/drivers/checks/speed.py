"""What of a graph is known to be slow once it is compiled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.model_io import ModelLike, open_model
from onnxfuse.verification.tensors import graphs_of, nodes_of

if TYPE_CHECKING:
    import onnx

__all__ = ["check_speed"]

# What the AI Core's instruction for pooling takes.
POOL_AREA: Final = 255
POOL_STRIDE: Final = 63

# These want blocks of 16 channels, NC1HWC0, and what stands between them keeps that, but for these,
FIVE_DIMS: Final = frozenset(("Conv", "ConvTranspose", "MaxPool", "AveragePool"))
# which take the plain layout and give it,
PLAIN: Final = frozenset(
    (
        "Pad",
        "Reshape",
        "Flatten",
        "Transpose",
        "Gather",
        "GatherND",
        "GatherElements",
        "ScatterND",
        "ScatterElements",
        "TopK",
    )
)
# and for these, behind which the layout is another one in any case.
OTHER: Final = frozenset(("MatMul", "Gemm", "Shape", "Size"))


def check_speed(model: ModelLike, proto: onnx.ModelProto) -> Iterator[Finding]:
    """Yields what is slow in a model, whose protobuf is given too."""
    yield from _pools(proto)
    yield from _layouts(proto)
    yield from _passes(model, proto)


def _layouts(proto: onnx.ModelProto) -> Iterator[Finding]:
    at = tuple(name for graph in graphs_of(proto) for name in _breaks(graph))
    if at:
        message = "between convolutions, these make the compiler convert the layout before and behind them"
        cure = (
            "write the zeros of a Pad as pads of the Conv behind it, or of an AveragePool with count_include_pad=1 "
            "(a MaxPool pads no zeros), and see whether others can be left out"
        )
        yield Finding(Severity.NOTE, "slow-operators", message, cure, at)


def _breaks(graph: onnx.GraphProto) -> list[str]:
    """Returns the nodes of a graph that break the layout between convolutions."""
    nodes = [node for node in graph.node if node.domain in ("", "ai.onnx") and node.op_type not in OTHER]
    behind: set[str] = set()  # values that come from a convolution
    for node in nodes:
        if node.op_type in FIVE_DIMS or behind.intersection(_data(node)):
            behind.update(filter(None, node.output))
    before: set[str] = set()  # values that go to one
    for node in reversed(nodes):
        if node.op_type in FIVE_DIMS or before.intersection(node.output):
            before.update(filter(None, _data(node)))
    return [
        node.name or node.output[0]
        for node in nodes
        if node.op_type in PLAIN and behind.intersection(_data(node)) and before.intersection(node.output)
    ]


def _data(node: onnx.NodeProto) -> list[str]:
    """The inputs that hold what is computed on, and not weights, shapes or indices."""
    return list(node.input[:1] if node.op_type in FIVE_DIMS | PLAIN else node.input)


def _pools(proto: onnx.ModelProto) -> Iterator[Finding]:
    slow = []
    for node in nodes_of(proto):
        if node.op_type == "AveragePool" and node.domain in ("", "ai.onnx"):
            sizes = {attribute.name: attribute.ints for attribute in node.attribute}
            if math.prod(sizes.get("kernel_shape", ())) > POOL_AREA or max(sizes.get("strides", (1,))) > POOL_STRIDE:
                slow.append(node.name or node.output[0])
    if slow:
        message = f"a window of more than {POOL_AREA} elements, or a stride over {POOL_STRIDE}, is pooled on the AI CPU"
        cure = "make it a GlobalAveragePool where it covers the whole map, else a chain of smaller pools, if windows do not overlap"
        yield Finding(Severity.WARNING, "slow-operators", message, cure, tuple(slow), "W11001")


def _passes(model: ModelLike, proto: onnx.ModelProto) -> Iterator[Finding]:
    """Finds what the passes for Ascend would change, by letting them, on a model of their own."""
    from onnxfuse.pipeline import registry
    from onnxfuse.pipeline.manager import PassManager, VerifyLevel
    from onnxfuse.pipeline.pipeline import Pipeline
    from onnxfuse.report.text import counted

    report = PassManager(Pipeline.parse("ascend"), verify=VerifyLevel.OFF).run(open_model(model))
    places = {node.name or node.output[0]: place for place, node in enumerate(nodes_of(proto)) if node.output}
    for item in report.passes:
        if item.applied:
            at = sorted((applied.at for applied in item.applied), key=lambda at: places.get(at.node, len(places)))
            summary = (registry.pass_class(item.name.partition("{")[0]).__doc__ or "").partition("\n")[0]
            yield Finding(
                Severity.NOTE,
                "slow-operators",
                f"{item.name} would apply {counted(len(item.applied), 'time')}: {summary.rstrip('.')}",
                f"onnxfuse apply -p {item.name}, or ascend for all that is known to help",
                tuple(map(str, at)),
            )

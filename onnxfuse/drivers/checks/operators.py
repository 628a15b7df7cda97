"""Which operators the converter takes, at which opsets."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.analysis.ops import op_types
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.verification.tensors import graphs_of, nodes_of

if TYPE_CHECKING:
    import onnx

__all__ = ["check_operators"]

# By the generation of CANN: the opsets that the converter takes, and those that its guides speak of.
OPSETS: Final = {
    5: ((8, 13), (11, 11)),
    6: ((8, 15), (11, 13)),
    7: ((8, 15), (11, 13)),
    8: ((8, 18), (11, 15)),
}
NEWEST: Final = ((8, 18), (11, 18))

# No converter was seen for these; other packages of operators may bring one.
UNCONVERTED: Final = op_types(
    """
    QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear Loop Scan RNN
    Gelu GroupNormalization DFT StringNormalizer TfIdfVectorizer
    """
)

# And for these at some opsets only. Today's sources were looked at; that older releases had more of them is not known.
_SOME: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("ReduceL1 ReduceL2", tuple(range(8, 18))),
    ("Upsample", tuple(range(8, 17))),
    ("Scatter", (9, 10, 11)),
    ("NonZero OneHot IsNaN Compress Shrink MeanVarianceNormalization", tuple(range(9, 19))),
    ("Resize NonMaxSuppression Mod IsInf ReverseSequence ThresholdedRelu", tuple(range(10, 19))),
    ("ScatterElements Unique BitShift ConcatFromSequence", tuple(range(11, 19))),
    ("GreaterOrEqual", (8, *range(12, 19))),
    ("HardSwish Trilu", tuple(range(14, 19))),
    ("Bernoulli CastLike", tuple(range(15, 19))),
    ("GridSample", (11, 16, 17, 18)),
    ("LayerNormalization", (17, 18)),
    ("Mish BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Col2Im", (18,)),
)
AT_SOME: Final = {op_type: versions for names, versions in _SOME for op_type in names.split()}


def check_operators(proto: onnx.ModelProto, generation: int | None, cann: str) -> Iterator[Finding]:
    """Yields what of a model the converter does not take: its opset, and operators, in bodies and functions too.

    Args:
        proto: The model.
        generation: The first number of the version of CANN; None for today's.
        cann: That version, as it was given.
    """
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    if len(versions) > 1 and any(not node.domain for graph in graphs_of(proto) for node in graph.node):
        yield Finding(
            Severity.ERROR,
            "opset",
            f"the model imports {len(versions)} domains, and the converter cannot tell which one nodes without a domain have",
            "leave one opset_import, if no node needs the others, or write the domain ai.onnx there and at each node",
            tuple(domain or "ai.onnx" for domain in versions),
            "E16005",
        )
    version = versions.get("", versions.get("ai.onnx"))
    if version is not None:
        yield from _opset(version, generation, f"CANN {cann}" if cann else "today's CANN")
    yield from _operators(proto, version)


def _opset(version: int, generation: int | None, which: str) -> Iterator[Finding]:
    (oldest, newest), (first, last) = NEWEST if generation is None else OPSETS.get(generation, NEWEST)
    older = f"onnxfuse apply -p 'convert-opset{{to={first}}}'" if version >= 7 else f"export it with opset {first}"
    newer = f"export it with opset {last} (convert-opset goes up only)"
    if not oldest <= version <= newest:
        message = f"the model is at opset {version}, and {which} takes {oldest} to {newest}"
        yield Finding(Severity.ERROR, "opset", message, newer if version > newest else older, code="E16002")
    elif not first <= version <= last:
        spoken = f"opset {first}" if first == last else f"opsets {first} to {last}"
        message = f"the model is at opset {version}, and the guides of {which} speak of {spoken}"
        cure = f"if it is refused, {newer if version > last else older}"
        yield Finding(Severity.WARNING, "opset", message, cure, code="E16002")


def _operators(proto: onnx.ModelProto, version: int | None) -> Iterator[Finding]:
    functions = {(function.domain, function.name) for function in proto.functions}
    own, custom, unknown, elsewhere, unread = (dict[str, None]() for _ in range(5))
    for node in nodes_of(proto):
        if (node.domain, node.op_type) in functions:
            own[f"{node.domain}::{node.op_type}"] = None
        elif node.domain not in ("", "ai.onnx"):
            custom[f"{node.domain}::{node.op_type}"] = None
        elif node.op_type in UNCONVERTED:
            unknown[node.op_type] = None
        elif version is not None and version not in AT_SOME.get(node.op_type, (version,)):
            elsewhere[f"{node.op_type}: {_spans(AT_SOME[node.op_type])}"] = None
        elif node.op_type == "Constant" and all(attribute.name != "value" for attribute in node.attribute):
            unread[node.name or node.output[0]] = None
    message = "the converter does not look into the model's own functions"
    yield from _finding(message, "write them out, as onnx.inliner.inline_local_functions does", own)
    cure = "install their plugins where atc runs, or write them in ONNX's operators"
    yield from _finding("operators of other domains are converted by plugins only", cure, custom)
    cure = "write them in other operators, or see whether your CANN has them"
    yield from _finding("no converter is known for these operators", cure, unknown)
    message = f"at opset {version} no converter is known for these operators, at others there is one"
    yield from _finding(message, "write them in other operators, or take one of these opsets", elsewhere)
    message = "of a Constant the converter reads the attribute `value`, and these have another"
    yield from _finding(message, "write the same as a tensor, or as an initializer", unread, code=None)


def _finding(message: str, cure: str, at: Collection[str], code: str | None = "E16002") -> Iterator[Finding]:
    if at:
        yield Finding(Severity.WARNING, "operators", message, cure, tuple(at), code)


def _spans(versions: tuple[int, ...]) -> str:
    """Writes numbers that go up with the runs among them: 11, 16 to 18."""
    starts = [n for n in versions if n - 1 not in versions]
    ends = [n for n in versions if n + 1 not in versions]
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True))

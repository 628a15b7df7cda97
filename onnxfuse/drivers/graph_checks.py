"""Whether atc will take a graph with these options, and what it will make of it: looked at before minutes of compiling.

What is known is old and new guides, and the sources of the converter. What it is sure to refuse is an error.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers.atc_model import input_shapes
from onnxfuse.drivers.atc_options import AtcOptions
from onnxfuse.drivers.atc_shape_rules import PROFILES
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.renames import Outputs
from onnxfuse.drivers.shape_grammar import ANY, GrammarError, InputShape, parse_input_shape, parse_out_nodes
from onnxfuse.drivers.speed_checks import check_speed
from onnxfuse.drivers.value_checks import check_values
from onnxfuse.errors import UsageError
from onnxfuse.model_io import ModelLike, open_model

if TYPE_CHECKING:
    import onnx

__all__ = ["check_graph"]

# By the generation of CANN: the opsets that the converter takes, and those that its guides speak of.
OPSETS: Final = {
    5: ((8, 13), (11, 11)),
    6: ((8, 15), (11, 13)),
    7: ((8, 15), (11, 13)),
    8: ((8, 18), (11, 15)),
}
NEWEST: Final = ((8, 18), (11, 18))

# No converter was seen for these; other packages of operators may bring one.
UNCONVERTED: Final = """
    QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear Loop Scan RNN
    Gelu GroupNormalization DFT StringNormalizer TfIdfVectorizer
"""


def check_graph(model: ModelLike, options: AtcOptions, *, cann: str = "") -> tuple[Finding, ...]:
    """Looks at a graph with the eyes of atc; `option_checks.problems_of` tells what is wrong with the options by themselves.

    Args:
        model: What is to be compiled.
        options: How.
        cann: The version of CANN that does it, as far as it is known: "5.1.RC1", "8.0".

    Returns:
        What was found, errors first.

    Raises:
        ModelError: The model cannot be read.
        UsageError: `cann` is no version.
    """
    generation = generation_of(cann)
    opened = open_model(model)
    proto = opened.as_source().proto
    found = [
        *_opsets(proto, generation, cann),
        *_operators(proto),
        *_names(proto),
        *_shapes(proto, options, generation),
        *_out_nodes(proto, options),
        *check_values(opened, options),
        *check_speed(model, proto),
    ]
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def generation_of(cann: str) -> int | None:
    """Returns the first number of a version of CANN; None where none is given.

    Raises:
        UsageError: It is no version.
    """
    if not cann:
        return None
    first = cann.partition(".")[0]
    if not (first.isascii() and first.isdecimal() and len(first) < 3 and int(first) >= 5):
        raise UsageError(f"{cann} is no version of CANN from 5 on: give it as 5.1 or 8.0.0")
    return int(first)


# ---- operators


def _opsets(proto: onnx.ModelProto, generation: int | None, cann: str) -> Iterator[Finding]:
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    if len(versions) > 1 and any(not node.domain for node in proto.graph.node):
        yield Finding(
            Severity.ERROR,
            "opset",
            f"the model imports {len(versions)} domains, and the converter cannot tell which one nodes without a domain have",
            "leave one opset_import, if no node needs the others, or write the domain ai.onnx at each node",
            tuple(domain or "ai.onnx" for domain in versions),
            "E16005",
        )
    version = versions.get("", versions.get("ai.onnx"))
    if version is None:
        return
    (oldest, newest), (first, last) = NEWEST if generation is None else OPSETS.get(generation, NEWEST)
    which = f"CANN {cann}" if cann else "today's CANN"
    older = f"onnxfuse apply -p 'convert-opset{{to={first}}}'" if version >= 7 else f"export it with opset {first}"
    newer = f"export it with opset {last}: convert-opset goes up only"
    if not oldest <= version <= newest:
        message = f"the model is at opset {version}, and {which} takes {oldest} to {newest}"
        yield Finding(Severity.ERROR, "opset", message, newer if version > newest else older, code="E16002")
    elif not first <= version <= last:
        spoken = f"opset {first}" if first == last else f"opsets {first} to {last}"
        message = f"the model is at opset {version}, and the guides of {which} speak of {spoken}"
        cure = (newer if version > last else older) + ", if it is refused"
        yield Finding(Severity.WARNING, "opset", message, cure, code="E16002")


def _operators(proto: onnx.ModelProto) -> Iterator[Finding]:
    unconverted = set(UNCONVERTED.split())
    functions = {(function.domain, function.name) for function in proto.functions}
    custom: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx"):
            if (node.domain, node.op_type) not in functions:
                custom[f"{node.domain}::{node.op_type}"] = None
        elif node.op_type in unconverted:
            unknown[node.op_type] = None
    if custom:
        cure = "install their plugins where atc runs, or write them in ONNX's operators"
        message = "operators of other domains are converted by plugins only"
        yield Finding(Severity.WARNING, "operators", message, cure, tuple(custom), "E16002")
    if unknown:
        cure = "write them in other operators, or see whether your CANN has them"
        message = "no converter is known for these operators"
        yield Finding(Severity.WARNING, "operators", message, cure, tuple(unknown), "E16002")


# ---- names


def _names(proto: onnx.ModelProto) -> Iterator[Finding]:
    counts = Counter(node.name for node in proto.graph.node)
    unnamed = counts.pop("", 0)
    twice = tuple(name for name, count in counts.items() if count > 1)
    if twice:
        yield Finding(
            Severity.ERROR, "names", "several nodes have one name", "give each node a name of its own", twice, "E13009"
        )
    odd = tuple(name for name in counts if any(sign in ":;" or sign.isspace() for sign in name))
    if odd:
        message = "node names have `:`, `;` or blanks: no option of atc can speak of these nodes"
        yield Finding(Severity.WARNING, "names", message, "rename them, if an option has to", odd, "E11018")
    if unnamed:
        message = f"{unnamed} of {len(proto.graph.node)} nodes have no name: atc calls them <op_type>_<k>"
        yield Finding(Severity.NOTE, "names", message, "name those that an option speaks of")


# ---- inputs


def _shapes(proto: onnx.ModelProto, options: AtcOptions, generation: int | None) -> Iterator[Finding]:
    given = options.input_shape or ""
    try:
        inputs = {shape.name: shape for shape in input_shapes(proto)}
        shapes = parse_input_shape(given) if given else ()
    except UsageError as error:
        yield Finding(Severity.ERROR, "input-shape", str(error), "")
        return
    except GrammarError:
        return  # which `problems_of` tells
    if not inputs:
        yield Finding(
            Severity.ERROR, "input-shape", "the model has no input", "keep one: a constant needs no NPU", code="E16001"
        )
    if shapes and not shapes[0].name:  # by position
        shapes = tuple(InputShape(name, s.dims) for name, s in zip(inputs, shapes, strict=False))
    made = {value for node in proto.graph.node for value in node.output} | {node.name for node in proto.graph.node}
    for shape in shapes:
        if shape.name not in inputs:
            inner = shape.name in made or any(tensor.name == shape.name for tensor in proto.graph.initializer)
            what = "is no input of the model, but inside of it" if inner else "is not in the model"
            cure = f"its inputs are {', '.join(inputs)}"
            yield Finding(
                Severity.ERROR,
                "input-shape",
                f"{shape.name} {what}",
                cure,
                ("--input_shape",),
                "E10017" if inner else "E10016",
            )
        else:
            yield from _against(shape, inputs[shape.name])
    filled = any(getattr(options, name) for name in (*PROFILES, "input_shape_range"))
    if not filled and not (generation == 5 and given):
        settled = {**inputs, **{shape.name: shape for shape in shapes}}
        yield from _dynamic(settled, inputs, generation)


def _against(given: InputShape, stated: InputShape) -> Iterator[Finding]:
    """Compares a shape that is given with the one of the model."""
    shown = ",".join(map(str, given.dims))
    if len(given.dims) != len(stated.dims):
        message = f"{given.name} has {len(stated.dims)} dims, and {len(given.dims)} are given: {shown}"
        yield Finding(Severity.ERROR, "input-shape", message, "give one for each", ("--input_shape",), "E10049")
        return
    for axis, (dim, was) in enumerate(zip(given.dims, stated.dims, strict=True)):
        if ANY not in (dim, was) and isinstance(dim, int) and dim != was:
            message = (
                f"{given.name} has {was} at axis {axis} in the model, and {dim} is given: what is inside may not follow"
            )
            cure = "export the model with that size, or with a symbolic one"
            yield Finding(Severity.WARNING, "input-shape", message, cure, ("--input_shape",), "E10050")


def _dynamic(
    settled: dict[str, InputShape], inputs: dict[str, InputShape], generation: int | None
) -> Iterator[Finding]:
    """Finds dims that nobody gave a size."""
    free = tuple(f"{name}.{axis}" for name in inputs for axis, dim in enumerate(settled[name].dims) if dim == ANY)
    if free:
        yield Finding(
            Severity.ERROR if generation == 5 else Severity.WARNING,
            "dynamic-dims",
            "dims have no size and no profile"
            + ("" if generation == 5 else ": the compiled model takes any, which is slower, and not every chip can"),
            "give --batch-size, --input_shape or --dynamic_dims",
            free,
            "E10011" if generation == 5 else None,
        )


# ---- outputs


def _out_nodes(proto: onnx.ModelProto, options: AtcOptions) -> Iterator[Finding]:
    if not options.out_nodes:
        return
    outputs = Outputs.of(proto.graph)
    at = ("--out_nodes",)
    try:
        entries = parse_out_nodes(options.out_nodes)
    except GrammarError:
        return  # which `problems_of` tells
    for entry in entries:
        if entry.index is None:
            if entry.name not in outputs.names:
                cure = (
                    f"write {entry.name}:0" if entry.name in outputs.values else f"they are {', '.join(outputs.names)}"
                )
                message = f"{entry.name} is no output of the model"
                yield Finding(Severity.ERROR, "out-nodes", message, cure, at, "E10016")
        elif entry.name not in outputs.values:
            cure = _meant(entry.name, outputs)
            yield Finding(Severity.ERROR, "out-nodes", f"the model has no node {entry.name}", cure, at, "E11017")
        elif entry.index >= len(outputs.values[entry.name]):
            count = len(outputs.values[entry.name])
            message = f"node {entry.name} has {count} outputs, and {entry.index} is none of them: they count from 0"
            yield Finding(Severity.ERROR, "out-nodes", message, "give another index", at, "E10003")


def _meant(name: str, outputs: Outputs) -> str:
    near = difflib.get_close_matches(name, outputs.values, n=1)
    return f"is {near[0]} meant?" if near else "where onnxfuse rewrote the model, --report says what became of it"

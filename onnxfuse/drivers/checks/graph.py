"""Whether atc will take a graph with these options, and what it will make of it: looked at before minutes of compiling.

What is known is old and new guides, and the sources of the converter. What it is sure to refuse is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from onnxfuse.drivers.atc.model import input_shapes
from onnxfuse.drivers.atc.options import AtcOptions
from onnxfuse.drivers.atc.shape_grammar import (
    ANY,
    GrammarError,
    InputShape,
    out_nodes_text,
    parse_input_shape,
    parse_out_nodes,
    parse_shape_range,
)
from onnxfuse.drivers.atc.shape_rules import PROFILES
from onnxfuse.drivers.atc.words import major_version
from onnxfuse.drivers.checks.aipp import check_aipp
from onnxfuse.drivers.checks.operators import check_operators
from onnxfuse.drivers.checks.speed import check_speed
from onnxfuse.drivers.checks.values import check_values
from onnxfuse.drivers.findings import Finding, Severity
from onnxfuse.drivers.op_names import named
from onnxfuse.drivers.renames import Outputs
from onnxfuse.errors import UsageError
from onnxfuse.model_io import ModelLike, open_model
from onnxfuse.verification.tensors import graphs_of

if TYPE_CHECKING:
    import onnx

__all__ = ["check_graph"]


def check_graph(model: ModelLike, options: AtcOptions, *, cann: str = "") -> tuple[Finding, ...]:
    """Looks at a graph with the eyes of atc; `checks.options.problems_of` tells what is wrong with the options by themselves.

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
    generation = major_version(cann)
    opened = open_model(model)
    proto = opened.as_source().proto
    found = [
        *check_operators(proto, generation, cann),
        *_names(proto),
        *_inputs(proto, options, generation),
        *_out_nodes(proto, options),
        *check_values(opened, options),
        *check_speed(model, proto),
    ]
    order = list(Severity)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity)))


# ---- names


def _names(proto: onnx.ModelProto) -> Iterator[Finding]:
    main, *bodies = graphs_of(proto)
    constant = {tensor.name for tensor in main.initializer}
    taken = [name for name, _ in named(main.node)]
    taken += [value.name for value in main.input if value.name not in constant]
    twice = _repeated(taken)
    for body in bodies:  # whose names have to be unique in it only
        twice += _repeated(node.name for node in body.node if node.name)
    if twice:
        message = "several nodes have one name, of which an input is one too"
        cure = "give each node a name of its own"
        yield Finding(Severity.ERROR, "names", message, cure, tuple(dict.fromkeys(twice)), "E13009")
    nodes = [node for graph in (main, *bodies) for node in graph.node]
    odd = dict.fromkeys(node.name for node in nodes if any(sign in ":;" or sign.isspace() for sign in node.name))
    if odd:
        message = "node names have `:`, `;` or blanks: no option of atc can speak of these nodes"
        yield Finding(Severity.WARNING, "names", message, "rename them, if an option has to", tuple(odd), "E11018")
    unnamed = sum(not node.name for node in nodes)
    if unnamed:
        message = f"{unnamed} of {len(nodes)} nodes have no name: atc calls them <op_type>_<k>"
        yield Finding(Severity.NOTE, "names", message, "name those that an option speaks of")


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


# ---- inputs


def _inputs(proto: onnx.ModelProto, options: AtcOptions, generation: int | None) -> Iterator[Finding]:
    """Compares what options say of inputs with those of the model."""
    name, read = "input_shape", parse_input_shape
    if options.input_shape_range:  # which overrides it
        name, read = "input_shape_range", parse_shape_range
    given = getattr(options, name)
    try:
        shapes = read(given) if given else ()
    except GrammarError:  # which `problems_of` tells
        shapes = ()
    try:
        inputs = {shape.name: shape for shape in input_shapes(proto, given=shapes)}
    except UsageError as error:
        yield Finding(Severity.ERROR, "input-shape", str(error), "")
        return
    if not inputs:
        yield Finding(
            Severity.ERROR, "input-shape", "the model has no input", "keep one: a constant needs no NPU", code="E16001"
        )
    if shapes and not shapes[0].name:  # by position
        if len(shapes) > len(inputs):
            message = f"{len(shapes)} shapes are given by position, and the model's inputs are {', '.join(inputs)}"
            yield Finding(Severity.ERROR, "input-shape", message, "give one for each", (f"--{name}",))
        shapes = tuple(InputShape(name, s.dims) for name, s in zip(inputs, shapes, strict=False))
    halves = [half for half in map(str.strip, (options.input_fp16_nodes or "").split(";")) if half]
    yield from _unknown(proto, inputs, (shape.name for shape in shapes), "input-shape", f"--{name}")
    yield from _unknown(proto, inputs, halves, "input-fp16", "--input_fp16_nodes")
    if options.insert_op_conf:
        yield from check_aipp(options.insert_op_conf, list(inputs), halves)
    for shape in shapes:
        if shape.name in inputs:
            yield from _against(shape, inputs[shape.name], f"--{name}")
    filled = any(getattr(options, name) for name in (*PROFILES, "input_shape_range"))
    if not filled:
        stated = {shape.name: shape for shape in shapes}
        # What is wrong there with a -1 that is given `problems_of` tells.
        settled = {**inputs, **stated} if generation != 5 else {k: v for k, v in inputs.items() if k not in stated}
        yield from _dynamic(settled, generation)


def _unknown(
    proto: onnx.ModelProto, inputs: Collection[str], names: Iterable[str], check: str, option: str
) -> Iterator[Finding]:
    """Finds names that no input has."""
    unknown = [name for name in names if name not in inputs]
    inner = {value for node in proto.graph.node for value in (node.name, *node.output)} if unknown else set()
    inner |= {tensor.name for tensor in proto.graph.initializer} if unknown else set()
    for name in unknown:
        what = "is no input of the model, but inside of it" if name in inner else "is not in the model"
        code = "E10017" if name in inner else "E10016"
        yield Finding(Severity.ERROR, check, f"{name} {what}", f"its inputs are {', '.join(inputs)}", (option,), code)


def _against(given: InputShape, stated: InputShape, option: str) -> Iterator[Finding]:
    """Compares a shape that is given with the one of the model."""
    if len(given.dims) != len(stated.dims):
        shown = ",".join(map(str, given.dims))
        message = f"{given.name} has {len(stated.dims)} dims, and {len(given.dims)} are given: {shown}"
        yield Finding(Severity.ERROR, "input-shape", message, "give one for each", (option,), "E10049")
        return
    for axis, (dim, was) in enumerate(zip(given.dims, stated.dims, strict=True)):
        fits = was == ANY or isinstance(dim, str) or str(dim) in (str(was), f"{was}~{was}")
        if not fits:
            message = (
                f"{given.name} has {was} at axis {axis} in the model, and {dim} is given: what is inside may not follow"
            )
            cure = "export the model with that size, or with a symbolic one"
            yield Finding(Severity.WARNING, "input-shape", message, cure, (option,), "E10050")


def _dynamic(settled: dict[str, InputShape], generation: int | None) -> Iterator[Finding]:
    """Finds dims that nobody gave a size."""
    free = tuple(
        f"{name}.{axis}" for name, shape in settled.items() for axis, dim in enumerate(shape.dims) if dim == ANY
    )
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
    try:
        entries = parse_out_nodes(options.out_nodes)
    except GrammarError:
        return  # which `problems_of` tells
    for entry in entries:
        at = (out_nodes_text((entry,)),)
        if entry.index is None:
            if entry.name not in outputs.names:
                cure = (
                    f"write {entry.name}:0" if entry.name in outputs.values else f"they are {', '.join(outputs.names)}"
                )
                message = f"{entry.name} is no output of the model"
                yield Finding(Severity.ERROR, "out-nodes", message, cure, at, "E10016")
        elif entry.name not in outputs.values:
            cure = _meant(entry.name, outputs, proto)
            yield Finding(Severity.ERROR, "out-nodes", f"the model has no node {entry.name}", cure, at, "E11017")
        elif entry.index >= len(outputs.values[entry.name]):
            count = len(outputs.values[entry.name])
            message = f"node {entry.name} has {count} outputs, and {entry.index} is none of them: they count from 0"
            yield Finding(Severity.ERROR, "out-nodes", message, "give another index", at, "E10003")


def _meant(name: str, outputs: Outputs, proto: onnx.ModelProto) -> str:
    _, *bodies = graphs_of(proto)
    if any(node.name == name for body in bodies for node in body.node):
        return "it is inside of an If or a loop: name that node"
    near = outputs.near(name)
    return f"is {near} meant?" if near else "where onnxfuse rewrote the model, --report says what became of it"

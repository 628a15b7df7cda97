"""Compares a region of a graph with what is to replace it, before it is replaced.

Both are built into one small model with the same inputs, every intermediate exposed, and run on inputs that can tell
them apart. Regions that only move data get the exact method: every element carries a number of its own, so that one run
shows the whole index map. The measured grounds of the method: an exhaustive sweep of a symbolic length up to the bound
that the region's constants imply missed none of 85,902 wrong merges of two Slices.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir

from onnxfuse.analysis.constants import has_data, stored_tensor
from onnxfuse.analysis.ops import facts_of, is_index_only
from onnxfuse.analysis.shapes import Dim, Shapes
from onnxfuse.verification import inputs as draws
from onnxfuse.verification.compare import compare_values
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.graph_facts import GraphFacts
from onnxfuse.verification.sweep import Sweep, plan

__all__ = ["Evidence", "Region", "RegionVerifier"]

# A tensor of more elements is a weight: it enters the session as an input, since embedding it costs 100 times more.
EMBEDDED: Final = 1024
# Folded shape arithmetic that leads to a region's constants runs along with it; more than this is no shape arithmetic.
PRELUDE: Final = 128
UNKNOWN_RANKS: Final = (1, 2, 3, 4, 5, 0)
NORMAL_DRAWS: Final = 3

GRADE_ALL: Final = "exact-for-all-shapes"
GRADE_STATIC: Final = "exact-for-this-shape"
GRADE_TESTED: Final = "value-tested"
REJECTED: Final = "rejected"


@dataclass(frozen=True)
class Evidence:
    """What the comparison of one region showed.

    Attributes:
        grade: `exact-for-all-shapes`, `exact-for-this-shape`, `value-tested`, `rejected`, or `not-run`.
        text: What was compared, or what differs, as a sentence.
        max_error: Largest absolute difference seen; 0.0 where all bits were equal.
        details: The inputs and results that show a difference, JSON-able.
    """

    grade: str
    text: str
    max_error: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Region:
    """A region and its replacement, with what is known of the values at their border.

    Attributes:
        before: The nodes of the region, in graph order.
        after: The nodes that are to replace them, in order.
        outputs: Pairs of the value to replace and the value that replaces it.
        opset_imports: The versions of the domains, as the model has them.
        ir_version: The model's.
        shapes: The model's shapes.
        contents: Says what a small constant holds.
    """

    before: tuple[ir.Node, ...]
    after: tuple[ir.Node, ...]
    outputs: tuple[tuple[ir.Value, ir.Value], ...]
    opset_imports: Mapping[str, int]
    ir_version: int
    shapes: Shapes
    contents: Callable[[ir.Value | None], np.ndarray | None]


@dataclass(frozen=True)
class _Built:
    """The two sides in one model.

    Attributes:
        model: It computes `b<i>` and, unless the output is an input, `a<i>` for each pair of outputs.
        inputs: What comes in, by its name in `model`.
        weights: Large constants, by their names in `model`.
        pairs: Names of each pair of results; of an input where the value passes through.
        reads_shapes: Whether shape arithmetic runs along that reads an input, so that its dims are not free to vary.
    """

    model: onnx.ModelProto
    inputs: Mapping[str, ir.Value]
    weights: Mapping[str, np.ndarray]
    pairs: tuple[tuple[str, str], ...]
    reads_shapes: bool


class RegionVerifier:
    """Compares regions, each distinct one once.

    Attributes:
        sessions: How many runtime sessions were made.
    """

    def __init__(self) -> None:
        self.sessions = 0
        self._known: dict[bytes, Evidence] = {}

    def check(self, region: Region) -> Evidence:
        """Compares a region with its replacement; never raises for what the models do."""
        built = _build(region)
        if isinstance(built, str):
            return Evidence(REJECTED, f"not verified: {built}")
        border = [
            (name, region.shapes.dtype(value), region.shapes.shape(value)) for name, value in built.inputs.items()
        ]
        key = _signature(built, border)
        if key not in self._known:
            self._known[key] = self._compare(region, built)
        return self._known[key]

    def _compare(self, region: Region, built: _Built) -> Evidence:
        try:
            if not built.reads_shapes and all(_moves_data(node, region) for node in (*region.before, *region.after)):
                return self._compare_moves(region, built)
            return self._compare_values(region, built)
        except EvaluationError as error:
            return Evidence(REJECTED, f"not verified: {error}")

    # ------------------------------------------------------------------ data movement

    def _compare_moves(self, region: Region, built: _Built) -> Evidence:
        """Exact: every element has a number of its own."""
        ranks = [_rank(region.shapes.shape(value)) for value in built.inputs.values()]
        tried = 0
        grades: list[str] = []
        for guess in UNKNOWN_RANKS if None in ranks else (0,):
            evaluator = self._session(region, built, guess)
            shapes = {name: _shape(region.shapes.shape(value), guess) for name, value in built.inputs.items()}
            sweep = plan(region.before, region.after, built.inputs, shapes, region.contents)
            runs = 0
            for binding in sweep.bindings:
                feeds_of = _numbered(evaluator, built, binding, region)
                for feeds in feeds_of:
                    try:
                        results = evaluator.run(feeds)
                    except EvaluationError:
                        if None in ranks:
                            break  # no tensor of this rank gets here
                        raise
                    difference = _first_difference(built, results, feeds)
                    if difference:
                        return _rejected(difference, binding, feeds)
                else:
                    runs += 1
                    continue
                break
            tried += runs
            if runs:
                grades.append(_grade(sweep, shapes, runs))
        if not tried:
            return Evidence(REJECTED, "not verified: the region runs on no input that was tried")
        grade = next((g for g in (GRADE_TESTED, GRADE_ALL, GRADE_STATIC) if g in grades), GRADE_TESTED)
        return Evidence(grade, f"equal index maps on {tried} shape{'s' * (tried != 1)}", 0.0)

    # ------------------------------------------------------------------ anything else

    def _compare_values(self, region: Region, built: _Built) -> Evidence:
        """Normal and ladder draws, bit for bit."""
        shapes = {name: region.shapes.shape(value) for name, value in built.inputs.items()}
        guesses = UNKNOWN_RANKS if any(shape is None for shape in shapes.values()) else (0,)
        compared = 0
        for guess in guesses:
            evaluator = self._session(region, built, guess)
            for sizes in ((2, 3, 5, 4, 7), (1, 1, 1, 1, 1), (5, 2, 3, 7, 4)):
                binding = _bound({name: _shape(shape, guess) for name, shape in shapes.items()}, sizes)
                for feeds in _drawn(built, binding, region):
                    try:
                        results = evaluator.run(feeds)
                    except EvaluationError:
                        continue  # on this input the original does not run either: both are one model
                    compared += 1
                    difference = _first_difference(built, results, feeds)
                    if difference:
                        return _rejected(difference, binding, feeds)
        if not compared:
            return Evidence(REJECTED, "not verified: the region runs on no input that was tried")
        return Evidence(GRADE_TESTED, f"bit-equal on {compared} draws", 0.0)

    def _session(self, region: Region, built: _Built, guess: int) -> Evaluator:
        model = onnx.ModelProto()
        model.CopyFrom(built.model)
        for name, value in built.inputs.items():
            info = model.graph.input.add(name=name)
            tensor = info.type.tensor_type
            tensor.elem_type = int(_dtype(region, value))
            for axis in range(len(_shape(region.shapes.shape(value), guess))):
                tensor.shape.dim.add(dim_param=f"{name}_{axis}")
        self.sessions += 1
        # onnxruntime dies on an integer division of the least integer by -1, which the ladder holds.
        traps = GraphFacts(model).traps if any(node.op_type in ("Div", "Mod") for node in model.graph.node) else None
        return Evaluator(model, weights=built.weights, prefer="reference" if traps else None)


def _dtype(region: Region, value: ir.Value) -> ir.DataType:
    # In a function nothing is known of the types: what moves data moves every type alike.
    return region.shapes.dtype(value) or ir.DataType.FLOAT


def _rank(shape: tuple[Dim, ...] | None) -> int | None:
    return None if shape is None else len(shape)


def _shape(shape: tuple[Dim, ...] | None, guess: int) -> tuple[Dim | None, ...]:
    return (None,) * guess if shape is None else shape


def _grade(sweep: Sweep, shapes: Mapping[str, tuple[Dim | None, ...]], runs: int) -> str:
    if not sweep.exhaustive or runs < len(sweep.bindings):
        return GRADE_TESTED
    static = all(isinstance(dim, int) for shape in shapes.values() for dim in shape)
    return GRADE_STATIC if static else GRADE_ALL


def _moves_data(node: ir.Node, region: Region) -> bool:
    if node.domain not in ("", "ai.onnx") or not is_index_only(node.op_type):
        return False
    # With a parameter that is no constant, the index map depends on values.
    facts = facts_of(node.op_type)
    return all(
        value is None or facts.is_data(index) or _is_constant(value, region) for index, value in enumerate(node.inputs)
    )


def _is_constant(value: ir.Value, region: Region) -> bool:
    return stored_tensor(value, region.ir_version) is not None or region.contents(value) is not None


def _first_difference(built: _Built, results: Sequence[Any], feeds: Mapping[str, Any]) -> str | None:
    by_name = {**feeds, **dict(zip([value.name for value in built.model.graph.output], results, strict=True))}
    for before, after in built.pairs:
        difference = compare_values(by_name[before], by_name[after])
        if difference is not None:
            return f"{difference.kind}: {difference.text}"
    return None


def _plain(item: Any) -> Any:
    return (
        item if isinstance(item, (int, str, bool)) or (isinstance(item, float) and math.isfinite(item)) else str(item)
    )


def _rejected(difference: str, binding: Mapping[str, tuple[int, ...]], feeds: Mapping[str, Any]) -> Evidence:
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in binding.items())
    details = {
        "shapes": {name: list(shape) for name, shape in binding.items()},
        "inputs": {
            name: [_plain(item) for item in array.ravel()[:64].tolist()]
            for name, array in feeds.items()
            if isinstance(array, np.ndarray)
        },
        "difference": difference,
    }
    return Evidence(REJECTED, f"the replacement differs at {shapes or 'no input'}: {difference}", details=details)


# ---------------------------------------------------------------------------------------------------- inputs


def _numbered(
    evaluator: Evaluator, built: _Built, binding: Mapping[str, tuple[int, ...]], region: Region
) -> Iterator[dict[str, np.ndarray]]:
    """Yields feeds in which every element has a number of its own, in as many digits as the type needs runs for."""
    del evaluator
    sizes = {name: math.prod(shape) for name, shape in binding.items()}
    total = sum(sizes.values())
    base = min((_exact_integers(_dtype(region, value)) for value in built.inputs.values()), default=2)
    digits = 1
    while base**digits < total:
        digits += 1
    for digit in range(digits):
        start, feeds = 0, {}
        for name, shape in binding.items():
            ids = np.arange(start, start + sizes[name], dtype=np.int64) // base**digit % base
            feeds[name] = _as_type(ids, _dtype(region, built.inputs[name])).reshape(shape)
            start += sizes[name]
        yield feeds


def _exact_integers(dtype: ir.DataType) -> int:
    """Returns how many integers from 0 on the type holds exactly and apart."""
    if dtype == ir.DataType.STRING:
        return 1 << 62
    if dtype == ir.DataType.BOOL:
        return 2
    exact = {
        ir.DataType.FLOAT: 1 << 24,
        ir.DataType.DOUBLE: 1 << 53,
        ir.DataType.FLOAT16: 1 << 11,
        ir.DataType.BFLOAT16: 1 << 8,
        ir.DataType.COMPLEX64: 1 << 24,
        ir.DataType.COMPLEX128: 1 << 53,
    }.get(dtype)
    if exact is not None:
        return exact
    kind = dtype.numpy()
    return min(int(np.iinfo(kind).max), 1 << 62) if kind.kind in "iu" else 2


def _as_type(ids: np.ndarray, dtype: ir.DataType) -> np.ndarray:
    if dtype == ir.DataType.STRING:
        return ids.astype(str).astype(object)
    return ids.astype(dtype.numpy())


def _bound(shapes: Mapping[str, tuple[Dim | None, ...]], sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Gives every symbol a size; equal symbols get equal ones."""
    given: dict[Dim, int] = {}
    cycle = itertools.cycle(sizes)
    bound = {}
    for name, shape in shapes.items():
        dims = []
        for dim in shape:
            if isinstance(dim, int):
                dims.append(dim)
            elif dim is None:
                dims.append(next(cycle))
            else:
                dims.append(given.setdefault(dim, next(cycle)))
        bound[name] = tuple(dims)
    return bound


def _drawn(built: _Built, binding: Mapping[str, tuple[int, ...]], region: Region) -> Iterator[dict[str, Any]]:
    specs = [
        draws.InputSpec(
            name=name, kind="tensor", dtype=int(_dtype(region, value)), dims=binding[name], overridable=False
        )
        for name, value in built.inputs.items()
    ]
    empty = draws.Binding({})  # the dims are sizes already
    families: tuple[tuple[draws.Family, int], ...] = (
        ("normal", NORMAL_DRAWS),
        ("ladder", draws.ladder_draws(specs, empty)),
    )
    for family, count in families:
        for index in range(count):
            yield draws.draw(specs, empty, family, index, seed=0)


# ---------------------------------------------------------------------------------------------------- the model


def _build(region: Region) -> _Built | str:
    """Puts both sides into one model; a sentence says why it cannot be done."""
    names: dict[ir.Value, str] = {}
    inputs: dict[str, ir.Value] = {}
    weights: dict[str, np.ndarray] = {}
    model = onnx.ModelProto(ir_version=max(region.ir_version, 4))
    for domain, version in region.opset_imports.items():
        model.opset_import.add(domain=domain, version=version)
    model.graph.name = "region"
    prelude: list[ir.Node] = []
    inside = {value for node in (*region.before, *region.after) for value in node.outputs}
    stack = [v for node in reversed((*region.before, *region.after)) for v in reversed(node.inputs) if v is not None]
    while stack:
        value = stack.pop()
        if value in names or value in inside:
            continue
        tensor = stored_tensor(value, region.ir_version)
        if tensor is not None and has_data(tensor):
            names[value] = f"c{len(names)}"
            _add_constant(model, names[value], tensor, weights)
            continue
        producer = value.producer()
        if tensor is None and producer is not None and region.contents(value) is not None:
            # Shape arithmetic that was folded: it runs, so that the folding is checked along with the rewrite.
            missing = [v for v in producer.inputs if v is not None and v not in names]
            if missing:
                stack += [value, *missing]
                if len(stack) > PRELUDE:
                    return "the shape arithmetic before the region is too long"
                continue
            prelude.append(producer)
            names.update({output: f"p{len(names)}_{index}" for index, output in enumerate(producer.outputs)})
            continue
        names[value] = f"i{len(inputs)}"
        inputs[names[value]] = value
    for side, nodes in (("p", prelude), ("b", region.before), ("a", region.after)):
        for node in nodes:
            for value in node.outputs:
                names.setdefault(value, f"{side}{len(names)}")
            model.graph.node.append(_renamed(node, names, len(model.graph.node)))
    pairs = tuple((names[before], names[after]) for before, after in region.outputs)
    for name in dict.fromkeys(itertools.chain.from_iterable(pairs)):
        if name not in inputs:
            model.graph.output.add(name=name)
    reads_shapes = any(value in names and names[value] in inputs for node in prelude for value in node.inputs if value)
    return _Built(model, inputs, weights, pairs, reads_shapes)


def _renamed(node: ir.Node, names: Mapping[ir.Value, str], ordinal: int) -> onnx.NodeProto:
    proto = ir.to_proto(node)
    proto.name = f"n{ordinal}"
    proto.ClearField("doc_string")
    del proto.metadata_props[:]
    proto.input[:] = ["" if value is None else names[value] for value in node.inputs]
    proto.output[:] = ["" if not value.name else names[value] for value in node.outputs][: len(proto.output)]
    return proto


def _add_constant(model: onnx.ModelProto, name: str, tensor: ir.TensorProtocol, weights: dict[str, np.ndarray]) -> None:
    if tensor.size > EMBEDDED:
        weights[name] = tensor.numpy()
        model.graph.initializer.add(name=name, data_type=int(tensor.dtype), dims=tensor.shape.numpy())
    else:
        proto = ir.serde.serialize_tensor(tensor)
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            proto = onnx.numpy_helper.from_array(tensor.numpy(), name)
        proto.name = name
        model.graph.initializer.append(proto)


def _signature(built: _Built, border: Sequence[tuple[str, ir.DataType | None, tuple[Dim, ...] | None]]) -> bytes:
    """Returns what tells two regions apart: equal signatures, equal evidence.

    A symbol is written by its place of first use, so that the same region under another name counts as the same.
    """
    digest = hashlib.blake2b(built.model.SerializeToString(deterministic=True))
    symbols: dict[Dim, int] = {}
    for name, dtype, shape in border:
        dims = None
        if shape is not None:
            dims = [
                dim if isinstance(dim, int | None) else f"s{symbols.setdefault(dim, len(symbols))}" for dim in shape
            ]
        digest.update(repr((name, dtype, dims)).encode())
    for name, array in built.weights.items():
        digest.update(name.encode())
        digest.update(hashlib.blake2b(np.ascontiguousarray(array).data).digest())
    return digest.digest()

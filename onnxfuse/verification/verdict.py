"""What a comparison of two models says, how two results are compared, and what a graph tells about a difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["Difference", "GraphFacts", "OutputVerdict", "Status", "Verdict", "compare_values", "is_float"]


class Status(StrEnum):
    """The three answers; what could not be run or decided is never `equivalent`."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class OutputVerdict:
    """The answer for one graph output.

    Attributes:
        name: The output's name in the first model.
        status: The answer.
        why: None for equivalent. For different it begins with the kind: `interface`, `shape`, `dtype` or `value`.
        max_abs: Largest |a - b| seen where both are finite, in the units of the output; None where all bits were equal.
        max_rel: Largest |a - b| / |a| seen where both are finite and a is not 0.
        max_ulp: Largest distance in representable values of the output's own type.
        at: The position of the difference that `why` speaks of; within a sequence its first number is the element.
        draw: The input set of that difference, such as `ladder 3 at N=2`.
    """

    name: str
    status: Status
    why: str | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    at: tuple[int, ...] | None = None
    draw: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Verdict:
    """The answer for a pair of models.

    Attributes:
        status: Different if anything differs, else not-run if anything could not be run or decided, else equivalent.
        outputs: One entry for each output of the first model, in order.
        interface: The differences of the interfaces, as sentences.
        notes: What does not change the answer but belongs to it.
        draws: How many input sets both models were compared on.
        dropped: How many input sets the first model itself does not run on.
        not_run: What was not run, and why.
        backend: `onnxruntime` or `reference`; None where nothing was run.
        seconds: Wall time.
    """

    status: Status
    outputs: tuple[OutputVerdict, ...] = ()
    interface: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    draws: int = 0
    dropped: int = 0
    not_run: tuple[str, ...] = ()
    backend: str | None = None
    seconds: float = 0.0

    @property
    def equivalent(self) -> bool:
        """Whether the answer is `equivalent`: everything was run, and nothing differs."""
        return self.status is Status.EQUIVALENT

    def explain(self) -> str:
        """Returns the answer as text of several lines: a summary, then what differs, is open, or was noted."""
        sets = f"{self.draws} input set{'' if self.draws == 1 else 's'} compared"
        if self.dropped:
            sets += f", {self.dropped} dropped"
        facts = [sets] + ([self.backend] if self.backend else []) + [f"{self.seconds:.2f} s"]
        lines = [f"{self.status} ({', '.join(facts)})"]
        lines += [f"  interface: {sentence}" for sentence in self.interface]
        # An output that was not compared for the reason below is not worth a line.
        lines += [f"  {output}" for output in self.outputs if output.why is None or output.why not in self.not_run]
        lines += [f"  not run: {sentence}" for sentence in self.not_run]
        lines += [f"  note: {sentence}" for sentence in self.notes]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns the answer in JSON's own types; NaN and the infinities are the strings `nan`, `inf` and `-inf`."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True)
class Difference:
    """How one result of a model differs from another's.

    Attributes:
        kind: `dtype`, `shape` or `value`.
        text: What differs, without the kind.
        at: Position of the difference that `text` speaks of; None where it is about the whole.
        is_float: A difference of values between two float results of one shape and dtype: only this can be rounding.
        nonfinite: NaN, or an infinity and its sign, is not at the same positions in both.
        share: Part of the positions that differ, from 0 to 1.
        max_abs: As in `OutputVerdict`; None where no pair of finite values differs.
        max_rel: As in `OutputVerdict`.
        max_ulp: As in `OutputVerdict`.
        scale: Largest finite |a|; 0 where there is none.
        beyond: Part of the positions with |a - b| above 1e-2 `scale` and above 128 machine epsilons of the type.
    """

    kind: str
    text: str
    at: tuple[int, ...] | None = None
    is_float: bool = False
    nonfinite: bool = False
    share: float = 1.0
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    scale: float = 0.0
    beyond: float = 0.0


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a real or complex floating-point type, those of `ml_dtypes` included."""
    if dtype.kind in "fc":
        return True
    return dtype.kind == "V" and dtype.names is None and dtype.name.startswith(("bfloat", "float"))


def compare_values(a: Any, b: Any) -> Difference | None:
    """Compares two results of a model, bit for bit.

    A NaN equals any NaN whatever its payload, and -0 differs from +0.

    Args:
        a: The first: an array, a sequence of results, or None (an empty optional).
        b: The second.

    Returns:
        None if they are equal, else the difference.
    """
    import numpy as np

    if a is None or b is None:
        text = "the optional is empty in one only"
        return None if a is None and b is None else Difference("value", text)
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        return _compare_sequences(a, b)
    a, b = np.asarray(a), np.asarray(b)
    strings = a.dtype.kind in "OUST" and b.dtype.kind in "OUST"
    if a.dtype != b.dtype and not strings:
        return Difference("dtype", f"{a.dtype} before, {b.dtype} after")
    if a.shape != b.shape:
        return Difference("shape", f"{list(a.shape)} before, {list(b.shape)} after")
    if is_float(a.dtype):
        return _compare_floats(a, b)
    different = np.asarray(a != b)
    if not different.any():
        return None
    at = tuple(int(index) for index in np.argwhere(different)[0])
    count = int(np.count_nonzero(different))
    kind = "string" if strings else a.dtype.name
    text = f"{count} of {a.size} {kind} values differ, {a[at]!s} and {b[at]!s} at {at}"
    return Difference("value", text, at, share=count / a.size)


def _compare_sequences(a: Any, b: Any) -> Difference | None:
    if not (isinstance(a, list | tuple) and isinstance(b, list | tuple)):
        return Difference("dtype", "a sequence in one only")
    if len(a) != len(b):
        return Difference("shape", f"a sequence of {len(a)} before, of {len(b)} after")
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        difference = compare_values(x, y)
        if difference is not None:
            values = {field.name: getattr(difference, field.name) for field in fields(difference)}
            values["text"] = f"in element {index} of the sequence: {difference.text}"
            values["at"] = (index, *(difference.at or ()))
            return Difference(**values)
    return None


def _compare_floats(a: np.ndarray, b: np.ndarray) -> Difference | None:
    """Compares two float arrays of one dtype and shape."""
    import numpy as np

    if a.dtype.kind == "c":
        part = np.dtype(f"f{a.dtype.itemsize // 2}")
        a, b = (np.ascontiguousarray(x).view(part).reshape(*x.shape, 2) for x in (a, b))
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    bits_a, bits_b = (np.asarray(x, order="C").view(unsigned) for x in (a, b))
    different = np.asarray(bits_a != bits_b)
    if not different.any():
        return None
    # From here on only the positions that differ are looked at: these are usually few, and the arrays may be large.
    where = np.nonzero(different.reshape(-1))[0]
    with np.errstate(all="ignore"):
        x, y = (v.reshape(-1)[where].astype(np.float64) for v in (a, b))
        both_nan = np.isnan(x) & np.isnan(y)
        if both_nan.all():
            return None
        where, x, y = where[~both_nan], x[~both_nan], y[~both_nan]
        ulp = _ulp_distance(bits_a.reshape(-1)[where], bits_b.reshape(-1)[where])
        return _float_difference(a, where, x, y, ulp)


def _float_difference(a: np.ndarray, where: np.ndarray, x: np.ndarray, y: np.ndarray, ulp: np.ndarray) -> Difference:
    """Describes differing floats: `x` and `y` (float64) at the flat positions `where` of `a`, no pair both NaN."""
    import numpy as np

    finite = np.isfinite(x) & np.isfinite(y)
    everything = a.astype(np.float64)
    magnitudes = np.abs(everything[np.isfinite(everything)])
    scale = float(magnitudes.max()) if magnitudes.size else 0.0
    delta = np.where(finite, np.abs(x - y), 0.0)
    one = np.ones((), a.dtype).view(f"u{a.dtype.itemsize}")
    epsilon = float((one + np.ones((), one.dtype)).view(a.dtype)) - 1
    floor = max(1e-2 * scale, 128 * epsilon)
    relative = np.divide(delta, np.abs(x), where=finite & (x != 0), out=np.zeros_like(delta))
    nonfinite = not bool(finite.all())
    worst = int(np.argmin(finite)) if nonfinite else int(np.argmax(delta))
    at = tuple(int(index) for index in np.unravel_index(int(where[worst]), a.shape))
    share = where.size / a.size
    count = f"{where.size} of {a.size} values differ"
    if nonfinite:
        text = f"{count}, {x[worst]!s} and {y[worst]!s} at {at}"
    elif delta[worst] == 0:
        text = f"{count}, in the sign of a zero at {at}"
    else:
        text = (
            f"{count}, by at most {delta[worst]:.3g} ({float(relative.max()):.3g} relative, {int(ulp.max())} ulp)"
            f" where |a| is at most {scale:.3g}, {x[worst]:.9g} and {y[worst]:.9g} at {at}"
        )
    return Difference(
        "value",
        text,
        at,
        is_float=True,
        nonfinite=nonfinite,
        share=share,
        max_abs=float(delta.max()) if finite.any() else None,
        max_rel=float(relative.max()) if finite.any() else None,
        max_ulp=int(ulp[finite].max()) if finite.any() else None,
        scale=scale,
        beyond=float(np.count_nonzero(delta > floor)) / a.size,
    )


def _ulp_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of two bit patterns of one sign-magnitude float type, counted in representable values."""
    import numpy as np

    sign = np.array(1 << (8 * a.dtype.itemsize - 1), a.dtype)

    def ordered(bits: np.ndarray) -> np.ndarray:
        return np.where(bits & sign, ~bits, bits | sign)

    x, y = ordered(a), ordered(b)
    # The order puts -0 and +0 side by side, one apart; unsigned subtraction of the smaller cannot overflow.
    distance: np.ndarray = np.where(x > y, x - y, y - x)
    return distance


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and floats as JSON's own types."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str) or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


# ---- what can explain a difference


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


_RANDOM: Final = _ops("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli")
# Each gives the same bits however it is computed. Max, Min and Relu are not here: which zero or NaN they give is up to
# the kernel. What only moves data or compares is in the table of `onnxfuse.analysis.ops`.
_EXACT: Final = _ops(
    "Abs BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike ConcatFromSequence Constant ConstantOfShape"
    " EyeLike If IsInf IsNaN Loop Neg NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Scan"
    " SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size SplitToSequence"
)
_DISCRETE: Final = _ops(
    "ArgMax ArgMin Cast CastLike Ceil DynamicQuantizeLinear Equal Floor Greater GreaterOrEqual Hardmax Less LessOrEqual"
    " Mod NonMaxSuppression NonZero QuantizeLinear Round Sign TopK Unique"
)
# onnx's numbers of the types in which nothing rounds: the integers, bool and string.
_NOT_FLOAT: Final = frozenset((2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 21, 22, 25, 26))


class GraphFacts:
    """What the main graph of a model tells about its values; each fact is found when it is first asked for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Takes a light model; it is not changed."""
        self._model = model
        self._functions = {(function.domain, function.name): function for function in model.functions}

    @cached_property
    def random(self) -> frozenset[str]:
        """The values that random operators reach, those in bodies and local functions among them."""
        return self._reached(is_source=lambda node: any(map(self._is_random, self._inside(node))))

    @cached_property
    def rounded(self) -> frozenset[str]:
        """The values that come from an operator which may round, or of which not enough is known."""
        return self._reached(is_source=lambda node: not self._is_exact(node))

    @cached_property
    def discrete(self) -> bool:
        """Whether a float reaches an operator that turns a rounding error into a whole step, at any depth."""
        return any(
            inner.op_type in _DISCRETE
            and not self._without_floats(inner.input[:1])
            and not (inner.op_type == "Cast" and any(a.name == "to" and a.i not in _NOT_FLOAT for a in inner.attribute))
            for node in self._model.graph.node
            for inner in self._inside(node)
        )

    @cached_property
    def loops(self) -> bool:
        """Whether there is a Loop, which may never end on some inputs."""
        return any(inner.op_type == "Loop" for node in self._model.graph.node for inner in self._inside(node))

    @cached_property
    def traps(self) -> str | None:
        """An integer division whose divisor may become -1 on drawn inputs, as a clause; None if there is none."""
        from onnxfuse.verification.inputs import free_inputs

        divisions = [node for node in self._model.graph.node if node.op_type in ("Div", "Mod") and len(node.input) == 2]
        if not divisions:
            return None
        # An input that is a divisor itself has a role, and is drawn from small positive numbers.
        drawn = [spec.name for spec in free_inputs(self._model) if spec.role is None]
        reached = self._reached(drawn, stops=("Shape", "Size"))
        for node in divisions:
            divisor = node.input[1]
            if (divisor in reached or self._is_minus_one(divisor)) and self._types.get(divisor) in (6, 7):
                return f"{node.op_type} divides integers by {divisor}, which may be -1"
        return None

    def _is_minus_one(self, name: str) -> bool:
        import onnx

        graph = self._model.graph
        tensors = [init for init in graph.initializer if init.name == name and init.ByteSize() < 4096]
        producers = (node for node in graph.node if node.op_type == "Constant" and name in node.output)
        tensors += [attribute.t for node in producers for attribute in node.attribute if attribute.name == "value"]
        return any(bool((onnx.numpy_helper.to_array(t) == -1).any()) for t in tensors if t.data_type in (6, 7))

    @cached_property
    def _types(self) -> dict[str, int]:
        """Element types by name, as far as they are declared or inferred."""
        import onnx

        try:
            graph = onnx.shape_inference.infer_shapes(self._model).graph
        except (onnx.shape_inference.InferenceError, ValueError):
            graph = self._model.graph  # nothing can be inferred: what is declared has to do
        values = (*graph.input, *graph.value_info, *graph.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")}
        return {**types, **{init.name: init.data_type for init in graph.initializer}}

    def _reached(
        self,
        start: Collection[str] = (),
        *,
        is_source: Callable[[onnx.NodeProto], bool] | None = None,
        stops: Collection[str] = (),
    ) -> frozenset[str]:
        """The values that depend on `start` or on a source, in a graph that is in topological order."""
        found = set(start)
        for node in self._model.graph.node:
            if node.op_type in stops:
                continue
            if (is_source is not None and is_source(node)) or any(name in found for name in _reads(node)):
                found.update(name for name in node.output if name)
        return frozenset(found)

    def _inside(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A node and all nodes of its bodies, or of the local function that it calls."""
        function = self._functions.get((node.domain, node.op_type))
        yield from (inner for child in function.node for inner in self._inside(child)) if function else (node,)
        for body in _bodies(node):
            for child in body.node:
                yield from self._inside(child)

    def _is_random(self, node: onnx.NodeProto) -> bool:
        """Whether a node draws random numbers: so does Dropout unless its training mode is known to be off."""
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
            return node.op_type in _RANDOM
        import onnx

        modes = [init for init in self._model.graph.initializer if init.name == node.input[2]]
        return not modes or bool(onnx.numpy_helper.to_array(modes[0]).any())

    def _is_exact(self, node: onnx.NodeProto) -> bool:
        from onnxfuse.analysis.ops import facts_of

        return all(
            inner.domain in ("", "ai.onnx")
            and (
                inner.op_type in _EXACT
                or facts_of(inner.op_type).index_only
                or facts_of(inner.op_type).compares
                or (inner is node and self._without_floats([*node.input, *node.output]))
            )
            for inner in self._inside(node)
        )

    def _without_floats(self, names: Sequence[str]) -> bool:
        return all(self._types.get(name) in _NOT_FLOAT for name in names if name)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, with those that its bodies read or capture."""
    yield from node.input
    for body in _bodies(node):
        yield from (value.name for value in body.output)
        for child in body.node:
            yield from _reads(child)

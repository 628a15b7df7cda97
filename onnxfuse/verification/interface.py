"""The interfaces of two models: what can be said without running anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from onnxfuse.verification.inputs import InputSpec, free_inputs

if TYPE_CHECKING:
    import onnx

__all__ = ["compare_interface"]


def compare_interface(a: onnx.ModelProto, b: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Compares what two models declare: names, order and types of inputs and outputs, and what inputs accept.

    Args:
        a: The original.
        b: The model that should stand in for it.

    Returns:
        The differences, and the notes: what a caller of `a` does not notice when it calls `b`. The sentences begin with
        `input NAME` or `output NAME`.
    """
    differences: list[str] = []
    notes: list[str] = []
    _compare_inputs(a, b, differences, notes)
    before, after = ({value.name: value.type for value in model.graph.output} for model in (a, b))
    _compare_names("output", before, after, frozenset(), differences)
    for name in before.keys() & after.keys():
        old, new = _type_text(before[name]), _type_text(after[name])
        if old != new:
            differences.append(f"output {name} is {new}, it was {old}")
        elif _dims_text(before[name]) != _dims_text(after[name]):
            notes.append(f"output {name} is declared {_dims_text(after[name])}, it was {_dims_text(before[name])}")
    return differences, notes


def _compare_names(
    kind: str,
    before: Mapping[str, onnx.TypeProto],
    after: Mapping[str, onnx.TypeProto],
    constants: Collection[str],
    differences: list[str],
) -> None:
    """Compares which values there are, and in which order; `constants` are those of the second model."""
    renamed = {
        old: new
        for old, new in zip(before, after, strict=False)
        if old not in after and new not in before and before[old] == after[new] and old not in constants
    }
    for name in before:
        if name in renamed:
            differences.append(f"{kind} {name} is gone; {renamed[name]}, of the same type, is in its place: renamed?")
        elif name not in after:
            differences.append(f"{kind} {name} is gone{': it is a constant now' if name in constants else ''}")
    new = (name for name in after if name not in before and name not in renamed.values())
    differences += [f"{kind} {name} is new" for name in new]
    common = [name for name in after if name in before]
    if common != [name for name in before if name in after]:
        differences.append(f"{kind}s are in another order: {', '.join(common)}")


def _compare_inputs(a: onnx.ModelProto, b: onnx.ModelProto, differences: list[str], notes: list[str]) -> None:
    before, after = ({spec.name: spec for spec in free_inputs(model, roles=False)} for model in (a, b))
    types_a, types_b = ({value.name: value.type for value in model.graph.input} for model in (a, b))
    added = [name for name, spec in after.items() if spec.overridable and name not in before]
    notes += [f"input {name} is new, and has a default" for name in added]
    _compare_names(
        "input",
        {name: types_a[name] for name in before},
        {name: types_b[name] for name in after if name not in added},
        _constants(b),
        differences,
    )
    tied: dict[str, str] = {}
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            continue
        if old.overridable and not new.overridable:
            differences.append(f"input {name} had a default, and must now be fed")
        if new.overridable and not old.overridable:
            notes.append(f"input {name} has a default now")
        if _type_text(types_a[name]) != _type_text(types_b[name]):
            differences.append(f"input {name} is {_type_text(types_b[name])}, it was {_type_text(types_a[name])}")
        else:
            _compare_dims(old, new, tied, differences, notes)


def _constants(model: onnx.ModelProto) -> set[str]:
    constants = (node.output for node in model.graph.node if node.op_type == "Constant")
    return {tensor.name for tensor in model.graph.initializer}.union(*constants)


def _compare_dims(
    old: InputSpec, new: InputSpec, tied: dict[str, str], differences: list[str], notes: list[str]
) -> None:
    """Compares the declared dims of one input; `tied` is the symbol before of each symbol after."""
    name = old.name
    if new.dims is None or old.dims is None or len(old.dims) != len(new.dims):
        if new.dims is not None:
            rank = "any" if old.dims is None else len(old.dims)
            differences.append(f"input {name} has rank {len(new.dims)}, it had {rank}")
        elif old.dims is not None:
            notes.append(f"input {name} has any rank now")
        return
    for axis, (x, y) in enumerate(zip(old.dims, new.dims, strict=True)):
        if isinstance(y, int):
            if x != y:
                differences.append(f"input {name} accepts only {y} along axis {axis}, it was {x or 'any size'}")
        elif isinstance(x, int):
            notes.append(f"input {name} accepts any size along axis {axis}, it was {x}")
        else:
            symbol = x or f"{name}.{axis}"
            first = tied.setdefault(y or f"{name}.{axis}", symbol)
            if first != symbol:
                differences.append(f"input {name} needs {first} along axis {axis} now, it was {symbol}")
            elif x != y:
                notes.append(f"input {name} calls its axis {axis} {y or 'nothing'} now, it was {x or 'nothing'}")


def _type_text(declared: onnx.TypeProto) -> str:
    """A type without its dims, such as `tensor(FLOAT)`."""
    import onnx

    kind = declared.WhichOneof("value") or "nothing"
    if kind in ("tensor_type", "sparse_tensor_type"):
        elem_type = getattr(declared, kind).elem_type
        return f"{kind.removesuffix('_type')}({onnx.TensorProto.DataType.Name(elem_type)})"
    if kind in ("sequence_type", "optional_type"):
        return f"{kind.removesuffix('_type')}({_type_text(getattr(declared, kind).elem_type)})"
    if kind == "map_type":
        key = onnx.TensorProto.DataType.Name(declared.map_type.key_type)
        return f"map({key}, {_type_text(declared.map_type.value_type)})"
    return kind


def _dims_text(declared: onnx.TypeProto) -> str:
    """The dims of a tensor type, such as `[N, 3, ?]`; empty for anything else."""
    tensor = declared.tensor_type
    if not declared.HasField("tensor_type"):
        return ""
    if not tensor.HasField("shape"):
        return "without a rank"
    dims = (str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    return f"[{', '.join(dims)}]"

"""The table of hostile models: each writes itself into a folder, and says what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import onnx
from onnx import TensorProto, helper

__all__ = [
    "CASES",
    "OUTSIDE",
    "Case",
    "branch",
    "legal",
    "model_of",
    "node",
    "refused",
    "tensor",
    "value",
    "with_slices",
]

OUTSIDE: Final = "outside"
"""A folder beside the model's own, which nothing may read."""

Made = onnx.ModelProto | bytes | Path | None
Maker = TypeVar("Maker", bound=Callable[[Path], Made])


@dataclass(frozen=True)
class Case:
    """One hostile model.

    Attributes:
        name: What is odd about it.
        make: Makes it: returns the model, its bytes, or the path of the file it wrote into the folder given.
        legal: Whether it is a model, however odd: then every command works. Else every command refuses it.
        says: What the refusal must say.
        runs: Whether it may be run whole: its own time and memory are within reason.
        large: Whether it is so large that it is not written, nor compared with what was written.
    """

    name: str
    make: Callable[[Path], Made]
    legal: bool
    says: str = ""
    runs: bool = True
    large: bool = False

    def write(self, folder: Path) -> Path:
        """Writes the model into `folder`; returns the path to give to the command line."""
        path = folder / "model.onnx"
        made = self.make(folder)
        if isinstance(made, Path):
            return made
        if made is not None:
            path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path


CASES: dict[str, Case] = {}


def _add(case: Case) -> None:
    assert case.name not in CASES, case.name
    CASES[case.name] = case


def legal(*, runs: bool = True, large: bool = False) -> Callable[[Maker], Maker]:
    """Adds what the function makes as a model that works."""

    def add(make: Maker) -> Maker:
        _add(Case(make.__name__, make, legal=True, runs=runs, large=large))
        return make

    return add


def refused(says: str) -> Callable[[Maker], Maker]:
    """Adds what the function makes as something that is refused in these words."""

    def add(make: Maker) -> Maker:
        _add(Case(make.__name__, make, legal=False, says=says))
        return make

    return add


# ------------------------------------------------------------------------------------------------ building blocks


def value(name: str, dims: list[int | str | None] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A declared tensor."""
    return helper.make_tensor_value_info(name, kind, dims)


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node, its inputs and outputs as words."""
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def tensor(name: str, dims: list[int], kind: int = TensorProto.FLOAT, **fields: object) -> onnx.TensorProto:
    """A tensor, by its fields."""
    made = onnx.TensorProto(name=name, dims=dims, data_type=kind)
    for key, content in fields.items():
        if isinstance(content, list):
            getattr(made, key).extend(content)
        else:
            setattr(made, key, content)
    return made


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    initializers: list[onnx.TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
    domains: tuple[str, ...] = (),
    opset: int = 18,
) -> onnx.ModelProto:
    """A model; from `x` to `y` unless said otherwise."""
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", ["N", 8])] if inputs is None else inputs,
        [value("y")] if outputs is None else outputs,
        initializers or [],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions or [], ir_version=8)


def branch(name: str, reads: str = "x") -> onnx.GraphProto:
    """A body of an If: a Relu of what is outside of it."""
    return helper.make_graph([node("Relu", reads, f"{name}_y")], name, [], [value(f"{name}_y")])


def with_slices(model: onnx.ModelProto) -> onnx.ModelProto:
    """Adds two Slices that merge, so that a rewrite is applied and verified beside whatever is hostile."""
    graph = model.graph
    graph.input.append(value("slices_in", ["M", 8, 16, 16]))
    for name, number in (("s_one", 1), ("s_end", 2**63 - 1), ("s_rows", 2), ("s_columns", 3)):
        graph.initializer.append(tensor(name, [1], TensorProto.INT64, int64_data=[number]))
    graph.node.append(node("Slice", "slices_in s_one s_end s_rows", "s_cut"))
    graph.node.append(node("Slice", "s_cut s_one s_end s_columns", "slices_out"))
    graph.output.append(value("slices_out", ["M", 8, 15, 15]))
    return model

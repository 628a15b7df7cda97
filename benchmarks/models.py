"""The models that are measured: NASNet, synthetic graphs of any size, and one with gigabytes of external data."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
from onnx import TensorProto

__all__ = ["NASNET", "Constants", "Topology", "external", "nasnet", "synthetic", "tiny"]

Topology = Literal["chain", "dag"]
Constants = Literal["own", "shared"]

NASNET: Final = Path(__file__).parent.parent / "examples" / "nasnetlarge" / "nasnetlarge.onnx"

# Versions that every peer reads.
OPSET: Final = 17
IR_VERSION: Final = 8

INT64_MAX: Final = 2**63 - 1

# x[:, :, 1:, 1:], then Pad to the size before, then one node more: two of four nodes are Slices that merge.
BLOCK: Final = 4
SHAPE: Final = (1, 8, 16, 16)

EXTERNAL_BYTES: Final = 3 << 30
EXTERNAL_WIDTH: Final = 4096


def nasnet(workdir: Path) -> Path:
    """Returns the file of NASNet-A-Large with seeded weights (355 MB), filled in on first use.

    Args:
        workdir: The folder it is kept in.
    """
    digest = hashlib.blake2b(NASNET.read_bytes(), digest_size=4).hexdigest()
    path = workdir / f"nasnetlarge-{digest}.onnx"
    if not path.exists():
        from onnxfuse.testing import fill

        unfinished = path.with_suffix(".tmp")
        onnx.save(fill(onnx.load(NASNET)), unfinished)
        unfinished.replace(path)
    return path


def tiny() -> onnx.ModelProto:
    """Returns a model of one block, on which a tool can be warmed up."""
    return synthetic(BLOCK, "chain", "own")


def synthetic(nodes: int, topology: Topology, constants: Constants) -> onnx.ModelProto:
    """Builds a graph of which half of the nodes are Slices in pairs that merge.

    Args:
        nodes: How many nodes (a DAG has one more, which joins its branches).
        topology: A `chain`, or a `dag`: about sqrt(nodes / 4) branches, each reading its neighbour at every step.
        constants: Every node has its `own` bounds, or all Slices have the same five `shared` ones.
    """
    graph = _Graph(constants)
    blocks = nodes // BLOCK
    if topology == "chain":
        value = "x"
        for _ in range(blocks):
            value = graph.node("Relu", graph.cropped_and_padded(value))
        graph.finish(value)
    else:
        width = max(math.isqrt(blocks), 1)
        branches = ["x"] * width
        for first in range(0, blocks, width):
            before = list(branches)
            for index in range(min(width, blocks - first)):
                crop = graph.cropped_and_padded(before[index])
                branches[index] = graph.node("Add", crop, before[(index + 1) % width])
        graph.finish(graph.node("Sum", *branches))
    return graph.model


def external(folder: Path, *, rows: int, real: bool = False) -> Path:
    """Returns the file of a model of MatMuls and one pair of Slices, with 3 GiB of weights in a data file beside it.

    Args:
        folder: Where the two files go; they are made if they are not there.
        rows: Rows of every activation; each takes 16 KiB.
        real: Whether the weights are drawn; else the data file is sparse: it takes no room, and reads as zeros.
    """
    each = EXTERNAL_WIDTH * EXTERNAL_WIDTH * 4
    count = EXTERNAL_BYTES // each
    path = folder / f"external-{'real' if real else 'sparse'}-{rows}.onnx"
    data = path.with_name(path.name + ".data")
    if not data.exists() or data.stat().st_size != count * each:
        _write_data(data, count, each, real=real)
    graph = _Graph("own", shape=(1, rows, EXTERNAL_WIDTH))
    value = "x"
    for index in range(count):
        dims = (EXTERNAL_WIDTH, EXTERNAL_WIDTH)
        weight = graph.model.graph.initializer.add(name=f"w{index}", data_type=TensorProto.FLOAT, dims=dims)
        weight.data_location = TensorProto.EXTERNAL
        for key, entry in (("location", data.name), ("offset", str(index * each)), ("length", str(each))):
            weight.external_data.add(key=key, value=entry)
        value = graph.node("MatMul", value, weight.name)
    graph.finish(graph.sliced(graph.sliced(value, 1), 2), shape=(1, rows - 1, EXTERNAL_WIDTH - 1))
    path.write_bytes(graph.model.SerializeToString())
    return path


def _write_data(path: Path, count: int, each: int, *, real: bool) -> None:
    with path.open("wb") as file:
        if real:
            rng = np.random.default_rng(0)
            for _ in range(count):
                rng.standard_normal(each // 4, dtype=np.float32).tofile(file)
        file.truncate(count * each)


@dataclass
class _Graph:
    """Builds a model node by node.

    Attributes:
        constants: Whether bounds are made anew for every node.
        shape: Of the input, and of the output unless `finish` says otherwise.
        model: The model so far.
    """

    constants: Constants
    shape: tuple[int, ...] = SHAPE
    model: onnx.ModelProto = field(default_factory=onnx.ModelProto)

    def __post_init__(self) -> None:
        self.model.ir_version = IR_VERSION
        self.model.opset_import.add(domain="", version=OPSET)
        self.model.graph.name = "benchmark"
        self.model.graph.input.append(onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape))
        self._numbers = itertools.count()
        self._known: dict[tuple[str, tuple[int, ...]], str] = {}

    def finish(self, value: str, shape: tuple[int, ...] | None = None) -> None:
        """Makes `value` the output."""
        info = onnx.helper.make_tensor_value_info(value, TensorProto.FLOAT, shape or self.shape)
        self.model.graph.output.append(info)

    def node(self, op_type: str, *inputs: str) -> str:
        """Adds a node; returns its output's name."""
        name = f"{op_type}_{next(self._numbers)}"
        self.model.graph.node.add(op_type=op_type, name=name, input=inputs, output=[f"{name}_out"])
        return f"{name}_out"

    def sliced(self, value: str, axis: int) -> str:
        """Cuts off the first element of an axis."""
        bounds = {"starts": (1,), "ends": (INT64_MAX,), "axes": (axis,), "steps": (1,)}
        return self.node("Slice", value, *itertools.starmap(self._constant, bounds.items()))

    def cropped_and_padded(self, value: str) -> str:
        """Cuts off the first row and column, and puts zeros in their places."""
        cropped = self.sliced(self.sliced(value, 2), 3)
        return self.node("Pad", cropped, self._constant("pads", (0, 0, 1, 1, 0, 0, 0, 0)))

    def _constant(self, role: str, numbers: tuple[int, ...]) -> str:
        if self.constants == "shared" and (role, numbers) in self._known:
            return self._known[role, numbers]
        name = self._known[role, numbers] = f"{role}_{next(self._numbers)}"
        data = np.array(numbers, dtype=np.int64).tobytes()
        self.model.graph.initializer.add(name=name, data_type=TensorProto.INT64, dims=[len(numbers)], raw_data=data)
        return name

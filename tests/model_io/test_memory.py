"""Memory does not grow with weights: they stay in their file, and the kernel copies them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from onnxfuse.model_io import wire
from tests.model_io.models import chain

ROOT = Path(__file__).parents[2]

# What Python with onnx, onnx_ir and onnxruntime takes is some 120 MiB.
PEAK = 400 << 20

PROGRAM = """
import sys
import onnxfuse

model, report = onnxfuse.apply(sys.argv[1], "merge-sliced", verify="region")
assert len(report.applied) == 1, report
saved = onnxfuse.save(model, sys.argv[2])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024, *saved.notes, sep="\\n")
"""


def run(path: Path, out: Path) -> tuple[int, list[str]]:
    """Rewrites and saves a model in a process of its own; returns its peak of memory, and the notes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    peak, *notes = done.stdout.splitlines()
    return int(peak), notes


def tensor_field(name: str, side: int) -> tuple[bytes, int]:
    """Returns all of an initializer's field but its data, and the number of bytes of that."""
    header = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[side, side]).SerializeToString()
    size = side * side * 4
    raw = wire.length_delimited_header(9, size)
    return wire.length_delimited_header(5, len(header) + len(raw) + size) + header + raw, size


def write_sparse(path: Path, count: int, side: int, *, constants: bool = False) -> None:
    """Writes a model of `count` weights whose data are holes in the file, so that it takes no space."""
    model = chain()
    del model.graph.initializer[0]
    before, after = model.graph.node[0], list(model.graph.node[1:])
    model.graph.ClearField("node")
    names = [f"w{index}" for index in range(count)]
    previous = "x"
    multiplications = []
    for name in names:
        multiplications.append(helper.make_node("MatMul", [previous, name], [f"after_{name}"]))
        previous = f"after_{name}"
    before.input[:] = [previous, "x"]
    weights = []
    for name in names:
        field, size = tensor_field(name, side)
        if constants:
            # The tensor is in an AttributeProto (whose field 5 it is), that is in a NodeProto.
            attribute = wire.field_bytes(1, b"value") + wire.varint_field(20, onnx.AttributeProto.TENSOR)
            outer = wire.field_bytes(2, name.encode()) + wire.field_bytes(4, b"Constant")
            inner = wire.length_delimited_header(5, len(attribute) + len(field) + size) + attribute
            field = wire.length_delimited_header(1, len(outer) + len(inner) + len(field) + size) + outer + inner + field
        weights.append((field, size))
    rest = [onnx.GraphProto(node=multiplications).SerializeToString(), model.graph.SerializeToString()]
    rest.append(onnx.GraphProto(node=[before, *after]).SerializeToString())
    graph_size = sum(map(len, rest)) + sum(len(field) + size for field, size in weights)
    model.ClearField("graph")
    with path.open("wb") as file:
        file.write(model.SerializeToString())
        file.write(wire.length_delimited_header(7, graph_size))
        for field, size in weights:
            file.write(field)
            file.seek(size, os.SEEK_CUR)
        file.write(b"".join(rest))


@pytest.mark.parametrize("constants", [False, True], ids=["initializers", "Constant nodes"])
def test_single_file(tmp_path: Path, constants: bool) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    write_sparse(path, 40, 2048, constants=constants)
    assert path.stat().st_size > 600 << 20

    peak, notes = run(path, out)

    assert peak < PEAK
    assert notes == []
    assert abs(path.stat().st_size - out.stat().st_size) < 4096


def test_many_tensors_in_a_single_file(tmp_path: Path) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    write_sparse(path, 1600, 320)
    assert path.stat().st_size > 600 << 20

    peak, _ = run(path, out)

    assert peak < PEAK


def test_external_data(tmp_path: Path) -> None:
    model = chain()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    size = 3 << 30
    tensor.dims[:] = [32, size // 128]
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    path, out, data = (tmp_path / name for name in ("model.onnx", "out.onnx", "weights.bin"))
    path.write_bytes(model.SerializeToString())
    data.touch()
    os.truncate(data, size)
    before = data.stat()

    peak, notes = run(path, out)

    after = data.stat()
    assert peak < PEAK
    assert notes == ["refers to the same external data: weights.bin"]
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    assert out.stat().st_size < 2000
    assert [node.op_type for node in onnx.load(out, load_external_data=False).graph.node] == [
        "MatMul",
        "Slice",
        "Identity",
    ]

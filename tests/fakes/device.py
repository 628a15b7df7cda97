"""What the stand-ins for `benchmark` and `ais_bench` have in common: compiled models, a device, and ways to fail.

Environment variables say how one is to behave:

FAKE_MANNER   empty: as documented. Or one of these:
              error     says in the middle that inference failed, and exits with 0
              exit-1    does all that it should, and exits with 1
              silent    prints and writes no summary
              unsaved   prints the summary, and writes none
              missing, short, empty
                        leaves out, cuts or empties the outputs whose names end in FAKE_LAST
              killed    starts a child, and is killed in the middle
              hang      starts a child, and goes on for ever from the middle on
FAKE_DEVICES  how many devices there are; 1 where it does not say
FAKE_RECORD   a file to which a line of JSON goes: the arguments as they came, and the folder
FAKE_PIDS     a file to which the numbers of the process and of its child go
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

MAGIC = b"IMOD"
MANNER = os.environ.get("FAKE_MANNER", "")
DEVICES = int(os.environ.get("FAKE_DEVICES", "1"))


@dataclass(frozen=True)
class Tensor:
    """An input or output of a compiled model, with the batch in its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Om:
    """What a stand-in for a compiled model says; `ms` is how long one batch takes."""

    batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ms: float = 5.0

    def save(self, path: Path) -> Path:
        path.write_bytes(MAGIC + json.dumps(asdict(self)).encode())
        return path

    @classmethod
    def load(cls, path: Path) -> Om:
        try:
            data = path.read_bytes()
            if not data.startswith(MAGIC):
                raise ValueError
            fields = json.loads(data[len(MAGIC) :])
            if "flags" in fields:
                return cls.of_atc(fields["model"], fields["inputs"])
            inputs, outputs = (
                tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in fields[side])
                for side in ("inputs", "outputs")
            )
            return cls(fields["batch"], inputs, outputs, fields["ms"])
        except (OSError, ValueError, TypeError, KeyError):
            stop(f"load model from file failed, model file is {path}")

    @classmethod
    def of_atc(cls, model: str, shapes: dict[str, list[int]]) -> Om:
        """What the stand-in for atc made of a model."""
        import onnx

        proto = onnx.load(model)
        values = {value.name: value for value in proto.graph.input if value.name in shapes}
        for name, shape in shapes.items():
            kind = values[name].type.tensor_type
            values[name].CopyFrom(onnx.helper.make_tensor_value_info(name, kind.elem_type, shape))
        for value in proto.graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(proto).graph
        inputs, outputs = (
            tuple(
                Tensor(
                    value.name,
                    str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
                    tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
                )
                for value in side
            )
            for side in (values.values(), inferred.output)
        )
        return cls(inputs[0].shape[0], inputs, outputs)

    def round_ms(self, number: int) -> float:
        """How long one of several rounds takes: the first a little longer, as on a device."""
        return self.ms * (1.02 if number == 0 else 1 + 0.001 * (number % 5))

    def run(self, inputs: list[bytes]) -> list[np.ndarray]:
        """One output each, of numbers that tell which sample of the batch it came from."""
        parts = [[data[len(data) // self.batch * i :][: len(data) // self.batch] for data in inputs]
                 for i in range(self.batch)]  # fmt: skip
        marks = [zlib.crc32(b"".join(part)) % 1000 for part in parts]
        return [
            np.concatenate([np.full((t.shape[0] // self.batch, *t.shape[1:]), mark, t.dtype) for mark in marks])
            for t in self.outputs
        ]


def stop(message: str, code: int = 1) -> NoReturn:
    """Says what is wrong, as these tools do, and ends."""
    print(f"[ERROR] {message}", flush=True)
    sys.exit(code)


def open_device(number: int) -> None:
    if not 0 <= number < DEVICES:
        stop(f"acl open device {number} failed")


def record() -> None:
    """Tells how it was called."""
    if path := os.environ.get("FAKE_RECORD"):
        with Path(path).open("a") as file:
            print(json.dumps({"argv": sys.argv[1:], "folder": str(Path.cwd())}), file=file)


def half_way() -> None:
    """Is called in the middle of a run."""
    if MANNER == "error":
        stop("execute inference failed, error code is 507011", code=0)
    if MANNER not in ("killed", "hang"):
        return
    print("[INFO] waiting for the device", flush=True)
    # The child holds what it has got open.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if path := os.environ.get("FAKE_PIDS"):
        Path(f"{path}.new").write_text(f"{os.getpid()} {child.pid}")
        Path(f"{path}.new").rename(path)
    if MANNER == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def end() -> NoReturn:
    sys.exit(MANNER == "exit-1")


def save(file: Path, array: np.ndarray, fmt: str) -> None:
    """Writes an output; a fault may leave it out, empty or short."""
    last = file.stem.endswith(os.environ.get("FAKE_LAST", "\0"))
    if MANNER == "missing" and last:
        return
    data = array.tobytes()
    if last and MANNER in ("short", "empty"):
        data = data[:-4] if MANNER == "short" else b""
    if fmt == "txt":
        data = " ".join(f"{x:g}" for x in array.reshape(-1)).encode() + b"\n"
    file.write_bytes(data)

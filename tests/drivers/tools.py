"""The stand-ins for the benchmark tools, made ready for a test."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxfuse.drivers.ais_bench import AisBench
from onnxfuse.drivers.benchmark import Benchmark
from onnxfuse.drivers.device import Device
from tests.fakes.device import Om, Tensor

__all__ = ["FAKES", "Tools", "om", "raw_dataset"]

FAKES: Final = Path(__file__).parent.parent / "fakes"


def om(path: Path, *, batch: int = 1, ms: float = 5.0, inputs: int = 1, outputs: int = 1) -> Path:
    """Writes a compiled model for the stand-ins: images in, and outputs of two ranks."""
    shapes = [(batch, 3, 4, 6), (batch, 7)]
    ins = tuple(Tensor(f"in{k}", "float32", shapes[k % 2]) for k in range(inputs))
    outs = tuple(Tensor(f"out{k}", "float32", (batch, 5) if k % 2 == 0 else (batch, 2, 2)) for k in range(outputs))
    return Om(batch, ins, outs, ms).save(path)


def raw_dataset(folder: Path, count: int, *, inputs: int = 1, prefix: str = "s") -> Path:
    """Writes raw samples and their list: all different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for index in range(count):
        for k in range(inputs):
            shape = (3, 4, 6) if k % 2 == 0 else (7,)
            name = f"{prefix}{index}.bin" if k == 0 else f"{prefix}{index}_in{k}.bin"
            rng.normal(size=shape).astype(np.float32).tofile(folder / name)
            lines.append(f"{index} ./{name}" + (" 6 4" if inputs == 1 else ""))
    (folder / "data.info").write_text("\n".join(lines) + "\n")
    return folder / "data.info"


@dataclass
class Tools:
    """Both tools as a machine with a device has them: behind a set_env.sh.

    Attributes:
        folder: Where that and what the tools record lies.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def set_env(self, **more: str) -> Path:
        """Writes the set_env.sh."""
        path = self.folder / "set_env.sh"
        values = {
            "FAKE_RECORD": str(self.folder / "record"),
            "FAKE_PIDS": str(self.folder / "pids"),
            **self.variables,
            **more,
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
        lines.append(f"export PYTHONPATH={shlex.quote(str(FAKES))}")
        path.write_text("\n".join(lines) + "\n")
        return path

    def backend(self, name: str, *, device: dict[str, Any] | None = None, **more: str) -> Benchmark | AisBench:
        """A backend by its name; benchmark has to be told the batch of an .om, and is told 1 where a test says nothing."""
        options = {"batch_size": 1} if name == "benchmark" and "soc" not in (device or {}) else {}
        place = Device(set_env=self.set_env(**more), **{**options, **(device or {})})
        return (
            Benchmark(device=place, tool=FAKES / "benchmark.x86_64") if name == "benchmark" else AisBench(device=place)
        )

    @property
    def record(self) -> list[list[str]]:
        """The arguments of each start so far."""
        path = self.folder / "record"
        return [json.loads(line)["argv"] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def processes(self) -> list[int]:
        """The numbers of the tool and of its child, where it came so far that it was killed or hung."""
        path = self.folder / "pids"
        return list(map(int, path.read_text().split())) if path.exists() else []

"""How much memory the intermediates of a model take: what exposing them all at once would cost."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxfuse.verification.sessions import Options, OrtSession, private_copy

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["available_bytes", "intermediate_bytes", "measure", "measured_bytes"]

# Of version 2 and 1: the limit, what is used of it, and what part of that is files that the kernel can drop.
_CONTROL_GROUPS: Final = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "\ninactive_file "),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "\ntotal_inactive_file ",
    ),
)


def intermediate_bytes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """Sums the sizes of all intermediates of the main graph, by shape inference alone.

    Args:
        model: The light model; not changed.
        shapes: The shapes of graph inputs; an input without one keeps what it declares.

    Returns:
        The bytes of those whose size is known, and the number of those whose size is not.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for value in graph.input:
        if value.name in shapes and value.type.HasField("tensor_type"):
            elem_type = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, elem_type, list(shapes[value.name])))
    del graph.value_info[:]
    names = [name for node in graph.node for name in node.output if name]
    computed = set(names)
    for value in graph.output:
        # What is declared has symbols; an input or initializer that is an output must keep its shape.
        if value.name in computed and value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        return 0, len(names)
    sizes = {value.name: _declared_bytes(value.type) for value in (*graph.value_info, *graph.output)}
    known = [size for name in names if (size := sizes.get(name)) is not None]
    return sum(known), len(names) - len(known)


def _declared_bytes(declared: onnx.TypeProto) -> int | None:
    """The size of a tensor of a declared static shape; None of anything else."""
    import onnx

    tensor = declared.tensor_type
    if not (declared.HasField("tensor_type") and tensor.HasField("shape") and tensor.elem_type):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    item = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return int(item * math.prod(dim.dim_value for dim in tensor.shape.dim))


def measured_bytes(
    model: onnx.ModelProto,
    feeds: Mapping[str, Any],
    *,
    weights: Mapping[str, np.ndarray] | None = None,
    timeout_s: float | None = None,
) -> int:
    """Sums the sizes of all intermediates of the main graph in one run of onnxruntime that does not expose them.

    Args:
        model: The light model; not changed.
        feeds: As for `Evaluator.run`.
        weights: As for `Evaluator`.
        timeout_s: As for `Evaluator.run`.

    Returns:
        Bytes.

    Raises:
        EvaluationError: If onnxruntime does not load or run the model, or dies of it.
    """
    from onnxfuse.verification.cargo import Cargo
    from onnxfuse.verification.worker import shared_worker

    own = {init.name for init in model.graph.initializer}
    weights = {name: array for name, array in (weights or {}).items() if name in own}
    cargo = Cargo(model, weights, Options(expose=False))
    # It is this process's, which removes it also where the worker dies.
    with tempfile.TemporaryDirectory(prefix="onnxfuse-") as folder:
        size: int = shared_worker().ask(cargo, "measure", dict(feeds), folder, timeout_s, timeout_s=timeout_s)
    return size


def measure(
    model: onnx.ModelProto,
    feeds: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    folder: str,
    timeout_s: float | None,
) -> int:
    """Does in this process what `measured_bytes` has the worker do; onnxruntime writes a file to the folder."""
    session = OrtSession(private_copy(model, weights, expose=False), weights, profile=str(Path(folder) / "profile"))
    try:
        session.run(feeds, [value.name for value in model.graph.output], timeout_s)
    finally:
        profile = session.session.end_profiling()
    events = json.loads(Path(profile).read_text(encoding="utf-8"))
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    total, end = 0, -1
    # Nodes of a body run within the time of the node that holds it; what they give does not outlive it.
    for event in sorted(nodes, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] + event["dur"] > end:
            end = event["ts"] + event["dur"]
            total += int(event["args"].get("output_size", 0))
    return total


def available_bytes() -> int:
    """The memory that processes may still take, of the machine or, if that is less, of this one's control group."""
    found = Path("/proc/meminfo").read_text(encoding="ascii")
    available = int(found.split("MemAvailable:")[1].split()[0]) << 10
    for limit, used, cached in _CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError, IndexError):  # not there, or without a limit
            most, taken = (int(Path(path).read_text(encoding="ascii")) for path in (limit, used))
            kept = Path(used).with_name("memory.stat").read_text(encoding="ascii").split(cached)[1].split()[0]
            available = min(available, most - taken + int(kept))
    return max(available, 0)

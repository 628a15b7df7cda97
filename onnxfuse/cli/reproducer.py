"""What is needed to see an internal error again: the models without their weights, the command, the error."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

__all__ = ["write"]

MODELS: Final = ("model", "a", "b")
# What of a command line has a part in the error, by its name in the parsed arguments.
OPTIONS: Final = {
    "passes": "--passes",
    "skip": "--skip",
    "exclude": "--except",
    "limit": "--limit",
    "verify": "--verify",
    "dim": "--dim",
    "seed": "--seed",
}
# Shorter tensors are kept: they are shapes, axes, tables of indices, and the constants that a pass looks at.
FLOATS_KEPT, OTHERS_KEPT = 64, 1024


def write(arguments: argparse.Namespace, error: str, *, to: str = "onnxfuse") -> str:
    """Writes `./onnxfuse-reproducer-<hash>/`.

    Args:
        arguments: The command line that failed.
        error: The traceback.
        to: The package to report it to.

    Returns:
        A sentence that says where it is, or why there is none.
    """
    paths = {role: path for role in MODELS if isinstance(path := getattr(arguments, role, None), Path)}
    if not paths:
        return f"please report this to {to}"
    try:
        models = {f"{role}.onnx": _without_weights(path) for role, path in paths.items()}
        command = _command(arguments, list(models))
        digest = hashlib.sha256(b"".join(models.values()) + command.encode()).hexdigest()
        folder = Path(f"onnxfuse-reproducer-{digest[:8]}")
        folder.mkdir(exist_ok=True)
        for name, data in models.items():
            (folder / name).write_bytes(data)
        (folder / "error.txt").write_text(error + "\n", encoding="utf-8")
        (folder / "command.txt").write_text(f"{command}\n\n{_versions()}\n", encoding="utf-8")
    except Exception as problem:  # noqa: BLE001 - the error itself must be told, whatever is wrong here
        return f"please report this to {to}; no reproducer could be written: {type(problem).__name__}: {problem}"
    return f"please report this to {to}, with {folder}/: the model without its weights, the command and the error"


def _command(arguments: argparse.Namespace, models: Iterable[str]) -> str:
    words = ["onnxfuse", arguments.command, *models]
    for name, option in OPTIONS.items():
        value = getattr(arguments, name, None)
        default = arguments.parser.get_default(name)
        if value is None or value == default:
            continue
        words += [f"{option}={item}" for item in (value if isinstance(value, list) else [value])]
    return shlex.join([*words, "--dry-run"] if arguments.command == "apply" else words)


def _without_weights(path: Path) -> bytes:
    import math

    from onnxfuse.model_io.source import Source
    from onnxfuse.testing.weights import FLOATS, STRIPPED

    model = Source.from_path(path).proto
    model.ClearField("training_info")
    for tensor in _tensors(model):
        kept = FLOATS_KEPT if tensor.data_type in FLOATS else OTHERS_KEPT
        if math.prod(tensor.dims) >= kept or tensor.data_location == tensor.EXTERNAL:
            header = type(tensor)(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, doc_string=STRIPPED)
            tensor.CopyFrom(header)
    return model.SerializeToString()


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs: list[onnx.GraphProto] = [model.graph]
    nodes: list[Iterable[onnx.NodeProto]] = [function.node for function in model.functions]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            yield from (sparse.values for sparse in graph.sparse_initializer)
            nodes.append(graph.node)
        for node in nodes.pop():
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                if attribute.HasField("t"):
                    yield attribute.t
                graphs.extend(attribute.graphs)
                yield from attribute.tensors


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    from onnxfuse import __version__
    from onnxfuse.pipeline import registry

    lines = [f"onnxfuse {__version__}"]
    others = sorted(set(registry.origins().values()) - {"onnxfuse"})
    for name in ("onnx", "onnx-ir", "onnxruntime", "numpy", *others):
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name}, not installed")
    return "\n".join(lines)

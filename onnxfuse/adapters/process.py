"""Programs that read one file and write another, run on models."""

from __future__ import annotations

import logging
import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnxfuse.adapters.foreign import one_line
from onnxfuse.drivers._process import ending, last_line, run, tail
from onnxfuse.errors import ModelError, ToolError
from onnxfuse.model_io import load, save

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["IN", "OUT", "run_on"]

IN: Final = "{in}"
OUT: Final = "{out}"

logger = logging.getLogger("onnxfuse")


def run_on(
    model: ir.Model,
    words: Sequence[str],
    *,
    name: str,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> ir.Model:
    """Runs a program on a model, in a process group of its own.

    Args:
        model: What it reads.
        words: The program and its arguments; `{in}` and `{out}` in them stand for the paths of the files.
        name: What it is called, for messages.
        timeout: Seconds after which it is ended.
        environment: Variables beside those of this process.

    Returns:
        What it wrote.

    Raises:
        ToolError: It cannot be run, does not end well, or writes no model.
    """
    with tempfile.TemporaryDirectory(prefix="onnxfuse-exec-", ignore_cleanup_errors=True) as folder:
        # Each in a folder of its own: external data may be called the same.
        given, made = (Path(folder) / side / "model.onnx" for side in ("in", "out"))
        for path in (given, made):
            path.parent.mkdir()
        save(model, given)
        paths = [word.replace(IN, str(given)).replace(OUT, str(made)) for word in words]
        _run(paths, Path(folder), name, timeout, {**os.environ, **(environment or {})})
        return _read(made, name)


def _run(words: Sequence[str], folder: Path, name: str, timeout: float | None, environment: Mapping[str, str]) -> None:
    """Runs a program to its end."""
    out, err = folder / "stdout", folder / "stderr"
    code = run(words, name=name, log=out, errors=err, timeout=timeout, environment=environment)
    for stream in (out, err):
        logger.debug("%s printed on %s:\n%s", name, stream.name, tail(stream))
    if code:
        last = last_line(err, out)
        raise ToolError(f"{name} {ending(code)}" + (f": {one_line(last)}" if last else ""))


def _read(path: Path, name: str) -> ir.Model:
    if not path.exists():
        raise ToolError(f"{name} wrote nothing to {OUT}")
    try:
        model = load(path)
        _detach(model)
    except ModelError as error:
        raise ToolError(f"{name} wrote no model that can be read: {str(error).removeprefix(f'{path}: ')}") from error
    return model


def _detach(model: ir.Model) -> None:
    """Keeps external data, mapped, when its file is gone."""
    import onnx_ir as ir

    functions = [function.graph for function in model.functions.values()]
    files: dict[str, mmap.mmap] = {}
    graphs = [*model.graphs(), *functions, *(graph for function in functions for graph in function.subgraphs())]
    for graph in graphs:
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _mapped(value.const_value, files)
        for node in graph:
            for name, attribute in node.attributes.items():
                if attribute.type is ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                    node.attributes[name] = ir.AttrTensor(name, _mapped(attribute.value, files), attribute.doc_string)


def _mapped(tensor: ir.ExternalTensor, files: dict[str, mmap.mmap]) -> ir.TensorProtocol:
    """Returns a tensor whose data stays, mapped, when the file is gone.

    Args:
        tensor: The tensor.
        files: The files that are mapped; onnx_ir maps the whole file again for each tensor in it.
    """
    import numpy as np
    import onnx_ir as ir

    from onnxfuse.model_io.payload import NUMPY_DTYPES

    dtype = NUMPY_DTYPES.get(int(tensor.dtype))
    if dtype is None or not tensor.size:
        array = np.array(tensor.numpy())
    else:
        if tensor.path not in files:
            with Path(tensor.path).open("rb") as file:
                files[tensor.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        array = np.frombuffer(files[tensor.path], dtype, count=tensor.size, offset=tensor.offset or 0)
        array = array.reshape(tensor.shape.numpy())
    return ir.Tensor(
        array,
        dtype=tensor.dtype,
        shape=tensor.shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=tensor.metadata_props,
    )

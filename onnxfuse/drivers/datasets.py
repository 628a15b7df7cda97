"""Datasets that go to a tool, and the outputs that come back: neither is believed before its files were looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from onnxfuse.drivers import info_files
from onnxfuse.errors import ToolError, UsageError

if TYPE_CHECKING:
    import onnx

    from onnxfuse.drivers.info_files import Sample
    from onnxfuse.verification.eval_model import EvalModel

__all__ = ["OutputSize", "check_outputs", "output_sizes", "samples_of"]

UNCHECKED: Final = "only the .om is known: the sizes of files were compared with each other, and not with the model"


@dataclass(frozen=True)
class OutputSize:
    """What is known of one output of one sample.

    Attributes:
        name: In the model.
        sizes: Bytes that its file may have: a device may give float16 where the model says float32; empty for any.
    """

    name: str
    sizes: tuple[int, ...]


def samples_of(dataset: Path, graph: EvalModel | None, batch: int | None) -> list[Sample]:
    """Reads a dataset, and checks its files against the model, where that and its batch are known.

    Raises:
        UsageError: It is no list, does not fit the model, its samples have different numbers of files, or two of them would
            have outputs of one name.
    """
    from onnxfuse.verification.inputs import free_inputs

    samples = info_files.read(dataset)
    if graph is not None and batch is not None:
        info_files.check(samples, free_inputs(graph.proto, roles=False), batch=batch)
    names: set[str] = set()
    for sample in samples:
        if len(sample.files) != len(samples[0].files):
            raise UsageError(f"{dataset}: {sample.stem} has {len(sample.files)} files, and {samples[0].stem} has "
                             f"{len(samples[0].files)}: one for each input is expected")  # fmt: skip
        if sample.stem in names:
            raise UsageError(f"{dataset}: two samples are named {sample.stem}, and so would be their outputs")
        names.add(sample.stem)
    return samples


def output_sizes(model: onnx.ModelProto, batch: int) -> list[OutputSize]:
    """What a model declares of the outputs of one sample."""
    return [OutputSize(value.name, _sizes(value, batch)) for value in model.graph.output]


def _sizes(value: onnx.ValueInfoProto, batch: int) -> tuple[int, ...]:
    from onnxfuse.verification.element_types import is_float, is_integer, is_string, numpy_dtype

    tensor = value.type.tensor_type
    dtype = numpy_dtype(tensor.elem_type) if value.type.HasField("tensor_type") else None
    dims = list(tensor.shape.dim) if tensor.HasField("shape") else []
    if dtype is None or is_string(dtype) or not dims:
        return ()
    if dims[0].HasField("dim_value") and dims[0].dim_value != batch:
        return ()  # no axis of samples
    elements = 1
    for dim in dims[1:]:
        if not dim.HasField("dim_value"):
            return ()
        elements *= dim.dim_value
    sizes = {dtype.itemsize}
    if is_float(dtype) and dtype.itemsize > 2:
        sizes |= {2, 4}
    if is_integer(dtype) and dtype.itemsize == 8:
        sizes.add(4)
    return tuple(sorted(elements * size for size in sizes))


def check_outputs(
    files: Mapping[str, Sequence[Path]], outputs: Sequence[OutputSize] | None, tool: str
) -> tuple[str, ...]:
    """Checks that every sample has its outputs, and that they have their sizes.

    Args:
        files: Of each sample, by its stem, in the order of the outputs.
        outputs: What the model declares; None where that is not known.
        tool: Who wrote them.

    Returns:
        What could not be checked, a sentence each.

    Raises:
        ToolError: An output is missing, empty, or of another size than it should be, or than that of other samples.
    """
    first: dict[int, int] = {}
    count = len(outputs) if outputs is not None else max((len(found) for found in files.values()), default=0)
    for stem, found in files.items():
        if len(found) != count or not count:
            raise ToolError(f"{tool} left {len(found) or 'none'} of {count or 'the'} outputs of the sample {stem}")
        for place, file in enumerate(found):
            size = file.stat().st_size
            wanted = outputs[place].sizes if outputs is not None else ()
            if not size or (wanted and size not in wanted):
                told = " or ".join(map(str, wanted)) or "some"
                what = f" of {outputs[place].name}" if outputs is not None else ""
                raise ToolError(f"{tool} left an output{what} of {size} bytes, and it should have {told}: {file.name}")
            if first.setdefault(place, size) != size:
                raise ToolError(f"{tool} left outputs of different sizes, {first[place]} and {size} bytes: {file.name}")
    return () if outputs is not None else (UNCHECKED,)

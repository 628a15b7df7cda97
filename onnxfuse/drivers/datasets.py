"""Datasets that go to a tool, and the outputs that come back: neither is believed before its files were looked at."""

from __future__ import annotations

import math
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

__all__ = ["OutputSize", "check_inputs", "check_outputs", "output_sizes", "samples_of"]

UNCHECKED: Final = "only the .om is known: the sizes of files were compared with each other, and not with the model"


@dataclass(frozen=True)
class OutputSize:
    """What a model declares of the file of one output of one sample.

    Attributes:
        name: In the model.
        sizes: Bytes that it may have: a device may give float16 where the model says float32; empty for any.
        is_open: Whether a symbolic dim leaves open how many times so many bytes it has.
        varies: Whether it may be so from sample to sample: that dim is none of the inputs'.
    """

    name: str
    sizes: tuple[int, ...]
    is_open: bool = False
    varies: bool = False

    def allows(self, size: int) -> bool:
        """Whether a file may have so many bytes."""
        if not size:
            return self.varies
        return not self.sizes or any(size % each == 0 if self.is_open else size == each for each in self.sizes)

    @property
    def told(self) -> str:
        """The sizes, for a message."""
        return ("a multiple of " if self.is_open and self.sizes else "") + (" or ".join(map(str, self.sizes)) or "some")


def samples_of(dataset: Path) -> list[Sample]:
    """Reads a dataset.

    Raises:
        UsageError: It is no list, its samples have different numbers of files, or two of them would have outputs of one name.
    """
    samples = info_files.read(dataset)
    names: set[str] = set()
    for sample in samples:
        if len(sample.files) != len(samples[0].files):
            raise UsageError(f"{dataset}: {sample.stem} has {len(sample.files)} files, and {samples[0].stem} has "
                             f"{len(samples[0].files)}: one for each input is expected")  # fmt: skip
        if sample.stem in names:
            raise UsageError(f"{dataset}: two samples are named {sample.stem}, and so would be their outputs")
        names.add(sample.stem)
    return samples


def check_inputs(samples: Sequence[Sample], graph: EvalModel | None, batch: int | None) -> None:
    """Checks the raw files of a dataset for a compiled model, which takes one size: with each other, and with the model.

    Args:
        samples: The dataset.
        graph: The model; None where only the compiled one is known.
        batch: Samples in one run; None where only the tool knows.

    Raises:
        UsageError: A file is empty, or has another size than that of other samples, or than the model takes.
    """
    from onnxfuse.verification.inputs import free_inputs

    if graph is not None and batch is not None:
        info_files.check(samples, free_inputs(graph.proto, roles=False), batch=batch)
    wanted = [line.file.stat().st_size for line in samples[0].lines]
    for sample in samples:
        for line, other, size in zip(sample.lines, samples[0].lines, wanted, strict=True):
            found = line.file.stat().st_size
            if not found:
                raise UsageError(f"{line.at}: {line.name} is empty")
            if found != size:
                raise UsageError(f"{line.at}: {line.name} has {found} bytes, and {other.name} has {size}: a compiled model "
                                 "takes inputs of one size")  # fmt: skip


def output_sizes(model: onnx.ModelProto, batch: int) -> list[OutputSize]:
    """What a model declares of the outputs of one sample.

    Args:
        model: The model.
        batch: Samples in one run.
    """
    from onnxfuse.verification.inputs import free_inputs

    inputs = [spec.dims for spec in free_inputs(model, roles=False) if spec.dims and not spec.overridable]
    return [_output_size(value, inputs, batch) for value in model.graph.output]


def _output_size(value: onnx.ValueInfoProto, inputs: Sequence[Sequence[int | str | None]], batch: int) -> OutputSize:
    from onnxfuse.drivers.outputs.files import widths
    from onnxfuse.verification.element_types import is_string, numpy_dtype

    tensor = value.type.tensor_type
    dtype = numpy_dtype(tensor.elem_type) if value.type.HasField("tensor_type") else None
    if dtype is None or is_string(dtype) or not tensor.HasField("shape"):
        return OutputSize(value.name, (), is_open=True, varies=True)
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim]
    if batch > 1 and isinstance(dims[0] if dims else 0, int):
        # As `onnxfuse.drivers.batches` takes it apart: an axis that does not follow the batch is none of samples.
        first = dims[0] if dims else None
        if not isinstance(first, int) or first % batch or any(not isinstance(each[0], int) for each in inputs):
            return OutputSize(value.name, ())
        dims[0] = first // batch
    elif dims and isinstance(dims[0], str) and dims[0] in {each[0] for each in inputs}:
        dims[0] = 1
    bound = {dim for each in inputs for dim in each if isinstance(dim, str)}
    unknown = [dim for dim in dims if not isinstance(dim, int)]
    elements = math.prod(dim for dim in dims if isinstance(dim, int))
    sizes = tuple(elements * width for width in widths(dtype))
    return OutputSize(value.name, sizes if elements else (), bool(unknown), any(dim not in bound for dim in unknown))


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
    wanted = outputs if outputs is not None else [OutputSize("", ())] * count
    for stem, found in files.items():
        if len(found) != count or not count:
            raise ToolError(f"{tool} left {len(found) or 'none'} of {count or 'the'} outputs of the sample {stem}")
        for place, (file, output) in enumerate(zip(found, wanted, strict=True)):
            size = file.stat().st_size
            if not output.allows(size):
                what = f" of {output.name}" if output.name else ""
                raise ToolError(
                    f"{tool} left an output{what} of {size} bytes, and it should have {output.told}: {file.name}"
                )
            if not output.varies and first.setdefault(place, size) != size:
                raise ToolError(f"{tool} left outputs of different sizes, {first[place]} and {size} bytes: {file.name}")
    if outputs is None:
        return (UNCHECKED,)
    return tuple(_unchecked(output) for output in outputs if output.varies or not output.sizes)


def _unchecked(output: OutputSize) -> str:
    if not output.varies:
        return f"the model does not say what of output {output.name} is one sample's: its files were compared with each other"
    of = f": all that is known is that a file has {output.told} bytes" if output.sizes else ""
    return f"the model does not say how large output {output.name} of a sample is{of}"

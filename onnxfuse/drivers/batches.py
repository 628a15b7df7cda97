"""Samples of a dataset, put together as one run of a model takes them, and what it gives for them taken apart again.

A file of a list holds one sample; or, where its size says so, all samples of one run of a model with a batch of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxfuse.drivers.info_files import of_one
from onnxfuse.errors import UsageError
from onnxfuse.verification.info_list import InfoLine, grouped, read_raw, shape_of
from onnxfuse.verification.inputs import Binding, InputSpec
from onnxfuse.verification.sessions import EvaluationError

if TYPE_CHECKING:
    import onnx

__all__ = ["Batches", "Group"]

Group = Sequence[InfoLine]
"""An entry of a list: a file for each input of the model."""


@dataclass(frozen=True)
class Batches:
    """A dataset in the runs of a model.

    Attributes:
        specs: The inputs that are fed.
        outputs: What the model declares of its outputs.
        groups: The entries of the list.
        size: Samples in one run.
        files: Entries in one run: as many as samples, or 1 where an entry holds all of them.
        shapes: Of the files of each entry.
    """

    specs: Sequence[InputSpec]
    outputs: Sequence[onnx.ValueInfoProto]
    groups: Sequence[Group]
    size: int
    files: int
    shapes: Mapping[int, Sequence[tuple[int, ...]]]

    @classmethod
    def of(
        cls,
        lines: Sequence[InfoLine],
        specs: Sequence[InputSpec],
        outputs: Sequence[onnx.ValueInfoProto],
        *,
        size: int | None,
        binding: Binding,
    ) -> Batches:
        """Takes a list, and looks at the size of every file of it: before the first run, not after minutes of them.

        Args:
            lines: The list.
            specs: The inputs that the model is fed.
            outputs: What it declares of its outputs.
            size: Samples in one run; None for a model's own, where that is a number: of another, an entry is what it is.
            binding: Sizes of symbolic dims.

        Raises:
            UsageError: A file is a picture or does not fit, or an entry has not as many files as there are inputs.
        """
        picture = next((line for line in lines if line.is_picture), None)
        if picture is not None:
            raise UsageError(f"{picture.at}: {picture.name} is a picture, and how the device scales it is not known here: "
                             "give the list of raw tensors")  # fmt: skip
        groups = grouped(lines, specs)
        of_run = _fixed_batch(specs) if size is None else size
        files, taken = 1, specs
        if size is not None or of_run > 1:
            files, taken = _held(groups[0], specs, of_run, binding)
        shapes = {id(group): _shapes(group, taken, binding) for group in groups}
        return cls(specs, outputs, groups, of_run, files, shapes)

    @property
    def count(self) -> int:
        """The samples in all of them."""
        return len(self.groups) * (self.size // self.files)

    def runs(self) -> Iterator[Sequence[Group]]:
        """Yields the entries of each run."""
        for start in range(0, len(self.groups), self.files):
            yield self.groups[start : start + self.files]

    def read(self, group: Group) -> list[np.ndarray]:
        """Reads the files of an entry; `UsageError` where they are no longer what they were."""
        return [read_raw(*part) for part in zip(self.specs, group, self.shapes[id(group)], strict=True)]

    def feeds(self, read: Sequence[Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """Puts entries together for one run: one that is not full is filled up with its last.

        Raises:
            UsageError: An input without an axis of samples has several values in them.
        """
        full = [*read, *([read[-1]] * (self.files - len(read)))]
        return {
            spec.name: _together(spec, parts) for spec, parts in zip(self.specs, zip(*full, strict=True), strict=True)
        }

    def split(self, run: Sequence[Group], values: Sequence[Any]) -> list[list[np.ndarray]]:
        """What the outputs of a run have for each entry.

        Raises:
            EvaluationError: It cannot be told whose is what, or an output is no tensor that a raw file can hold.
        """
        for value, result in zip(self.outputs, values, strict=True):
            if not isinstance(result, np.ndarray):
                raise EvaluationError(f"output {value.name} is of a type that no raw file can hold")
        if self.files == 1:
            return [list(values)]
        rows = [self._rows(value, result) for value, result in zip(self.outputs, values, strict=True)]
        return [
            [result[n * place : n * (place + 1)] for n, result in zip(rows, values, strict=True)]
            for place in range(len(run))
        ]

    def _rows(self, value: onnx.ValueInfoProto, result: np.ndarray) -> int:
        """How much of the first axis of an output is one sample's."""
        dims = value.type.tensor_type.shape.dim
        first = dims[0].dim_value if dims and dims[0].HasField("dim_value") else None
        fixed = all(isinstance(spec.dims[0], int) for spec in self.specs if spec.dims)
        # Where a model takes any batch, an axis that is declared as a number is none of samples: 4 classes, say.
        if not result.ndim or result.shape[0] % self.size or (first == result.shape[0] and not fixed):
            raise EvaluationError(f"output {value.name}, which is {list(result.shape)}, has no axis of {self.size} samples: "
                                  "whose is what cannot be told; a batch of 1 needs none")  # fmt: skip
        return int(result.shape[0]) // self.size


def _fixed_batch(specs: Sequence[InputSpec]) -> int:
    """The samples in one run of a model: the first dim of the first input that has one, where that is a number; else 1."""
    first = next((spec.dims[0] for spec in specs if spec.dims), None)
    return first if isinstance(first, int) else 1


def _held(group: Group, specs: Sequence[InputSpec], size: int, binding: Binding) -> tuple[int, Sequence[InputSpec]]:
    """How many entries make up a run, and the inputs as one entry is: a sample, or a whole batch where only that fits."""
    try:
        single = [of_one(spec, size) for spec in specs]
        _shapes(group, single, binding)
    except UsageError as of_sample:
        whole = [replace(spec, dims=(spec.dims[0] if isinstance(spec.dims[0], int) else size, *spec.dims[1:]))
                 if spec.dims else spec for spec in specs]  # fmt: skip
        try:
            _shapes(group, whole, binding)
        except UsageError:
            raise of_sample from None  # which is what a list mostly has
        return 1, whole
    return size, single


def _shapes(group: Group, specs: Sequence[InputSpec], binding: Binding) -> list[tuple[int, ...]]:
    return [shape_of(spec, line, binding) for spec, line in zip(specs, group, strict=True)]


def _together(spec: InputSpec, parts: Sequence[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim:
        return np.concatenate(parts)
    if any(part.tobytes() != parts[0].tobytes() for part in parts):
        raise UsageError(f"input {spec.name} has no axis of samples, and the samples of one run have different values of it: "
                         "use a batch of 1")  # fmt: skip
    return parts[0]

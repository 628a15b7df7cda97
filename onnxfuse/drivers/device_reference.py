"""A device's results against the model itself, run by onnxruntime on the same dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxfuse.drivers.device_outputs import SLACK, Comparison, OutputsVerdict, Progress, Tally, U
from onnxfuse.drivers.info_files import of_one
from onnxfuse.drivers.output_files import find
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.verification.element_types import is_float, numpy_dtype
from onnxfuse.verification.eval_model import EvalModel, without_data
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.info_list import InfoLine, grouped, read_list, read_raw, shape_of
from onnxfuse.verification.inputs import Binding, InputSpec, free_inputs, given_sizes
from onnxfuse.verification.jitter import jittered, jittered_model
from onnxfuse.verification.judgement import Tolerance

__all__ = ["compare_with_model"]

SAMPLES: Final = 2
RUNS: Final = 4
TIMES: Final = 8
"""Noise is measured on so many samples, so often, and so much of it is allowed."""


def compare_with_model(
    folder: Path,
    model: EvalModel,
    dataset: Path,
    *,
    dtype: np.dtype[Any] | None = None,
    tolerances: Mapping[str | None, Tolerance] | None = None,
    dims: Mapping[str, int] | None = None,
    custom_op_library: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> OutputsVerdict:
    """Compares a folder of results with what the model gives on a dataset.

    Args:
        folder: The device's results.
        model: The model that was compiled for it.
        dataset: The `.info` list that the device was given.
        dtype: The type of the raw files; None for what their size says: an output in float32 may come in float16.
        tolerances: The user's own, by the name of an output; None for all others.
        dims: Sizes of symbolic dims, by name or as `INPUT.AXIS`.
        custom_op_library: A shared library with operators of the model's own.
        seed: Of the noise.
        progress: Told of every sample.

    Raises:
        ModelError: The model cannot be run.
        UsageError: The folder has no results, the dataset does not fit the model, or a tolerance is for no output.
    """
    outputs = find(folder)
    names = [value.name for value in model.proto.graph.output]
    unknown = [name for name in tolerances or {} if name is not None and name not in names]
    if unknown:
        raise UsageError(f"a tolerance is given for {unknown[0]!r}, which is no output; there are {', '.join(names)}")
    reference = _Reference(model, dataset, dims, custom_op_library, seed)
    found = Comparison((None, dtype))
    for place, name in enumerate(names):
        found.tallies[place] = Tally(name, (tolerances or {}).get(name, (tolerances or {}).get(None)))
    slacks = {} if None in (tolerances or {}) else reference.slacks(found.notes)
    for place, slack in slacks.items():
        found.tallies[place].slack = slack
    left = dict(outputs.files)
    done = 0
    for batch in reference.batches:
        if progress is not None:
            progress(f"sample {batch[0][0].file.stem}", done, reference.count)
        done += len(batch)
        # ais_bench cuts the name at its first point.
        stems = [group[0].file.stem for group in batch]
        files = [left.pop(stem, None) or left.pop(stem.partition(".")[0], None) for stem in stems]
        try:
            results = reference.run(batch) if any(files) else [[]] * len(batch)
        except EvaluationError as error:
            found.not_run += [f"sample {stem}: the model fails on it: {error}" for stem in stems]
            continue
        for group, stem, given, wanted in zip(batch, stems, files, results, strict=True):
            if given is None:
                found.not_run.append(f"sample {stem} ({group[0].name}) has no outputs in {folder}")
            else:
                _compare_sample(found, stem, wanted, given, folder)
    found.not_run += [f"sample {sample} is in {folder}, and not in {dataset}" for sample in left]
    return found.verdict()


def _compare_sample(
    found: Comparison, sample: str, wanted: Sequence[np.ndarray], files: Mapping[int, Path], folder: Path
) -> None:
    extra = sorted(files.keys() - set(range(len(wanted))))
    found.not_run += [f"output {place} of sample {sample} is none of the model's" for place in extra]
    for place, result in enumerate(wanted):
        if place not in files:
            found.not_run.append(f"output {found.tallies[place].name} of sample {sample} is not in {folder}")
            continue
        given = found.read(1, files[place], result)
        if given is not None:
            found.tallies[place].take(sample, result, given)


class _Reference:
    """The model, and the dataset as its inputs."""

    def __init__(
        self,
        model: EvalModel,
        dataset: Path,
        dims: Mapping[str, int] | None,
        custom_op_library: str | None,
        seed: int,
    ) -> None:
        missing = without_data(model)
        if missing:
            raise ModelError(f"the model carries no weights ({missing}, for one)")
        self._model = model
        self._library = custom_op_library
        self._seed = seed
        specs = free_inputs(model.proto, roles=False)
        self._specs: list[InputSpec] = [spec for spec in specs if not spec.overridable]
        self._binding: Binding = given_sizes(specs, dims)
        lines = read_list(dataset)
        pictures = next((line for line in lines if line.is_picture), None)
        if pictures is not None:
            raise UsageError(f"{pictures.at}: {pictures.name} is a picture, and how the device scales it is not known here: "
                             "give the list of raw tensors")  # fmt: skip
        groups = grouped(lines, self._specs)
        self.count = len(groups)
        # A model of a fixed batch takes so many samples at once, and a device is given one in each file.
        self.batch = _batch_of(self._specs, groups[0])
        one = [of_one(spec, self.batch) for spec in self._specs] if self.batch > 1 else self._specs
        # All sizes now: a file that does not fit is told before the first run.
        self._shapes = {
            id(group): [shape_of(spec, line, self._binding) for spec, line in zip(one, group, strict=True)]
            for group in groups
        }
        self.batches: list[list[list[InfoLine]]] = [
            groups[start : start + self.batch] for start in range(0, len(groups), self.batch)
        ]
        try:
            self._evaluator = self._load(model)
        except EvaluationError as error:
            raise ModelError(f"the model cannot be run: {error}") from error

    def _load(self, model: EvalModel) -> Evaluator:
        return Evaluator(model.proto, weights=model.weights, expose=False, custom_op_library=self._library)

    def _feeds(self, batch: Sequence[list[InfoLine]]) -> dict[str, np.ndarray]:
        """The inputs of a batch; one that is not full is filled up with its last sample."""
        read = [
            [read_raw(*part) for part in zip(self._specs, group, self._shapes[id(group)], strict=True)]
            for group in batch
        ]
        if self.batch == 1:
            return {spec.name: array for spec, array in zip(self._specs, read[0], strict=True)}
        read += read[-1:] * (self.batch - len(read))
        return {
            spec.name: np.concatenate(parts) for spec, parts in zip(self._specs, zip(*read, strict=True), strict=True)
        }

    def run(self, batch: Sequence[list[InfoLine]]) -> list[list[np.ndarray]]:
        """The model's results, flat, for each sample of a batch.

        Raises:
            EvaluationError: It fails, or gives what is not one result for each sample.
        """
        results = _arrays(self._evaluator.run(self._feeds(batch)))
        if self.batch == 1:
            return [[result.reshape(-1) for result in results]]
        if any(result.ndim == 0 or result.shape[0] != self.batch for result in results):
            raise EvaluationError(f"an output has no axis of {self.batch} samples")
        return [[result[place].reshape(-1) for result in results] for place in range(len(batch))]

    def slacks(self, notes: list[str]) -> dict[int, float]:
        """How much of its largest value each output may be off, by the noise of float16 on inputs and weights."""
        moved: dict[int, float] = {}
        try:
            fed = [self._feeds(batch) for batch in self.batches[: max(1, SAMPLES // self.batch)]]
            still = [_arrays(self._evaluator.run(feeds)) for feeds in fed]
            for number in range(RUNS):
                rng = np.random.default_rng([self._seed, 7, number])
                noisy = self._load(jittered_model(self._model, rng, least=U))
                for feeds, results in zip(fed, still, strict=True):
                    pairs = zip(results, _arrays(noisy.run(jittered(feeds, rng, least=U))), strict=True)
                    for place, (x, y) in enumerate(pairs):
                        moved[place] = max(moved.get(place, 0.0), _moved_by(x, y))
        except EvaluationError as error:
            notes.append(f"what float16 may change was not measured ({error}): 2^-7 (|x| + max |x|) is allowed")
            return {}
        shown = ", ".join(f"{TIMES * share:.2g}" for share in moved.values())
        notes.append(f"tolerance of float16 on a device: 2^-7 |x|, and of the largest |x|, as measured: {shown}")
        return {place: max(TIMES * share, U) for place, share in moved.items()}


def _moved_by(x: np.ndarray, y: np.ndarray) -> float:
    """How far a result moved, relative to its largest value."""
    if x.shape != y.shape or not is_float(x.dtype):
        return SLACK / TIMES
    a, b = x.astype(np.float64), y.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    largest = float(np.abs(a[finite]).max(initial=0.0))
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / largest if largest else 0.0


def _arrays(results: Sequence[Any]) -> list[np.ndarray]:
    """The results, as far as a device can write them."""
    for result in results:
        if not isinstance(result, np.ndarray):
            raise EvaluationError("an output is a sequence or an optional, which no device writes")
    return list(results)


def _batch_of(specs: Sequence[InputSpec], group: Sequence[InfoLine]) -> int:
    """How many files make up one run: the model's fixed batch, where a file is of one sample of it; else 1."""
    firsts = {spec.dims[0] if spec.dims else None for spec in specs}
    (first,) = firsts if len(firsts) == 1 else (None,)
    dtype, dims = numpy_dtype(specs[0].dtype), specs[0].dims or ()
    if not isinstance(first, int) or first < 2 or dtype is None or not all(isinstance(dim, int) for dim in dims):
        return 1
    whole = math.prod(dim for dim in dims if isinstance(dim, int)) * dtype.itemsize
    return first if group[0].file.stat().st_size * first == whole else 1

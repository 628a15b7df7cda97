"""A device's results against the model itself, run by onnxruntime on the same dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxfuse.drivers.device_outputs import SLACK, Comparison, OutputsVerdict, Progress, Tally, U
from onnxfuse.drivers.output_files import find
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.verification.element_types import is_float
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
    for done, (sample, line, feeds) in enumerate(reference.samples()):
        if progress is not None:
            progress(f"sample {sample}", done, len(reference.groups))
        # ais_bench cuts the name at its first point.
        files = left.pop(sample, None) or left.pop(sample.partition(".")[0], None)
        if files is None:
            found.not_run.append(f"sample {sample} ({line}) has no outputs in {folder}")
            continue
        found.not_run += [
            f"output {place} of sample {sample} is none of the model's"
            for place in files.keys() - set(range(len(names)))
        ]
        try:
            results = reference.run(feeds)
        except EvaluationError as error:
            found.not_run.append(f"sample {sample}: the model fails on it: {error}")
            continue
        for place, wanted in enumerate(results):
            if place not in files:
                found.not_run.append(f"output {names[place]} of sample {sample} is not in {folder}")
                continue
            given = found.read(1, files[place], wanted)
            if given is not None:
                found.tallies[place].take(sample, wanted, given)
    found.not_run += [f"sample {sample} is in {folder}, and not in {dataset}" for sample in left]
    return found.verdict()


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
        self.groups: list[list[InfoLine]] = grouped(lines, self._specs)
        # All sizes now: a file that does not fit is told before the first run.
        self._shapes = [
            [shape_of(spec, line, self._binding) for spec, line in zip(self._specs, group, strict=True)]
            for group in self.groups
        ]
        try:
            self._evaluator = self._load(model)
        except EvaluationError as error:
            raise ModelError(f"the model cannot be run: {error}") from error

    def _load(self, model: EvalModel) -> Evaluator:
        return Evaluator(model.proto, weights=model.weights, expose=False, custom_op_library=self._library)

    def samples(self) -> Iterator[tuple[str, str, Mapping[str, np.ndarray]]]:
        """Yields the samples: what their outputs are called by, the line, and the inputs."""
        for group, shapes in zip(self.groups, self._shapes, strict=True):
            yield group[0].file.stem, group[0].name, self._feeds(group, shapes)

    def _feeds(self, group: Sequence[InfoLine], shapes: Sequence[tuple[int, ...]]) -> dict[str, np.ndarray]:
        parts = zip(self._specs, group, shapes, strict=True)
        return {spec.name: read_raw(spec, line, shape) for spec, line, shape in parts}

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The model's results, flat; raises `EvaluationError`."""
        return _flat(self._evaluator.run(feeds))

    def slacks(self, notes: list[str]) -> dict[int, float]:
        """How much of its largest value each output may be off, by the noise of float16 on inputs and weights."""
        moved: dict[int, float] = {}
        try:
            fed = [self._feeds(*pair) for pair in list(zip(self.groups, self._shapes, strict=True))[:SAMPLES]]
            still = [self.run(feeds) for feeds in fed]
            for number in range(RUNS):
                rng = np.random.default_rng([self._seed, 7, number])
                noisy = self._load(jittered_model(self._model, rng, least=U))
                for feeds, results in zip(fed, still, strict=True):
                    pairs = zip(results, _flat(noisy.run(jittered(feeds, rng, least=U))), strict=True)
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


def _flat(results: Sequence[Any]) -> list[np.ndarray]:
    """The results as a device writes them: tensors, each in one row."""
    for result in results:
        if not isinstance(result, np.ndarray):
            raise EvaluationError("an output is a sequence or an optional, which no device writes")
    return [result.reshape(-1) for result in results]

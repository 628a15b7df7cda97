"""A device's results against the model itself, run by onnxruntime on the same dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from onnxfuse.drivers.batches import Batches, Group
from onnxfuse.drivers.outputs.files import NUMBERING, find
from onnxfuse.drivers.outputs.folders import Comparison, Progress, Tally, of_output
from onnxfuse.drivers.outputs.rule import TIMES, UNMEASURED, Judged, Noise, U, judge
from onnxfuse.drivers.outputs.verdict import OutputsVerdict
from onnxfuse.errors import ModelError, UsageError
from onnxfuse.verification.eval_model import EvalModel, without_data
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.info_list import read_list
from onnxfuse.verification.inputs import Binding, InputSpec, free_inputs, given_sizes
from onnxfuse.verification.jitter import jittered, jittered_model
from onnxfuse.verification.judgement import Tolerance

__all__ = ["compare_with_model"]

SAMPLES: Final = 2
RUNS: Final = 4
"""Noise is measured on so many samples, so often."""
BEYOND: Final = 3
"""It is measured anew where a sample is beyond what it was before, until so many were beyond their own."""

Batch = Sequence[Group]


def compare_with_model(
    folder: Path,
    model: EvalModel,
    dataset: Path,
    *,
    dtypes: Mapping[str | None, np.dtype[Any]] | None = None,
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
        dtypes: The types of raw files, by the name of the output; without one what their size says: an output in float32
            may come in float16.
        tolerances: The user's own, by the name of an output; under None for all others.
        dims: Sizes of symbolic dims, by name or as `INPUT.AXIS`.
        custom_op_library: A shared library with operators of the model's own.
        seed: Of the noise.
        progress: Told of every sample.

    Raises:
        ModelError: The model cannot be run.
        UsageError: The folder has no results, the dataset does not fit the model, or a type or a tolerance is for no output.
    """
    names = [value.name for value in model.proto.graph.output]
    dtypes, tolerances = dtypes or {}, tolerances or {}
    for what, given in (("type", dtypes), ("tolerance", tolerances)):
        unknown = [name for name in given if name is not None and name not in names]
        if unknown:
            raise UsageError(f"a {what} is given for {unknown[0]!r}, which is no output; there are {', '.join(names)}")
    reference = _Reference(model, dataset, dims, custom_op_library, seed)
    samples = [_stem(group) for batch in reference.batches for group in batch]
    outputs = find(folder, samples)
    found = Comparison({place: Tally(name, of_output(tolerances, name)) for place, name in enumerate(names)})
    if outputs.first and outputs.places != set(range(len(names))):
        found.not_run.append(f"{folder}: {NUMBERING}: there are {len(outputs.places)}, and the model has {len(names)}")
        return found.verdict()
    judges = _Judges(reference, found)
    left = dict(outputs.files)
    called = _shortened(samples, left)
    done = 0
    for batch in reference.batches:
        if progress is not None:
            progress(f"sample {samples[done]}", done, len(samples))
        done += len(batch)
        files = [left.pop(called.get(_stem(group), _stem(group)), {}) for group in batch]
        judges.take(batch, _pairs(found, reference, batch, files, folder, dtypes))
    judges.tell()
    found.not_run += [f"sample {sample} is in {folder}, and not in {dataset}" for sample in left]
    return found.verdict()


def _stem(group: Group) -> str:
    """What the outputs of a sample are called by."""
    return group[0].file.stem


def _shortened(stems: Sequence[str], there: Mapping[str, Any]) -> dict[str, str]:
    """The names that ais_bench gives to samples, cut at the first point; only where no other sample may be meant."""
    cut: dict[str, list[str]] = {}
    for stem in stems:
        cut.setdefault(stem.partition(".")[0], []).append(stem)
    return {whole[0]: name for name, whole in cut.items() if len(whole) == 1 and whole[0] not in there}


@dataclass(frozen=True)
class _Pair:
    """Two results: of the model, and of the device."""

    sample: str
    place: int
    wanted: np.ndarray
    given: np.ndarray


def _pairs(
    found: Comparison,
    reference: _Reference,
    batch: Batch,
    files: Sequence[Mapping[int, Path]],
    folder: Path,
    dtypes: Mapping[str | None, np.dtype[Any]],
) -> list[_Pair]:
    """Returns what of a batch can be compared, and notes what cannot."""
    for group, each in zip(batch, files, strict=True):
        if not each:
            found.not_run.append(f"sample {_stem(group)} ({group[0].name}) has no outputs in {folder}")
    if not any(files):
        return []
    try:
        results = reference.run(batch)
    except EvaluationError as error:
        found.not_run += [f"sample {_stem(group)}: the model fails on it: {error}" for group in batch]
        return []
    whole = zip(batch, files, results, strict=True)
    return [
        pair
        for group, each, wanted in whole
        if each
        for pair in _of_sample(found, _stem(group), wanted, each, folder, dtypes)
    ]


def _of_sample(
    found: Comparison,
    sample: str,
    wanted: Sequence[np.ndarray],
    files: Mapping[int, Path],
    folder: Path,
    dtypes: Mapping[str | None, np.dtype[Any]],
) -> Iterator[_Pair]:
    """Yields what of a sample can be compared."""
    extra = sorted(files.keys() - set(range(len(wanted))))
    found.not_run += [f"output {place} of sample {sample} is none of the model's" for place in extra]
    for place, result in enumerate(wanted):
        tally = found.tallies[place]
        if place not in files:
            found.not_run.append(f"output {tally.name} of sample {sample} is not in {folder}")
            continue
        given = found.read(files[place], result, of_output(dtypes, tally.name))
        if given is None or found.is_empty(place, sample, result, given):
            continue
        if given.size == result.size:
            yield _Pair(sample, place, result, given.reshape(result.shape))
        else:
            tally.take(sample, Judged(why=f"{result.size} elements and {given.size}"))


class _Judges:
    """Compares results by what noise of float16 does to this model.

    It is measured on the first samples, and on another where that does not explain its results: the first frames of a
    film are black, say, or results have another shape.
    """

    def __init__(self, reference: _Reference, found: Comparison) -> None:
        self._reference = reference
        self._found = found
        self._noise: dict[tuple[int, tuple[int, ...]], Noise] = {}
        self._fails = all(tally.own is not None for tally in found.tallies.values())
        self._draws = 0
        self._beyond = 0
        self._untold: dict[tuple[int, str], list[str]] = {}
        self._measure(reference.batches[: max(1, SAMPLES // reference.batch)])

    def take(self, batch: Batch, pairs: Sequence[_Pair]) -> None:
        """Compares the results of a batch."""
        judged = [self._judge(pair) for pair in pairs]
        if self._beyond < BEYOND and any(each.why or each.untold == UNMEASURED for each in judged):
            self._measure([batch])
            judged = [self._judge(pair) for pair in pairs]
            self._beyond += any(each.why or each.untold == UNMEASURED for each in judged)
        for pair, each in zip(pairs, judged, strict=True):
            self._found.tallies[pair.place].take(pair.sample, each)
            if each.untold:
                self._untold.setdefault((pair.place, each.untold), []).append(pair.sample)

    def tell(self) -> None:
        """Notes which tolerance was used, and what it cannot have told."""
        largest: dict[int, float] = {}
        for (place, _), noise in sorted(self._noise.items()):
            largest[place] = max(largest.get(place, 0.0), TIMES * noise.whole)
        if any(largest.values()):
            shares = ", ".join(
                f"{self._found.tallies[place].name} {share:.2g}" for place, share in largest.items() if share
            )
            self._found.notes.append(
                f"tolerance of float16 on a device: 2^-7 |x|, and of the largest |x|, as measured, at most: {shares}"
            )
        for (place, why), samples in self._untold.items():
            self._found.not_run.append(
                f"output {self._found.tallies[place].name} of {len(samples)} samples ({samples[0]}, for one): {why}, so "
                "whether it is right cannot be told"
            )

    def _judge(self, pair: _Pair) -> Judged:
        own = self._found.tallies[pair.place].own
        noise = self._noise.get((pair.place, pair.wanted.shape))
        return judge(pair.wanted, pair.given, own=own, noise=noise, of_model=True)

    def _measure(self, batches: Sequence[Batch]) -> None:
        if self._fails:
            return
        self._draws += 1
        try:
            for place, noise in self._reference.noise(batches, self._draws):
                known = self._noise.get((place, noise.shape))
                self._noise[place, noise.shape] = noise if known is None else known | noise
        except EvaluationError as error:
            self._fails = True
            self._found.notes.append(f"what float16 may change was not measured: {error}")


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
        # A model of a fixed batch takes so many samples at once, and a device may be given one in each file.
        self._batches = Batches.of(
            read_list(dataset),
            self._specs,
            model.proto.graph.output,
            size=None,
            binding=self._binding,
        )
        self.batch = self._batches.files
        self.batches: list[Batch] = list(self._batches.runs())
        try:
            self._evaluator = self._load(model)
        except EvaluationError as error:
            raise ModelError(f"the model cannot be run: {error}") from error

    def _load(self, model: EvalModel) -> Evaluator:
        return Evaluator(model.proto, weights=model.weights, expose=False, custom_op_library=self._library)

    def _feeds(self, batch: Batch) -> dict[str, np.ndarray]:
        """The inputs of a batch."""
        return self._batches.feeds([self._batches.read(group) for group in batch])

    def run(self, batch: Batch) -> list[list[np.ndarray]]:
        """The model's results for each sample of a batch.

        Raises:
            EvaluationError: It fails, or gives what is not one result for each sample.
        """
        return self._batches.split(batch, self._evaluator.run(self._feeds(batch)))

    def noise(self, batches: Sequence[Batch], draw: int) -> Iterator[tuple[int, Noise]]:
        """Yields what noise of 2 u on inputs and weights does to an output, by its place; several times each.

        Args:
            batches: What the model runs on.
            draw: Another number is other noise.

        Raises:
            EvaluationError: The model fails on it.
        """
        fed = [self._feeds(batch) for batch in batches]
        still = [
            self._batches.split(batch, self._evaluator.run(feeds)) for batch, feeds in zip(batches, fed, strict=True)
        ]
        for number in range(RUNS):
            rng = np.random.default_rng([self._seed, 7, draw, number])
            noisy = self._load(jittered_model(self._model, rng, least=U))
            for batch, feeds, results in zip(batches, fed, still, strict=True):
                moved = self._batches.split(batch, noisy.run(jittered(feeds, rng, least=U)))
                for ours, theirs in zip(results, moved, strict=True):
                    for place, (x, y) in enumerate(zip(ours, theirs, strict=True)):
                        noise = Noise.of(x, y)
                        if noise is not None:
                            yield place, noise

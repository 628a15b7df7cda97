"""onnxruntime in the place of a device: the same folders, files and summary as Ascend's `benchmark` writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from onnxfuse.drivers.backend import Inferred, Progress
from onnxfuse.drivers.performance import Form, Performance, Stage
from onnxfuse.drivers.result_folder import RESULT, keep, new_result, writing
from onnxfuse.drivers.summaries import render, render_rounds
from onnxfuse.errors import ToolError, UsageError
from onnxfuse.verification.worker import Worker, value_of

if TYPE_CHECKING:
    from onnxfuse.drivers.batches import Batches
    from onnxfuse.drivers.info_files import Sample
    from onnxfuse.verification.eval_model import EvalModel
    from onnxfuse.verification.inputs import Binding, InputSpec

__all__ = ["OnnxRuntime", "OnnxRuntimeModel", "provider_of"]

DUMPED: Final = "dumpOutput_device0"
ATTEMPTS: Final = 3
"""So many draws are tried at each size before a model counts as one that does not run."""


class _Session(Worker):
    """The process of one model: what crashes or never ends there is an error here."""

    program = "onnxfuse.drivers._timed_session"


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """Runs models with onnxruntime, each in a process of its own.

    Attributes:
        batch_size: The size of the first axis of the first input, where that is symbolic; None for what runs, from 1 on.
        dims: Sizes of symbolic dims, by name or as `INPUT.AXIS`.
        seed: Of the drawn inputs.
        data: An input set of the user's, instead of drawn ones.
        optimize: Whether onnxruntime may rewrite the graph itself.
        threads: Threads of a session; 0 for onnxruntime's own choice, one for each core.
        provider: The execution provider.
        custom_op_library: A shared library that registers custom operators.
        timeout: Seconds that loading, or the runs of one turn, may take; None for no limit.
        summaries: A folder that takes the summary of the last measurement of each model, in `result/`; None to keep none.
    """

    batch_size: int | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    data: Path | None = None
    optimize: bool = True
    threads: int = 0
    provider: str = "CPUExecutionProvider"
    custom_op_library: str | None = None
    timeout: float | None = None
    summaries: Path | None = None

    name: Final = "onnxruntime"
    rounds: Final[None] = None
    turns: Final = 20

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.threads else "a thread for each core"
        optimized = "its own optimizations " + ("on" if self.optimize else "off")
        return f"onnxruntime, {self.provider}, {threads}, {optimized}"

    def compile(self, model: Path) -> OnnxRuntimeModel:
        """Loads a model, and finds the sizes at which it runs; see `Backend.compile`."""
        from onnxfuse.model_io import open_model
        from onnxfuse.pipeline.evaluable import evaluable_before
        from onnxfuse.verification.eval_model import without_data
        from onnxfuse.verification.inputs import free_inputs

        light = evaluable_before(open_model(model))
        if not _is_utf_8(model):
            raise UsageError(f"{model}: onnxruntime takes no path that is not UTF-8: give the file another name")
        stripped = without_data(light)
        if stripped:
            raise UsageError(
                f"{model}: the model carries no weights ({stripped}, for one): onnxfuse fill gives it random ones"
            )
        specs = [spec for spec in free_inputs(light.proto) if not spec.overridable]
        loaded = OnnxRuntimeModel(self, model, light, specs)
        try:
            loaded.start()
        except BaseException:
            loaded.close()
            raise
        return loaded

    def places(self, specs: Sequence[InputSpec]) -> dict[str, int]:
        """The sizes of dims that are said, with that of the batch."""
        dims = dict(self.dims)
        if self.batch_size is not None:
            first = specs[0] if specs else None
            if first is None or not first.dims:
                raise UsageError("the batch size is that of the first axis of the first input, and there is none")
            address = f"{first.name}.0"
            if dims.setdefault(address, self.batch_size) != self.batch_size:
                raise UsageError(f"the batch size is given both as {dims[address]} and as {self.batch_size}")
        return dims


class OnnxRuntimeModel:
    """A model that is loaded; see `Runnable`."""

    def __init__(self, backend: OnnxRuntime, model: Path, light: EvalModel, specs: Sequence[InputSpec]) -> None:
        self._backend = backend
        self._light = light
        self._specs = specs
        self._session = _Session()
        self.model = model
        self.batch = 1
        self.inputs: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._session.stop()

    def start(self) -> None:
        """Loads the model, and feeds it what it runs on; raises as `Backend.compile`."""
        backend = self._backend
        self._ask(
            "load",
            str(self.model.resolve()),
            backend.optimize,
            backend.threads,
            backend.provider,
            backend.custom_op_library,
        )
        feeds = self._given() if backend.data is not None else self._drawn()
        self.inputs = {name: _text(value) for name, value in feeds.items()}
        shape: tuple[int, ...] = getattr(next(iter(feeds.values()), None), "shape", ())
        self.batch = max(1, shape[0]) if shape else 1

    def measure(self, rounds: int) -> Performance:
        """Times so many runs; see `Runnable.measure`."""
        times = [1000 * seconds for seconds in self._ask("time", rounds)]
        performance = Performance.of_rounds(times, self.batch)
        if self._backend.summaries is not None:
            name = f"PureInfer_perf_of_{self.model.stem}_in_device_0.txt"
            keep((render_rounds(times) + render(performance)).encode(), self._backend.summaries, name)
        return performance

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        """Runs it over a dataset; see `Runnable.infer`. The last batch is filled up with its last sample."""
        from onnxfuse.drivers.datasets import samples_of

        samples = samples_of(dataset)
        batches = self._batches(samples)
        with new_result(output) as folder:

            def write(name: str, data: bytes) -> Path:
                with writing(output):
                    return _write(folder / RESULT / name, data)

            performance, files = self._run_over(samples, batches, write, progress)
            write(f"perf_vision_batchsize_{self.batch}_device_0.txt", render(performance).encode())
        place = output / RESULT / DUMPED
        found = {stem: tuple(place / file.name for file in each) for stem, each in files.items()}
        return Inferred(place, found, 1, performance)

    def _batches(self, samples: Sequence[Sample]) -> Batches:
        from onnxfuse.drivers.batches import Batches
        from onnxfuse.verification.inputs import given_sizes

        lines = [line for sample in samples for line in sample.lines]
        binding = given_sizes(self._specs, self._backend.dims)
        return Batches.of(lines, self._specs, self._light.proto.graph.output, size=self.batch, binding=binding)

    def _run_over(
        self,
        samples: Sequence[Sample],
        batches: Batches,
        write: Callable[[str, bytes], Path],
        progress: Progress | None,
    ) -> tuple[Performance, dict[str, list[Path]]]:
        """Runs it over samples, and has the outputs written."""
        from onnxfuse.verification.sessions import EvaluationError

        clock = Stages()
        files: dict[str, list[Path]] = {}
        for run in batches.runs():
            if progress is not None:
                progress(self.model.name, len(files), len(samples))
            with clock.stage("data read"):
                read = [batches.read(group) for group in run]
            with clock.stage("preprocess"):
                feeds = batches.feeds(read)
            with clock.stage("infer"):
                seconds, outputs = self._ask("run", feeds)
            clock.device += seconds
            with clock.stage("post"):
                try:
                    parts = batches.split(run, outputs)
                except EvaluationError as error:
                    raise ToolError(f"{self.model}: {error}") from error
                for sample, part in zip(samples[len(files) :], parts, strict=False):
                    files[sample.stem] = [
                        write(f"{DUMPED}/{sample.stem}_{k}.bin", _raw(array)) for k, array in enumerate(part, 1)
                    ]
            clock.runs += 1
        return clock.record(batches.count, self.batch), files

    def _given(self) -> dict[str, Any]:
        from onnxfuse.verification.input_sets import user_sets

        assert self._backend.data is not None  # noqa: S101 - asked before
        sets = user_sets([self._backend.data], self._specs, self._backend.places(self._specs))
        feeds = dict(sets[0].make())
        self._ask("feed", feeds)
        return feeds

    def _drawn(self) -> dict[str, Any]:
        """Draws inputs as verification does: the first on which the model runs."""
        from onnxfuse.verification.draws import draw
        from onnxfuse.verification.inputs import InputError, TooLargeError, symbols
        from onnxfuse.verification.sessions import EvaluationError

        reasons: list[str] = []
        for attempt in range(ATTEMPTS):
            for binding in self._bindings():
                try:
                    feeds = draw(self._specs, binding, "normal", attempt, seed=self._backend.seed)
                    self._refuse_empty(feeds)
                    value_of(self._session.exchange(("feed", feeds), timeout_s=self._backend.timeout))
                except TooLargeError as error:
                    reasons.append(str(error))
                    continue
                except InputError as error:
                    raise UsageError(f"{self.model}: {error}") from error
                except EvaluationError as error:
                    reasons.append(str(error))
                    if self._session.starts > 1 or type(error) is not EvaluationError:
                        raise self._failed(error) from error
                    continue
                return feeds
        sizes = ": give sizes with --dim, or inputs with --input-data" if symbols(self._specs) else ""
        raise ToolError(f"{self.model}: onnxruntime does not run it on drawn inputs: {reasons[0]}{sizes}")

    def _refuse_empty(self, feeds: Mapping[str, Any]) -> None:
        for name, value in feeds.items():
            if 0 in getattr(value, "shape", ()):
                raise UsageError(
                    f"{self.model}: input {name} would be {_text(value)}, which holds nothing: give it other sizes"
                )

    def _bindings(self) -> Iterator[Binding]:
        """Sizes of symbolic dims, from 1 on."""
        from onnxfuse.verification.input_sets import SIZES
        from onnxfuse.verification.inputs import bind

        known: list[Binding] = []
        for size in SIZES:
            binding = bind(self._specs, user=self._backend.places(self._specs), sizes=(size,))
            if binding not in known:
                known.append(binding)
                yield binding

    def _ask(self, *request: Any) -> Any:
        from onnxfuse.verification.sessions import EvaluationError

        try:
            return value_of(self._session.exchange(request, timeout_s=self._backend.timeout))[0]
        except EvaluationError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ToolError:
        return ToolError(f"{self.model}: onnxruntime: {error}")


def provider_of(name: str) -> str:
    """The execution provider of a name: `CPU`, or in full `CPUExecutionProvider`.

    Raises:
        UsageError: The installed onnxruntime has none of that name.
    """
    import onnxruntime as ort

    available: list[str] = ort.get_available_providers()
    for provider in available:
        if name.casefold() in (provider.casefold(), provider.casefold().removesuffix("executionprovider")):
            return provider
    known = ", ".join(provider.removesuffix("ExecutionProvider") for provider in available)
    raise UsageError(f"the installed onnxruntime has no execution provider {name}; there are {known}")


class Stages:
    """The time that each step of a run over a dataset takes.

    Args:
        clock: Tells the seconds.

    Attributes:
        device: Seconds of the runs alone.
        runs: How many there were.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.device = 0.0
        self.runs = 0
        self._clock = clock
        self._started = clock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what happens inside to a step."""
        started = self._clock()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - started

    def record(self, samples: int, batch: int) -> Performance:
        """What `benchmark` would report of it.

        There, `infer` and `post` run one after the other for each batch: at the same rate, which `post` counts in batches.
        A batch that is not full takes the device as long as a full one, and counts as one; what is read, and the whole,
        counts in samples.
        """
        whole = self._clock() - self._started
        both = self._seconds["infer"] + self._seconds["post"]
        counts = {"data read": samples, "post": self.runs}
        stages = [Stage("e2e", samples / whole, 1000 * whole)]
        for name, seconds in self._seconds.items():
            counted = counts.get(name, self.runs * batch)
            taken = both if name in ("infer", "post") else seconds
            stages.append(Stage(name, counted / taken, 1000 * seconds / counted))
        rate = self.runs * batch / self.device
        return Performance(
            form=Form.DATASET,
            throughput=rate,
            formula="Interface throughputRate",
            sample_latency=1000 / rate,
            batch_latency=1000 * batch / rate,
            batch=batch,
            batch_from="the caller",
            stages=tuple(stages),
        )


def _is_utf_8(path: Path) -> bool:
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _raw(array: Any) -> bytes:
    """An output as a device writes it: little-endian."""
    return bytes(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def _write(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def _text(value: Any) -> str:
    """A value's dtype and shape: `float32[1,3,224,224]`."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"sequence of {len(value)}"
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"

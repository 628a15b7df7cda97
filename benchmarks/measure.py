"""Clocks: alternating runs in this process, whole processes of their own, and the exponent of growth."""

from __future__ import annotations

import gc
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = [
    "ROOT",
    "Case",
    "Command",
    "Sample",
    "Series",
    "alternate",
    "alternate_commands",
    "clear_progress",
    "entry_point",
    "exponent",
    "progress",
    "python",
]

ROOT: Final = Path(__file__).parent.parent
"""The checkout; processes are started in it, so that they find the onnxfuse that lies there."""

LAUNCHER: Final = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Sample:
    """One timing.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of processor time, of all threads.
        peak: Peak resident memory in bytes; of a process of its own only.
    """

    wall: float
    cpu: float
    peak: int | None = None


@dataclass
class Series:
    """All timings of one stage of one case.

    Attributes:
        samples: In the order in which they were taken.
    """

    samples: list[Sample] = field(default_factory=list)

    @property
    def wall(self) -> float | None:
        """Median of the wall times, in seconds; None where nothing was measured."""
        return statistics.median(sample.wall for sample in self.samples) if self.samples else None

    @property
    def cpu(self) -> float | None:
        """Median of the processor times, in seconds; None where nothing was measured."""
        return statistics.median(sample.cpu for sample in self.samples) if self.samples else None

    @property
    def peak(self) -> float | None:
        """Median of the peaks of memory, in bytes; None where nothing was measured."""
        peaks = [sample.peak for sample in self.samples if sample.peak is not None]
        return statistics.median(peaks) if peaks else None

    @property
    def walls(self) -> list[float]:
        """All wall times, in seconds."""
        return [sample.wall for sample in self.samples]


@dataclass
class Case:
    """Something to measure in this process, again and again, in turns with others.

    Attributes:
        name: What it is called.
        stages: What it consists of, each measured on its own; each gets what the one before returned, the first None.
        look: Reads facts off what the stages returned, once, outside the measured parts.
        runs: How often it is to be run; None for as often as is asked for.
    """

    name: str
    stages: Mapping[str, Callable[[Any], Any]]
    look: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    runs: int | None = None
    series: dict[str, Series] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    def run(self) -> None:
        """Measures once; a failure is kept as a sentence, and ends the case."""
        value: Any = None
        results: dict[str, Any] = {}
        samples: dict[str, Sample] = {}
        try:
            for name, stage in self.stages.items():
                gc.collect()
                wall, cpu = time.perf_counter(), time.process_time()
                value = stage(value)
                samples[name] = Sample(time.perf_counter() - wall, time.process_time() - cpu)
                results[name] = value
        except Exception as error:  # noqa: BLE001 - a peer's failure is a result of the benchmark
            self.problem = f"failed: {type(error).__name__}: {_first_line(str(error))}"
            return
        for name, sample in samples.items():
            self.series.setdefault(name, Series()).samples.append(sample)
        if self.look is not None and not self.facts:
            self.facts.update(self.look(results))


def alternate(cases: Sequence[Case], runs: int) -> None:
    """Runs all cases in turns, so that a busy moment of the machine falls on all of them alike.

    Every round begins with another case: none always follows the same one. Where one is to be run less often than another,
    its runs are spread evenly.
    """
    rounds = max(case.runs or runs for case in cases)
    for round_ in range(rounds):
        for index in range(len(cases)):
            case = cases[(index + round_) % len(cases)]
            wanted = case.runs or runs
            number = (round_ + 1) * wanted // rounds
            if not case.problem and number > round_ * wanted // rounds:
                progress(f"run {number} of {wanted}: {case.name}")
                case.run()


@dataclass
class Command:
    """A process to measure.

    Attributes:
        name: What it is called.
        arguments: Its command line, the program first.
        output: The model it writes; removed before every run, and there afterwards, or the run counts as failed.
    """

    name: str
    arguments: Sequence[str]
    output: Path | None = None
    series: Series = field(default_factory=Series)
    problem: str = ""

    @property
    def files(self) -> list[Path]:
        """What it wrote: its output, and data files beside it that are named after it."""
        return [] if self.output is None else sorted(self.output.parent.glob(f"{self.output.name}*"))

    def clear(self) -> None:
        """Removes what it wrote."""
        for file in self.files:
            file.unlink()

    def run(self) -> None:
        """Measures one process from its start to its end."""
        self.clear()
        # A process started from here would begin with our peak of memory as its own: the launcher is small.
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), *self.arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            self.problem = f"failed: the launcher says: {_last_line(done.stderr)}"
            return
        result = json.loads(done.stdout)
        if result["code"] != 0:
            self.problem = f"failed with exit code {result['code']}: {_last_line(done.stderr)}"
        elif self.output is not None and not self.output.exists():
            self.problem = "failed: it wrote no file"
        else:
            self.series.samples.append(Sample(result["wall"], result["cpu"], result["peak"]))


def alternate_commands(commands: Sequence[Command], runs: int) -> None:
    """Runs all processes in turns, as `alternate` does."""
    for round_ in range(runs):
        for index in range(len(commands)):
            command = commands[(index + round_) % len(commands)]
            if not command.problem:
                progress(f"run {round_ + 1} of {runs}: {command.name}")
                command.run()


def python(code: str, *arguments: str) -> list[str]:
    """Returns the command line of a fresh interpreter that runs `code`."""
    return [sys.executable, "-c", code, *arguments]


def entry_point(module: str, *arguments: str) -> list[str]:
    """Returns the command line that a console script of `module:main` stands for."""
    return python(f"import sys; from {module} import main; sys.exit(main())", *arguments)


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Returns the k of time = c * size^k that fits best, by least squares on the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(time_) for time_ in times]
    return statistics.linear_regression(x, y).slope


def progress(text: str) -> None:
    """Says on stderr what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def clear_progress() -> None:
    """Takes away what `progress` wrote last, where it is on a terminal."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"

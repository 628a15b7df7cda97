"""Reads how fast a model ran from whatever a tool printed or wrote, and writes it as `benchmark` does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from onnxfuse.drivers.performance import LEAST, MOST, NEAR, ONE_DEVICE, Card, Form, Performance
from onnxfuse.drivers.summaries import ais_bench, benchmark, trtexec
from onnxfuse.drivers.summaries.text import Lines
from onnxfuse.errors import UsageError

__all__ = ["parse", "read", "render", "render_rounds"]

LARGEST: Final = 64 << 20
"""Bytes: a summary has some lines, and a log of all rounds some thousand."""

FILE_NAME: Final = re.compile(r"^perf_\w+?_batchsize_(\d{1,9})_device_\d+\.txt$")
KNOWN: Final = "benchmark (pure inference or dataset), ais_bench (its output or summary.json), msame, trtexec 7 and 8"
# In order: a text of trtexec 8 has what looks like 7.
FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[Lines, int | None], Performance]], ...]] = (
    (benchmark.PURE, benchmark.pure),
    (ais_bench.AIS_BENCH, ais_bench.stdout),
    (ais_bench.DEVICES, ais_bench.devices),
    (ais_bench.MSAME, ais_bench.msame),
    (trtexec.TRTEXEC_8, trtexec.trtexec_8),
)


def read(path: Path, *, batch: int | None = None, samples: int | None = None, card: Card = ONE_DEVICE) -> Performance:
    """Reads a summary from a file of any form.

    Args:
        path: The file; that of a dataset run has the batch in its name.
        batch: Samples that one run takes, where the caller knows.
        samples: How many samples a dataset run was given, where the caller knows.
        card: What carries the device.

    Returns:
        The record, with what contradicts itself in the file.

    Raises:
        UsageError: The file cannot be read, is no text, or holds no summary that is known.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path}: is larger than {LARGEST >> 20} MiB: no summary; cut out the lines of it")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = _other_text(data, path)
    if "\0" in text:
        raise UsageError(f"{path}: is no text")
    named = FILE_NAME.match(path.name)
    return _parse(text, str(path), batch, int(named[1]) if named else None, samples, card)


def parse(
    text: str,
    *,
    batch: int | None = None,
    samples: int | None = None,
    card: Card = ONE_DEVICE,
    name: str = "the summary",
) -> Performance:
    """Reads a summary of any form; arguments as for `read`, and `name` for messages.

    Raises:
        UsageError: It is no summary that is known.
    """
    return _parse(text, name, batch, None, samples, card)


def _other_text(data: bytes, path: Path) -> str:
    """Text of a terminal in Chinese; anything else is none."""
    try:
        return data.decode("gb18030")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text") from None


def _parse(text: str, name: str, batch: int | None, named: int | None, samples: int | None, card: Card) -> Performance:
    for value, what in ((batch, "batch"), (samples, "number of samples"), (named, "batch in the file's name")):
        if value is not None and not 1 <= value <= MOST:
            raise UsageError(f"{name}: a {what} is 1 or more, not {value}")
    size, size_from = (batch, "the caller") if batch is not None else (named, "the file's name" if named else "")
    found = _recognized(text.removeprefix("\ufeff"), name, size, size_from)
    problems = list(found.problems)
    if batch is not None and named is not None and batch != named:
        problems.append(f"the batch is {named} in the file's name, and {batch} was given")
    if samples is not None and found.samples is not None and abs(found.samples - samples) > NEAR * samples:
        problems.append(f"e2e tells of {found.samples:.0f} samples, and there were {samples}")
    return replace(found, problems=tuple(problems), card=card)


def _recognized(text: str, name: str, batch: int | None, batch_from: str) -> Performance:
    if text.lstrip()[:1] == "{":
        return _json(text, name, batch)
    lines = Lines(text, name)
    found = [reader for pattern, reader in FORMS if lines.has(pattern)]
    is_dataset = lines.has(benchmark.DATASET)
    if not found and not is_dataset and lines.has(trtexec.TRTEXEC_7):
        found = [trtexec.trtexec_7]
    if len(found) + is_dataset > 1:
        raise UsageError(f"{name}: holds summaries of several tools or modes: keep one")
    if is_dataset:
        return benchmark.dataset(lines, batch, batch_from)
    if not found:
        raise UsageError(f"{name}: holds no summary that is known; known are those of {KNOWN}")
    return found[0](lines, batch)


def _json(text: str, name: str, batch: int | None) -> Performance:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: begins as JSON and is none: {str(error)[:80]}") from error
    return ais_bench.from_json(data, name, batch)


def render_rounds(times: Sequence[float]) -> str:
    """The lines that `benchmark` prints of rounds, one each; times of a batch in ms."""
    return "".join(f"[INFO] Dataset number: {k} finished cost {time!r}ms\n" for k, time in enumerate(times))


def render(performance: Performance) -> str:
    """Writes a record as `benchmark` writes its result file; what is written reads back as the same figures.

    Args:
        performance: A record. One with stages, made of a dataset run, gives the five lines of such a run; any other
            the two of pure inference.

    Raises:
        UsageError: The record has no throughput, or one that would not be read back.
    """
    rate, latency = performance.throughput, performance.sample_latency
    if rate is None or latency is None:
        raise UsageError("a record without a throughput cannot be written as a summary: give its batch")
    if not (LEAST <= rate <= MOST and LEAST <= latency <= MOST):
        raise UsageError(f"{rate:g} samples/s cannot be written as a summary: no measurement gives that")
    if performance.form is not Form.DATASET:
        return (
            "-----------------PureInfer Performance Summary------------------\n"
            f"[INFO] ave_throughputRate: {rate!r}samples/s, ave_latency: {latency!r}ms\n"
        )
    lines = []
    for stage in performance.stages:
        parts = [] if stage.rate is None else [f"throughputRate: {stage.rate!r}"]
        if stage.name == "infer":
            parts.append(f"Interface throughputRate: {rate!r}")
        if stage.latency is not None:
            parts.append(f"{'latency' if stage.name == 'e2e' else 'moduleLatency'}: {stage.latency!r}")
        lines += [f"[{stage.name}] {', '.join(parts)}\n"] if parts else []
    return "".join(lines)

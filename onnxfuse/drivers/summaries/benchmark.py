"""What CANN 5's `benchmark` prints and writes: pure inference, and inference on a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Final

from onnxfuse.drivers.performance import NEAR, PRINTED, STAGES_NEAR, Form, Performance, Spread, Stage
from onnxfuse.drivers.summaries.text import NUMBER, Lines, number
from onnxfuse.errors import UsageError

__all__ = ["DATASET", "PURE", "dataset", "pure"]

PURE: Final = re.compile(
    rf"ave_throughputRate\s*[:=]\s*{NUMBER}\s*samples/s\s*[,;]?\s*ave_latency\s*[:=]\s*{NUMBER}\s*ms", re.IGNORECASE
)
ROUND: Final = re.compile(rf"Dataset number\s*[:=]\s*(\d+)\s+finished cost\s+{NUMBER}\s*ms", re.IGNORECASE)
DATASET: Final = re.compile(
    r"\[\s*(e2e|data read|preprocess|infer(?:ence)?|post(?:process)?)\s*\]\s*(?=Interface|throughput|module|latency)(.*)$",
    re.IGNORECASE,
)
RATE: Final = re.compile(rf"(Interface\s+)?throughputRate\s*[:=]\s*{NUMBER}", re.IGNORECASE)
LATENCY: Final = re.compile(rf"(?:module)?latency\s*[:=]\s*{NUMBER}", re.IGNORECASE)
LABELS: Final = {"inference": "infer", "postprocess": "post"}


def pure(lines: Lines, batch: int | None) -> Performance:
    """Reads a summary of pure inference, and the rounds where these were printed.

    `ave_latency` is of one sample, not of one batch.
    """
    found = [
        (number(match[1], f"{where}: ave_throughputRate"), number(match[2], f"{where}: ave_latency"))
        for where, match in lines.find(PURE)
    ]
    problems = []
    if len(set(found)) > 1:
        problems.append(f"{len(found)} summaries that differ; the last one is taken")
    rate, latency = found[-1]
    if not _near(rate * latency, 1000, NEAR):
        problems.append(f"ave_throughputRate {rate:g} samples/s and ave_latency {latency:g} ms do not fit: 1000 / {latency:g} "
                        f"is {1000 / latency:g}")  # fmt: skip
    times = _rounds(lines)
    batch_from = "the caller" if batch is not None else ""
    if times and batch is None:
        implied = fmean(times) / latency
        if round(implied) and _near(implied, round(implied), 0.01):
            batch, batch_from = round(implied), "the lines"
    elif times and batch is not None and not _near(fmean(times), latency * batch, NEAR):
        problems.append(f"the rounds take {fmean(times):g} ms on average, and ave_latency {latency:g} ms of a sample makes "
                        f"{latency * batch:g} ms for a batch of {batch}")  # fmt: skip
    spread = Spread.of(times) if times else None
    return Performance(
        form=Form.PURE,
        throughput=rate,
        formula="ave_throughputRate",
        sample_latency=latency,
        batch_latency=None if batch is None else latency * batch,
        batch=batch,
        batch_from=batch_from,
        spread=spread,
        problems=tuple(problems),
    )


def _rounds(lines: Lines) -> list[float]:
    """The times of the rounds of the last run: their numbers begin anew with each."""
    times: list[float] = []
    last = -1
    for where, match in lines.find(ROUND):
        if int(match[1]) <= last:
            times.clear()
        last = int(match[1])
        times.append(number(match[2], f"{where}: the time of a round"))
    return times


def dataset(lines: Lines, batch: int | None, batch_from: str) -> Performance:
    """Reads a summary of inference on a dataset, with labels of either generation.

    The figure of the device is `Interface throughputRate`: samples a second of the call of the device alone.
    """
    stages: dict[str, Stage] = {}
    rates: list[float] = []
    problems: list[str] = []
    for where, match in lines.find(DATASET):
        label = match[1].lower()
        label = LABELS.get(label, label)
        stage, interface = _stage(label, match[2], where, problems)
        if stages.setdefault(label, stage) != stage:
            problems.append(f"{where}: a second line [{label}] with other figures; the last one is taken")
            stages[label] = stage
        rates += interface
    if not rates:
        raise UsageError(f"{lines.name}: the line [infer] with its Interface throughputRate is missing")
    rate = rates[-1]
    if len(set(rates)) > 1:
        problems.append(f"{len(rates)} lines with an Interface throughputRate that differ; the last one is taken")
    implied = _implied_batch(stages)
    if implied is not None and batch is not None and not _near(implied, batch, NEAR):
        problems.append(f"infer and post tell of a batch of {implied:.3g}, not of {batch}")
    elif implied is not None and batch is None and round(implied) and abs(implied - round(implied)) < STAGES_NEAR:
        batch, batch_from = round(implied), "the lines"
    problems += _contradictions(stages, rate, batch)
    return Performance(
        form=Form.DATASET,
        throughput=rate,
        formula="Interface throughputRate",
        sample_latency=1000 / rate,
        batch_latency=None if batch is None else 1000 * batch / rate,
        batch=batch,
        batch_from=batch_from if batch is not None else "",
        stages=tuple(stages.values()),
        problems=tuple(problems),
    )


def _stage(label: str, text: str, where: str, problems: list[str]) -> tuple[Stage, list[float]]:
    """One line; a figure that is none is a problem, except the one that all is about."""
    rate = latency = None
    interface: list[float] = []
    for match in RATE.finditer(text):
        if match[1]:
            interface.append(number(match[2], f"{where}: Interface throughputRate"))
        else:
            rate = _figure(match[2], f"{where}: throughputRate of {label}", problems)
    for match in LATENCY.finditer(text):
        latency = _figure(match[1], f"{where}: latency of {label}", problems)
    return Stage(label, rate, latency), interface


def _figure(text: str, what: str, problems: list[str]) -> float | None:
    try:
        return number(text, what)
    except UsageError as error:
        problems.append(str(error))
        return None


def _implied_batch(stages: Mapping[str, Stage]) -> float | None:
    """The batch by the rates: `infer` counts samples and `post` batches."""
    infer, post = (stages.get(name) for name in ("infer", "post"))
    if infer is None or post is None or infer.rate is None or post.rate is None:
        return None
    return infer.rate / post.rate


def _contradictions(stages: Mapping[str, Stage], interface: float, batch: int | None) -> Iterator[str]:
    """What cannot be so: each rule holds on files that nobody edited."""
    for name in ("data read", "preprocess"):
        stage = stages.get(name)
        if stage is None or stage.rate is None or stage.latency is None:
            continue
        if not _near(stage.rate * stage.latency, 1000, STAGES_NEAR):
            yield f"{name}: {stage.rate:g} samples/s and {stage.latency:g} ms a sample do not fit"
    infer, whole = stages.get("infer"), stages.get("e2e")
    if infer is not None and infer.rate is not None:
        if infer.rate > interface * (1 + NEAR):
            yield f"infer runs {infer.rate:g} samples/s, above the {interface:g} of the device in it"
        if infer.latency is not None and not (
            1000 / interface * (1 - NEAR) <= infer.latency <= 1000 / infer.rate * (1 + NEAR)
        ):
            yield (
                f"infer: {infer.latency:g} ms a sample is not between the device's {1000 / interface:g} "
                f"and the stage's {1000 / infer.rate:g}"
            )
    if whole is None or whole.rate is None:
        return
    for stage in stages.values():
        scale = (batch or 1) if stage.name == "post" else 1
        known = stage.name != "post" or batch is not None
        if known and stage.rate is not None and whole.rate > stage.rate * scale * (1 + NEAR):
            yield f"e2e runs {whole.rate:g} samples/s, above the {stage.rate * scale:g} of {stage.name} in it"


def _near(value: float, wanted: float, tolerance: float) -> bool:
    return abs(value - wanted) <= (tolerance + PRINTED) * abs(wanted)

"""What `ais_bench` and `msame` print, and ais_bench's `summary.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any, Final

from onnxfuse.drivers.performance import Form, Performance, Spread, Stage
from onnxfuse.drivers.summaries.text import NUMBER, Lines, number, pairs
from onnxfuse.errors import UsageError

__all__ = ["AIS_BENCH", "DEVICES", "MSAME", "devices", "from_json", "msame", "stdout"]

THROUGHPUT: Final = re.compile(
    rf"throughput\s+1000\s*\*\s*batchsize(?:\.mean)?\s*\(\s*{NUMBER}\s*\)\s*/\s*NPU_compute_time\.mean\s*\(\s*{NUMBER}\s*\)"
    rf"\s*[:=]\s*{NUMBER}",
    re.IGNORECASE,
)
AIS_BENCH: Final = re.compile(rf"{THROUGHPUT.pattern}|\bNPU_compute_time\s*\(ms\)\s*[:=]", re.IGNORECASE)
"""A summary: a release that does not know the batch prints its times alone."""
TIMES: Final = re.compile(r"\b(NPU_compute_time|H2D_latency|D2H_latency)\s*\(ms\)\s*[:=](.*)$", re.IGNORECASE)
DEVICES: Final = re.compile(rf"^(?:\[[^\]]*\]\s*)?summary throughput\s*[:=]\s*{NUMBER}", re.IGNORECASE)
DEVICE: Final = re.compile(rf"\bi\s*:\s*(\d+)\s+device_(\d+)\s+throughput\s*[:=]\s*{NUMBER}", re.IGNORECASE)
MSAME: Final = re.compile(rf"Inference average time(\s+without first time)?\s*[:=]\s*{NUMBER}\s*ms", re.IGNORECASE)
MSAME_RUN: Final = re.compile(rf"Inference time\s*[:=]\s*{NUMBER}\s*ms", re.IGNORECASE)
PERCENTILE: Final = re.compile(r"^percentile\((\d{1,3}(?:\.\d{1,6})?)%\)$")
EXACT: Final = 1e-3
"""How far a printed throughput may be from what its own formula gives."""


def stdout(lines: Lines, batch: int | None) -> Performance:
    """Reads what ais_bench prints; its throughput is computed again, since printed ones were edited by hand."""
    found = [
        (
            number(match[1], f"{where}: the batch"),
            number(match[2], f"{where}: NPU_compute_time.mean"),
            number(match[3], f"{where}: the throughput"),
        )
        for where, match in lines.find(THROUGHPUT)
    ]
    problems = []
    if len(set(found)) > 1:
        problems.append(f"{len(found)} summaries that differ; the last one is taken")
    spreads: dict[str, Spread] = {}
    for where, match in lines.find(TIMES):
        spreads[match[1].upper().partition("_")[0]] = Spread.named(pairs(match[2], where))
    spread = spreads.get("NPU", Spread())
    printed_batch, mean, printed = found[-1] if found else (None, spread.mean, None)
    if not mean:
        raise UsageError(f"{lines.name}: NPU_compute_time has no mean above 0")
    if spread.mean is None:
        spread = replace(spread, mean=mean)
    elif abs(spread.mean - mean) > EXACT * mean:
        problems.append(f"the mean is {spread.mean:g} ms in one line and {mean:g} ms in the other")
    return _record(Form.AIS_BENCH, (printed_batch, batch), mean, printed, (spread, spreads), problems)


def from_json(data: Mapping[str, Any], name: str, batch: int | None) -> Performance:
    """Reads ais_bench's `summary.json`."""
    times = _statistics(data.get("NPU_compute_time"), f"{name}: NPU_compute_time")
    if times is None or times.mean is None:
        raise UsageError(f"{name}: is JSON without a NPU_compute_time that has a mean: no summary of ais_bench")
    mean = number(str(times.mean), f"{name}: the mean of NPU_compute_time")
    problems: list[str] = []
    listed = data.get("npu_compute_time_list")
    if isinstance(listed, list) and listed:
        # Some releases write pairs of start and end; then there is nothing to compare.
        plain = [number(json.dumps(item), f"{name}: npu_compute_time_list", zero=True)
                 for item in listed if not isinstance(item, list | dict)]  # fmt: skip
        if len(plain) == len(listed) and abs(fmean(plain) - mean) > EXACT * mean:
            problems.append(f"the mean is {mean:g} ms and that of npu_compute_time_list {fmean(plain):g} ms")
    spreads = {
        key.partition("_")[0]: spread
        for key in ("H2D_latency", "D2H_latency")
        if (spread := _statistics(data.get(key), f"{name}: {key}")) is not None
    }
    printed = None if data.get("throughput") is None else number(str(data["throughput"]), f"{name}: throughput")
    said = data.get("args")
    size = said.get("batchsize", said.get("batch_size")) if isinstance(said, Mapping) else None
    told = number(str(size), f"{name}: the batch") if size is not None else None
    if told is None and printed is not None:
        implied = printed * mean / 1000
        told = float(round(implied)) if round(implied) and abs(implied - round(implied)) < EXACT * implied else None
    return _record(Form.AIS_BENCH_JSON, (told, batch), mean, printed, (times, spreads), problems)


def _record(
    form: Form,
    batches: tuple[float | None, int | None],
    mean: float,
    printed: float | None,
    times: tuple[Spread, Mapping[str, Spread]],
    problems: list[str],
) -> Performance:
    """A record from the batch as told in the text and by the caller, and the times of the device and around it."""
    told, given = batches
    size = told if told is not None else given
    if told is not None and given is not None and told != given:
        problems.append(f"the batch is {told:g} in the text, and {given} was given; the text's is taken")
    rate = None if size is None else 1000 * size / mean
    if printed is not None and rate is not None and abs(printed - rate) > EXACT * rate:
        problems.append(f"the throughput is printed as {printed:g}, and 1000 * {size:g} / {mean:g} is {rate:g}")
    spread, others = times
    problems += spread.problems()
    return Performance(
        form=form,
        throughput=rate,
        formula="1000 * batch / mean of NPU_compute_time",
        sample_latency=None if size is None else mean / size,
        batch_latency=mean,
        # Where the sizes of batches differ, ais_bench takes their mean, which is no size.
        batch=int(size) if size is not None and size == int(size) else None,
        batch_from="" if size is None else "the lines" if told is not None else "the caller",
        spread=spread,
        stages=tuple(Stage(key, None, value.mean) for key, value in others.items() if key != "NPU"),
        problems=tuple(problems),
    )


def _statistics(data: Any, what: str) -> Spread | None:
    """The times that stand in JSON, by `min`, `percentile(99%)` and so on; None where there are none."""
    if not isinstance(data, Mapping):
        return None
    values: dict[str, float] = {}
    for key, value in data.items():
        percent = PERCENTILE.match(key)
        if percent or key in ("min", "max", "mean", "median", "count"):
            named = f"percentile {percent[1]}" if percent else key
            values[named] = number(str(value), f"{what}: {key}", zero=True)
    return Spread.named(values)


def devices(lines: Lines, batch: int | None) -> Performance:
    """Reads what ais_bench prints of several devices; a record is of one of them, so the throughput is their mean."""
    each = {
        match[2]: number(match[3], f"{where}: the throughput of device {match[2]}")
        for where, match in lines.find(DEVICE)
    }
    *_, (where, last) = lines.find(DEVICES)
    total = number(last[1], f"{where}: the summary throughput")
    if not each:
        raise UsageError(f"{lines.name}: has a summary throughput, and no line for any device")
    problems = []
    if abs(total - sum(each.values())) > EXACT * total:
        problems.append(f"the summary throughput is {total:g}, and the devices' make {sum(each.values()):g}")
    rate = total / len(each)
    return Performance(
        form=Form.AIS_BENCH_DEVICES,
        throughput=rate,
        formula=f"summary throughput / {len(each)} devices",
        sample_latency=1000 / rate,
        batch_latency=None if batch is None else 1000 * batch / rate,
        batch=batch,
        batch_from="" if batch is None else "the caller",
        problems=tuple(problems),
    )


def msame(lines: Lines, batch: int | None) -> Performance:
    """Reads what msame prints: times of one run. The average without the first run is taken where it is there."""
    averages: dict[bool, float] = {}
    problems = []
    for where, match in lines.find(MSAME):
        value = number(match[2], f"{where}: the average time")
        if averages.setdefault(bool(match[1]), value) != value:
            problems.append(f"{where}: a second average that differs; the last one is taken")
            averages[bool(match[1])] = value
    runs = [number(match[1], f"{where}: the time of a run") for where, match in lines.find(MSAME_RUN)]
    warm = True in averages
    time = averages[warm]
    measured = {False: runs, True: runs[1:]}
    for without, average in averages.items():
        if measured[without] and abs(fmean(measured[without]) - average) > 0.01 * average:
            what = "average without the first run" if without else "average"
            problems.append(
                f"the {what} is printed as {average:g} ms, and the runs give {fmean(measured[without]):g} ms"
            )
    counted = measured[warm]
    return Performance(
        form=Form.MSAME,
        throughput=None if batch is None else 1000 * batch / time,
        formula="1000 * batch / average time" + (" without the first run" if warm else ""),
        sample_latency=None if batch is None else time / batch,
        batch_latency=time,
        batch=batch,
        batch_from="" if batch is None else "the caller",
        spread=Spread.of(counted) if counted else Spread(time),
        problems=tuple(problems),
    )

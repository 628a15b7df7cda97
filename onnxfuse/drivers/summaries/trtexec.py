"""What `trtexec` prints: of 7.x a block of lines, of 8.x one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from onnxfuse.drivers.performance import Form, Performance, Spread
from onnxfuse.drivers.summaries.text import PREFIX, Lines, pairs
from onnxfuse.errors import UsageError

__all__ = ["TRTEXEC_7", "TRTEXEC_8", "trtexec_7", "trtexec_8"]

TRTEXEC_8: Final = re.compile(r"\bGPU Compute Time\s*:\s*(?=m(?:in|ax|ean|edian)\b)(.*)$", re.IGNORECASE)
TRTEXEC_7: Final = re.compile(
    r"^(?:\[[^\]]*\]\s*){0,2}(?:GPU Compute\s*$|(?:mean|median)\s*:\s*[\d.]+\s*ms)", re.IGNORECASE
)
HEADING: Final = re.compile(r"^(Host Latency|Enqueue Time|GPU Compute|Timing trace.*|=== .*)$", re.IGNORECASE)
STATISTIC: Final = re.compile(r"^(min|max|mean|median|percentile)\b", re.IGNORECASE)

Group = tuple[str, dict[str, float], str]


def trtexec_8(lines: Lines, batch: int | None) -> Performance:
    """Reads `GPU Compute Time: min = ...`; a query is one batch."""
    found = [pairs(match[1], where) for where, match in lines.find(TRTEXEC_8)]
    return _record(Form.TRTEXEC_8, found, batch, lines.name)


def trtexec_7(lines: Lines, batch: int | None) -> Performance:
    """Reads the block below `GPU Compute`, or where no block has a heading, the only one there is."""
    groups = list(_groups(lines))
    named = [values for heading, values, _ in groups if heading == "gpu compute"]
    if not named:
        bare = [values for heading, values, _ in groups if not heading]
        if len(bare) != 1 or len(groups) != 1:
            raise UsageError(
                f"{lines.name}: which block of times is that of GPU Compute cannot be told: keep its heading"
            )
        named = bare
    return _record(Form.TRTEXEC_7, named, batch, lines.name)


def _groups(lines: Lines) -> Iterator[Group]:
    """Blocks of statistics: each begins below a heading, or where a statistic comes again."""
    heading, values, began = "", dict[str, float](), ""
    for place, line in enumerate(lines.all, start=1):
        text = PREFIX.sub("", line).strip()
        title = HEADING.match(text)
        if title:
            if values:
                yield heading, values, began
            heading, values = title[1].lower(), {}
        elif STATISTIC.match(text):
            where = f"{lines.name}, line {place}"
            one = pairs(text.partition("(end to end")[0], where)
            if values.keys() & one.keys():
                yield heading, values, began
                heading, values = "", {}
            began = began or where
            values |= one
    if values:
        yield heading, values, began


def _record(form: Form, found: list[dict[str, float]], batch: int | None, name: str) -> Performance:
    problems = []
    if len({tuple(sorted(values.items())) for values in found}) > 1:
        problems.append(f"{len(found)} summaries that differ; the last one is taken")
    values = found[-1]
    statistic = "median" if "median" in values else "mean"
    time = values.get(statistic)
    if not time:
        raise UsageError(f"{name}: GPU Compute has neither a median nor a mean above 0")
    spread = Spread.named(values)
    return Performance(
        form=form,
        throughput=None if batch is None else 1000 * batch / time,
        formula=f"1000 * batch / {statistic} of GPU Compute",
        sample_latency=None if batch is None else time / batch,
        batch_latency=time,
        batch=batch,
        batch_from="" if batch is None else "the caller",
        spread=spread,
        problems=(*problems, *spread.problems()),
    )

"""Figures that no measurement gives, wherever they stand in a summary: a record that can be reckoned with, or one line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.drivers.backend import Inferred, Progress
from onnxfuse.drivers.interleaving import measure
from onnxfuse.drivers.performance import LEAST, MOST, Performance, cross_check
from onnxfuse.drivers.summaries import parse, render
from onnxfuse.errors import ToolError, UsageError
from tests.drivers.test_summaries import EVERY
from tests.profile import EXAMPLES

JSON: Final = json.dumps(
    {
        "NPU_compute_time": {"min": 1.5, "max": 2.5, "mean": 2.0, "median": 2.0, "percentile(99%)": 2.5, "count": 3},
        "H2D_latency": {"min": 0.5, "max": 0.75, "mean": 0.625},
        "throughput": 2000.0,
        "args": {"batchsize": 4},
        "npu_compute_time_list": [1.5, 2.0, 2.5],
    }
)
DEVICES: Final = """i:0 device_0 throughput:100.5 start_time:1.5 end_time:2.5
i:1 device_1 throughput:99.5 start_time:1.5 end_time:2.5
summary throughput:200.0
"""
TEXTS: Final = (*EVERY.values(), JSON, DEVICES)
FIGURE: Final = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)")
ODD: Final = (
    "0",
    "0.0",
    "-0.0",
    "-1",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "1e308",
    "-1e308",
    "1e-320",
    "1e15",
    "1e16",
    "1e-9",
)
ODDER: Final = (
    "9" * 400,
    "0." + "0" * 400 + "1",
    "1e999999999",
    "1,5",
    "",
    "x",
    "true",
    "null",
    "[1]",
    '"2"',
    "٣",
    "1_0",
)


class Told:
    """A model of whose runs a tool tells this."""

    model = Path("m.om")
    inputs: Final = dict[str, str]()

    def __init__(self, performance: Performance) -> None:
        self.performance = performance

    def measure(self, rounds: int) -> Performance:
        return self.performance

    def infer(self, dataset: Path, output: Path, *, progress: Progress | None = None) -> Inferred:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@st.composite
def odd_texts(draw: st.DrawFn) -> str:
    """Summaries in which one to three figures are odd."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        places = list(FIGURE.finditer(text))
        place = draw(st.sampled_from(places))
        text = text[: place.start()] + draw(st.sampled_from(ODD + ODDER)) + text[place.end() :]
        if not FIGURE.search(text):
            break
    return text


@EXAMPLES
@given(odd_texts(), st.none() | st.sampled_from([1, 4, 10**15]))
def test_odd_figures(text: str, batch: int | None) -> None:
    try:
        found = parse(text, batch=batch)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 300
        return
    figures = [found.throughput, found.sample_latency, found.batch_latency, found.card_throughput]
    figures += [found.throughput_by(statistic) for statistic in ("min", "max", "mean", "median")]
    assert all(figure is None or 0 < figure < math.inf for figure in figures)
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.samples is None or found.samples > 0
    assert all(isinstance(line, str) for line in cross_check({"one": found, "other": parse(TEXTS[0])}))
    if found.throughput is None or found.sample_latency is None:
        with pytest.raises(UsageError, match="give its batch"):
            render(found)
    elif not all(LEAST <= figure <= MOST for figure in (found.throughput, found.sample_latency)):
        with pytest.raises(UsageError, match="no measurement gives that"):
            render(found)
    else:
        assert parse(render(found), batch=found.batch).throughput == found.throughput


@EXAMPLES
@given(odd_texts(), odd_texts(), st.sampled_from([None, 5]))
def test_turns_with_odd_figures(one: str, other: str, rounds: int | None) -> None:
    try:
        models = [Told(parse(text, batch=4)) for text in (one, other)]
        found = measure(models, rounds=rounds, turns=2)
    except (UsageError, ToolError) as error:
        assert len(str(error).splitlines()) == 1
        return
    for each in found:
        json.dumps(each.to_dict(), allow_nan=False)
        assert 0 < each.latency < math.inf

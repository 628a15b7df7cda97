"""The samples in one run of a compiled model are told by the tool or by the user, and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxfuse.drivers.interleaving import measure
from onnxfuse.drivers.performance import Form
from onnxfuse.drivers.summaries import parse
from onnxfuse.errors import ToolError, UsageError
from tests.drivers.tools import Tools, om, raw_dataset

TIMES = "[INFO] NPU_compute_time (ms): min = 1.0, max = 3.0, mean = 2.0, median = 2.0, percentile(99%) = 3.0\n"


@pytest.mark.parametrize("style", ["early", "v0.0.2"])
def test_ais_bench_reads_it_out_of_the_model_and_prints_it(tools: Tools, style: str) -> None:
    dataset = raw_dataset(Path("data"), 5)
    with tools.backend("ais_bench", FAKE_STYLE=style).compile(om(Path("m.om"), batch=4, ms=8)) as model:
        measured = model.measure(10)
        inferred = model.infer(dataset, Path("out")).performance
    for found in (measured, inferred):
        assert (found.batch, found.batch_from, found.problems) == (4, "the lines", ())
        assert found.sample_latency == pytest.approx(2, rel=0.02)
        assert found.throughput == pytest.approx(500, rel=0.02)
    assert not any("--batchsize" in words for words in tools.record)


@pytest.mark.parametrize(("batch", "given"), [(16, 1), (16, 16), (1, 16)])
def test_what_ais_bench_prints_counts_and_a_contradiction_is_told(tools: Tools, batch: int, given: int) -> None:
    """The tool would print whatever it is told with --batchsize."""
    backend = tools.backend("ais_bench", device={"batch_size": given})
    with backend.compile(om(Path("m.om"), batch=batch, ms=8)) as model:
        found = model.measure(10)
    assert (found.batch, found.batch_from) == (batch, "the lines")
    assert found.sample_latency == pytest.approx(8 / batch, rel=0.02)
    told = f"the batch is {batch} in the text, and {given} was given; the text's is taken"
    assert found.problems == ((told,) if batch != given else ())
    assert not any("--batchsize" in words for words in tools.record)


def test_benchmark_has_to_be_told(tools: Tools) -> None:
    with pytest.raises(UsageError, match=r"m\.om: how many samples one run takes has to be said to benchmark: give"):
        tools.backend("benchmark", device={"batch_size": None}).compile(om(Path("m.om"), batch=4))


def test_where_nobody_tells_there_are_no_figures_of_a_sample(tools: Tools) -> None:
    dataset = raw_dataset(Path("data"), 5)
    with tools.backend("ais_bench", FAKE_STYLE="times").compile(om(Path("m.om"), batch=4, ms=8)) as model:
        found = model.infer(dataset, Path("out"))
        performance = found.performance
        assert (performance.batch, performance.throughput, performance.sample_latency) == (None, None, None)
        assert performance.batch_latency == pytest.approx(8, rel=0.03)
        assert len(list(Path("out/result/dumpOutput_device0").iterdir())) == 5
        with pytest.raises(ToolError, match=r"a run takes 8\.\d+ ms, and how many samples that is, is not told"):
            measure([model], rounds=2, turns=1)
    with tools.backend("ais_bench", device={"batch_size": 4}, FAKE_STYLE="times").compile(Path("m.om")) as model:
        assert model.measure(5).sample_latency == pytest.approx(2, rel=0.02)


def test_times_alone_are_a_summary() -> None:
    found = parse(TIMES)
    assert (found.form, found.batch, found.throughput, found.batch_latency) == (Form.AIS_BENCH, None, None, 2)
    assert parse(TIMES, batch=4).throughput == 2000
    with pytest.raises(UsageError, match="NPU_compute_time has no mean above 0"):
        parse(TIMES.replace("mean = 2.0", "mean = 0.0"))

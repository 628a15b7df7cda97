# ruff: noqa: RUF001 - full-width punctuation is what is tested
from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onnxfuse.drivers import summaries
from onnxfuse.drivers.performance import CARDS, ONE_DEVICE, Card, Form, Performance, Spread, Stage
from onnxfuse.drivers.summaries import parse, read, render, render_rounds
from onnxfuse.errors import UsageError
from tests.profile import EXAMPLES

POSITIVE: Final = st.floats(1e-3, 1e6, allow_nan=False)
BATCH: Final = st.sampled_from([1, 2, 4, 8, 16, 32, 64])
STYLES: Final = st.sampled_from([(": ", ", "), (" = ", ", "), (":", ","), ("：", "，"), ("： ", " ，"), ("=", "、")])

DATASET: Final = """[e2e] throughputRate: 40, latency: 1e+06
[data read] throughputRate: 50, moduleLatency: 20
[preprocess] throughputRate: 50, moduleLatency:20
[infer] throughputRate: 45 Interface throughputRate: 60, moduleLatency: 20
[post] throughputRate: 11.25, moduleLatency: 88
"""
AIS: Final = """[INFO] -----------------Performance Summary------------------
[INFO] NPU_compute_time (ms): min = 431.9490051269531, max = 432.24200439453125, mean = 432.0568511962891, \
median = 432.0480041503906, percentile(99%) = 432.2307962036133
[INFO] throughput 1000*batchsize(64)/NPU_compute_time.mean(432.0568511962891): 148.1286544184991
[INFO] ------------------------------------------------------
"""
TRT_7: Final = """[06/23/2021-14:18:36] [I] Average on 10 runs - GPU latency: 12.8 ms - Host latency: 13.1 ms (end to end 25 ms)
[06/23/2021-14:18:36] [I] Host Latency
[06/23/2021-14:18:36] [I] min: 12.5 ms (end to end 24.1 ms)
[06/23/2021-14:18:36] [I] max: 17.6 ms (end to end 30 ms)
[06/23/2021-14:18:36] [I] mean: 13.0 ms (end to end 25.4 ms)
[06/23/2021-14:18:36] [I] median: 12.9 ms (end to end 25.1 ms)
[06/23/2021-14:18:36] [I] percentile: 17.1 ms at 99% (end to end 29.9 ms at 99%)
[06/23/2021-14:18:36] [I] throughput: 77.1 qps
[06/23/2021-14:18:36] [I] walltime: 3.02 s
[06/23/2021-14:18:36] [I] Enqueue Time
[06/23/2021-14:18:36] [I] min: 4.1 ms
[06/23/2021-14:18:36] [I] max: 4.9 ms
[06/23/2021-14:18:36] [I] median: 4.3 ms
[06/23/2021-14:18:36] [I] GPU Compute
[06/23/2021-14:18:36] [I] min: 12.3789 ms
[06/23/2021-14:18:36] [I] max: 17.5124 ms
[06/23/2021-14:18:36] [I] mean: 12.8522 ms
[06/23/2021-14:18:36] [I] median: 12.7339ms
[06/23/2021-14:18:36] [I] percentile: 16.9 ms at 99%
[06/23/2021-14:18:36] [I] total compute time: 2.99 s
"""
TRT_8: Final = """[03/01/2022-10:00:00] [I] === Performance summary ===
[03/01/2022-10:00:00] [I] Throughput: 71.9 qps
[03/01/2022-10:00:00] [I] Latency: min = 14 ms, max = 15 ms, mean = 14.5 ms, median = 14.5 ms, percentile(99%) = 15 ms
[03/01/2022-10:00:00] [I] Enqueue Time: min = 1 ms, max = 2 ms, mean = 1.5 ms, median = 1.5 ms, percentile(99%) = 2 ms
[03/01/2022-10:00:00] [I] GPU Compute Time: min = 13 ms, max = 14.6 ms, mean = 13.8 ms, median = 13.7 ms, \
percentile(90%) = 14.1 ms, percentile(95%) = 14.2 ms, percentile(99%) = 14.5 ms
[03/01/2022-10:00:00] [I] Total GPU Compute Time: 3.0 s
[03/01/2022-10:00:00] [I] Explanations of the performance metrics are printed in the verbose logs.
"""
MSAME: Final = """Inference time: 12ms
Inference time: 10ms
Inference time: 11ms
Inference average time : 11.00 ms
Inference average time without first time: 10.50 ms
"""
PURE: Final = "[INFO] ave_throughputRate: 157.113samples/s, ave_latency: 6.41437ms\n"
EVERY: Final = {"pure": PURE, "dataset": DATASET, "ais": AIS, "7": TRT_7, "8": TRT_8, "msame": MSAME}


def refused(text: str, **options: int) -> str:
    with pytest.raises(UsageError) as error:
        parse(text, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    return str(error.value)


# ------------------------------------------------------------------ laws


@EXAMPLES
@given(st.lists(POSITIVE, min_size=1, max_size=20), BATCH)
def test_a_record_of_rounds_is_what_its_text_says(times: list[float], batch: int) -> None:
    made = Performance.of_rounds(times, batch)
    again = parse(render_rounds(times) + render(made), batch=batch)
    assert again.problems == ()
    assert (again.form, again.throughput, again.sample_latency) == (made.form, made.throughput, made.sample_latency)
    assert again.batch_latency == pytest.approx(made.batch_latency)
    assert again.spread == made.spread
    assert (again.batch, again.batch_from) == (batch, "the caller")
    assert parse(render(again), batch=batch).throughput == made.throughput


@st.composite
def datasets(draw: st.DrawFn) -> Performance:
    """Records of dataset runs, whatever their figures."""
    names = ("e2e", "data read", "preprocess", "infer", "post")
    rate = draw(POSITIVE)
    return Performance(
        form=Form.DATASET,
        throughput=rate,
        formula="Interface throughputRate",
        sample_latency=1000 / rate,
        stages=tuple(Stage(name, draw(st.none() | POSITIVE), draw(st.none() | POSITIVE)) for name in names),
    )


@EXAMPLES
@given(datasets(), STYLES, st.booleans())
def test_a_written_dataset_summary_reads_back(made: Performance, style: tuple[str, str], older: bool) -> None:
    text = render(made).replace(": ", style[0]).replace(", ", style[1])
    if older:
        text = text.replace("[infer]", "[inference]").replace("[post]", "[postprocess]")
    again = parse(text)
    assert (again.throughput, again.sample_latency, again.samples) == (
        made.throughput,
        made.sample_latency,
        made.samples,
    )
    told = {stage.name: stage for stage in again.stages}
    for stage in made.stages:
        if stage.rate is not None:
            assert told[stage.name].rate == stage.rate
        if stage.latency is not None:
            assert told[stage.name].latency == stage.latency


@EXAMPLES
@given(POSITIVE, STYLES, BATCH, st.sampled_from(["", "[INFO] ", "\x1b[32m[INFO]\x1b[0m "]))
def test_every_punctuation_of_pure_inference(latency: float, style: tuple[str, str], batch: int, before: str) -> None:
    colon, comma = style
    rate = float(f"{1000 / latency:.6g}")
    text = f"{before}ave_throughputRate{colon}{rate:g}samples/s{comma}ave_latency{colon}{latency!r}ms"
    found = parse(text, batch=batch)
    assert (found.form, found.throughput, found.sample_latency) == (Form.PURE, rate, latency)
    assert found.batch_latency == latency * batch
    assert found.problems == ()


@EXAMPLES
@given(st.lists(POSITIVE, min_size=1, max_size=9), BATCH, st.booleans(), st.booleans())
def test_ais_bench_of_either_version(times: list[float], batch: int, newer: bool, everything: bool) -> None:
    spread = Spread.of(times)
    assert spread.mean is not None

    def line(name: str) -> str:
        return (
            f"[INFO] {name} (ms): min = {spread.min}, max = {spread.max}, mean = {spread.mean}, "
            f"median = {spread.median}, percentile(99%) = {spread.percentiles[0][1]}\n"
        )

    rate = 1000 * batch / spread.mean
    text = (line("H2D_latency") if everything else "") + line("NPU_compute_time")
    text += line("D2H_latency") if everything else ""
    text += f"[INFO] throughput 1000*batchsize{'.mean' if newer else ''}({batch})/NPU_compute_time.mean({spread.mean}): {rate}\n"
    found = parse(text)
    assert (found.form, found.throughput, found.batch_latency) == (Form.AIS_BENCH, rate, spread.mean)
    assert (found.batch, found.batch_from) == (batch, "the lines")
    assert found.spread is not None
    assert (found.spread.min, found.spread.max, found.spread.percentiles) == (
        spread.min,
        spread.max,
        spread.percentiles,
    )
    assert [stage.name for stage in found.stages] == (["H2D", "D2H"] if everything else [])
    assert found.problems == ()

    statistics = {
        "min": spread.min, "max": spread.max, "mean": spread.mean, "median": spread.median,
        "percentile(99%)": spread.percentiles[0][1], "count": len(times),
    }  # fmt: skip
    names = ["NPU_compute_time", *(("H2D_latency", "D2H_latency") if everything else ())]
    data = {**dict.fromkeys(names, statistics), "throughput": rate, "npu_compute_time_list": times, "filesinfo": {}}
    written = parse(json.dumps(data))
    assert written.throughput == pytest.approx(rate)
    assert (written.form, written.batch, written.spread) == (Form.AIS_BENCH_JSON, batch, spread)
    assert [stage.name for stage in written.stages] == (["H2D", "D2H"] if everything else [])
    assert written.problems == ()


@EXAMPLES
@given(st.text(max_size=300) | st.sampled_from(list(EVERY.values())), st.text(max_size=20), st.integers(0, 400))
@example(text="ave_throughputRate: 1samples/s, ave_latency: " + "9" * 400 + "ms", inserted="", place=0)
@example(text='{"NPU_compute_time": {"mean": NaN}}', inserted="", place=0)
@example(text="[" * 50_000, inserted="", place=0)
@example(text="{" * 50_000, inserted="", place=0)
@example(text='{"a":' * 50_000, inserted="", place=0)
def test_whatever_the_text_it_is_a_record_or_one_line(text: str, inserted: str, place: int) -> None:
    try:
        found = parse(text[:place] + inserted + text[place:])
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        for figure in (found.throughput, found.sample_latency, found.batch_latency):
            assert figure is None or figure > 0
        json.dumps(found.to_dict(), allow_nan=False)


# ------------------------------------------------------------------ the forms


def test_a_log_of_two_runs_has_the_rounds_of_the_last() -> None:
    def run(ms: float) -> str:
        rounds = "".join(f"[INFO] Dataset number: {k} finished cost {ms}ms\n" for k in range(20))
        return f"{rounds}ave_throughputRate: 157.187samples/s, ave_latency: 6.362ms\n"

    found = parse(run(25.448) + run(50.9))
    assert (found.batch, found.spread and found.spread.count) == (8, 20)
    assert parse(run(25.448)).batch == 4


def test_a_mark_of_the_byte_order_is_no_part_of_a_text() -> None:
    for text in (PURE, DATASET, json.dumps({"NPU_compute_time": {"mean": 2.0}})):
        assert parse(f"\ufeff{text}") == parse(text)


def test_the_rounds_of_pure_inference_tell_the_batch() -> None:
    text = render_rounds([25.4, 25.8, 25.6]) + PURE
    found = parse(text)
    assert (found.batch, found.batch_from) == (4, "the lines")
    assert found.spread is not None
    assert (found.spread.min, found.spread.max, found.spread.median, found.spread.count) == (25.4, 25.8, 25.6, 3)
    assert found.problems == ()
    (problem,) = parse(text, batch=8).problems
    assert problem.startswith("the rounds take 25.6 ms on average")
    assert parse(PURE).batch is None


def test_a_dataset_file_tells_the_batch_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "perf_vision_batchsize_4_device_0.txt"
    file.write_text(DATASET)
    found = read(file, card=CARDS[0], samples=40_000)
    assert (found.batch, found.batch_from, found.samples) == (4, "the file's name", 40_000)
    assert (found.throughput, found.card_throughput) == (60, 240)
    assert str(found.card) == "Atlas 300I x 4"
    assert found.stages[4] == Stage("post", 11.25, 88)
    assert found.problems == ()
    assert read(file, batch=8).problems == (
        "infer and post tell of a batch of 4, not of 8",
        "the batch is 4 in the file's name, and 8 was given",
    )
    assert parse(DATASET).batch_from == "the lines"


def test_what_cannot_be_so_in_a_dataset_run_is_told() -> None:
    slower = DATASET.replace("Interface throughputRate: 60", "Interface throughputRate: 30")
    assert "infer runs 45 samples/s, above the 30 of the device in it" in parse(slower).problems
    assert "e2e tells of 40000 samples, and there were 50000" in parse(DATASET, samples=50_000).problems
    twice = parse(DATASET + "[infer] throughputRate: 45, Interface throughputRate: 61, moduleLatency: 21\n")
    assert twice.throughput == 61
    assert any("a second line [infer] with other figures" in problem for problem in twice.problems)
    assert parse(DATASET + DATASET).problems == ()
    odd = parse(DATASET.replace("[data read] throughputRate: 50", "[data read] throughputRate: -nan"))
    assert odd.problems == ("the summary, line 2: throughputRate of data read is -nan, which no measurement gives",)
    assert "Interface throughputRate is missing" in refused("[e2e] throughputRate: 1, latency: 2")


def test_ais_bench_is_computed_again() -> None:
    found = parse(AIS)
    assert found.throughput == pytest.approx(148.1286544184991, rel=1e-12)
    assert found.problems == ()
    edited = parse(AIS.replace("148.1286544184991", "158.1"))
    assert edited.throughput == found.throughput
    assert edited.problems == ("the throughput is printed as 158.1, and 1000 * 64 / 432.057 is 148.129",)
    assert parse(AIS, batch=32).problems == ("the batch is 64 in the text, and 32 was given; the text's is taken",)
    assert "the mean is 400 ms in one line" in parse(AIS.replace("mean = 432.0568511962891", "mean = 400")).problems[0]


def test_ais_bench_on_several_devices() -> None:
    text = (
        "i:0 device_0 throughput:100.5 start_time:1 end_time:2\ni:1 device_1 throughput:99.5 start_time:1 end_time:2\n"
    )
    found = parse(f"[INFO] {text}summary throughput:200.0\n", batch=4)
    assert (found.form, found.throughput, found.formula) == (
        Form.AIS_BENCH_DEVICES,
        100,
        "summary throughput / 2 devices",
    )
    assert found.problems == ()
    assert parse(f"{text}summary throughput:300").problems == (
        "the summary throughput is 300, and the devices' make 200",
    )


def test_ais_bench_json_that_contradicts_itself() -> None:
    data = {"NPU_compute_time": {"min": 3, "max": 2, "mean": 2.5}, "throughput": 400, "npu_compute_time_list": [9, 9]}
    found = parse(json.dumps(data))
    assert found.batch == 1
    assert found.problems == (
        "the mean is 2.5 ms and that of npu_compute_time_list 9 ms",
        "the minimum (3 ms) is above the mean (2.5 ms)",
        "the mean (2.5 ms) is above the maximum (2 ms)",
        "the minimum (3 ms) is above the maximum (2 ms)",
    )
    assert "no summary of ais_bench" in refused('{"throughput": 3}')
    assert "NPU_compute_time: mean is -1" in refused('{"NPU_compute_time": {"mean": -1}}')
    assert "begins as JSON and is none" in refused("{")


def test_msame() -> None:
    found = parse(MSAME, batch=2)
    assert (found.form, found.batch_latency, found.sample_latency) == (Form.MSAME, 10.5, 5.25)
    assert found.formula == "1000 * batch / average time without the first run"
    assert found.spread is not None
    assert (found.spread.min, found.spread.count) == (10, 2)
    assert found.problems == ()
    without = parse(MSAME)
    assert (without.throughput, without.sample_latency, without.batch_latency) == (None, None, 10.5)
    assert without.card_throughput is None
    first = parse("Inference average time: 11 ms")
    assert (first.batch_latency, first.formula) == (11, "1000 * batch / average time")
    (problem,) = parse(MSAME.replace("11.00", "15")).problems
    assert problem == "the average is printed as 15 ms, and the runs give 11 ms"


def test_trtexec_7_takes_the_block_of_the_gpu() -> None:
    found = parse(TRT_7, batch=1)
    assert found.form is Form.TRTEXEC_7
    assert found.spread == Spread(12.8522, 12.3789, 17.5124, 12.7339, ((99.0, 16.9),))
    assert found.throughput == pytest.approx(1000 / 12.7339)
    assert found.throughput_by("mean") == pytest.approx(1000 / 12.8522)
    assert "which block of times is that of GPU Compute cannot be told" in refused(TRT_7.replace("GPU Compute", "?"))


def test_trtexec_8_has_several_percentiles() -> None:
    found = parse(TRT_8, batch=16)
    assert found.form is Form.TRTEXEC_8
    assert found.spread == Spread(13.8, 13, 14.6, 13.7, ((90.0, 14.1), (95.0, 14.2), (99.0, 14.5)))
    assert found.throughput == pytest.approx(16_000 / 13.7)
    assert "neither a median nor a mean" in refused("GPU Compute Time: min = 1 ms, max = 2 ms")


@pytest.mark.parametrize("text", EVERY.values(), ids=EVERY)
def test_two_summaries_that_differ_are_told(text: str) -> None:
    other = text.replace("157.113", "158").replace("Rate: 60,", "Rate: 61,")
    other = other.replace("148.1286544184991", "148.2").replace("12.7339", "12.8").replace("10.50 ms", "10.4 ms")
    other = other.replace("13.7 ms", "13.6 ms")
    assert other != text
    found = parse(text + other, batch=1) if "GPU" in text else parse(text + other)
    assert any("differ" in problem or "other figures" in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(("one", "other"), [("pure", "ais"), ("dataset", "pure"), ("8", "msame")])
def test_summaries_of_two_tools_are_refused(one: str, other: str) -> None:
    assert "summaries of several tools" in refused(EVERY[one] + EVERY[other])


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no summary that is known; known are those of benchmark"),
        ("hello\nworld", "holds no summary that is known"),
        (PURE.replace("157.113", "157,113"), "ave_throughputRate is 157,113: a number with a comma"),
        (PURE.replace("157.113", "nan"), "ave_throughputRate is nan, which no measurement gives"),
        (PURE.replace("157.113", "-157"), "ave_throughputRate is -157"),
        (PURE.replace("157.113", "0"), "ave_throughputRate is 0"),
        (PURE.replace("157.113", "1e-320"), "ave_throughputRate is 1e-320"),
        (PURE.replace("157.113", "1e300"), "ave_throughputRate is 1e300"),
        (PURE.replace("157.113", "1e999"), "ave_throughputRate is 1e999"),
        (PURE.replace("157.113", "1.5.7"), "ave_throughputRate is 1.5.7"),
        (PURE.replace("6.41437", "inf"), "line 1: ave_latency is inf"),
        (DATASET.replace("Rate: 60,", "Rate: 60,5,"), "line 4: Interface throughputRate is 60,5"),
        (AIS.replace("batchsize(64)", "batchsize(0)"), "line 3: the batch is 0"),
        (TRT_8.replace("13.7 ms", "nan ms"), "line 5: the median is nan"),
        ('{"NPU_compute_time": {"mean": NaN}}', "NPU_compute_time: mean is nan"),
        ('{"NPU_compute_time": {"mean": true}}', "NPU_compute_time: mean is True"),
        ('{"NPU_compute_time": [1]}', "no summary of ais_bench"),
    ],
)  # fmt: skip
def test_text_that_is_no_summary_is_one_line(text: str, message: str) -> None:
    assert message in refused(text)


def test_full_width_digits_and_commas_read_as_what_they_stand_for() -> None:
    found = parse("ave_throughputRate：１５７．１１３samples/s，ave_latency：６．４１４３７ms")
    assert (found.throughput, found.sample_latency) == (157.113, 6.41437)


def test_a_batch_that_is_none_is_refused() -> None:
    assert "a batch is 1 or more, not 0" in refused(PURE, batch=0)
    assert "a batch is 1 or more, not 1000" in refused(PURE, batch=10**16)
    assert "a number of samples is 1 or more, not -3" in refused(DATASET, samples=-3)


def test_files_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage, chinese, utf16 = tmp_path / "garbage", tmp_path / "chinese", tmp_path / "utf16"
    garbage.write_bytes(bytes(range(256)) * 9)
    utf16.write_bytes(PURE.encode("utf-16"))
    chinese.write_bytes(("性能\n" + PURE.replace(":", "：")).encode("gb18030"))
    for path in (garbage, utf16):
        with pytest.raises(UsageError, match=f"{path.name}: is no text"):
            read(path)
    assert read(chinese).throughput == 157.113
    with pytest.raises(UsageError, match="none: cannot be read: No such file"):
        read(tmp_path / "none")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read(tmp_path)
    monkeypatch.setattr(summaries, "LARGEST", 100)
    large = tmp_path / "large"
    large.write_text(PURE * 3)
    with pytest.raises(UsageError, match="large: is larger than 0 MiB: no summary"):
        read(large)


def test_long_lines_are_read_in_linear_time() -> None:
    assert parse("min: mean " * 1_000_000 + "\n" + PURE).throughput == 157.113
    refused("[infer] throughputRate" * 1_000_000)


# ------------------------------------------------------------------ the record


def test_cards() -> None:
    assert Card.of("Ascend310") == Card.of("atlas 300i") == Card("Atlas 300I", 4)
    assert Card.of("Atlas 300I Duo").devices == 2
    assert [Card.of(name).devices for name in ("Ascend310P3", "310P1", "Ascend710", "Ascend910B1", "300I Pro")] == [
        1
    ] * 5
    with pytest.raises(UsageError, match="Tesla T4: how many devices that card has is not known"):
        Card.of("Tesla T4")
    with pytest.raises(UsageError, match="1 device or more"):
        Card("none", 0)
    assert parse(PURE).card is ONE_DEVICE


def test_a_record_says_what_it_is_in_json() -> None:
    found = parse(AIS, card=Card.of("Ascend310")).to_dict()
    assert found["devices_per_card"] == 4
    assert found["card_throughput"] == pytest.approx(4 * 148.1286544184991)
    assert found["formula"] == "1000 * batch / mean of NPU_compute_time"
    assert found["spread_ms"]["percentiles"] == {"99": 432.2307962036133}


def test_records_need_times() -> None:
    for times, batch in (([], 1), ([1.0, 0.0], 1), ([1.0], 0), ([float("nan")], 1)):
        with pytest.raises(UsageError, match="each above 0"):
            Performance.of_rounds(times, batch)
    with pytest.raises(UsageError, match="give its batch"):
        render(parse(MSAME))

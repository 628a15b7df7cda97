"""The raw log lines of five public guides, and the figures that these print of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from onnxfuse.drivers.performance import ONE_DEVICE, Card, Performance, cross_check
from onnxfuse.drivers.summaries import parse

CASES: Final = json.loads((Path(__file__).parent / "guide_figures.json").read_text(encoding="utf-8"))
CARDS: Final = {4: Card.of("Ascend310"), 1: Card.of("Ascend310P3"), None: ONE_DEVICE}


def parsed(case: dict[str, Any], batch: int | None = None) -> Performance:
    return parse(case["log"], batch=batch or case["batch"], card=CARDS[case["factor"]])


def case_of(model: str, batch: int, run: str = "npu") -> dict[str, Any]:
    (case,) = (c for c in CASES if (c["model"], c["batch"], c["run"]) == (model, batch, run))
    assert isinstance(case, dict)
    return case


def series(model: str, run: str) -> dict[str, Performance]:
    return {f"bs{c['batch']}": parsed(c) for c in CASES if (c["model"], c["run"]) == (model, run)}


def test_all_printed_figures_come_out_of_the_lines() -> None:
    printed = [case for case in CASES if case["printed_fps"] is not None]
    assert len(printed) == 36
    for case in printed:
        assert parsed(case).card_throughput == pytest.approx(case["printed_fps"], rel=1e-3), case
        assert parsed(case).card.devices == (case["factor"] or 1)


def test_every_line_is_read_and_the_others_have_their_latency() -> None:
    for case in CASES:
        found = parsed(case)
        assert found.throughput is not None
        assert found.sample_latency == pytest.approx(1000 / found.throughput, rel=0.02)
        assert found.batch_latency == pytest.approx(found.sample_latency * case["batch"])


def test_only_the_edited_lines_contradict_themselves() -> None:
    found = {(c["model"], c["batch"], c["run"]): list(parsed(c).problems) for c in CASES if parsed(c).problems}
    assert found.keys() == {("nasnet", 16, "gpu"), *(("deepmar", batch, "npu") for batch in (4, 8, 16, 32, 64))}
    assert found["nasnet", 16, "gpu"] == [
        "the mean (144.832 ms) is above the maximum (144.449 ms)",
        "the median (145.072 ms) is above the maximum (144.449 ms)",
    ]
    assert "e2e runs 461.7 samples/s, above the 222.175 of infer in it" in found["deepmar", 8, "npu"]
    assert "e2e runs 198.011 samples/s, above the 123.037 of preprocess in it" in found["deepmar", 4, "npu"]
    assert "infer and post tell of a batch of 29, not of 32" in found["deepmar", 32, "npu"]
    assert "infer and post tell of a batch of 26.3, not of 64" in found["deepmar", 64, "npu"]


@pytest.mark.parametrize(
    ("model", "batch", "label"),
    [("deepmar", 16, 8), ("lvvit", 8, 16), ("lvvit", 32, 16), ("lresnet", 8, 16), ("lresnet", 32, 16)],
)
def test_a_wrong_batch_in_a_label_is_told_by_the_lines(model: str, batch: int, label: int) -> None:
    found = parsed(case_of(model, batch), label)
    assert any(
        f"infer and post tell of a batch of {batch}" in p and f"not of {label}" in p for p in found.problems
    ) or any(p.startswith("infer and post tell of a batch of 15.9") for p in found.problems)
    unlabelled = parse(case_of(model, batch)["log"])
    assert (unlabelled.batch, unlabelled.batch_from) == (batch, "the lines")


def test_the_guide_divides_by_the_median_where_it_says_mean() -> None:
    found = parsed(case_of("nasnet", 1, "gpu"))
    assert found.throughput_by("median") == found.throughput == pytest.approx(78.55, rel=1e-3)
    assert found.throughput_by("mean") == pytest.approx(77.808, rel=1e-4)
    assert found.formula == "1000 * batch / median of GPU Compute"


def test_two_runs_of_one_guide_share_their_lines() -> None:
    found = cross_check(series("deepmar", "npu"))
    assert len(found) == 2
    assert found[0].startswith(
        "bs32 and bs64 have the same e2e latency, data read latency, preprocess latency, infer latency"
    )
    assert found[1] == (
        "the runs took different numbers of samples by their e2e lines: "
        "bs1 7600, bs8 176626, bs4 52381, bs16 81551, bs32 51353, bs64 45940"
    )
    for case in (c for c in CASES if c["model"] == "deepmar"):
        told = [p for p in parse(case["log"], samples=7600).problems if p.endswith("samples, and there were 7600")]
        assert len(told) == (case["batch"] != 1)


def test_a_model_of_batch_1_is_seen_on_a_gpu() -> None:
    found = cross_check(series("icnet", "gpu"))
    assert "bs16 (batch 16) takes 13.5699 ms a batch and bs1 (batch 1) 13.8707 ms" in found[2]
    assert all(line.endswith("the model seems to run the same batch in both") for line in found)


@pytest.mark.parametrize(
    ("model", "run"),
    [
        ("nasnet", "npu"),
        ("nasnet", "gpu"),
        ("lvvit", "npu"),
        ("lvvit", "npu-after"),
        ("icnet", "npu"),
        ("lresnet", "npu"),
    ],
)
def test_the_other_series_agree_with_themselves(model: str, run: str) -> None:
    assert cross_check(series(model, run)) == []

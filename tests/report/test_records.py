"""What a report answers about itself."""

from __future__ import annotations

import dataclasses

import pytest

from onnxfuse.report.records import PassReport, Place
from tests.report.reports import applied, eventful, report


def test_outcomes_of_all_passes() -> None:
    found = eventful()
    assert [outcome.index for outcome in found.applied] == [1, 2]
    assert [outcome.at.node for outcome in found.declined] == ["s7", "s8"]
    assert [outcome.at.node for outcome in found.rejected] == ["bad"]
    assert [outcome.error for outcome in found.failed] == ["ValueError: no"]
    assert found.modified
    assert not report(PassReport("p", "exact")).modified


def test_a_place_is_written_with_its_scope() -> None:
    assert str(Place("relu", "Relu")) == "relu"
    assert str(Place("relu", "Relu", ("loop", "if"))) == "loop/if/relu"


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        eventful().pipeline = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("steps", "final"),
    [
        ([], {}),
        ([{"a": "b"}], {"a": "b"}),
        ([{"a": "b"}, {"b": "c"}, {"c": "d"}], {"a": "d", "b": "d", "c": "d"}),
        ([{"a": "b"}, {"b": None}], {"a": None, "b": None}),
        ([{"a": None}, {"b": "a"}], {"a": None, "b": "a"}),
    ],
)
def test_renamed_values(steps: list[dict[str, str | None]], final: dict[str, str | None]) -> None:
    rewrites = tuple(applied(index, "value-tested", values=step) for index, step in enumerate(steps, 1))
    assert report(PassReport("p", "exact", applied=rewrites)).renamed_values == final


def test_renamed_values_of_several_passes() -> None:
    first = PassReport("p", "exact", applied=(applied(1, "value-tested", values={"a": "b"}),))
    second = PassReport("q", "exact", applied=(applied(2, "value-tested", values={"b": "c"}),))
    assert report(first, second).renamed_values == {"a": "c", "b": "c"}
    assert report(second, first).renamed_values == {"a": "b", "b": "c"}

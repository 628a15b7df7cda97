"""`onnxfuse passes`: what there is, and the page of each."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from onnxfuse.passes import PRESETS, MergeSliced
from tests.cli.conftest import Cli


def test_the_list(cli: Cli) -> None:
    lines = cli("passes").out.splitlines()
    assert lines[0].split("  ")[0] == "pass"
    names = {line.split()[0]: line for line in lines if line}
    assert "exact" in names["merge-sliced"]
    assert "onnxfuse" in names["merge-sliced"]
    assert names["merge-sliced"].endswith("Merge consecutive Slice nodes into one.")
    for preset, members in PRESETS.items():
        assert names[preset].split() == [preset, members]
    # The columns stand under their headings.
    column = lines[0].index("what it does")
    assert names["merge-sliced"][column:] == "Merge consecutive Slice nodes into one."
    assert names["remove-pad"][column:] == "Remove a Pad that pads nothing."


def test_a_page(cli: Cli) -> None:
    out = cli("passes", "merge-sliced").out
    assert out.startswith("merge-sliced\n\nMerge consecutive Slice nodes into one.\n\nWhat it does:\n")
    for heading in ("Why", "Example", "When it declines", "Numerics", "Options", "References"):
        assert f"\n{heading}:\n" in out
    assert MergeSliced.__doc__ is not None
    assert "y = Slice(x, y_starts, y_ends, y_axes)" in out


def test_pages_of_several(cli: Cli) -> None:
    out = cli("passes", "remove-pad", "merge-sliced", "remove-pad").out
    assert out.count("\nWhat it does:\n") == 2
    assert out.index("remove-pad") < out.index("merge-sliced")


def test_a_preset_says_what_it_stands_for(cli: Cli) -> None:
    assert cli("passes", "default").out == f"default\n\nA preset: {PRESETS['default']}\n"


def test_json(cli: Cli) -> None:
    listing = cli("passes", "--json").json
    assert listing["schema"] == 1
    assert listing["presets"] == PRESETS
    entries = {entry["name"]: entry for entry in listing["passes"]}
    assert entries["merge-sliced"] == {
        "name": "merge-sliced",
        "summary": "Merge consecutive Slice nodes into one.",
        "numerics": "exact",
        "options": [],
        "presets": [name for name, members in PRESETS.items() if "merge-sliced" in members],
        "origin": "onnxfuse",
        "page": entries["merge-sliced"]["page"],
    }
    assert entries["merge-sliced"]["page"].startswith("Merge consecutive Slice nodes into one.\n\nWhat it does:\n")


def test_json_of_a_preset_has_its_passes(cli: Cli) -> None:
    assert [entry["name"] for entry in cli("passes", "minimal", "--json").json["passes"]] == ["remove-pad"]


@pytest.mark.usefixtures("installed")
def test_passes_of_others_and_one_that_is_broken(cli: Cli) -> None:
    lines = {line.split()[0]: line for line in cli("passes").out.splitlines() if line}
    assert lines["raise-on-relu"].split()[:3] == ["raise-on-relu", "exact", "badmanners"]
    assert "the pass 'nowhere' cannot be imported from badmanners_is_not_here:Nowhere" in lines["nowhere"]
    entries = {entry["name"]: entry for entry in cli("passes", "--json").json["passes"]}
    assert entries["name-relu"]["options"] == ["to"]
    assert entries["nowhere"]["numerics"] is None
    # Asked for by its name it is a mistake.
    assert cli("passes", "nowhere").error == lines["nowhere"][lines["nowhere"].index("the pass") :]


def test_two_passes_of_one_name(cli: Cli, installed: Path) -> None:
    points = installed / "badmanners-1.2.dist-info" / "entry_points.txt"
    points.write_text("[onnxfuse.passes]\nmerge-sliced = badmanners:ReluToNeg\n")
    assert EntryPoint("merge-sliced", "badmanners:ReluToNeg", "onnxfuse.passes").module == "badmanners"
    error = cli("passes").error
    assert error == ("two passes are called 'merge-sliced': badmanners:ReluToNeg and onnxfuse's; uninstall one of them")

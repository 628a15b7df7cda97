"""NASNet-A-Large, from the committed graph without weights: what merges, and that it computes the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxfuse
from onnxfuse.cli.main import main
from onnxfuse.report.records import Applied
from onnxfuse.testing import fill
from tests.examples.commands import ROOT, commands_of, console_of, normalized
from tests.examples.graphs import results

FOLDER = ROOT / "examples" / "nasnetlarge"
STRIPPED = FOLDER / "nasnetlarge.onnx"


def places(applied: tuple[Applied, ...]) -> list[tuple[Any, ...]]:
    """What identifies rewrites: where, what went, what came, and what became of the values."""
    return [(o.index, str(o.at), list(o.removed), list(o.added), dict(o.values), o.grade) for o in applied]


def places_of_json(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    def pairs(items: list[dict[str, str]]) -> list[tuple[str, str]]:
        return [(item["node"], item["op_type"]) for item in items]

    return [
        (o["index"], o["at"]["node"], pairs(o["removed"]), pairs(o["added"]), o["values"], o["grade"])
        for item in report["passes"]
        for o in item["applied"]
    ]


def test_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One test, since its 355 MB of weights are best drawn once."""
    monkeypatch.chdir(tmp_path)
    Path("build").mkdir()
    onnx.save(fill(onnx.load(STRIPPED)), "build/nasnetlarge.onnx")
    (command,) = [line for line in commands_of(ROOT / "README.md") if "apply" in line and "nasnetlarge" in line]
    assert main([*command.split()[1:], "--json"]) == 0
    out, err = capfd.readouterr()

    # The report, as the README shows it.
    assert normalized(err.splitlines()) == normalized(console_of(ROOT / "README.md", command))
    report = json.loads(out)
    assert report["before"]["ops"]["Slice"] == 30
    assert report["after"]["ops"]["Slice"] == 19
    (merged,) = report["passes"]
    assert len(merged["applied"]) == 11
    assert (merged["declined"], merged["rejected"], merged["failed"]) == ([], [], [])
    assert {item["grade"] for item in merged["applied"]} == {"exact-for-all-shapes"}
    assert report["verification"]["model"]["status"] == "equivalent"

    # The results at batch 1, by a runtime that onnxfuse has no part in.
    image = np.random.default_rng(1).uniform(-1, 1, (1, 3, 331, 331)).astype(np.float32)
    (before,), (after,) = (results(Path(f"build/nasnetlarge{name}.onnx"), image) for name in ("", "_merged"))
    assert before.shape == (1, 1001)
    assert before.std() > 1e-3  # a constant output would hide anything
    assert np.isfinite(before).all()
    assert before.tobytes() == after.tobytes()

    # The weights were carried as they are, and the interface was kept.
    old, new = onnx.load("build/nasnetlarge.onnx"), onnx.load("build/nasnetlarge_merged.onnx")
    weights = {tensor.name: tensor for tensor in new.graph.initializer}
    assert all(weights[tensor.name] == tensor for tensor in old.graph.initializer)
    assert (old.graph.input, old.graph.output, old.opset_import) == (
        new.graph.input,
        new.graph.output,
        new.opset_import,
    )

    # The same rewrites, with the same names, on the graph without weights.
    stripped = onnxfuse.apply(STRIPPED, "merge-sliced", verify="region").report
    assert places(stripped.applied) == places_of_json(report)


def test_what_merges_is_what_the_guide_merges_by_name() -> None:
    """Eleven pairs x[:, :, 1:, 1:]: four in cells behind a Pad, seven in a reduction cell."""
    model = onnx.load(STRIPPED)
    report = onnxfuse.apply(model, "merge-sliced", verify="structure").report
    cells = Counter(outcome.at.node.split("/")[1] for outcome in report.applied)
    assert cells == {"cell_stem_1": 1, "cell_0": 1, "cell_6": 1, "cell_12": 1, "reduction_cell_0": 7}
    assert all([op_type for _, op_type in outcome.removed] == ["Slice", "Slice"] for outcome in report.applied)

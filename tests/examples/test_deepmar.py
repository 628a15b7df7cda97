"""DeepMAR, from the committed graphs without weights: the Pad of old exporters goes, and that is all."""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxfuse
from onnxfuse.cli.main import main
from tests.examples.commands import ROOT, commands_of, console_of, need, normalized, run_fill
from tests.examples.graphs import assert_same_graph, results

FOLDER = ROOT / "examples" / "deepmar"
README = FOLDER / "README.md"


@pytest.mark.parametrize(("stem", "removed"), [("deepmar_oldpad", 1), ("deepmar", 0)])
def test_from_end_to_end(
    stem: str, removed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The README's session, and the results by a runtime that onnxfuse has no part in."""
    monkeypatch.chdir(tmp_path)
    run_fill(README, f"build/{stem}.onnx", tmp_path)
    (command,) = [line for line in commands_of(README) if f"apply build/{stem}.onnx" in line]
    _, *argv = command.split()
    assert main([*argv, "--json"]) == 0
    out, err = capfd.readouterr()
    assert normalized(err.splitlines()) == normalized(console_of(README, command))

    report = json.loads(out)
    (passed,) = report["passes"]
    assert len(passed["applied"]) == removed
    assert (passed["declined"], passed["rejected"], passed["failed"]) == ([], [], [])
    before, after = Path(f"build/{stem}.onnx"), Path(argv[3])
    if not removed:
        assert after.read_bytes() == before.read_bytes()
        return
    assert report["verification"]["model"]["status"] == "equivalent"
    (applied,) = passed["applied"]
    assert applied["grade"] == "exact-for-all-shapes"
    assert [item["op_type"] for item in applied["removed"]] == ["Pad"]
    assert (report["before"]["ops"]["Pad"], report["after"]["ops"].get("Pad", 0)) == (1, 0)
    image = np.random.default_rng(1).normal(size=(2, 3, 224, 224)).astype(np.float32)
    (old,), (new,) = results(before, image), results(after, image)
    assert old.shape == (2, 35)
    assert np.isfinite(old).all()
    assert old.std(axis=0).mean() > 1e-3  # images that gave the same would hide anything
    assert old.tobytes() == new.tobytes()

    # The same rewrite, at the same place, on the graph without weights.
    stripped = onnxfuse.apply(FOLDER / f"{stem}.onnx", "remove-pad", verify="region").report
    assert [(str(item.at), item.grade) for item in stripped.applied] == [
        (applied["at"]["node"], "exact-for-all-shapes")
    ]


def test_the_old_form_is_the_new_one_as_old_exporters_wrote_it() -> None:
    """All that --old-pad does, on the graph without weights: it needs no torch."""
    model = onnx.load(FOLDER / "deepmar.onnx")
    runpy.run_path(str(FOLDER / "export.py"))["write_pools_as_before"](model)
    assert_same_graph(model, onnx.load(FOLDER / "deepmar_oldpad.onnx"))


def test_the_old_form_computes_the_same_where_there_is_something_to_pad(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 11]>
        agraph (float[1, 2, 7, 7] x) => (float[1, 2, h, w] y, float[1, 2, h2, w2] z) {
            y = AveragePool <count_include_pad = 1, kernel_shape = [3, 4], pads = [1, 2, 0, 1], strides = [2, 1]> (x)
            z = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)
        }
    """)
    onnx.save(model, tmp_path / "new.onnx")
    runpy.run_path(str(FOLDER / "export.py"))["write_pools_as_before"](model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "old.onnx")
    assert [node.op_type for node in model.graph.node] == ["Constant", "Pad", "AveragePool", "AveragePool"]
    assert [node.name for node in model.graph.node[:2]] == ["Constant_0", "Pad_1"]
    x = np.random.default_rng(2).normal(size=(1, 2, 7, 7)).astype(np.float32)
    for new, old in zip(results(tmp_path / "new.onnx", x), results(tmp_path / "old.onnx", x), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-6, atol=1e-6)


def test_the_old_form_is_for_the_opsets_that_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need("torch", importlib.util.find_spec("torch") is not None)
    monkeypatch.chdir(tmp_path)
    export = runpy.run_path(str(FOLDER / "export.py"))
    assert export["EXPORTING"]["main"](export["NETWORK"], ["out.onnx", "--old-pad", "--opset", "14"]) == 2
    assert capsys.readouterr().err == "export.py: error: --old-pad is not for opset 14: choose 11 to 13\n"
    assert list(tmp_path.iterdir()) == []

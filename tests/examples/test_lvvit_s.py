"""LV-ViT-S, from the committed graphs without weights: which Softmaxes get Transposes, and that it computes the same."""

from __future__ import annotations

import importlib.util
import json
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxfuse
from onnxfuse.cli.main import main
from tests.examples.commands import ROOT, commands_of, console_of, need, normalized, run_fill
from tests.examples.graphs import results, wiring

FOLDER = ROOT / "examples" / "lvvit_s"
README = FOLDER / "README.md"
BLOCKS = 16

Session = Callable[[str], dict[str, Any]]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Session:
    """Runs the README's session whose command ends in a pipeline, and returns the report."""
    monkeypatch.chdir(tmp_path)

    def run(ending: str) -> dict[str, Any]:
        (command,) = [
            line for line in commands_of(README) if line.startswith("onnxfuse apply") and line.endswith(ending)
        ]
        _, *argv = shlex.split(command)
        run_fill(README, argv[1], tmp_path)
        assert main([*argv, "--json"]) == 0
        out, err = capfd.readouterr()
        assert normalized(err.splitlines()) == normalized(console_of(README, command))
        report: dict[str, Any] = json.loads(out)
        return {**report, "written": Path(argv[3]), "read": Path(argv[1])}

    return run


def assert_wrapped(report: dict[str, Any]) -> None:
    """16 Softmaxes between two Transposes each, and results that differ by rounding at most, at two batches."""
    before, after = report["before"]["ops"], report["after"]["ops"]
    assert (before["Softmax"], after["Softmax"]) == (BLOCKS, BLOCKS)
    assert after["Transpose"] - before["Transpose"] == 2 * BLOCKS
    assert report["verification"]["model"]["status"] == "equivalent"
    wrapped = onnx.load(report["written"])
    producers = {output: node for node in wrapped.graph.node for output in node.output}
    for node in wrapped.graph.node:
        if node.op_type == "Softmax":
            users = [user for user in wrapped.graph.node if node.output[0] in user.input]
            swaps = [producers[node.input[0]], *users]
            assert [swap.op_type for swap in swaps] == ["Transpose"] * 2
            assert [list(swap.attribute[0].ints) for swap in swaps] == [[0, 3, 2, 1]] * 2
            assert [(item.name, item.i) for item in node.attribute] == [("axis", 1)]
    for batch in (1, 2):
        images = np.random.default_rng(batch).normal(size=(batch, 3, 224, 224)).astype(np.float32)
        (old,), (new,) = results(report["read"], images), results(report["written"], images)
        assert old.shape == (batch, 1000)
        assert np.isfinite(old).all()
        assert old.std(axis=1).min() > 1e-2  # a constant output would hide anything
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-5 * np.abs(old).max())


def test_at_opset_13(session: Session) -> None:
    report = session("build/lvvit_s_wrapped.onnx -p transpose-around-softmax")
    (passed,) = report["passes"]
    assert len(passed["applied"]) == BLOCKS
    assert (passed["declined"], passed["rejected"], passed["failed"]) == ([], [], [])
    assert_wrapped(report)

    # The same rewrites, with the same names, on the graph without weights.
    stripped = onnxfuse.apply(FOLDER / "lvvit_s.onnx", "transpose-around-softmax", verify="structure").report
    assert [(item.at.node, item.values) for item in stripped.applied] == [
        (item["at"]["node"], item["values"]) for item in passed["applied"]
    ]


def test_at_opset_11_the_reason_names_what_to_do(session: Session) -> None:
    report = session("build/lvvit_s_same.onnx -p transpose-around-softmax")
    (passed,) = report["passes"]
    assert (passed["applied"], len(passed["declined"])) == ([], BLOCKS)
    assert all("below opset 13" in item["reason"] for item in passed["declined"])
    assert all("convert-opset{to=13}" in item["reason"] for item in passed["declined"])
    assert report["written"].read_bytes() == report["read"].read_bytes()


def test_at_opset_11_converted_first(session: Session) -> None:
    report = session("-p 'convert-opset{to=13},transpose-around-softmax'")
    converted, wrapped = report["passes"]
    assert (converted["rejected"], converted["failed"]) == ([], [])
    assert len(wrapped["applied"]) == BLOCKS
    assert (wrapped["declined"], wrapped["rejected"], wrapped["failed"]) == ([], [], [])
    assert_wrapped(report)
    assert [(item.domain, item.version) for item in onnx.load(report["written"]).opset_import] == [("", 13)]


def test_it_is_what_the_guide_gets_by_patching_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two narrow blocks of the network: the patched source exports to the graph that the pass makes."""
    need("torch", importlib.util.find_spec("torch") is not None)
    import torch

    export = runpy.run_path(str(FOLDER / "export.py"))
    network, exporting = export["NETWORK"], export["EXPORTING"]
    model = runpy.run_path(str(network.definition))["LVViTS"](10, depth=2, width=48, hidden=96)
    model.load_state_dict(exporting["random_state"](model, 0))
    exporting["trace"](network, model.eval(), 224, 13, tmp_path / "plain.onnx")
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, dim: softmax(x.transpose(1, dim), 1).transpose(1, dim))
    exporting["trace"](network, model, 224, 13, tmp_path / "patched.onnx")

    plain, patched = onnx.load(tmp_path / "plain.onnx"), onnx.load(tmp_path / "patched.onnx")
    assert wiring(plain) != wiring(patched)
    done, report = onnxfuse.apply(plain, "transpose-around-softmax")
    assert len(report.applied) == 2
    assert wiring(done) == wiring(patched)

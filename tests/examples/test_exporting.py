"""What the export scripts share: checkpoints are loaded strictly, random weights are seeded, mistakes get one line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.examples.commands import ROOT, commands_of, need, run

FOLDERS = sorted(path.parent for path in ROOT.glob("examples/*/export.py"))


@pytest.fixture
def torch() -> Any:
    """The module, which all but the mistakes need."""
    need("torch", importlib.util.find_spec("torch") is not None)
    return importlib.import_module("torch")


@pytest.fixture
def exporting() -> dict[str, Any]:
    """What examples/exporting.py defines."""
    return runpy.run_path(str(ROOT / "examples" / "exporting.py"), run_name="exporting")


# For each network the count of the public checkpoint's entries and of its trained numbers, and a digest of its names
# and shapes: sha256 of the sorted list of [name, shape] as JSON.
PUBLIC = {
    "deepmar": (320, 23_579_747, "a58c1e44c7a2bd18c58a9f3c99693f1925de3bba5905bf9ce7c8304870315053"),
    "lvvit_s": (204, 26_151_824, "8be22ca9adcadc52d54580c7c691e94c209657eabdd7e1b34fc1cb20f5552400"),
    "nasnetlarge": (1810, 88_757_183, "885727ef20971e7a21815069a76354c98a0224e6f24d646aaf9dc4672fd19e29"),
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_names_and_shapes_are_the_public_ones(folder: Path, torch: Any) -> None:
    network = runpy.run_path(str(folder / "export.py"))["NETWORK"]
    with torch.device("meta"):  # shapes without memory
        model, _ = network.build()
    entries = sorted([name, list(value.shape)] for name, value in model.state_dict().items())
    count, parameters, digest = PUBLIC[folder.name]
    assert len(entries) == count
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert hashlib.sha256(json.dumps(entries).encode()).hexdigest() == digest


def test_a_checkpoint_is_loaded_strictly(tmp_path: Path, exporting: dict[str, Any], torch: Any) -> None:
    model = torch.nn.Linear(3, 2)
    fits = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    wrong: dict[str, tuple[object, str]] = {
        "missing": ({"weight": fits["weight"]}, "1 missing, first bias"),
        "more": ({**fits, "scale": torch.ones(1)}, "1 unexpected, first scale"),
        "shape": ({**fits, "bias": torch.zeros(3)}, "1 of another shape, first bias [3] instead of [2]"),
        "half-prefixed": ({"module.weight": fits["weight"], "bias": fits["bias"]}, "1 missing, first weight"),
        "list": ([1, 2], "not a state dict, which maps names to tensors"),
        "none-inside": ({"state_dicts": []}, "not a state dict, which maps names to tensors"),
        "code": (print, "not a saved state dict"),
    }
    for name, (content, reason) in wrong.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with pytest.raises(exporting["ExportError"], match=r"^(checkpoint|cannot read checkpoint) ") as raised:
            exporting["load_checkpoint"](model, path)
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(exporting["ExportError"], match="not a saved state dict"):
        exporting["load_checkpoint"](model, tmp_path / "text.pth")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("place", ["itself", "state_dict", "state_dicts"])
def test_a_checkpoint_in_the_forms_that_training_writes(
    tmp_path: Path, exporting: dict[str, Any], torch: Any, place: str, prefix: str
) -> None:
    model = torch.nn.Linear(3, 2)
    state = {f"{prefix}weight": torch.ones(2, 3), f"{prefix}bias": torch.full((2,), 5.0)}
    content = {
        "itself": state,
        "state_dict": {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
        "state_dicts": {"state_dicts": [state, {"state": {}, "param_groups": []}], "ep": 3, "scores": 0},
    }[place]
    torch.save(content, tmp_path / "checkpoint.pth")
    exporting["load_checkpoint"](model, tmp_path / "checkpoint.pth")
    assert torch.equal(model.weight, torch.ones(2, 3))
    assert torch.equal(model.bias, torch.full((2,), 5.0))


def test_a_checkpoint_from_before_torch_0_4_1(tmp_path: Path, exporting: dict[str, Any], torch: Any) -> None:
    """In the format before the zip, and without the counts that batch normalizations have since."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    state = exporting["random_state"](model, 0)
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 1
    torch.save({"state_dicts": [old]}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    exporting["load_checkpoint"](model, tmp_path / "old.pth")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_random_weights_are_seeded(exporting: dict[str, Any], torch: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    first, again, other = (exporting["random_state"](model, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert first.keys() == model.state_dict().keys()
    assert 0.7 <= float(first["1.running_var"].min()) <= float(first["1.running_var"].max()) <= 1.3


MISTAKES = [
    (["out.onnx", "--opset", "8"], "opset 8 is not supported: choose 9 to 20"),
    (["no/out.onnx"], "cannot write no/out.onnx: no such directory: no"),
    (["."], "cannot write .: it is a directory"),
]


@pytest.mark.parametrize(("argv", "error"), MISTAKES)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    torch: Any,
    folder: Path,
    argv: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    export = runpy.run_path(str(folder / "export.py"))
    assert export["EXPORTING"]["main"](export["NETWORK"], argv) == 2
    assert capsys.readouterr().err == f"export.py: error: {error}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_without_torch_the_error_says_what_to_install(tmp_path: Path, folder: Path) -> None:
    script = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    program = f"import sys; sys.argv = [{str(folder / 'export.py')!r}, 'out.onnx']; {script}"
    done = run(["-c", program], tmp_path)
    line = done.stderr.removesuffix("\n")
    assert (done.returncode, done.stdout, "\n" in line) == (2, "", False)
    assert line.startswith("export.py: error: ")
    (install,) = [command for command in commands_of(folder / "README.md") if command.startswith("pip")]
    assert line.endswith(f"the export needs: {install}")
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_torch(tmp_path: Path) -> None:
    for folder in FOLDERS:
        done = run(["-X", "importtime", str(folder / "export.py"), "--help"], tmp_path)
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0
        assert "argparse" in imported
        assert imported.isdisjoint({"torch", "onnx"})

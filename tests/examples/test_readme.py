"""Every command in the READMEs' code blocks does what it is shown to do."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import onnx
import pytest

from onnxfuse.cli.main import main
from onnxfuse.passes import MergeSliced
from tests.examples.commands import ROOT, commands_of, console_of, make_prints

README = ROOT / "README.md"
EXAMPLES = sorted(ROOT.glob("examples/*/README.md"))

# Each command, with the test that runs it; a command that is not here fails the first test.
TESTED = {
    "make demo": "test_make_demo",
    "make test": "test_make_test",
    "onnxfuse apply build/nasnetlarge.onnx -o build/nasnetlarge_merged.onnx -p merge-sliced": "in test_nasnetlarge.py",
    "onnxfuse passes": "test_passes",
    "onnxfuse strip model.onnx -o graph.onnx": "test_strip_and_fill",
    "onnxfuse fill graph.onnx -o again.onnx": "test_strip_and_fill",
    "mkdir -p build": "run_fill",
    "onnxfuse verify model.onnx out.onnx": "test_verify",
    "onnxfuse bisect model.onnx -p merge-sliced,remove-pad": "test_bisect",
    "onnxfuse bisect model.onnx -p merge-sliced --check 'python judge.py {model}'": "test_bisect",
    "onnxfuse apply model.onnx -o out.onnx --reproducer wrong": "test_bisect",
    'onnxfuse apply model.onnx -o out.onnx -p "onnxsim,gs:fix.fix_model,merge-sliced"': "test_other_peoples_passes",
    (
        "onnxfuse apply model.onnx -o out.onnx "
        "-p \"ir:onnx_ir.passes.common.IdentityEliminationPass,exec:'onnxslim {in} {out}'\""
    ): "test_other_peoples_passes",
    "onnxfuse atc out.onnx --soc Ascend310P3 --batch-size 1,16": "the same options in drivers/test_page.py",
    "onnxfuse bench model.onnx out.onnx": "in drivers/test_bench_page.py",
    "pip install torch onnx": "in test_exporting.py",
    "python examples/nasnetlarge/export.py nasnetlarge.onnx": "test_make_demo, and in test_nasnetlarge_export.py",
    "python examples/nasnetlarge/export.py nasnetlarge.onnx --checkpoint nasnetalarge-a1897284.pth": (
        "in test_nasnetlarge_export.py"
    ),
    "python examples/deepmar/export.py deepmar.onnx": "in test_exports.py",
    "python examples/deepmar/export.py deepmar_oldpad.onnx --checkpoint checkpoint.pth.tar --old-pad": (
        "in test_exports.py"
    ),
    "onnxfuse fill examples/deepmar/deepmar_oldpad.onnx -o build/deepmar_oldpad.onnx": ("in test_deepmar.py"),
    "onnxfuse fill examples/deepmar/deepmar.onnx -o build/deepmar.onnx": "in test_deepmar.py",
    "onnxfuse apply build/deepmar_oldpad.onnx -o build/deepmar_nopad.onnx -p remove-pad": "in test_deepmar.py",
    "onnxfuse apply build/deepmar.onnx -o build/deepmar_same.onnx -p remove-pad": "in test_deepmar.py",
    "python examples/lvvit_s/export.py lvvit_s.onnx --checkpoint lvvit_s-26M-224-83.3.pth.tar": "in test_exports.py",
    "python examples/lvvit_s/export.py lvvit_s_opset11.onnx --opset 11": "in test_exports.py",
    "onnxfuse fill examples/lvvit_s/lvvit_s.onnx -o build/lvvit_s.onnx": "in test_lvvit_s.py",
    "onnxfuse fill examples/lvvit_s/lvvit_s_opset11.onnx -o build/lvvit_s_opset11.onnx": ("in test_lvvit_s.py"),
    "onnxfuse apply build/lvvit_s.onnx -o build/lvvit_s_wrapped.onnx -p transpose-around-softmax": "in test_lvvit_s.py",
    "onnxfuse apply build/lvvit_s_opset11.onnx -o build/lvvit_s_opset13_wrapped.onnx"
    " -p 'convert-opset{to=13},transpose-around-softmax'": "in test_lvvit_s.py",
    "onnxfuse apply build/lvvit_s_opset11.onnx -o build/lvvit_s_same.onnx -p transpose-around-softmax": (
        "in test_lvvit_s.py"
    ),
}


def test_no_command_is_untested() -> None:
    assert {command for readme in (README, *EXAMPLES) for command in commands_of(readme)} == set(TESTED)


def test_make_demo() -> None:
    """The demo is the session that the README shows."""
    (session,) = [command for command in commands_of(README) if "apply build" in command]
    lines = make_prints("demo")
    assert lines[-1] == f"venv/bin/{session}"
    fill = "venv/bin/onnxfuse fill examples/nasnetlarge/nasnetlarge.onnx -o build/nasnetlarge.onnx"
    assert fill in lines
    assert any("pip install" in line and "--editable ." in line for line in lines)


def test_make_test() -> None:
    lines = make_prints("test")
    assert lines[-1].startswith("venv/bin/python -m pytest")
    assert any("--editable '.[test]'" in line for line in lines)


def test_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes"]) == 0
    assert capsys.readouterr().out.splitlines() == console_of(README, "onnxfuse passes")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `model.onnx`: the example of merge-sliced."""
    monkeypatch.chdir(tmp_path)
    text = (MergeSliced.__doc__ or "").partition("Before:")[2].partition("After:")[0]
    onnx.save(onnx.parser.parse_model(text), "model.onnx")
    return tmp_path


def test_verify(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del model
    assert main(["apply", "model.onnx", "-o", "out.onnx"]) == 0
    assert main(["verify", "model.onnx", "out.onnx"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "  y: equivalent (all bits equal)"


def test_strip_and_fill(model: Path) -> None:
    """Those of the README are those of the page on weights, too."""
    commands = [command for command, test in TESTED.items() if test == "test_strip_and_fill"]
    assert set(commands_of(ROOT / "docs" / "weights.md")) == set(commands)
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    assert onnx.load(model / "again.onnx").graph.node == onnx.load(model / "model.onnx").graph.node


def test_bisect(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter of the tests is the one that `python` means.
    (model / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(model), prepend=os.pathsep)
    (model / "judge.py").write_text("import sys\nsys.exit('model.onnx' not in sys.argv[1])\n")
    for command in (command for command, test in TESTED.items() if test == "test_bisect"):
        assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().err.count("nothing to find: the pipeline does no harm") == 2
    assert sorted(path.name for path in model.iterdir()) == ["judge.py", "model.onnx", "out.onnx", "python"]


def test_other_peoples_passes(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxsim", "onnxslim", "onnx_graphsurgeon"):
        pytest.importorskip(name)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (model / "fix.py").write_text("def fix_model(graph):\n    graph.fold_constants().cleanup().toposort()\n")
    for command in (command for command, test in TESTED.items() if test == "test_other_peoples_passes"):
        assert main(shlex.split(command)[1:]) == 0
        assert "rejected:" not in capsys.readouterr().err
        onnx.checker.check_model(model / "out.onnx", full_check=True)


def test_the_python_of_the_readme_runs(model: Path) -> None:
    """The blocks stand on their own or on those before them; they run in the order in which they are shown."""
    namespace: dict[str, object] = {"__name__": "readme"}
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert [node.op_type for node in onnx.load(model / "out.onnx").graph.node] == ["Slice"]


def test_links_lead_somewhere() -> None:
    for readme in (README, *EXAMPLES, ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", readme.read_text()):
            assert (readme.parent / link).exists(), f"{readme.name} links to {link}"

"""onnxsim as a pass."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxfuse
from onnxfuse import MissingExtraError, Pipeline, UsageError
from onnxfuse.adapters import Onnxsim
from onnxfuse.pipeline import registry
from onnxfuse.pipeline.bisect import Answer, bisect
from tests.adapters.models import model, ops
from tests.gauntlet.judge import Outcome
from tests.gauntlet.runner import CASES, Runner

installed = pytest.mark.skipif(importlib.util.find_spec("onnxsim") is None, reason="no onnxsim")


@installed
def test_it_simplifies() -> None:
    result = onnxfuse.apply(model(), "onnxsim,merge-sliced")
    assert ops(result.model) == ["Slice", "Relu"]
    assert [item.name for item in result.report.passes] == ["onnxsim", "merge-sliced"]
    onnx.checker.check_model(result.model, full_check=True)


@installed
def test_what_it_does_wrong_is_rolled_back() -> None:
    case = CASES["argmax_monotone_saturates"]
    with Runner() as runner:
        assert runner.score(case, plainly).verdict.outcome is Outcome.MISCOMPILED
    result = onnxfuse.apply(case.data, "onnxsim")
    assert result.model == case.data
    assert len(result.report.rejected) == 1


@installed
def test_bisect_names_it() -> None:
    found = bisect(CASES["fn_domain_blind_relu"].data, "merge-sliced,onnxsim,remove-pad")
    assert found.answer is Answer.BAD
    assert [str(pass_) for pass_ in found.passes] == ["onnxsim"]


def plainly(data: bytes) -> bytes:
    """onnxsim by itself."""
    import onnxsim

    made: onnx.ModelProto = onnxsim.simplify(onnx.load_from_string(data))[0]
    return made.SerializeToString()


@installed
def test_its_options_are_those_that_it_knows() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "onnxsim", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in ("--skip-fuse-bn", "--skip-constant-folding", "--skip-shape-inference", "--include-subgraph"):
        assert option in said


@installed
def test_an_option_reaches_it() -> None:
    result = onnxfuse.apply(model(), Onnxsim(skip_constant_folding=True, timeout=300))
    assert result.report.passes[0].name == "onnxsim{skip-constant-folding=true,timeout=300}"
    assert "Add" in ops(result.model)


@installed
def test_a_file_of_its_name_in_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("onnxsim", "onnx", "numpy"):
        Path(f"{name}.py").write_text("open('ran', 'w')")
    assert not onnxfuse.apply(model(), "onnxsim").report.rejected
    assert not Path("ran").exists()


def test_it_is_a_pass_by_its_name() -> None:
    assert registry.pass_class("onnxsim") is Onnxsim
    assert registry.origins()["onnxsim"] == "onnxsim"


def test_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxsim" else find(name, *rest)
    )
    with pytest.raises(MissingExtraError) as raised:
        Pipeline.parse("merge-sliced,onnxsim")
    assert str(raised.value) == "onnxsim is needed for the pass onnxsim: pip install 'onnxfuse[simplify]'"


@installed
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_is_none(seconds: Any) -> None:
    with pytest.raises(UsageError, match="onnxsim: timeout is a number of seconds above 0"):
        Onnxsim(timeout=seconds)

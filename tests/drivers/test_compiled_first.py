"""`.onnx` files, which atc compiles first for the tools of a device."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxfuse.drivers.ais_bench import AisBench
from onnxfuse.drivers.benchmark import Benchmark
from onnxfuse.errors import ToolError, UsageError
from tests.drivers.tools import FAKES, Tools, om, raw_dataset

BOTH = ("benchmark", "ais_bench")
MODEL = '<ir_version: 7, opset_import: ["": 11]> g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y, float[N, 72] z)'
BODY = "{ y = Relu(x) z = Flatten(x) }"


def onnx_file(text: str = f"{MODEL} {BODY}") -> Path:
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    return Path("m.onnx")


def with_atc(tools: Tools, name: str, *, device: dict[str, Any] | None = None, **more: str) -> Benchmark | AisBench:
    (tools.folder / "opp").mkdir(exist_ok=True)
    both = {"ASCEND_OPP_PATH": str(tools.folder / "opp"), "PATH": f"{FAKES}:{os.environ['PATH']}", **more}
    return tools.backend(name, device={"soc": "Ascend310", **(device or {})}, **both)


@pytest.mark.parametrize("name", BOTH)
def test_inputs_are_compared_with_the_model(tools: Tools, name: str) -> None:
    dataset = raw_dataset(Path("data"), 2)
    for n in range(2):  # of one size, and that is not the model's
        Path(f"data/s{n}.bin").write_bytes(bytes(100))
    with (
        with_atc(tools, name).compile(onnx_file()) as model,
        pytest.raises(UsageError, match=r"line 1: s0\.bin has 100 bytes, and input x, .* takes 288"),
    ):
        model.infer(dataset, Path("out"))
    assert not Path("out").exists()
    assert [Path(words[0]).name for words in tools.record] == ["atc"]


@pytest.mark.parametrize("name", BOTH)
def test_an_onnx_file_is_compiled_measured_and_run(tools: Tools, name: str) -> None:
    dataset = raw_dataset(Path("data"), 3)
    with with_atc(tools, name, device={"batch_size": 2}).compile(onnx_file()) as model:
        made = model.om
        assert made.is_file()
        assert model.measure(4).batch == 2
        found = model.infer(dataset, Path("out"))
    assert not made.parent.exists()
    assert found.notes == ()
    for files in found.samples.values():
        assert [file.stat().st_size for file in files] == [288, 288]
    # What atc puts where it runs, of kernels and fusions, is gone with the .om.
    assert {path.name for path in Path().iterdir()} == {"data", "m.onnx", "out"}


@pytest.mark.parametrize("name", BOTH)
def test_with_the_graph_sizes_are_known(tools: Tools, name: str) -> None:
    dataset = raw_dataset(Path("data"), 2)
    last = "s1_1" if name == "benchmark" else "00000001_0"
    backend = with_atc(tools, name)
    with backend.compile(onnx_file()) as model:
        for variable, wrong in (("FAKE_MANNER", "short"), ("FAKE_LAST", last)):
            assert model.tool.environment is not None
            model.tool.environment[variable] = wrong  # type: ignore[index]
        with pytest.raises(ToolError, match="of y of 284 bytes, and it should have 144 or 288"):
            model.infer(dataset, Path("out"))
        (Path("data") / "s1.bin").write_bytes(bytes(100))
        with pytest.raises(UsageError, match=r"line 2: .*s1\.bin has 100 bytes"):
            model.infer(dataset, Path("out"))


def test_what_atc_says_is_explained(tools: Tools) -> None:
    with pytest.raises(ToolError, match=r"E16002.*its log is (.*\.log)") as caught:
        with_atc(tools, "benchmark", FAKE_MANNER="fail:E16002").compile(onnx_file())
    log = Path(str(caught.value).rpartition("its log is ")[2])
    assert "E16002" in log.read_text()
    shutil.rmtree(log.parent)


def test_what_does_not_fit_is_told_before_atc_is_asked(tools: Tools) -> None:
    symbolic = onnx_file(MODEL.replace("float[N, 3, 4, 6]", "float[N, 3, H, 6]") + BODY)
    with pytest.raises(UsageError, match=r"input x has symbolic dims, \[1, 3, -1, 6\]: give sizes with --dim"):
        with_atc(tools, "benchmark").compile(symbolic)
    with with_atc(tools, "benchmark", device={"dims": {"H": 4}}).compile(symbolic) as model:
        assert model.batch == 1
    with pytest.raises(UsageError, match="is compiled: sizes of dims and the chip are in it"):
        with_atc(tools, "benchmark").compile(om(Path("m.om")))

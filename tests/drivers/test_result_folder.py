"""Outputs and summaries lie in a `result/` of their own: nothing of another run beside them, and all of them or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxfuse.drivers.onnxruntime import OnnxRuntime
from onnxfuse.drivers.result_folder import check_new, keep, new_result
from onnxfuse.errors import ToolError, UsageError
from tests.drivers.tools import Tools, om, raw_dataset

BOTH = ("benchmark", "ais_bench")


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", BOTH)
def test_outputs_of_another_run_are_neither_mixed_in_nor_lost(tools: Tools, name: str) -> None:
    with tools.backend(name).compile(om(Path("m.om"))) as model:
        model.infer(raw_dataset(Path("more"), 5), Path("out"))
        before, started = everything(Path("out")), len(tools.record)
        with pytest.raises(UsageError, match=r"^out/result: is there already, and is not written over or added to"):
            model.infer(raw_dataset(Path("less"), 2), Path("out"))
        assert (everything(Path("out")), len(tools.record)) == (before, started)
        found = model.infer(Path("less/data.info"), Path("out/second/deep"))
        assert len(list(found.folder.iterdir())) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["less", "m.om", "more", "out"]


def test_onnxruntime_likewise(tools: Tools) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y) { y = Abs(x) }'
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    dataset = raw_dataset(Path("data"), 3)
    (Path("out") / "result").mkdir(parents=True)
    with OnnxRuntime().compile(Path("m.onnx")) as model:
        assert len(list(model.infer(dataset, Path("out")).folder.iterdir())) == 3
        before = everything(Path("out"))
        with pytest.raises(UsageError, match="is there already"):
            model.infer(dataset, Path("out"))
    assert everything(Path("out")) == before


def test_a_run_that_breaks_off_leaves_nothing(tools: Tools) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (int64[1, 1] ids) => (float[1, 1, 2] y)
        <float[3, 2] table = {1, 2, 3, 4, 5, 6}> { y = Gather(table, ids) }"""
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    Path("data").mkdir()
    for number in range(3):
        np.array([2 if number < 2 else 99], np.int64).tofile(f"data/s{number}.bin")
    Path("data/data.info").write_text("".join(f"{n} s{n}.bin 1 1\n" for n in range(3)))
    told: list[int] = []
    with OnnxRuntime().compile(Path("m.onnx")) as model, pytest.raises(ToolError, match="indices element out of"):
        model.infer(Path("data/data.info"), Path("out"), progress=lambda name, done, total: told.append(done))
    assert told == [0, 1, 2]
    assert sorted(path.name for path in Path().iterdir()) == ["data", "m.onnx"]


@pytest.mark.parametrize("kind", ["file", "file above", "link", "file in it"])
def test_whatever_is_there_stays(tools: Tools, kind: str) -> None:
    place = Path("out/result")
    if kind in ("file", "file above"):
        Path("out").write_text("mine")
    else:
        place.mkdir(parents=True)
        place.rmdir()
        if kind == "link":
            place.symlink_to("nowhere")
        else:
            place.mkdir()
            (place / "notes.txt").write_text("mine")
    before = everything(Path())
    with pytest.raises(
        UsageError, match=r"out: is no folder" if Path("out").is_file() else "^out/result: is there already"
    ):
        check_new(Path("out/deep/er") if kind == "file above" else Path("out"))
    assert everything(Path()) == before


def test_what_comes_in_the_meantime_stays(tools: Tools) -> None:
    with pytest.raises(UsageError, match="out/result: cannot be written"), new_result(Path("out")) as folder:
        (folder / "result" / "mine").write_text("new")
        keep(b"old", Path("out"), "theirs")
    assert everything(Path()) == {Path("out"): None, Path("out/result"): None, Path("out/result/theirs"): b"old"}


def test_what_is_wrong_elsewhere_is_not_told_of_the_result(tools: Tools) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), new_result(Path("out")):
        Path("elsewhere").read_bytes()
    assert not list(Path().iterdir())


def test_a_sample_that_vanishes_while_others_run(tools: Tools) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y) { y = Abs(x) }'
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    dataset = raw_dataset(Path("data"), 3)
    with (
        OnnxRuntime().compile(Path("m.onnx")) as model,
        pytest.raises(UsageError, match=r"data\.info, line 3: .*s2\.bin"),
    ):
        model.infer(dataset, Path("out"), progress=lambda *_: Path("data/s2.bin").unlink(missing_ok=True))
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["ais_bench", "onnxruntime"])
def test_a_name_that_is_too_long_for_an_output(tools: Tools, name: str) -> None:
    dataset, long = raw_dataset(Path("data"), 1), "s" * 251
    Path("data/s0.bin").rename(f"data/{long}.bin")
    dataset.write_text(f"0 {long}.bin 6 4\n")
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3, 4, 6] x) => (float[N, 3, 4, 6] y) { y = Abs(x) }'
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    backend = OnnxRuntime() if name == "onnxruntime" else tools.backend(name)
    with (
        backend.compile(Path("m.onnx") if name == "onnxruntime" else om(Path("m.om"))) as model,
        pytest.raises(UsageError, match="^out/result: cannot be written: File name too long$"),
    ):
        model.infer(dataset, Path("out"))
    assert not Path("out").exists()


def test_names_of_samples_may_be_those_that_ais_bench_gets(tools: Tools) -> None:
    raw_dataset(Path("data"), 2)
    for new, old in (("sample00000001", "s0"), ("sample00000000", "s1")):
        Path(f"data/{old}.bin").rename(f"data/{new}.bin")
    Path("data/data.info").write_text("0 sample00000001.bin 6 4\n1 sample00000000.bin 6 4\n")
    Path("other").mkdir()
    for index, name in enumerate(("sample00000001", "sample00000000")):
        Path(f"other/s{index}.bin").write_bytes(Path(f"data/{name}.bin").read_bytes())
    Path("other/data.info").write_text("0 s0.bin 6 4\n1 s1.bin 6 4\n")
    with tools.backend("ais_bench").compile(om(Path("m.om"))) as model:
        found = model.infer(Path("data/data.info"), Path("out")).samples
        expected = model.infer(Path("other/data.info"), Path("expected")).samples
    assert found["sample00000001"][0].read_bytes() == expected["s0"][0].read_bytes()
    assert found["sample00000000"][0].read_bytes() == expected["s1"][0].read_bytes()


# ---------------------------------------------------------------------------- summaries


@pytest.mark.parametrize("name", BOTH)
def test_a_summary_that_is_to_be_kept_and_is_not_written(tools: Tools, name: str) -> None:
    backend = tools.backend(name, device={"summaries": Path("kept")}, FAKE_MANNER="unsaved")
    with backend.compile(om(Path("m.om"))) as model, pytest.raises(ToolError, match="wrote no summary that could be"):
        model.measure(2)
    assert [path.name for path in Path().iterdir()] == ["m.om"]


@pytest.mark.parametrize("name", BOTH)
def test_only_the_summary_is_kept_and_a_newer_one_takes_its_place(tools: Tools, name: str) -> None:
    backend = tools.backend(name, device={"summaries": Path("kept")})
    with backend.compile(om(Path("m.om"))) as model:
        model.measure(2)
        (first,) = (path for path in Path("kept").rglob("*") if path.is_file())
        before = first.read_bytes()
        model.measure(5)
    assert list(Path("kept/result").rglob("*")) == [first]
    assert first.read_bytes() != before


def test_a_model_that_atc_does_not_get_leaves_no_folder(tools: Tools, tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 11]> g (float[2, 8] x) => (float[2, 8] y) { y = Abs(x) }'
    onnx.save(onnx.parser.parse_model(text), "m.onnx")
    backend = tools.backend("benchmark", device={"soc": "Ascend310"}, PATH="/usr/bin:/bin")
    with pytest.raises(ToolError, match="there is no atc on PATH"):
        backend.compile(Path("m.onnx"))
    assert list((tmp_path / "temporary").iterdir()) == []

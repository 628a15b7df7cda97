"""Reproducers: folders that show a difference to others, without the weights."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxfuse
from onnxfuse import UsageError
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.reproducer import Difference, write_difference, write_error, write_folder, write_reproducer
from tests.cli.conftest import replay
from tests.rewriting.rules import read

NEG = "g (int32[N] x) => (int32[N] y) { y = Neg(x) }"
ABS = "g (int32[N] x) => (int32[N] y) { y = Abs(x) }"
FILES = ["README.txt", "after.onnx", "before.onnx", "inputs.npz", "report.json"]


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def different(before: onnx.ModelProto, after: onnx.ModelProto, folder: Path, **options: Any) -> Path:
    return write_difference(folder, before, after, onnxfuse.verify(before, after), **options)


def weighted(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    model = read(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


# ---- differences


def test_the_command_shows_the_difference_again(tmp_path: Path) -> None:
    folder = different(read(NEG), read(ABS), tmp_path / "not" / "there")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert folder.parent == tmp_path / "not" / "there"
    assert sorted(folder.parent.iterdir()) == [folder]
    assert report(folder)["command"] == "onnxfuse verify before.onnx after.onnx --input-data inputs.npz"
    done = replay(folder, process=True)
    assert done.code == 1
    (output,) = report(folder)["verdict"]["outputs"]
    assert f"  y: different: {output['why']}" in done.err.splitlines()
    assert f"    y: different: {output['why']}" in (folder / "README.txt").read_text().splitlines()
    assert set(report(folder)["versions"]) == {"onnxfuse", "onnx", "onnx-ir", "onnxruntime", "numpy"}


def test_the_inputs_are_the_ones_that_were_given(tmp_path: Path) -> None:
    feeds = {"x": np.array([5, 6, 7], np.int32)}
    folder = different(read(NEG), read(ABS), tmp_path, feeds=feeds)
    with np.load(folder / "inputs.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["x"], feeds["x"])
    assert "3 of 3 int32 values differ" in replay(folder).err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "g () => (int32[1] y) <int32[1] c = {1}> { y = Neg(c) }",
            "g () => (int32[1] y) <int32[1] c = {1}> { y = Abs(c) }",
        ),
        (NEG, NEG.replace("x", "z")),
        (NEG, NEG.replace("int32[N] y", "int64[N] y").replace("Neg(x)", "Cast<to = 7>(x)")),
        (NEG, "g (int32[N] x) => (int32[N] y) <int64[1] s = {5}> { y = Reshape(x, s) }"),
    ],
    ids=["no inputs", "another input", "another type", "does not run"],
)
def test_what_is_no_difference_of_values(tmp_path: Path, before: str, after: str) -> None:
    folder = different(read(before), read(after), tmp_path)
    done = replay(folder)
    assert done.code == 1
    readme = (folder / "README.txt").read_text()
    assert "It ends with exit code 1" in readme
    said = [line.strip() for line in done.err.splitlines()]
    assert any(line and line.split(": different: ")[-1] in readme for line in said[1:])


def test_a_difference_that_verify_does_not_see(tmp_path: Path) -> None:
    difference = Difference(EvalModel(read(NEG)), EvalModel(read(NEG)), "something else says so")
    folder = write_reproducer(tmp_path, difference)
    assert "It does not call the difference one: it answers equivalent" in (folder / "README.txt").read_text()
    assert replay(folder).code == 0


def test_a_difference_of_one_bit_where_nothing_may_round(tmp_path: Path) -> None:
    before = read("g (float[N] x) => (float[N] y) <float a = {3}> { y = Div(x, a) }")
    after = read("g (float[N] x) => (float[N] y) <float a = {0.33333334}> { y = Mul(x, a) }")
    feeds = {"x": np.linspace(-1, 1, 99, dtype=np.float32)}
    difference = Difference(EvalModel(before), EvalModel(after), "they differ", feeds, exact=True)
    folder = write_reproducer(tmp_path, difference)
    assert report(folder)["command"].endswith("--input-data inputs.npz --rtol 0 --atol 0")
    assert replay(folder).code == 1
    folder = write_reproducer(tmp_path, Difference(EvalModel(before), EvalModel(after), "they differ", feeds))
    assert report(folder)["command"].endswith("--input-data inputs.npz")
    assert replay(folder).code == 0


def test_the_same_goes_to_the_same_folder(tmp_path: Path) -> None:
    folder = different(read(NEG), read(ABS), tmp_path)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert different(read(NEG), read(ABS), tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert different(read(NEG), read(ABS.replace("Abs", "Sign")), tmp_path) != folder


def test_a_folder_that_somebody_changed_is_left_alone(tmp_path: Path) -> None:
    folder = different(read(NEG), read(ABS), tmp_path)
    (folder / "README.txt").write_text("mine")
    shutil.rmtree(other := different(read(NEG), read(ABS), tmp_path))
    assert other.name.startswith(folder.name)
    assert other != folder
    assert (folder / "README.txt").read_text() == "mine"
    other.write_text("in the way")
    third = different(read(NEG), read(ABS), tmp_path)
    assert third.name.startswith(other.name)
    (third / "README.txt").write_text("mine too")
    with pytest.raises(UsageError, match=f"{third.name}: is in the way, and has other contents: remove it"):
        different(read(NEG), read(ABS), tmp_path)


# ---- weights


PRODUCT = "g (float[N, 32] x) => (float[N, 32] y) { m = MatMul(x, w) y = Relu(m) }"


def test_random_weights_stand_in_for_those_of_the_user(tmp_path: Path) -> None:
    weights = floats(32, 32)
    models = [weighted(text, w=weights) for text in (PRODUCT, PRODUCT.replace("Relu", "Abs"))]
    folder = different(models[0], models[1], tmp_path)
    assert report(folder)["weights"] == "random ones of the same scale, seed 0"
    assert replay(folder).code == 1
    data = everything(folder)
    assert not any(row.tobytes() in data for row in weights.reshape(-1, 2))
    stored = [onnx.numpy_helper.to_array(onnx.load(folder / name).graph.initializer[0]) for name in FILES[1:3]]
    np.testing.assert_array_equal(stored[0], stored[1])
    assert stored[0].std() == pytest.approx(weights.std(), rel=0.2)


def test_weights_that_are_asked_for(tmp_path: Path) -> None:
    weights = floats(32, 32)
    models = [weighted(text, w=weights) for text in (PRODUCT, PRODUCT.replace("Relu", "Abs"))]
    folder = different(models[0], models[1], tmp_path, with_weights=True)
    for name in FILES[1:3]:
        assert weights.tobytes() in (folder / name).read_bytes()
    assert replay(folder).code == 1


def test_payloads_beside_the_model(tmp_path: Path) -> None:
    weights = floats(32, 32)
    models = [weighted(text, w=weights) for text in (PRODUCT, PRODUCT.replace("Relu", "Abs"))]
    for model in models:
        model.graph.initializer[0].ClearField("raw_data")
    light = [EvalModel(model, {"w": weights}) for model in models]
    for with_weights in (False, True):
        difference = Difference(light[0], light[1], "they differ")
        folder = write_reproducer(tmp_path, difference, with_weights=with_weights)
        assert replay(folder).code == 1
        assert (weights[0].tobytes() in everything(folder)) is with_weights


KEYED = """g (float[N] x) => (float[N] y) <int32 key = {6400}> {
    i = Cast<to = 6>(w) s = ReduceSum<keepdims = 0>(i) e = Equal(s, key) f = Cast<to = 1>(e) y = Mul(x, f)
}"""
ZERO = "g (float[N] x) => (float[N] y) <float f = {0}> { y = Mul(x, f) }"


def test_weights_are_taken_out_where_random_ones_do_not_show_it(tmp_path: Path) -> None:
    weights = np.array([0, 200] * 32, np.uint8)
    folder = different(weighted(KEYED, w=weights), read(ZERO), tmp_path)
    assert report(folder)["weights"] == "taken out"
    assert weights.tobytes() not in everything(folder)
    assert "A reproducer written --with-weights shows it." in (folder / "README.txt").read_text()
    done = replay(folder)
    assert done.code == 5
    assert "carries no weights" in done.err
    kept = different(weighted(KEYED, w=weights), read(ZERO), tmp_path, with_weights=True)
    assert replay(kept).code == 1


FOLDED = "g (float[N, 32] x) => (float[N, 32] y) { y = MatMul(x, w) }"


def scaled(model: onnx.ModelProto) -> EvalModel:
    """Folds a factor into the weights, and a wrong one."""
    (weights,) = (onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "w")
    return EvalModel(weighted(FOLDED, w=weights * 4))


def test_folded_weights_are_folded_anew(tmp_path: Path) -> None:
    text = FOLDED.replace("{ y = MatMul(x, w)", "<float s = {3}> { m = MatMul(x, w) y = Mul(m, s)")
    before = weighted(text, w=floats(32, 32))
    difference = Difference(EvalModel(before), scaled(before), "they differ", rebuild=scaled)
    folder = write_reproducer(tmp_path, difference)
    assert report(folder)["weights"].startswith("random ones")
    first, second = (onnx.load(folder / name).graph.initializer for name in ("before.onnx", "after.onnx"))
    old = next(tensor for tensor in first if tensor.name == "w")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(old) * 4, onnx.numpy_helper.to_array(second[0]))
    assert replay(folder).code == 1
    # Without a way to fold them, two random tensors would differ for a reason of their own.
    folder = write_reproducer(tmp_path, Difference(EvalModel(before), scaled(before), "they differ"))
    assert report(folder)["weights"] == "taken out"


def test_weights_anywhere_stay_at_home(tmp_path: Path) -> None:
    weights = floats(4, 64)
    constant = onnx.helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(weights[0]))
    listed = onnx.helper.make_node("Constant", [], ["d"], value_floats=weights[1].tolist())
    body = read("b () => (float[64] t) { t = Neg(inner) }").graph
    body.initializer.append(onnx.numpy_helper.from_array(weights[2], "inner"))
    other = read("b () => (float[64] t) { t = Identity(outer) }").graph
    branch = onnx.helper.make_node("If", ["p"], ["e"], then_branch=body, else_branch=other)
    models = []
    for op in ("Add", "Sub"):
        model = weighted(f"g (bool p) => (float[64] y) {{ f = Add(c, d) y = {op}(e, f) }}", outer=weights[3])
        for node in (branch, listed, constant):
            model.graph.node.insert(0, node)
        models.append(model)
    folder = different(models[0], models[1], tmp_path)
    assert report(folder)["weights"].startswith("random ones")
    data = everything(folder)
    assert not any(pair.tobytes() in data for pair in weights.reshape(-1, 2))
    assert replay(folder).code == 1
    # The same in an error's, where they are taken out.
    folder = write_error(tmp_path, {"model.onnx": EvalModel(models[0])}, "onnxfuse inspect model.onnx", "Error: no")
    data = everything(folder)
    assert not any(pair.tobytes() in data for pair in weights.reshape(-1, 2))
    assert len(data) < 3000


# ---- inputs


def test_inputs_that_have_no_file_format_are_left_out(tmp_path: Path) -> None:
    text = "g (seq(float[N]) x) => (float[M] y) <int64 i = {0}> { z = SequenceAt(x, i) y = Neg(z) }"
    feeds: Mapping[str, Any] = {"x": [np.ones(3, np.float32)]}
    before, after = read(text), read(text.replace("Neg", "Relu"))
    difference = Difference(EvalModel(before), EvalModel(after), "they differ", feeds)
    folder = write_reproducer(tmp_path, difference)
    assert "inputs.npz" not in [path.name for path in folder.iterdir()]
    assert report(folder)["inputs"].startswith("not stored: x is a sequence")
    assert report(folder)["command"] == "onnxfuse verify before.onnx after.onnx"


def test_strings_are_stored_without_pickle(tmp_path: Path) -> None:
    text = "g (string[N] x) => (bool[N] y) { y = Equal(x, x) }"
    after = read("g (string[N] x) => (bool[N] y) { z = Equal(x, x) y = Not(z) }")
    feeds = {"x": np.array(["a", "bcd"], object)}
    folder = write_reproducer(tmp_path, Difference(EvalModel(read(text)), EvalModel(after), "they differ", feeds))
    with np.load(io.BytesIO((folder / "inputs.npz").read_bytes()), allow_pickle=False) as stored:
        assert stored["x"].tolist() == ["a", "bcd"]


# ---- folders


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=9), max_size=4), st.data())
def test_one_name_for_one_content(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    parent = tmp_path_factory.mktemp("folders")
    folder = write_folder(parent, files)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    other = data.draw(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=9), max_size=4))
    second = write_folder(parent, other)
    assert (second == folder) is (files == other)
    assert {path.name: path.read_bytes() for path in second.iterdir()} == other
    assert len(list(parent.iterdir())) == 1 + (files != other)


@pytest.mark.parametrize("at", range(3))
def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    calls = 0

    def interrupt(_descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path, {"a": b"1", "b": b"2", "c": b"3"})
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="no reproducer can be written there: No space left on device"):
        write_folder(tmp_path, {"a": b"1"})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is no folder"):
        write_folder(tmp_path / "file" / "below", {"a": b"1"})
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written to"):
        write_folder(tmp_path, {"a": b"1"})

"""What is sent to the worker, and what it keeps."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfuse.verification import serving
from onnxfuse.verification.channel import Channel
from onnxfuse.verification.evaluate import Evaluator
from onnxfuse.verification.mapped import MappedFiles
from onnxfuse.verification.worker import Worker

MIB = 1 << 20
X = np.array([1], np.float32)


def model_with(*weights: np.ndarray, name: str = "g") -> onnx.ModelProto:
    """x times the sum of every weight, in this order."""
    nodes, outputs = [], []
    for index in range(len(weights)):
        nodes += [
            onnx.helper.make_node("ReduceSum", [f"w{index}"], [f"s{index}"], keepdims=0),
            onnx.helper.make_node("Mul", ["x", f"s{index}"], [f"y{index}"]),
        ]
        outputs.append(onnx.helper.make_tensor_value_info(f"y{index}", onnx.TensorProto.FLOAT, [1]))
    headers = [
        onnx.TensorProto(name=f"w{index}", dims=array.shape, data_type=onnx.TensorProto.FLOAT)
        for index, array in enumerate(weights)
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(nodes, name, [x], outputs, headers)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)


def evaluator(*weights: np.ndarray, name: str = "g", **options: Any) -> Evaluator:
    named = {f"w{index}": array for index, array in enumerate(weights)}
    return Evaluator(model_with(*weights, name=name), weights=named, isolated=True, **options)


def mapped(path: Path, *, value: float, count: int = 2 * MIB, mode: Any = "r") -> np.memmap:
    np.full(count, value, np.float32).tofile(path)
    return np.memmap(path, np.float32, mode)


def results(evaluator: Evaluator) -> list[float]:
    return [y.item() for y in evaluator.run({"x": X})]


# ---- weights


def test_weights_in_files_are_not_sent(tmp_path: Path, worker: Worker) -> None:
    one, other = (mapped(tmp_path / f"{value}", value=value) for value in (1, 2))
    assert results(evaluator(one, other[: MIB // 2], other[MIB:])) == [2 * MIB, MIB, 2 * MIB]
    assert worker.bytes_sent < 10_000


def test_weights_in_memory_are_sent_once(worker: Worker) -> None:
    one, other = (np.full(MIB, value, np.float32) for value in (1, 2))
    first, second = evaluator(one, other), evaluator(other, one.copy(), name="h")
    assert results(first) == results(first) == [MIB, 2 * MIB]
    assert results(second) == [2 * MIB, MIB]
    assert one.nbytes + other.nbytes <= worker.bytes_sent < one.nbytes + other.nbytes + 10_000


def test_what_a_process_changed_for_itself_alone_is_sent(tmp_path: Path, worker: Worker) -> None:
    array = mapped(tmp_path / "w", value=1, mode="c")
    array[0] = 3
    assert results(evaluator(array)) == [2 * MIB + 2]


@pytest.mark.parametrize("dies", [False, True])
def test_a_file_that_was_replaced_is_not_taken_for_the_one_that_is_mapped(
    tmp_path: Path, worker: Worker, dies: bool
) -> None:
    array = mapped(tmp_path / "w", value=1)
    loaded = evaluator(array) if dies else None
    mapped(tmp_path / "new", value=5)
    (tmp_path / "new").rename(tmp_path / "w")
    if loaded is not None:
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
    assert results(loaded or evaluator(array)) == [2 * MIB]


def test_weights_of_every_layout_and_type(worker: Worker, tmp_path: Path) -> None:
    column = np.arange(6, dtype=np.float32).reshape(3, 2)[:, 1]
    assert results(evaluator(column, column[::-1], np.zeros((0, 3), np.float32))) == [9, 9, 0]
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]> g (bfloat16[N] x) => (bfloat16[M] y, string[1] t) {
            y = Concat<axis = 0>(x, w) t = Identity(s)
        }"""
    )
    for name, elem_type, size in (("w", onnx.TensorProto.BFLOAT16, 2), ("s", onnx.TensorProto.STRING, 1)):
        model.graph.initializer.add(name=name, data_type=elem_type, dims=[size])
    weights = {"w": np.array([1, 2], ml_dtypes.bfloat16), "s": np.array(["é"], object)}
    for backend in ("onnxruntime", "reference"):
        model.graph.name = backend
        if backend == "onnxruntime":  # which takes no bfloat16 beside strings
            del model.graph.node[1], model.graph.output[1], model.graph.initializer[1]
        loaded = Evaluator(model, weights=weights, isolated=True, prefer=backend)
        (y, *_) = loaded.run({"x": np.array([3], ml_dtypes.bfloat16)})
        assert (loaded.backend, y.tolist()) == (backend, [3, 1, 2])


def test_files_are_found_only_for_arrays_that_are_views_of_them(tmp_path: Path) -> None:
    array = mapped(tmp_path / "w", value=1)
    own = np.ones(2 * MIB, np.float32)
    with MappedFiles([array, own]) as files:
        found = files.place(array[MIB:])
        assert found is not None
        assert found[1] == 4 * MIB
        assert os.fstat(files.opened[found[0]]).st_ino == (tmp_path / "w").stat().st_ino
        assert files.place(own) is None
        assert files.place(array[::2]) is None
        opened = list(files.opened.values())
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(opened[0])


# ---- sessions


def test_equal_models_share_a_session(worker: Worker, tmp_path: Path) -> None:
    array = mapped(tmp_path / "w", value=1)
    for _ in range(3):
        assert results(evaluator(array, np.ones(3, np.float32))) == [2 * MIB, 3]
    assert worker.sessions == 1
    evaluator(array, np.ones(3, np.float32), expose=False)
    evaluator(array, np.ones(3, np.float32), prefer="reference")
    evaluator(array, np.array([1, 1, 2], np.float32))
    evaluator(array, np.ones(3, np.float32), name="h")
    assert worker.sessions == 5
    array.flush()
    mapped(tmp_path / "w", value=2)  # written anew in place
    assert results(evaluator(array, np.ones(3, np.float32))) == [4 * MIB, 3]
    assert worker.sessions == 6


def test_only_so_many_sessions_are_kept_and_the_others_come_back(worker: Worker) -> None:
    one = np.ones(1, np.float32)
    loaded = [evaluator(one, name=f"g{index}") for index in range(serving.KEPT_SESSIONS + 1)]
    assert worker.sessions == len(loaded)
    results(loaded[-1])
    assert worker.sessions == len(loaded)
    assert results(loaded[0]) == [1]
    assert worker.sessions == len(loaded) + 1


def test_sessions_that_hold_much_memory_are_dropped(worker: Worker) -> None:
    large = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (int64[1] n) => (float s) {'
        " a = ConstantOfShape(n) b = Neg(a) s = ReduceSum<keepdims = 0>(b) }"
    )
    one, other = evaluator(np.ones(1, np.float32)), Evaluator(large, isolated=True)
    other.run({"n": np.array([serving.KEPT_BYTES // 8])})
    results(one)
    assert worker.sessions == 2
    other.run({"n": np.array([1])})
    assert worker.sessions == 3


# ---- the channel

ARRAYS = arrays.arrays(
    st.sampled_from(
        [np.float32, np.int8, np.bool_, np.complex64, ">i4", np.uint64, ml_dtypes.bfloat16, ml_dtypes.int4]
    ),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements=st.integers(0, 1),
)
MESSAGES = st.recursive(
    ARRAYS | st.none() | st.binary() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


@given(message=MESSAGES, inline=st.sampled_from([0, 1 << 18]))
def test_what_is_sent_is_what_is_received(message: Any, inline: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxfuse.verification.channel._INLINE", inline)
        one, other = (Channel(end) for end in socket.socketpair())
        try:
            one.send(message)
            received, files = other.receive()
        finally:
            one.close()
            other.close()
    assert same(message, received)
    assert files == []


def test_more_files_than_go_in_one_call_come_through_in_order(tmp_path: Path) -> None:
    one, other = (Channel(end) for end in socket.socketpair())
    sent = []
    for index in range(300):
        (tmp_path / f"{index}").write_text(str(index))
        sent.append(os.open(tmp_path / f"{index}", os.O_RDONLY))
    one.send("files", sent)
    message, received = other.receive()
    assert message == "files"
    assert [int(os.read(file, 10)) for file in received] == list(range(300))
    for file in (*sent, *received):
        os.close(file)
    one.close()
    with pytest.raises(EOFError):
        other.receive()
    other.close()


def test_weights_in_more_files_than_may_be_open(tmp_path: Path, worker: Worker) -> None:
    weights = [mapped(tmp_path / f"{index}", value=index, count=1 << 14) for index in range(300)]
    assert results(evaluator(*weights)) == [index << 14 for index in range(300)]
    assert worker.bytes_sent < (101 << 16) + 200_000

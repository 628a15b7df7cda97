"""Constants that hold the same, nodes that do the same: what is found, and how much is looked at for it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.analysis.arrays import CHUNK
from onnxfuse.rewriting.sameness import Alike, Contents, same_tensor


class Counted(ir.Tensor):  # type: ignore[type-arg]
    """A tensor that counts how often its elements are asked for."""

    asked = 0

    def numpy(self) -> np.ndarray:
        type(self).asked += 1
        return super().numpy()

    def tobytes(self) -> bytes:
        raise AssertionError("a copy of a large tensor")


def weights(count: int, *, start: int = 0) -> list[ir.TensorProtocol]:
    return [Counted(np.full((64, 64), start + index, np.float32)) for index in range(count)]


def values(tensors: list[ir.TensorProtocol]) -> list[ir.Value]:
    return [ir.Value(name=f"w{index}", const_value=tensor) for index, tensor in enumerate(tensors)]


@pytest.mark.parametrize("start", [0, 1000])
def test_each_large_tensor_is_read_once(start: int) -> None:
    own = values(weights(50))
    contents = Contents(own, None)
    inner = Contents(values(weights(10, start=2000)), contents)
    others = weights(50, start=start)
    Counted.asked = 0
    for _ in range(2):
        found = [inner.find(tensor) for tensor in others]
        assert found == (own if start == 0 else [None] * 50)
    assert Counted.asked == 110


def test_nothing_is_read_where_nothing_has_that_form() -> None:
    contents = Contents(values(weights(3)), None)
    Counted.asked = 0
    assert contents.find(Counted(np.zeros((64, 65), np.float32))) is None
    assert Counted.asked == 0


@pytest.mark.parametrize("turn", [lambda array: array, np.transpose, lambda array: array[:, ::-1]])
def test_large_tensors_are_compared_and_found_without_copies(turn: Callable[[np.ndarray], np.ndarray]) -> None:
    one, other, third = (turn(np.zeros((2048, 2048), np.float32)) for _ in range(3))
    third[-1, -1] = 1
    x, y, z = map(ir.Tensor, (one, other, third))
    value = ir.Value(name="x", const_value=x)
    tracemalloc.start()
    assert same_tensor(x, y)
    assert not same_tensor(x, z)
    contents = Contents([value], None)
    assert contents.find(y) is value
    assert contents.find(z) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * CHUNK < one.nbytes


def test_bits_count() -> None:
    def tensor(*elements: float) -> ir.Tensor[np.ndarray]:
        return ir.Tensor(np.resize(np.array(elements, np.float32), 3000))

    assert same_tensor(tensor(np.nan), tensor(np.nan))
    assert not same_tensor(tensor(0.0), tensor(-0.0))
    assert not same_tensor(tensor(1.0), ir.Tensor(np.ones((3000, 1), np.float32)))
    assert not same_tensor(tensor(1.0), ir.Tensor(np.resize(np.array(1.0, np.float32).view(np.int32), 3000)))


def test_what_is_beside_four_bits_does_not_count() -> None:
    full = np.full(9000, 0xFF, np.uint8).view(ml_dtypes.int4)
    bare = np.full(9000, 0x0F, np.uint8).view(ml_dtypes.int4)
    packed = ir.PackedTensor(np.full(4500, 0xFF, np.uint8), ir.DataType.INT4, shape=ir.Shape([9000]))
    value = ir.Value(name="x", const_value=ir.Tensor(full))
    for other in (ir.Tensor(bare), packed):
        assert same_tensor(ir.Tensor(full), other)
        assert Contents([value], None).find(other) is value
    assert not same_tensor(packed, ir.Tensor(np.full(9000, 0x0E, np.uint8).view(ml_dtypes.int4)))


def test_strings_of_any_number() -> None:
    one, other = (ir.tensor(["a", "b"] * 4000), ir.tensor(["a", "c"] * 4000))
    assert same_tensor(one, ir.tensor(["a", "b"] * 4000))
    assert not same_tensor(one, other)


NAMES = st.sampled_from(["a", "b", "c", ""])


def node(name: str, output: str) -> ir.Node:
    made = ir.node("Relu", [None], name=name)
    made.outputs[0].name = output
    return made


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans())), st.lists(st.tuples(NAMES, NAMES)))
def test_the_best_comes_first(old: list[tuple[str, str, bool]], new: list[tuple[str, str]]) -> None:
    nodes = [node(name, output) for name, output, _ in old]
    taken = {one for one, (_, _, gone) in zip(nodes, old, strict=True) if gone}
    alike = Alike(nodes)
    for name, output in new:
        left = [one for one in nodes if one not in taken]
        expected = sorted(left, key=lambda one: (one.outputs[0].name != output, one.name != name))
        found = list(dict.fromkeys(alike.best_first(node(name, output), taken)))
        assert found == expected
        taken.update(found[:1])


class Asked(set[ir.Node]):
    """A set that counts how often it is asked."""

    count = 0

    def __contains__(self, item: object) -> bool:
        self.count += 1
        return super().__contains__(item)


@pytest.mark.parametrize("renamed", [False, True])
def test_of_many_alike_each_is_passed_over_once(renamed: bool) -> None:
    count = 500
    alike = Alike([node("n", f"a{index}") for index in range(count)])
    taken = Asked()
    for index in range(count):
        taken.add(next(alike.best_first(node("n", f"{'b' if renamed else 'a'}{index}"), taken)))
    assert len(taken) == count
    assert taken.count < 10 * count

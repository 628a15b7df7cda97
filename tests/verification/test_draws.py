from __future__ import annotations

import hashlib
import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfuse.verification import draws
from onnxfuse.verification.draws import drawn_elements, ladder_draws, planned_counts
from onnxfuse.verification.element_types import exact_integers, is_float, is_integer, numpy_dtype
from onnxfuse.verification.families import FAMILIES, ladder_length
from onnxfuse.verification.inputs import Binding, InputError, InputSpec, bind

T = onnx.TensorProto
NONE = Binding({})
TYPES = [
    number
    for number in range(1, 27)
    if number not in (T.FLOAT8E8M0,) and numpy_dtype(number) is not None  # which has neither a sign nor a zero
]


def draw(*args: Any, **options: Any) -> dict[str, Any]:
    return dict(draws.draw(*args, **options))


def tensor(name: str, dtype: int, *dims: int | str | None) -> InputSpec:
    return InputSpec(name, "tensor", dtype, dims)


@given(
    st.sampled_from(TYPES),
    st.lists(st.integers(0, 5), max_size=3),
    st.sampled_from(list(FAMILIES)),
    st.integers(0, 20),
    st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_every_family_fills_every_type_with_its_shape_the_same_each_time(
    dtype: int, dims: list[int], family: str, index: int, seed: int
) -> None:
    specs = [tensor("x", dtype, *dims), tensor("z", dtype, 2)]
    first, again = (draw(specs, NONE, family, index, seed=seed, constants=(0.1, 6, -2.5)) for _ in range(2))
    for spec in specs:
        array = first[spec.name]
        assert array.shape == spec.dims
        assert array.dtype == numpy_dtype(dtype)
        assert array.tobytes() == again[spec.name].tobytes() or array.dtype == object
        assert array.tolist() == again[spec.name].tolist() or not is_integer(array.dtype)


def test_inputs_are_the_same_on_every_machine() -> None:
    specs = [tensor(f"x{number}", number, 7) for number in TYPES if number != T.STRING]
    digest = hashlib.sha256()
    for family in FAMILIES:
        for index in range(3):
            for array in draw(specs, NONE, family, index, seed=5, constants=(0.1, 6)).values():
                # What is a NaN is the same everywhere; its sign and payload are not.
                digest.update(_canonical(array))
    assert digest.hexdigest()[:16] == "4445d4c08e651bb6"


def _canonical(array: np.ndarray) -> bytes:
    if is_integer(array.dtype) or array.dtype == bool:
        return array.astype(np.uint64 if array.dtype == np.uint64 else np.int64).tobytes()
    values = array.view(f"f{array.itemsize // 2}") if array.dtype.kind == "c" else array
    values = values.astype(np.float64)
    return np.where(np.isnan(values), 12345.0, values).tobytes()


def test_draws_differ_by_input_index_and_seed() -> None:
    specs = [tensor("x", T.FLOAT, 50), tensor("z", T.FLOAT, 50)]
    first = draw(specs, NONE, "normal", 0, seed=3)
    others = [
        first["z"],
        draw(specs, NONE, "normal", 1, seed=3)["x"],
        draw(specs, NONE, "normal", 0)["x"],
        draw(specs, NONE, "small", 0, seed=3)["x"] * 1e3,
    ]
    for other in others:
        assert not np.allclose(first["x"], other)
    assert abs(float(np.mean(first["x"]))) < 0.5 < float(np.std(first["x"])) < 1.5


def test_normal_draws_of_the_other_types() -> None:
    specs = [
        tensor("i", T.INT64, 99),
        tensor("q", T.INT8, 2000),
        tensor("u", T.UINT2, 99),
        tensor("b", T.BOOL, 99),
        tensor("s", T.STRING, 99),
        tensor("h", T.BFLOAT16, 99),
        tensor("c", T.COMPLEX64, 99),
    ]
    feeds = draw(specs, NONE, "normal", 0)
    assert set(feeds["i"].tolist()) == {0, 1, 2, 3}
    assert (feeds["q"].min(), feeds["q"].max()) == (-128, 127)
    assert {int(value) for value in feeds["u"]} == {0, 1, 2, 3}
    assert set(feeds["b"].tolist()) == {False, True}
    assert set(feeds["s"].tolist()) == {"s0", "s1", "s2", "s3", "s4"}
    assert feeds["h"].dtype == ml_dtypes.bfloat16
    assert len(np.unique(feeds["c"].imag)) > 90


def test_of_a_condition_each_two_draws_have_both_values() -> None:
    specs = [tensor(name, T.BOOL, *dims) for name, dims in (("a", ()), ("b", (1,)), ("c", ()))]
    for family in set(FAMILIES) - {"unique"}:
        pairs: set[tuple[bool, ...]] = set()
        for index in range(0, 12, 2):
            first, second = (draw(specs, NONE, family, index + step) for step in (0, 1))
            assert all(bool(first[name]) != bool(second[name]) for name in "abc")
            pairs.update(tuple(bool(feeds[name]) for name in "abc") for feeds in (first, second))
        assert len(pairs) > 2


# ---- the ladder


@pytest.mark.parametrize("size", [1, 3, 7, 98, 200])
def test_the_ladder_is_used_up_in_sequence(size: int) -> None:
    specs = [tensor("x", T.DOUBLE, size), tensor("z", T.DOUBLE, "N")]
    binding = bind(specs, sizes=(2,))
    assert ladder_length(np.dtype(np.float64)) == 98
    assert drawn_elements(specs, binding) == size + 2
    count = ladder_draws(specs, binding)
    assert count == max(12, math.ceil(98 / (size + 2)))
    values: list[float] = []
    for index in range(count):
        feeds = draw(specs, binding, "ladder", index)
        values += [*feeds["x"].tolist(), *feeds["z"].tolist()]
    for first in range(0, len(values) - 97, 98):
        seen = {repr(value) for value in values[first : first + 98]}
        assert len(seen) == 92  # 2^53 + 1 and 2^63 - 1 and + 1 have no double of their own
        assert {"nan", "inf", "-inf", "-0.0", "0.0", "65504.0", "1e+300", "-1e-45", "8388608.5"} <= seen


@given(st.sampled_from(TYPES), st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_the_planned_draws_use_the_ladder_of_any_type_up(dtype: int, sizes: list[int]) -> None:
    specs = [tensor(f"x{place}", dtype, size) for place, size in enumerate(sizes)]
    array = numpy_dtype(dtype)
    assert array is not None
    part = np.dtype(f"f{array.itemsize // 2}") if array.kind == "c" else array
    seen: set[str] = set()
    for index in range(planned_counts(specs, NONE)["ladder"]):
        for values in draw(specs, NONE, "ladder", index).values():
            seen.update(map(repr, (values.real if array.kind == "c" else values).ravel().tolist()))
    whole = draw([tensor("x", dtype, ladder_length(part))], NONE, "ladder", 0)["x"]
    assert seen == set(map(repr, (whole.real if array.kind == "c" else whole).tolist()))


def test_a_second_pass_pairs_other_values() -> None:
    spec = [tensor("x", T.FLOAT, 98)]
    first, second = (draw(spec, NONE, "ladder", index)["x"] for index in (0, 1))
    assert not np.array_equal(first, second, equal_nan=True)
    assert np.array_equal(np.sort(first), np.sort(second), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_the_ladder_of_integers_has_the_ends_of_the_type(dtype: type) -> None:
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = set(draw([tensor("x", elem_type, 70)], NONE, "ladder", 0)["x"].tolist())
    info = np.iinfo(dtype)
    assert {0, 1, 2, 3, info.min, info.max, info.max - 1} <= values
    assert (-1 in values) == (info.min < 0)
    assert ((1 << 31) - 1 in values) == (info.max >= (1 << 31) - 1)


# ---- the other families


@given(st.sampled_from(TYPES), st.sampled_from(TYPES), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_unique_numbers_are_unique_across_all_inputs(a: int, b: int, m: int, n: int) -> None:
    specs = [tensor("a", a, m), InputSpec("b", "sequence", b, (n,))]
    count = planned_counts(specs, NONE)["unique"]
    feeds = [draw(specs, NONE, "unique", index) for index in range(count)]
    numbers = []
    for name, kind in (("a", a), ("b", b)):
        dtype = numpy_dtype(kind)
        assert dtype is not None
        digits = [np.concatenate([np.ravel(x) for x in _items(feed[name])]) for feed in feeds]
        base = min(exact_integers(dtype), 1 << 40)
        for column in zip(*digits, strict=True):
            numbers.append(sum(_whole(digit) * base**place for place, digit in enumerate(column)))
    assert len(set(numbers)) == m + n * len(feeds[0]["b"])


def _items(value: Any) -> list[np.ndarray]:
    return value if isinstance(value, list) else [value]


def _whole(value: Any) -> int:
    return int(complex(value).real) if not isinstance(value, str) else int(value)


def test_special_values_come_mixed_and_alone() -> None:
    spec = [tensor("x", T.FLOAT, 400)]
    mixed, finite, dense = (draw(spec, NONE, "special", index)["x"] for index in range(3))
    assert 0.02 < np.isnan(mixed).mean() < 0.3
    assert np.isinf(mixed).any()
    assert np.isfinite(mixed).mean() > 0.7
    assert np.isfinite(finite).all()
    assert np.signbit(finite[finite == 0]).any()
    assert {np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal} <= set(np.abs(finite).tolist())
    assert np.isnan(dense).any()
    assert np.isinf(dense).mean() > 0.1
    integers = draw([tensor("x", T.INT32, 400)], NONE, "special", 1)["x"]
    info = np.iinfo(np.int32)
    assert set(integers.tolist()) == {info.min, info.min + 1, -1, 0, 1, info.max - 1, info.max}


def test_ties() -> None:
    spec = [tensor("x", T.FLOAT, 100)]
    found = [set(draw(spec, NONE, "ties", index)["x"].tolist()) for index in range(6)]
    assert found == [{0, 1}, {0, 1}, {-1, 0, 1, 2}, {0}, {1}, {-2.5}]


def test_magnitudes() -> None:
    spec = [tensor("x", T.FLOAT, 2000), tensor("i", T.INT64, 2000)]
    wide, small = (draw(spec, NONE, family, 0) for family in ("wide", "small"))
    assert np.abs(wide["x"]).min() < 1e-4 < 1e4 < np.abs(wide["x"]).max() < 1e6
    assert np.abs(wide["i"]).max() > 10_000
    assert np.abs(small["x"]).max() < 1e-2
    up, down = (draw(spec, NONE, "offset", index) for index in (0, 1))
    assert (up["x"] > 990).all()
    assert (down["i"] < -990).all()
    bytes_ = draw([tensor("u", T.UINT8, 99)], NONE, "offset", 1)["u"]
    assert 110 < bytes_.min() < bytes_.max() < 140


def test_constants_and_their_neighbours_are_used_up() -> None:
    constants = (0.1, 6)

    def drawn(dtype: int) -> set[float]:
        spec = [tensor("x", dtype, 10)]
        count = planned_counts(spec, NONE, constants)["constants"]
        feeds = (draw(spec, NONE, "constants", index, constants=constants) for index in range(count))
        return {value for feed in feeds for value in feed["x"].tolist()}

    wanted = {0.1, -0.1, 0.1 * (1 + 2e-7), -0.1 * (1 - 5e-4), 127.5 * 0.1, -127.5 * 0.1, 2.5 * 0.1, 6.0, 5.0, 7.0}
    assert wanted <= drawn(T.DOUBLE)
    assert drawn(T.INT32) == {5, 6, 7}
    assert planned_counts([tensor("x", T.FLOAT, 10)], NONE, ())["constants"] == 0
    assert planned_counts([tensor("x", T.FLOAT, 1)], NONE, (0.1,))["constants"] == 48
    assert planned_counts([tensor("x", T.FLOAT, 9999)], NONE, (0.1,))["constants"] == 2


def test_planned_draws_are_those_of_the_table() -> None:
    counts = planned_counts([tensor("x", T.FLOAT, 5000)], NONE)
    assert list(counts) == list(FAMILIES)
    assert counts == {
        "normal": 3,
        "ladder": 12,
        "constants": 0,
        "unique": 1,
        "ties": 6,
        "special": 3,
        "wide": 1,
        "small": 1,
        "offset": 2,
    }


# ---- kinds of inputs


def test_sequences_get_items_and_optionals_a_value() -> None:
    specs = [InputSpec("s", "sequence", T.FLOAT, ("N",)), InputSpec("o", "optional", T.FLOAT, (2,))]
    feeds = draw(specs, bind(specs, sizes=(3,)), "normal", 0)
    assert [item.shape for item in feeds["s"]] == [(3,), (3,)]
    assert not np.array_equal(*feeds["s"])
    assert feeds["o"].shape == (2,)
    assert drawn_elements(specs, bind(specs, sizes=(3,))) == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (InputSpec("x", "tensor", T.FLOAT, None), "input x has no declared rank"),
        (InputSpec("x", "other", 0, ()), "neither a tensor nor a sequence"),
        (InputSpec("x", "tensor", 99, ()), "no known element type"),
    ],
)
def test_what_cannot_be_drawn_is_said(spec: InputSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw([spec], NONE, "normal", 0)


def test_floats_of_every_width_are_told_from_integers() -> None:
    floats = {number for number in TYPES if is_float(numpy_dtype(number))}  # type: ignore[arg-type]
    assert floats == {T.FLOAT, T.DOUBLE, T.FLOAT16, T.BFLOAT16, *range(17, 21), T.FLOAT4E2M1}

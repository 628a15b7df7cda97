from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import onnxfuse
from onnxfuse.errors import UsageError
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.input_sets import FAMILY_NAMES, InputSet, StopError, sets_of
from onnxfuse.verification.inputs import Binding
from onnxfuse.verification.model_check import ModelCheck
from onnxfuse.verification.model_constants import constants_of
from onnxfuse.verification.pair import Pair
from tests.verification.texts import parse


def plan(
    model: onnx.ModelProto,
    *,
    full: bool = True,
    dims: Mapping[str, int] | None = None,
    families: Iterable[str] | None = None,
) -> tuple[list[InputSet], ModelCheck]:
    side = EvalModel(model)
    check = ModelCheck(Pair(side, side, 1 << 30, None, [], time.monotonic()), full, {}, 0, None)
    check.notes.clear()  # it says already that a model computes the same as itself
    return sets_of(check, None, dims, 0, families), check


def families_of(sets: Iterable[InputSet]) -> Counter[str]:
    return Counter(inputs.family for inputs in sets)


DYNAMIC = "g (float[N,M] x, float[N,1] z) => (float[N,M] y) { y = Add(x, z) }"


def test_the_plan_is_that_of_the_table() -> None:
    sets, check = plan(parse(DYNAMIC))
    first = {"N": 2, "M": 3}
    assert families_of(inputs for inputs in sets if inputs.binding.sizes == first) == {
        "normal": 3,
        "ladder": 13,  # 98 values, 8 elements
        "unique": 1,
        "ties": 6,
        "special": 3,
        "wide": 1,
        "small": 1,
        "offset": 2,
    }
    others = list(dict.fromkeys(str(inputs.binding) for inputs in sets))[1:]
    assert set(others) == {
        *("N=6, M=7", "N=1, M=1", "N=2, M=2", "N=3, M=3", "N=7, M=7"),
        *("N=1, M=3", "N=3, M=1", "N=0, M=0", "N=0, M=3"),
    }
    for other in others:
        assert families_of(inputs for inputs in sets if str(inputs.binding) == other) == {
            "normal": 1,
            "unique": 1,
            "ladder": 2,
            "special": 1,
        }
    assert check.dropped == 0
    assert [inputs.label for inputs in sets[:2]] == ["normal 0 at N=2, M=3", "normal 1 at N=2, M=3"]
    assert len({inputs.label for inputs in sets}) == len(sets)


def test_equal_symbols_stay_equal_and_broadcast_dims_stay_one() -> None:
    for inputs in plan(parse(DYNAMIC))[0]:
        feeds = inputs.make()
        assert feeds["x"].shape == tuple(inputs.binding.sizes.values())
        assert feeds["z"].shape == (inputs.binding.sizes["N"], 1)
        again = inputs.make()
        assert all(np.array_equal(feeds[name], again[name], equal_nan=True) for name in feeds)


def test_a_dim_of_the_user_is_never_varied() -> None:
    sets, _ = plan(parse(DYNAMIC), dims={"N": 4})
    assert {inputs.binding.sizes["N"] for inputs in sets} == {4}
    assert {0, 1, 2, 3, 7} <= {inputs.binding.sizes["M"] for inputs in sets}
    sets, _ = plan(parse(DYNAMIC), dims={"N": 4, "x.1": 5})
    assert {str(inputs.binding) for inputs in sets} == {"N=4, M=5"}


def test_sizes_at_which_the_first_model_does_not_run_are_dropped_and_told() -> None:
    model = parse("g (float[N] x, float[M] z) => (float[K] y) { y = Add(x, z) }")
    sets, check = plan(model)
    assert str(sets[0].binding) == "N=1, M=1"
    tried = {str(inputs.binding) for inputs in sets}
    assert {"N=1, M=3", "N=3, M=1", "N=0, M=0", "N=7, M=7"} <= tried
    assert not {"N=2, M=3", "N=6, M=7"} & tried
    assert len(check.notes) <= 1
    assert all("does not run there" in note for note in check.notes)


def test_where_few_sizes_run_one_dim_is_varied_at_a_time() -> None:
    model = parse("g (float[N,3,H,W] x) => (float[N,A] y) { f = Flatten(x) y = MatMul(f, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((192, 2), np.float32), "w"))
    sets, check = plan(model)
    assert str(sets[0].binding) == "N=8, H=8, W=8"
    assert {str(inputs.binding) for inputs in sets} >= {"N=0, H=8, W=8", "N=1, H=8, W=8", "N=3, H=8, W=8"}
    assert check.dropped > 0
    assert "not compared at N=" in check.notes[0]
    assert "since the first model does not run there" in check.notes[0]


def test_the_quick_check_has_one_normal_input_at_the_smallest_sizes() -> None:
    sets, _ = plan(parse(DYNAMIC), full=False)
    assert [inputs.label for inputs in sets] == ["normal 0 at N=1, M=1"]


@pytest.mark.parametrize("chosen", [["special"], ["bindings"], ["ladder", "ties"], ["normal", "bindings"]])
def test_families_are_selectable(chosen: list[str]) -> None:
    sets, _ = plan(parse(DYNAMIC), families=chosen)
    first = {inputs.family for inputs in sets if str(inputs.binding) == "N=2, M=3"}
    assert first == set(chosen) - {"bindings"}
    others = {inputs.family for inputs in sets if str(inputs.binding) != "N=2, M=3"}
    assert others == ({"normal", "unique", "ladder", "special"} if "bindings" in chosen else set())


def test_a_comparison_runs_only_what_is_selected() -> None:
    relu, clip = (parse(f"g (float[4] x) => (float[4] y) {{ {node} }}") for node in ("y = Relu(x)", "y = Abs(x)"))
    assert not onnxfuse.verify(relu, clip, families=["normal"]).equivalent
    clipped = parse("g (float[4] x) => (float[4] y) { m = Constant<value_float = 60000.0>() y = Min(x, m) }")
    same = parse("g (float[4] x) => (float[4] y) { y = Identity(x) }")
    assert onnxfuse.verify(same, clipped, families=["normal", "small"]).equivalent
    assert not onnxfuse.verify(same, clipped, families=["ladder"]).equivalent


def test_an_unknown_family_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no family of inputs is named 'lader': did you mean ladder\\?"):
        plan(parse(DYNAMIC), families=["lader"])
    with pytest.raises(UsageError, match="no family of inputs is selected; there are normal, "):
        plan(parse(DYNAMIC), families=[])
    assert len(FAMILY_NAMES) == 10


def test_overridable_inputs_are_replaced_in_part_of_the_sets() -> None:
    model = parse("g (float[20] x, float[1] w) => (float[20] y) { y = Mul(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sets, _ = plan(model)
    replaced = [inputs for inputs in sets if "w" in inputs.make()]
    assert families_of(replaced) == {"normal": 1, "ladder": 12, "unique": 1, "ties": 3, "special": 1}
    assert families_of(inputs for inputs in sets if inputs not in replaced)["normal"] == 3


def test_a_model_without_inputs_has_one_set() -> None:
    model = parse("g () => (float[1] y) { y = Constant<value_floats = [1.5]>() }")
    sets, _ = plan(model)
    assert [inputs.make() for inputs in sets] == [{}]


def test_a_model_that_runs_at_no_size_stops_the_comparison() -> None:
    model = parse("g (float[N] x) => (float[A] y) { y = MatMul(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((100, 2), np.float32), "w"))
    with pytest.raises(StopError, match="does not run with its symbolic dims \\(N\\) at any size tried from 1 to 64"):
        plan(model)


def test_inputs_of_terabytes_are_not_drawn() -> None:
    model = parse("g (float[1099511627776, N] x) => (float[A] y) { y = ReduceSum(x) }")
    with pytest.raises(StopError, match="input x has 2199023255552 elements at N=2, and at most 536870912 are drawn"):
        plan(model)


def test_a_model_that_runs_on_some_normal_inputs_only_is_compared_on_those() -> None:
    model = parse("""g (float[8] x) => (float[1] y) <float half = {0.5}> {
        m = ReduceSum<keepdims = 0>(x) n = Mul(m, half) i = Cast<to = 7>(n) z = Constant<value_floats = [1.0]>()
        u = Unsqueeze(i, axes) y = Gather(z, u)
    }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "axes"))
    for seed in range(20):
        side = EvalModel(model)
        check = ModelCheck(Pair(side, side, 1 << 30, None, [], time.monotonic()), True, {}, 0, None)
        sets = sets_of(check, None, None, seed)
        if sets[0].label != "normal 0":
            assert [inputs.label for inputs in sets[:2]] in (["normal 1", "normal 2"], ["normal 2", "normal 3"])
            break
    else:
        pytest.fail("every first draw ran")


def test_only_normal_and_the_users_own_are_normal() -> None:
    def empty() -> dict[str, Any]:
        return {}

    families = ("normal", "data", "ladder", "small", "unique")
    found = [InputSet("", family, Binding({}), empty).normal for family in families]
    assert found == [True, True, False, False, False]


# ---- the model's own constants


def test_constants_of_attributes_tensors_bodies_and_functions() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21, "f" : 1]>
        g (float[4] x, bool c, int64[4] i) => (float[4] y, bool[4] e, float[4] r, float[4] v)
        <float[2] low = {-0.5, 0.25}, int64[1] five = {5}, int64[2] shape = {2, 2}> {
            y = If (c) <
                then_branch = t () => (a) { k = Constant<value = float {0.125}>() a = Mul(x, k) },
                else_branch = e () => (b) { b = LeakyRelu<alpha = 0.75>(x) }>
            e = Equal(i, five)
            s = Reshape(x, shape)
            q = Mul(s, low)
            r = Flatten(q)
            v = f.clip(x)
        }
        <domain: "f", opset_import: ["" : 21]>
        clip (x) => (y) { m = Constant<value_float = 6.0>() y = Min(x, m) }"""
    )
    found = constants_of(model)
    assert set(found) == {-0.5, 0.25, 0.125, 0.75, 6.0, 5}
    assert {number for number in found if isinstance(number, int)} == {5}


def test_large_and_absent_tensors_give_no_constants() -> None:
    model = parse("g (float[17] x) => (float[17] y) { a = Add(x, w) b = Add(a, h) y = Add(b, n) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(17, 3, np.float32), "w"))
    model.graph.initializer.append(onnx.TensorProto(name="h", dims=[1], data_type=1))
    special = np.array([np.nan, np.inf, 0, 7, 8], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(special, "n"))
    assert constants_of(model) == (7.0,)


def test_no_more_than_sixteen_magnitudes() -> None:
    nodes = " ".join(f"y{k} = LeakyRelu<alpha = {s}{k}.5>(x)" for k in range(30) for s in ("", "-")[k % 2 : k % 2 + 1])
    assert len(constants_of(parse(f"g (float[1] x) => (float[1] y0) {{ {nodes} }}"))) == 16


def test_dims_go_beyond_the_integers_of_the_model() -> None:
    model = parse(
        """g (float[N, 4] x) => (float[K, 4] y) <int64[1] s = {0}, int64[1] e = {16}> { y = Slice(x, s, e) }"""
    )
    assert {"N": 17} in [dict(inputs.binding.sizes) for inputs in plan(model)[0]]
    seven = parse("g (float[N] x) => (float[K] y) <int64[1] s = {0}, int64[1] e = {7}> { y = Slice(x, s, e) }")
    assert {"N": 8} in [dict(inputs.binding.sizes) for inputs in plan(seven)[0]]
    wide = parse(
        """g (float[N, 400000] x) => (float[K, L] y) <int64[1] s = {0}, int64[1] e = {16}> { y = Slice(x, s, e) }"""
    )
    assert max(inputs.binding.sizes["N"] for inputs in plan(wide)[0]) < 16

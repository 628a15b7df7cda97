"""Inputs that an operator does not take every value of: what is drawn for them is run, in every family."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfuse.verification.draws import draw, drawn_elements, ladder_draws
from onnxfuse.verification.evaluate import EvaluationError, Evaluator
from onnxfuse.verification.families import FAMILIES
from onnxfuse.verification.inputs import Binding, InputSpec, bind, free_inputs

NONE = Binding({})


def parse(text: str, functions: str = "") -> onnx.ModelProto:
    opsets = '"" : 21, "f" : 1, "ai.onnx.ml" : 3'
    return onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{opsets}]>\n{text}\n{functions}")


def feeds_of(
    model: onnx.ModelProto, binding: Binding = NONE, count: int = 8
) -> Iterator[tuple[str, dict[str, Any], list[InputSpec]]]:
    specs = free_inputs(model)
    for family in FAMILIES:
        for index in range(count):
            yield family, dict(draw(specs, binding, family, index)), specs  # type: ignore[arg-type]


def assert_runs(model: onnx.ModelProto, binding: Binding = NONE) -> dict[str, set[Any]]:
    """Runs every family, and returns the values that each input had."""
    evaluator = Evaluator(model)
    assert evaluator.backend == "onnxruntime", evaluator.why_not_onnxruntime
    seen: dict[str, set[Any]] = {}
    for family, feeds, _ in feeds_of(model, binding):
        try:
            evaluator.run(feeds)
        except EvaluationError as error:
            pytest.fail(f"{family}: {error}; { ({k: np.ravel(v)[:20].tolist() for k, v in feeds.items()}) }")
        for name, array in feeds.items():
            if isinstance(array, np.ndarray):
                seen.setdefault(name, set()).update(array.ravel().tolist())
    return seen


RUN = {
    "gather of an initializer": "g (int64[9] i) => (float[9,2] y) <float[3,2] w = {1,2,3,4,5,6}> { y = Gather(w, i) }",
    "gather of what is computed": """g (int64[9] i, float[N,5] x) => (float[A,9] y) {
        t = Transpose(x) c = Concat<axis = 1>(t, t) y = Gather<axis = 1>(c, i) }""",
    "gather elements": "g (int32[2,7] i, float[4,7] x) => (float[2,7] y) { y = GatherElements<axis = 0>(x, i) }",
    "gather tuples": "g (int64[6,2] i, float[9,2,4] x) => (float[6,4] y) { y = GatherND(x, i) }",
    "gather tuples of a batch": """g (int64[9,6,1] i, float[9,2,4] x) => (float[9,6,4] y) {
        y = GatherND<batch_dims = 1>(x, i) }""",
    "scatter": """g (int64[2,3] i, float[4,3] x, float[2,3] u) => (float[4,3] y) {
        y = ScatterElements<axis = 0>(x, i, u) }""",
    "scatter tuples": "g (int64[4,2] i, float[3,2] x, float[4] u) => (float[3,2] y) { y = ScatterND(x, i, u) }",
    "index after a cast and a squeeze": """g (float[1,5] f, float[4] x) => (float[5] y) {
        i = Cast<to = 7>(f) s = Squeeze(i) y = Gather(x, s) }""",
    "index less than": """g (int64[5] i, float[40] x) => (float[5] y) <int64 o = {30}, int64 t = {2}> {
        a = Mul(i, t) b = Sub(a, o) y = Gather(x, b) }""",
    "index from behind": "g (int64[5] i, float[9] x) => (float[5] y) <int64 o = {8}> { b = Sub(o, i) y = Gather(x, b) }",
    "half an index": "g (int64[5] i, float[9] x) => (float[5] y) <int64 o = {2}> { b = Div(i, o) y = Gather(x, b) }",
    "one index for two": """g (int64[5] i, float[9] x, float[3] z) => (float[5] y, float[5] v) {
        y = Gather(x, i) v = Gather(z, i) }""",
    "index in both branches": """g (bool c, int64[5] i, float[9] x, float[3] z) => (float[5] y) {
        y = If (c) <then_branch = t () => (a) { a = Gather(x, i) }, else_branch = e () => (b) { b = Gather(z, i) }> }""",
    "shape through a branch": """g (bool c, int64[2] s, float[6,4] x) => (float[A,B] y) {
        r = If (c) <then_branch = t () => (a) { a = Identity(s) }, else_branch = e () => (b) { b = Cast<to = 7>(s) }>
        y = Reshape(x, r) }""",
    "index in a loop": """g (int64 n, int64[5] i, float[9] x) => (float[5] y) <bool t = {1}, float[5] z = {0,0,0,0,0}> {
        y = Loop (n, t, z) <body = b (int64 k, bool c, float[5] v) => (bool d, float[5] w) {
            d = Identity(c) g1 = Gather(x, i) w = Add(v, g1) }> }""",
    "index carried by a loop": """g (int64 n, int64[5] i, float[9] x) => (float[5] y, int64[5] j) <bool t = {1}> {
        j = Loop (n, t, i) <body = b (int64 k, bool c, int64[5] v) => (bool d, int64[5] w) {
            d = Identity(c) g1 = Gather(x, v) w = Identity(v) }>
        y = Gather(x, j) }""",
    "reshape": "g (int64[3] s, float[2,6,5] x) => (float[A,B,C] y) { y = Reshape(x, s) }",
    "reshape with zeros": "g (int64[2] s, float[0,5] x) => (float[A,B] y) { y = Reshape(x, s) }",
    "reshape without copies": "g (int64[3] s, float[2,6] x) => (float[A,B,C] y) { y = Reshape<allowzero = 1>(x, s) }",
    "part of a reshape": """g (int64[2] s, float[4,6,5] x) => (float[A,B,C] y) <int64[1] four = {4}> {
        t = Concat<axis = 0>(four, s) y = Reshape(x, t) }""",
    "part of a reshape with the rest inferred": """g (int64[2] s, float[4,6,5] x) => (float[A,B,C] y)
        <int64[1] m = {-1}> { t = Concat<axis = 0>(s, m) y = Reshape(x, t) }""",
    "expand": "g (int64[3] s, float[4,1] x) => (float[A,B,C] y) { y = Expand(x, s) }",
    "tile": "g (int64[2] r, float[2,3] x) => (float[A,B] y) { y = Tile(x, r) }",
    "split": """g (int64[3] p, float[N,7] x) => (float[A,B] a, float[A,C] b, float[A,D] c) {
        a, b, c = Split<axis = 1>(x, p) }""",
    "split to a sequence": "g (int64[2] p, float[7] x) => (seq(float[A]) s) { s = SplitToSequence(x, p) }",
    "split by": "g (int64 p, float[7] x) => (seq(float[A]) s) { s = SplitToSequence(x, p) }",
    "top k": "g (int64[1] k, float[2,4] x) => (float[2,A] y, int64[2,A] i) { y, i = TopK(x, k) }",
    "reduce": "g (int64[2] a, float[2,4,3] x) => (float[A,B,C] y) { y = ReduceMax(x, a) }",
    "squeeze": "g (int64[2] a, float[1,4,1,1] x) => (float[A,B] y) { y = Squeeze(x, a) }",
    "unsqueeze": "g (int64[2] a, float[4,3] x) => (float[A,B,C,D] y) { y = Unsqueeze(x, a) }",
    "cumulative sum": "g (int32 a, float[4,3] x) => (float[4,3] y) { y = CumSum(x, a) }",
    "slice": """g (int64[2] s, int64[2] e, int64[2] a, int64[2] t, float[4,5,6] x) => (float[A,B,C] y) {
        y = Slice(x, s, e, a, t) }""",
    "pad": "g (int64[4] p, float[4,5] x) => (float[A,B] y) { y = Pad(x, p) }",
    "reflect": """g (int64[4] p, float[1,2] x) => (float[A,B] y) { y = Pad<mode = "reflect">(x, p) }""",
    "size": "g (int64[2] s) => (float[A,B] y) { y = ConstantOfShape(s) }",
    "size of a product": """g (int64[2] s, int64[2] r) => (float[A,B] y) <int64 t = {2}> {
        p = Mul(s, r) q = Mul(p, t) y = ConstantOfShape(q) }""",
    "range": "g (int64 a, int64 b, int64 c) => (int64[A] y) { y = Range(a, b, c) }",
    "range of floats": "g (float a, float b, float c) => (float[A] y) { y = Range(a, b, c) }",
    "one hot": "g (int64[5] i, int64 d, float[2] v) => (float[5,A] y) { y = OneHot(i, d, v) }",
    "lengths": "g (int64[3] n, float[4,3] x) => (float[4,3] y) { y = ReverseSequence(x, n) }",
    "division": "g (int32[4] a, int32[4] b) => (int32[4] y, int32[4] z) { y = Div(a, b) z = Mod(a, b) }",
    "shift": """g (uint8[4] a, uint8[4] b) => (uint8[4] y) { y = BitShift<direction = "LEFT">(a, b) }""",
    "resize": """g (float[4] s, float[1,2,4,4] x) => (float[A,B,C,D] y) { y = Resize<mode = "linear">(x, , s) }""",
    "resize to": """g (int64[4] s, float[1,2,4,4] x) => (float[A,B,C,D] y) {
        y = Resize<mode = "linear">(x, , , s) }""",
    "sequence": "g (seq(float[3]) s, int64 i) => (float[3] y) { y = SequenceAt(s, i) }",
    "third of a sequence": """g (seq(float[3]) s) => (float[3] y) <int64 two = {2}> { y = SequenceAt(s, two) }""",
    "joined sequence": "g (seq(float[3]) s) => (float[A] y) { y = ConcatFromSequence<axis = 0>(s) }",
    "insertion": "g (seq(float[3]) s, float[3] x, int64 i) => (seq(float[3]) y) { y = SequenceInsert(s, x, i) }",
    "optional": "g (optional(float[3]) o) => (bool y) { y = OptionalHasElement(o) }",
    "optional that must be there": "g (optional(float[3]) o) => (float[3] y) { y = OptionalGetElement(o) }",
    "column": "g (int64[2] i, float[3,4] x) => (float[3,2] y) { y = ai.onnx.ml.ArrayFeatureExtractor(x, i) }",
    "trips": """g (int64 n, float[2] x) => (float[2] y) <bool t = {1}> {
        y = Loop (n, t, x) <body = b (int64 k, bool c, float[2] v) => (bool d, float[2] w) {
            d = Identity(c) w = Add(v, v) }> }""",
}


@pytest.mark.parametrize("name", RUN)
def test_every_family_draws_what_runs(name: str) -> None:
    model = parse(RUN[name])
    for sizes in ((2, 3), (1,)):
        binding = bind(free_inputs(model), sizes=sizes)
        assert_runs(model, binding)
        if not binding.sizes:
            break


def test_what_is_in_a_local_function_is_found() -> None:
    model = parse(
        "g (int64[5] i, float[9] x) => (float[5] y) { y = f.pick(x, i) }",
        '<domain: "f", opset_import: ["" : 21]> pick <a : int = 0> (x, i) => (y) { y = Gather<axis : int = @a>(x, i) }',
    )
    (attribute,) = model.functions[0].node[0].attribute
    assert attribute.ref_attr_name == "a"
    assert assert_runs(model)["i"] == set(range(-9, 9))


def test_indices_reach_everything_and_nothing_else() -> None:
    seen = assert_runs(parse(RUN["gather of what is computed"]), Binding({"N": 3}))
    assert seen["i"] == set(range(-6, 6))
    seen = assert_runs(parse(RUN["index less than"]))
    assert max(seen["i"]) == 34
    assert min(seen["i"]) <= -3
    assert assert_runs(parse(RUN["index from behind"]))["i"] == set(range(18))
    assert assert_runs(parse(RUN["one index for two"]))["i"] == set(range(-3, 3))


def test_indices_follow_the_binding() -> None:
    model = parse("g (int64[50] i, float[N] x) => (float[50] y) { y = Gather(x, i) }")
    for size in (1, 2, 7):
        assert assert_runs(model, Binding({"N": size}))["i"] == set(range(-size, size))


def test_usual_families_count_from_the_front() -> None:
    model = parse(RUN["gather of an initializer"])
    for family, feeds, _ in feeds_of(model):
        if family in ("normal", "unique", "wide", "small", "offset"):
            assert feeds["i"].min() >= 0


def test_scattered_positions_differ() -> None:
    for _, feeds, _ in feeds_of(parse(RUN["scatter"])):
        assert all(len(set(column)) == 2 for column in (feeds["i"] % 4).T.tolist())
    for _, feeds, _ in feeds_of(parse(RUN["scatter tuples"])):
        assert len({tuple(row) for row in (feeds["i"] % [3, 2]).tolist()}) == 4


def test_reshape_targets_are_factorizations_of_all_forms() -> None:
    targets = {tuple(feeds["s"].tolist()) for _, feeds, _ in feeds_of(parse(RUN["reshape"]))}
    assert any(0 in target for target in targets)
    assert any(-1 in target for target in targets)
    assert any(0 in target and -1 in target for target in targets)
    whole = {target for target in targets if 0 not in target and -1 not in target}
    assert len(whole) > 10
    assert {math.prod(target) for target in whole} == {60}
    copies = {tuple(feeds["s"].tolist()) for _, feeds, _ in feeds_of(parse(RUN["reshape without copies"]))}
    assert not any(0 in target for target in copies)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_a_reshape_target_has_the_number_of_elements(dims: list[int], rank: int, index: int) -> None:
    shape = ",".join(map(str, dims))
    model = parse(f"g (int64[{rank}] s, float[{shape}] x) => (float[K] y) {{ t = Reshape(x, s) y = Flatten(t) }}")
    target = dict(draw(free_inputs(model), NONE, "ladder", index))["s"]
    assert isinstance(target, np.ndarray)
    if 0 in dims and 0 not in dims[:rank]:
        return  # without a zero to copy there is no target
    np.empty(dims).reshape([dims[k] if n == 0 else n for k, n in enumerate(target.tolist())])


@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 20), st.sampled_from(list(FAMILIES)))
@settings(max_examples=150, deadline=None)
def test_the_parts_of_a_split_add_up(size: int, parts: int, index: int, family: Any) -> None:
    names = ", ".join(f"float[A{k}] y{k}" for k in range(parts))
    results = ", ".join(f"y{k}" for k in range(parts))
    model = parse(f"g (int64[{parts}] p, float[{size}] x) => ({names}) {{ {results} = Split(x, p) }}")
    drawn = draw(free_inputs(model), NONE, family, index)["p"]
    assert isinstance(drawn, np.ndarray)
    assert drawn.sum() == size
    assert drawn.min() >= (0 if family in ("ladder", "special", "ties", "constants") or size < parts else 1)


def test_slices_begin_and_end_far_outside_too() -> None:
    seen = assert_runs(parse(RUN["slice"]))
    info = np.iinfo(np.int64)
    assert {info.min, info.max, -1, 0, 2} <= seen["s"]
    assert {1, 2, -1, 100} <= seen["t"]


def test_loops_run_several_times_and_not_at_all() -> None:
    seen = assert_runs(parse(RUN["trips"]))
    assert seen["n"] == {0, 1, 2, 3, 5}


def test_sequences_and_optionals_vary_where_nothing_depends_on_it() -> None:
    model = parse("""g (seq(float[3]) s, optional(float[2]) o) => (int64 n, bool h) {
        n = SequenceLength(s) h = OptionalHasElement(o) }""")
    lengths, present = set(), set()
    for family, feeds, _ in feeds_of(model):
        lengths.add(len(feeds["s"]))
        present.add(feeds["o"] is not None)
        if family == "normal":
            assert (len(feeds["s"]), feeds["o"] is None) == (2, False)
    assert (lengths, present) == ({0, 1, 2, 3}, {True, False})
    third = {len(feeds["s"]) for _, feeds, _ in feeds_of(parse(RUN["third of a sequence"]))}
    assert third == {3}


MASKS = {
    "compared": "g (int64[9] m) => (bool[9] y) <int64 one = {1}> { y = Equal(m, one) }",
    "cast": "g (float[9] m, float[9] x) => (float[9] y) { c = Cast<to = 9>(m) y = Where(c, x, x) }",
    "added to scores": """g (int64[2,9] m, float[2,1,1,9] x) => (float[2,1,1,9] y)
        <int64[2] a = {1, 2}, float one = {1}, float large = {-10000}> {
            u = Unsqueeze(m, a) f = Cast<to = 1>(u) i = Sub(one, f) s = Mul(i, large) y = Add(x, s) }""",
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_zeros_and_ones_but_not_where_the_values_are_extreme(name: str) -> None:
    model = parse(MASKS[name])
    seen: dict[str, set[Any]] = {}
    for family, feeds, specs in feeds_of(model):
        seen.setdefault(family, set()).update(feeds["m"].ravel().tolist())
        assert specs[0].free
        assert drawn_elements(specs, NONE) == sum(math.prod(NONE.shape(spec)) for spec in specs)
    assert seen["normal"] == seen["offset"] == seen["wide"] == {0, 1}
    assert len(seen["ladder"]) > 20
    assert ladder_draws(free_inputs(model), NONE) == 12


def test_a_role_is_for_its_type_only() -> None:
    model = parse("g (float[2] x, float[2] z) => (float[2] y) { y = Div(x, z) }")
    assert [spec.role for spec in free_inputs(model)] == [None, None]
    model = parse("g (int64[2] x, int64[2] z) => (float[2] y) { f = Cast<to = 1>(z) y = Pow(f, f) }")
    assert [spec.role for spec in free_inputs(model)] == [None, None]


def test_quantized_scales_are_positive_where_values_are_usual() -> None:
    model = parse("g (float[9] x, float s, uint8 z) => (uint8[9] y) { y = QuantizeLinear(x, s, z) }")
    scales = {family: feeds["s"] for family, feeds, _ in feeds_of(model) if family in ("normal", "wide")}
    assert all(0 < scale <= 0.5 for scale in scales.values())

"""Digests of what values are computed from: blind to names and order, and to nothing else."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfuse.verification.eval_model import EvalModel, Place
from onnxfuse.verification.structural import Structure, shared_memory
from tests.gauntlet.runner import CASES
from tests.verification.renamed import renamed
from tests.verification.texts import HEADER, parse

RICH = """g (float[N, 4] x, bool c, int64 n) => (float[N, 4] y, float[N, 4] z, float[N, 4] w)
<float[4] scale = {1, 2, 3, 4}, float two = {2}> {
    k = Constant<value = float[4] {5, 6, 7, 8}>()
    a = Mul(x, scale)
    b = Add(a, k)
    y = If (c) <
        then_branch = t () => (float[N, 4] p) { q = Mul(b, two) p = Neg(q) },
        else_branch = e () => (float[N, 4] r) { r = LeakyRelu<alpha = 0.25>(a) }>
    s = LeakyRelu<alpha = 0.5>(b)
    z = Loop (n, , s) <body = l (int64 i, bool k0, float[N, 4] v) => (bool o, float[N, 4] u) {
        o = Identity(k0) m = Add(v, a) u = Softmax<axis = 1>(m) }>
    w = f.blend<rate = 0.125>(x, s)
}
<domain: "f", opset_import: ["" : 21]>
blend <rate: float = 0.75> (left, right) => (mixed) {
    half = Constant<value_float: float = @rate>()
    part = Mul(left, half)
    mixed = Sub(right, part)
}"""


def digests(model: onnx.ModelProto | EvalModel, *, shared: Collection[Place] = ()) -> dict[str, str]:
    """The digest of every output."""
    whole = model if isinstance(model, EvalModel) else EvalModel(model)
    values = Structure(whole, shared).values
    return {value.name: values[value.name] for value in whole.proto.graph.output}


def same(before: str, after: str, *, header: str = HEADER) -> bool:
    return digests(parse(before, HEADER)) == digests(parse(after, header))


# ---- what keeps them


@pytest.mark.parametrize("name", sorted(CASES)[::6])
def test_names_do_not_count(name: str) -> None:
    model = onnx.load_from_string(CASES[name].data)
    if Structure(EvalModel(model)).random:
        pytest.skip("a random value is never the same")
    assert digests(model) == digests(renamed(model))


def test_the_rich_model_is_legal_and_keeps_its_digests_under_other_names() -> None:
    onnx.checker.check_model(parse(RICH))
    other = renamed(parse(RICH))
    onnx.checker.check_model(other)
    assert digests(parse(RICH)) == digests(other)


def test_the_names_of_functions_do_not_count() -> None:
    assert same(RICH, RICH.replace("blend", "mix"))


@given(st.randoms(use_true_random=False))
def test_the_order_of_independent_nodes_does_not_count(random: object) -> None:
    model = parse(RICH)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    known = {"", *(value.name for value in model.graph.input), *(tensor.name for tensor in model.graph.initializer)}
    while nodes:
        ready = [node for node in nodes if set(node.input) | CAPTURED.get(node.output[0], set()) <= known]
        chosen = random.choice(ready)  # type: ignore[attr-defined]
        nodes.remove(chosen)
        model.graph.node.append(chosen)
        known.update(chosen.output)
    onnx.checker.check_model(model)
    assert digests(model) == digests(parse(RICH))


CAPTURED = {"y": {"a", "b"}, "z": {"a"}}


def test_unused_nodes_initializers_and_functions_do_not_count() -> None:
    more = RICH.replace("a = Mul(x, scale)", "a = Mul(x, scale) unused = Exp(x)").replace(
        "float two = {2}", "float two = {2}, float[2] idle = {1, 2}"
    )
    more += '\n<domain: "f", opset_import: ["" : 21]> idle (left) => (right) { right = Exp(left) }'
    assert same(RICH, more)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = Relu(x)", "a = Identity(x) b = Relu(a) y = Identity(b)"),
        ("y = Softmax(x)", "y = Softmax<axis = -1>(x)"),
        ("y = LeakyRelu(x)", "y = LeakyRelu<alpha = 0.01>(x)"),
        ("y = Clip(x)", 'y = Clip(x, "", "")'),
    ],
    ids=["Identity", "a default axis", "a default float", "left out"],
)
def test_what_changes_nothing_does_not_count(before: str, after: str) -> None:
    head = "g (float[N, 4] x) => (float[N, 4] y)"
    assert same(f"{head} {{ {before} }}", f"{head} {{ {after} }}")


@given(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 2**32),
)
def test_a_constant_is_the_same_whatever_holds_it(dtype: type, shape: list[int], seed: int) -> None:
    array: np.ndarray = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    found = set()
    for raw, where in itertools.product((False, True), ("node", "initializer", "weights")):
        tensor = onnx.helper.make_tensor(
            "c",
            onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
            array.shape,
            array.tobytes() if raw else array.reshape(-1).tolist(),
            raw=raw,
        )
        model = parse("g () => (float[N] y) { y = Shape(c) }")
        weights = {}
        if where == "node":
            model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["c"], value=tensor))
        elif where == "initializer":
            model.graph.initializer.append(tensor)
        else:
            model.graph.initializer.append(onnx.TensorProto(name="c", data_type=tensor.data_type, dims=tensor.dims))
            weights = {"c": array}
        found.add(digests(EvalModel(model, weights))["y"])
    assert len(found) == 1


def test_an_opset_with_the_same_operator_does_not_count_and_one_with_another_does() -> None:
    text = "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Relu(x) z = Softmax(x) }"
    eleven, twelve, thirteen = (
        digests(parse(text, f'<ir_version: 10, opset_import: ["" : {version}]>')) for version in (11, 12, 13)
    )
    assert eleven == twelve
    assert twelve["z"] != thirteen["z"]
    long = digests(parse(text, '<ir_version: 10, opset_import: ["ai.onnx" : 12]>'))
    assert long == twelve


# ---- what changes them


CHANGES = {
    "an attribute": ("alpha = 0.5", "alpha = 0.5001"),
    "an attribute in a body": ("alpha = 0.25", "alpha = 0.2501"),
    "an attribute in a loop": ("Softmax<axis = 1>", "Softmax<axis = 0>"),
    "an initializer": ("{1, 2, 3, 4}", "{1, 2, 3, 5}"),
    "the type of an initializer": ("float two = {2}", "double two = {2}"),
    "the shape of an initializer": ("float two = {2}", "float[1] two = {2}"),
    "an initializer that a body captures": ("float two = {2}", "float two = {3}"),
    "a Constant": ("{5, 6, 7, 8}", "{5, 6, 7, 9}"),
    "an operator": ("b = Add(a, k)", "b = Sub(a, k)"),
    "the order of operands": ("a = Mul(x, scale)", "a = Mul(scale, x)"),
    "an operator in a body": ("p = Neg(q)", "p = Abs(q)"),
    "a captured value": ("q = Mul(b, two)", "q = Mul(a, two)"),
    "a value that a loop captures": ("m = Add(v, a)", "m = Add(v, b)"),
    "what a loop carries": ("z = Loop (n, , s)", "z = Loop (n, , b)"),
    "the branches": ("then_branch = t", "else_branch = t"),
    "the condition that a loop goes on with": ("o = Identity(k0)", "o = Not(k0)"),
    "a function's body": ("mixed = Sub(right, part)", "mixed = Add(right, part)"),
    "a function's wiring": ("mixed = Sub(right, part)", "mixed = Sub(part, right)"),
    "a function's attribute": ("rate = 0.125", "rate = 0.25"),
    "the arguments of a function": ("f.blend<rate = 0.125>(x, s)", "f.blend<rate = 0.125>(s, x)"),
    "the opset of a function": (
        '<domain: "f", opset_import: ["" : 21]>\nblend',
        '<domain: "f", opset_import: ["" : 12]>\nblend',
    ),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_every_change_counts(old: str, new: str) -> None:
    assert RICH.count(old) == 1
    text = RICH.replace(old, new)
    if old.startswith("then_branch"):
        text = (
            RICH.replace("then_branch", "spare").replace("else_branch", "then_branch").replace("spare", "else_branch")
        )
    before, after = digests(parse(RICH)), digests(parse(text))
    assert before.keys() == after.keys()
    assert before != after


def test_only_what_hangs_on_a_change_changes() -> None:
    before = digests(parse(RICH))
    after = digests(parse(RICH.replace("rate = 0.125", "rate = 0.25")))
    assert {name for name in before if before[name] != after[name]} == {"w"}
    after = digests(parse(RICH.replace("alpha = 0.25", "alpha = 0.75")))
    assert {name for name in before if before[name] != after[name]} == {"y"}


def test_the_default_of_a_functions_attribute_counts_where_it_is_used() -> None:
    text = RICH.replace("<rate = 0.125>", "")
    assert not same(text, text.replace("rate: float = 0.75", "rate: float = 0.5"))


def mutations(model: onnx.ModelProto, digest_of: Mapping[str, str]) -> Iterator[onnx.ModelProto]:
    """Models of which one attribute, constant or connection is another."""
    for index, node in enumerate(model.graph.node):
        for place, attribute in enumerate(node.attribute):
            if attribute.type in (attribute.INT, attribute.FLOAT):
                changed = copy.deepcopy(model)
                target = changed.graph.node[index].attribute[place]
                target.i, target.f = target.i + 1, target.f + 1
                yield changed
        for place, name in enumerate(node.input):
            for other in sorted(other for other in {*node.input} if digest_of.get(other) != digest_of.get(name)):
                changed = copy.deepcopy(model)
                changed.graph.node[index].input[place] = other
                yield changed
    for index, tensor in enumerate(model.graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind in "fiu" and bool((array + array.dtype.type(1) != array).any()):
            changed = copy.deepcopy(model)
            changed.graph.initializer[index].CopyFrom(
                onnx.numpy_helper.from_array(array + array.dtype.type(1), tensor.name)
            )
            yield changed


def test_every_change_of_a_real_model_counts() -> None:
    found = 0
    for name in sorted(CASES)[::8]:
        model = onnx.load_from_string(CASES[name].data)
        structure = Structure(EvalModel(model))
        for changed in mutations(model, structure.values):
            found += 1
            after = Structure(EvalModel(changed)).values
            assert any(digest != after.get(key) for key, digest in structure.values.items()), (name, changed)
    assert found > 100


def test_inputs_are_known_by_name_and_types_by_the_interface() -> None:
    text = "g (float[N] x, float[N] z) => (float[N] y) { y = Sub(x, z) }"
    assert not same(text, text.replace("Sub(x, z)", "Sub(z, x)"))


def test_an_overridable_initializer_is_not_the_constant_that_it_holds() -> None:
    def weighted(*, as_input: bool, ir_version: int = 10, value: float = 1.0) -> onnx.ModelProto:
        inputs = "float[2] x, float[2] w" if as_input else "float[2] x"
        model = parse(f"g ({inputs}) => (float[2] y) {{ y = Add(x, w) }}")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(2, value, np.float32), "w"))
        model.ir_version = ir_version
        return model

    assert digests(weighted(as_input=True)) != digests(weighted(as_input=False))
    assert digests(weighted(as_input=True)) != digests(weighted(as_input=True, value=2.0))
    # Below IR version 4 it is no input at all.
    assert digests(weighted(as_input=True, ir_version=3)) == digests(weighted(as_input=False))


# ---- shared memory


def test_shared_memory_need_not_be_read_and_tells_arrays_apart() -> None:
    array = np.arange(8, dtype=np.float32)
    text = "g (float[8] x) => (float[8] y) { y = Add(x, w) }"

    def model(weight: np.ndarray) -> EvalModel:
        proto = parse(text)
        proto.graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=weight.shape))
        return EvalModel(proto, {"w": weight})

    one, other = model(array), model(array[:])
    shared = shared_memory(one, other)
    assert shared == {(array.__array_interface__["data"][0], (4,))}
    assert digests(one, shared=shared) == digests(other, shared=shared)
    assert shared_memory(one, model(array.copy())) == frozenset()
    assert digests(one) == digests(model(array.copy()))
    assert digests(one) != digests(model(array + 1))
    # Views of the same start, but of other values.
    strided = np.lib.stride_tricks.as_strided(array, (4,), (8,))
    square = array[:4].reshape(2, 2)
    for first, second in ((array[:4], strided), (square, square.T)):
        pair = model(first), model(second)
        shared = shared_memory(*pair)
        assert digests(pair[0], shared=shared) != digests(pair[1], shared=shared)


# ---- random operators


def random_of(text: str) -> object:
    model = parse(text)
    structure = Structure(EvalModel(model))
    return structure.random_of(model.graph.output[0].name)


NOISY = "g (float[4] x) => (float[4] y) { r = RandomNormalLike<seed = 1.0>(x) y = Add(x, r) }"

FUNCTION = '\n<domain: "f", opset_import: ["" : 21]> noise (a) => (b) { b = RandomNormalLike(a) }'


def test_two_random_values_are_never_the_same() -> None:
    text = "g (float[4] x) => (float[4] y, float[4] z) { y = RandomNormalLike(x) z = RandomNormalLike(x) }"
    found = digests(parse(text))
    assert found["y"] != found["z"]
    assert digests(parse(NOISY)) != digests(parse(NOISY))


@pytest.mark.parametrize(
    ("after", "equal"),
    [
        (NOISY.replace("y = Add(x, r)", "y = Mul(r, x)"), True),
        (NOISY.replace("seed = 1.0", "seed = 2.0"), True),
        (NOISY.replace("seed = 1.0", "scale = 2.0"), False),
        (NOISY.replace("RandomNormalLike<seed = 1.0>", "RandomUniformLike"), False),
        (NOISY.replace("y = Add(x, r)", "s = RandomNormalLike(x) t = Add(r, s) y = Add(x, t)"), False),
        (NOISY.replace("y = Add(x, r)", "s = RandomNormalLike(x) y = Add(x, r)"), True),
        (NOISY.replace("RandomNormalLike<seed = 1.0>", "f.noise") + FUNCTION, True),
    ],
    ids=["used otherwise", "another seed", "an attribute", "another operator", "two", "one unused", "in a function"],
)
def test_random_operators_are_counted(after: str, *, equal: bool) -> None:
    assert (random_of(NOISY) == random_of(after)) is equal


def test_random_operators_in_bodies_reach_the_output_and_shapes_do_not() -> None:
    body = """g (float[4] x, bool c) => (float[4] y) {
        y = If (c) <then_branch = t () => (float[4] a) { a = RandomNormalLike(x) },
                    else_branch = e () => (float[4] b) { b = Neg(x) }>
    }"""
    assert random_of(body)
    assert not random_of("g (float[4] x) => (int64[1] y) { r = RandomNormalLike(x) y = Shape(r) }")
    assert not random_of("g (float[4] x) => (float[4] y) { r = RandomNormalLike(x) y = Neg(x) }")


@pytest.mark.parametrize(("mode", "random"), [("{0}", False), ("{1}", True)])
def test_dropout_is_random_where_it_trains(mode: str, *, random: bool) -> None:
    text = f"g (float[4] x) => (float[4] y) <float r = {{0.5}}, bool t = {mode}> {{ y = Dropout(x, r, t) }}"
    assert bool(random_of(text)) is random
    assert bool(random_of(text.replace(f", bool t = {mode}", "").replace("(float[4] x)", "(float[4] x, bool t)")))

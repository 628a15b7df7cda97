"""Where two models that differ begin to differ."""

from __future__ import annotations

import time

import numpy as np
import pytest

from onnxfuse.verification.divergence import layers
from onnxfuse.verification.eval_model import EvalModel
from onnxfuse.verification.model import check_models
from onnxfuse.verification.pair import Pair
from onnxfuse.verification.structural import Structure
from onnxfuse.verification.verdict import Layer, Status, Verdict
from tests.verification.texts import parse

CHAIN = """g (float[N, 8] x) => (float[N, 8] y, float[N, 8] z)
<float a = {0.1}, float b = {3}, float c = {0.5}> {
    z = Neg(x)
    first = Tanh(x)
    p = Mul(first, a)
    second = Mul(p, b)
    third = Mul(second, c)
    y = Abs(third)
}"""


def compared(before: str, after: str, feeds: dict[str, np.ndarray], backend: str = "onnxruntime") -> tuple[Layer, ...]:
    one, other = EvalModel(parse(before)), EvalModel(parse(after))
    pair = Pair(one, other, 1 << 30, None, [], time.monotonic(), backend=backend)
    return layers(pair, (Structure(one), Structure(other)), feeds, timeout_s=30)


def verdict(before: str, after: str) -> Verdict:
    return check_models(EvalModel(parse(before)), EvalModel(parse(after)), families="quick")


FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)}


@pytest.mark.parametrize("backend", ["onnxruntime", "reference"])
def test_the_first_value_that_differs_is_told_by_name(backend: str) -> None:
    found = compared(CHAIN, CHAIN.replace("c = {0.5}", "c = {0.6}"), FEEDS, backend)
    assert [(layer.name, layer.op_type, layer.diverges) for layer in found] == [
        ("third", "Mul", True),
        ("y", "Abs", True),
    ]
    assert found[0].max_rel == pytest.approx(0.2, rel=1e-4)


def test_rounding_before_it_is_not_where_it_begins() -> None:
    after = CHAIN.replace("p = Mul(first, a)", "p = Mul(first, b)").replace("Mul(p, b)", "Mul(p, a)")
    after = after.replace("y = Abs(third)", "y = Neg(third)")
    found = verdict(CHAIN, after)
    assert found.status is Status.DIFFERENT
    assert [layer.name for layer in found.layers] == ["p", "second", "third", "y"]
    # p is another value now, in spite of its name; second is what it was, but for rounding.
    assert [layer.diverges for layer in found.layers] == [True, False, False, True]
    assert 0 < (found.layers[1].max_ulp or 0) < 8
    again = verdict(CHAIN.replace("p =", "q =").replace("Mul(p", "Mul(q"), after)
    assert again.first_diverging is not None
    assert (again.first_diverging.name, again.first_diverging.op_type) == ("y", "Abs")
    assert "  first diverging value: y (Abs)" in again.explain().splitlines()


def test_what_is_computed_identically_is_no_layer() -> None:
    found = verdict(CHAIN, CHAIN.replace("b = {3}", "b = {4}"))
    assert [layer.name for layer in found.layers] == ["second", "third", "y"]
    assert [output.basis for output in found.outputs] == [None, "structure"]
    assert found.inputs is not None
    assert set(found.inputs) == {"x"}


def test_values_of_other_shapes_types_and_nan_diverge() -> None:
    before = "g (float[N, 8] x) => (float[K] y) { s = Sqrt(x) i = Cast<to = 7>(x) t = Identity(i) f = Flatten(s) y = Shape(f) }"
    before = before.replace("float[K] y", "int64[K] y")
    after = (
        before.replace("Sqrt(x)", "Neg(x)").replace("to = 7", "to = 6").replace("Flatten(s)", "Flatten<axis = 0>(s)")
    )
    found = {layer.name: layer for layer in compared(before, after, FEEDS)}
    assert all(found[name].diverges for name in ("s", "i", "f"))
    assert "nan" in found["s"].text
    assert found["i"].text == "int64 before, int32 after"
    assert found["f"].text == "[2, 8] before, [1, 16] after"


def test_equal_values_that_are_computed_otherwise_are_equal() -> None:
    after = CHAIN.replace("first = Tanh(x)", "t = Neg(x) u = Neg(t) first = Tanh(u)").replace(
        "Abs(third)", "Neg(third)"
    )
    found = compared(CHAIN, after, FEEDS)
    assert [(layer.name, layer.text) for layer in found[:-1]] == [
        (name, "equal") for name in ("first", "p", "second", "third")
    ]
    assert found[-1].diverges


def test_no_layers_where_nothing_differs_or_nothing_is_in_common() -> None:
    after = CHAIN.replace("first = Tanh(x)", "t = Neg(x) u = Neg(t) first = Tanh(u)")
    assert verdict(CHAIN, after).layers == ()
    assert compared(CHAIN, CHAIN, FEEDS) == ()
    interface = verdict(
        CHAIN, CHAIN.replace("x", "w").replace("float[N, 8] w", "float[N, 8] other").replace("(w)", "(other)")
    )
    assert interface.status is Status.DIFFERENT
    assert (interface.layers, interface.inputs) == ((), None)


def test_many_values_are_told_from_both_ends() -> None:
    count = 500
    nodes = " ".join(f"v{index} = Neg(v{index - 1})" for index in range(1, count))
    before = f"g (float[2] x) => (float[2] y) {{ v0 = Neg(x) {nodes} y = Neg(v{count - 1}) }}"
    found = compared(before, before.replace("v0 = Neg(x)", "v0 = Abs(x)"), {"x": np.ones(2, np.float32)})
    assert len(found) == 400
    assert [found[index].name for index in (0, 199, 200, 399)] == ["v0", "v199", "v301", "y"]

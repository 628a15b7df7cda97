"""What is slow on a device."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest

from onnxfuse.drivers.findings import Severity
from onnxfuse.pipeline import registry
from tests.drivers.small_graphs import found, only, parsed


def test_large_pools() -> None:
    def pool(attributes: str) -> onnx.ModelProto:
        return parsed(
            f"[one] y = AveragePool <{attributes}> (x)", inputs="float[1, 4, 128, 128] x", outputs="float[1, 4, H, W] y"
        )

    for attributes in ("kernel_shape = [16, 16]", "kernel_shape = [2, 2], strides = [64, 1]"):
        finding = only(pool(attributes), "slow-operators")
        assert (finding.severity, finding.at, finding.code) == (Severity.WARNING, ("one",), "W11001")
    assert not found(pool("kernel_shape = [15, 17], strides = [63, 63]"))


SPACE = "float[1, 16, 8, 8] x, float[16, 16, 1, 1] w, int64[8] p, int64[4] s"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ("[a] a = Conv(x, w) [b] b = Relu(a) [c] c = Pad(b, p) [d] y = Conv(c, w)", ("c",)),
        (
            "[a] a = Conv(x, w) [b] b = Reshape(a, s) [c] c = Transpose(b) [d] d = Relu(c) [e] y = Conv(d, w)",
            ("b", "c"),
        ),
        # nothing before it, nothing behind it, another layout between, not on the data
        ("[c] c = Pad(x, p) [d] y = Conv(c, w)", ()),
        ("[a] a = Conv(x, w) [c] y = Pad(a, p)", ()),
        ("[a] a = Conv(x, w) [m] m = MatMul(a, a) [c] c = Transpose(m) [d] y = Conv(c, w)", ()),
        ("[a] a = Conv(x, w) [h] h = Shape(a) [i] i = Gather(h, s) [r] r = Reshape(x, i) [d] y = Conv(r, w)", ()),
        ("[a] a = Conv(x, w) [r] r = Reshape(w, s) [d] y = Conv(a, r)", ()),
    ],
)
def test_layouts(body: str, at: tuple[str, ...]) -> None:
    model = parsed(body, inputs=SPACE, outputs="float[N, C, H, W] y")
    assert [item.at for item in found(model) if "layout" in item.message] == ([at] if at else [])


def test_what_passes_would_change() -> None:
    model = parsed(
        "[s] s = Constant <value = int64[1] {1}> () [e] e = Constant <value = int64[1] {9}> () "
        "[one] a = Slice(x, s, e) [two] y = Slice(a, s, e)",
        inputs="float[16] x",
        outputs="float[7] y",
    )
    before = model.SerializeToString()
    finding = only(model, "slow-operators")
    assert (finding.severity, finding.at) == (Severity.NOTE, ("two",))
    assert finding.message == "merge-sliced would apply 1 time: Merge consecutive Slice nodes into one"
    assert model.SerializeToString() == before
    assert "merge-sliced" in registry.origins()


def test_places_are_in_the_order_of_the_graph() -> None:
    pair = "[a{0}] a{0} = Slice({1}, s, e) [b{0}] b{0} = Slice(a{0}, s, e) "
    body = "".join(pair.format(number, "x") for number in range(3))
    model = parsed(
        "[s] s = Constant <value = int64[1] {1}> () [e] e = Constant <value = int64[1] {9}> () "
        f"{body} [sum] y = Sum(b0, b1, b2)",
        inputs="float[16] x",
        outputs="float[7] y",
    )
    assert only(model, "slow-operators").at == ("b0", "b1", "b2")


def test_all_passes_that_are_named_are_there() -> None:
    assert {"convert-opset", "merge-sliced"} <= set(registry.origins())
    assert "ascend" in registry.presets()

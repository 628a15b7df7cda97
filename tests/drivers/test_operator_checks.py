"""Operators and opsets that the converter does not take."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest
from onnx import helper

from onnxfuse import UsageError
from onnxfuse.drivers.findings import Severity
from onnxfuse.pipeline.pipeline import Pipeline
from tests.drivers.small_graphs import PLAIN, found, only, parsed


@pytest.mark.parametrize(
    ("cann", "opset", "severity", "cure"),
    [
        ("5.1", 9, Severity.WARNING, "convert-opset{to=11}"),
        ("5.1", 13, Severity.WARNING, "opset 11"),
        ("5.1", 14, Severity.ERROR, "opset 11"),
        ("5.1", 7, Severity.ERROR, "convert-opset{to=11}"),
        ("5.1", 6, Severity.ERROR, "export it with opset 11"),
        ("7.0", 15, Severity.WARNING, "opset 13"),
        ("7.0", 16, Severity.ERROR, "opset 13"),
        ("8.0.0", 16, Severity.WARNING, "opset 15"),
        ("8.0.0", 19, Severity.ERROR, "opset 15"),
        ("", 18, None, ""),
        ("", 19, Severity.ERROR, "opset 18"),
        ("", 9, Severity.WARNING, "convert-opset{to=11}"),
    ],
)
def test_opsets(cann: str, opset: int, severity: Severity | None, cure: str) -> None:
    model = parsed(PLAIN, opset=opset)
    if severity is None:
        assert not found(model, cann=cann)
        return
    finding = only(model, "opset", cann=cann)
    assert (finding.severity, finding.code) == (severity, "E16002")
    assert cure in finding.cure
    assert f"opset {opset}" in finding.message
    if "convert-opset{" in finding.cure:  # a pass that is there, written as one
        Pipeline.parse(finding.cure.split("'")[1])


def test_several_domains() -> None:
    model = parsed(PLAIN)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    finding = only(model, "opset")
    assert (finding.severity, finding.code, finding.at) == (Severity.ERROR, "E16005", ("ai.onnx", "ai.onnx.ml"))
    for node in model.graph.node:
        node.domain = "ai.onnx"
    assert not found(model)


@pytest.mark.parametrize("cann", ["4.0", "five", "5x", "-5", "²"])
def test_what_is_no_version(cann: str) -> None:
    with pytest.raises(UsageError, match="no version of CANN"):
        found(parsed(PLAIN), cann=cann)


def test_operators() -> None:
    model = parsed("[one] a = Gelu(x) [two] y = Relu(a)", opset=20)
    finding = only(model, "operators")
    assert (finding.severity, finding.at) == (Severity.WARNING, ("Gelu",))
    model = parsed("[one] a = Relu(x) [two] y = my.own.Thing(a)")
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    assert only(model, "operators").at == ("my.own::Thing",)


@pytest.mark.parametrize(
    ("operator", "opset", "others"),
    [
        ("ReduceL2", 18, "8 to 17"),
        ("ReduceL2", 17, None),
        ("GridSample", 12, "11, 16 to 18"),
        ("GridSample", 16, None),
        ("GreaterOrEqual", 11, "8, 12 to 18"),
        ("GreaterOrEqual", 12, None),
        ("Scatter", 13, "9 to 11"),
        ("Mish", 17, "18"),
        ("LayerNormalization", 17, None),
        ("Relu", 9, None),
    ],
)
@pytest.mark.parametrize("cann", ["", "5.1", "8.0"])
def test_operators_at_some_opsets_only(operator: str, opset: int, others: str | None, cann: str) -> None:
    model = parsed(f"[one] y = {operator}(x)", opset=opset)
    items = [item for item in found(model, cann=cann) if item.check == "operators"]
    assert [(item.severity, item.at, item.code) for item in items] == (
        [] if others is None else [(Severity.WARNING, (f"{operator}: {others}",), "E16002")]
    )


def test_functions() -> None:
    model = parsed("[one] a = my.Thing(x) [two] y = Relu(a)")
    model.opset_import.append(helper.make_opsetid("my", 1))
    body = onnx.parser.parse_function('<opset_import: ["": 11], domain: "my"> Thing (x) => (y) { y = RNN(x) }')
    model.functions.append(body)
    items = [item for item in found(model) if item.check == "operators"]
    assert [(item.severity, item.at) for item in items] == [
        (Severity.WARNING, ("my::Thing",)),
        (Severity.WARNING, ("RNN",)),
    ]
    assert "onnx.inliner" in items[0].cure


def test_constants_without_a_tensor() -> None:
    """The converter's parser of a Constant looks for `value` alone."""
    model = parsed(
        "[k] k = Constant <value_float = 1.0> () [l] l = Constant <value = float {1}> () [one] y = Sum(x, k, l)"
    )
    finding = only(model, "operators")
    assert (finding.severity, finding.at, finding.code) == (Severity.WARNING, ("k",), None)

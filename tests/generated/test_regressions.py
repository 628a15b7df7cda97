"""What generated models found, shrunk."""

from __future__ import annotations

import onnx

import onnxfuse
from tests.generated.test_presets import check


def model(text: str) -> onnx.ModelProto:
    found = onnx.parser.parse_model(text)
    onnx.checker.check_model(found, full_check=True)
    return found


def test_what_an_if_gives_is_known_but_its_branches_read_more_than_its_condition() -> None:
    """Both branches give [0]; the region's model held the If without the value that its branches read."""
    branch = """() => (int64[k] {name}) {{
        {name}s = Shape (x)
        {name}n = Gather <axis = 0> ({name}s, zero)
        {name} = Range (zero, {name}n, one)
    }}"""
    text = f"""
    <ir_version: 10, opset_import: ["" : 17]>
    g (int64[1, 3] x, bool c) => (int64[y_] y)
    <int64 zero = {{0}}, int64 one = {{1}}, int64[1] a = {{0}}, int64[1] b = {{9}}, int64[1] d = {{-1}}> {{
        r = If (c) <then_branch = g1 {branch.format(name="t")}, else_branch = g2 {branch.format(name="e")}>
        s = Slice (r, d, b, a)
        y = Slice (s, a, b, a)
    }}"""
    report = check(model(text), "default")
    assert [outcome.at.op_type for outcome in report.applied] == ["Slice"]


def test_a_region_that_takes_an_attribute_from_the_call_says_so() -> None:
    """The reference evaluator raised an error of its own."""
    text = """
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[N, 2] x) => (float[N, 2] y) { y = local.F <m = "edge"> (x) }
    <domain: "local", opset_import: ["" : 17]>
    F <m> (a) => (b) {
        p = Constant <value_ints = [0, 0, 0, 0]> ()
        b = Pad <mode: string = @m> (a, p)
    }"""
    given = model(text)
    result = onnxfuse.apply(given, "remove-pad")
    assert result.model == given
    (rejected,) = result.report.rejected
    assert rejected.reason == "not verified: mode of Pad comes from the call of the function"


def test_strings_beside_a_bfloat16_inside() -> None:
    """An exposed bfloat16 had all inputs made OrtValues, which there are none of for strings."""
    text = """
    <ir_version: 10, opset_import: ["" : 17]>
    g (string[3] x, float[2] z) => (string[1] y, float[2] f) <int64[1] a = {1}, int64[1] b = {2}, int64[1] c = {9}> {
        s = Slice (x, a, c)
        y = Slice (s, a, b)
        h = Cast <to = 16> (z)
        f = Cast <to = 1> (h)
    }"""
    report = check(model(text), "default")
    assert [outcome.at.op_type for outcome in report.applied] == ["Slice"]

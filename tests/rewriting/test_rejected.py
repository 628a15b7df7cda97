"""Wrong rewrites are rejected, with evidence; right ones are applied, with a grade."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import onnxfuse
from onnxfuse import Builder, Facts, Match
from tests.rewriting.rules import Replace, ints, pair, read, rewrite

MAX, MIN = 2**63 - 1, -(2**63)


def forgets_slice(op_type: str) -> Replace:
    """Takes a Slice and what reads it for the latter alone."""

    def find(node: ir.Node, facts: Facts) -> Match | None:
        before = facts.producer(node.inputs[0], "Slice")
        return None if before is None else facts.region(before, node)

    return Replace(op_type, lambda match, build: [build.op(op_type, match.inputs[0])], find)


WRONG: dict[str, tuple[str, Replace]] = {
    "drops a Neg": (
        "g (float[N] x) => (float[N] y) { [at] y = Neg(x) }",
        Replace("Neg", lambda match, _: [match.inputs[0]]),
    ),
    "drops a Relu": (
        "g (float[2, 3] x) => (float[2, 3] y) { [at] y = Relu(x) }",
        Replace("Relu", lambda match, _: [match.inputs[0]]),
    ),
    "slices one too few": (
        "g (float[N] x) => (float[M] y) <int64[1] s = {1}, int64[1] e = {9}> { [at] y = Slice(x, s, e) }",
        Replace(
            "Slice", lambda match, build: [build.op("Slice", match.inputs[0], build.constant(ints(2)), match.inputs[2])]
        ),
    ),
    "slices one too many": (
        "g (float[N] x) => (float[M] y) <int64[1] s = {1}, int64[1] e = {9}> { [at] y = Slice(x, s, e) }",
        Replace(
            "Slice",
            lambda match, build: [build.op("Slice", match.inputs[0], match.inputs[1], build.constant(ints(10)))],
        ),
    ),
    "takes a far end for none": (
        "g (float[N] x) => (float[M] y) <int64[1] s = {0}, int64[1] e = {1000}> { [at] y = Slice(x, s, e) }",
        Replace("Slice", lambda match, _: [match.inputs[0]]),
    ),
    "takes a very far end for none": (
        "g (float[N] x) => (float[M] y) <int64[1] s = {0}, int64[1] e = {5000}> { [at] y = Slice(x, s, e) }",
        Replace("Slice", lambda match, _: [match.inputs[0]]),
    ),
    "takes a start from the end for one from the front": (
        """g (float[N] x) => (float[M] y) <int64[1] s = {-5000}, int64[1] e = {9223372036854775807}> {
            [at] y = Slice(x, s, e)
        }""",
        Replace("Slice", lambda match, _: [match.inputs[0]]),
    ),
    "turns one of several axes that are cut far from the front": (
        """g (float[N, M, K] x) => (float[A, B, C] y)
        <int64[3] s = {0, 400, 400}, int64[3] e = {9223372036854775807, 9223372036854775807, 9223372036854775807}> {
            [at] y = Slice(x, s, e)
        }""",
        Replace(
            "Slice",
            lambda match, build: [
                build.op(
                    "Slice",
                    match.inputs[0],
                    build.constant(ints(-1, 400, 400)),
                    build.constant(ints(MIN, MAX, MAX)),
                    build.constant(ints(0, 1, 2)),
                    build.constant(ints(-1, 1, 1)),
                )
            ],
            lambda node, facts: facts.region(node) if len(node.inputs) == 3 else None,
        ),
    ),
    "turns two axes of which something is left only where they are short": (
        """g (float[N, M] x) => (float[A, B] y) <int64[2] s = {-5, -5}, int64[2] e = {8, 8}> {
            [at] y = Slice(x, s, e)
        }""",
        Replace(
            "Slice",
            lambda match, build: [
                build.op(
                    "Slice",
                    match.inputs[0],
                    build.constant(ints(7, 7)),
                    build.constant(ints(-6, -6)),
                    build.constant(ints(0, 1)),
                    build.constant(ints(-1, -1)),
                )
            ],
            lambda node, facts: facts.region(node) if len(node.inputs) == 3 else None,
        ),
    ),
    "forgets a far end before what moves": (
        """g (float[N, M] x) => (float[A, B] y) <int64[1] s = {0}, int64[1] e = {100}> {
            a = Slice(x, s, e)
            [at] y = Transpose(a)
        }""",
        forgets_slice("Transpose"),
    ),
    "forgets a far end before what computes": (
        """g (float[N, M] x) => (float[A, B] y) <int64[1] s = {0}, int64[1] e = {100}> {
            a = Slice(x, s, e)
            [at] y = Relu(a)
        }""",
        forgets_slice("Relu"),
    ),
    "shifts the last of two axes with far ends": (
        """g (float[N, M] x) => (float[A, B] y) <int64[2] s = {0, 0}, int64[2] e = {2500, 2500}> {
            [at] y = Slice(x, s, e)
        }""",
        Replace(
            "Slice",
            lambda match, build: [build.op("Slice", *match.inputs[:2], build.constant(ints(2500, 2400)), None, None)],
            lambda node, facts: facts.region(node) if len(node.inputs) == 3 else None,
        ),
    ),
    "slices another axis": (
        """g (float[N, N] x) => (float[A, B] y) <int64[1] s = {1}, int64[1] e = {9}, int64[1] a = {0}> {
            [at] y = Slice(x, s, e, a)
        }""",
        Replace("Slice", lambda match, build: [build.op("Slice", *match.inputs[:3], build.constant(ints(1)))]),
    ),
    "swaps axes of one size": (
        "g (float[4, 4, 4] x) => (float[4, 4, 4] y) { [at] y = Transpose<perm = [1, 2, 0]>(x) }",
        Replace("Transpose", lambda match, build: [build.op("Transpose", match.inputs[0], perm=[2, 0, 1])]),
    ),
    "swaps symbolic axes": (
        "g (float[N, N] x) => (float[N, N] y) { [at] y = Transpose<perm = [1, 0]>(x) }",
        Replace("Transpose", lambda match, _: [match.inputs[0]]),
    ),
    "swaps the inputs of a Concat": (
        "g (float[N] x, float[N] z) => (float[M] y) { [at] y = Concat<axis = 0>(x, z) }",
        Replace("Concat", lambda match, build: [build.op("Concat", *reversed(match.inputs), axis=0)]),
    ),
    "gathers the next element": (
        "g (float[5] x) => (float y) <int64 i = {2}> { [at] y = Gather(x, i) }",
        Replace(
            "Gather",
            lambda match, build: [build.op("Gather", match.inputs[0], build.constant(np.array(3, dtype=np.int64)))],
        ),
    ),
    "writes one size of a symbolic dim": (
        "g (float[N, 6] x) => (float[A, B] y) <int64[2] s = {0, -1}> { [at] y = Reshape(x, s) }",
        Replace("Reshape", lambda match, build: [build.op("Reshape", match.inputs[0], build.constant(ints(2, -1)))]),
    ),
    "pads in another mode": (
        'g (float[5] x) => (float[7] y) <int64[2] p = {1, 1}> { [at] y = Pad<mode = "reflect">(x, p) }',
        Replace("Pad", lambda match, build: [build.op("Pad", *match.inputs, mode="edge")]),
    ),
    "reassociates floats": (
        "g (float[N] x) => (float[N] y) <float a = {0.1}, float b = {0.2}> { h = Add(x, a) [at] y = Add(h, b) }",
        Replace(
            "Add",
            lambda match, build: [
                build.op("Add", match.inputs[0], build.constant(np.array(np.float32(0.1) + np.float32(0.2))))
            ],
            pair,
        ),
    ),
    "multiplies by a reciprocal": (
        "g (float[N] x) => (float[N] y) <float a = {3}> { [at] y = Div(x, a) }",
        Replace(
            "Div",
            lambda match, build: [build.op("Mul", match.inputs[0], build.constant(np.array(1 / 3, dtype=np.float32)))],
        ),
    ),
    "forgets a negative zero": (
        "g (float[N] x) => (float[N] y) <float a = {0}> { [at] y = Add(x, a) }",
        Replace("Add", lambda match, _: [match.inputs[0]]),
    ),
    "forgets NaN": (
        "g (float[N] x) => (float[N] y) { [at] y = Sub(x, x) }",
        Replace("Sub", lambda match, build: [build.op("Mul", match.inputs[0], build.constant(np.array(0, "f4")))]),
    ),
    "takes a NaN for a number": (
        "g (float[N] x) => (bool[N] y) { [at] y = Equal(x, x) }",
        Replace("Equal", lambda match, build: [build.op("Not", build.op("Less", match.inputs[0], match.inputs[0]))]),
    ),
    "loses digits": (
        "g (float[N] x) => (float[N] y) { h = Cast<to = 10>(x) [at] y = Cast<to = 1>(h) }",
        Replace("Cast", lambda match, _: [match.inputs[0]], pair),
    ),
    "loses large integers": (
        "g (int64[N] x) => (int64[N] y) { h = Cast<to = 6>(x) [at] y = Cast<to = 7>(h) }",
        Replace("Cast", lambda match, _: [match.inputs[0]], pair),
    ),
    "loses infinity": (
        """g (float[N] x) => (float[N] y) <float low = {-3.4028235e38}, float high = {3.4028235e38}> {
            [at] y = Clip(x, low, high)
        }""",
        Replace("Clip", lambda match, _: [match.inputs[0]]),
    ),
    "loses a clip far from zero": (
        "g (float[N] x) => (float[N] y) <float low = {-1000}, float high = {1000}> { [at] y = Clip(x, low, high) }",
        Replace("Clip", lambda match, _: [match.inputs[0]]),
    ),
    "normalizes another axis": (
        "g (float[N, M] x) => (float[N, M] y) { [at] y = Softmax<axis = 1>(x) }",
        Replace("Softmax", lambda match, build: [build.op("Softmax", match.inputs[0], axis=0)]),
    ),
    "computes with another constant": (
        "g (float[N, 3] x) => (float[N, 3] y) <float[3] w = {1, 2, 3}> { [at] y = Mul(x, w) }",
        Replace(
            "Mul",
            lambda match, build: [build.op("Mul", match.inputs[0], build.constant(np.array([1, 2, 3.0000002], "f4")))],
        ),
    ),
    "takes a remainder for another": (
        "g (int32[N] x) => (int32[N] y) <int32 a = {3}> { [at] y = Mod(x, a) }",
        Replace("Mod", lambda match, build: [build.op("Mod", *match.inputs, fmod=1)]),
    ),
    "breaks ties another way": (
        "g (float[N] x) => (float[N] y) { [at] y = Round(x) }",
        Replace(
            "Round",
            lambda match, build: [
                build.op("Floor", build.op("Add", match.inputs[0], build.constant(np.array([0.5], "f4"))))
            ],
        ),
    ),
    "takes the last of equals for the first": (
        "g (float[N] x) => (int64[1] y) { [at] y = ArgMax<axis = 0>(x) }",
        Replace("ArgMax", lambda match, build: [build.op("ArgMax", match.inputs[0], axis=0, select_last_index=1)]),
    ),
    "takes one branch": (
        "g (bool[N] c, float[N] x, float[N] z) => (float[N] y) { [at] y = Where(c, x, z) }",
        Replace("Where", lambda match, _: [match.inputs[1]]),
    ),
    "takes Or for And": (
        "g (bool[N] x, bool[N] z) => (bool[N] y) { [at] y = And(x, z) }",
        Replace("And", lambda match, build: [build.op("Or", *match.inputs)]),
    ),
    "takes an unsigned integer for a signed one": (
        "g (uint8[N] x) => (uint8[N] y) { h = Cast<to = 3>(x) r = Abs(h) [at] y = Cast<to = 2>(r) }",
        Replace(
            "Cast",
            lambda match, build: [build.op("Cast", match.inputs[0], to=2)],
            lambda node, facts: (
                None if (before := facts.producer(node.inputs[0], "Abs")) is None else facts.region(before, node)
            ),
        ),
    ),
    "takes a least integer for any": (
        "g (int32[N] x) => (int32[N] y) { h = Abs(x) [at] y = Relu(h) }",
        Replace(
            "Relu",
            lambda match, build: [build.op("Abs", match.inputs[0])],
            lambda node, facts: facts.region(node.inputs[0].producer(), node),  # type: ignore[union-attr, arg-type]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rewrite_is_rejected_with_evidence(case: str) -> None:
    text, pass_ = WRONG[case]
    run = rewrite(text, pass_)

    assert (run.one.applied, run.one.failed) == ((), ())
    (rejected,) = run.one.rejected
    assert rejected.at.node == "at"
    assert "differs" in rejected.reason
    assert not rejected.reason.startswith("not verified")
    assert set(rejected.evidence) == {"shapes", "inputs", "difference"}
    assert rejected.evidence["difference"] in rejected.reason
    assert run.data == read(text).SerializeToString()


RIGHT: dict[str, tuple[str, Replace, str]] = {
    "moves data, any shape": (
        "g (float[N, M] x) => (float[N, M] y) { h = Transpose<perm = [1, 0]>(x) [at] y = Transpose<perm = [1, 0]>(h) }",
        Replace("Transpose", lambda match, _: [match.inputs[0]], pair),
        "value-tested",
    ),
    "moves data, this shape": (
        "g (float[2, 3] x) => (float[2, 3] y) { h = Transpose<perm = [1, 0]>(x) [at] y = Transpose<perm = [1, 0]>(h) }",
        Replace("Transpose", lambda match, _: [match.inputs[0]], pair),
        "exact-for-this-shape",
    ),
    "slices, any shape": (
        "g (float[N] x) => (float[M] y) <int64[1] s = {3}, int64[1] e = {-1}> { [at] y = Slice(x, s, e) }",
        Replace(
            "Slice",
            lambda match, build: [build.op("Slice", *match.inputs, build.constant(ints(0)), build.constant(ints(1)))],
            lambda node, facts: facts.region(node) if len(node.inputs) == 3 else None,
        ),
        "exact-for-all-shapes",
    ),
    "moves data, where that is possible": (
        """<ir_version: 8, opset_import: ["": 18]> g (float[N] x) => (float[M] y) <int64[2] p = {1, 1}> {
            [at] y = Pad<mode = "reflect">(x, p)
        }""",
        Replace(
            "Pad",
            lambda match, build: [build.op("Pad", *match.inputs, None, build.constant(ints(0)), mode="reflect")],
            lambda node, facts: facts.region(node) if len(node.inputs) == 2 else None,
        ),
        "value-tested",
    ),
    "divides by a power of two": (
        "g (float[N] x) => (float[N] y) <float a = {4}> { [at] y = Div(x, a) }",
        Replace(
            "Div", lambda match, build: [build.op("Mul", match.inputs[0], build.constant(np.array(0.25, "f4")))]
        ),
        "value-tested",
    ),
    "reassociates integers": (
        "g (int32[N] x) => (int32[N] y) <int32 a = {2147483647}, int32 b = {5}> { h = Add(x, a) [at] y = Add(h, b) }",
        Replace(
            "Add",
            lambda match, build: [build.op("Add", match.inputs[0], build.constant(np.array(-(2**31) + 4, "i4")))],
            pair,
        ),
        "value-tested",
    ),
    "adds a negative zero": (
        "g (float[N] x) => (float[N] y) <float a = {-0.0}> { [at] y = Add(x, a) }",
        Replace("Add", lambda match, _: [match.inputs[0]]),
        "value-tested",
    ),
    "negates twice": (
        "g (float[N] x) => (float[N] y) { h = Neg(x) [at] y = Neg(h) }",
        Replace("Neg", lambda match, _: [match.inputs[0]], pair),
        "value-tested",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_right_rewrite_is_applied_with_its_grade(case: str) -> None:
    text, pass_, grade = RIGHT[case]
    run = rewrite(text, pass_)

    assert (run.one.rejected, run.one.failed) == ((), ())
    (applied,) = run.one.applied
    assert applied.at.node == "at"
    assert applied.grade == grade
    assert applied.max_error == 0.0
    assert applied.evidence


IN_RANGE: dict[str, tuple[str, Replace, str]] = {
    "gathers from far behind": (
        "g (float[N] x) => (float y) <int64 i = {50}> { [at] y = Gather(x, i) }",
        Replace(
            "Gather",
            lambda match, build: [
                build.op(
                    "Squeeze",
                    build.op("Slice", match.inputs[0], build.constant(ints(50)), build.constant(ints(51))),
                    build.constant(ints(0)),
                )
            ],
        ),
        "value-tested",
    ),
    "gathers by what comes in": (
        "g (float[N] x, int64[M] i, int64[K] j) => (float[K] y) { h = Gather(x, i) [at] y = Gather(h, j) }",
        Replace(
            "Gather",
            lambda match, build: [build.op("Gather", match["x"], build.op("Gather", match["i"], match["j"]))],
            lambda node, facts: facts.region(
                before, node, x=before.inputs[0], i=before.inputs[1], j=node.inputs[1]
            ) if (before := facts.producer(node.inputs[0], "Gather")) is not None else None,
        ),
        "value-tested",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_RANGE)
def test_right_rewrite_of_what_runs_on_few_inputs_is_applied(case: str) -> None:
    text, pass_, grade = IN_RANGE[case]
    run = rewrite(text, pass_)

    assert [applied.grade for applied in run.one.applied] == [grade]


def test_rejected_rewrite_leaves_no_trace_for_the_next_one() -> None:
    text = """g (float[N] x) => (float[N] y, float[N] z) <float a = {4}, float b = {3}> {
        [wrong] y = Div(x, b)
        [right] z = Div(x, a)
    }"""

    def build(match: Match, build: Builder) -> list[ir.Value]:
        divisor = match.inputs[1].const_value
        assert divisor is not None
        return [build.op("Mul", match.inputs[0], build.constant(1 / divisor.numpy(), name="factor"))]

    run = rewrite(text, Replace("Div", build))

    assert [outcome.at.node for outcome in run.one.rejected] == ["wrong"]
    assert [outcome.at.node for outcome in run.one.applied] == ["right"]
    assert [(node.op_type, node.name) for node in run.model.graph.node] == [("Div", "wrong"), ("Mul", "right")]
    assert [tensor.name for tensor in run.model.graph.initializer] == ["b", "right_factor"]


def test_rejected_rewrite_does_not_stop_apply() -> None:
    text, pass_ = WRONG["drops a Neg"]
    model = read(text)
    result = onnxfuse.apply(model, pass_)

    assert len(result.report.rejected) == 1
    assert result.report.modified is False
    assert result.report.verdict is None
    assert result.model.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("verify", ["off", "structure"])
def test_without_verification_a_wrong_rewrite_is_in_the_model(verify: str) -> None:
    text, pass_ = WRONG["drops a Neg"]
    run = rewrite(text, pass_, verify=verify)

    assert run.ops == ["Identity"]
    assert run.one.sessions == 0
    assert [(outcome.grade, outcome.evidence) for outcome in run.one.applied] == [("not-run", "verification is off")]

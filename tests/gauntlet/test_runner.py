"""The runner can fail: broken results get the verdict they deserve, right ones pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.gauntlet.isolation import Child, ChildDiedError
from tests.gauntlet.judge import Outcome
from tests.gauntlet.runner import CASES, PAIRS, Case, Pair, Runner, table

Mutation = Callable[[onnx.ModelProto], None]


def mutated(case: Case, mutate: Mutation) -> bytes:
    model = onnx.load_from_string(case.data)
    mutate(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def set_initializer(model: onnx.ModelProto, name: str, values: np.ndarray[Any, Any]) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def shift_slice(model: onnx.ModelProto) -> None:
    set_initializer(model, "s3_st", np.array([4]))
    set_initializer(model, "s3_en", np.array([6]))


def join_twice(model: onnx.ModelProto) -> None:
    model.graph.node[0].input.append("y")  # along a symbolic axis, so that only a run can tell


def drop_output(model: onnx.ModelProto) -> None:
    del model.graph.output[-1]


def swap_outputs(model: onnx.ModelProto) -> None:
    first, second, third = model.graph.output
    reordered = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in (third, second, first)]
    del model.graph.output[:]
    model.graph.output.extend(reordered)


def drop_input(model: onnx.ModelProto) -> None:
    del model.graph.input[next(place for place, value in enumerate(model.graph.input) if value.name == "unused")]


def pin_symbol(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def drop_overridable_input(model: onnx.ModelProto) -> None:
    del model.graph.input[1]


def leave_value_undefined(model: onnx.ModelProto) -> None:
    del model.graph.node[0]


def break_ssa(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def contradict_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7


def use_unknown_op(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("no.such.domain", 1))
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "NoSuchOp", "no.such.domain"


def bake_shape(model: onnx.ModelProto) -> None:
    # Right for the first input set only, where N is 0.
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "baked"))
    model.graph.node[0].output[0] = "joined"
    model.graph.node.append(helper.make_node("Reshape", ["joined", "baked"], ["o"]))


def unify_seeds(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute[0].CopyFrom(model.graph.node[0].attribute[0])


def change_output_dtype(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "narrow"
    model.graph.node.append(helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    del model.graph.value_info[:]


def put_first(model: onnx.ModelProto, op_type: str, operand: float) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(operand, np.float32), "operand"))
    for node in model.graph.node:
        node.input[:] = ["first" if name == "x" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node(op_type, ["x", "operand"], ["first"]))


def lose_signed_zeros(model: onnx.ModelProto) -> None:
    put_first(model, "Add", 0)  # the identity but for -0, which becomes +0


def nudge(model: onnx.ModelProto) -> None:
    put_first(model, "Mul", 1 + 2**-20)


BROKEN = [
    ("slice_same_axis", shift_slice, Outcome.MISCOMPILED, "value"),
    ("concat_dynamic_empty", join_twice, Outcome.MISCOMPILED, "shape"),
    ("slice_same_axis", change_output_dtype, Outcome.MISCOMPILED, "io"),
    ("slice_same_axis", leave_value_undefined, Outcome.INVALID, "checker"),
    ("slice_same_axis", break_ssa, Outcome.INVALID, "checker"),
    ("slice_same_axis", contradict_shape, Outcome.INVALID, "inference"),
    ("slice_same_axis", use_unknown_op, Outcome.INVALID, "unrunnable"),
    ("names_io_order", drop_output, Outcome.MISCOMPILED, "io"),
    ("names_io_order", swap_outputs, Outcome.MISCOMPILED, "io"),
    ("names_io_order", drop_input, Outcome.MISCOMPILED, "io"),
    ("concat_dynamic_empty", pin_symbol, Outcome.MISCOMPILED, "io"),
    ("concat_dynamic_empty", bake_shape, Outcome.MISCOMPILED, "fails-on-some-inputs"),
    ("pad_overridable_pads", drop_overridable_input, Outcome.MISCOMPILED, "io"),
    ("rnd_seeds", unify_seeds, Outcome.MISCOMPILED, "random"),
]


@pytest.mark.parametrize(
    ("name", "mutate", "outcome", "kind"), BROKEN, ids=[f"{name}-{mutate.__name__}" for name, mutate, *_ in BROKEN]
)
def test_broken_result_is_told(name: str, mutate: Mutation, outcome: Outcome, kind: str, runner: Runner) -> None:
    verdict = runner.judge(CASES[name], mutated(CASES[name], mutate))

    assert (verdict.outcome, verdict.kind) == (outcome, kind), verdict
    assert verdict.reason


def test_bytes_that_are_no_model_are_told(runner: Runner) -> None:
    score = runner.score(CASES["pad_nop"], lambda _: b"\xff")

    assert (score.verdict.outcome, score.verdict.kind) == (Outcome.INVALID, "unloadable")
    assert score.ideal_reached is False


def test_transform_that_raises_is_told(runner: Runner) -> None:
    def transform(data: bytes) -> bytes:
        raise RecursionError(f"{len(data)} bytes are too many")

    score = runner.score(CASES["pad_nop"], transform)

    assert str(score.verdict).startswith("crash (exception): RecursionError: ")
    assert score.result is None


def test_runtime_that_dies_is_survived() -> None:
    with Child() as child:
        with pytest.raises(ChildDiedError):
            child.call(os._exit, 3)

        assert child.call(abs, -3) == 3


def test_exact_tells_what_the_tolerance_of_the_case_forgives(runner: Runner) -> None:
    case = CASES["transpose_default_perm"]
    signless, nudged = mutated(case, lose_signed_zeros), mutated(case, nudge)

    assert runner.judge(case, signless).outcome is Outcome.EQUIVALENT
    assert runner.judge(case, signless, exact=True).kind == "value"
    assert runner.judge(case, nudged).kind == "rounding"
    assert runner.judge(case, nudged, exact=True).outcome is Outcome.MISCOMPILED


def test_ideal_needs_equivalence(runner: Runner) -> None:
    case = CASES["pad_nop"]

    untouched = runner.score(case, lambda data: data)
    wrong = runner.score(case, lambda _: mutated(case, unpad_wrongly))
    right = runner.score(case, lambda _: mutated(case, unpad))

    assert [score.ideal_reached for score in (untouched, wrong, right)] == [False, False, True]
    assert [score.rewritten for score in (untouched, wrong, right)] == [False, True, True]
    assert table([untouched, wrong, right]).splitlines() == [
        "cases           3",
        "equivalent      2",
        "miscompiled     1",
        "invalid         0",
        "crash           0",
        "not run         0",
        "rewritten       2",
        "ideals reached  1 of 3",
    ]


def unpad(model: onnx.ModelProto) -> None:
    del model.graph.node[0]
    model.graph.node[0].input[0] = "x"


def unpad_wrongly(model: onnx.ModelProto) -> None:
    model.graph.node[0].CopyFrom(helper.make_node("Abs", ["x"], model.graph.node[0].output))


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_original_that_is_only_stored_differently_passes(case: Case, runner: Runner) -> None:
    def rename_producer(model: onnx.ModelProto) -> None:
        model.producer_name = "someone else"

    verdict = runner.judge(case, mutated(case, rename_producer), exact=True)

    assert (verdict.outcome, verdict.kind) == (Outcome.EQUIVALENT, ""), verdict


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.other.removesuffix(".onnx"))
def test_verdict_on_published_rewrites_is_the_truth(pair: Pair, runner: Runner) -> None:
    # The tools were free to refine declared shapes.
    verdict = runner.judge(CASES[pair.case], pair.data, declared_shapes=False)

    assert (verdict.outcome is Outcome.EQUIVALENT) == (pair.truth == "equivalent"), f"{verdict}; truth: {pair.detail}"
    assert verdict.kind == pair.why


def test_feeds_never_change() -> None:
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                add(item)
            return
        digest.update(f"{value.dtype} {value.shape}".encode())
        if value.dtype == object:
            digest.update(repr(value.tolist()).encode())
        elif value.dtype.kind in "biu":
            digest.update(value.tobytes())
        else:  # rounded: the last bit of a draw depends on the platform's logarithm
            digest.update(np.round(value.astype(np.float64), 6).tobytes())

    for name in sorted(CASES):
        for feed in CASES[name].feeds:
            for value in feed.values():
                add(value)

    assert digest.hexdigest() == "d7920b2fd250ed794afce1de85e194c281530f2b7c96bd3b43a015082e6247bd"


def test_every_case_and_pair_has_its_file() -> None:
    assert len(CASES) == 263
    assert len(PAIRS) == 141
    assert all(case.data for case in CASES.values())
    assert all(pair.data and pair.case in CASES for pair in PAIRS)

"""What every pass owes to every model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import TopologicalSortPass

import onnxfuse
from onnxfuse import Numerics, Result
from tests.laws import variations
from tests.laws.canonical import canonical
from tests.laws.seeds import NAMES, Seed, seeds
from tests.passes.running import feeds_of, run, same

ROUNDING = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-4, np.dtype(np.float16): 1e-2}

Surroundings = Callable[[onnx.ModelProto], onnx.ModelProto]
INSIDE: dict[str, Surroundings] = {
    "branches": variations.within_branches,
    "loop": variations.within_loop,
    "function": variations.within_function,
}
READ: dict[str, Callable[[onnx.ModelProto, str], onnx.ModelProto]] = {
    "returned": variations.returned,
    "read-again": variations.read_again,
    "read-in-branch": variations.read_in_branch,
}


def apply(seed: Seed, model: onnx.ModelProto) -> Result:
    """Applies a pass; asserts that no rewrite was rejected, and what holds of every result."""
    given = model.SerializeToString()
    result = onnxfuse.apply(model, seed.pass_, verify="region")
    assert result.report.rejected == ()
    assert result.report.failed == ()
    assert model.SerializeToString() == given
    after: onnx.ModelProto = result.model
    assert border(after) == border(model)
    assert result.report.modified is bool(result.report.applied)
    assert result.report.modified or after.SerializeToString() == given
    return result


def border(model: onnx.ModelProto) -> list[bytes]:
    """Returns the inputs and outputs with all that is declared of them; not the initializers among the inputs."""
    constant = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    values = [value for value in model.graph.input if value.name not in constant]
    return [value.SerializeToString() for value in (*values, *model.graph.output)]


def assert_within_class(seed: Seed, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Asserts that two models give the same results, as far as the pass's numerics class says."""
    if seed.pass_.numerics is Numerics.APPROXIMATE:
        return
    feeds = list(feeds_of(before))
    for one, other in zip(run(before, feeds), run(after, feeds), strict=True):
        for name, expected in one.items():
            got = other[name]
            if seed.pass_.numerics is Numerics.EXACT or expected.dtype.kind != "f":
                assert same(expected, got), name
            else:
                rtol = ROUNDING[expected.dtype]
                np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)


# ---------------------------------------------------------------------------------------------------- the example


def test_example_comes_out_as_documented(examples: list[Seed]) -> None:
    for seed in examples:
        onnx.checker.check_model(seed.before, full_check=True)
        onnx.checker.check_model(seed.after, full_check=True)
        result = apply(seed, seed.before)

        assert result.report.applied
        got, wanted = canonical(result.model), canonical(seed.after)
        assert got == wanted, onnx.printer.to_text(result.model)
        assert_within_class(seed, seed.before, result.model)


def test_example_passes_the_whole_model_check(examples: list[Seed]) -> None:
    for seed in examples:
        report = onnxfuse.apply(seed.before, seed.pass_, verify="model").report

        assert report.verdict is not None
        assert report.verdict.equivalent


def test_result_is_a_valid_model(examples: list[Seed]) -> None:
    for seed in examples:
        onnx.checker.check_model(apply(seed, seed.before).model, full_check=True)


def test_example_in_an_old_model_that_lists_its_initializers(examples: list[Seed]) -> None:
    for seed in examples:
        if seed.before.functions or not all(opset.domain in ("", "ai.onnx") for opset in seed.before.opset_import):
            continue
        old = listing_initializers(seed.before)
        result = apply(seed, old)

        assert result.report.applied
        listed = {value.name for value in result.model.graph.input}
        assert {tensor.name for tensor in result.model.graph.initializer} <= listed
        onnx.checker.check_model(result.model)
        assert_within_class(seed, old, result.model)


def listing_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model as it was written before IR 4: every initializer is an input as well."""
    old = onnx.ModelProto()
    old.CopyFrom(model)
    old.ir_version = 3
    for tensor in old.graph.initializer:
        old.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return old


# ---------------------------------------------------------------------------------------------------- bytes


def test_no_candidate_leaves_the_bytes_alone(name: str, examples: list[Seed]) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Celu <alpha = 0.5> (x) }'
    )
    data = model.SerializeToString()
    for seed in examples:
        result = onnxfuse.apply(data, seed.pass_)

        assert result.model == data
        assert result.report.modified is False
        assert result.report.passes[0].skipped is not None, name


def test_what_is_left_does_not_match_again(examples: list[Seed]) -> None:
    for seed in examples:
        data = seed.after.SerializeToString()
        result = onnxfuse.apply(data, seed.pass_)

        assert result.model == data
        assert result.report.modified is False
        assert result.report.verdict is None


@pytest.mark.parametrize("inside", ["", *INSIDE])
def test_second_run_changes_nothing(examples: list[Seed], inside: str) -> None:
    for seed in examples:
        model = INSIDE[inside](seed.before) if inside else seed.before
        first = apply(seed, model)
        second = apply(seed, first.model)

        assert not second.report.modified
        assert second.model.SerializeToString() == first.model.SerializeToString()


@pytest.mark.parametrize("inside", ["", *INSIDE])
def test_two_runs_give_the_same_bytes(examples: list[Seed], inside: str) -> None:
    for seed in examples:
        data = (INSIDE[inside](seed.before) if inside else seed.before).SerializeToString()
        first, second = (onnxfuse.apply(data, seed.pass_, verify="off") for _ in range(2))

        assert first.model == second.model
        assert first.report.applied == second.report.applied


def digests() -> list[str]:
    """Returns what each pass makes of its examples, in this process."""
    return [
        hashlib.sha256(onnxfuse.apply(seed.before.SerializeToString(), seed.pass_, verify="off").model).hexdigest()
        for name in NAMES
        for seed in seeds(name)
    ]


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    code = "from tests.laws.test_laws import digests; print(*digests(), sep='\\n')"
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=Path.cwd()
        )
        assert child.stdout.split() == digests()


def test_input_of_every_kind_is_left_alone(examples: list[Seed], tmp_path: Path) -> None:
    for seed in examples:
        data = seed.before.SerializeToString()
        model = ir.from_proto(seed.before)
        given = ir.to_proto(model).SerializeToString()
        path = tmp_path / "model.onnx"
        path.write_bytes(data)

        for kind in (model, path, data):
            assert onnxfuse.apply(kind, seed.pass_).report.applied

        assert ir.to_proto(model).SerializeToString() == given
        assert path.read_bytes() == data


# ---------------------------------------------------------------------------------------------------- surroundings


@pytest.mark.parametrize("read", READ)
def test_value_that_something_else_reads_is_respected(examples: list[Seed], read: str) -> None:
    for seed in examples:
        for value in variations.inner_values(seed.before):
            model = READ[read](seed.before, value)
            onnx.checker.check_model(model, full_check=True)
            result = apply(seed, model)

            onnx.checker.check_model(result.model, full_check=True)
            assert_within_class(seed, model, result.model)
            assert not apply(seed, result.model).report.modified


def test_what_no_one_reads_is_in_no_ones_way(examples: list[Seed]) -> None:
    for seed in examples:
        times = len(apply(seed, seed.before).report.applied)
        model = variations.with_unused_copy(seed.before)
        onnx.checker.check_model(model, full_check=True)
        result = apply(seed, model)

        assert len(result.report.applied) >= times
        onnx.checker.check_model(result.model, full_check=True)
        assert_within_class(seed, model, result.model)
        assert not apply(seed, result.model).report.modified


@pytest.mark.parametrize("inside", ["branches", "loop"])
def test_fires_in_a_body_as_it_does_outside(examples: list[Seed], inside: str) -> None:
    for seed in examples:
        times = len(apply(seed, seed.before).report.applied)
        model = INSIDE[inside](seed.before)
        onnx.checker.check_model(model, full_check=True)
        result = apply(seed, model)

        assert len(result.report.applied) == times * (2 if inside == "branches" else 1)
        assert {applied.at.scope for applied in result.report.applied} == {
            ("either",) if inside == "branches" else ("twice",)
        }
        onnx.checker.check_model(result.model, full_check=True)
        assert_within_class(seed, model, result.model)


def test_fires_or_says_why_not_in_a_function(examples: list[Seed]) -> None:
    for seed in examples:
        model = variations.within_function(seed.before)
        onnx.checker.check_model(model, full_check=True)
        result = apply(seed, model)

        places = [outcome.at for outcome in result.report.applied]
        places += [outcome.at for outcome in result.report.declined]
        assert places
        assert all(place.scope == ("local.example.Body",) for place in places)
        onnx.checker.check_model(result.model, full_check=True)
        assert_within_class(seed, model, result.model)


def test_custom_neighbours_and_metadata_survive(examples: list[Seed]) -> None:
    for seed in examples:
        model = variations.with_custom_neighbours(seed.before)
        result = onnxfuse.apply(model, seed.pass_, verify="model")
        after: onnx.ModelProto = result.model
        data = after.SerializeToString()

        assert result.report.applied
        assert result.report.rejected == ()
        assert border(after) == border(model)
        custom = [node for node in model.graph.node if node.name.startswith(("seen", "judged"))]
        assert len(custom) == 4
        assert [node for node in after.graph.node if node.name.startswith(("seen", "judged"))] == custom
        kept = [*custom, *model.graph.value_info, *model.metadata_props, *model.graph.metadata_props]
        kept += model.opset_import
        assert all(message.SerializeToString() in data for message in kept)
        assert (after.doc_string, after.producer_name, after.graph.doc_string) == ("a model", "tests", "a graph")
        assert list(after.graph.value_info) == list(model.graph.value_info)


def test_untouched_nodes_survive_byte_for_byte(examples: list[Seed]) -> None:
    for seed in examples:
        model = onnx.ModelProto()
        model.CopyFrom(seed.before)
        for index, node in enumerate(model.graph.node):
            node.name, node.doc_string = f"node{index}", f"number {index}"
            node.metadata_props.add(key="number", value=str(index))
        result = apply(seed, model)
        report = result.report
        removed = {name for applied in report.applied for name, _ in applied.removed}
        data = result.model.SerializeToString()
        readers = {
            name
            for node in model.graph.node
            for name in [node.name]
            if any(value in report.renamed_values for value in (*node.input, *node.output))
        }
        for node in model.graph.node:
            if node.name not in removed | readers:
                assert node.SerializeToString() in data


def test_new_nodes_carry_the_mark_of_the_pass(examples: list[Seed]) -> None:
    for seed in examples:
        result = apply(seed, seed.before)
        added = {name for applied in result.report.applied for name, _ in applied.added}
        old = {node.SerializeToString() for node in seed.before.graph.node}
        for node in result.model.graph.node:
            if (node.name or node.output[0]) in added and node.SerializeToString() not in old:
                marks = {entry.key: entry.value for entry in node.metadata_props}
                assert marks["onnxfuse.pass"] == str(seed.pass_)


# ---------------------------------------------------------------------------------------------------- onnx_ir


def test_runs_among_the_passes_of_onnx_ir(examples: list[Seed]) -> None:
    for seed in examples:
        model = ir.from_proto(seed.before)
        pass_: Any = seed.pass_
        pipeline = ir.passes.Sequential(pass_, TopologicalSortPass(), pass_)
        outcome = pipeline(model)

        assert isinstance(seed.pass_, ir.passes.PassBase)
        assert outcome.modified
        assert outcome.model is model
        assert canonical(ir.to_proto(model)) == canonical(seed.after)
        assert not seed.pass_(model).modified
        assert_within_class(seed, seed.before, ir.to_proto(model))


def test_gives_an_ir_model_what_it_gives_a_proto(examples: list[Seed]) -> None:
    for seed in examples:
        model = onnxfuse.apply(ir.from_proto(seed.before), seed.pass_).model

        assert canonical(ir.to_proto(model)) == canonical(seed.after)

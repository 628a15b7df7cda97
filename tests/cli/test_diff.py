"""`onnxfuse diff`: what changed; 0 where nothing did, 1 where something did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Cli
from tests.cli.models import HEAD, save, weighted


def test_no_difference(cli: Cli, pair: Path) -> None:
    done = cli("diff", pair, pair)
    assert (done.code, done.out, done.err) == (0, "no difference\n", "")


def test_a_rewrite(cli: Cli, pair: Path) -> None:
    cli("apply", pair, "-o", "out.onnx")
    done = cli("diff", pair, "out.onnx")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "op Slice: 2 -> 1"
    assert "- rows_cut (Slice)" in lines
    # The Slice that stands for both has the name of the last.
    (changed,) = [line for line in lines if line.startswith("~ ")]
    assert changed.startswith("~ columns_cut (Slice): inputs ['cropped', 'one', 'end', 'columns'] -> ['x', ")
    assert not [line for line in lines if line.startswith("+ ")]
    assert {line for line in lines if line.endswith(" is gone")} == {
        f"initializer {name} is gone" for name in ("one", "end", "rows", "columns")
    }


def test_json(cli: Cli, relu: Path, folder: Path) -> None:
    done = cli("diff", relu, save("neg", folder), "--json")
    assert done.code == 1
    assert done.json == {
        "schema": 1,
        "a": str(relu),
        "b": str(folder / "neg.onnx"),
        "model": [],
        "interface": [],
        "ops": {"Neg": [0, 1], "Relu": [1, 0]},
        "removed": [],
        "added": [],
        "changed": ["relu (Relu): is now Neg"],
        "initializers": [],
    }
    assert cli("diff", relu, relu, "--json").json["changed"] == []


# A model with a bit of everything, and what is done to it.
EVERYTHING = (
    HEAD
    + """g (float[N, 8] x, bool c) => (float[N, 8] y, float[8, N] t) <float[2, 2] w = {1, 2, 3, 4}> {
        [turn] t = Transpose<perm = [1, 0]>(x)
        [branch] y = If (c) <
            then_branch = then () => (float[N, 8] a) { [inner] a = Relu(x) },
            else_branch = other () => (float[N, 8] b) { [outer] b = Neg(x) }
        >
    }"""
)


def edit_inner(model: onnx.ModelProto) -> None:
    branches = {attribute.name: attribute.g for attribute in model.graph.node[1].attribute}
    branches["then_branch"].node[0].op_type = "Abs"


def edit_branch(model: onnx.ModelProto) -> None:
    branches = {attribute.name: attribute.g for attribute in model.graph.node[1].attribute}
    branches["then_branch"].initializer.append(onnx.helper.make_tensor("k", 1, [1], [1.0]))


CASES: list[tuple[Callable[[onnx.ModelProto], object], list[str]]] = [
    (lambda m: setattr(m, "ir_version", 7), ["model: ir_version 8 -> 7"]),
    (lambda m: setattr(m, "producer_name", "me"), ["model: producer_name '' -> 'me'"]),
    (lambda m: setattr(m.opset_import[0], "version", 18), ["model: opsets {'': 17} -> {'': 18}"]),
    (lambda m: m.metadata_props.add(key="a", value="b"), ["model: metadata"]),
    (lambda m: setattr(m.graph, "name", "h"), ["model: graph name 'g' -> 'h'"]),
    (lambda m: setattr(m.graph, "doc_string", "d"), ["model: doc string of the graph"]),
    (lambda m: m.graph.metadata_props.add(key="a", value="b"), ["model: metadata of the graph"]),
    (lambda m: m.graph.value_info.add(name="v"), ["model: value_info of the graph"]),
    (lambda m: m.functions.add(name="f", domain="d"), ["model: functions"]),
    (lambda m: m.graph.node.insert(0, m.graph.node.pop()), ["model: the order of the nodes"]),
    (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", "-1"),
        ['interface: input x float [N, 8] -> float ["-1", 8]'],
    ),
    (
        lambda m: m.graph.output[0].type.tensor_type.ClearField("shape"),
        ["interface: output y float [N, 8] -> float [?]"],
    ),
    (lambda m: setattr(m.graph.output[0], "doc_string", "d"), ["interface: output y: doc string or metadata"]),
    (lambda m: m.graph.output.reverse(), ["interface: the order of the outputs"]),
    (lambda m: m.graph.output.pop(), ["interface: output t is gone"]),
    (
        lambda m: m.graph.node[0].attribute[0].ints.reverse(),
        ["~ turn (Transpose): perm [1, 0] -> [0, 1]"],
    ),
    (lambda m: m.graph.node[0].ClearField("attribute"), ["~ turn (Transpose): perm [1, 0] -> (none)"]),
    (lambda m: setattr(m.graph.node[0], "doc_string", "d"), ["~ turn (Transpose): doc string"]),
    (lambda m: m.graph.node[0].metadata_props.add(key="a", value="b"), ["~ turn (Transpose): metadata"]),
    (
        lambda m: setattr(m.graph.node[0], "name", "twist"),
        ["- turn (Transpose)", "+ twist (Transpose)"],
    ),
    (edit_inner, ["op Abs: 0 -> 1", "op Relu: 1 -> 0", "~ branch/then_branch/inner (Relu): is now Abs"]),
    (edit_branch, ["~ branch (If): then_branch (graph) -> (graph)"]),
    (lambda m: m.graph.initializer[0].float_data.__setitem__(0, 9.0), ["initializer w holds other values"]),
    (lambda m: setattr(m.graph.initializer[0], "name", "v"), ["initializer w is gone", "initializer v is new"]),
    (lambda m: m.graph.initializer[0].dims.append(1), ["initializer w float [2, 2] -> float [2, 2, 1]"]),
    (
        lambda m: setattr(m.graph.initializer[0], "doc_string", "d"),
        ["initializer w: how it is stored, its doc string or its metadata"],
    ),
]


@pytest.mark.parametrize(("edit", "lines"), CASES, ids=[lines[-1] for _, lines in CASES])
def test_whatever_differs_is_told(cli: Cli, edit: Callable[[onnx.ModelProto], object], lines: list[str]) -> None:
    model = onnx.parser.parse_model(EVERYTHING)
    onnx.save(model, "a.onnx")
    edit(model)
    onnx.save(model, "b.onnx")
    done = cli("diff", "a.onnx", "b.onnx")
    assert (done.code, done.out.splitlines()) == (1, lines)


def test_the_same_weights_stored_otherwise(cli: Cli, folder: Path) -> None:
    weighted(folder / "inside.onnx")
    weighted(folder / "beside.onnx", external=True)
    done = cli("diff", "inside.onnx", "beside.onnx")
    assert done.out == "initializer w is stored in w.bin, it was in the model's file\n"


@pytest.mark.parametrize("external", [False, True])
def test_other_weights_under_one_name(cli: Cli, folder: Path, external: bool) -> None:
    for name, change in (("a", 0.0), ("b", 1.0)):
        (folder / name).mkdir()
        weighted(folder / name / "m.onnx", external=external, change=change)
    done = cli("diff", "a/m.onnx", "b/m.onnx")
    assert (done.code, done.out) == (1, "initializer w holds other values\n")
    assert cli("diff", "a/m.onnx", "a/m.onnx").code == 0

"""`onnxfuse inspect`: what is in a model, and what would match."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Cli
from tests.cli.models import save, weighted


def test_text(cli: Cli, pair: Path) -> None:
    done = cli("inspect", pair)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{pair}: {pair.stat().st_size} bytes, IR version 8, opset ai.onnx 17",
        "input   x  float [N, 8, 16, 16]",
        "output  y  float [N, 8, 15, 15]",
        "2 nodes, 4 initializers",
        "",
        "op     nodes",
        "Slice      2",
        "",
        "pass                      would apply  declined",
        "merge-sliced                        1         0",
        "remove-pad                          0         0",
        "transpose-around-softmax            0         0",
    ]


def test_json(cli: Cli, folder: Path) -> None:
    shared = save("shared", folder)
    found = cli("inspect", shared, "--json").json
    assert found["schema"] == 1
    assert found["path"] == str(shared)
    assert found["bytes"] == shared.stat().st_size
    assert found["opsets"] == {"": 17}
    assert found["inputs"] == [{"name": "x", "type": "float", "shape": ["N", 8, 16, 16]}]
    assert [output["name"] for output in found["outputs"]] == ["y", "z"]
    assert found["ops"] == {"Relu": 1, "Slice": 2}
    assert found["nodes"] == 3
    assert found["would_match"] == {
        "merge-sliced": {"matches": 0, "declined": 1, "error": None},
        "remove-pad": {"matches": 0, "declined": 0, "error": None},
        "transpose-around-softmax": {"matches": 0, "declined": 0, "error": None},
    }


def test_a_symbol_that_looks_like_a_size(cli: Cli, relu: Path) -> None:
    model = onnx.load(relu)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "-1"
    model.graph.output[0].type.tensor_type.shape.dim[0].Clear()
    onnx.save(model, "named.onnx")
    lines = cli("inspect", "named.onnx").out.splitlines()
    assert 'input   x  float ["-1", 8]' in lines
    assert "output  y  float [?, 8]" in lines
    found = cli("inspect", "named.onnx", "--json").json
    assert found["inputs"][0]["shape"] == ["-1", 8]
    assert found["outputs"][0]["shape"] == [None, 8]


def test_external_data_and_other_domains(cli: Cli, folder: Path) -> None:
    weighted(folder / "w.onnx", external=True)
    assert "2 nodes, 1 initializer, external data in w.bin" in cli("inspect", "w.onnx").out.splitlines()
    lines = cli("inspect", save("custom", folder)).out.splitlines()
    assert lines[0].endswith("opset ai.onnx 17, my.domain 1")
    assert "my.domain::Mine      1" in lines


def test_sizes(cli: Cli, folder: Path) -> None:
    weighted(folder / "w.onnx")
    size = (folder / "w.onnx").stat().st_size
    assert cli("inspect", "w.onnx").out.startswith(f"w.onnx: {size / 1000:.1f} kB, ")


def test_inputs_below_ir_4_are_those_without_initializers(cli: Cli, pair: Path) -> None:
    model = onnx.load(pair)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, "old.onnx")
    found = cli("inspect", "old.onnx", "--json").json
    assert [value["name"] for value in found["inputs"]] == ["x"]
    assert found["ir_version"] == 3


def test_it_changes_nothing(cli: Cli, pair: Path, folder: Path) -> None:
    before = pair.read_bytes()
    cli("inspect", pair)
    assert pair.read_bytes() == before
    assert list(folder.iterdir()) == [pair]


@pytest.mark.usefixtures("installed")
def test_a_pass_that_is_broken_hides_nothing(cli: Cli, relu: Path) -> None:
    done = cli("inspect", relu, "--json")
    assert done.code == 0
    found = done.json["would_match"]
    assert found["raise-on-relu"] == {"matches": 0, "declined": 0, "error": "ValueError: no Relu, please"}
    assert found["keep-relu"]["error"].startswith("keep-relu reaches no fixpoint")
    assert found["nowhere"]["error"].startswith("the pass 'nowhere' cannot be imported")
    assert found["relu-to-neg"] == {"matches": 1, "declined": 0, "error": None}
    # It does nothing until it is told what.
    assert "name-relu" not in found
    assert "  raise-on-relu failed: ValueError: no Relu, please" in cli("inspect", relu).out.splitlines()
